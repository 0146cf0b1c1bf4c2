//! Why a produced batch is refused.

use super::compress::CodecError;
use super::header::BatchError;
use super::record::RecordFault;
use super::walk::WalkError;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Nothing, or less than a whole batch.
    NoBatch,
    /// A produce request has one batch for each partition.
    MoreBatches,
    /// A message set of magic 0 or 1.
    OldFormat {
        magic: i8,
    },
    /// Not a batch, or not the one that was sent.
    Corrupt(BatchError),
    TooLarge {
        size_bytes: usize,
        bytes_max: usize,
    },
    /// Clients count from 0.
    BaseOffset {
        offset: i64,
    },
    /// No records, or not as many as offsets.
    RecordCount {
        record_count: i32,
        last_offset_delta: i32,
    },
    /// Only brokers write control records.
    Control,
    /// A producer with an id must number its records.
    Sequence {
        producer_id: i64,
        base_sequence: i32,
    },
    UnknownCompression {
        id: u8,
    },
    /// What is compressed cannot be decompressed.
    Codec(CodecError),
    /// The record at this place is not one.
    Structure {
        index: i32,
        fault: RecordFault,
    },
    /// The record at this place has another's offset.
    OffsetDelta {
        index: i32,
        delta: i32,
    },
    /// Records that the topic does not take.
    Records(RejectedRecords),
}

/// What is to be told to a client: each is one error of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// The bytes are not those that were sent; sending them again may help.
    Corrupt,
    TooLarge,
    InvalidRecord,
    InvalidTimestamp,
    UnknownCompression,
    /// Kafka has no error of its own for this.
    Undecodable,
}

impl Rejection {
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Corrupt(_) => RejectionKind::Corrupt,
            Self::TooLarge { .. } => RejectionKind::TooLarge,
            Self::UnknownCompression { .. } => RejectionKind::UnknownCompression,
            Self::Codec(_) => RejectionKind::Undecodable,
            Self::Records(records) if records.has_invalid_timestamp() => {
                RejectionKind::InvalidTimestamp
            }
            Self::NoBatch
            | Self::MoreBatches
            | Self::OldFormat { .. }
            | Self::BaseOffset { .. }
            | Self::RecordCount { .. }
            | Self::Control
            | Self::Sequence { .. }
            | Self::Structure { .. }
            | Self::OffsetDelta { .. }
            | Self::Records(_) => RejectionKind::InvalidRecord,
        }
    }
}

impl From<WalkError> for Rejection {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::UnknownCompression { id } => Self::UnknownCompression { id },
            WalkError::Codec(error) => Self::Codec(error),
            WalkError::Record { index, fault } => Self::Structure { index, fault },
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBatch => f.write_str(
                "a produce request must have at least one record batch for each partition",
            ),
            Self::MoreBatches => f.write_str(
                "a produce request must have exactly one record batch for each partition",
            ),
            Self::OldFormat { magic } => write!(
                f,
                "record batches of magic {magic} are not taken, only those of magic 2"
            ),
            Self::Corrupt(error) => error.fmt(f),
            Self::TooLarge {
                size_bytes,
                bytes_max,
            } => {
                write!(
                    f,
                    "the record batch has {size_bytes} bytes, more than the {bytes_max} that are allowed"
                )
            }
            Self::BaseOffset { offset } => write!(
                f,
                "the base offset of the record batch should be 0, but it is {offset}"
            ),
            Self::RecordCount {
                record_count,
                last_offset_delta,
            } => write!(
                f,
                "the record batch has {record_count} records, but its last offset delta is {last_offset_delta}"
            ),
            Self::Control => f.write_str("clients are not allowed to write control records"),
            Self::Sequence {
                producer_id,
                base_sequence,
            } => write!(
                f,
                "invalid sequence number {base_sequence} of producer {producer_id}"
            ),
            Self::UnknownCompression { id } => write!(f, "unknown compression type {id}"),
            Self::Codec(error) => write!(f, "the record batch cannot be decompressed: {error}"),
            Self::Structure { index, fault } => {
                write!(f, "record {index} of the batch is invalid: {fault}")
            }
            Self::OffsetDelta { index, delta } => {
                write!(f, "record {index} of the batch has offset delta {delta}")
            }
            Self::Records(records) => records.fmt(f),
        }
    }
}

impl std::error::Error for Rejection {}

/// The records of one batch that the topic does not take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectedRecords {
    errors: Vec<RecordError>,
    total: u32,
    has_invalid_timestamp: bool,
}

impl RejectedRecords {
    /// A compressed batch of a megabyte may hold a billion records; this many are named one by one.
    pub const NAMED_MAX: usize = 1_000;

    pub(super) fn push(&mut self, error: RecordError) {
        self.total += 1;
        self.has_invalid_timestamp |= error.problem.is_timestamp();
        if self.errors.len() < Self::NAMED_MAX {
            self.errors.push(error);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The first of them.
    pub fn errors(&self) -> &[RecordError] {
        &self.errors
    }

    /// How many there are, named or not.
    pub fn total(&self) -> u32 {
        self.total
    }

    pub fn has_invalid_timestamp(&self) -> bool {
        self.has_invalid_timestamp
    }
}

/// In the words of Apache Kafka, since clients show them.
impl fmt::Display for RejectedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("One or more records have been rejected due to ")?;
        if self.has_invalid_timestamp {
            return f.write_str("invalid timestamp");
        }
        write!(
            f,
            "{} record errors in total, and only showing the first three errors at most: [",
            self.total
        )?;
        for (place, error) in self.errors.iter().take(3).enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}RecordError(batchIndex={}, message='{}')",
                error.index, error.problem
            )?;
        }
        f.write_str("]")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's place in its batch, counted from 0.
    pub index: i32,
    pub problem: RecordProblem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordProblem {
    /// A compacted topic keeps the last record of each key.
    NoKey,
    Timestamp {
        timestamp: i64,
        earliest_ms: i64,
        latest_ms: i64,
    },
    /// The producer claims that the log set the timestamps.
    LogAppendTime,
}

impl RecordProblem {
    pub fn is_timestamp(self) -> bool {
        match self {
            Self::NoKey => false,
            Self::Timestamp { .. } | Self::LogAppendTime => true,
        }
    }
}

impl fmt::Display for RecordProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("Compacted topic cannot accept message without key"),
            Self::Timestamp {
                timestamp,
                earliest_ms,
                latest_ms,
            } => write!(
                f,
                "Timestamp {timestamp} is out of range. The timestamp should be within [{earliest_ms}, {latest_ms}]"
            ),
            Self::LogAppendTime => f.write_str(
                "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.",
            ),
        }
    }
}
