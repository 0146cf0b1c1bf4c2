//! Partitions whose folder was there and is not any more.
//!
//! What the journal has of such a partition is only its newest part. The start is refused, as for damage to the
//! journal, or goes on without the whole partition, which is then made anew. Asked once it is known which partitions
//! there should be: one that was deleted may have lost its folder and not yet its place in the journal.

use std::ops::Range;
use std::path::PathBuf;

use super::{RotPolicy, Shard};
use crate::log::segment::Segment;
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
    /// dropped.
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
        if self.0.config.on_rot == RotPolicy::Continue {
            let lost: Vec<PartitionKey> = missing.drain(..).map(|lost| lost.key).collect();
            self.drop_partitions(&lost).await;
        }
        missing
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

/// Whether anything of a partition should be in its folder.
pub(super) fn needs_dir(partition: &Partition) -> bool {
    let state = partition.state.borrow();
    let in_file = |segment: &Segment| segment.settled > 0;
    state.log.segments().iter().any(in_file)
}
