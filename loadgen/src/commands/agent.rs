//! `agent`: makes a part of a load, on behalf of a coordinator.

use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::{Context, Result};
use corelog_loadgen::fleet;

use super::{Threads, stop_on_signals};

/// Works for whoever connects, one after the other: only for a network that is trusted. The machine must reach the
/// brokers by the same addresses as the coordinator.
#[derive(clap::Args)]
pub struct Args {
    /// Where coordinators connect
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    #[command(flatten)]
    threads: Threads,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let stop = stop_on_signals()?;
    let listener =
        TcpListener::bind(&args.listen).with_context(|| format!("--listen {}", args.listen))?;
    eprintln!("listening on {}", listener.local_addr()?);
    fleet::serve(&listener, args.threads.count(), &stop, |what| {
        eprintln!("{what}")
    })?;
    Ok(ExitCode::SUCCESS)
}
