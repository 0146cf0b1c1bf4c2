//! What compaction leaves of one batch.
//!
//! Looks at all records first and writes the batch anew only if some of them go or it gets its delete horizon. Works in
//! slices, and holds neither side of it whole but the result.

use std::fmt;

use super::offset_map::OffsetMap;
use crate::log::batch::compress::{CodecError, DecoderPool, Encoder};
use crate::log::batch::header::{HEADER_BYTES, NO_TIMESTAMP};
use crate::log::batch::record::{RawRecord, write_with_timestamp_delta};
use crate::log::batch::walk::WalkError;
use crate::log::batch::{
    Attributes, Batch, BatchError, Budget, Codec, Compression, Progress, Records, TimestampType,
};

/// Estimate of the time that parsing a record and looking for its key takes.
const PS_PER_RECORD: u32 = 100_000;

/// What decides on a record beside its key.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The time of the pass.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Where the part of the log ends that is compacted: the batch before it stays, without its records if need be, so
    /// that a reader who has come to the gap gets on.
    pub end: i64,
}

/// The last that the log knows of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastOfProducer {
    /// The last offset of its last batch of records.
    Records(i64),
    /// It has only ended transactions, in this epoch.
    Marker(i16),
}

/// What is left of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Filtered {
    /// All of it, as it is.
    Same,
    /// This.
    Changed(Vec<u8>),
    /// Nothing.
    Gone,
}

/// Why a batch cannot be compacted.
#[derive(Debug)]
pub enum FilterError {
    /// It is damaged.
    Batch(BatchError),
    /// Its records are.
    Records(WalkError),
    /// What is left of it cannot be compressed.
    Codec(CodecError),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(f),
            Self::Records(error) => write!(f, "{error:?}"),
            Self::Codec(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FilterError {}

/// The filtering of one sound batch.
pub struct BatchFilter<'a> {
    batch: Batch<'a>,
    map: &'a OffsetMap,
    rules: Rules,
    /// Its records go, whatever their keys.
    is_discarded: bool,
    is_void_marker: bool,
    /// At least its header stays.
    is_needed: bool,
    pool: &'a DecoderPool,
    records: Records<'a>,
    phase: Phase,
}

enum Phase {
    Look(Seen),
    Write(Box<Writing>),
}

#[derive(Default)]
struct Seen {
    kept: i32,
    dropped: i32,
    has_tombstone: bool,
}

/// The new batch on its way.
struct Writing {
    encoder: Encoder,
    /// Of the new batch where it differs.
    base_timestamp: i64,
    attributes: Attributes,
    max_timestamp: i64,
    kept: i32,
    scratch: Vec<u8>,
}

impl<'a> BatchFilter<'a> {
    /// `is_void` is what [`Transactions::is_void`](super::Transactions::is_void) says, and `last` what the log knows of the
    /// batch's producer. The batch's CRC was checked.
    pub fn new(
        batch: Batch<'a>,
        map: &'a OffsetMap,
        rules: Rules,
        is_void: bool,
        last: Option<LastOfProducer>,
        pool: &'a DecoderPool,
    ) -> Result<Self, FilterError> {
        let horizon_has_passed = || {
            let horizon = batch.delete_horizon_ms();
            horizon.is_some_and(|horizon_ms| horizon_ms <= rules.now_ms)
        };
        let is_last_of_producer = match last {
            Some(LastOfProducer::Records(offset)) => batch.last_offset() == offset,
            Some(LastOfProducer::Marker(epoch)) => {
                batch.is_control() && batch.producer_epoch() == epoch
            }
            None => false,
        };
        Ok(Self {
            batch,
            map,
            rules,
            is_discarded: is_void && (!batch.is_control() || horizon_has_passed()),
            is_void_marker: is_void && batch.is_control(),
            is_needed: is_last_of_producer || batch.next_offset() == rules.end,
            pool,
            records: Records::pooled(batch, pool).map_err(FilterError::Records)?,
            phase: Phase::Look(Seen::default()),
        })
    }

    /// Panics when called again after the result.
    pub fn step(&mut self, mut budget: Budget) -> Progress<Result<Filtered, FilterError>> {
        loop {
            match self.advance(&mut budget) {
                Ok(None) if budget.is_spent() => return Progress::Pending,
                Ok(None) => {}
                Ok(Some(filtered)) => return Progress::Done(Ok(filtered)),
                Err(error) => return Progress::Done(Err(error)),
            }
        }
    }

    /// Moves on by a record.
    fn advance(&mut self, budget: &mut Budget) -> Result<Option<Filtered>, FilterError> {
        let unpacking_ps = self.records.ps_per_byte();
        let next = self.records.next_raw().map_err(FilterError::Records)?;
        let Some((raw, bytes)) = next else {
            return self.end_of_records();
        };
        let verdict = Verdict {
            batch: &self.batch,
            map: self.map,
            now_ms: self.rules.now_ms,
            is_discarded: self.is_discarded,
        };
        let stays = verdict.stays(&raw);
        budget.spend(1, PS_PER_RECORD);
        budget.spend(bytes.len(), unpacking_ps);
        match &mut self.phase {
            Phase::Look(seen) => {
                seen.kept += i32::from(stays);
                seen.dropped += i32::from(!stays);
                seen.has_tombstone |= stays && raw.value.is_none();
            }
            Phase::Write(writing) if stays => {
                budget.spend(bytes.len(), writing.encoder.ps_per_byte());
                writing.put(&self.batch, &raw, bytes)?;
            }
            Phase::Write(_) => {}
        }
        Ok(None)
    }

