//! The machine's own limits beside the brokers: the bare loop at the same loads, and disk and loopback alone.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::figures::*;
use super::results::BARE_LOOP;
use super::session::{Session, settle};
use super::workloads::{self, Load, MACHINE, Work};
use crate::produce::Pace;
use crate::report::ProduceReport;
use crate::roofline;
use corelog_loadgen::client::wall_ms;

/// Runs what is wanted, each load once however many workloads have it: the loop knows nothing of partitions.
pub fn measure(session: &mut Session<'_>) -> Result<()> {
    let folder = session
        .settings
        .folder
        .join(format!("bare-loop-{}", wall_ms()));
    fs::create_dir_all(&folder)?;
    let seconds = session.settings.seconds;
    let mut known: Vec<(usize, Pace, ProduceReport)> = Vec::new();
    for workload in workloads::ALL {
        let Work::Produce(produce) = workload.work else {
            continue;
        };
        // Parts of limits can only be run behind a broker that has them.
        let pace = match produce.load {
            Load::InFlight(in_flight) => Some(Pace::InFlight(in_flight)),
            Load::Limit { of, part } => session
                .known_limit(of)
                .map(|limit| Pace::Rate(limit * part)),
        };
        let Some(pace) = pace.filter(|_| session.settings.wants(workload)) else {
            continue;
        };
        let is_same = |it: &(usize, Pace, ProduceReport)| (it.0, it.1) == (produce.records, pace);
        if !known.iter().any(is_same) {
            eprintln!("{BARE_LOOP}: {}", workload.name);
            settle();
            let report = roofline::run(&folder, produce.records, pace, seconds)?;
            known.push((produce.records, pace, report));
        }
        let report = known.iter().find(|it| is_same(it)).map(|it| &it.2);
        if let Some(report) = report {
            super::produce::state(session, workload.name, pace, report);
            super::produce::state_cpu(session, workload.name, report);
        }
    }
    let parts = roofline::measure_parts(&folder, Duration::from_secs(seconds.min(2)))?;
    session.state(MACHINE, DISK_WRITE, parts.disk_write);
    session.state(MACHINE, DISK_READ, parts.disk_read);
    session.state(MACHINE, LOOPBACK, parts.loopback);
    session.state(MACHINE, LOOPBACK_REQUESTS, parts.loopback_requests);
    fs::remove_dir_all(&folder)?;
    Ok(())
}
