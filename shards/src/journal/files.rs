//! The journal's files: zeroed in the background, put to use, then recycled.
//!
//! A file is a *slot* (its name) and, each time it is put to use, a new sequence number (in the
//! groups it holds). Every block of a file is written once before the file is put to use: a sync of
//! blocks that were written before carries no metadata, which makes it several times faster.
//!
//! A small file in the folder above lists the files of each journal that were made: were one of them
//! lost, a start would otherwise take what is left for all there was.
//!
//! A file's length says how far it was written. So that a first start need not wait, the first files
//! are short, each four times as long as the one before it; they get their full length when they are
//! recycled.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crc32c::crc32c;
use rustc_hash::FxHashMap;

use super::Ticket;
use crate::io::{BLOCK, File, Io, OpenMode};
use crate::mutation::{Mutation, is_on};

/// Bytes zeroed by one write: few enough that a group which arrives meanwhile hardly waits.
const ZERO_CHUNK: usize = 256 << 10;
/// The first file's part of a full one, and its most, for which a first start waits.
const FIRST_PART: u64 = 16;
const FIRST_BYTES_MAX: u64 = 4 << 20;
/// How much longer the next ones are.
const GROWTH: u64 = 4;
/// A journal has a handful of files.
const SLOT_DIGITS: usize = 4;
const LIST_PREFIX: &str = ".journal-";
const ADOPTED_SUFFIX: &str = ".adopted";
const LIST_CHECKSUM: &str = "crc32c ";
/// The shortest file: a few groups.
const FILE_BYTES_MIN: u64 = 4 * BLOCK as u64;

/// One file of the journal, opened in both ways of writing.
#[derive(Clone)]
pub struct Handles {
    /// Writes that are made durable by a sync of their own.
    pub plain: Rc<File>,
    /// Writes that are durable when they complete.
    pub durable: Rc<File>,
}

/// A file and its length: all of it was written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which file.
    pub number: u32,
    /// Bytes of it.
    pub len: u64,
}

/// The file that is being written.
pub struct Active {
    /// Which file.
    pub slot: Slot,
    /// Its place in the order of use.
    pub seq: u64,
    /// Open files.
    pub handles: Handles,
    /// Where the next group goes.
    pub position: u64,
}

/// A full file that recovery may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which file.
    pub slot: Slot,
    /// Its place in the order of use.
    pub seq: u64,
    /// The newest carried ticket in it or before it.
    pub carried_through: Ticket,
}

/// Which files there are and what they are used for.
#[derive(Default)]
pub struct Files {
    /// Above the numbers of all slots that there are.
    pub made: u32,
    /// Numbers below that without a file, or with an empty one.
    pub blank: BTreeSet<u32>,
    /// Numbers of the slots that have a name.
    pub listed: BTreeSet<u32>,
    /// Whether the list says something else.
    pub is_list_due: bool,
    /// Slots that are to be made longer before they are used again.
    pub short: VecDeque<Slot>,
    /// Slots that the start found free: an earlier run may have made one longer and the sync of that
    /// failed. Their length is secured before they are used.
    pub unproven: VecDeque<Slot>,
    /// Slots that may be written anew.
    pub ready: VecDeque<Slot>,
    /// Slots that hold nothing needed any more, which no group on stable storage says yet. Were one
    /// written anew before, recovery could take what is left of it for a damaged part of the log.
    pub released: VecDeque<Slot>,
    /// Full files, oldest first.
    pub closed: VecDeque<Closed>,
    /// The file in use.
    pub active: Option<Active>,
    /// Sequence number of the next file put to use.
    pub next_seq: u64,
    /// Number of the next group.
    pub next_group: u64,
    /// Whether the last attempt to make a file failed.
    pub full: bool,
    /// Whether one more file than the most is to be made: there is no room for what makes room.
    pub needs_further: bool,
    /// What some entry needs, if that is more than the bytes of a file.
    pub len_wanted: u64,
    /// Open files by slot. They stay open: when the process has no descriptor left, because of its
    /// connections, the journal goes on.
    pub open: FxHashMap<u32, Handles>,
}

impl Files {
    /// How many files there are.
    pub fn count(&self) -> usize {
        self.made as usize - self.blank.len()
    }

    /// Files that may still be made, or made longer.
    fn unmade(&self, files_max: usize) -> usize {
        match self.full {
            true => 0,
            false => files_max.saturating_sub(self.count()) + self.short.len(),
        }
    }

