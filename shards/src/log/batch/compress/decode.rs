//! Decoding in chunks.

use super::snappy::SnappyReader;
use super::zstd::{DecoderPool, ZstdReader};
use super::{CodecError, Compression};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, Read};

/// Reads what was compressed, piece by piece.
pub struct Decoder<'a> {
    inner: Inner<'a>,
    compression: Compression,
}

enum Inner<'a> {
    None(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyReader<'a>),
    Lz4(lz4::Decoder<&'a [u8]>),
    Zstd(ZstdReader<'a>),
}

impl<'a> Decoder<'a> {
    pub fn new(
        compression: Compression,
        input: &'a [u8],
        pool: &DecoderPool,
    ) -> Result<Self, CodecError> {
        let failed = |error: io::Error| CodecError::new(compression, error);
        let inner = match compression {
            Compression::None => Inner::None(input),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Snappy => Inner::Snappy(SnappyReader::new(input)),
            Compression::Lz4 => {
                check_lz4_frame(input).map_err(|reason| CodecError::new(compression, reason))?;
                Inner::Lz4(lz4::Decoder::new(input).map_err(failed)?)
            }
            Compression::Zstd => Inner::Zstd(ZstdReader::new(input, pool).map_err(failed)?),
        };
        Ok(Self { inner, compression })
    }

    /// Fills the front of `out` and says how much of it; 0 is the end, reached properly. One call takes
    /// about as long as `out` is large, or as a block of the format is.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, CodecError> {
        let compression = self.compression;
        let failed = |error: io::Error| CodecError::new(compression, error);
        match &mut self.inner {
            Inner::None(input) => input.read(out).map_err(failed),
            Inner::Gzip(decoder) => decoder.read(out).map_err(failed),
            Inner::Snappy(reader) => reader
                .read(out)
                .map_err(|reason| CodecError::new(compression, reason)),
            Inner::Lz4(decoder) => match decoder.read(out) {
                // The decoder takes the end of its input for the end of the frame.
                Ok(0) if !out.is_empty() => self.end_lz4_frame(),
                read => read.map_err(failed),
            },
            Inner::Zstd(reader) => reader.read(out).map_err(failed),
        }
    }

    fn end_lz4_frame(&mut self) -> Result<usize, CodecError> {
        match std::mem::replace(&mut self.inner, Inner::None(&[])) {
            Inner::Lz4(decoder) => match decoder.finish() {
                (_, Ok(())) => Ok(0),
                (_, Err(_)) => Err(CodecError::new(Compression::Lz4, LZ4_CUT_SHORT)),
            },
            _ => Ok(0),
        }
    }

    /// Estimate of the time a decompressed byte takes.
    pub fn ps_per_byte(&self) -> u32 {
        match self.compression {
            Compression::None => 50,
            Compression::Gzip => 3_000,
            Compression::Snappy => 1_200,
            Compression::Lz4 => 700,
            Compression::Zstd => 1_200,
        }
    }
}

const LZ4_CUT_SHORT: &str = "lz4 frame cut short";

/// Kafka's consumers read frames of version 1 with independent blocks only, and no skippable frames.
fn check_lz4_frame(input: &[u8]) -> Result<(), &'static str> {
    const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();
    const VERSION_AND_INDEPENDENCE: u8 = 0b1110_0000;
    const VERSION_1_INDEPENDENT: u8 = 0b0110_0000;
    let (magic, descriptor) = input.split_first_chunk().ok_or(LZ4_CUT_SHORT)?;
    if *magic != MAGIC {
        return Err("not an lz4 frame");
    }
    let flags = descriptor.first().ok_or(LZ4_CUT_SHORT)?;
    if flags & VERSION_AND_INDEPENDENCE != VERSION_1_INDEPENDENT {
        return Err("lz4 frame of another version or with dependent blocks");
    }
    Ok(())
}
