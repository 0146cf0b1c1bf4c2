//! What this machine allows at most: a bare loop that does to each request only what no durable broker can leave out,
//! the disk and the loopback alone.

mod bare_loop;
mod parts;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

pub use bare_loop::{BareLoop, ServeSettings, serve};
pub use parts::{Parts, measure as measure_parts};

use crate::produce::{self, Pace, ProduceSettings};
use crate::report::ProduceReport;

const TOPIC: &str = "bare-loop";
/// A thread that waits for its write leaves its core to another one: the best of these counts.
const THREADS: [usize; 3] = [1, 2, 4];
const CONNECTIONS: usize = 16;

/// Runs the load of one record size and pace on the bare loop. At saturation the best number of threads counts, at a
/// rate there is one.
pub fn run(folder: &Path, records: usize, pace: Pace, seconds: u64) -> Result<ProduceReport> {
    let threads = match pace {
        Pace::Rate(_) | Pace::Offered(_) => 1,
        Pace::InFlight(in_flight) => {
            let mut best = (0.0, 1);
            for threads in THREADS.into_iter().filter(|threads| *threads <= in_flight) {
                let report = run_with(folder, records, pace, 1, threads)?;
                if report.requests_a_second > best.0 {
                    best = (report.requests_a_second, threads);
                }
            }
            best.1
        }
    };
    run_with(folder, records, pace, seconds, threads)
}

fn run_with(
    folder: &Path,
    records: usize,
    pace: Pace,
    seconds: u64,
    threads: usize,
) -> Result<ProduceReport> {
    let connections = match pace {
        Pace::InFlight(in_flight) => CONNECTIONS.min(in_flight),
        Pace::Rate(_) | Pace::Offered(_) => CONNECTIONS,
    };
    let serving = BareLoop::start(&ServeSettings {
        folder: folder.to_owned(),
        topic: TOPIC.to_owned(),
        connections,
        threads,
    })?;
    produce::load(&ProduceSettings {
        target: serving.target(),
        topic: TOPIC.to_owned(),
        partitions: 1,
        topic_configs: &[],
        records_a_request: records,
        record_bytes: 1_024,
        acks: -1,
        connections,
        threads: 1,
        pace,
        warm_up: Duration::from_millis(300),
        duration: Duration::from_secs(seconds),
        counts_calls: false,
    })
}

/// The bare loop at saturation and at half of it, and the parts of the machine.
#[derive(Debug)]
pub struct Roofline {
    loops: Vec<(String, ProduceReport)>,
    parts: Parts,
}

impl Roofline {
    pub fn measure(folder: &Path, seconds: u64) -> Result<Self> {
        let mut loops = Vec::new();
        for records in [1, 64] {
            for in_flight in [1, 16, 256] {
                let report = run(folder, records, Pace::InFlight(in_flight), seconds)?;
                let half = report.requests_a_second / 2.0;
                loops.push((format!("{records} KiB, {in_flight} in flight"), report));
                if in_flight == 256 {
                    let report = run(folder, records, Pace::Rate(half), seconds)?;
                    loops.push((format!("{records} KiB, {half:.0} requests/s due"), report));
                }
            }
        }
        let parts = measure_parts(folder, Duration::from_secs(seconds))?;
        Ok(Self { loops, parts })
    }
}

impl fmt::Display for Roofline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, report) in &self.loops {
            writeln!(out, "bare loop, {name}")?;
            for line in report.to_string().lines() {
                writeln!(out, "  {line}")?;
            }
        }
        write!(out, "{}", self.parts)
    }
}
