//! What journals say of partitions: their entries, one after the other, put together in memory.
//!
//! It is the same code that applied an entry when it was new. Nothing here knows a shard: whoever looks at the folders
//! of a broker that is down reads its journals with it as well.

use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use uuid::Uuid;

use super::losses::Seen;
use crate::journal::Ticket;
use crate::journal::group::{EntryKind, be64};
use crate::journal::recovery::Found;
use crate::log::batch::header::HEADER_BYTES;
use crate::log::config::LogConfig;
use crate::log::snapshot::UnfinishedMove;
use crate::log::{Log, snapshot};
use crate::mutation::{Mutation, is_on};
use crate::route::PartitionKey;

/// A partition while its journal is read.
pub(in crate::shard) struct Recovering {
    pub(in crate::shard) revision: u64,
    pub(in crate::shard) anchor: Ticket,
    /// Place of the volume of this shard whose journal it is anchored in, if it is.
    pub(in crate::shard) journal: Option<usize>,
    /// Place of the volume whose journal it belongs into.
    pub(in crate::shard) volume: usize,
    pub(in crate::shard) dir: String,
    pub(in crate::shard) folder: Uuid,
    pub(in crate::shard) unfinished_move: UnfinishedMove,
    pub(in crate::shard) leader_epoch: i32,
    pub(in crate::shard) log: Log,
    /// What its journal says of its being whole.
    pub(in crate::shard) seen: Seen,
}

/// Whether anything of a log should be in the folder of its partition.
pub(in crate::shard) fn needs_dir(log: &Log) -> bool {
    log.segments().iter().any(|segment| segment.settled > 0)
}

/// Where a journal was found.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The log folder that it is in.
    pub folder: Uuid,
    /// Place of the volume of that folder.
    pub volume: usize,
    /// Place of the volume whose journal goes on in it, if one does.
    pub journal: Option<usize>,
}

/// The folder of a partition that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededDir {
    /// The log folder that it is in.
    pub folder: Uuid,
    /// Its name.
    pub dir: String,
    /// Another one that it may have instead, since it has moved there.
    pub before: Option<String>,
}

/// What journals say of partitions.
#[derive(Default)]
pub struct Replayed {
    pub(in crate::shard) partitions: FxHashMap<PartitionKey, Recovering>,
    /// Those that were deleted, and their folders, which may still be there.
    pub(in crate::shard) dropped: FxHashMap<PartitionKey, String>,
    /// Those of which records were found behind rot, and nothing else.
    pub(super) unknown: FxHashSet<PartitionKey>,
}

impl Replayed {
    /// Adds what another journal says: of the copies of a partition the one with the highest revision.
    pub fn merge(&mut self, other: Self) {
        self.dropped.extend(other.dropped);
        self.unknown.extend(other.unknown);
        for (key, partition) in other.partitions {
            self.keep_newest(key, partition);
        }
    }

    /// Gives up the memory of the records that were read, for one who only wants to know which partitions there are.
    pub fn forget_records(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.log.forget_tail();
        }
    }

    fn keep_newest(&mut self, key: PartitionKey, partition: Recovering) {
        match self.partitions.get(&key) {
            Some(known)
                if is_on(Mutation::PreferOldCopy) && known.revision < partition.revision => {}
            Some(known) if known.revision > partition.revision => {}
            _ => {
                self.partitions.insert(key, partition);
            }
        }
    }

    /// The folders without which a start goes on only if it is told to; of none that some journal says was deleted.
    pub fn needed_dirs(&self) -> Vec<NeededDir> {
        let all = self.partitions.iter();
        let needed =
            all.filter(|(key, its)| needs_dir(&its.log) && !self.dropped.contains_key(*key));
        let mut dirs: Vec<NeededDir> = needed
            .map(|(_, its)| {
                let now = its.unfinished_move.dir_now(&its.dir);
                NeededDir {
                    folder: its.folder,
                    before: (now != its.dir).then(|| now.into_owned()),
                    dir: its.dir.clone(),
                }
            })
            .collect();
        dirs.sort_unstable_by(|a, b| a.dir.cmp(&b.dir));
        dirs
    }

    /// Applies one entry of the journal in a place; `now_ms` is the time of day. Fails if it does not fit to what came
    /// before.
    #[expect(
        clippy::result_unit_err,
        reason = "it is what the readers of journals ask for"
    )]
    pub fn apply(&mut self, place: Place, found: &Found<'_>, now_ms: i64) -> Result<(), ()> {
        let (head, body) = (found.head, found.body);
        if head.kind == EntryKind::Checkpoint {
            let config = Rc::new(LogConfig::default());
            let snapshot = snapshot::decode(body, config).map_err(|_| ())?;
            let partition = Recovering {
                revision: head.revision,
                anchor: place.journal.map_or(0, |_| found.carried),
                journal: place.journal,
                volume: place.volume,
                dir: snapshot.dir,
                folder: snapshot.folder.unwrap_or(place.folder),
                unfinished_move: snapshot.unfinished_move,
                leader_epoch: snapshot.leader_epoch,
                log: snapshot.log,
                seen: Seen::whole(found.rotten_places),
            };
            self.keep_newest(head.key, partition);
            self.dropped.remove(&head.key);
            self.unknown.remove(&head.key);
            return Ok(());
        }
        if head.kind == EntryKind::Drop {
            let dropped = self.partitions.remove(&head.key);
            // Older versions do not say which folder it had.
            let dir = match str::from_utf8(body).map_err(|_| ())? {
                "" => dropped.map(|dropped| dropped.dir),
                dir => Some(dir.to_owned()),
            };
            self.dropped.extend(dir.map(|dir| (head.key, dir)));
            self.unknown.remove(&head.key);
            return Ok(());
        }
        // Entries of a partition without a checkpoint before them are left over from before it moved, or
        // from a file whose beginning is not needed any more.
        let Some(partition) = self.partitions.get_mut(&head.key) else {
            self.note_unknown(found);
            return Ok(());
        };
        if partition.revision != head.revision {
            return Ok(());
        }
        match head.kind {
            EntryKind::Checkpoint | EntryKind::Drop => unreachable!("handled above"),
            EntryKind::Append => {
                let (place, batch) = body.split_at_checked(16).ok_or(())?;
                let (header, records) = batch.split_first_chunk::<HEADER_BYTES>().ok_or(())?;
                let place = (be64(place, 0) as i64, be64(place, 8));
                let end = partition.log.end_offset();
                let fits =
                    partition
                        .log
                        .replay(place, header, &Bytes::copy_from_slice(records), now_ms);
                if partition.log.end_offset() > end {
                    partition.seen = Seen::whole(found.rotten_places);
                } else if !fits {
                    // Behind a loss a log ends where the loss began, until a checkpoint holds it itself.
                    partition.seen.note_lost(header);
                }
                return match fits || found.is_behind_rot() {
                    true => Ok(()),
                    false => Err(()),
                };
            }
            EntryKind::LogStart => {
                let offset = body.get(..8).map(|bytes| be64(bytes, 0) as i64).ok_or(())?;
                let end = partition.log.end_offset();
                if offset > end && !found.is_behind_rot() {
                    return Err(());
                }
                partition.log.set_start(offset.min(end));
            }
            EntryKind::LeaderEpoch => {
                let epoch = body.get(..8).map(|bytes| be64(bytes, 0) as i32).ok_or(())?;
                partition.log.begin_epoch(epoch);
                partition.leader_epoch = partition.leader_epoch.max(epoch);
            }
            EntryKind::Moved => {
                self.partitions.remove(&head.key);
            }
        }
        Ok(())
    }
}
