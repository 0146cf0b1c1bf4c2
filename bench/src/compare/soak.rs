//! A constant load for many minutes with retention deleting behind it: whether the broker's memory and disk stay where
//! they are, and each record comes out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::consume::engine_workload;
use super::figures::*;
use super::produce::NO_PROCESS;
use super::session::{Session, disk_bytes};
use super::spread::Spread;
use crate::usage::ProcessUsage;
use corelog_loadgen::engine::{self, Settings};
use corelog_loadgen::measure::Judgement;

/// Of 1 KiB.
const RECORDS_A_SECOND: f64 = 15_000.0;
/// Retention keeps so much of each partition, and deletes whole segments.
const RETENTION: [(&str, &str); 2] = [
    ("retention.bytes", "67108864"),
    ("segment.bytes", "16777216"),
];
const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// What the broker held at one moment, in bytes.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident: u64,
    disk: u64,
}

pub fn run(session: &mut Session<'_>, name: &'static str) -> Result<()> {
    let mut workload = engine_workload(session, name, RECORDS_A_SECOND);
    workload.warm_up = Duration::ZERO;
    workload.duration = Duration::from_secs(session.settings.soak_minutes * 60);
    workload.verify = true;
    workload.topics.partitions = 12;
    workload.topics.configs = RETENTION
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    workload.producers.count = 2;
    workload.producers.idempotence = true;
    let settings = Settings {
        bootstrap: vec![session.target().addr],
        threads: 1,
    };
    let is_over = AtomicBool::new(false);
    let (outcome, samples) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(session, &is_over));
        let outcome = engine::run(&workload, &settings, &AtomicBool::new(false), |_| {});
        is_over.store(true, Ordering::Relaxed);
        (outcome, watching.join().expect("it does not panic"))
    });
    let (outcome, samples) = (outcome?, samples?);
    let errors = &outcome.measurements.errors;
    ensure!(errors.is_empty(), "errors while it ran: {errors:?}");
    let found = outcome.verification.unwrap_or_default();
    ensure!(
        found.judgement() == Judgement::Whole,
        "not every record came out once and in order: {found:?}"
    );
    session.state(name, VERIFIED, found.received as f64);
    let latency = outcome.measurements.produce_latency.value_at_quantile(0.99);
    session.state(name, P99, latency as f64 / 1e6);
    state(session, name, &samples);
    Ok(())
}

/// Looks at the broker until the load is over; nothing is seen of one whose process and folder are not known.
fn watch(session: &Session<'_>, is_over: &AtomicBool) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let Some((pid, folder)) = session.target().pid.zip(session.folder()) else {
        return Ok(samples);
    };
    while !is_over.load(Ordering::Relaxed) {
        samples.push(Sample {
            resident: ProcessUsage::of(pid)?.rss,
            disk: disk_bytes(folder)?,
        });
        std::thread::sleep(SAMPLE_EVERY);
    }
    Ok(samples)
}

/// The first quarter is left out of what is compared: caches and logs fill in it.
fn state(session: &mut Session<'_>, name: &str, samples: &[Sample]) {
    let mut state = |quantities: [Quantity; 4], value: fn(&Sample) -> u64| {
        let megabytes: Vec<f64> = samples.iter().map(|it| value(it) as f64 / 1e6).collect();
        let held = held(&megabytes);
        for (at, quantity) in quantities.into_iter().enumerate() {
            session.push(match held {
                Some(held) => Reading::new(name, quantity, held[at]),
                None => Reading::not_measured(name, quantity, NO_PROCESS),
            });
        }
    };
    state(
        [RESIDENT_SECOND, RESIDENT_LAST, RESIDENT_MAX, RESIDENT_TIMES],
        |sample| sample.resident,
    );
    state([DISK_SECOND, DISK_LAST, DISK_MAX, DISK_TIMES], |sample| {
        sample.disk
    });
}

/// The median of the second and of the last quarter, the most, and how many times the second the last is. None of less
/// than four samples.
fn held(samples: &[f64]) -> Option<[f64; 4]> {
    let quarter = samples.len() / 4;
    let median = |part: &[f64]| Some(Spread::of(part.iter().copied())?.median);
    let second = median(samples.get(quarter..2 * quarter)?)?;
    let last = median(&samples[samples.len() - quarter..])?;
    let most = Spread::of(samples.iter().copied())?.max;
    Some([second, last, most, last / second])
}

#[cfg(test)]
mod tests {
    use super::held;

    #[test]
    fn growth_is_seen_behind_the_first_quarter() {
        let steady = [1.0, 9.0, 10.0, 10.0, 12.0, 11.0, 10.0, 10.0];
        assert_eq!(held(&steady), Some([10.0, 10.0, 12.0, 1.0]));
        let growing = [10.0, 10.0, 10.0, 10.0, 12.0, 14.0, 18.0, 22.0];
        assert_eq!(held(&growing), Some([10.0, 20.0, 22.0, 2.0]));
        assert_eq!(held(&growing[..3]), None);
    }
}
