//! A batch with another codec, for topics whose `compression.type` is not `producer`.
//!
//! Only the block of records changes: deltas are relative to the header, which stays. Works in slices,
//! chunk by chunk, so that neither side of it is ever whole in memory but the result, which is refused as
//! soon as it outgrows what the topic allows.

use super::compress::{Codec, CodecError, Decoder, DecoderPool, Encoder};
use super::header::{Compression, HEADER_BYTES};
use super::iter::Batch;
use super::slice::{Budget, Progress};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecompressError {
    Codec(CodecError),
    UnknownCompression {
        id: u8,
    },
    /// The new batch is larger than allowed: with a weaker codec it may be, though the old one was not.
    TooLarge {
        bytes_max: usize,
    },
}

impl fmt::Display for RecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => write!(f, "the record batch cannot be recompressed: {error}"),
            Self::UnknownCompression { id } => write!(f, "unknown compression type {id}"),
            Self::TooLarge { bytes_max } => {
                write!(
                    f,
                    "the record batch, recompressed, has more than the {bytes_max} bytes that are allowed"
                )
            }
        }
    }
}

impl std::error::Error for RecompressError {}

impl From<CodecError> for RecompressError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// The making of one batch. Its input was validated; otherwise the result is as bad as that.
pub struct Recompressor<'a> {
    batch: Batch<'a>,
    decoder: Decoder<'a>,
    codec: Codec,
    encoder: Option<Encoder>,
    chunk: Box<[u8]>,
    bytes_max: usize,
}

impl<'a> Recompressor<'a> {
    pub fn new(
        batch: Batch<'a>,
        codec: Codec,
        bytes_max: usize,
        pool: &DecoderPool,
    ) -> Result<Self, RecompressError> {
        let id = batch.attributes().compression_id();
        let compression = batch
            .compression()
            .ok_or(RecompressError::UnknownCompression { id })?;
        let decoder = Decoder::new(compression, batch.payload(), pool)?;
        let header = vec![0; HEADER_BYTES];
        let encoder = match compression {
            Compression::None => Encoder::sized(codec, header, batch.payload().len())?,
            _ => Encoder::new(codec, header)?,
        };
        let chunk = vec![0; encoder.chunk_bytes()].into_boxed_slice();
        Ok(Self {
            batch,
            decoder,
            codec,
            encoder: Some(encoder),
            chunk,
            bytes_max,
        })
    }

    /// The result is the whole new batch.
    ///
    /// Panics when called again after the result.
    pub fn step(&mut self, mut budget: Budget) -> Progress<Result<Vec<u8>, RecompressError>> {
        loop {
            match self.advance(&mut budget) {
                Ok(false) if budget.is_spent() => return Progress::Pending,
                Ok(false) => {}
                Ok(true) => return Progress::Done(self.finish()),
                Err(error) => return Progress::Done(Err(error)),
            }
        }
    }

    /// Moves one chunk; true when there is none left.
    fn advance(&mut self, budget: &mut Budget) -> Result<bool, RecompressError> {
        let encoder = self.encoder.as_mut().expect("not called after its result");
        let mut filled = 0;
        while filled < self.chunk.len() {
            match self.decoder.read(&mut self.chunk[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        encoder.write(&self.chunk[..filled])?;
        let at_end = filled < self.chunk.len();
        if !at_end {
            encoder.end_chunk()?;
        }
        budget.spend(filled, self.decoder.ps_per_byte() + encoder.ps_per_byte());
        check_size(encoder.output_bytes(), self.bytes_max)?;
        Ok(at_end)
    }

    fn finish(&mut self) -> Result<Vec<u8>, RecompressError> {
        let encoder = self.encoder.take().expect("not called after its result");
        let mut out = encoder.finish()?;
        check_size(out.len(), self.bytes_max)?;
        let mut fields = self.batch.fields();
        fields.attributes = fields.attributes.with_compression(self.codec.compression());
        fields.write(&mut out);
        Ok(out)
    }
}

fn check_size(size_bytes: usize, bytes_max: usize) -> Result<(), RecompressError> {
    if size_bytes <= bytes_max {
        Ok(())
    } else {
        Err(RecompressError::TooLarge { bytes_max })
    }
}
