//! The log of one partition: where its batches are, what they said, and where the next one goes.
//!
//! A log is plain state. [`Log::append`] decides and applies at once, in memory; making it durable,
//! writing segments and reading them back is done by the shard, which looks here for what is due.
//! Recovery calls [`Log::install`], the same code, with what the journal held.
//!
//! Three positions, each never ahead of the next: *settled* (in segment files), *high watermark*
//! (acknowledged; kept by the partition), *end* (in memory).
//!
//! # Crash behaviour
//! Everything from a segment's settled position on is in the journal too. A file may hold more than
//! `settled` says, or less behind it; nobody reads it there before it was settled again.

use std::rc::Rc;

use bytes::Bytes;

use super::batch::control::TransactionEnd;
use super::batch::header::{HEADER_BYTES, NO_LEADER_EPOCH, NO_SEQUENCE};
use super::batch::{Batch, BatchHeader, Stamp, TimestampType};
use super::config::LogConfig;
use super::epochs::LeaderEpochs;
use super::index::{IndexedBatch, SegmentIndex};
use super::producer::{
    AppendedAt, Check, CompletedTransaction, EndMarker, ProducerBatch, ProducerError, ProducerTable,
};
use super::roll::{ActiveSegment, Incoming, RollLimits, must_roll};
use super::segment::Segment;
use super::tail::{ReadLimits, SegmentPosition, Tail, TailBatch};
use crate::mutation::{Mutation, is_on};

/// A batch has its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Base offset of its segment.
    pub segment_base: i64,
    /// Where it begins in its segment.
    pub position: u64,
    /// Its header as it is stored.
    pub header: [u8; HEADER_BYTES],
    /// The broker's time, where the topic uses it.
    pub log_append_time_ms: Option<i64>,
}

/// What an append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The batch is the newest of the log.
    Placed(Placed),
    /// An idempotent producer sent again what is there already.
    Duplicate {
        /// Offset of its first record.
        base_offset: i64,
        /// Offset of its last record.
        last_offset: i64,
        /// When it was appended, where the topic uses the broker's time.
        log_append_time_ms: Option<i64>,
    },
}

/// The log of one partition.
pub struct Log {
    /// Settings, shared by the partitions of a topic.
    pub config: Rc<LogConfig>,
    segments: Vec<Segment>,
    index: SegmentIndex,
    tail: Tail,
    producers: ProducerTable,
    epochs: LeaderEpochs,
    start: i64,
    end: i64,
    /// Compaction has been through what lies below it.
    first_dirty: i64,
    /// What the jitter of its segments is drawn from.
    roll_seed: u64,
}

impl Log {
    /// An empty log.
    pub fn new(config: Rc<LogConfig>) -> Self {
        Self {
            config,
            segments: Vec::new(),
            index: SegmentIndex::new(0),
            tail: Tail::new(0),
            producers: ProducerTable::new(),
            epochs: LeaderEpochs::new(),
            start: 0,
            end: 0,
            first_dirty: 0,
            roll_seed: 0,
        }
    }

    /// First offset that can be read.
    pub fn start_offset(&self) -> i64 {
        self.start
    }

    /// Offset that the next record gets.
    pub fn end_offset(&self) -> i64 {
        self.end
    }

    /// Has segments roll at other times than those of logs with another seed (`segment.jitter.ms`). The
    /// same seed gives the same times, after a restart too.
    pub fn spread_rolls(&mut self, seed: u64) {
        self.roll_seed = seed;
    }

    /// First offset that compaction has not been through.
    pub fn first_dirty_offset(&self) -> i64 {
        self.first_dirty.max(self.start)
    }

    /// Compaction has been through everything below an offset.
    pub fn set_first_dirty_offset(&mut self, offset: i64) {
        self.first_dirty = offset;
    }

    /// Leader epochs and where they began.
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// Producers of this partition.
    pub fn producers(&self) -> &ProducerTable {
        &self.producers
    }

    /// All segments, oldest first; the last one is active.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether the active segment can hold an offset that far from its base.
    pub fn can_hold(&self, last_offset: i64) -> bool {
        self.index.can_hold(last_offset)
    }

