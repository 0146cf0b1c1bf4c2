//! What the damage of a journal cost each partition, as far as what is left of the journal tells.
//!
//! Records behind the damage that do not go on from those before it say that some are lost, and go with them. Those that do
//! go on, and a checkpoint, say that nothing of the partition was lost before. Of a partition of which nothing comes
//! behind the damage nobody knows: its newest records may have been there, or none.

use std::path::PathBuf;

use super::replay::Replayed;
use crate::journal::group::EntryKind;
use crate::journal::recovery::{Found, Rot};
use crate::log::batch::header::{BatchHeader, HEADER_BYTES};

/// Partitions of one shard that are named.
const NAMED_MAX: usize = 100;

/// What a journal says of a partition's being whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::shard) struct Seen {
    /// Rotten places before the last entry that says that all before it is there.
    whole_behind: usize,
    /// The last offset of the records that do not go on from those that are there.
    lost_through: Option<i64>,
    /// Whether something may have come behind that entry.
    may_lack: bool,
}

impl Seen {
    /// All is there at an entry behind so many rotten places.
    pub(super) fn whole(rotten_places: usize) -> Self {
        Self {
            whole_behind: rotten_places,
            ..Self::default()
        }
    }

    /// Records with this header are not to be had, for want of those before them.
    pub(super) fn note_lost(&mut self, header: &[u8; HEADER_BYTES]) {
        let last = BatchHeader::parse(header).map(|header| header.last_offset());
        self.lost_through = self.lost_through.max(last.ok());
    }
}

/// Records of a partition that the damage of a journal has taken, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The name of its folder; id and number of one of which only records were found.
    pub partition: String,
    /// The first offset that is lost: its log ends here.
    pub from: i64,
    /// The last offset that is known to be lost; nothing if it is not known whether anything is.
    pub through: Option<i64>,
}

impl Replayed {
    /// Takes note that the journal that was read lacks something: groups that have rotted, or files.
    pub fn note_damage(&mut self, rot: &[Rot], missing: &[PathBuf]) {
        for partition in self.partitions.values_mut() {
            let seen = &mut partition.seen;
            // Where a file is missing that is not followed by another one, nothing comes behind it.
            seen.may_lack = seen.whole_behind < rot.len() || !missing.is_empty();
        }
    }

    /// What partitions have lost, or may have: first those that have.
    pub fn lost(&self) -> Vec<Lost> {
        let all = self.partitions.iter();
        let there = all.filter(|(key, its)| {
            let is_hit = its.seen.may_lack || its.seen.lost_through.is_some();
            is_hit && !self.dropped.contains_key(*key)
        });
        let there = there.map(|(_, its)| Lost {
            partition: its.dir.clone(),
            from: its.log.end_offset(),
            through: its.seen.lost_through,
        });
        let is_known = |key| self.partitions.contains_key(key) || self.dropped.contains_key(key);
        let unknown = self.unknown.iter().filter(|key| !is_known(key));
        let unknown = unknown.map(|key| Lost {
            partition: format!("{}-{}", key.topic, key.partition),
            from: 0,
            through: None,
        });
        let mut lost: Vec<Lost> = there.chain(unknown).collect();
        lost.sort_unstable_by(|a, b| {
            let order = |it: &Lost| it.through.is_none();
            (order(a), &a.partition).cmp(&(order(b), &b.partition))
        });
        lost
    }

    /// Tells what partitions have lost, or may have.
    pub(super) fn tell_losses(&self) {
        let lost = self.lost();
        for Lost {
            partition,
            from,
            through,
        } in lost.iter().take(NAMED_MAX)
        {
            match through {
                Some(through) => tracing::error!(
                    partition,
                    offset = from,
                    lost_through = through,
                    "a partition has lost records to the damage of a journal: from this offset on"
                ),
                None => tracing::warn!(
                    partition,
                    offset = from,
                    "a partition may have lost records to the damage of a journal: from this offset on"
                ),
            }
        }
        if let Some(partitions @ 1..) = lost.len().checked_sub(NAMED_MAX) {
            tracing::warn!(
                partitions,
                "more partitions have lost records to the damage of a journal, or may have"
            );
        }
    }

    /// Takes note of an entry of a partition of which no checkpoint was found. Behind rot that may be the reason.
    pub(super) fn note_unknown(&mut self, found: &Found<'_>) {
        let key = found.head.key;
        match found.head.kind {
            EntryKind::Append if found.is_behind_rot() => drop(self.unknown.insert(key)),
            EntryKind::Moved => drop(self.unknown.remove(&key)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
