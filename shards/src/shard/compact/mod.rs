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
//! left half-written is removed when the partition is looked at next (without a crash: when the pass has failed). Going through a log twice changes nothing.

mod course;
mod pace;
mod pass;
mod reader;
mod swap;
mod writer;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::message::ReadError;
use crate::io::futures::first_of;
use crate::io::{Io, Notify};
use crate::log::compact::{Candidate, FilterError, Plan, Settings, plan};
use crate::partition::{Partition, State};
use crate::route::PartitionKey;

pub(crate) use course::Course;
pub use course::LastPass;

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

/// What is in force of it, and who waits for a change.
pub(super) struct Cleaner {
    config: Cell<CleanerConfig>,
    changed: Notify,
}

impl Cleaner {
    pub fn new(config: CleanerConfig) -> Self {
        Self {
            config: Cell::new(config),
            changed: Notify::new(),
        }
    }

    pub fn get(&self) -> CleanerConfig {
        self.config.get()
    }

    fn set(&self, config: CleanerConfig) {
        if self.config.replace(config) != config {
            self.changed.notify_all();
        }
    }

    /// Waits for a change, or for so long.
    async fn changed_within(&self, io: &Io, time: Duration) {
        first_of(pin!(self.changed.notified()), pin!(io.sleep(time))).await;
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
    /// New values for how logs are compacted. Whatever is under way goes by them at once; a pass that has taken more
    /// memory than there is now begins anew.
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
            if !self.0.cleaner.get().is_enabled || !self.compact_next().await {
                self.back_off().await;
            }
        }
    }

    /// Waits for the time between two looks at the logs, by what is in force of it when it is over.
    async fn back_off(&self) {
        let (io, cleaner) = (self.io(), &self.0.cleaner);
        let begun = io.now();
        loop {
            let backoff = cleaner.get().backoff.max(BACKOFF_MIN);
            let waited = io.now().since(begun);
            if waited >= backoff {
                return;
            }
            cleaner.changed_within(io, backoff - waited).await;
        }
    }

    /// Compacts the log of which the largest part is dirty, if one is due. Whether there was one. One whose pass the disk
    /// has failed is left alone for a while: the others go on.
    pub async fn compact_next(&self) -> bool {
        let Some((partition, plan)) = self.dirtiest().await else {
            return false;
        };
        let begun = self.io().now();
        let ended = self.compact(&partition, &plan).await;
        if ended.is_err() && !self.0.stopping.get() {
            // Others may need the room. If it cannot be done now, the next pass does it.
            _ = self.remove_half_written(&partition).await;
        }
        let now = self.io().now();
        let course = partition.compaction.get();
        partition.compaction.set(match ended {
            Ok(()) => {
                let took = now.since(begun);
                self.0.metrics.compaction_passes.record(took);
                if course.is_held_up() {
                    tracing::info!(partition = %partition.dir, "a log is compacted again");
                }
                Course::passed(LastPass {
                    ended_ms: self.io().wall_ms(),
                    took,
                })
            }
            Err(CompactError::Gone) => course,
            Err(error @ (CompactError::Io(_) | CompactError::Read(ReadError::Storage))) => {
                if !course.is_held_up() {
                    tracing::warn!(
                        partition = %partition.dir, %error,
                        "cannot compact a log: it is tried again now and then"
                    );
                }
                course.failed(now)
            }
            Err(error) => {
                tracing::error!(partition = %partition.dir, %error, "cannot compact a log: it is left as it is");
                course.given_up()
            }
        });
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
            if !partition.compaction.get().may_go_on(self.io().now()) {
                continue;
            }
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

/// How far compaction of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionFacts {
    /// First offset that it has not been through.
    pub first_dirty_offset: i64,
    /// Bytes before that.
    pub clean_bytes: u64,
    /// Bytes from there on that it may go through by now.
    pub dirty_bytes: u64,
    /// Whether its last pass has failed: for damage, or because the disk did.
    pub is_held_up: bool,
    /// The last one that has not, since the start.
    pub last_pass: Option<LastPass>,
}

impl CompactionFacts {
    /// Dirty part of the whole.
    pub fn dirty_ratio(&self) -> f64 {
        plan::dirty_ratio(self.clean_bytes, self.dirty_bytes)
    }
}

/// `None` for a log that is not compacted.
pub(super) fn facts(partition: &Partition, now_ms: i64) -> Option<CompactionFacts> {
    let state = partition.state.borrow();
    let when = state.log.config.compaction.as_ref()?.when;
    let course = partition.compaction.get();
    let first_dirty = state.log.first_dirty_offset();
    let finished = candidates(&state);
    let clean = finished.partition_point(|segment| segment.next_offset <= first_dirty);
    let plan = plan_of(&state, &finished, &when, now_ms);
    Some(CompactionFacts {
        first_dirty_offset: first_dirty,
        clean_bytes: finished[..clean].iter().map(|clean| clean.bytes).sum(),
        dirty_bytes: plan.map_or(0, |plan| plan.dirty_bytes),
        is_held_up: course.is_held_up(),
        last_pass: course.last_pass(),
    })
}

/// What is to be compacted of a log, if it is time.
fn due(partition: &Partition, now_ms: i64) -> Option<Plan> {
    let state = partition.state.borrow();
    let when = state.log.config.compaction.as_ref()?.when;
    let is_moving = partition.moving.borrow().is_some();
    if state.is_dropped || partition.is_offline() || is_moving {
        return None;
    }
    let plan = plan_of(&state, &candidates(&state), &when, now_ms)?;
    plan.is_due(&when).then_some(plan)
}

/// Of these finished segments.
fn plan_of(state: &State, finished: &[Candidate], when: &Settings, now_ms: i64) -> Option<Plan> {
    let (first_dirty, limit) = (state.log.first_dirty_offset(), state.last_stable_offset());
    Plan::of(finished, first_dirty, limit, when, now_ms)
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
            newest_ms: segment.newest_ms,
            first_timestamp_ms: segment.first_timestamp_ms,
        })
        .collect()
}

#[cfg(test)]
mod tests;
