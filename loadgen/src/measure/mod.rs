//! What a run measures: each worker thread writes into a [`Recorder`] of its own, a [`Collector`] gathers what they
//! recorded, second by second, and in the end there are [`Measurements`], which merge with those of other machines.
//!
//! Times are nanoseconds since the start of the run; latencies are nanoseconds in HdrHistograms of three significant
//! digits, up to an hour (see [`histogram`]). What happens before the end of the warm-up is kept for plots and counts
//! nowhere else.
//!
//! ```text
//! worker thread: Recorder ── one chunk a second ──► Collector ── compacts ──► Measurements ──► report
//! ```
//!
//! No lock is taken to record, and nothing is compressed on a worker's thread: the thread that calls
//! [`Collector::collect`] does that. Memory grows by some kilobytes a second, whatever the rate.

mod collector;
pub mod histogram;
mod measurements;
mod plan;
mod progress;
mod recorder;
mod thread;
mod verdict;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use collector::Collector;
pub use measurements::{Flow, Interval, Measurements};
pub use plan::Plan;
pub use progress::{Moment, Progress};
pub use recorder::{Fate, Recorder};
pub use thread::{ThreadClock, ThreadTime, ThreadUse};
pub use verdict::{Level, Verdict};

/// What became of the records of a run, by looking at each that came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Records that the broker acknowledged.
    pub acknowledged: u64,
    /// Records that a consumer got, repeated ones included.
    pub received: u64,
    /// Acknowledged and not received, where everything was read that came later; or received, and gone from the
    /// partition when the run ended.
    pub lost: u64,
    /// Acknowledged and not received, because consumers could not read so far: nobody knows whether they are there.
    #[serde(default)]
    pub unread: u64,
    /// Acknowledged and not received, because they were deleted before consumers came to them: by retention, or because
    /// somebody asked for it.
    #[serde(default)]
    pub deleted: u64,
    /// Received once more than they should have been.
    pub duplicated: u64,
    /// Received again after a group's partitions had moved, which at least once allows.
    #[serde(default)]
    pub redelivered: u64,
    /// Received after a later one of the same producer and partition.
    pub reordered: u64,
    /// Received with other bytes than were sent, or from another partition.
    pub corrupted: u64,
    /// Received, and nothing that this run has sent.
    pub unknown: u64,
    /// Producers were not idempotent: what they sent again may be there twice, and in another order.
    #[serde(default)]
    pub may_repeat: bool,
}

/// What a verification comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Every acknowledged record came back whole, and once and in order as far as was promised.
    Whole,
    /// Not all could be read: the broker did not answer up to the end, or had deleted some as it was to. None is known to
    /// be lost or changed.
    Unread,
    /// The broker broke its word.
    Broken,
}

impl Verification {
    /// What words and exit statuses say of it.
    pub fn judgement(&self) -> Judgement {
        let repeated = match self.may_repeat {
            true => 0,
            false => self.duplicated + self.reordered,
        };
        match (
            self.lost + self.corrupted + repeated,
            self.unread + self.deleted,
        ) {
            (0, 0) => Judgement::Whole,
            (0, _) => Judgement::Unread,
            _ => Judgement::Broken,
        }
    }
}
