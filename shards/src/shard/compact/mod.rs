//! Compaction of this shard's logs: the one that needs it most at a time, in slices beside the traffic.
//!
//! What stays is decided in `log::compact`; here files are read (`reader`), written (`writer`) and put in the place of
//! those that they were made of (`swap`). One pass over a log:
//!
//! 1. The dirty segments are read, and the newest offset of each key noted, as far as there is memory for it.
//! 2. All segments up to there are read again, in groups, and what stays of each group is written to a file of its own.
//! 3. That file takes the place of its group, before the next group is begun.
//! 4. The first dirty offset moves on, with a checkpoint.
//!
//! Crash behaviour: before a file is in its place, the log is as it was; behind that, it is as the file has it. What was
//! left half-written is removed when the partition is looked at next. Going through a log twice changes nothing.

mod pass;
mod reader;
mod swap;
mod writer;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::message::ReadError;
use crate::log::compact::{Candidate, FilterError, Plan};
use crate::partition::{Partition, State};
use crate::route::PartitionKey;

/// Logs are looked at no more often than this: each look costs the shard time.
const BACKOFF_MIN: Duration = Duration::from_millis(1);

/// How compaction goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanerConfig {
    /// Whether there is any.
    pub is_enabled: bool,
    /// Time until logs are looked at again when none was due.
    pub backoff: Duration,
    /// Memory for the keys of a pass.
    pub map_bytes_max: usize,
    /// Bytes read and written a second at most; `None` has no limit.
    pub io_bytes_a_second: Option<u64>,
}

impl Default for CleanerConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            is_enabled: true,
            backoff: Duration::from_secs(15),
            map_bytes_max: 128 << 20,
            io_bytes_a_second: None,
        }
    }
}

/// Why a pass has ended early.
#[derive(Debug)]
pub(super) enum CompactError {
    /// The partition, or what was to be compacted of it, is not there any more.
    Gone,
    /// The disk says no.
    Io(io::Error),
    /// The log cannot be read.
    Read(ReadError),
    /// A batch is damaged, or is not where it should be.
    Damaged { segment: i64, position: u64 },
    /// The records of a batch are.
    Batch(FilterError),
    /// There is not even memory for the keys of one batch.
    NoRoom,
}

impl fmt::Display for CompactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is not there any more"),
            Self::Io(error) => error.fmt(f),
            Self::Read(error) => write!(f, "{error:?}"),
            Self::Damaged { segment, position } => {
                write!(f, "segment {segment} is damaged at position {position}")
            }
            Self::Batch(error) => error.fmt(f),
            Self::NoRoom => f.write_str("there is no memory for the keys of one batch"),
        }
    }
}

impl std::error::Error for CompactError {}

impl From<io::Error> for CompactError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ReadError> for CompactError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Shard {
    /// New values for how logs are compacted, from the next pass on.
    pub fn set_cleaner(&self, config: CleanerConfig) {
        self.0.cleaner.set(config);
    }

    /// First offset of a partition of this shard that compaction has not been through.
    pub fn first_dirty_offset(&self, key: &PartitionKey) -> Option<i64> {
        let partition = self.partition(key)?;
        let state = partition.state.borrow();
        Some(state.log.first_dirty_offset())
    }

    /// Compacts logs until the shard stops.
    pub(super) async fn compaction_task(self) {
        while !self.0.stopping.get() && !self.has_failed() {
            let config = self.0.cleaner.get();
            if !config.is_enabled || !self.compact_next().await {
                self.io().sleep(config.backoff.max(BACKOFF_MIN)).await;
            }
        }
    }

    /// Compacts the log of which the largest part is dirty, if one is due. Whether there was one.
    pub async fn compact_next(&self) -> bool {
        let Some((partition, plan)) = self.dirtiest().await else {
            return false;
        };
        let begun = self.io().now();
        match self.compact(&partition, &plan).await {
            Ok(()) => {
                let metrics = &self.0.metrics;
                metrics
                    .compaction_passes
                    .record(self.io().now().since(begun));
            }
            Err(CompactError::Gone) => {}
            Err(error @ (CompactError::Io(_) | CompactError::Read(ReadError::Storage))) => {
                tracing::warn!(partition = %partition.dir, %error, "cannot compact a log for now");
                return false;
            }
            Err(error) => {
                tracing::error!(partition = %partition.dir, %error, "cannot compact a log: it is left as it is");
                partition.is_uncleanable.set(true);
            }
        }
        true
    }

    /// The log of which the largest part is dirty, of those that are due.
    async fn dirtiest(&self) -> Option<(Rc<Partition>, Plan)> {
        let mut dirtiest: Option<(Rc<Partition>, Plan)> = None;
        let mut slice = self.io().slice();
        for key in self.partitions() {
            if slice.is_over(self.io()) {
                self.io().yield_now().await;
                slice = self.io().slice();
            }
            let Some(partition) = self.partition(&key) else {
                continue;
            };
            let Some(plan) = due(&partition, self.io().wall_ms()) else {
                continue;
            };
            let ratio = plan.dirty_ratio();
            if dirtiest
                .as_ref()
                .is_none_or(|(_, other)| ratio > other.dirty_ratio())
            {
                dirtiest = Some((partition, plan));
            }
        }
        dirtiest
    }
}

/// What is to be compacted of a log, if it is time.
fn due(partition: &Partition, now_ms: i64) -> Option<Plan> {
    let state = partition.state.borrow();
    let config = state.log.config.compaction.as_ref()?;
    let is_moving = partition.moving.borrow().is_some();
    if state.is_dropped || partition.is_offline() || partition.is_uncleanable.get() || is_moving {
        return None;
    }
    let (first_dirty, limit) = (state.log.first_dirty_offset(), state.last_stable_offset());
    let plan = Plan::of(
        &candidates(&state),
        first_dirty,
        limit,
        &config.when,
        now_ms,
    )?;
    plan.is_due(&config.when).then_some(plan)
}

/// The finished segments, oldest first. The active one is never among them.
fn candidates(state: &State) -> Vec<Candidate> {
    let segments = state.log.segments();
    let pairs = segments.iter().zip(segments.iter().skip(1));
    pairs
        .take_while(|(segment, _)| segment.is_finished)
        .map(|(segment, next)| Candidate {
            base_offset: segment.base_offset,
            next_offset: next.base_offset,
            bytes: segment.bytes,
            max_timestamp_ms: segment.max_timestamp_ms,
            first_timestamp_ms: segment.first_timestamp_ms,
        })
        .collect()
}

#[cfg(test)]
mod tests;
