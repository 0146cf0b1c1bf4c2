//! How a run goes, while it goes on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::{self, Histogram};
use super::measurements::Flow;

/// The figures of the last second of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Acknowledged in it.
    pub produced: Flow,
    /// From due to acknowledged, of what was acknowledged in it.
    #[serde(with = "histogram::compacted")]
    pub produce_latency: Histogram,
    /// Failures since the end of the warm-up.
    pub errors: u64,
    /// How far consumers are behind, if there are any.
    pub lag_records: Option<u64>,
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Warm-up and all.
    pub whole: Duration,
    /// Records acknowledged in the last second.
    pub records_per_s: f64,
    /// Bytes of them.
    pub bytes_per_s: f64,
    /// Produce latency in the last second, in nanoseconds; none if nothing was acknowledged.
    pub p50_ns: Option<u64>,
    /// The same.
    pub p99_ns: Option<u64>,
    /// Failures since the end of the warm-up.
    pub errors: u64,
    /// How far consumers are behind, if there are any.
    pub lag_records: Option<u64>,
}

impl Progress {
    /// Of the machines of a run together.
    pub fn of<'a>(
        moments: impl IntoIterator<Item = &'a Moment>,
        elapsed: Duration,
        whole: Duration,
    ) -> Self {
        let mut progress = Self {
            elapsed,
            whole,
            ..Self::default()
        };
        let mut latency = histogram::empty();
        for moment in moments {
            progress.records_per_s += moment.produced.records as f64;
            progress.bytes_per_s += moment.produced.bytes as f64;
            progress.errors += moment.errors;
            progress.lag_records = match (progress.lag_records, moment.lag_records) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            };
            histogram::add(&mut latency, &moment.produce_latency);
        }
        if !latency.is_empty() {
            progress.p50_ns = Some(latency.value_at_quantile(0.5));
            progress.p99_ns = Some(latency.value_at_quantile(0.99));
        }
        progress
    }
}
