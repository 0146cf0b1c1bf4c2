//! The command `corelog-loadgen`.

use std::fs;
use std::io::BufWriter;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use corelog_loadgen::engine::{self, Settings};
use corelog_loadgen::report::{Figures, Host, ProgressLine, hlog, html, json, table};
use corelog_loadgen::workload::{WorkloadArgs, reference};
use nix::sys::signal::{SigSet, Signal};

/// Exit status when what came out is not what was acknowledged.
const NOT_CLEAN: u8 = 2;

/// Loads any broker that speaks the Kafka protocol, and says what it did
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a workload against a broker
    Run(Box<RunArgs>),
    /// Describe the named workloads and all settings of a workload, as Markdown
    Workloads,
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Brokers to ask for the others
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "localhost:9092"
    )]
    bootstrap: Vec<String>,
    /// Threads that send and receive; by default half of the cores
    #[arg(long)]
    threads: Option<usize>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the latencies to this file, as an HdrHistogram log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Workloads => {
            print!("{}", reference());
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("corelog-loadgen: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &RunArgs) -> Result<ExitCode> {
    let workload = args.workload.resolve()?;
    let stop = stop_on_signals()?;
    let settings = Settings {
        bootstrap: addresses(&args.bootstrap)?,
        threads: args.threads.unwrap_or_else(half_of_the_cores),
    };
    let mut progress = ProgressLine::stderr();
    let outcome = engine::run(&workload, &settings, &stop, |now| {
        // Where nobody reads it any more there is nobody to tell.
        let _ = progress.update(&now);
    })?;
    let _ = progress.clear();
    let host = Host::here();
    let figures = Figures::of(
        &workload,
        &outcome.measurements,
        outcome.verification,
        vec![host],
    );
    print!("{}", table::write(&figures));
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(path) => fs::write(path, text()).with_context(|| path.display().to_string()),
        None => Ok(()),
    };
    write(&args.json, &|| json::write(&figures))?;
    write(&args.html, &|| html::page(&figures))?;
    if let Some(path) = &args.hlog {
        let file = fs::File::create(path).with_context(|| path.display().to_string())?;
        hlog::write(&outcome.measurements, &mut BufWriter::new(file))?;
    }
    // A producer that is not idempotent may repeat and reorder what it sends again.
    let may_repeat = !workload.producers.idempotence;
    let is_whole = outcome.verification.is_none_or(|found| {
        found.is_clean() || (may_repeat && found.lost == 0 && found.corrupted == 0)
    });
    Ok(match is_whole {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NOT_CLEAN),
    })
}

fn half_of_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn addresses(hosts: &[String]) -> Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for host in hosts {
        let found = host.to_socket_addrs();
        addresses.extend(found.with_context(|| format!("--bootstrap {host}: HOST:PORT"))?);
    }
    ensure!(!addresses.is_empty(), "--bootstrap: no address");
    Ok(addresses)
}

/// The first Ctrl-C ends the load and leaves the results so far, the second one ends everything.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Threads inherit the mask, so that the signal waits for the one thread below.
    signals.thread_block()?;
    let asked = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let _ = signals.wait();
            asked.store(true, Ordering::Relaxed);
            if let Ok(signal) = signals.wait() {
                std::process::exit(128 + signal as i32);
            }
        })?;
    Ok(stop)
}
