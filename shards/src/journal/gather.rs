//! What goes into a group: entries that wait, in their order, as far as a file has room for them.

use super::chain::Done;
use super::group::HEADER_LEN;
use super::room::Room;
use super::{Durability, Entry, Journal, Pending, Ticket};
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

impl Pending {
    /// Whether carried entries wait for more of their kind: as soon as they take of the reserve, they
    /// fill the blocks of their groups. Not while somebody waits for one of them.
    fn holds_carried(&self, room: &Room) -> bool {
        self.is_gathering
            && !self.hopeless
            && self.hurried <= self.carried.taken
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
        pending.is_carrying_stuck = batch.carried == 0 && !pending.carried.entries.is_empty();
        if batch.carried > 0 || pending.is_carrying_stuck {
            self.carrying.notify_all();
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
}
