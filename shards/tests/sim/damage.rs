//! What a flipped bit of a file may cost: worked out from the file's bytes, and not by the code that reads them in a
//! broker.

use std::ops::Range;
use std::path::{Path, PathBuf};

use corelog_shards::io::BLOCK;
use corelog_shards::journal::group::{Entries, EntryKind, GroupHeader, HEADER_LEN};
use corelog_shards::log::batch::BatchIter;
use corelog_shards::route::PartitionKey;

/// A group of a journal as it was written.
pub struct Group {
    pub path: PathBuf,
    pub position: u64,
    pub header: GroupHeader,
    pub payload: Vec<u8>,
}

impl Group {
    /// Where its bytes are, without what fills up its last block.
    pub fn range(&self) -> Range<u64> {
        let len = HEADER_LEN as u64 + u64::from(self.header.payload_len);
        self.position..self.position + len
    }

    /// Partitions whose log start has moved in it.
    pub fn moved_starts(&self) -> impl Iterator<Item = PartitionKey> {
        let heads = Entries::new(&self.payload).map(|entry| entry.expect("an entry").0);
        let moved = heads.filter(|head| head.kind == EntryKind::LogStart);
        moved.map(|head| head.key)
    }
}

/// What a file of a journal has of its last use.
pub struct JournalFile {
    first: GroupHeader,
    /// Its groups, in order, as far as they are sound.
    groups: Vec<Group>,
    /// What sound headers say, also of groups behind a torn one, or of torn ones: how far the journal is on stable
    /// storage, and which file is the oldest that is needed.
    synced_through: u64,
    oldest_needed: u64,
}

impl JournalFile {
    /// `None` for one that holds nothing.
    pub fn parse(path: &Path, bytes: &[u8]) -> Option<JournalFile> {
        let (first, _) = GroupHeader::decode(bytes.get(..BLOCK)?).ok()?;
        let use_of = |header: &GroupHeader| (header.journal_id, header.file_seq, header.run_id);
        let blocks = bytes.chunks_exact(BLOCK);
        let headers = blocks.filter_map(|block| Some(GroupHeader::decode(block).ok()?.0));
        let headers = headers.filter(|header| use_of(header) == use_of(&first));
        let said = headers.map(|header| (header.synced_through, header.oldest_needed));
        let most = |most: (u64, u64), said: (u64, u64)| (most.0.max(said.0), most.1.max(said.1));
        let (synced_through, oldest_needed) = said.fold((0, 0), most);
        Some(JournalFile {
            first,
            groups: groups_in(path, bytes),
            synced_through,
            oldest_needed,
        })
    }
}

fn groups_in(path: &Path, bytes: &[u8]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut position = 0;
    while let Some(block) = bytes.get(position..position + BLOCK)
        && let Ok((header, _)) = GroupHeader::decode(block)
        && let Some(payload) = bytes[position + HEADER_LEN..].get(..header.payload_len as usize)
        && header.check_payload(payload).is_ok()
        && groups.last().is_none_or(|last| {
            (last.header.run_id, last.header.number + 1) == (header.run_id, header.number)
        })
    {
        groups.push(Group {
            path: path.to_owned(),
            position: position as u64,
            header,
            payload: payload.to_vec(),
        });
        position += header.padded_len() as usize;
    }
    groups
}

/// What a start has to read of a journal.
pub struct Journal {
    /// Its groups, in order.
    pub groups: Vec<Group>,
    synced_through: u64,
}

impl Journal {
    /// From all its files.
    pub fn new(mut files: Vec<JournalFile>) -> Journal {
        files.sort_by_key(|file| file.first.file_seq);
        let oldest_needed = files.last().map(|newest| newest.oldest_needed);
        files.retain(|file| Some(file.first.file_seq) >= oldest_needed);
        let said = files.iter().map(|file| file.synced_through);
        let synced_through = said.max().unwrap_or(0);
        let mut groups: Vec<Group> = Vec::new();
        for file in files {
            // What lies behind a torn end was cut off.
            let begins = file.first.number;
            groups.retain(|group| group.header.number < begins);
            groups.extend(file.groups);
        }
        Journal {
            groups,
            synced_through,
        }
    }

    /// Whether a later group says that this one was on stable storage.
    pub fn vouches_for(&self, at: usize) -> bool {
        self.groups[at].header.number <= self.synced_through
    }
}

/// Bytes of a batch that hold its leader epoch, which no CRC covers and by which nobody finds anything.
const LEADER_EPOCH: Range<u64> = 12..16;
/// The last of the bytes that no CRC covers: base offset, length, leader epoch, magic.
const MAGIC: u64 = 16;
/// How many offsets a batch has, which says where the next one begins.
const LAST_OFFSET_DELTA: Range<u64> = 23..27;

/// Bytes of a batch that hold its base offset.
const BASE_OFFSET: Range<u64> = 0..8;

/// Offsets of a segment that cannot be read, perhaps, for a bit of its file that flips at `place`: those of the batch
/// that holds it. Where that says no more where the next one begins, or there is a gap behind it, nobody can be sure of
/// those that follow up to the last offset of the next one that the index knows; where it does not say where it begins
/// itself, of one before it behind a gap. `segment` is from where the records before it end to the base offset of the
/// next one.
pub fn unreadable(log: &[u8], index: &[u8], place: u64, segment: Range<i64>) -> Range<i64> {
    let mut batches = BatchIter::new(log);
    let (mut begins, mut expected, mut behind_gap) = (0, segment.start, None);
    let next = loop {
        // What lies behind the last whole batch is not the file's to keep, or not yet.
        let Some(Ok(batch)) = batches.next() else {
            return 0..0;
        };
        let (base, next) = (batch.base_offset(), batch.next_offset());
        if place < batches.position() as u64 {
            break next;
        }
        behind_gap = (base != expected).then_some(expected);
        (begins, expected) = (batches.position() as u64, next);
    };
    let at = place - begins;
    let follower = match batches.next() {
        Some(Ok(batch)) => batch.base_offset(),
        _ => segment.end,
    };
    if LEADER_EPOCH.contains(&at) {
        return 0..0;
    }
    let start = behind_gap.filter(|_| BASE_OFFSET.contains(&at));
    let leads_on = at <= MAGIC || LAST_OFFSET_DELTA.contains(&at) || follower != next;
    let end = match leads_on {
        true => next_in_index(log, index, begins).unwrap_or(segment.end),
        false => next,
    };
    // Who asks for an offset of a gap wants what comes behind it.
    start.unwrap_or(expected)..end
}

/// The last offset of the first batch behind a position that an index knows: entries are found by that.
fn next_in_index(log: &[u8], index: &[u8], position: u64) -> Option<i64> {
    let entries = index.chunks_exact(8);
    let mut known = entries.map(|entry| {
        let at = u32::from_be_bytes(entry[4..].try_into().expect("four bytes"));
        u64::from(at)
    });
    let at = known.find(|at| *at > position)?;
    let batch = BatchIter::new(log.get(at as usize..)?).next()?;
    Some(batch.ok()?.last_offset())
}
