//! All that a run measured, on one machine or on several.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::histogram::{self, Compact, Histogram};
use super::plan::Plan;
use super::thread::ThreadUse;

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Records.
    pub records: u64,
    /// Bytes of values; keys are not counted.
    pub bytes: u64,
}

impl Flow {
    /// Adds to both.
    #[inline]
    pub fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
    }
}

/// One second of a run, or less at its ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Records that were due.
    pub intended: u64,
    /// Acknowledged by the broker.
    pub produced: Flow,
    /// In the hands of consumers, counted for each set of them.
    pub consumed: Flow,
    /// Failures.
    pub errors: u64,
    /// The latest that anything was made after its time, in nanoseconds.
    pub lateness_max_ns: u64,
    /// Records that consumers were behind at the end of it, if anybody looked.
    pub lag_records: Option<u64>,
    /// From due to acknowledged, of what was acknowledged in it.
    pub produce_latency: Compact,
    /// From due to consumed, of what was consumed in it.
    pub end_to_end_latency: Compact,
}

impl Interval {
    pub(super) fn add(&mut self, other: &Self) {
        self.intended += other.intended;
        self.produced
            .add(other.produced.records, other.produced.bytes);
        self.consumed
            .add(other.consumed.records, other.consumed.bytes);
        self.errors += other.errors;
        self.lateness_max_ns = self.lateness_max_ns.max(other.lateness_max_ns);
        self.lag_records = match (self.lag_records, other.lag_records) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.produce_latency.add(&other.produce_latency);
        self.end_to_end_latency.add(&other.end_to_end_latency);
    }
}

/// The measurements of a run. Rates are taken over [`Measurements::measured_ns`]; latencies, lateness and errors are of
/// everything after the warm-up, answers that came after the end included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    /// What was planned.
    pub plan: Plan,
    /// The start of the run, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// From the end of the warm-up until sending ended, in nanoseconds.
    pub measured_ns: u64,
    /// When the last answer had come or was given up, in nanoseconds since the start.
    pub ended_ns: u64,
    /// Records that were due in the time that was measured.
    pub intended: u64,
    /// Acknowledged in the time that was measured.
    pub produced: Flow,
    /// Bytes of the batches of those: with their headers, and compressed if they are.
    pub wire_bytes: u64,
    /// Consumed in the time that was measured, by all sets of consumers.
    pub consumed: Flow,
    /// Records that were due and never left, because the broker was too far behind to take them.
    pub unsent: u64,
    /// Records that left and were given up without an answer.
    pub unanswered: u64,
    /// Records that were deleted before consumers had read them, the warm-up included; they went on behind them.
    pub skipped: u64,
    /// Failures by name; a record that was given up is one.
    pub errors: BTreeMap<String, u64>,
    /// From due to acknowledged, or to given up.
    #[serde(with = "histogram::compacted")]
    pub produce_latency: Histogram,
    /// From due to consumed.
    #[serde(with = "histogram::compacted")]
    pub end_to_end_latency: Histogram,
    /// How much later than due records were made. Empty if there was no timetable.
    #[serde(with = "histogram::compacted")]
    pub lateness: Histogram,
    /// Times that members of groups were given partitions anew, after their first time.
    pub rebalances: u64,
    /// From when a member began until it first had partitions, the warm-up included.
    #[serde(with = "histogram::compacted")]
    pub first_assignment: Histogram,
    /// From a commit of offsets to its acknowledgement.
    #[serde(with = "histogram::compacted")]
    pub commit_latency: Histogram,
    /// The run second by second, the warm-up included. [`Plan::interval_start_ns`] tells when one begins.
    pub intervals: BTreeMap<u64, Interval>,
    /// The generator's own threads.
    pub threads: Vec<ThreadUse>,
}

impl Measurements {
    pub(super) fn new(plan: Plan, started_unix_ms: u64) -> Self {
        Self {
            plan,
            started_unix_ms,
            measured_ns: 0,
            ended_ns: 0,
            intended: 0,
            produced: Flow::default(),
            wire_bytes: 0,
            consumed: Flow::default(),
            unsent: 0,
            unanswered: 0,
            skipped: 0,
            errors: BTreeMap::new(),
            produce_latency: histogram::empty(),
            end_to_end_latency: histogram::empty(),
            lateness: histogram::empty(),
            rebalances: 0,
            first_assignment: histogram::empty(),
            commit_latency: histogram::empty(),
            intervals: BTreeMap::new(),
            threads: Vec::new(),
        }
    }

    /// Adds what another machine measured in the same run: same plan, started at the same time.
    pub fn merge(&mut self, other: &Self) {
        self.started_unix_ms = self.started_unix_ms.min(other.started_unix_ms);
        self.measured_ns = self.measured_ns.max(other.measured_ns);
        self.ended_ns = self.ended_ns.max(other.ended_ns);
        self.intended += other.intended;
        self.produced
            .add(other.produced.records, other.produced.bytes);
        self.consumed
            .add(other.consumed.records, other.consumed.bytes);
        self.wire_bytes += other.wire_bytes;
        self.unsent += other.unsent;
        self.unanswered += other.unanswered;
        self.skipped += other.skipped;
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
        histogram::add(&mut self.produce_latency, &other.produce_latency);
        histogram::add(&mut self.end_to_end_latency, &other.end_to_end_latency);
        histogram::add(&mut self.lateness, &other.lateness);
        self.rebalances += other.rebalances;
        histogram::add(&mut self.first_assignment, &other.first_assignment);
        histogram::add(&mut self.commit_latency, &other.commit_latency);
        for (&number, interval) in &other.intervals {
            self.intervals.entry(number).or_default().add(interval);
        }
        self.threads.extend(other.threads.iter().cloned());
    }

    /// Failures of any name.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// So many in a second, over the time that was measured; 0 if there was none.
    pub fn per_second(&self, count: u64) -> f64 {
        match self.measured_ns {
            0 => 0.0,
            measured_ns => count as f64 * 1e9 / measured_ns as f64,
        }
    }

    /// How long an interval was, in nanoseconds: a second, but at the ends of the run.
    pub fn interval_length_ns(&self, interval: u64) -> u64 {
        let start_ns = self.plan.interval_start_ns(interval);
        let end_ns = self.plan.interval_start_ns(interval + 1);
        match self.ended_ns > start_ns {
            true => end_ns.min(self.ended_ns) - start_ns,
            false => end_ns - start_ns,
        }
    }
}
