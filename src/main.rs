//! The command `corelog`.

use std::process::ExitCode;

use clap::Parser;
use corelog::cli::{Cli, Command, config, logging, start, tune};
use corelog::serve::serve;
use corelog_shards::io::Stop;
use corelog_shards::runtime::stop_on_signals;

/// Decoders reserve what a request claims to hold before they see that it does not: reservations
/// that are never touched must cost nothing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Config(args) => {
            config::run(&args, &mut std::io::stdout()).map_err(|error| error.to_string())
        }
        Command::Start(args) => run_broker(&args),
        Command::Tune(args) => check_host(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelog: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check_host(args: &tune::TuneArgs) -> Result<(), String> {
    match tune::run(args, &mut std::io::stdout()) {
        Ok(true) => Ok(()),
        Ok(false) => Err("something is missing that the broker needs".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn run_broker(args: &start::StartArgs) -> Result<(), String> {
    // Before there is any other thread, so that none of them takes the signals.
    let stop = Stop::new();
    stop_on_signals(stop.clone()).map_err(|error| format!("cannot wait for signals: {error}"))?;
    let _log = logging::start(args.log.as_deref()).map_err(|error| error.to_string())?;
    let prepared = start::prepare(args).map_err(|error| error.to_string())?;
    serve(prepared, stop).map_err(|error| error.to_string())
}
