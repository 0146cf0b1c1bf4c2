//! The parts of a run: warm-up, the time that counts, and what still arrives after it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// When a run counts what. Seconds are laid so that one begins where the warm-up ends: if the warm-up is no whole
/// number of seconds, the very first interval is the shorter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Time before anything counts, in nanoseconds.
    pub warm_up_ns: u64,
    /// Time that counts, in nanoseconds.
    pub duration_ns: u64,
}

/// Where in a run something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Counts nowhere but in plots.
    #[default]
    WarmUp,
    /// Counts everywhere.
    Measured,
    /// Sending has ended. Late answers count for latency, since leaving out the slowest would flatter; they don't count
    /// for rates.
    Drain,
}

/// A stretch of time within one second and one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub interval: u64,
    pub phase: Phase,
    pub until_ns: u64,
}

impl Plan {
    /// A run of `warm_up` and then `duration`.
    pub fn new(warm_up: Duration, duration: Duration) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4);
        Self {
            warm_up_ns: nanos(warm_up),
            duration_ns: nanos(duration),
        }
    }

    /// When rates stop to count, in nanoseconds since the start.
    pub fn end_ns(&self) -> u64 {
        self.warm_up_ns.saturating_add(self.duration_ns)
    }

    /// How much later than multiples of a second intervals would begin, taken from a whole second.
    fn offset_ns(&self) -> u64 {
        (SECOND_NS - self.warm_up_ns % SECOND_NS) % SECOND_NS
    }

    /// Number of the interval of that time.
    pub(super) fn interval(&self, at_ns: u64) -> u64 {
        (at_ns + self.offset_ns()) / SECOND_NS
    }

    /// When an interval begins, in nanoseconds since the start.
    pub fn interval_start_ns(&self, interval: u64) -> u64 {
        (interval * SECOND_NS).saturating_sub(self.offset_ns())
    }

    /// Whether an interval lies before the end of the warm-up.
    pub fn is_warm_up(&self, interval: u64) -> bool {
        self.interval_start_ns(interval) < self.warm_up_ns
    }

    /// What `at_ns` is part of, if sending ended at `stop_ns`.
    pub(super) fn span(&self, at_ns: u64, stop_ns: u64) -> Span {
        let interval = self.interval(at_ns);
        let end_ns = self.interval_start_ns(interval + 1);
        let (phase, until_ns) = match at_ns {
            at if at < self.warm_up_ns => (Phase::WarmUp, end_ns),
            at if at < stop_ns => (Phase::Measured, end_ns.min(stop_ns)),
            _ => (Phase::Drain, end_ns),
        };
        Span {
            interval,
            phase,
            until_ns,
        }
    }
}
