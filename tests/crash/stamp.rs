//! Records that tell who wrote them and whether they are still as they were written.

use crate::random::Random;

/// The part before the filler: checksum, writer, sequence.
const HEAD_BYTES: usize = 4 + 4 + 8;

/// Which record it is: a writer numbers its records in each partition from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub writer: u32,
    pub sequence: u64,
}

/// A record of this stamp with so many bytes of filler.
pub fn write(stamp: Stamp, filler_bytes: usize, random: &mut Random) -> Vec<u8> {
    let mut record = vec![0; 4];
    record.extend_from_slice(&stamp.writer.to_be_bytes());
    record.extend_from_slice(&stamp.sequence.to_be_bytes());
    while record.len() < HEAD_BYTES + filler_bytes {
        record.extend_from_slice(&random.next().to_le_bytes());
    }
    record.truncate(HEAD_BYTES + filler_bytes);
    let checksum = crc32c::crc32c(&record[4..]);
    record[..4].copy_from_slice(&checksum.to_be_bytes());
    record
}

/// Checksum and stamp of a record, or `None` if it is not what was written.
pub fn read(record: &[u8]) -> Option<(u32, Stamp)> {
    let (checksum, rest) = record.split_first_chunk::<4>()?;
    let checksum = u32::from_be_bytes(*checksum);
    if crc32c::crc32c(rest) != checksum {
        return None;
    }
    let (writer, rest) = rest.split_first_chunk::<4>()?;
    let sequence = rest.first_chunk::<8>()?;
    let stamp = Stamp {
        writer: u32::from_be_bytes(*writer),
        sequence: u64::from_be_bytes(*sequence),
    };
    Some((checksum, stamp))
}
