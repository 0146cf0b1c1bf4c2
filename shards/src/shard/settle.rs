//! Settling: from memory into segment files, behind the journal.
//!
//! A partition is settled when it has a megabyte that no file holds, when a segment is full, or when
//! the shard as a whole holds more unsettled bytes than its budget (a quarter of the journal, so that
//! carrying forward always converges). Mostly whole 4 KiB blocks of the active segment are written; a
//! full segment gets its exact length, a sync and its indexes.
//!
//! A full disk is no failure: what is in memory and in the journal stays there, appends are refused
//! once that is all that can be kept, and the next attempt follows by itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::io::{BLOCK, DmaBuffer, File, Io, Notify, align_down};
use crate::log::Log;
use crate::partition::Partition;

/// A partition with this much in memory alone is due.
const PARTITION_BYTES_DUE: u64 = 1 << 20;
/// Bytes of one write: small ones, which the journal's hardly have to wait for, unless a partition has
/// fallen behind; then large ones, which are faster.
const WRITE_BYTES_MIN: u64 = 256 << 10;
const WRITE_BYTES_MAX: u64 = 1 << 20;
const PARTITION_BYTES_BEHIND: u64 = 4 << 20;
/// Partitions written at the same time when the budget is used up; one, as long as half of it is left.
const WRITERS_MAX: u64 = 4;
/// Buffers that are kept for later writes.
const SPARE_BUFFERS_MAX: usize = 4;
/// Pause before another attempt on a full or failing disk.
pub(super) const RETRY: Duration = Duration::from_millis(500);

/// What waits for its turn.
pub(super) struct Settling {
    due: RefCell<VecDeque<Rc<Partition>>>,
    /// Partitions with unsettled bytes, oldest first: who is next when the budget is exceeded.
    dirty: RefCell<VecDeque<Rc<Partition>>>,
    work: Notify,
    writers: Cell<u64>,
    spare_buffers: RefCell<Vec<DmaBuffer>>,
    unsettled_bytes: Cell<u64>,
    unsettled_bytes_max: u64,
    cached_bytes: Cell<usize>,
    cached_bytes_max: usize,
    /// Settled and still cached, oldest first.
    cached: RefCell<VecDeque<(Rc<Partition>, i64, u64)>>,
}

impl Settling {
    pub(super) fn new(unsettled_bytes_max: u64, cached_bytes_max: usize) -> Self {
        Self {
            due: RefCell::default(),
            dirty: RefCell::default(),
            work: Notify::new(),
            writers: Cell::new(0),
            spare_buffers: RefCell::default(),
            unsettled_bytes: Cell::new(0),
            unsettled_bytes_max,
            cached_bytes: Cell::new(0),
            cached_bytes_max,
            cached: RefCell::default(),
        }
    }

    /// A batch came in: so many bytes are unsettled, so many more were allocated for them.
    pub(super) fn grew(&self, batch_bytes: usize, backing_bytes: usize) {
        self.unsettled_bytes
            .set(self.unsettled_bytes.get() + batch_bytes as u64);
        self.cached_bytes
            .set(self.cached_bytes.get() + backing_bytes);
    }

    /// The oldest segments of a partition are gone, with so much of what was in memory.
    pub(super) fn forgot_segments(
        &self,
        partition: &Rc<Partition>,
        first_left: i64,
        (unsettled, cached): (u64, usize),
    ) {
        self.shrank(unsettled);
        self.uncached(cached);
        self.cached
            .borrow_mut()
            .retain(|(of, base, _)| *base >= first_left || !Rc::ptr_eq(of, partition));
    }

    /// A partition has ended: nothing holds on to what it has in memory.
    pub(super) fn forgot_partition(&self, partition: &Rc<Partition>, log: &Log) {
        self.shrank(log.unsettled_bytes());
        self.uncached(log.tail().backing_bytes());
        let is_other = |other: &Rc<Partition>| !Rc::ptr_eq(other, partition);
        self.due.borrow_mut().retain(is_other);
        self.dirty.borrow_mut().retain(is_other);
        self.cached.borrow_mut().retain(|(of, ..)| is_other(of));
    }

    /// Segments of which something may be forgotten.
    #[cfg(test)]
    pub(super) fn cached_segments(&self) -> Vec<i64> {
        let cached = self.cached.borrow();
        cached.iter().map(|(_, base, _)| *base).collect()
    }

    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    fn shrank(&self, unsettled: u64) {
        self.unsettled_bytes
            .set(self.unsettled_bytes.get().saturating_sub(unsettled));
    }

    fn uncached(&self, bytes: usize) {
        self.cached_bytes
            .set(self.cached_bytes.get().saturating_sub(bytes));
    }

    fn is_over_budget(&self) -> bool {
        self.unsettled_bytes.get() > self.unsettled_bytes_max
    }

    /// How many partitions should be written at the same time: more, the more waits.
    fn writers_wanted(&self) -> u64 {
        let half = (self.unsettled_bytes_max / 2).max(1);
        let over_half = self.unsettled_bytes.get().saturating_sub(half);
        (1 + WRITERS_MAX * over_half / half).min(WRITERS_MAX)
    }