    fn made_and_free(&self) -> impl Iterator<Item = &Slot> {
        let found = self.unproven.iter().chain(&self.ready);
        found.chain(&self.released)
    }

    /// Files that are free or may still be made.
    pub fn free_or_unmade(&self, files_max: usize) -> usize {
        self.made_and_free().count() + self.unmade(files_max)
    }

    /// Bytes of these files.
    pub fn free_bytes(&self, files_max: usize, file_bytes: u64) -> u64 {
        let made: u64 = self.made_and_free().map(|slot| slot.len).sum();
        made + self.unmade(files_max) as u64 * file_bytes
    }

    /// Frees the files that no anchor after `anchors_through` needs; whether there were any.
    pub fn release(&mut self, anchors_through: Ticket) -> bool {
        let before = self.closed.len();
        while let Some(oldest) = self.closed.front() {
            if oldest.carried_through > anchors_through {
                break;
            }
            match is_on(Mutation::ReuseFileAtOnce) {
                true => self.ready.push_back(oldest.slot),
                false => self.released.push_back(oldest.slot),
            }
            self.closed.pop_front();
        }
        self.closed.len() < before
    }

    /// Whether there is something to say about files that are not needed, and room to say it.
    pub fn can_publish(&self) -> bool {
        let has_block = |active: &Active| active.position < active.slot.len;
        let has_room = |active| has_block(active) || !self.ready.is_empty();
        !self.released.is_empty() && self.active.as_ref().is_some_and(has_room)
    }

    /// A synced group says that the first `count` released slots are not needed.
    pub fn reuse(&mut self, count: usize, file_bytes: u64) {
        for slot in self.released.drain(..count) {
            match slot.len < file_bytes {
                true => self.short.push_back(slot),
                false => self.ready.push_back(slot),
            }
        }
    }

    /// The slot that should be prepared next, and the length it should get.
    pub fn to_prepare(&self, files_max: usize, file_bytes: u64) -> Option<(Slot, u64)> {
        if self.ready.is_empty()
            && let Some(unproven) = self.unproven.front()
        {
            return Some((*unproven, unproven.len));
        }
        // While the disk is full one more is tried, to learn when there is room again.
        if !self.ready.is_empty() && !self.full {
            return None;
        }
        if let Some(short) = self.short.front() {
            return Some((*short, file_bytes.max(self.len_wanted)));
        }
        let first = (file_bytes / FIRST_PART).next_multiple_of(BLOCK as u64);
        let first = first.clamp(FILE_BYTES_MIN, FIRST_BYTES_MAX);
        let len = match &self.active {
            // Only after a crash, when all may be needed, one more is made, to go on in; or when there
            // is no room for what makes room.
            Some(_) if self.count() >= files_max && !self.needs_further => return None,
            // The last one is the reserve of what is carried: it has to take all of that before another
            // one becomes free.
            _ if self.count() + 1 >= files_max => file_bytes.max(self.len_wanted),
            None => first,
            Some(active) => active.slot.len * GROWTH,
        };
        let number = self.blank.first().copied().unwrap_or(self.made);
        let new = Slot { number, len: 0 };
        Some((new, len.min(file_bytes.max(self.len_wanted))))
    }

    /// A slot was prepared as [`Files::to_prepare`] asked for.
    pub fn prepared(&mut self, slot: Slot, handles: Handles) {
        self.open.insert(slot.number, handles);
        let is_other = |other: &Slot| other.number != slot.number;
        self.short.retain(is_other);
        self.unproven.retain(is_other);
        self.made = self.made.max(slot.number + 1);
        self.blank.remove(&slot.number);
        self.needs_further = false;
        self.ready.push_back(slot);
    }

    /// After a start: where the free files are too short to be the reserve of what is carried, the next
    /// one has to be longer.
    pub fn secure_reserve(&mut self, files_max: usize, file_bytes: u64) {
        if self.free_bytes(files_max, file_bytes) < file_bytes {
            self.lengthen_next();
        }
    }

    /// The next entry is too long for the next file: that one has to be longer.
    pub fn lengthen_next(&mut self) {
        let next = self.ready.pop_front();
        self.short
            .extend(next.or_else(|| self.unproven.pop_front()));
    }

    /// Puts the active file away and another one in its place.
    pub fn rotate(&mut self, next: Active, carried_through: Ticket) {
        if let Some(active) = self.active.replace(next) {
            self.closed.push_back(Closed {
                slot: active.slot,
                seq: active.seq,
                carried_through,
            });
        }
    }
}

