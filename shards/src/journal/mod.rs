//! The journal of one shard: what makes records durable before they are acknowledged.
//!
//! One shard owns one journal. Whatever arrives while a group is being written goes into the next
//! group; a group is one aligned direct write and at most one sync, however many partitions it
//! touches. Files are preallocated and recycled, so that in the steady state a sync carries no
//! metadata.
//!
//! Two queues feed the writer. *Appends* come from producers and wait when room runs short.
//! *Carried* entries (checkpoints with the small tails that are not in segments yet) are what makes
//! room: they go first, and one file is kept in reserve for them. An entry's [`Ticket`] is its place
//! in its queue; tickets complete in order.
//!
//! # Reclaim
//! Each partition is *anchored* at its newest checkpoint entry: everything about it that recovery
//! needs is there or behind it. When the oldest file holds no anchor any more, it is free. Who moves
//! anchors is the shard (`shard/reclaim.rs`); the journal only says how far they must go.
//!
//! The reserve takes all that is anchored in one file, without any tails: once checkpoints take of it,
//! those of the whole file are gathered, so that they need their bytes and not a block each. Should they
//! need more than that, there is one file more than configured, and one longer than configured for a
//! checkpoint that is longer: nothing waits for room that cannot come.
//!
//! # Crash behaviour
//! Recovery ([`recovery`]) reads groups in order of their chain and cuts the end that was not
//! completed. A failed write or sync poisons the journal: nothing is acknowledged from then on, the
//! shard is told, and nothing is tried again.

mod chain;
pub mod files;
mod gather;
pub mod group;
pub mod recovery;
mod room;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::io::{BLOCK, DmaBuffer, Instant, Io, Notify};
use crate::log::batch::header::HEADER_BYTES;
use crate::metrics::JournalMetrics;
use files::Files;
use group::EntryHead;

/// How much may be queued to be carried before appends get their turn.
const CARRIED_BYTES_AT_ONCE: usize = 256 << 10;

/// Place of an entry in its queue. Completed in order; 0 is before the first.
pub type Ticket = u64;

/// When an append may be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// When it is in memory. Kill -9 and power loss may lose what arrived within the flush interval.
    Memory,
    /// When the write has completed. Survives kill -9; power loss may lose what the device cached.
    Written,
    /// When it is on stable storage. Survives power loss.
    #[default]
    Sync,
}

/// Size and place of a journal.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The folder of all journals.
    pub dir: PathBuf,
    /// Which of them this is.
    pub id: u32,
    /// Bytes of one file, as long as no checkpoint needs more: whole blocks.
    pub file_bytes: u64,
    /// How many files, as long as checkpoints do not need more.
    pub files_max: usize,
    /// How long an append of class [`Durability::Memory`] may wait for its write, at first.
    pub memory_flush: Duration,
}

/// Bytes of an entry: a short part made on the spot and slices that are only referenced.
#[derive(Debug)]
pub struct Entry {
    /// What it does, to which partition.
    pub head: EntryHead,
    /// First bytes of the body.
    pub inline: Inline,
    /// The rest of the body.
    pub body: Body,
    /// When its group has done its duty.
    pub durability: Durability,
    /// When it was made.
    pub queued: Instant,
}

/// A few bytes held in place: enough for a batch's place and its header.
#[derive(Clone, Copy, Debug)]
pub struct Inline {
    bytes: [u8; 16 + HEADER_BYTES],
    len: u8,
}

impl Default for Inline {
    fn default() -> Self {
        Self {
            bytes: [0; 16 + HEADER_BYTES],
            len: 0,
        }
    }
}

impl Inline {
    /// Two numbers.
    pub fn pair(a: u64, b: u64) -> Self {
        let mut inline = Self::default();
        inline.bytes[..8].copy_from_slice(&a.to_be_bytes());
        inline.bytes[8..16].copy_from_slice(&b.to_be_bytes());
        inline.len = 16;
        inline
    }

