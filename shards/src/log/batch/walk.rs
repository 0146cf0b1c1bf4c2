//! From record to record of a batch without its keys and values, whatever its codec.
//!
//! An uncompressed batch is walked where it lies. Of a compressed one there is never more in memory
//! than the decoder holds and a chunk of its output: a record may be larger than that, so the fields of
//! a record are skipped across chunks, by a machine that can stop between any two of them.

use super::compress::{CodecError, Decoder, DecoderPool};
use super::header::Compression;
use super::iter::Batch;
use super::record::{self, RecordFault, RecordMeta};
use super::slice::Budget;
use super::varint;
use std::fmt;
use std::ops::ControlFlow;

/// Estimate of what it takes to step over a record.
const PS_PER_RECORD: u32 = 8_000;
const CHUNK_BYTES: usize = 16 * 1024;
/// Length, attributes, timestamp delta, offset delta and key length: read in one go.
const RECORD_HEAD_BYTES_MAX: usize = 3 * varint::MAX_BYTES_32 + varint::MAX_BYTES_64 + 1;

/// Why a batch cannot be walked to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// The codec's id names none.
    UnknownCompression {
        id: u8,
    },
    Codec(CodecError),
    /// The record at this place, counted from 0, is not one.
    Record {
        index: i32,
        fault: RecordFault,
    },
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCompression { id } => write!(f, "unknown compression type {id}"),
            Self::Codec(error) => write!(f, "cannot be decompressed: {error}"),
            Self::Record { index, fault } => write!(f, "record {index}: {fault}"),
        }
    }
}

impl std::error::Error for WalkError {}

/// Where a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    /// The budget is spent; go on with a new one.
    Pending,
    /// The visitor had seen enough.
    Stopped,
    /// All records were there, and nothing behind them.
    End,
}

/// The walk through one batch. After an error or the end it is not to be asked again.
pub struct Walk<'a> {
    inner: Inner<'a>,
    /// Records seen so far.
    index: i32,
    count: i32,
}