/// Name of a journal's file.
pub fn slot_path(dir: &Path, journal_id: u32, slot: u32) -> PathBuf {
    dir.join(format!("{journal_id:04}-{slot:04}.journal"))
}

/// Journal id and slot of a file name that [`slot_path`] made.
pub fn parse_slot_name(name: &str) -> Option<(u32, u32)> {
    let (id, slot) = name.strip_suffix(".journal")?.split_once('-')?;
    let is_one_of_few = slot.len() == SLOT_DIGITS;
    Some((
        id.parse().ok()?,
        slot.parse().ok().filter(|_| is_one_of_few)?,
    ))
}

/// The file that lists the slots of a journal.
pub fn list_path(dir: &Path, journal_id: u32) -> PathBuf {
    dir.with_file_name(format!("{LIST_PREFIX}{journal_id:04}"))
}

/// Journal id of a file name that [`list_path`] made.
pub fn parse_list_name(name: &str) -> Option<u32> {
    name.strip_prefix(LIST_PREFIX)?.parse().ok()
}

/// The file that says that a journal's partitions are in other journals, durably: what is left of it is to go.
pub fn adopted_path(dir: &Path, journal_id: u32) -> PathBuf {
    dir.join(format!("{journal_id:04}{ADOPTED_SUFFIX}"))
}

/// Journal id of a file name that [`adopted_path`] made.
pub fn parse_adopted_name(name: &str) -> Option<u32> {
    name.strip_suffix(ADOPTED_SUFFIX)?.parse().ok()
}

/// Lists the slots of a journal, durably.
pub async fn write_list(
    io: &Io,
    dir: &Path,
    journal_id: u32,
    slots: &BTreeSet<u32>,
) -> io::Result<()> {
    let list = format_list(slots);
    io.write_small(&list_path(dir, journal_id), list.as_bytes())
        .await
}

