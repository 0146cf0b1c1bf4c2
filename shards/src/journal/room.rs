//! What the files have room for, and what is done where nothing fits.

use super::files::{Active, Slot};
use super::gather::{Batch, padded_len};
use super::{Entry, GroupEvents, Journal, JournalConfig};
use crate::io::BLOCK;

/// Bytes of a file for groups with entries.
pub(super) fn usable_bytes(file_len: u64) -> u64 {
    file_len.saturating_sub(BLOCK as u64)
}

/// What the files have room for while a group is gathered.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Bytes that a group with entries may take where there is most room for one: behind the newest
    /// group or in the next file. A group never spans files.
    pub(super) group_bytes_max: u64,
    /// Bytes that are free beside the reserve for carried entries.
    pub(super) beside_reserve: u64,
}

impl Room {
    /// Whether an entry may join, of those that the reserve is for.
    pub(super) fn fits(&self, batch: &Batch, entry: &Entry) -> bool {
        padded_len(batch.payload_len + entry.encoded_len()) as u64 <= self.group_bytes_max
    }

    /// Whether an append may join: it fits, and the reserve for carried entries stays whole.
    pub(super) fn fits_beside_reserve(&self, batch: &Batch, entry: &Entry) -> bool {
        let wanted = batch.padded_len() + entry.encoded_len() + BLOCK;
        wanted as u64 <= self.beside_reserve && self.fits(batch, entry)
    }
}

impl Journal {
    pub(super) fn room(&self) -> Room {
        let JournalConfig {
            files_max,
            file_bytes,
            ..
        } = self.config;
        let here = self.room_here();
        let files = self.files.borrow();
        let next = files.ready.front().map_or(0, |next| usable_bytes(next.len));
        let all = here + files.free_bytes(files_max, file_bytes);
        Room {
            group_bytes_max: here.max(next),
            beside_reserve: all.saturating_sub(file_bytes),
        }
    }

    /// Bytes that may be carried beyond what a checkpoint cannot do without: they do not take of the
    /// reserve.
    pub fn room_to_carry(&self) -> u64 {
        let pending = self.pending.borrow();
        let queued = padded_len(pending.carried.bytes + pending.unplaced_bytes);
        self.room().beside_reserve.saturating_sub(queued as u64)
    }

    /// Bytes of the active file that are left for entries.
    pub(super) fn room_here(&self) -> u64 {
        let files = self.files.borrow();
        let left = |active: &Active| usable_bytes(active.slot.len).saturating_sub(active.position);
        files.active.as_ref().map_or(0, left)
    }

    /// Nothing fits: if the next file is too short for the entry that has to be written next, it has
    /// to grow before it is used. Whether it is. So short are the first files, and others for the
    /// checkpoint of a partition with very many segments.
    pub(super) fn lengthen_next_if_too_short(&self) -> bool {
        let wanted = self.next_len();
        let mut files = self.files.borrow_mut();
        let is_too_short = |next: &Slot| usable_bytes(next.len) < wanted;
        let lengthens = files.ready.front().is_some_and(is_too_short);
        if lengthens {
            files.lengthen_next();
        }
        if wanted > usable_bytes(self.config.file_bytes.max(files.len_wanted)) {
            files.len_wanted = wanted + BLOCK as u64;
            tracing::warn!(
                journal = self.config.id,
                bytes = wanted,
                "a checkpoint is longer than a journal file: the files become longer than \
                 corelog.journal.bytes says"
            );
        }
        if lengthens {
            self.prepare.notify_one();
        }
        lengthens
    }

    /// Nothing fits: if checkpoints have used up their reserve, nothing would ever become free, and
    /// there has to be one more file.
    pub(super) fn ask_for_further_file(&self) {
        let is_ready = {
            let pending = self.pending.borrow();
            !pending.carried.entries.is_empty() && !pending.is_holding
        };
        let has_room = self.next_len() <= self.room_here();
        let mut files = self.files.borrow_mut();
        if !is_ready
            || has_room
            || files.needs_further
            || files.free_or_unmade(self.config.files_max) > 0
            || files.full
        {
            return;
        }
        files.needs_further = true;
        tracing::warn!(
            journal = self.config.id,
            files = files.count() + 1,
            "the checkpoints of all partitions take more than a journal file: one more is made; set a \
             larger corelog.journal.bytes"
        );
        self.prepare.notify_one();
    }

    /// Bytes of a group with no more than the entry that has to be written next.
    fn next_len(&self) -> u64 {
        let pending = self.pending.borrow();
        let carried = pending.carried.entries.front();
        let first = carried.or(pending.appends.entries.front());
        first.map_or(0, |entry| padded_len(entry.encoded_len()) as u64)
    }

    /// When half of the files are in use, the oldest should become free.
    pub(super) fn ask_for_reclaim(&self, events: &dyn GroupEvents) {
        let JournalConfig { files_max, .. } = self.config;
        let free = self.files.borrow().free_or_unmade(files_max);
        if free < files_max.div_ceil(2) {
            self.ask_for_oldest(events);
        }
    }

    /// The oldest file should become free.
    pub(super) fn ask_for_oldest(&self, events: &dyn GroupEvents) {
        let through = {
            let files = self.files.borrow();
            files.closed.front().map(|oldest| oldest.carried_through)
        };
        if let Some(through) = through {
            events.reclaim(through);
        }
    }
}
