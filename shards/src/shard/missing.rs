//! Partitions whose folder was there and is not any more.
//!
//! What the journal has of such a partition is only its newest part. The start is refused, as for damage to the
//! journal, or goes on without the whole partition, which is then made anew. Asked once it is known which partitions
//! there should be: one that was deleted may have lost its folder and not yet its place in the journal.

use std::ops::Range;
use std::path::PathBuf;

use super::handover::OldCopy;
use super::recovery::needs_dir;
use super::{RotPolicy, Shard};
use crate::partition::Partition;
use crate::route::PartitionKey;

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
    partition.is_opened.get() && needs_dir(&partition.state.borrow().log)
}

#[cfg(test)]
mod tests;