    /// Recent batches.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Forgets batches that are settled, until so many bytes of memory are free.
    pub fn evict(&mut self, segment_base: i64, settled: u64, wanted_bytes: usize) -> usize {
        self.tail.evict(
            SegmentPosition::new(segment_base, settled as u32),
            wanted_bytes,
        )
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends one batch that was checked already: gives it its offsets, notes what it says.
    pub fn append(
        &mut self,
        batch: &Bytes,
        max_timestamp_ms: i64,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Outcome, ProducerError> {
        let header = BatchHeader::parse(batch).expect("a batch was checked before it got here");
        if let Some(duplicate) = self.check_producer(&header)? {
            return Ok(duplicate);
        }
        let timestamp_type = self.config.timestamp_type;
        let log_append_time_ms = (timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        let stamp = Stamp {
            base_offset: self.end,
            leader_epoch,
            timestamp_type,
            max_timestamp: log_append_time_ms.unwrap_or(max_timestamp_ms),
        };
        let bytes = stamp.header_for(batch);
        let header = BatchHeader::parse(&bytes).expect("a stamped header is a header");
        self.roll_if_due(&header, now_ms);
        let active = self
            .segments
            .last()
            .expect("there is an active segment now");
        let placed = Placed {
            base_offset: self.end,
            last_offset: header.last_offset(),
            segment_base: active.base_offset,
            position: active.bytes,
            header: bytes,
            log_append_time_ms,
        };
        self.install(&bytes, &batch.slice(HEADER_BYTES..), now_ms);
        Ok(Outcome::Placed(placed))
    }

    fn check_producer(&self, header: &BatchHeader<'_>) -> Result<Option<Outcome>, ProducerError> {
        if !header.has_producer_id() || header.base_sequence() == NO_SEQUENCE {
            return Ok(None);
        }
        let uses_broker_time = self.config.timestamp_type == TimestampType::LogAppendTime;
        Ok(match self.producers.check(&producer_batch(header))? {
            Check::Append => None,
            Check::Duplicate(first) => Some(Outcome::Duplicate {
                base_offset: first.base_offset(),
                last_offset: first.last_offset,
                log_append_time_ms: uses_broker_time.then_some(first.max_timestamp_ms),
            }),
        })
    }

    /// Notes a batch at the end of the active segment: the one way in, live and in recovery. Returns
    /// the transaction that it ended.
    pub fn install(
        &mut self,
        header_bytes: &[u8; HEADER_BYTES],
        records: &Bytes,
        now_ms: i64,
    ) -> Option<CompletedTransaction> {
        let header =
            BatchHeader::parse(header_bytes).expect("a batch was checked before it got here");
        assert!(header.base_offset() >= self.end, "offsets never go back");
        let active = self
            .segments
            .last_mut()
            .expect("there is an active segment");
        let position = active.bytes;
        active.note(&header, now_ms);
        let indexed = IndexedBatch {
            last_offset: header.last_offset(),
            position: position as u32,
            max_timestamp_ms: header.max_timestamp(),
        };
        self.index.append(indexed, self.config.index_interval_bytes);
        let segment_base = active.base_offset;
        self.remember(segment_base, position, header_bytes, records);
        // Batches from before there were leader epochs say so with a negative one.
        if header.leader_epoch() > NO_LEADER_EPOCH {
            self.epochs
                .assign(header.leader_epoch(), header.base_offset());
        }
        let mut completed = None;
        if header.is_control() {
            completed = self.end_transaction(header_bytes, records, now_ms);
        } else if header.has_producer_id() {
            let at = AppendedAt {
                base_offset: header.base_offset(),
                max_timestamp_ms: header.max_timestamp(),
                now_ms,
            };
            self.producers.apply(&producer_batch(&header), at);
        }
        self.end = header.next_offset();
        completed
    }

    /// Applies the marker of a control batch, if it ends a transaction.
    fn end_transaction(
        &mut self,
        header_bytes: &[u8; HEADER_BYTES],
        records: &Bytes,
        now_ms: i64,
    ) -> Option<CompletedTransaction> {
        let bytes = [header_bytes, &records[..]].concat();
        let batch = Batch::first(&bytes).ok()?;
        let end = TransactionEnd::of(batch)?;
        let marker = EndMarker {
            producer_id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            coordinator_epoch: end.coordinator_epoch,
            aborted: end.is_aborted,
        };
        self.producers
            .apply_marker(&marker, batch.base_offset(), now_ms)
    }

    /// Transactions that were decided below the high watermark are stable.
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.producers.on_high_watermark(high_watermark);
    }

    /// Takes a batch from the journal. What the log has already is passed over; `false` if the batch
    /// does not fit behind what is there, which is left as it was.
    pub fn replay(
        &mut self,
        place: (i64, u64),
        header_bytes: &[u8; HEADER_BYTES],
        records: &Bytes,
        now_ms: i64,
    ) -> bool {
        let (segment_base, position) = place;
        let Ok(header) = BatchHeader::parse(header_bytes) else {
            return false;
        };
        if header.base_offset() != self.end {
            return header.next_offset() <= self.end;
        }
        let active = self.segments.last();
        if active.is_some_and(|active| active.base_offset == segment_base) {
            if active.is_some_and(|active| active.bytes != position) {
                return false;
            }
        } else if (segment_base, position) == (self.end, 0) {
            self.roll_at(segment_base, now_ms);
        } else {
            return false;
        }
        self.install(header_bytes, records, now_ms);
        true
    }

    /// How much its newest batches may take at once: see [`Tail::bound_chunks`].
    pub fn bound_chunks(&mut self, bytes: usize) {
        self.tail.bound_chunks(bytes);
    }

    /// Keeps a batch in memory.
    pub(super) fn remember(
        &mut self,
        segment_base: i64,
        position: u64,
        header: &[u8; HEADER_BYTES],
        records: &Bytes,
    ) {
        self.tail.push(TailBatch {
            at: SegmentPosition::new(segment_base, position as u32),
            header: *header,
            records: records.clone(),
            records_backing_bytes: records.len(),
        });
    }

    fn roll_if_due(&mut self, header: &BatchHeader<'_>, now_ms: i64) {
        let due = self.segments.last().is_none_or(|active| {
            let active = ActiveSegment {
                index: &self.index,
                size_bytes: active.bytes as u32,
                seed: self.roll_seed ^ active.base_offset as u64,
                first_timestamp_ms: active.first_timestamp_ms,
                created_ms: active.created_ms,
            };
            let limits = RollLimits {
                segment_bytes: self.config.segment_bytes,
                segment_ms: self.config.segment_ms,
                jitter_ms: self.config.segment_jitter_ms,
                index_bytes: self.config.segment_index_bytes,
            };
            let incoming = Incoming {
                size_bytes: header.size_bytes() as u32,
                max_timestamp_ms: header.max_timestamp(),
                last_offset: header.last_offset(),
            };
            must_roll(active, limits, incoming, now_ms)
        });
        if due {
            self.roll_at(self.end, now_ms);
        }
    }

    /// Begins a segment with this base offset, the end of the log or behind it, in place of an active
    /// one that is empty.
    pub fn roll_at(&mut self, base_offset: i64, now_ms: i64) {
        let replaces_empty = self.segments.pop_if(|active| active.bytes == 0).is_some();
        let full = std::mem::replace(&mut self.index, SegmentIndex::new(base_offset));
        if let Some(active) = self.segments.last_mut()
            && !replaces_empty
        {
            active.seal(full);
            if is_on(Mutation::ForgetProducersAtRoll) {
                self.producers = ProducerTable::new();
            }
        }
        self.segments.push(Segment::new(base_offset, now_ms));
    }

    /// Goes on at `offset`: there is nothing between the end so far and that, as in a log taken over
    /// whose records were removed. The tail must be empty.
    pub fn skip_to(&mut self, offset: i64) {
        assert!(offset >= self.end, "offsets never go back");
        assert!(self.tail.start().is_none(), "what is in memory has no gaps");
        self.end = offset;
        self.tail = Tail::new(offset);
    }

    /// The segment with this base offset.
    pub fn segment(&self, base_offset: i64) -> Option<&Segment> {
        let at = self
            .segments
            .binary_search_by_key(&base_offset, |segment| segment.base_offset);
        at.ok().map(|at| &self.segments[at])
    }

    /// The segment with this base offset, to note what was done to its files.
    pub fn segment_mut(&mut self, base_offset: i64) -> Option<&mut Segment> {
        let at = self
            .segments
            .binary_search_by_key(&base_offset, |segment| segment.base_offset);
        at.ok().map(|at| &mut self.segments[at])
    }

    /// The index of a segment that is not finished.
    pub fn index_in_memory(&self, base_offset: i64) -> Option<&SegmentIndex> {
        let active = self.segments.last()?;
        if active.base_offset == base_offset {
            return Some(&self.index);
        }
        self.segment(base_offset)?.sealed_index.as_deref()
    }

    /// Whether a segment takes no more batches and is not finished.
    pub fn has_full_segment_to_settle(&self) -> bool {
        self.unfinished()
            .any(|segment| segment.sealed_index.is_some())
    }

    fn unfinished(&self) -> impl Iterator<Item = &Segment> {
        let first = self
            .segments
            .iter()
            .rposition(|segment| segment.is_finished)
            .map_or(0, |at| at + 1);
        self.segments[first..].iter()
    }

    /// Bytes that no segment file holds yet.
    pub fn unsettled_bytes(&self) -> u64 {
        self.unfinished()
            .map(|segment| segment.bytes - segment.settled)
            .sum()
    }

    /// What segment files do not hold, from the batch on that is not all there.
    pub fn unsettled_pieces(&self) -> Vec<UnsettledPiece> {
        self.unfinished()
            .map(|segment| {
                let settled = SegmentPosition::new(segment.base_offset, segment.settled as u32);
                let (position, bytes) = self.tail.slices_from(settled, segment.bytes as u32);
                UnsettledPiece {
                    segment_base: segment.base_offset,
                    position: u64::from(position),
                    bytes,
                }
            })
            .collect()
    }

    /// Bytes that a checkpoint has to carry.
    pub fn carried_bytes(&self) -> u64 {
        let pieces = self.unsettled_pieces();
        pieces
            .iter()
            .flat_map(|piece| &piece.bytes)
            .map(|bytes| bytes.len() as u64)
            .sum()
    }

    /// Copies bytes of an unfinished segment.
    pub fn copy_out(&self, segment_base: i64, position: u64, out: &mut [u8]) {
        let found = self
            .tail
            .copy_to(SegmentPosition::new(segment_base, position as u32), out);
        assert!(found, "what is not settled is in memory");
    }

    /// Bytes from `offset` to `upper`, at most `most`: exact in memory, by the index on disk.
    pub fn bytes_between(&self, offset: i64, upper: i64, most: usize) -> usize {
        let limits = ReadLimits {
            max_bytes: most,
            first_batch_always: true,
            up_to_offset: upper,
        };
        if let Some(bytes) = self.tail.probe(offset, limits) {
            return bytes;
        }
        let at = self.segment_at(offset);
        let behind: u64 = self.segments[at + 1..]
            .iter()
            .map(|segment| segment.bytes)
            .sum();
        let here = match self.index_in_memory(self.segments[at].base_offset) {
            Some(index) => self.segments[at].bytes - u64::from(index.position_for_offset(offset)),
            None => self.segments[at].bytes,
        };
        usize::try_from(behind + here)
            .unwrap_or(usize::MAX)
            .clamp(1, most.max(1))
    }

    /// Place of the segment that holds `offset`, or of the next one.
    fn segment_at(&self, offset: i64) -> usize {
        let behind = self
            .segments
            .partition_point(|segment| segment.base_offset <= offset);
        behind.saturating_sub(1)
    }

    /// Where batches from `offset` on are; below `upper` only.
    pub fn find(&self, offset: i64, bytes_max: usize, at_least_one: bool, upper: i64) -> Found {
        if offset >= upper {
            return Found::Memory(Vec::new());
        }
        let limits = ReadLimits {
            max_bytes: bytes_max,
            first_batch_always: at_least_one,
            up_to_offset: upper,
        };
        if let Some(slices) = self.tail.read(offset, limits) {
            return Found::Memory(slices);
        }
        let at = self.segment_at(offset);
        let segment = &self.segments[at];
        let next = self.segments.get(at + 1);
        let next = next.filter(|_| segment.settled == segment.bytes);
        Found::Disk(DiskPlace {
            segment_base: segment.base_offset,
            generation: segment.generation,
            limit: segment.settled,
            next_base: next.map(|next| next.base_offset),
        })
    }

    /// Puts a compacted segment in the place of those that it was made of, all of them finished: the one with its base
    /// offset and some that follow.
    pub fn replace_segments(&mut self, count: usize, mut compacted: Segment) {
        let at = self
            .segments
            .partition_point(|segment| segment.base_offset < compacted.base_offset);
        let replaced = &self.segments[at..at + count];
        assert!(
            replaced[0].base_offset == compacted.base_offset
                && replaced.iter().all(|segment| segment.is_finished),
            "only what is finished is compacted"
        );
        compacted.generation = replaced[0].generation + 1;
        self.segments.splice(at..at + count, [compacted]);
    }

    /// The files of all segments are in another place now: what was read of them before is of other files.
    pub fn note_files_moved(&mut self) {
        for segment in &mut self.segments {
            segment.generation += 1;
        }
    }

    /// The files of all segments are copies now, on stable storage as far as they are settled.
    pub fn note_files_copied(&mut self) {
        self.note_files_moved();
        for segment in &mut self.segments {
            segment.has_unsynced_writes = false;
            segment.is_cut = false;
        }
    }

    /// Whether the files of a segment may still have the names that compaction gave them.
    pub fn is_swapping(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_swapping)
    }

    /// Forgets what is in memory of segments below this base offset. All of it is in their files.
    pub fn forget_tail_below(&mut self, base_offset: i64) {
        self.tail.drop_segments_below(base_offset);
    }

    /// Forgets all that is in memory. What is not settled cannot be read any more.
    pub fn forget_tail(&mut self) {
        self.tail = Tail::new(self.end);
    }

    /// Moves the log start; segments stay until [`Log::remove_oldest_segment`].
    pub fn set_start(&mut self, offset: i64) {
        assert!(
            offset <= self.end,
            "the log starts at its end at the latest"
        );
        if offset > self.start {
            self.start = offset;
            self.epochs.truncate_from_start(offset);
            self.producers.on_log_start(offset);
        }
    }

    /// Whether the oldest segment lies below the log start altogether.
    pub fn has_old_segment(&self) -> bool {
        let second = self.segments.get(1);
        second.is_some_and(|second| second.base_offset <= self.start)
    }

    /// Nothing more is written to the files of segments that lie below the log start altogether: they
    /// are to be removed, or are gone already. A log that starts at its end may have rolled before it lost all of them,
    /// of which the journal knows with the next batch only.
    pub fn finish_old_segments(&mut self, now_ms: i64) {
        let is_old = |active: &Segment| active.bytes > 0 && self.start == self.end;
        if self.segments.last().is_some_and(is_old) {
            self.roll_at(self.end, now_ms);
        }
        let last = self
            .segments
            .partition_point(|segment| segment.base_offset <= self.start);
        for segment in &mut self.segments[..last.saturating_sub(1)] {
            segment.finish();
        }
    }

    /// Forgets the oldest segment; the active one stays. Its base offset.
    pub fn remove_oldest_segment(&mut self) -> i64 {
        assert!(self.segments.len() > 1, "the active segment stays");
        let removed = self.segments.remove(0);
        self.tail.drop_segments_below(self.segments[0].base_offset);
        removed.base_offset
    }

    /// Forgets producers that were silent for too long. Answers how many it were.
    pub fn expire_producers(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.expire(now_ms, expiration_ms);
        before - self.producers.len()
    }

    /// Forgets up to `count` producers that were silent for longest. Answers how many it were.
    pub fn forget_producers(&mut self, count: usize, now_ms: i64) -> usize {
        self.producers.forget_silent(count, now_ms)
    }

    /// A leader epoch begins at the end of the log.
    pub fn begin_epoch(&mut self, epoch: i32) {
        self.epochs.assign(epoch, self.end);
    }

    /// Restores a log from what a checkpoint or its files said.
    pub(super) fn restore(config: Rc<LogConfig>, parts: Restored) -> Self {
        Self {
            config,
            segments: parts.segments,
            index: parts.index,
            tail: Tail::new(parts.tail_start),
            producers: parts.producers,
            epochs: parts.epochs,
            start: parts.start,
            end: parts.end,
            first_dirty: parts.first_dirty,
            roll_seed: 0,
        }
    }
}

/// The parts of a log that is put together again.
pub(super) struct Restored {
    pub(super) segments: Vec<Segment>,
    pub(super) index: SegmentIndex,
    pub(super) producers: ProducerTable,
    pub(super) epochs: LeaderEpochs,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) first_dirty: i64,
    /// First offset that is kept in memory.
    pub(super) tail_start: i64,
}

/// Bytes of one segment that are only in memory.
pub struct UnsettledPiece {
    /// Base offset of the segment.
    pub segment_base: i64,
    /// Where the bytes begin: at a batch.
    pub position: u64,
    /// The bytes, in order.
    pub bytes: Vec<Bytes>,
}

/// Where batches are.
pub enum Found {
    /// Here.
    Memory(Vec<Bytes>),
    /// In a file.
    Disk(DiskPlace),
}

/// A segment file to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskPlace {
    /// Base offset of the segment.
    pub segment_base: i64,
    /// Which of the files that this segment had one after the other.
    pub generation: u32,
    /// The file holds batches up to here.
    pub limit: u64,
    /// Base offset of the next segment, if the file holds all of its own.
    pub next_base: Option<i64>,
}

fn producer_batch(header: &BatchHeader<'_>) -> ProducerBatch {
    ProducerBatch {
        producer_id: header.producer_id(),
        epoch: header.producer_epoch(),
        base_sequence: header.base_sequence(),
        last_offset_delta: header.last_offset_delta(),
        transactional: header.is_transactional(),
    }
}