/// The slots that a journal is said to have: none if nothing is said that can be trusted.
pub async fn read_list(io: &Io, dir: &Path, journal_id: u32) -> io::Result<BTreeSet<u32>> {
    let path = list_path(dir, journal_id);
    let list = match io.read_small(&path).await {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    Ok(parse_list(&list).unwrap_or_else(|| {
        tracing::warn!(
            file = %path.display(),
            "the list of a journal's files is damaged: nobody will notice if one of them is missing"
        );
        BTreeSet::new()
    }))
}

/// A number on each line, and the CRC-32C of these lines.
fn format_list(slots: &BTreeSet<u32>) -> String {
    let lines = slots.iter().map(|slot| format!("{slot:04}\n"));
    let lines = lines.collect::<String>();
    format!("{lines}{LIST_CHECKSUM}{:08x}\n", crc32c(lines.as_bytes()))
}

fn parse_list(list: &[u8]) -> Option<BTreeSet<u32>> {
    let list = std::str::from_utf8(list).ok()?;
    let (lines, checksum) = list.split_once(LIST_CHECKSUM)?;
    let checksum = u32::from_str_radix(checksum.trim_end(), 16).ok()?;
    if checksum != crc32c(lines.as_bytes()) {
        return None;
    }
    lines.lines().map(|line| line.parse().ok()).collect()
}

/// Makes the name of a slot durable.
pub async fn make_slot(io: &Io, path: &Path) -> io::Result<()> {
    let how = OpenMode {
        write: true,
        create: true,
        ..OpenMode::default()
    };
    io.open(path, how).await?.close().await?;
    match path.parent() {
        Some(dir) => io.sync_dir(dir).await,
        None => Ok(()),
    }
}

/// Opens a slot for writing groups.
pub async fn open_slot(io: &Io, path: &Path) -> io::Result<Handles> {
    let how = OpenMode {
        write: true,
        ..OpenMode::default()
    };
    let plain = Rc::new(io.open(path, how).await?);
    let how = OpenMode {
        sync_on_write: !is_on(Mutation::AcknowledgeBeforeSync),
        ..how
    };
    let durable = Rc::new(io.open(path, how).await?);
    Ok(Handles { plain, durable })
}

/// Writes zeros to what a slot that was made lacks of its length, and makes that durable. The blocks are
/// reserved before, so that a full disk is found out early.
pub async fn prepare_slot(io: &Io, path: &Path, slot: Slot, len: u64) -> io::Result<()> {
    let how = OpenMode {
        write: true,
        ..OpenMode::default()
    };
    let file = io.open(path, how).await?;
    let extended = extend(io, &file, slot.len, len).await;
    if extended.is_err() && slot.len == 0 {
        // What was reserved so far goes back; if even that fails, the next attempt has it.
        let _ = file.truncate(0).await;
    }
    file.close().await.and(extended)
}

async fn extend(io: &Io, file: &File, from: u64, to: u64) -> io::Result<()> {
    // Were the length left that an attempt whose sync failed gave it, maybe in an earlier run, a later
    // sync would say nothing of that. A byte less and one more changes the length and needs no room.
    file.truncate(from.saturating_sub(1)).await?;
    file.truncate(from).await?;
    file.allocate(to).await?;
    let mut buffer = io.buffer(ZERO_CHUNK.min((to - from) as usize));
    let mut position = from;
    while position < to {
        let len = buffer.len().min((to - position) as usize);
        let written;
        (written, buffer) = file.write_at(buffer, len, position).await;
        written?;
        position += len as u64;
    }
    file.sync().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES_MAX: usize = 8;
    const FILE_BYTES: u64 = 96 << 10;

    /// Files as a start finds them when `needed` full ones may be needed and some are free, of which
    /// those that are long enough have proved so.
    fn found(needed: u32, free: &[u64]) -> Files {
        let free = (needed..).zip(free);
        let mut files = Files {
            made: needed,
            unproven: free
                .map(|(number, len)| Slot { number, len: *len })
                .collect(),
            ..Files::default()
        };
        files.made += files.unproven.len() as u32;
        files.secure_reserve(FILES_MAX, FILE_BYTES);
        files.ready = std::mem::take(&mut files.unproven);
        files
    }

    fn len_to_prepare(files: &Files) -> Option<u64> {
        let wanted = files.to_prepare(FILES_MAX, FILE_BYTES);
        wanted.map(|(_, len)| len)
    }

    #[test]
    fn the_last_file_that_is_made_is_a_full_one() {
        for needed in 0..FILES_MAX as u32 - 1 {
            let len = len_to_prepare(&found(needed, &[]));
            assert_eq!(len, Some(FILE_BYTES_MIN), "{needed} are needed");
        }
        for needed in FILES_MAX as u32 - 1..=FILES_MAX as u32 + 1 {
            let len = len_to_prepare(&found(needed, &[]));
            assert_eq!(len, Some(FILE_BYTES), "{needed} are needed");
        }
    }

    #[test]
    fn a_start_waits_for_few_bytes_however_long_the_journal() {
        for file_bytes in [FILE_BYTES, 8 << 20, 64 << 20, 1 << 30, 1 << 40] {
            let wanted = Files::default().to_prepare(FILES_MAX, file_bytes);
            let (_, len) = wanted.expect("the first file");
            assert!(len <= 4 << 20, "{len} of {file_bytes}");
        }
    }

    #[test]
    fn a_file_that_has_only_a_name_is_made_as_short_as_any() {
        let mut files = found(3, &[]);
        files.blank.insert(1);
        let wanted = files.to_prepare(FILES_MAX, FILE_BYTES);
        let blank = Slot { number: 1, len: 0 };
        assert_eq!(wanted, Some((blank, FILE_BYTES_MIN)));
        assert_eq!(files.count(), 2);
    }

    #[test]
    fn a_damaged_list_says_nothing() {
        let listed = BTreeSet::from([0, 1, 7]);
        let list = format_list(&listed).into_bytes();
        assert_eq!(parse_list(&list), Some(listed));
        for at in 0..list.len() - 1 {
            for bit in 0..8 {
                let mut rotten = list.clone();
                rotten[at] ^= 1 << bit;
                let upper = rotten[at].eq_ignore_ascii_case(&list[at]);
                assert!(
                    upper || parse_list(&rotten).is_none(),
                    "byte {at}, bit {bit}"
                );
            }
            assert_eq!(parse_list(&list[..at]), None);
        }
    }

    #[test]
    fn short_files_are_the_reserve_only_if_they_are_enough() {
        let last_is_short = found(7, &[FILE_BYTES_MIN]);
        assert_eq!(len_to_prepare(&last_is_short), Some(FILE_BYTES));
        let one_is_lengthened = found(6, &[FILE_BYTES_MIN, FILE_BYTES_MIN]);
        assert_eq!(one_is_lengthened.free_or_unmade(FILES_MAX), 2);
        assert!(one_is_lengthened.free_bytes(FILES_MAX, FILE_BYTES) > FILE_BYTES);
        for enough in [found(7, &[FILE_BYTES]), found(6, &[FILE_BYTES_MIN])] {
            assert_eq!(len_to_prepare(&enough), None);
        }
    }
}
