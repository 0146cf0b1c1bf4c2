//! Partitions whose folder was there and is not any more, and segments that are gone.
//!
//! What the journal has of a partition without its folder is only its newest part. The start is refused, as for damage
//! to the journal, or goes on without the whole partition, which is then made anew. Asked once it is known which
//! partitions there should be: one that was deleted may have lost its folder and not yet its place in the journal.
//!
//! Segments are deleted behind a log start that the journal has. Where it has lost that, with a group that has rotted or
//! was taken for its torn end, what it says of a log is older than the log's files. Reading the oldest segments is an
//! error then, and nothing is written in the place of one that was half written; or, if the policy is to go on without
//! what is lost, the log starts behind them. Nobody can tell them from segments that somebody has removed by mistake, nor
//! what the journal has of them from what was deleted with them.

use std::collections::BTreeSet;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::rc::Rc;

use super::handover::OldCopy;
use super::recovery::{StartError, needs_dir};
use super::{RotPolicy, Shard};
use crate::io::Landmark;
use crate::log::checkpoint_name::SnapshotId;
use crate::log::segment::Segment;
use crate::log::segment_name::{FileKind, SegmentFile};
use crate::partition::Partition;
use crate::route::{METADATA_TOPIC, PartitionKey};

/// A partition without its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFolder {
    /// Whose it was.
    pub key: PartitionKey,
    /// Where it was.
    pub path: PathBuf,
    /// The records that were in it.
    pub offsets: Range<i64>,
}

impl Shard {
    /// The partitions of this shard without their folders, but for those that the policy goes on without: these are
    /// forgotten.
    pub async fn missing_folders(&self) -> Vec<MissingFolder> {
        let mut missing = Vec::new();
        for key in self.partitions() {
            missing.extend(self.missing_folder(&key));
        }
        for lost in &missing {
            tracing::error!(
                folder = %lost.path.display(),
                offsets = ?lost.offsets,
                "the folder of a partition is missing: its records are lost"
            );
        }
        if self.0.config.on_rot == RotPolicy::Continue && self.forget_lost(&missing).await {
            missing.clear();
        }
        missing
    }

    /// Forgets partitions, so that they can be made anew under their names. Whether that is durable: behind what is
    /// written of the new ones from now on, a start must not find that the old ones are over.
    async fn forget_lost(&self, lost: &[MissingFolder]) -> bool {
        let mut copies = Vec::with_capacity(lost.len());
        for partition in lost.iter().filter_map(|lost| self.partition(&lost.key)) {
            let turn = partition.settling.take().await;
            self.supersede(&partition);
            drop(turn);
            copies.push(OldCopy {
                volume: partition.volume(),
                key: partition.key,
                revision: partition.revision.get(),
            });
        }
        self.forget_copies(copies).await.is_ok()
    }

