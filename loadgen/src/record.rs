//! What each record carries about itself: who made it, its place in what that producer made for the
//! partition, when it was due, and a checksum over all of it.

use std::sync::Arc;

use crc32c::crc32c_append;

use crate::schedule::choice::Random;
use crate::workload::Sizes;

/// Bytes that a value has at least.
pub const STAMP_BYTES: usize = 40;

const MAGIC: [u8; 4] = *b"CLLG";
const CHECKSUM_AT: usize = 36;

/// The fixed part at the beginning of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Random number of the run, which tells its records from those of other runs in the same topic.
    pub run: u64,
    /// Which producer of the run.
    pub producer: u32,
    /// Which of all partitions of the run it was sent to.
    pub partition: u32,
    /// Counts from 0 for each producer and partition.
    pub sequence: u64,
    /// When the record was due, in nanoseconds since 1970.
    pub intended_ns: u64,
}

/// What a value turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Made by a load generator, and as it was made.
    Sound(Stamp),
    /// Made by a load generator, and not as it was made.
    Corrupted,
    /// Something else.
    Foreign,
}

impl Stamp {
    /// Encodes a value of `len` bytes, at least [`STAMP_BYTES`], the rest from `filling`.
    pub fn encode(&self, len: usize, filling: &[u8], value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(&MAGIC);
        value.extend_from_slice(&self.run.to_be_bytes());
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.partition.to_be_bytes());
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.extend_from_slice(&self.intended_ns.to_be_bytes());
        value.extend_from_slice(&[0; STAMP_BYTES - CHECKSUM_AT]);
        value.extend_from_slice(&filling[..len.saturating_sub(STAMP_BYTES)]);
        let checksum = checksum(value);
        value[CHECKSUM_AT..STAMP_BYTES].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Reads a value.
    pub fn decode(value: &[u8]) -> Found {
        if value.get(..4) != Some(&MAGIC) {
            return Found::Foreign;
        }
        if value.len() < STAMP_BYTES
            || checksum(value).to_be_bytes() != value[CHECKSUM_AT..STAMP_BYTES]
        {
            return Found::Corrupted;
        }
        let be64 = |at: usize| u64::from_be_bytes(value[at..at + 8].try_into().expect("eight"));
        let be32 = |at: usize| u32::from_be_bytes(value[at..at + 4].try_into().expect("four"));
        Found::Sound(Stamp {
            run: be64(4),
            producer: be32(12),
            partition: be32(16),
            sequence: be64(20),
            intended_ns: be64(28),
        })
    }
}

impl Sizes {
    /// The length of the longest value.
    pub fn longest(&self) -> u32 {
        match self {
            Sizes::Fixed(len) | Sizes::Range(_, len) => *len,
            Sizes::Weighted(lens) => lens.iter().map(|(len, _)| *len).max().unwrap_or(0),
        }
    }
}

/// Over everything but its own place.
fn checksum(value: &[u8]) -> u32 {
    crc32c_append(crc32c::crc32c(&value[..CHECKSUM_AT]), &value[STAMP_BYTES..])
}

/// Bytes to fill values with, made once: the given part of each stretch of it compresses to nothing.
#[derive(Debug)]
pub struct Filling {
    bytes: Arc<[u8]>,
    at: usize,
}

impl Filling {
    /// Enough for values of `longest` bytes. `compressibility` is from 0 (random) to 1 (zeros).
    pub fn new(longest: usize, compressibility: f64, random: &mut Random) -> Self {
        const STRETCH: usize = 64;
        let len = (2 * longest).max(1 << 20).next_multiple_of(STRETCH);
        let mut bytes = vec![0; len];
        let noise = ((1.0 - compressibility) * STRETCH as f64).round() as usize;
        for stretch in bytes.chunks_mut(STRETCH) {
            for piece in stretch[..noise].chunks_mut(8) {
                let random = random.next_u64().to_le_bytes();
                piece.copy_from_slice(&random[..piece.len()]);
            }
        }
        Self {
            bytes: bytes.into(),
            at: 0,
        }
    }

    /// The same bytes for somebody else, from another place on.
    pub fn share(&self, random: &mut Random) -> Self {
        Self {
            bytes: Arc::clone(&self.bytes),
            at: (random.next_u64() % self.bytes.len() as u64) as usize,
        }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> &[u8] {
        if self.at + len > self.bytes.len() {
            // Not from the same place as before, so that values differ.
            self.at = (self.at + 8) % 64;
        }
        let from = self.at;
        self.at += len;
        &self.bytes[from..from + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 77,
        partition: 4,
        producer: 3,
        sequence: 1 << 40,
        intended_ns: 1_700_000_000_000_000_001,
    };

    #[test]
    fn a_value_tells_what_it_is_and_every_flipped_bit() {
        let mut value = Vec::new();
        for len in [0, STAMP_BYTES, 100, 5_000] {
            STAMP.encode(len, &vec![9; 5_000], &mut value);
            assert_eq!(value.len(), len.max(STAMP_BYTES));
            assert_eq!(Stamp::decode(&value), Found::Sound(STAMP));
            for at in 4..value.len() {
                value[at] ^= 1;
                assert_eq!(Stamp::decode(&value), Found::Corrupted, "byte {at}");
                value[at] ^= 1;
            }
        }
        assert_eq!(Stamp::decode(&value[..30]), Found::Corrupted);
        assert_eq!(Stamp::decode(b"hello"), Found::Foreign);
        assert_eq!(Stamp::decode(b""), Found::Foreign);
    }

    #[test]
    fn filling_is_as_compressible_as_asked_for() {
        for (compressibility, zeros) in [
            (0.0, 0..8_000),
            (0.5, 500_000..540_000),
            (1.0, 1_000_000..1_100_000),
        ] {
            let mut filling = Filling::new(1_000, compressibility, &mut Random::new(1));
            let taken = filling.take(1 << 20);
            let count = taken.iter().filter(|byte| **byte == 0).count();
            assert!(zeros.contains(&count), "{compressibility}: {count}");
            assert_eq!(filling.take(999).len(), 999);
        }
    }
}