    fn buffer(&self, io: &Io, len: usize) -> DmaBuffer {
        let mut spare = self.spare_buffers.borrow_mut();
        let large_enough = spare.iter().position(|buffer| buffer.len() >= len);
        match large_enough {
            Some(at) => spare.swap_remove(at),
            None => io.buffer(len.next_power_of_two()),
        }
    }

    fn keep_buffer(&self, buffer: DmaBuffer) {
        let mut spare = self.spare_buffers.borrow_mut();
        spare.push(buffer);
        if spare.len() > SPARE_BUFFERS_MAX {
            spare.sort_unstable_by_key(|buffer| std::cmp::Reverse(buffer.len()));
            spare.pop();
        }
    }
}

impl Shard {
    /// Bytes that no segment file holds.
    pub fn unsettled_bytes(&self) -> u64 {
        self.0.settling.unsettled_bytes.get()
    }

    /// Bytes allocated for batches in memory.
    pub fn cached_bytes(&self) -> usize {
        self.0.settling.cached_bytes.get()
    }

    /// Above this, batches that are in segments are dropped from memory.
    pub fn cached_bytes_max(&self) -> usize {
        self.0.settling.cached_bytes_max
    }

    /// Bytes that wait for a group of the journal.
    pub fn journal_waiting_bytes(&self) -> usize {
        self.0.journal.waiting_bytes()
    }

    /// Files of the journal that are free or may still be made.
    pub fn journal_files_free(&self) -> usize {
        self.0.journal.files_free()
    }

    pub(super) fn set_disk_full(&self, full: bool) {
        if self.0.is_disk_full.replace(full) == full {
            return;
        }
        if full {
            tracing::error!(
                shard = self.id(),
                "the disk is full: appends are refused when the journal is full too"
            );
        } else {
            tracing::info!(shard = self.id(), "the disk has room again");
        }
    }

    /// Whether nothing more can be taken until the disk has room.
    pub(super) fn is_out_of_room(&self) -> bool {
        self.0.is_disk_full.get()
            && (self.0.settling.is_over_budget() || self.0.journal.files_free() <= 1)
    }

    /// Queues a partition that has something to settle, if it is time.
    pub(super) fn settle_if_due(&self, partition: &Rc<Partition>) {
        let settling = &self.0.settling;
        let (unsettled, has_full_segment) = {
            let state = partition.state.borrow();
            if state.is_dropped {
                return;
            }
            (
                state.log.unsettled_bytes(),
                state.log.has_full_segment_to_settle(),
            )
        };
        // Less than a block is never settled by itself: a worker would find nothing to do, for ever.
        if unsettled < BLOCK as u64 && !has_full_segment {
            return;
        }
        if unsettled >= PARTITION_BYTES_DUE || has_full_segment {
            if !partition.is_queued.replace(true) {
                settling.due.borrow_mut().push_back(partition.clone());
                settling.work.notify_one();
            }
        } else if !partition.is_dirty.replace(true) {
            settling.dirty.borrow_mut().push_back(partition.clone());
        }
        if settling.is_over_budget() {
            settling.work.notify_one();
        }
    }

    fn next_to_settle(&self) -> Option<Rc<Partition>> {
        let settling = &self.0.settling;
        if let Some(due) = settling.due.borrow_mut().pop_front() {
            due.is_queued.set(false);
            return Some(due);
        }
        if settling.is_over_budget() {
            let oldest = settling.dirty.borrow_mut().pop_front()?;
            oldest.is_dirty.set(false);
            return Some(oldest);
        }
        None
    }

    /// The task that has segments written until the shard stops.
    pub(super) async fn settler(self) {
        let settling = &self.0.settling;
        while !self.0.stopping.get() {
            let may_write = settling.writers.get() < settling.writers_wanted();
            let next = may_write.then(|| self.next_to_settle()).flatten();
            let Some(partition) = next else {
                settling.work.notified().await;
                continue;
            };
            settling.writers.set(settling.writers.get() + 1);
            let shard = self.clone();
            self.io().spawn("settle", async move {
                shard.settle_one(&partition).await;
                let settling = &shard.0.settling;
                settling.writers.set(settling.writers.get() - 1);
                settling.work.notify_one();
            });
        }
    }

    async fn settle_one(&self, partition: &Rc<Partition>) {
        let turn = partition.settling.take().await;
        let settled = self.settle(partition, Reach::Blocks).await;
        drop(turn);
        match settled {
            Ok(()) => self.settle_if_due(partition),
            Err(error) => {
                self.note_segment_error(partition, &error);
                self.io().sleep(RETRY).await;
                self.settle_again(partition);
            }
        }
    }

    /// Says that a segment could not be written. Its records stay in the journal; the caller tries
    /// again after [`RETRY`].
    pub(super) fn note_segment_error(&self, partition: &Partition, error: &io::Error) {
        if error.raw_os_error() == Some(libc::ENOSPC) {
            self.set_disk_full(true);
        } else {
            tracing::error!(partition = %partition.dir, %error, "cannot write a segment; the journal still has its records");
        }
    }

