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

/// Runs what is wanted on the bare loop, then measures the parts of the machine.
pub fn measure(session: &mut Session<'_>) -> Result<()> {
    let folder = session
        .settings
        .folder
        .join(format!("bare-loop-{}", wall_ms()));
    fs::create_dir_all(&folder)?;
    let seconds = session.settings.seconds;
    measure_loads(session, |records, pace| {
        settle();
        roofline::run(&folder, records, pace, seconds)
    });
    let parts = roofline::measure_parts(&folder, Duration::from_secs(seconds.min(2)))?;
    session.state(MACHINE, DISK_WRITE, parts.disk_write);
    session.state(MACHINE, DISK_READ, parts.disk_read);
    session.state(MACHINE, LOOPBACK, parts.loopback);
    session.state(MACHINE, LOOPBACK_REQUESTS, parts.loopback_requests);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Runs each load once however many workloads have it: the loop knows nothing of partitions. A load that fails is kept
/// as failed, and the others go on.
fn measure_loads(
    session: &mut Session<'_>,
    mut run: impl FnMut(usize, Pace) -> Result<ProduceReport>,
) {
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
            match run(produce.records, pace) {
                Ok(report) => known.push((produce.records, pace, report)),
                Err(error) => session.keep_failure([workload.name], Err(error)),
            }
        }
        let report = known.iter().find(|it| is_same(it)).map(|it| &it.2);
        if let Some(report) = report {
            super::produce::state(session, workload.name, pace, report);
            super::produce::state_cpu(session, workload.name, report);
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::super::results::tests::results;
    use super::super::session::tests::settings;
    use super::*;

    #[test]
    fn a_load_that_fails_does_not_end_the_others() {
        let settings = settings();
        let mut results = results(Vec::new());
        let mut session = Session::new(&settings, &mut results, BARE_LOOP, 0);
        measure_loads(&mut session, |_, _| bail!("no reply"));
        let failed: Vec<_> = results.runs[0].failures.keys().collect();
        // The closed loops of the quick suite.
        let expected = [
            workloads::SMALL_100_16,
            workloads::SMALL_100_256,
            workloads::LARGE_100,
        ];
        assert_eq!(failed, expected);
    }
}
