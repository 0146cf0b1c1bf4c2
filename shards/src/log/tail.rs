//! The recent end of one partition's log, in memory.
//!
//! Purpose: serve readers at the end of the log without a disk, and hold the bytes that are not in
//! the segment files yet for the task that settles them there.
//! Owner: the partition, on the core that owns it. The slices handed out are reference-counted and
//! may go to other cores; they stay as they are whatever happens here.
//!
//! Small batches are copied behind each other into chunks, which grow with the partition's
//! business: many of them make one slice of a reply, and none pins the receive buffer it came in.
//! Large batches stay where they were received; only their stamped header is copied. A piece of the
//! tail is a run of small batches in one chunk, or one large batch.
//!
//! Invariants: pieces follow each other without a gap in their segment; a new segment begins at
//! position 0. Offsets increase, with gaps only where compaction left them. Every batch lies whole
//! in one piece. `start_offset` to `end_offset` is exactly what can be read here.
//! Crash behaviour: none of its own; what is here is in the journal until it is settled, and
//! recovery pushes it again.
//! What it does not do: decide what is settled or how much memory it may have; the caller evicts.

mod piece;

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::batch::BatchHeader;
use super::batch::header::HEADER_BYTES;
use crate::io::AppendBuf;
use piece::{Content, Lease, Piece};

/// Records from this size on are kept in the buffer they came in.
const SHARED_BYTES_MIN: usize = 32 * 1024;
/// The first chunk is small, since ten thousand idle partitions may have one each.
const CHUNK_BYTES_MIN: usize = 1024;
const CHUNK_BYTES_MAX: usize = 256 * 1024;
const CHUNK_GROWTH: usize = 4;

/// A byte of the log: a segment, by its base offset, and a position in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentPosition {
    pub base_offset: i64,
    pub position: u32,
}

impl SegmentPosition {
    pub fn new(base_offset: i64, position: u32) -> Self {
        SegmentPosition {
            base_offset,
            position,
        }
    }

    fn plus(self, bytes: u32) -> Self {
        let position = self.position.checked_add(bytes);
        SegmentPosition {
            position: position.expect("segments end below 4 GiB"),
            ..self
        }
    }
}

/// A batch as it goes into the log.
#[derive(Clone, Debug)]
pub struct TailBatch {
    pub at: SegmentPosition,
    /// Stamped with its offset.
    pub header: [u8; HEADER_BYTES],
    /// What follows the header.
    pub records: Bytes,
    /// Memory that `records` keeps allocated, its share of a larger buffer included.
    pub records_backing_bytes: usize,
}

/// What a reader may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    pub max_bytes: usize,
    /// Take the first batch even if it alone is larger than `max_bytes`.
    pub first_batch_always: bool,
    /// Take no batch that reaches this offset (the high watermark or last stable offset).
    pub up_to_offset: i64,
}

pub struct Tail {
    pieces: VecDeque<Piece>,
    /// A chunk with room left that no piece is writing to.
    spare: Option<(AppendBuf, Rc<Lease>)>,
    /// First offset that can be read here.
    start_offset: i64,
    /// The log's end.
    end_offset: i64,
    /// Of the chunk allocated last, so that the next can be larger.
    chunk_bytes: usize,
    chunk_bytes_max: usize,
    backing_bytes: usize,
}

impl Tail {
    /// An empty tail of a log that ends at `end_offset`.
    pub fn new(end_offset: i64) -> Self {
        Tail {
            pieces: VecDeque::new(),
            spare: None,
            start_offset: end_offset,
            end_offset,
            chunk_bytes: 0,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            backing_bytes: 0,
        }
    }

    /// Where the oldest byte here lies; `None` when the tail is empty.
    pub fn start(&self) -> Option<SegmentPosition> {
        Some(self.pieces.front()?.at)
    }

    /// Just behind the last byte here.
    pub fn end(&self) -> Option<SegmentPosition> {
        Some(self.pieces.back()?.end())
    }

    /// Memory allocated for what is here, whether or not anything else refers to it as well.
    pub fn backing_bytes(&self) -> usize {
        self.backing_bytes
    }

    /// From now on chunks take no more than this part of what a shard has, as far as batches are not larger. A chunk stays
    /// whole until all in it is settled, so those of very many partitions must be small.
    pub fn bound_chunks(&mut self, bytes: usize) {
        let bytes = bytes.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        self.chunk_bytes_max = 1 << bytes.ilog2();
    }

