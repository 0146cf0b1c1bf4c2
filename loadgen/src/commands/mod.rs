//! The commands, and what they have in common: where the load comes from and goes to, files, Ctrl-C.

pub mod find_limit;
pub mod plan;
pub mod run;

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use corelog_loadgen::engine::Settings;
use nix::sys::signal::{SigSet, Signal};

/// Where the load goes, and what makes it.
#[derive(clap::Args)]
pub struct Target {
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
}

impl Target {
    /// Names become addresses.
    pub fn settings(&self) -> Result<Settings> {
        Ok(Settings {
            bootstrap: addresses("--bootstrap", &self.bootstrap)?,
            threads: self.threads.unwrap_or_else(half_of_the_cores),
        })
    }
}

fn half_of_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn addresses(flag: &str, hosts: &[String]) -> Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for host in hosts {
        let found = host.to_socket_addrs();
        addresses.extend(found.with_context(|| format!("{flag} {host}: must be HOST:PORT"))?);
    }
    ensure!(!addresses.is_empty(), "{flag}: no address");
    Ok(addresses)
}

/// Writes a file that was asked for.
fn write(path: &Option<PathBuf>, text: impl FnOnce() -> String) -> Result<()> {
    match path {
        Some(path) => fs::write(path, text()).with_context(|| path.display().to_string()),
        None => Ok(()),
    }
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
