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

use super::batch::{BatchHeader, HEADER_BYTES, NO_SEQUENCE, Stamp, TimestampType};
use super::config::LogConfig;
use super::epochs::LeaderEpochs;
use super::index::{IndexedBatch, SegmentIndex};
use super::producer::{BatchFacts, Check, ProducerError, ProducerTable};
use super::segment::Segment;
use super::tail::Tail;

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
}

impl Log {
    /// An empty log.
    pub fn new(config: Rc<LogConfig>) -> Self {
        Self {
            config,
            segments: Vec::new(),
            index: SegmentIndex::new(0),
            tail: Tail::new(),
            producers: ProducerTable::new(),
            epochs: LeaderEpochs::new(),
            start: 0,
            end: 0,
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

    /// Index of the active segment.
    pub fn active_index(&self) -> &SegmentIndex {
        &self.index
    }

    /// Recent batches.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Recent batches, to evict some.
    pub fn tail_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes that no segment file holds yet.
    pub fn unsettled_bytes(&self) -> u64 {
        let unsettled = |segment: &&Segment| !segment.is_finished;
        let open = self.segments.iter().rev().take_while(unsettled);
        open.map(|segment| segment.bytes - segment.settled).sum()
    }

    /// Appends one batch that was checked already: gives it its offsets, notes what it says.
    pub fn append(
        &mut self,
        batch: &Bytes,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Outcome, ProducerError> {
        let header = BatchHeader::parse(batch).expect("a batch was checked before it got here");
        if let Some(duplicate) = self.check_producer(&header, now_ms)? {
            return Ok(duplicate);
        }
        let timestamp_type = self.config.timestamp_type;
        let log_append_time_ms = (timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        let stamp = Stamp {
            base_offset: self.end,
            leader_epoch,
            timestamp_type,
            max_timestamp: log_append_time_ms.unwrap_or(header.max_timestamp()),
        };
        let bytes = stamp.header_for(batch);
        let header = BatchHeader::parse(&bytes).expect("a stamped header is a header");
        self.roll_if_due(&header, now_ms);
        let active = self.segments.last().expect("there is an active segment now");
        let placed = Placed {
            base_offset: self.end,
            last_offset: header.last_offset(),
            segment_base: active.base_offset,
            position: active.bytes,
            header: bytes,
            log_append_time_ms,
        };
        self.install(&bytes, &batch.slice(HEADER_BYTES..));
        Ok(Outcome::Placed(placed))
    }

    fn check_producer(&self, header: &BatchHeader<'_>, now_ms: i64) -> Result<Option<Outcome>, ProducerError> {
        if !header.has_producer_id() || header.base_sequence() == NO_SEQUENCE {
            return Ok(None);
        }
        let facts = facts(header, now_ms);
        Ok(match self.producers.check(&facts)? {
            Check::Append => None,
            Check::Duplicate(first) => Some(Outcome::Duplicate {
                base_offset: first.base_offset,
                last_offset: first.last_offset,
                log_append_time_ms: (self.config.timestamp_type == TimestampType::LogAppendTime)
                    .then_some(first.timestamp_ms),
            }),
        })
    }

    /// Notes a batch at the end of the active segment: the one way in, live and in recovery.
    pub fn install(&mut self, header_bytes: &[u8; HEADER_BYTES], records: &Bytes) {
        let header = BatchHeader::parse(header_bytes).expect("a batch was checked before it got here");
        assert!(header.base_offset() >= self.end, "offsets never go back");
        let (last_offset, max_timestamp) = (header.last_offset(), header.max_timestamp());
        let active = self.segments.last_mut().expect("there is an active segment");
        let position = active.bytes;
        active.note(&header);
        self.index.append(
            IndexedBatch {
                position: position as u32,
                last_offset,
                max_timestamp_ms: max_timestamp,
                size_bytes: header.size_bytes() as u32,
            },
            self.config.index_interval_bytes,
        );
        self.tail.push(active.base_offset, position, &header, header_bytes, records);
        self.epochs.assign(header.leader_epoch(), header.base_offset());
        if header.has_producer_id() {
            self.producers.apply(&facts(&header, max_timestamp));
        }
        self.end = last_offset + 1;
    }

    /// Begins a new segment where Kafka would: size, age of the first record, a full index, or an
    /// offset too far from the base.
    fn roll_if_due(&mut self, header: &BatchHeader<'_>, now_ms: i64) {
        let due = match self.segments.last() {
            None => true,
            Some(active) => {
                let grown = active.bytes + header.size_bytes() as u64;
                active.bytes > 0
                    && (grown > self.config.segment_bytes
                        || active.is_older_than(self.config.segment_ms, header.max_timestamp(), now_ms)
                        || self.index.is_full(self.config.segment_index_bytes)
                        || !self.index.can_hold(header.last_offset()))
            }
        };
        if due {
            self.roll(now_ms);
        }
    }

    /// Begins a new segment at the end of the log.
    pub fn roll(&mut self, now_ms: i64) {
        self.roll_at(self.end, now_ms);
    }

    /// Begins a segment with this base offset, as recovery finds it in the journal.
    pub fn roll_at(&mut self, base_offset: i64, now_ms: i64) {
        let sealed = std::mem::replace(&mut self.index, SegmentIndex::new(base_offset));
        if let Some(active) = self.segments.last_mut() {
            active.seal(sealed);
        }
        self.segments.push(Segment::new(base_offset, now_ms));
    }
}