    /// Appends a batch to the log's end.
    pub fn push(&mut self, batch: TailBatch) {
        let header = BatchHeader::parse(&batch.header).expect("a batch that was checked");
        let (base_offset, last_offset) = (header.base_offset(), header.last_offset());
        let size_bytes = HEADER_BYTES + batch.records.len();
        assert_eq!(header.size_bytes(), size_bytes, "a whole batch");
        assert!(
            base_offset >= self.end_offset && last_offset >= base_offset,
            "offsets {base_offset} to {last_offset} behind {}",
            self.end_offset
        );
        if let Some(end) = self.end() {
            let rolled = batch.at.base_offset > end.base_offset && batch.at.position == 0;
            assert!(batch.at == end || rolled, "{:?} behind {end:?}", batch.at);
        }
        if batch.records.len() >= SHARED_BYTES_MIN {
            self.push_shared(batch, base_offset, last_offset);
        } else {
            self.push_copy(&batch, base_offset, last_offset);
        }
        self.end_offset = last_offset + 1;
    }

    fn push_shared(&mut self, batch: TailBatch, base_offset: i64, last_offset: i64) {
        assert!(batch.records_backing_bytes >= batch.records.len());
        self.close_run();
        self.backing_bytes += batch.records_backing_bytes;
        let content = Content::Shared {
            header: Bytes::copy_from_slice(&batch.header),
            records: batch.records,
            backing_bytes: batch.records_backing_bytes,
        };
        let piece = Piece::new(batch.at, base_offset, last_offset, content);
        self.pieces.push_back(piece);
    }

    fn push_copy(&mut self, batch: &TailBatch, base_offset: i64, last_offset: i64) {
        let size_bytes = HEADER_BYTES + batch.records.len();
        let fits = self
            .pieces
            .back()
            .is_some_and(|last| last.end() == batch.at && last.room() >= size_bytes);
        if !fits {
            self.close_run();
            let (chunk, lease) = self.chunk_for(size_bytes);
            let content = Content::open(chunk, lease);
            let piece = Piece::new(batch.at, base_offset, base_offset - 1, content);
            self.pieces.push_back(piece);
        }
        let run = self.pieces.back_mut().expect("an open run");
        run.append(&batch.header, &batch.records, base_offset, last_offset);
    }

    /// Ends the run that is being written to, if there is one; its chunk may take another.
    fn close_run(&mut self) {
        if let Some(chunk) = self.pieces.back_mut().and_then(Piece::close) {
            self.spare = Some(chunk);
        }
    }

    fn chunk_for(&mut self, size_bytes: usize) -> (AppendBuf, Rc<Lease>) {
        match self.spare.take() {
            Some((chunk, lease)) if chunk.remaining() >= size_bytes => (chunk, lease),
            too_full => {
                self.release_spare(too_full);
                let grown = self.chunk_bytes * CHUNK_GROWTH;
                let wanted = grown.clamp(CHUNK_BYTES_MIN, self.chunk_bytes_max);
                self.chunk_bytes = wanted.max(size_bytes.next_power_of_two());
                self.backing_bytes += self.chunk_bytes;
                let lease = Rc::new(Lease {
                    bytes: self.chunk_bytes,
                });
                (AppendBuf::new(self.chunk_bytes), lease)
            }
        }
    }

    /// Batches from the one that holds `from_offset` on; `None` when that is no longer (or, above
    /// the end, not yet) here: in order, in as few slices as there are pieces. Nothing to give is an
    /// empty answer.
    pub fn read(&self, from_offset: i64, limits: ReadLimits) -> Option<Vec<Bytes>> {
        let mut slices = Vec::new();
        self.visit(from_offset, limits, |piece, from, to| {
            piece.slices(from, to, &mut slices);
        })?;
        Some(slices)
    }

    /// How many bytes `read` would give.
    pub fn probe(&self, from_offset: i64, limits: ReadLimits) -> Option<usize> {
        let mut bytes = 0;
        self.visit(from_offset, limits, |_, from, to| {
            bytes += (to - from) as usize;
        })?;
        Some(bytes)
    }

