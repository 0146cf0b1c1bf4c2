//! How a run goes, while it goes on.

use std::time::Duration;

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