    /// A batch's place in its segment, and its header as it is stored.
    pub fn place(segment_base: i64, position: u64, header: &[u8; HEADER_BYTES]) -> Self {
        let mut inline = Self::pair(segment_base as u64, position);
        inline.bytes[16..].copy_from_slice(header);
        inline.len = 16 + HEADER_BYTES as u8;
        inline
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Slices of an entry's body.
#[derive(Debug)]
pub enum Body {
    /// No more than the inline part.
    Empty,
    /// One slice.
    One(Bytes),
    /// Several.
    Many(Vec<Bytes>),
}

impl Body {
    fn slices(&self) -> &[Bytes] {
        match self {
            Self::Empty => &[],
            Self::One(bytes) => std::slice::from_ref(bytes),
            Self::Many(all) => all,
        }
    }
}

impl Entry {
    fn body_len(&self) -> usize {
        let slices = self.body.slices().iter().map(Bytes::len).sum::<usize>();
        slices + usize::from(self.inline.len)
    }

    fn encoded_len(&self) -> usize {
        group::ENTRY_HEADER_LEN + self.body_len()
    }
}

/// What the shard is told of completed groups. Called from the journal's task; must not block.
pub trait GroupEvents {
    /// Appends up to this ticket have been written (and survive the process).
    fn written(&self, through: Ticket);
    /// Appends up to this ticket are on stable storage.
    fn synced(&self, through: Ticket);
    /// Carried entries up to this ticket are on stable storage; files may have become free.
    fn carried(&self, through: Ticket);
    /// The oldest files have to be freed: anchors up to this carried ticket should move.
    fn reclaim(&self, through: Ticket);
    /// Preparing a file failed for want of space, or there is room again.
    fn disk_full(&self, full: bool);
    /// The journal is poisoned: nothing will complete any more.
    fn failed(&self, error: &io::Error);
    /// The journal was closed and has ended without what found no room: that will not complete.
    fn gave_up(&self);
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    submitted: Ticket,
    taken: Ticket,
}

impl Queue {
    fn push(&mut self, entry: Entry) -> Ticket {
        self.bytes += entry.encoded_len();
        self.entries.push_back(entry);
        self.submitted += 1;
        self.submitted
    }

    fn pop_if(&mut self, may_go: impl FnOnce(&mut Entry) -> bool) -> Option<Entry> {
        let entry = self.entries.pop_front_if(may_go)?;
        self.bytes -= entry.encoded_len();
        self.taken += 1;
        Some(entry)
    }
}

#[derive(Debug, Default)]
struct Pending {
    appends: Queue,
    carried: Queue,
    /// Bytes of entries that were taken and have no place in a file yet.
    unplaced_bytes: usize,
    /// Whether more will be carried before long.
    is_gathering: bool,
    /// Whether carried entries wait for that.
    is_holding: bool,
    /// Carried entries up to this one are waited for by somebody: they wait for no others.
    hurried: Ticket,
    /// Whether carried entries found no room, or wait for more of their kind.
    is_carrying_stuck: bool,
    /// Whether something in `appends` may not wait for the flush interval.
    urgent: bool,
    /// Appends up to this one shall be synced, whatever their class.
    sync_wanted: Ticket,
    closing: bool,
    /// What cannot be written while closing shall not be waited for.
    hopeless: bool,
    /// Nothing more is written: the journal has come to its end or a write has failed.
    ended: bool,
    poisoned: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.appends.entries.is_empty() && self.carried.entries.is_empty()
    }
}

/// One shard's journal. Everything on it is done by its own task ([`Journal::run`]).
pub struct Journal {
    io: Io,
    config: JournalConfig,
    run_id: u64,
    pending: RefCell<Pending>,
    files: RefCell<Files>,
    /// Something was queued, or the journal is to end.
    work: Notify,
    /// A file became free.
    room: Notify,
    /// A file may have to be made.
    prepare: Notify,
    /// Carried entries were taken, or cannot be.
    carrying: Notify,
    end: Notify,
    has_ended: Cell<bool>,
    carried_synced: Cell<Ticket>,
    /// How long an append of class [`Durability::Memory`] may wait for its write.
    memory_flush: Cell<Duration>,
    /// Buffers of groups that were written, for the next ones.
    spares: RefCell<Vec<DmaBuffer>>,
    metrics: Arc<JournalMetrics>,
}

impl Journal {
    /// A journal over the files that recovery found, which counts in `metrics`. Nothing is written before
    /// [`Journal::run`].
    pub fn new(
        io: Io,
        config: JournalConfig,
        (mut files, carried): (Files, Ticket),
        metrics: Arc<JournalMetrics>,
    ) -> Rc<Self> {
        assert!(
            config.file_bytes.is_multiple_of(BLOCK as u64),
            "files are written in whole blocks"
        );
        files.secure_reserve(config.files_max, config.file_bytes);
        let mut pending = Pending::default();
        pending.carried.submitted = carried;
        pending.carried.taken = carried;
        let run_id = io.random_u64();
        let memory_flush = config.memory_flush;
        Rc::new(Self {
            io,
            config,
            run_id,
            pending: RefCell::new(pending),
            files: RefCell::new(files),
            work: Notify::new(),
            room: Notify::new(),
            prepare: Notify::new(),
            carrying: Notify::new(),
            end: Notify::new(),
            has_ended: Cell::new(false),
            carried_synced: Cell::new(carried),
            memory_flush: Cell::new(memory_flush),
            spares: RefCell::default(),
            metrics,
        })
    }