enum Inner<'a> {
    Plain { records: &'a [u8], at: usize },
    Compressed(Box<CompressedWalk<'a>>),
}

impl<'a> Walk<'a> {
    pub fn new(batch: &Batch<'a>, pool: &DecoderPool) -> Result<Self, WalkError> {
        let id = batch.attributes().compression_id();
        let inner = match batch.compression() {
            None => return Err(WalkError::UnknownCompression { id }),
            Some(Compression::None) => Inner::Plain {
                records: batch.payload(),
                at: 0,
            },
            Some(compression) => {
                let decoder =
                    Decoder::new(compression, batch.payload(), pool).map_err(WalkError::Codec)?;
                Inner::Compressed(Box::new(CompressedWalk::new(decoder)))
            }
        };
        Ok(Self {
            inner,
            index: 0,
            count: batch.record_count(),
        })
    }

    /// Goes on from record to record, showing each with its place counted from 0, until the visitor
    /// breaks off or fails, the budget is spent, or the batch ends.
    #[inline]
    pub fn drive<E: From<WalkError>>(
        &mut self,
        budget: &mut Budget,
        mut visit: impl FnMut(i32, &RecordMeta) -> Result<ControlFlow<()>, E>,
    ) -> Result<Walked, E> {
        if budget.is_spent() {
            return Ok(Walked::Pending);
        }
        let affordable = i32::try_from(budget.affordable(PS_PER_RECORD)).unwrap_or(i32::MAX);
        let first = self.index;
        let until = first.saturating_add(affordable).min(self.count);
        let walked = match &mut self.inner {
            // Apart from the other, since this loop is the hottest of a produce.
            Inner::Plain { records, at } => loop {
                if self.index >= until {
                    break Ok(None);
                }
                match record::check(records, at) {
                    Err(fault) => break Err(Trouble::Fault(fault)),
                    Ok(meta) => {
                        self.index += 1;
                        if visit(self.index - 1, &meta)?.is_break() {
                            break Ok(Some(Walked::Stopped));
                        }
                    }
                }
            },
            Inner::Compressed(walk) => loop {
                if self.index >= until {
                    break Ok(None);
                }
                match walk.next(budget) {
                    Err(trouble) => break Err(trouble),
                    Ok(None) => break Ok(Some(Walked::Pending)),
                    Ok(Some(meta)) => {
                        self.index += 1;
                        if visit(self.index - 1, &meta)?.is_break() {
                            break Ok(Some(Walked::Stopped));
                        }
                    }
                }
            },
        };
        budget.spend((self.index - first).unsigned_abs() as usize, PS_PER_RECORD);
        match walked {
            Ok(Some(walked)) => Ok(walked),
            Ok(None) if self.index < self.count => Ok(Walked::Pending),
            Ok(None) => self
                .end(budget)
                .map_err(|trouble| self.failed(trouble).into()),
            Err(trouble) => Err(self.failed(trouble).into()),
        }
    }

    fn end(&mut self, budget: &mut Budget) -> Result<Walked, Trouble> {
        match &mut self.inner {
            _ if self.count <= 0 => Ok(Walked::End),
            Inner::Plain { records, at } if *at < records.len() => {
                Err(RecordFault::TrailingBytes.into())
            }
            Inner::Plain { .. } => Ok(Walked::End),
            Inner::Compressed(walk) => walk.end(budget),
        }
    }

    #[cold]
    fn failed(&self, trouble: Trouble) -> WalkError {
        match trouble {
            Trouble::Codec(error) => WalkError::Codec(error),
            Trouble::Fault(fault) => WalkError::Record {
                index: self.index,
                fault,
            },
        }
    }
}

enum Trouble {
    Codec(CodecError),
    Fault(RecordFault),
}

impl From<RecordFault> for Trouble {
    fn from(fault: RecordFault) -> Self {
        Self::Fault(fault)
    }
}

struct CompressedWalk<'a> {
    decoder: Decoder<'a>,
    chunk: Box<[u8]>,
    /// The bytes of the chunk that were decoded and not yet read.
    start: usize,
    end: usize,
    /// The decoder has no more.
    exhausted: bool,
    /// Bytes of the record's present field still to be passed over.
    skip: usize,
    /// What is to be read behind that.
    field: Field,
    /// Bytes of the record behind what was read and is to be skipped.
    record_left: usize,
    headers_left: i32,
    meta: RecordMeta,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Head,
    ValueLength,
    HeaderCount,
    HeaderKeyLength,
    HeaderValueLength,
    End,
}

impl<'a> CompressedWalk<'a> {
    fn new(decoder: Decoder<'a>) -> Self {
        Self {
            decoder,
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            exhausted: false,
            skip: 0,
            field: Field::Head,
            record_left: 0,
            headers_left: 0,
            meta: RecordMeta {
                offset_delta: 0,
                timestamp_delta: 0,
                has_key: false,
            },
        }
    }

    /// The next record; None when the budget is spent before it is read.
    fn next(&mut self, budget: &mut Budget) -> Result<Option<RecordMeta>, Trouble> {
        loop {
            let here = self.skip.min(self.end - self.start);
            self.start += here;
            self.skip -= here;
            if self.skip == 0 && self.field == Field::End {
                self.field = Field::Head;
                return Ok(Some(self.meta));
            }
            if self.skip > 0 && self.exhausted {
                return Err(RecordFault::Field.into());
            }
            if !self.exhausted && (self.skip > 0 || self.end - self.start < RECORD_HEAD_BYTES_MAX) {
                if budget.is_spent() {
                    return Ok(None);
                }
                self.fill(budget).map_err(Trouble::Codec)?;
            } else if let Some(meta) = self.read_whole() {
                return Ok(Some(meta));
            } else {
                self.field = self.read_field()?;
            }
        }
    }