    fn end_of_records(&mut self) -> Result<Option<Filtered>, FilterError> {
        let seen = match &mut self.phase {
            Phase::Look(seen) => std::mem::take(seen),
            Phase::Write(_) => return self.finish().map(Some),
        };
        if seen.kept == 0 {
            return Ok(Some(match self.is_needed {
                true if seen.dropped == 0 => Filtered::Same,
                true => Filtered::Changed(self.without_records()),
                false => Filtered::Gone,
            }));
        }
        let has_horizon = self.batch.delete_horizon_ms().is_some();
        let needs_horizon = (seen.has_tombstone || self.is_void_marker) && !has_horizon;
        if seen.dropped == 0 && !needs_horizon {
            return Ok(Some(Filtered::Same));
        }
        self.begin_writing(needs_horizon)?;
        Ok(None)
    }

    fn begin_writing(&mut self, needs_horizon: bool) -> Result<(), FilterError> {
        let batch = &self.batch;
        let compression = batch.compression().unwrap_or(Compression::None);
        let horizon_ms = self
            .rules
            .now_ms
            .saturating_add(self.rules.delete_retention_ms);
        let attributes = batch.attributes();
        self.phase = Phase::Write(Box::new(Writing {
            encoder: Encoder::new(Codec::of(compression), vec![0; HEADER_BYTES])
                .map_err(FilterError::Codec)?,
            base_timestamp: match needs_horizon {
                true => horizon_ms,
                false => batch.base_timestamp(),
            },
            attributes: match needs_horizon {
                true => attributes.with_delete_horizon(true),
                false => attributes,
            },
            max_timestamp: match batch.timestamp_type() {
                TimestampType::CreateTime => NO_TIMESTAMP,
                TimestampType::LogAppendTime => batch.max_timestamp(),
            },
            kept: 0,
            scratch: Vec::new(),
        }));
        self.records = Records::pooled(self.batch, self.pool).map_err(FilterError::Records)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<Filtered, FilterError> {
        let done = Phase::Look(Seen::default());
        let Phase::Write(writing) = std::mem::replace(&mut self.phase, done) else {
            unreachable!("only a batch that is written is finished");
        };
        let mut out = writing.encoder.finish().map_err(FilterError::Codec)?;
        let mut fields = self.batch.fields();
        fields.attributes = writing.attributes;
        fields.base_timestamp = writing.base_timestamp;
        fields.max_timestamp = writing.max_timestamp;
        fields.record_count = writing.kept;
        fields.write(&mut out);
        Ok(Filtered::Changed(out))
    }

    /// The header alone.
    fn without_records(&self) -> Vec<u8> {
        let mut fields = self.batch.fields();
        let attributes = fields.attributes.with_compression(Compression::None);
        fields.attributes = attributes.with_delete_horizon(false);
        fields.base_timestamp = NO_TIMESTAMP;
        fields.record_count = 0;
        let mut out = vec![0; HEADER_BYTES];
        fields.write(&mut out);
        out
    }
}

struct Verdict<'a> {
    batch: &'a Batch<'a>,
    map: &'a OffsetMap,
    now_ms: i64,
    is_discarded: bool,
}

impl Verdict<'_> {
    fn stays(&self, record: &RawRecord<'_>) -> bool {
        if self.is_discarded {
            return false;
        }
        if self.batch.is_control() {
            return true;
        }
        let offset = self.batch.base_offset() + i64::from(record.offset_delta);
        if offset > self.map.latest() {
            return true;
        }
        let Some(key) = record.key else {
            return false;
        };
        let is_newest = self.map.get(key).is_none_or(|newest| offset >= newest);
        let horizon_ms = self.batch.delete_horizon_ms();
        let has_time = horizon_ms.is_none_or(|horizon_ms| self.now_ms < horizon_ms);
        is_newest && (record.value.is_some() || has_time)
    }
}

impl Writing {
    fn put(
        &mut self,
        batch: &Batch<'_>,
        record: &RawRecord<'_>,
        bytes: &[u8],
    ) -> Result<(), FilterError> {
        self.kept += 1;
        let timestamp = batch.base_timestamp().wrapping_add(record.timestamp_delta);
        if batch.timestamp_type() == TimestampType::CreateTime {
            self.max_timestamp = self.max_timestamp.max(timestamp);
        }
        let written = if self.base_timestamp == batch.base_timestamp() {
            self.encoder.write(bytes)
        } else {
            self.scratch.clear();
            let delta = timestamp.wrapping_sub(self.base_timestamp);
            write_with_timestamp_delta(bytes, delta, &mut self.scratch);
            self.encoder.write(&self.scratch)
        };
        written.map_err(FilterError::Codec)
    }
}
