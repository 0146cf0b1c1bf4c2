//! The records of a batch with keys, values and headers: for the metadata log, coordinators, tools and
//! tests. The way of the data needs none of this.

use super::compress::{Decoder, DecoderPool};
use super::header::{Compression, TimestampType};
use super::iter::Batch;
use super::record::{self, Headers, RawRecord, RecordFault};
use super::varint;
use super::walk::WalkError;

const CHUNK_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// Reads one record after the other. Lends each only until the next: of a compressed batch there is
/// one record and a chunk in memory, not all of it. What grows there grows with bytes really decoded,
/// never with a claimed length.
pub struct Records<'a> {
    batch: Batch<'a>,
    source: Source<'a>,
    index: i32,
}

enum Source<'a> {
    Plain { records: &'a [u8], at: usize },
    Compressed(Box<Unpacked<'a>>),
}

impl<'a> Records<'a> {
    pub fn new(batch: Batch<'a>) -> Result<Self, WalkError> {
        Self::pooled(batch, &DecoderPool::default())
    }

    /// As [`Records::new`], with decoders that were used before.
    pub fn pooled(batch: Batch<'a>, pool: &DecoderPool) -> Result<Self, WalkError> {
        let id = batch.attributes().compression_id();
        let source = match batch.compression() {
            None => return Err(WalkError::UnknownCompression { id }),
            Some(Compression::None) => Source::Plain {
                records: batch.payload(),
                at: 0,
            },
            Some(compression) => {
                let decoder =
                    Decoder::new(compression, batch.payload(), pool).map_err(WalkError::Codec)?;
                Source::Compressed(Box::new(Unpacked {
                    decoder,
                    buffer: Vec::new(),
                    at: 0,
                }))
            }
        };
        Ok(Self {
            batch,
            source,
            index: 0,
        })
    }

    /// None behind the last record.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot lend from itself"
    )]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, WalkError> {
        let batch = self.batch;
        let raw = self.next_raw()?;
        Ok(raw.map(|(raw, _)| in_batch(&batch, raw)))
    }

    /// As [`Records::next`], relative to the batch, with the bytes that the record has in it.
    pub fn next_raw(&mut self) -> Result<Option<(RawRecord<'_>, &[u8])>, WalkError> {
        if self.index >= self.batch.record_count() {
            return Ok(None);
        }
        let index = self.index;
        self.index += 1;
        let (bytes, at) = match &mut self.source {
            Source::Plain { records, at } => (*records, at),
            Source::Compressed(unpacked) => {
                unpacked.gather(index)?;
                (&unpacked.buffer[..], &mut unpacked.at)
            }
        };
        let from = *at;
        let raw = record::parse(bytes, at).map_err(|fault| WalkError::Record { index, fault })?;
        Ok(Some((raw, &bytes[from..*at])))
    }

    /// Estimate of the time that unpacking a byte takes.
    pub fn ps_per_byte(&self) -> u32 {
        match &self.source {
            Source::Plain { .. } => 0,
            Source::Compressed(unpacked) => unpacked.decoder.ps_per_byte(),
        }
    }
}

fn in_batch<'a>(batch: &Batch<'_>, raw: RawRecord<'a>) -> Record<'a> {
    Record {
        offset: batch.base_offset().saturating_add(raw.offset_delta.into()),
        timestamp: match batch.timestamp_type() {
            TimestampType::CreateTime => batch.base_timestamp().wrapping_add(raw.timestamp_delta),
            TimestampType::LogAppendTime => batch.max_timestamp(),
        },
        key: raw.key,
        value: raw.value,
        headers: raw.headers,
    }
}

struct Unpacked<'a> {
    decoder: Decoder<'a>,
    buffer: Vec<u8>,
    /// Where the next record begins.
    at: usize,
}

impl Unpacked<'_> {
    /// Has the next record whole in the buffer, or all that is left of it.
    fn gather(&mut self, index: i32) -> Result<(), WalkError> {
        if self.at >= CHUNK_BYTES {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.gather_to(self.at + varint::MAX_BYTES_32)?;
        let mut body_at = self.at;
        let length = varint::read_i32(&self.buffer, &mut body_at).unwrap_or(0);
        let length = usize::try_from(length).map_err(|_| WalkError::Record {
            index,
            fault: RecordFault::Length(length),
        })?;
        self.gather_to(body_at + length)
    }

    fn gather_to(&mut self, end: usize) -> Result<(), WalkError> {
        while self.buffer.len() < end {
            let filled = self.buffer.len();
            self.buffer.resize(filled + CHUNK_BYTES, 0);
            let count = self
                .decoder
                .read(&mut self.buffer[filled..])
                .map_err(WalkError::Codec)?;
            self.buffer.truncate(filled + count);
            if count == 0 {
                break;
            }
        }
        Ok(())
    }
}
