//! What goes into a group: entries that wait, in their order, as far as a file has room for them.

use std::io;

use super::chain::Done;
use super::files::{Active, Slot};
use super::group::{BLOCK, HEADER_LEN};
use super::{Durability, Entry, GroupEvents, Journal, JournalConfig, Ticket};

/// A group takes no further entry once it has this many bytes.
pub(super) const GROUP_BYTES_TARGET: usize = 2 << 20;

/// What one group will hold.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) payload_len: usize,
    /// The newest ticket of each queue in this group or before it.
    pub(super) appends_through: Ticket,
    pub(super) carried_through: Ticket,
    pub(super) appends: u64,
    pub(super) carried: u64,
    /// Whether an entry asks for more than to be written.
    pub(super) needs_sync: bool,
}

impl Batch {
    fn push(&mut self, entry: Entry) {
        self.payload_len += entry.encoded_len();
        self.needs_sync |= entry.durability != Durability::Written;
        self.entries.push(entry);
    }

    pub(super) fn padded_len(&self) -> usize {
        padded_len(self.payload_len)
    }

    pub(super) fn done(&self) -> Done {
        Done {
            appends: (self.appends > 0).then_some(self.appends_through),
            carried: (self.carried > 0).then_some(self.carried_through),
        }
    }
}

/// Bytes that a group takes in its file.
pub(super) fn padded_len(payload_len: usize) -> usize {
    (HEADER_LEN + payload_len).next_multiple_of(BLOCK)
}

/// Bytes of a file for groups with entries.
pub(super) fn usable_bytes(file_len: u64) -> u64 {
    file_len.saturating_sub(BLOCK as u64)
}

/// What [`Journal::take_batch`] found.
pub(super) enum Taken {
    Batch(Batch),
    /// Nothing that could be written now; whether something may wait for the flush interval.
    Nothing {
        is_lazy: bool,
    },
    /// Nothing will come any more.
    End,
}

impl Journal {
    pub(super) fn take_batch(&self, flush_due: bool) -> Taken {
        let mut batch = Batch::default();
        let mut pending = self.pending.borrow_mut();
        if pending.poisoned {
            return Taken::End;
        }
        while batch.payload_len < GROUP_BYTES_TARGET
            && self.fits(&batch, pending.carried.entries.front())
        {
            let Some(entry) = pending.carried.pop() else {
                break;
            };
            batch.carried += 1;
            batch.push(entry);
        }
        let due = pending.urgent || pending.closing || flush_due || batch.carried > 0;
        // An append must not overtake a checkpoint that was taken before it: recovery would put
        // the partition back to the state without it.
        let may_follow = pending.carried.entries.is_empty();
        if may_follow && (due || pending.appends.bytes >= GROUP_BYTES_TARGET) {
            while batch.payload_len < GROUP_BYTES_TARGET
                && self.has_room(&batch, pending.appends.entries.front())
            {
                let Some(entry) = pending.appends.pop() else {
                    break;
                };
                batch.appends += 1;
                batch.push(entry);
            }
        }
        batch.appends_through = pending.appends.taken;
        batch.carried_through = pending.carried.taken;
        let has_appends_left = !pending.appends.entries.is_empty();
        pending.urgent &= has_appends_left;
        let publishes = self.files.borrow().can_publish();
        if !batch.entries.is_empty() || publishes {
            Taken::Batch(batch)
        } else if pending.closing && may_follow && !has_appends_left {
            pending.ended = true;
            Taken::End
        } else {
            let is_lazy = may_follow && has_appends_left && !due;
            Taken::Nothing { is_lazy }
        }
    }

    /// Whether an append may join: it fits, and the reserve for carried entries stays whole.
    fn has_room(&self, batch: &Batch, entry: Option<&Entry>) -> bool {
        let Some(entry) = entry else { return false };
        let JournalConfig {
            files_max,
            file_bytes,
            ..
        } = self.config;
        let free = self.files.borrow().free_bytes(files_max, file_bytes);
        let wanted = (batch.padded_len() + entry.encoded_len() + BLOCK) as u64;
        self.room_here() + free >= wanted + file_bytes && self.fits(batch, Some(entry))
    }

    /// Whether a file can take the batch with this entry: a group never spans files.
    fn fits(&self, batch: &Batch, entry: Option<&Entry>) -> bool {
        let Some(entry) = entry else { return false };
        let len = padded_len(batch.payload_len + entry.encoded_len()) as u64;
        let next = self.files.borrow().ready.front().copied();
        len <= self.room_here() || next.is_some_and(|next| len <= usable_bytes(next.len))
    }

    /// Bytes of the active file that are left for entries.
    pub(super) fn room_here(&self) -> u64 {
        let files = self.files.borrow();
        let left = |active: &Active| usable_bytes(active.slot.len).saturating_sub(active.position);
        files.active.as_ref().map_or(0, left)
    }

    /// Nothing fits: an entry that no file can take would be waited for without end, and everything
    /// behind it with it.
    pub(super) fn check_that_next_can_fit(&self) -> io::Result<()> {
        let (len, len_max) = (self.next_len(), usable_bytes(self.config.file_bytes));
        match len <= len_max {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "an entry takes {len} bytes of a journal file, which has {len_max}: \
                 set a larger corelog.journal.bytes"
            ))),
        }
    }

    /// Bytes of a group with no more than the entry that has to be written next.
    fn next_len(&self) -> u64 {
        let pending = self.pending.borrow();
        let carried = pending.carried.entries.front();
        let first = carried.or(pending.appends.entries.front());
        first.map_or(0, |entry| padded_len(entry.encoded_len()) as u64)
    }

    /// Nothing fits: if that is because the next file is one of the short first ones, it has to grow
    /// before it is used. Whether it is.
    pub(super) fn lengthen_next_if_too_short(&self) -> bool {
        let longest = self.next_len();
        let mut files = self.files.borrow_mut();
        let is_too_short =
            |next: &Slot| next.len < self.config.file_bytes && usable_bytes(next.len) < longest;
        let lengthens = files.ready.front().is_some_and(is_too_short);
        if lengthens {
            files.lengthen_next();
            self.prepare.notify_one();
        }
        lengthens
    }

    /// When half of the files are in use, the oldest should become free.
    pub(super) fn ask_for_reclaim(&self, events: &dyn GroupEvents) {
        let through = {
            let files = self.files.borrow();
            let scarce =
                files.free_or_unmade(self.config.files_max) < self.config.files_max.div_ceil(2);
            files
                .closed
                .front()
                .filter(|_| scarce)
                .map(|oldest| oldest.carried_through)
        };
        if let Some(through) = through {
            events.reclaim(through);
        }
    }
}
