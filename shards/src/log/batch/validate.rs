//! Whether what a client produced may go into the log: what Apache Kafka checks between the request and
//! the append, in its order, so that a batch with two faults is refused for the same one.
//!
//! Three stages: the header alone ([`Validator::new`], a few nanoseconds), then in slices the CRC and
//! every record. Nothing is allocated for an uncompressed batch that passes. A batch that passes is
//! stamped ([`Validated::stamp`]) and appended as it is, or first recompressed where the topic says so.
//!
//! Stricter than Kafka in two things that no client does: offset deltas must count up from 0 (Kafka
//! lets an uncompressed batch get away with others, and rewrites a compressed one), and the length of a
//! record must be that of its fields in compressed batches too.
//!
//! Not checked here: the producer's state, which belongs to the partition, and the epoch and size of the
//! segment.

use super::compress::DecoderPool;
use super::header::{
    BatchError, CRC_FROM, Compression, LENGTH, LENGTH_PREFIX_BYTES, MAGIC, MAGIC_V2, NO_TIMESTAMP,
    Stamp, TimestampType,
};
use super::iter::Batch;
use super::record::RecordMeta;
use super::rejection::{RecordError, RecordProblem, RejectedRecords, Rejection};
use super::slice::{Budget, Progress};
use super::walk::{Walk, Walked};
use std::ops::ControlFlow;

/// The least that any message or batch has behind its length: an old message without content.
const LENGTH_MIN: i32 = 14;
/// Estimate of what a byte of a CRC takes.
const PS_PER_CRC_BYTE: u32 = 60;

