//! The command `corelog`.

use std::process::ExitCode;

use clap::Parser;
use corelog::cli::status::Status;
use corelog::cli::{Cli, Command, config, doctor, logging, start, tune};
use corelog::serve::serve;
use corelog_shards::io::Stop;
use corelog_shards::runtime::stop_on_signals;

/// Decoders reserve what a request claims to hold before they see that it does not: reservations
/// that are never touched must cost nothing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// With what the process ends, and why.
type Failed = (Status, String);

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Config(args) => config::run(&args, &mut std::io::stdout()).map_err(failed),
        Command::Start(args) => run_broker(&args),
        Command::Doctor(args) => examine(&args),
        Command::Tune(args) => check_host(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, error)) => {
            logging::say_last(&format!("corelog: {error}"));
            status.into()
        }
    }
}

fn failed(error: impl ToString) -> Failed {
    (Status::Failure, error.to_string())
}

fn examine(args: &doctor::DoctorArgs) -> Result<(), Failed> {
    match doctor::run(args, &mut std::io::stdout()).map_err(failed)? {
        true => Ok(()),
        false => Err(failed("there are problems, each with its remedy beside it")),
    }
}

fn check_host(args: &tune::TuneArgs) -> Result<(), Failed> {
    match tune::run(args, &mut std::io::stdout()).map_err(failed)? {
        true => Ok(()),
        false => Err(failed("something is missing that the broker needs")),
    }
}

fn run_broker(args: &start::StartArgs) -> Result<(), Failed> {
    // Before there is any other thread, so that none of them takes the signals.
    let stop = Stop::new();
    stop_on_signals(stop.clone())
        .map_err(|error| failed(format!("cannot wait for signals: {error}")))?;
    logging::start(args.log.as_deref()).map_err(|error| (Status::Config, error.to_string()))?;
    let prepared =
        start::prepare(args).map_err(|error| (Status::from(&error), error.to_string()))?;
    let served = serve(prepared, stop).map_err(|error| (error.status, error.why));
    logging::finish();
    served
}
