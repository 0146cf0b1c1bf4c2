//! Encoding in chunks, into a growing vector.

use super::snappy::XERIAL_HEADER;
use super::{Codec, CodecError, Compression, LZ4_FAST_LEVEL};
use flate2::write::GzEncoder;
use std::io::{self, Write};

const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;

/// Compresses what is written to it behind what `out` already held.
pub struct Encoder {
    inner: Inner,
    codec: Codec,
}

enum Inner {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Snappy(Box<SnappyWriter>),
    Lz4(lz4::Encoder<Vec<u8>>),
    Zstd(::zstd::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub fn new(codec: Codec, out: Vec<u8>) -> Result<Self, CodecError> {
        let failed = |error: io::Error| CodecError::new(codec.compression(), error);
        let inner = match codec {
            Codec::None => Inner::None(out),
            Codec::Gzip { level } => {
                let level = u32::try_from(level).map_or_else(
                    |_| flate2::Compression::default(),
                    |level| flate2::Compression::new(level.min(9)),
                );
                Inner::Gzip(GzEncoder::new(out, level))
            }
            Codec::Snappy => Inner::Snappy(Box::new(SnappyWriter::new(out))),
            Codec::Lz4 { level } => Inner::Lz4(lz4_encoder(level, out).map_err(failed)?),
            Codec::Zstd { level } => Inner::Zstd(::zstd::Encoder::new(out, level).map_err(failed)?),
        };
        Ok(Self { inner, codec })
    }

    /// As [`Self::new`], for input of exactly this length: zstd then takes tables to match, where its
    /// high levels would otherwise clear tens of megabytes first.
    pub fn sized(codec: Codec, out: Vec<u8>, input_bytes: usize) -> Result<Self, CodecError> {
        let mut encoder = Self::new(codec, out)?;
        if let Inner::Zstd(zstd) = &mut encoder.inner {
            zstd.set_pledged_src_size(Some(input_bytes as u64))
                .map_err(|error| CodecError::new(Compression::Zstd, error))?;
        }
        Ok(encoder)
    }

    /// How much to write at a time, so that a call does not take much longer than a slice. It does with
    /// lz4's thorough levels, which work on 64 KiB at a time, and with zstd's levels above 3, which would
    /// compress badly in smaller pieces.
    pub fn chunk_bytes(&self) -> usize {
        match self.codec {
            Codec::Gzip { .. } => 2 * 1024,
            Codec::Zstd { .. } => 16 * 1024,
            Codec::None | Codec::Snappy | Codec::Lz4 { .. } => 32 * 1024,
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        let written = match &mut self.inner {
            Inner::None(out) => out.write_all(bytes),
            Inner::Gzip(encoder) => encoder.write_all(bytes),
            Inner::Snappy(writer) => {
                writer.write(bytes);
                Ok(())
            }
            Inner::Lz4(encoder) => encoder.write_all(bytes),
            Inner::Zstd(encoder) => encoder.write_all(bytes),
        };
        written.map_err(|error| CodecError::new(self.codec.compression(), error))
    }

    /// Ends the piece of work that [`Self::write`] may have put off: zstd collects 128 KiB before it
    /// compresses them all at once.
    pub fn end_chunk(&mut self) -> Result<(), CodecError> {
        match &mut self.inner {
            Inner::Zstd(encoder) => encoder
                .flush()
                .map_err(|error| CodecError::new(Compression::Zstd, error)),
            Inner::None(_) | Inner::Gzip(_) | Inner::Snappy(_) | Inner::Lz4(_) => Ok(()),
        }
    }

    /// Bytes in the vector by now; what is still being collected is not among them.
    pub fn output_bytes(&self) -> usize {
        match &self.inner {
            Inner::None(out) => out.len(),
            Inner::Gzip(encoder) => encoder.get_ref().len(),
            Inner::Snappy(writer) => writer.out.len(),
            Inner::Lz4(encoder) => encoder.writer().len(),
            Inner::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    pub fn finish(self) -> Result<Vec<u8>, CodecError> {
        let finished = match self.inner {
            Inner::None(out) => Ok(out),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Snappy(writer) => Ok(writer.finish()),
            Inner::Lz4(encoder) => {
                let (out, result) = encoder.finish();
                result.map(|()| out)
            }
            Inner::Zstd(encoder) => encoder.finish(),
        };
        finished.map_err(|error| CodecError::new(self.codec.compression(), error))
    }

    /// Estimate of the time a byte takes at its level, from text of few words.
    pub fn ps_per_byte(&self) -> u32 {
        match self.codec {
            Codec::None => 100,
            Codec::Gzip { level: ..=6 } => 30_000,
            Codec::Gzip { .. } => 60_000,
            Codec::Snappy
            | Codec::Lz4 {
                level: LZ4_FAST_LEVEL,
            } => 2_000,
            Codec::Lz4 { level: ..=8 } => 15_000,
            Codec::Lz4 { .. } => 160_000,
            Codec::Zstd { level: ..=3 } => 5_000,
            Codec::Zstd { level: ..=9 } => 30_000,
            Codec::Zstd { .. } => 500_000,
        }
    }
}

/// As Kafka writes it: its readers demand independent blocks.
fn lz4_encoder(level: i32, out: Vec<u8>) -> io::Result<lz4::Encoder<Vec<u8>>> {
    const THOROUGH_MIN: i32 = 3;
    let level = if level == LZ4_FAST_LEVEL {
        0
    } else {
        level.max(THOROUGH_MIN)
    };
    lz4::EncoderBuilder::new()
        .level(level.unsigned_abs())
        .block_mode(lz4::BlockMode::Independent)
        .block_size(lz4::BlockSize::Max64KB)
        .checksum(lz4::ContentChecksum::NoChecksum)
        .build(out)
}

/// snappy-java's stream.
struct SnappyWriter {
    out: Vec<u8>,
    pending: Vec<u8>,
    encoder: snap::raw::Encoder,
}

impl SnappyWriter {
    fn new(mut out: Vec<u8>) -> Self {
        out.extend_from_slice(&XERIAL_HEADER);
        Self {
            out,
            pending: Vec::new(),
            encoder: snap::raw::Encoder::new(),
        }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) =
                bytes.split_at(bytes.len().min(SNAPPY_BLOCK_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == SNAPPY_BLOCK_BYTES {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        let length_at = self.out.len();
        let block_at = length_at + size_of::<i32>();
        self.out.resize(
            block_at + snap::raw::max_compress_len(self.pending.len()),
            0,
        );
        let length = self
            .encoder
            .compress(&self.pending, &mut self.out[block_at..])
            .expect("room for the largest outcome");
        self.out.truncate(block_at + length);
        self.out[length_at..block_at].copy_from_slice(&(length as i32).to_be_bytes());
        self.pending.clear();
    }

    fn finish(mut self) -> Vec<u8> {
        if !self.pending.is_empty() {
            self.end_block();
        }
        self.out
    }
}