    /// Has the logs of this shard's partitions start behind their oldest segments that are gone, durably; others that are
    /// gone are made anew from now on where there is more to write to them. For a start: until then nobody makes any.
    pub(super) async fn give_up_removed_segments(&self) -> Result<(), StartError> {
        for key in self.partitions() {
            let Some(partition) = self.partition(&key) else {
                continue;
            };
            // One without its folder is seen to as a whole.
            if partition.is_offline() || partition.has_lost_dir.get() {
                continue;
            }
            if partition.state.borrow().log.is_swapping() {
                // Its segments have their names later.
                tracing::warn!(
                    partition = %partition.dir,
                    "what compaction has begun is not finished: whether segments are gone is seen at the next start"
                );
                continue;
            }
            let start = match self.end_of_removed_segments(&partition).await {
                Ok(Some(start)) => start,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(partition = %partition.dir, %error, "cannot find out whether segments are gone");
                    continue;
                }
            };
            if !self.start_behind(&partition, start).await && !partition.is_offline() {
                return Err(StartError::NotWritten(key));
            }
        }
        self.0.store.replace_lost();
        for partition in self.0.partitions.borrow().values() {
            if partition.has_lost_segment.take() {
                self.settle_if_due(partition);
            }
        }
        Ok(())
    }

    /// Where the oldest segments end whose files should be there and are not, if that is behind the log start. The
    /// metadata is of no use without its beginning, which nothing but a snapshot can stand for.
    async fn end_of_removed_segments(&self, partition: &Partition) -> io::Result<Option<i64>> {
        // The folder of one that was deleted may be another topic's.
        if !needs_dir(&partition.state.borrow().log)
            || self.0.store.is_of_another_topic(partition).await?
        {
            return Ok(None);
        }
        let entries = self.io().list_dir(&self.0.store.dir(partition)).await?;
        let names: BTreeSet<String> = entries.into_iter().map(|entry| entry.name).collect();
        let log = &partition.state.borrow().log;
        let is_there = |base_offset| {
            let file = SegmentFile::new(base_offset, FileKind::Log);
            names.contains(&file.name())
        };
        let Some(end) = end_of_gone(log.segments(), log.end_offset(), is_there) else {
            return Ok(None);
        };
        let is_needed = partition.key.topic == METADATA_TOPIC
            && !is_in_snapshot(&names, end..=log.end_offset());
        Ok((end > log.start_offset() && !is_needed).then_some(end))
    }

    /// Moves the log start of a partition behind segments that are gone. Whether that is durable.
    async fn start_behind(&self, partition: &Rc<Partition>, start: i64) -> bool {
        self.io().reached(Landmark::RemovedSegmentsGivenUp);
        tracing::error!(
            partition = %partition.dir,
            from = partition.state.borrow().log.start_offset(),
            to = start,
            "the oldest segments of a log are gone, and the journal does not know: the log starts behind them"
        );
        {
            let log = &mut partition.state.borrow_mut().log;
            if start == log.end_offset() {
                // The one that is written is gone as well.
                log.roll_at(start, self.io().wall_ms());
            }
        }
        let is_durable = self.carry_log_start(partition, start).await;
        if is_durable {
            self.remove_old_segments(partition).await;
        }
        is_durable
    }

    /// Of one partition of this shard.
    pub fn missing_folder(&self, key: &PartitionKey) -> Option<MissingFolder> {
        let partition = self.partition(key)?;
        if !partition.has_lost_dir.get() || partition.is_offline() {
            return None;
        }
        let log = &partition.state.borrow().log;
        Some(MissingFolder {
            key: *key,
            path: self.0.store.dir(&partition),
            offsets: log.start_offset()..log.end_offset(),
        })
    }
}

/// Whether one of these files is a snapshot that ends there: of all that the metadata log says before that.
fn is_in_snapshot(names: &BTreeSet<String>, ends: RangeInclusive<i64>) -> bool {
    let mut snapshots = names.iter().filter_map(|name| SnapshotId::parse(name));
    snapshots.any(|id| ends.contains(&id.end_offset))
}

/// Where the last segment ends that is gone and has none before it whose file is there. `log_end` is where the last one
/// of `segments` ends.
fn end_of_gone(segments: &[Segment], log_end: i64, is_there: impl Fn(i64) -> bool) -> Option<i64> {
    let without_file = segments
        .iter()
        .take_while(|segment| !is_there(segment.base_offset));
    // All that was ever written to one that has nothing settled is in the journal.
    let gone = without_file
        .enumerate()
        .filter(|(_, segment)| segment.settled > 0);
    let (last, _) = gone.last()?;
    let next = segments.get(last + 1);
    Some(next.map_or(log_end, |next| next.base_offset))
}

/// Finds out, as a start does, which name a partition's folder has, and whether it is lost.
pub(super) fn look_for_dir(partition: &Partition) {
    if partition.is_offline() {
        return;
    }
    let folder = partition.folder();
    let found = folder.found_dirs.borrow();
    let is_there = || found.contains(&*partition.dir_now());
    if !is_there() {
        // A move gives it its name when it has switched. Nobody shall make another one.
        partition.unfinished_move.borrow_mut().future = None;
    }
    let is_lost = !is_there() && needs_dir(&partition.state.borrow().log);
    partition.has_lost_dir.set(is_lost);
}

/// Whether the folder with a partition's name can only be its own, whatever its `partition.metadata` says: nobody else
/// has made it since there are records of this one in it. One that recovery found, and that nobody has opened, may
/// itself have been deleted, and the folder be another topic's.
pub(super) fn must_own_dir(partition: &Partition) -> bool {
    let is_in_use = || partition.is_opened.get() && needs_dir(&partition.state.borrow().log);
    has_only_owner(&partition.key) || is_in_use()
}

/// Whether no other topic ever has the name of this partition's, and with it the folder. That of the metadata log has
/// its snapshots, too, however little of its records is in segments.
pub(super) fn has_only_owner(key: &PartitionKey) -> bool {
    key.topic == METADATA_TOPIC
}

#[cfg(test)]
mod tests;
