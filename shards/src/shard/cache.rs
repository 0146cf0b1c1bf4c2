//! Batches that memory holds for readers after they were settled, and buffers for the next writes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::Shard;
use crate::io::{DmaBuffer, Io};
use crate::partition::Partition;

/// Buffers that are kept for later writes.
const SPARE_BUFFERS_MAX: usize = 4;

/// What a shard keeps in memory beside what has to be there.
pub(super) struct Cache {
    bytes: Cell<usize>,
    bytes_max: usize,
    /// Settled and still in memory, oldest first.
    settled: RefCell<VecDeque<Settled>>,
    /// Their bytes: what may be forgotten, but for what shares a chunk with what may not.
    settled_bytes: Cell<u64>,
    spare_buffers: RefCell<Vec<DmaBuffer>>,
}

/// A part of a segment that was settled.
struct Settled {
    partition: Rc<Partition>,
    segment_base: i64,
    /// How far the segment is settled.
    to: u64,
    bytes: u64,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Cell::new(0),
            bytes_max,
            settled: RefCell::default(),
            settled_bytes: Cell::new(0),
            spare_buffers: RefCell::default(),
        }
    }

    /// How much a chunk of a partition may take: anything, as long as half of this may be forgotten or is free; else the
    /// part of it that each of so many partitions has.
    pub(super) fn chunk_bytes_max(&self, partitions: impl FnOnce() -> usize) -> usize {
        let held = (self.bytes.get() as u64).saturating_sub(self.settled_bytes.get());
        match held > self.bytes_max as u64 / 2 {
            true => self.bytes_max / partitions().max(1),
            false => usize::MAX,
        }
    }

    /// So many more bytes were allocated for batches.
    pub(super) fn grew(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// What a partition's batches take was so many bytes, and is so many now: a chunk may give way to a smaller one.
    pub(super) fn changed(&self, before: usize, now: usize) {
        self.bytes
            .set((self.bytes.get() + now).saturating_sub(before));
    }

    fn shrank(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// The oldest segments of a partition are gone, with so many bytes of memory.
    pub(super) fn forgot_segments(&self, partition: &Rc<Partition>, first_left: i64, bytes: usize) {
        self.shrank(bytes);
        self.keep(|settled| {
            settled.segment_base >= first_left || !Rc::ptr_eq(&settled.partition, partition)
        });
    }

    /// Partitions are dropped: nothing holds on to what they have in memory, so many bytes.
    pub(super) fn forgot_ended(&self, bytes: usize) {
        self.shrank(bytes);
        self.keep(|settled| !settled.partition.state.borrow().is_dropped);
    }

    fn keep(&self, stays: impl Fn(&Settled) -> bool) {
        let mut settled = self.settled.borrow_mut();
        settled.retain(stays);
        let bytes = settled.iter().map(|settled| settled.bytes).sum();
        self.settled_bytes.set(bytes);
    }

    /// So many bytes fewer may be forgotten.
    fn settled_shrank(&self, bytes: u64) {
        self.settled_bytes.set(self.settled_bytes.get() - bytes);
    }

    /// Part of a segment was settled. Forgets the oldest settled batches while there are too many.
    pub(super) fn settled(
        &self,
        partition: &Rc<Partition>,
        segment_base: i64,
        positions: Range<u64>,
    ) {
        let bytes = positions.end - positions.start;
        self.settled.borrow_mut().push_back(Settled {
            partition: partition.clone(),
            segment_base,
            to: positions.end,
            bytes,
        });
        self.settled_bytes.set(self.settled_bytes.get() + bytes);
        while self.bytes.get() > self.bytes_max {
            let mut settled = self.settled.borrow_mut();
            let Some(oldest) = settled.front_mut() else {
                return;
            };
            let wanted = self.bytes.get() - self.bytes_max;
            let mut state = oldest.partition.state.borrow_mut();
            let freed = state.log.evict(oldest.segment_base, oldest.to, wanted);
            drop(state);
            self.shrank(freed);
            // What is left of it shares a chunk with what is not settled.
            let gone = match freed < wanted {
                true => oldest.bytes,
                false => oldest.bytes.min(freed as u64),
            };
            oldest.bytes -= gone;
            self.settled_shrank(gone);
            if freed < wanted {
                settled.pop_front();
            }
        }
    }

    /// Segments of which something may be forgotten.
    #[cfg(test)]
    pub(super) fn segments(&self) -> Vec<i64> {
        let settled = self.settled.borrow();
        settled.iter().map(|settled| settled.segment_base).collect()
    }

    /// A buffer of at least so many bytes, which may hold anything.
    pub(super) fn buffer(&self, io: &Io, len: usize) -> DmaBuffer {
        let mut spare = self.spare_buffers.borrow_mut();
        let large_enough = spare.iter().position(|buffer| buffer.len() >= len);
        match large_enough {
            Some(at) => spare.swap_remove(at),
            None => io.buffer(len.next_power_of_two()),
        }
    }

    /// Takes a buffer back.
    pub(super) fn keep_buffer(&self, buffer: DmaBuffer) {
        let mut spare = self.spare_buffers.borrow_mut();
        spare.push(buffer);
        if spare.len() > SPARE_BUFFERS_MAX {
            spare.sort_unstable_by_key(|buffer| std::cmp::Reverse(buffer.len()));
            spare.pop();
        }
    }
}

impl Shard {
    /// Bytes allocated for batches in memory.
    pub fn cached_bytes(&self) -> usize {
        self.0.cache.bytes.get()
    }

    /// Above this, batches that are in segments are dropped from memory. Beyond it stays what is not in segments yet, and
    /// what shares a chunk with that: of each partition up to two chunks, which, once half of this is taken in that way,
    /// take no more than its part of this, or 1 KiB, or than one batch below 32 KiB.
    pub fn cached_bytes_max(&self) -> usize {
        self.0.cache.bytes_max
    }
}
