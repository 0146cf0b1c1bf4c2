//! What goes into a group: entries that wait, in their order, as far as a file has room for them.

use super::chain::Done;
use super::files::{Active, Slot};
use super::group::HEADER_LEN;
use super::{Durability, Entry, GroupEvents, Journal, JournalConfig, Pending, Ticket};
use crate::io::BLOCK;

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

/// What the files have room for while a group is gathered.
#[derive(Clone, Copy)]
struct Room {
    /// Bytes that a group with entries may take where there is most room for one: behind the newest
    /// group or in the next file. A group never spans files.
    group_bytes_max: u64,
    /// Bytes that are free beside the reserve for carried entries.
    beside_reserve: u64,
}

impl Room {
    /// Whether an entry may join, of those that the reserve is for.
    fn fits(&self, batch: &Batch, entry: &Entry) -> bool {
        padded_len(batch.payload_len + entry.encoded_len()) as u64 <= self.group_bytes_max
    }

    /// Whether an append may join: it fits, and the reserve for carried entries stays whole.
    fn fits_beside_reserve(&self, batch: &Batch, entry: &Entry) -> bool {
        let wanted = batch.padded_len() + entry.encoded_len() + BLOCK;
        wanted as u64 <= self.beside_reserve && self.fits(batch, entry)
    }
}

impl Pending {
    /// Whether carried entries wait for more of their kind: as soon as they take of the reserve, they
    /// fill the blocks of their groups.
    fn holds_carried(&self, room: &Room) -> bool {
        self.is_gathering
            && !self.hopeless
            && self.carried.bytes < GROUP_BYTES_TARGET
            && padded_len(self.carried.bytes) as u64 > room.beside_reserve
    }
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
        let room = self.room();
        let mut pending = self.pending.borrow_mut();
        if pending.poisoned {
            return Taken::End;
        }
        pending.is_holding = pending.holds_carried(&room);
        while !pending.is_holding
            && batch.payload_len < GROUP_BYTES_TARGET
            && let Some(entry) = pending.carried.pop_if(|entry| room.fits(&batch, entry))
        {
            batch.carried += 1;
            batch.push(entry);
        }
        let due = pending.urgent || pending.closing || flush_due || batch.carried > 0;
        // An append must not overtake a checkpoint that was taken before it: recovery would put
        // the partition back to the state without it.
        let may_follow = pending.carried.entries.is_empty();
        if may_follow && (due || pending.appends.bytes >= GROUP_BYTES_TARGET) {
            while batch.payload_len < GROUP_BYTES_TARGET
                && let Some(entry) = pending
                    .appends
                    .pop_if(|entry| room.fits_beside_reserve(&batch, entry))
            {
                batch.appends += 1;
                batch.push(entry);
            }
        }
        batch.appends_through = pending.appends.taken;
        batch.carried_through = pending.carried.taken;
        let has_appends_left = !pending.appends.entries.is_empty();
        pending.urgent &= has_appends_left;
        pending.unplaced_bytes = batch.payload_len;
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

    fn room(&self) -> Room {
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
            files = files.made + 1,
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