/// What a topic asks of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `max.message.bytes`: of the whole batch, header included.
    pub batch_bytes_max: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy` contains `compact`
    pub compacted: bool,
}

/// A batch that may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validated {
    /// How much of the input the batch is; anything behind it was half a batch and is dropped, as Kafka
    /// does.
    pub size_bytes: usize,
    pub record_count: i32,
    pub compression: Compression,
    /// What the batch gets in the log.
    pub timestamp_type: TimestampType,
    pub max_timestamp: i64,
}

impl Validated {
    pub fn stamp(&self, base_offset: i64, leader_epoch: i32) -> Stamp {
        Stamp {
            base_offset,
            leader_epoch,
            timestamp_type: self.timestamp_type,
            max_timestamp: self.max_timestamp,
        }
    }
}

/// The check of one batch, from the first slice to the verdict.
pub struct Validator<'a> {
    batch: Batch<'a>,
    rules: Rules,
    now_ms: i64,
    pool: DecoderPool,
    /// The CRC of the batch's bytes before `crc_at`.
    crc: u32,
    crc_at: usize,
    /// None until the CRC is known to be right.
    walk: Option<Walk<'a>>,
    max_timestamp: i64,
    rejected: RejectedRecords,
}

impl<'a> Validator<'a> {
    /// Checks what the header tells of `records`, the records of one partition in a produce request.
    pub fn new(
        records: &'a [u8],
        rules: Rules,
        now_ms: i64,
        pool: &DecoderPool,
    ) -> Result<Self, Rejection> {
        let batch = only_batch(records)?;
        if batch.base_offset() != 0 {
            return Err(Rejection::BaseOffset {
                offset: batch.base_offset(),
            });
        }
        let size_bytes = batch.size_bytes();
        if size_bytes > rules.batch_bytes_max {
            return Err(Rejection::TooLarge {
                size_bytes,
                bytes_max: rules.batch_bytes_max,
            });
        }
        Ok(Self {
            batch,
            rules,
            now_ms,
            pool: pool.clone(),
            crc: 0,
            crc_at: CRC_FROM,
            walk: None,
            max_timestamp: NO_TIMESTAMP,
            rejected: RejectedRecords::default(),
        })
    }

    pub fn step(&mut self, mut budget: Budget) -> Progress<Result<Validated, Rejection>> {
        match self.advance(&mut budget) {
            Ok(None) => Progress::Pending,
            Ok(Some(validated)) => Progress::Done(Ok(validated)),
            Err(rejection) => Progress::Done(Err(rejection)),
        }
    }

    fn advance(&mut self, budget: &mut Budget) -> Result<Option<Validated>, Rejection> {
        let walk = match &mut self.walk {
            Some(walk) => walk,
            None => {
                if !self.advance_crc(budget) {
                    return Ok(None);
                }
                self.check_header()?;
                self.walk.insert(Walk::new(&self.batch, &self.pool)?)
            }
        };
        let check = RecordCheck::new(&self.batch, &self.rules, self.now_ms);
        let mut max_timestamp = self.max_timestamp;
        let walked = walk.drive(budget, |index, record| {
            if record.offset_delta != index {
                return Err(Rejection::OffsetDelta {
                    index,
                    delta: record.offset_delta,
                });
            }
            let timestamp = check.timestamp(record);
            max_timestamp = max_timestamp.max(timestamp);
            if let Some(problem) = check.problem(record, timestamp) {
                self.rejected.push(RecordError { index, problem });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.max_timestamp = max_timestamp;
        match walked {
            Walked::Pending | Walked::Stopped => Ok(None),
            Walked::End => self.conclude().map(Some),
        }
    }

    /// True when the CRC is computed to its end.
    fn advance_crc(&mut self, budget: &mut Budget) -> bool {
        let rest = &self.batch.bytes()[self.crc_at..];
        let now = rest.len().min(budget.affordable(PS_PER_CRC_BYTE));
        self.crc = crc32c::crc32c_append(self.crc, &rest[..now]);
        self.crc_at += now;
        budget.spend(now, PS_PER_CRC_BYTE);
        now == rest.len()
    }

    fn check_header(&self) -> Result<(), Rejection> {
        let batch = &self.batch;
        if self.crc != batch.crc() {
            return Err(Rejection::Corrupt(BatchError::BadCrc {
                stored: batch.crc(),
                computed: self.crc,
            }));
        }
        let (last_offset_delta, record_count) = (batch.last_offset_delta(), batch.record_count());
        if record_count <= 0 || i64::from(last_offset_delta) + 1 != i64::from(record_count) {
            return Err(Rejection::RecordCount {
                record_count,
                last_offset_delta,
            });
        }
        if batch.is_control() {
            return Err(Rejection::Control);
        }
        if batch.has_producer_id() && batch.base_sequence() < 0 {
            return Err(Rejection::Sequence {
                producer_id: batch.producer_id(),
                base_sequence: batch.base_sequence(),
            });
        }
        Ok(())
    }

    fn conclude(&mut self) -> Result<Validated, Rejection> {
        if !self.rejected.is_empty() {
            return Err(Rejection::Records(std::mem::take(&mut self.rejected)));
        }
        let timestamp_type = self.rules.timestamp_type;
        Ok(Validated {
            size_bytes: self.batch.size_bytes(),
            record_count: self.batch.record_count(),
            compression: self.batch.compression().unwrap_or(Compression::None),
            timestamp_type,
            max_timestamp: match timestamp_type {
                TimestampType::CreateTime => self.max_timestamp,
                TimestampType::LogAppendTime => self.now_ms,
            },
        })
    }
}

/// The batch that `records` must be, alone; half a batch behind it is let pass.
fn only_batch(records: &[u8]) -> Result<Batch<'_>, Rejection> {
    if !has_entry(records)? {
        return Err(Rejection::NoBatch);
    }
    let batch = Batch::first(records).map_err(|error| match error {
        BatchError::Truncated { .. } => Rejection::NoBatch,
        BatchError::BadMagic {
            magic: magic @ 0..MAGIC_V2,
        } => Rejection::OldFormat { magic },
        error => Rejection::Corrupt(error),
    })?;
    match has_entry(&records[batch.bytes().len()..])? {
        true => Err(Rejection::MoreBatches),
        false => Ok(batch),
    }
}

/// Whether `records` begin with a whole batch or old message, as Kafka's reader of record sets sees it:
/// it looks at the length first and at the magic then, and minds both before it minds that there are
/// too few bytes.
fn has_entry(records: &[u8]) -> Result<bool, Rejection> {
    let Some(length) = records.get(LENGTH..).and_then(|bytes| bytes.first_chunk()) else {
        return Ok(false);
    };
    let length = i32::from_be_bytes(*length);
    if length < LENGTH_MIN {
        return Err(Rejection::Corrupt(BatchError::BadLength { length }));
    }
    let Some(magic) = records.get(MAGIC).map(|byte| *byte as i8) else {
        return Ok(false);
    };
    if !(0..=MAGIC_V2).contains(&magic) {
        return Err(Rejection::Corrupt(BatchError::BadMagic { magic }));
    }
    Ok(records.len() - LENGTH_PREFIX_BYTES >= length as usize)
}

/// The rules as they apply to each record of one batch.
struct RecordCheck {
    key_required: bool,
    base_timestamp: i64,
    /// Of a batch that says its timestamps are those of the log.
    log_append_time: Option<i64>,
    /// Where the records' own timestamps count.
    allowed_ms: Option<(i64, i64)>,
}

impl RecordCheck {
    fn new(batch: &Batch<'_>, rules: &Rules, now_ms: i64) -> Self {
        Self {
            key_required: rules.compacted,
            base_timestamp: batch.base_timestamp(),
            log_append_time: match batch.timestamp_type() {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(batch.max_timestamp()),
            },
            allowed_ms: match rules.timestamp_type {
                TimestampType::CreateTime => Some((
                    now_ms.saturating_sub(rules.timestamp_before_max_ms),
                    now_ms.saturating_add(rules.timestamp_after_max_ms),
                )),
                TimestampType::LogAppendTime => None,
            },
        }
    }

    #[inline]
    fn timestamp(&self, record: &RecordMeta) -> i64 {
        self.log_append_time
            .unwrap_or_else(|| self.base_timestamp.wrapping_add(record.timestamp_delta))
    }

    #[inline]
    fn problem(&self, record: &RecordMeta, timestamp: i64) -> Option<RecordProblem> {
        if self.key_required && !record.has_key {
            return Some(RecordProblem::NoKey);
        }
        match self.allowed_ms {
            Some((earliest_ms, latest_ms)) if timestamp != NO_TIMESTAMP => {
                let allowed = (earliest_ms..=latest_ms).contains(&timestamp);
                (!allowed).then_some(RecordProblem::Timestamp {
                    timestamp,
                    earliest_ms,
                    latest_ms,
                })
            }
            _ => self.log_append_time.map(|_| RecordProblem::LogAppendTime),
        }
    }
}