    /// Calls `take` with each piece to read and the range within.
    fn visit(
        &self,
        from_offset: i64,
        limits: ReadLimits,
        mut take: impl FnMut(&Piece, u32, u32),
    ) -> Option<()> {
        if from_offset < self.start_offset || from_offset > self.end_offset {
            return None;
        }
        let first = self
            .pieces
            .partition_point(|piece| piece.last_offset < from_offset);
        let mut budget_bytes = limits.max_bytes;
        let mut first_batch = limits.first_batch_always;
        for (index, piece) in self.pieces.range(first..).enumerate() {
            let from = match index {
                0 => piece.find_offset(from_offset),
                _ => 0,
            };
            let mut to = piece.end_within(from, budget_bytes, limits.up_to_offset);
            if to == from && first_batch {
                to = piece.end_of_batch(from, limits.up_to_offset);
            }
            if to == from {
                break;
            }
            take(piece, from, to);
            first_batch = false;
            budget_bytes = budget_bytes.saturating_sub((to - from) as usize);
            if to < piece.size_bytes {
                break;
            }
        }
        Some(())
    }

    /// Copies the log's bytes from `from` on into all of `target`, for writing them to the
    /// segment's file. `false` when some of them are not here.
    pub fn copy_to(&self, from: SegmentPosition, target: &mut [u8]) -> bool {
        let first = self.pieces.partition_point(|piece| piece.end() <= from);
        let mut next = from;
        let mut rest = target;
        for piece in self.pieces.range(first..) {
            if rest.is_empty() {
                break;
            }
            if piece.at.base_offset != from.base_offset || piece.at > next {
                return false;
            }
            let skipped = next.position - piece.at.position;
            let copied = piece.copy_to(skipped, rest);
            next = piece.end();
            rest = &mut rest[copied..];
        }
        rest.is_empty()
    }

    /// The rest of `from`'s segment, which ends at `until`, beginning with the batch that holds the
    /// byte at `from`: where it begins, and its slices. All of it must be here.
    pub fn slices_from(&self, from: SegmentPosition, until: u32) -> (u32, Vec<Bytes>) {
        let first = self.pieces.partition_point(|piece| piece.end() <= from);
        let mut slices = Vec::new();
        let mut begins = until;
        for piece in self.pieces.range(first..) {
            if piece.at.base_offset != from.base_offset {
                break;
            }
            let at = piece.batch_around(from.position.saturating_sub(piece.at.position));
            if slices.is_empty() {
                begins = piece.at.position + at;
            }
            piece.slices(at, piece.size_bytes, &mut slices);
        }
        assert!(
            begins <= from.position,
            "{from:?} is no longer here, only what follows {begins}"
        );
        (begins, slices)
    }

    /// Lets go of the oldest pieces that lie wholly below `settled`, until `wanted_bytes` of memory
    /// are free or none is left. Answers how much was freed.
    pub fn evict(&mut self, settled: SegmentPosition, wanted_bytes: usize) -> usize {
        let before = self.backing_bytes;
        while before - self.backing_bytes < wanted_bytes
            && self
                .pieces
                .front()
                .is_some_and(|oldest| oldest.end() <= settled)
        {
            self.drop_front();
        }
        before - self.backing_bytes
    }

    /// Forgets everything in segments before the one that starts at `base_offset`, settled or not:
    /// they are being removed.
    pub fn drop_segments_below(&mut self, base_offset: i64) {
        while self
            .pieces
            .front()
            .is_some_and(|oldest| oldest.at.base_offset < base_offset)
        {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let oldest = self.pieces.pop_front().expect("a piece to drop");
        self.start_offset = match self.pieces.front() {
            Some(_) => oldest.last_offset + 1,
            None => self.end_offset,
        };
        self.release(oldest);
        if self.pieces.is_empty() {
            let spare = self.spare.take();
            self.release_spare(spare);
            self.chunk_bytes /= CHUNK_GROWTH * CHUNK_GROWTH;
        }
    }

    fn release(&mut self, piece: Piece) {
        match piece.content {
            Content::Shared { backing_bytes, .. } => self.backing_bytes -= backing_bytes,
            Content::Open { lease, .. } | Content::Closed { lease, .. } => {
                self.release_lease(lease);
            }
        }
    }

    fn release_spare(&mut self, spare: Option<(AppendBuf, Rc<Lease>)>) {
        if let Some((_, lease)) = spare {
            self.release_lease(lease);
        }
    }

    /// The chunk's memory counts until the last run in it is gone, and nothing writes to it.
    fn release_lease(&mut self, lease: Rc<Lease>) {
        if let Some(lease) = Rc::into_inner(lease) {
            self.backing_bytes -= lease.bytes;
        }
    }
}

#[cfg(test)]
mod tests;