    /// The next record, when all of it is in the chunk, as most are.
    fn read_whole(&mut self) -> Option<RecordMeta> {
        if self.field != Field::Head {
            return None;
        }
        // A fault may be but the end of the chunk: the slow way tells.
        record::check(&self.chunk[..self.end], &mut self.start).ok()
    }

    /// Reads what stands in front of a field's bytes, leaves those to be skipped, and says what follows.
    fn read_field(&mut self) -> Result<Field, RecordFault> {
        match self.field {
            Field::Head => self.read_head(),
            Field::ValueLength => {
                self.read_length()?;
                Ok(Field::HeaderCount)
            }
            Field::HeaderCount => {
                let count = self.read_varint()?;
                if usize::try_from(count).map_or(true, |count| count > self.record_left) {
                    return Err(RecordFault::HeaderCount(count));
                }
                self.headers_left = count;
                self.next_header()
            }
            Field::HeaderKeyLength => {
                let length = self.read_length()?;
                if length < 0 {
                    return Err(RecordFault::HeaderKey(length));
                }
                Ok(Field::HeaderValueLength)
            }
            Field::HeaderValueLength => {
                self.read_length()?;
                self.headers_left -= 1;
                self.next_header()
            }
            Field::End => Ok(Field::End),
        }
    }

    fn read_head(&mut self) -> Result<Field, RecordFault> {
        if self.start == self.end {
            return Err(RecordFault::Missing);
        }
        let bytes = &self.chunk[..self.end];
        let mut at = self.start;
        let length = varint::read_i32(bytes, &mut at).ok_or(RecordFault::Field)?;
        self.start = at;
        self.record_left = usize::try_from(length).map_err(|_| RecordFault::Length(length))?;
        // No attribute of a record means anything yet.
        at += 1;
        self.meta.timestamp_delta = varint::read_i64(bytes, &mut at).ok_or(RecordFault::Field)?;
        self.meta.offset_delta = varint::read_i32(bytes, &mut at).ok_or(RecordFault::Field)?;
        self.consume(at)?;
        self.meta.has_key = self.read_length()? >= 0;
        Ok(Field::ValueLength)
    }

    fn next_header(&self) -> Result<Field, RecordFault> {
        match (self.headers_left, self.record_left) {
            (0, 0) => Ok(Field::End),
            (0, _) => Err(RecordFault::Slack),
            _ => Ok(Field::HeaderKeyLength),
        }
    }

    /// Reads the length of a field and leaves the field to be skipped.
    fn read_length(&mut self) -> Result<i32, RecordFault> {
        let length = self.read_varint()?;
        self.skip = usize::try_from(length).unwrap_or(0);
        self.record_left = self
            .record_left
            .checked_sub(self.skip)
            .ok_or(RecordFault::Field)?;
        Ok(length)
    }

    fn read_varint(&mut self) -> Result<i32, RecordFault> {
        let mut at = self.start;
        let value = varint::read_i32(&self.chunk[..self.end], &mut at).ok_or(RecordFault::Field)?;
        self.consume(at)?;
        Ok(value)
    }

    fn consume(&mut self, to: usize) -> Result<(), RecordFault> {
        self.record_left = self
            .record_left
            .checked_sub(to - self.start)
            .ok_or(RecordFault::Field)?;
        self.start = to;
        Ok(())
    }

    fn end(&mut self, budget: &mut Budget) -> Result<Walked, Trouble> {
        while self.start == self.end && !self.exhausted {
            if budget.is_spent() {
                return Ok(Walked::Pending);
            }
            self.fill(budget).map_err(Trouble::Codec)?;
        }
        if self.start == self.end {
            Ok(Walked::End)
        } else {
            Err(RecordFault::TrailingBytes.into())
        }
    }

    fn fill(&mut self, budget: &mut Budget) -> Result<(), CodecError> {
        self.chunk.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = self.decoder.read(&mut self.chunk[self.end..])?;
        self.end += count;
        self.exhausted = count == 0;
        budget.spend(count, self.decoder.ps_per_byte());
        Ok(())
    }
}