    fn settle_again(&self, partition: &Rc<Partition>) {
        let is_dropped = partition.state.borrow().is_dropped;
        if !is_dropped && !partition.is_queued.replace(true) {
            let mut due = self.0.settling.due.borrow_mut();
            due.push_back(partition.clone());
        }
    }

    /// Writes what is due. The caller holds the partition's turn.
    pub(super) async fn settle(&self, partition: &Rc<Partition>, reach: Reach) -> io::Result<()> {
        while let Some(piece) = self.next_piece(partition, reach) {
            let file = self
                .0
                .store
                .segment_for_write(partition, piece.segment_base)
                .await?;
            if piece.to > piece.from {
                self.write_piece(partition, &file, &piece).await?;
            }
            if piece.is_last_of_full || reach == Reach::Cut {
                file.truncate(piece.to).await?;
            }
            if piece.is_last_of_full {
                self.sync_segment(&file).await?;
                self.0
                    .store
                    .write_indexes(partition, piece.segment_base)
                    .await?;
            }
            self.note_settled(partition, &piece);
            if piece.to > piece.from {
                self.set_disk_full(false);
            }
        }
        Ok(())
    }

    /// Writes whole blocks: what a first block held already comes from the file, what a last one will
    /// hold is zeros for now.
    async fn write_piece(
        &self,
        partition: &Rc<Partition>,
        file: &File,
        piece: &Piece,
    ) -> io::Result<()> {
        let aligned = align_down(piece.from);
        let kept = (piece.from - aligned) as usize;
        let len = (piece.to - aligned) as usize;
        let padded = len.next_multiple_of(BLOCK);
        let mut buffer = self.0.settling.buffer(self.io(), padded);
        if kept > 0 {
            let block = file.read_at(aligned, BLOCK).await?;
            let kept_bytes = block.get(..kept).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer[..kept].copy_from_slice(kept_bytes);
        }
        partition.state.borrow().log.copy_out(
            piece.segment_base,
            piece.from,
            &mut buffer[kept..len],
        );
        buffer[len..padded].fill(0);
        self.0.metrics.settled_bytes.add(padded as u64);
        let (written, buffer) = file.write_at(buffer, padded, aligned).await;
        self.0.settling.keep_buffer(buffer);
        written
    }

    fn next_piece(&self, partition: &Partition, reach: Reach) -> Option<Piece> {
        let state = partition.state.borrow();
        if state.is_dropped {
            return None;
        }
        let segments = state.log.segments();
        let segment = segments.iter().find(|segment| !segment.is_finished)?;
        let is_full = segment.sealed_index.is_some();
        let from = segment.settled;
        let until = match reach {
            _ if is_full => segment.bytes,
            Reach::End | Reach::Cut => segment.bytes,
            Reach::Blocks => align_down(segment.bytes).max(from),
        };
        let write_bytes = match until - from > PARTITION_BYTES_BEHIND {
            true => WRITE_BYTES_MAX,
            false => WRITE_BYTES_MIN,
        };
        let to = until.min(from + write_bytes);
        let is_last_of_full = is_full && to == segment.bytes;
        (to > from || is_last_of_full).then_some(Piece {
            segment_base: segment.base_offset,
            from,
            to,
            is_last_of_full,
        })
    }

    fn note_settled(&self, partition: &Rc<Partition>, piece: &Piece) {
        let mut state = partition.state.borrow_mut();
        if state.is_dropped {
            return;
        }
        let Some(segment) = state.log.segment_mut(piece.segment_base) else {
            return;
        };
        segment.settled = piece.to;
        segment.has_unsynced_writes = !piece.is_last_of_full;
        if piece.is_last_of_full {
            segment.finish();
        }
        drop(state);
        self.0.settling.shrank(piece.to - piece.from);
        let cached = (partition.clone(), piece.segment_base, piece.to);
        self.0.settling.cached.borrow_mut().push_back(cached);
        self.evict();
    }

    /// Forgets the oldest settled batches while the cache is over its budget.
    fn evict(&self) {
        let settling = &self.0.settling;
        while settling.cached_bytes.get() > settling.cached_bytes_max {
            let mut cached = settling.cached.borrow_mut();
            let Some((partition, segment_base, to)) = cached.front() else {
                return;
            };
            let wanted = settling.cached_bytes.get() - settling.cached_bytes_max;
            let mut state = partition.state.borrow_mut();
            let freed = state.log.evict(*segment_base, *to, wanted);
            drop(state);
            settling.uncached(freed);
            if freed < wanted {
                cached.pop_front();
            }
        }
    }
}

/// How far to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Whole blocks.
    Blocks,
    /// To the last byte.
    End,
    /// To the last byte, with the files cut to length: at a clean stop.
    Cut,
}

struct Piece {
    segment_base: i64,
    from: u64,
    to: u64,
    is_last_of_full: bool,
}
