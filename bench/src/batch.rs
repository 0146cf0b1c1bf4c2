//! Record batches of format 2 as bytes: written for what the clients here send, read for what they get back.
//!
//! Written by hand rather than through `kafka-protocol`, so that the crash test judges a broker by code which shares
//! nothing with it. Batches are neither compressed nor transactional, and records have no key and no headers.

use anyhow::{Result, bail, ensure};

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that the length field counts: base offset and the length itself.
const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the part covered by the checksum begins: at the attributes.
const CHECKED_FROM: usize = 21;

/// Who writes a batch, as idempotence sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

impl Producer {
    /// A producer without idempotence.
    pub const NONE: Self = Self {
        id: -1,
        epoch: -1,
        base_sequence: -1,
    };
}

/// Encodes one batch of the given values, created at `timestamp_ms`.
pub fn encode<'a>(
    producer: Producer,
    timestamp_ms: i64,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut batch = vec![0; HEADER_BYTES];
    let mut count = 0_i32;
    for value in values {
        encode_record(&mut batch, count, value);
        count += 1;
    }
    assert!(count > 0, "a batch holds at least one record");
    let counted = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("a batch is under 2 GiB");
    batch[8..12].copy_from_slice(&counted.to_be_bytes());
    batch[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&timestamp_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    batch[43..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch
}

fn encode_record(out: &mut Vec<u8>, offset_delta: i32, value: &[u8]) {
    let mut body = Vec::with_capacity(value.len() + 16);
    body.push(0);
    put_varint(&mut body, 0);
    put_varint(&mut body, i64::from(offset_delta));
    put_varint(&mut body, -1);
    put_varint(&mut body, value.len() as i64);
    body.extend_from_slice(value);
    put_varint(&mut body, 0);
    put_varint(out, body.len() as i64);
    out.extend_from_slice(&body);
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// One whole batch found in fetched bytes, its header and checksum not yet checked.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a>(&'a [u8]);

impl<'a> Batch<'a> {
    pub fn base_offset(self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    pub fn last_offset(self) -> i64 {
        self.base_offset() + i64::from(i32::from_be_bytes(self.field(23)))
    }

    pub fn producer_id(self) -> i64 {
        i64::from_be_bytes(self.field(43))
    }

    pub fn record_count(self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    fn field<const N: usize>(self, at: usize) -> [u8; N] {
        self.0[at..at + N]
            .try_into()
            .expect("the header was found whole")
    }

    /// Checks magic, checksum and counts, then hands each record's offset and value to `visit`.
    pub fn records(self, mut visit: impl FnMut(i64, &'a [u8]) -> Result<()>) -> Result<()> {
        let base = self.base_offset();
        ensure!(
            self.0[16] == 2,
            "batch at offset {base}: magic {}",
            self.0[16]
        );
        ensure!(
            crc32c::crc32c(&self.0[CHECKED_FROM..]) == u32::from_be_bytes(self.field(17)),
            "batch at offset {base}: wrong checksum"
        );
        let mut rest = &self.0[HEADER_BYTES..];
        for index in 0..i64::from(self.record_count()) {
            let Some((delta, value)) = take_record(&mut rest) else {
                bail!("batch at offset {base}: record {index} is malformed");
            };
            ensure!(
                delta == index,
                "batch at offset {base}: record {index} has offset delta {delta}"
            );
            visit(base + delta, value)?;
        }
        ensure!(
            rest.is_empty(),
            "batch at offset {base}: {} bytes after its last record",
            rest.len()
        );
        ensure!(
            self.last_offset() - base + 1 == i64::from(self.record_count()),
            "batch at offset {base}: {} records end at offset {}",
            self.record_count(),
            self.last_offset()
        );
        Ok(())
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<(i64, &'a [u8])> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (mut body, after) = rest.split_at_checked(length)?;
    *rest = after;
    body = body.get(1..)?;
    take_varint(&mut body)?;
    let delta = take_varint(&mut body)?;
    if take_varint(&mut body)? != -1 {
        return None;
    }
    let value_length = usize::try_from(take_varint(&mut body)?).ok()?;
    let (value, headers) = body.split_at_checked(value_length)?;
    (headers == [0]).then_some((delta, value))
}

fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut zigzag = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    None
}

/// The whole batches of fetched bytes, in order. A last batch that a limit of the fetch cut short is left out.
pub fn whole_batches(mut bytes: &[u8]) -> impl Iterator<Item = Batch<'_>> {
    std::iter::from_fn(move || {
        let counted = i32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        let length = usize::try_from(counted).ok()? + LENGTH_PREFIX_BYTES;
        let (batch, after) = bytes.split_at_checked(length)?;
        bytes = after;
        (batch.len() >= HEADER_BYTES).then_some(Batch(batch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_back() {
        let values: Vec<Vec<u8>> = (0..200).map(|n| vec![n as u8; n * 3]).collect();
        let producer = Producer {
            id: 7,
            epoch: 1,
            base_sequence: 40,
        };
        let mut bytes = encode(
            producer,
            1_700_000_000_000,
            values.iter().map(Vec::as_slice),
        );
        let whole = bytes.len();
        bytes.extend_from_within(..whole / 2);

        let batches: Vec<_> = whole_batches(&bytes).collect();
        assert_eq!(batches.len(), 1, "the half batch at the end is left out");
        assert_eq!(batches[0].producer_id(), 7);
        let mut read = Vec::new();
        batches[0]
            .records(|offset, value| {
                read.push((offset, value.to_vec()));
                Ok(())
            })
            .unwrap();
        let wanted: Vec<_> = (0..).zip(values).collect();
        assert_eq!(read, wanted);
    }

    #[test]
    fn kafka_protocol_reads_the_same_records() {
        let bytes = encode(Producer::NONE, 5, [b"one".as_slice(), b"three"]);
        let mut bytes = bytes::Bytes::from(bytes);
        let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes).unwrap();
        let values: Vec<_> = set
            .records
            .iter()
            .map(|record| record.value.clone().unwrap())
            .collect();
        assert_eq!(values, [&b"one"[..], b"three"]);
        assert!(
            set.records
                .iter()
                .all(|record| record.timestamp == 5 && record.producer_id == -1)
        );
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let bytes = encode(Producer::NONE, 5, [b"one".as_slice()]);
        for at in CHECKED_FROM..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 4;
            let batch = whole_batches(&bytes).next().unwrap();
            assert!(batch.records(|_, _| Ok(())).is_err(), "byte {at}");
        }
    }
}
