//! Settling: from memory into segment files, behind the journal.
//!
//! A partition is settled when it has a megabyte that no file holds, when a segment is full, or when
//! its volume holds more unsettled bytes than its budget (a quarter of the journal, so that carrying
//! forward always converges). Mostly whole 4 KiB blocks of the active segment are written; a
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
use super::volume::Volume;
use crate::io::{BLOCK, File, Landmark, Notify, align_down};
use crate::mutation::{Mutation, is_on};
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
/// Pause before another attempt on a full or failing disk.
pub(super) const RETRY: Duration = Duration::from_millis(500);

/// What waits for its turn on one volume.
pub(super) struct Settling {
    due: RefCell<VecDeque<Rc<Partition>>>,
    /// Partitions with unsettled bytes, oldest first: who is next when the budget is exceeded.
    dirty: RefCell<VecDeque<Rc<Partition>>>,
    work: Notify,
    writers: Cell<u64>,
    unsettled_bytes: Cell<u64>,
    unsettled_bytes_max: u64,
}

impl Settling {
    pub(super) fn new(unsettled_bytes_max: u64) -> Self {
        Self {
            due: RefCell::default(),
            dirty: RefCell::default(),
            work: Notify::new(),
            writers: Cell::new(0),
            unsettled_bytes: Cell::new(0),
            unsettled_bytes_max,
        }
    }

    /// So many more bytes are unsettled.
    pub(super) fn grew(&self, bytes: u64) {
        self.unsettled_bytes.set(self.unsettled_bytes.get() + bytes);
    }

    /// So many bytes were settled, or are gone.
    pub(super) fn shrank(&self, bytes: u64) {
        self.unsettled_bytes
            .set(self.unsettled_bytes.get().saturating_sub(bytes));
    }

    /// A partition has nothing more to settle here, of which it had so many bytes.
    pub(super) fn forgot_partition(&self, partition: &Rc<Partition>, unsettled_bytes: u64) {
        self.shrank(unsettled_bytes);
        self.keep(|other| !Rc::ptr_eq(other, partition));
    }

    /// Partitions that are dropped, or of folders that are offline, have nothing more to settle here, of which they had so
    /// many bytes.
    pub(super) fn forgot_ended(&self, unsettled_bytes: u64) {
        self.shrank(unsettled_bytes);
        self.keep(|partition| !partition.is_offline() && !partition.state.borrow().is_dropped);
    }

    fn keep(&self, stays: impl Fn(&Rc<Partition>) -> bool) {
        self.due.borrow_mut().retain(&stays);
        self.dirty.borrow_mut().retain(&stays);
    }

    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    pub(super) fn is_over_budget(&self) -> bool {
        self.unsettled_bytes.get() > self.unsettled_bytes_max
    }

    /// How many partitions should be written at the same time: more, the more waits.
    fn writers_wanted(&self) -> u64 {
        let half = (self.unsettled_bytes_max / 2).max(1);
        let over_half = self.unsettled_bytes.get().saturating_sub(half);
        (1 + WRITERS_MAX * over_half / half).min(WRITERS_MAX)
    }

    fn next(&self) -> Option<Rc<Partition>> {
        if let Some(due) = self.due.borrow_mut().pop_front() {
            due.is_queued.set(false);
            return Some(due);
        }
        if self.is_over_budget() {
            let oldest = self.dirty.borrow_mut().pop_front()?;
            oldest.is_dirty.set(false);
            return Some(oldest);
        }
        None
    }
}

impl Shard {
    /// Bytes that no segment file holds.
    pub fn unsettled_bytes(&self) -> u64 {
        let volumes = self.0.volumes.iter();
        let unsettled = |volume: &Volume| volume.settling.unsettled_bytes.get();
        volumes.map(unsettled).sum()
    }

    /// Bytes that wait for a group of a journal.
    pub fn journal_waiting_bytes(&self) -> usize {
        let volumes = self.0.volumes.iter();
        volumes.map(|volume| volume.journal.waiting_bytes()).sum()
    }

    /// Files of the journals that are free or may still be made.
    pub fn journal_files_free(&self) -> usize {
        let volumes = self.0.volumes.iter();
        volumes.map(|volume| volume.journal.files_free()).sum()
    }

    /// Files that are kept open while nobody asks for anything: those of the journals, and the segments used last.
    pub fn open_files(&self) -> usize {
        let volumes = self.0.volumes.iter();
        let journals: usize = volumes.map(|volume| volume.journal.open_files()).sum();
        journals + self.0.store.open_files()
    }

    pub(super) fn set_disk_full(&self, volume: &Volume, full: bool) {
        if volume.is_disk_full.replace(full) == full {
            return;
        }
        if full {
            self.io().reached(Landmark::DiskFullNoted);
            tracing::error!(
                shard = self.id(),
                "the disk is full: appends are refused when the journal is full too"
            );
            volume.removals.wake();
        } else {
            tracing::info!(shard = self.id(), "the disk has room again");
        }
    }

    /// Queues a partition that has something to settle, if it is time.
    pub(super) fn settle_if_due(&self, partition: &Rc<Partition>) {
        let settling = &self.volume(partition).settling;
        let (unsettled, has_full_segment) = {
            let state = partition.state.borrow();
            if state.is_dropped || !partition.has_files() {
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

    /// The task that has segments of a volume written until the shard stops.
    pub(super) async fn settler(self, volume: usize) {
        let settling = &self.0.volumes[volume].settling;
        while !self.0.stopping.get() {
            let may_write = settling.writers.get() < settling.writers_wanted();
            let next = may_write.then(|| settling.next()).flatten();
            let Some(partition) = next else {
                settling.work.notified().await;
                continue;
            };
            settling.writers.set(settling.writers.get() + 1);
            let shard = self.clone();
            self.io().spawn("settle", async move {
                shard.settle_one(&partition).await;
                let settling = &shard.0.volumes[volume].settling;
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
                self.segment_failed(partition, &error);
                self.io().sleep(RETRY).await;
                self.settle_again(partition);
            }
        }
    }

    fn settle_again(&self, partition: &Rc<Partition>) {
        let is_dropped = partition.state.borrow().is_dropped;
        if !is_dropped && partition.has_files() && !partition.is_queued.replace(true) {
            let mut due = self.volume(partition).settling.due.borrow_mut();
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
                let _settling = self.io().within(Landmark::Settling);
                self.write_piece(partition, &file, &piece).await?;
            }
            let _finishing = piece
                .is_last_of_full
                .then(|| self.io().within(Landmark::SegmentFinished));
            if piece.is_last_of_full || reach == Reach::Cut {
                file.truncate(piece.to).await?;
            }
            if piece.is_last_of_full {
                if !is_on(Mutation::FinishSegmentWithoutSync) {
                    self.sync_segment(partition, &file).await?;
                }
                self.0
                    .store
                    .write_indexes(partition, piece.segment_base)
                    .await?;
            }
            self.note_settled(partition, &piece);
            if piece.to > piece.from {
                self.set_disk_full(self.volume_of_files(partition), false);
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
        let mut buffer = self.0.cache.buffer(self.io(), padded);
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
        self.0.cache.keep_buffer(buffer);
        written
    }

    fn next_piece(&self, partition: &Partition, reach: Reach) -> Option<Piece> {
        let state = partition.state.borrow();
        if state.is_dropped || !partition.has_files() {
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
        if state.is_dropped || partition.is_offline() {
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
        let settling = &self.volume(partition).settling;
        settling.shrank(piece.to - piece.from);
        let cache = &self.0.cache;
        cache.settled(partition, piece.segment_base, piece.from..piece.to);
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
