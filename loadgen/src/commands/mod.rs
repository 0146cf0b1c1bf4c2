//! The commands, and what they have in common: where the load comes from and goes to, files, Ctrl-C.

pub mod agent;
pub mod find_limit;
pub mod groups;
pub mod plan;
pub mod run;

use std::fs;
use std::io::{BufWriter, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use corelog_loadgen::engine::{self, Settings};
use corelog_loadgen::fleet::{self, Ran};
use corelog_loadgen::report::{Host, Progress};
use corelog_loadgen::workload::Workload;
use nix::sys::signal::{SigSet, Signal};

/// Where the load goes, and what makes it.
#[derive(clap::Args)]
pub struct Target {
    #[command(flatten)]
    brokers: Brokers,
    /// Agents that make the load together, instead of this machine (see `agent`)
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        conflicts_with = "threads"
    )]
    agents: Vec<String>,
    #[command(flatten)]
    threads: Threads,
}

#[derive(clap::Args)]
struct Brokers {
    /// Brokers to ask for the others
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "localhost:9092"
    )]
    bootstrap: Vec<String>,
}

impl Brokers {
    /// Names become addresses.
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        Ok(addresses("--bootstrap", &self.bootstrap)?.concat())
    }
}

#[derive(clap::Args)]
pub struct Threads {
    /// Threads that send and receive; by default half of the cores
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    pub fn count(&self) -> usize {
        match self.threads {
            Some(threads) => threads.into(),
            None => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
        }
    }
}

/// Brokers by their addresses, and who makes the load.
pub struct Ground {
    pub settings: Settings,
    agents: Vec<SocketAddr>,
}

impl Target {
    /// Names become addresses.
    pub fn ground(&self) -> Result<Ground> {
        let agents = match self.agents.as_slice() {
            [] => Vec::new(),
            agents => addresses("--agents", agents)?
                .into_iter()
                // Its other addresses are of the same machine.
                .filter_map(|addresses| addresses.first().copied())
                .collect(),
        };
        Ok(Ground {
            settings: Settings {
                bootstrap: self.brokers.addresses()?,
                threads: self.threads.count(),
            },
            agents,
        })
    }
}

impl Ground {
    /// Runs a workload, here or on the agents.
    pub fn run(
        &self,
        workload: &Workload,
        stop: &AtomicBool,
        progress: impl FnMut(Progress),
    ) -> Result<Ran> {
        if self.agents.is_empty() {
            return Ok(Ran {
                outcome: engine::run(workload, &self.settings, stop, progress)?,
                hosts: vec![Host::here()],
                clock_error_ns: 0,
                lost: Vec::new(),
            });
        }
        fleet::run(
            workload,
            &self.settings.bootstrap,
            &self.agents,
            stop,
            progress,
        )
    }

    /// Whether there are agents.
    pub fn has_agents(&self) -> bool {
        !self.agents.is_empty()
    }
}

/// All addresses of each.
fn addresses(flag: &str, hosts: &[String]) -> Result<Vec<Vec<SocketAddr>>> {
    let mut addresses = Vec::new();
    for host in hosts {
        let found = host
            .to_socket_addrs()
            .with_context(|| format!("{flag} {host}: must be HOST:PORT"))?;
        addresses.push(found.collect());
    }
    ensure!(
        addresses.iter().any(|them: &Vec<_>| !them.is_empty()),
        "{flag}: no address"
    );
    Ok(addresses)
}

/// Exit status when an agent was lost on the way.
const AGENT_LOST: u8 = 4;

/// Files that were asked for. They are opened before the work begins, so that its results have a place.
#[derive(Default)]
struct Outputs {
    failed: Vec<anyhow::Error>,
}

/// One of them, or none if it was not asked for.
struct Output(Option<(PathBuf, fs::File)>);

impl Output {
    /// Leaves what is in the file until there is something else.
    fn open(path: &Option<PathBuf>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        Ok(Self(Some((path.clone(), file))))
    }
}

impl Outputs {
    /// Has a file hold what `fill` writes, in place of what was there.
    fn fill(
        &mut self,
        output: &Output,
        fill: impl FnOnce(&mut BufWriter<&fs::File>) -> std::io::Result<()>,
    ) {
        let Some((path, file)) = &output.0 else {
            return;
        };
        let mut to = BufWriter::new(file);
        // What is no file has no length, and is written to all the same.
        let _ = file.set_len(0);
        let written = fill(&mut to).and_then(|()| to.flush());
        let written = written.with_context(|| path.display().to_string());
        self.failed.extend(written.err());
    }

    /// The same of a text.
    fn write(&mut self, output: &Output, text: impl FnOnce() -> String) {
        self.fill(output, |to| to.write_all(text().as_bytes()));
    }

    /// All that could not be written.
    fn finish(self) -> Result<()> {
        let failed: Vec<String> = self.failed.iter().map(|it| format!("{it:#}")).collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(())
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