    /// Queues an append. Completed when [`GroupEvents`] names its ticket, by its class.
    pub fn append(&self, entry: Entry) -> Ticket {
        let mut pending = self.pending.borrow_mut();
        let wake = entry.durability > Durability::Memory || pending.appends.entries.is_empty();
        pending.urgent |= entry.durability > Durability::Memory;
        let ticket = pending.appends.push(entry);
        drop(pending);
        if wake {
            self.work.notify_one();
        }
        ticket
    }

    /// Has the appends up to this ticket synced, even those whose class does not ask for it: the newest
    /// one may be what a `sync` append waits for.
    pub fn sync_through(&self, ticket: Ticket) {
        let mut pending = self.pending.borrow_mut();
        if ticket > pending.sync_wanted {
            pending.sync_wanted = ticket;
            pending.urgent |= ticket > pending.appends.taken;
            drop(pending);
            self.work.notify_one();
        }
    }

    /// Queues a checkpoint; it goes before all appends that wait.
    pub fn carry(&self, entry: Entry) -> Ticket {
        let ticket = self.pending.borrow_mut().carried.push(entry);
        self.work.notify_one();
        ticket
    }

    /// Waits while so much is to be carried that appends, which must not overtake it, would wait long.
    /// Not for what finds no room: more has to be carried before there is any.
    pub async fn may_carry(&self) {
        let must_wait = || {
            let pending = self.pending.borrow();
            pending.carried.bytes >= CARRIED_BYTES_AT_ONCE
                && !pending.is_carrying_stuck
                && !pending.ended
        };
        while must_wait() {
            self.carrying.notified().await;
        }
    }

    /// Says whether more will be carried before long. While that is so, carried entries that would take
    /// of the reserve wait for each other: alone each would take a block of it.
    pub fn gather_carried(&self, is_gathering: bool) {
        let mut pending = self.pending.borrow_mut();
        pending.is_gathering = is_gathering;
        if !is_gathering && std::mem::take(&mut pending.is_holding) {
            self.work.notify_one();
        }
    }

    /// Has the carried entries up to this ticket written although more are gathered: who waits for them may hold what
    /// the others wait for.
    pub fn hurry_carried(&self, through: Ticket) {
        let mut pending = self.pending.borrow_mut();
        pending.hurried = pending.hurried.max(through);
        if pending.is_holding && pending.hurried > pending.carried.taken {
            drop(pending);
            self.work.notify_one();
        }
    }

    /// From now on appends of class [`Durability::Memory`] wait at most so long for their write.
    pub fn set_memory_flush(&self, memory_flush: Duration) {
        self.memory_flush.set(memory_flush);
    }

    /// Bytes of appends that wait for a group: back-pressure looks at it.
    pub fn waiting_bytes(&self) -> usize {
        self.pending.borrow().appends.bytes
    }

    /// Ticket of the newest append so far.
    pub fn newest_append(&self) -> Ticket {
        self.pending.borrow().appends.submitted
    }

    /// Whether what is queued from now on will never be written.
    pub fn has_closed(&self) -> bool {
        self.pending.borrow().ended
    }

    /// The newest carried ticket on stable storage.
    pub fn carried_synced(&self) -> Ticket {
        self.carried_synced.get()
    }

    /// Files that are free or may still be made.
    pub fn files_free(&self) -> usize {
        self.files.borrow().free_or_unmade(self.config.files_max)
    }

    /// Open files, two for each of the journal's that was written since the start.
    pub fn open_files(&self) -> usize {
        2 * self.files.borrow().open.len()
    }

    /// Finishes what is queued and ends [`Journal::run`]. What finds no room because the disk is full
    /// fails.
    pub fn close(&self) {
        self.pending.borrow_mut().closing = true;
        // The disk gets one more chance.
        self.files.borrow_mut().full = false;
        self.work.notify_one();
        self.prepare.notify_one();
    }

    /// No file will become free any more: a journal that is being closed ends without what has no
    /// room.
    pub fn give_up(&self) {
        self.pending.borrow_mut().hopeless = true;
        self.room.notify_one();
    }

    /// Says that no partition is anchored at or before this carried ticket any more and that the
    /// checkpoints that replaced those anchors are synced: files that end there are free.
    pub fn release(&self, anchors_through: Ticket) {
        if self.files.borrow_mut().release(anchors_through) {
            self.room.notify_one();
            self.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
