//! The codecs of record batches, streaming both ways, in the dialects that Kafka's clients speak.
//!
//! | codec | read | written |
//! |---|---|---|
//! | gzip | any, members may follow each other | one member |
//! | snappy | xerial's framing (Java and most others) and a bare block (librdkafka) | xerial, blocks of 32 KiB |
//! | lz4 | frames of independent blocks, as Kafka's own reader demands | the same, blocks of 64 KiB, no checksums |
//! | zstd | any frame with a window up to 128 MiB | streaming frame |
//!
//! Memory: a decoder never allocates what its input merely claims. What it does hold is bounded by its
//! format: 64 KiB for gzip, two blocks of at most 4 MiB for lz4, the window for zstd (of which only
//! what was really decompressed is ever touched), and for snappy the block at hand, which is at most 22
//! times its compressed size. Whoever runs many decoders at once multiplies this, so run few.

mod decode;
mod encode;
mod snappy;
mod zstd;

pub use decode::Decoder;
pub use encode::Encoder;
pub use zstd::DecoderPool;

use super::header::Compression;
use std::fmt;

/// A codec with the level to write at, as `compression.gzip.level` and its siblings have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    /// 1 to 9, or -1 for the default.
    Gzip {
        level: i32,
    },
    Snappy,
    /// 1 to 17. 9, the default, is the fast compressor; every other level is of the thorough one.
    Lz4 {
        level: i32,
    },
    /// -131,072 to 22.
    Zstd {
        level: i32,
    },
}

impl Codec {
    pub const GZIP: Self = Self::Gzip { level: -1 };
    pub const LZ4: Self = Self::Lz4 {
        level: LZ4_FAST_LEVEL,
    };
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// At the default level.
    pub fn of(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::GZIP,
            Compression::Snappy => Self::Snappy,
            Compression::Lz4 => Self::LZ4,
            Compression::Zstd => Self::ZSTD,
        }
    }

    pub fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip { .. } => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 { .. } => Compression::Lz4,
            Self::Zstd { .. } => Compression::Zstd,
        }
    }
}

/// The level at which Kafka takes the fast compressor rather than the thorough one.
const LZ4_FAST_LEVEL: i32 = 9;

/// A codec that cannot go on: its input is not what it should be, or it got no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError {
    pub compression: Compression,
    pub reason: String,
}

impl CodecError {
    fn new(compression: Compression, reason: impl ToString) -> Self {
        Self {
            compression,
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.compression, self.reason)
    }
}

impl std::error::Error for CodecError {}
