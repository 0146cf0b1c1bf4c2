//! Record batches of format 2 as bytes: written for what the clients here send, read for what they get back.
//!
//! Written by hand rather than through `kafka-protocol`, so that brokers are judged by code which shares nothing with
//! them. What is written is not transactional, and has no headers.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Decompressor, Gzip, Lz4, Snappy, Zstd};

use crate::workload::Codec;

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
    let mut builder = Builder::new(timestamp_ms);
    for value in values {
        builder.push(timestamp_ms, None, value);
    }
    builder.finish(producer, Codec::None)
}

/// A batch that is being filled.
#[derive(Debug)]
pub struct Builder {
    /// Room for the header, then the records.
    bytes: Vec<u8>,
    /// Of one record, while it is encoded.
    record: Vec<u8>,
    count: i32,
    first_ms: i64,
    newest_ms: i64,
}

impl Builder {
    /// A batch whose first record is of `first_ms`.
    pub fn new(first_ms: i64) -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            record: Vec::new(),
            count: 0,
            first_ms,
            newest_ms: first_ms,
        }
    }

    /// Adds a record.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        let record = &mut self.record;
        record.clear();
        record.push(0);
        put_varint(record, timestamp_ms - self.first_ms);
        put_varint(record, i64::from(self.count));
        match key {
            Some(key) => {
                put_varint(record, key.len() as i64);
                record.extend_from_slice(key);
            }
            None => put_varint(record, -1),
        }
        put_varint(record, value.len() as i64);
        put_varint(&mut self.bytes, (record.len() + value.len() + 1) as i64);
        self.bytes.extend_from_slice(record);
        self.bytes.extend_from_slice(value);
        self.bytes.push(0);
        self.count += 1;
        self.newest_ms = self.newest_ms.max(timestamp_ms);
    }

    /// Bytes of its records so far, not compressed.
    pub fn records_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    /// The batch as a broker takes it.
    pub fn finish(self, producer: Producer, codec: Codec) -> Vec<u8> {
        assert!(self.count > 0, "a batch holds at least one record");
        let mut batch = compressed(self.bytes, codec);
        let counted =
            i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("a batch is under 2 GiB");
        batch[8..12].copy_from_slice(&counted.to_be_bytes());
        batch[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        batch[16] = 2;
        batch[21..23].copy_from_slice(&attribute(codec).to_be_bytes());
        batch[23..27].copy_from_slice(&(self.count - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&self.first_ms.to_be_bytes());
        batch[35..43].copy_from_slice(&self.newest_ms.to_be_bytes());
        batch[57..61].copy_from_slice(&self.count.to_be_bytes());
        sign(&mut batch, producer);
        batch
    }
}

/// A copy of a batch with another producer's id, epoch and sequence.
pub fn renumbered(batch: &[u8], producer: Producer) -> Vec<u8> {
    let mut batch = batch.to_vec();
    sign(&mut batch, producer);
    batch
}

/// Writes the producer into a batch, and the checksum, which covers it.
fn sign(batch: &mut [u8], producer: Producer) {
    batch[43..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
    let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

/// The codec as a batch's attributes name it.
fn attribute(codec: Codec) -> i16 {
    match codec {
        Codec::None => 0,
        Codec::Gzip => 1,
        Codec::Snappy => 2,
        Codec::Lz4 => 3,
        Codec::Zstd => 4,
    }
}

/// Room for a header, and the records behind it compressed.
fn compressed(bytes: Vec<u8>, codec: Codec) -> Vec<u8> {
    if codec == Codec::None {
        return bytes;
    }
    let mut out = BytesMut::zeroed(HEADER_BYTES);
    let records = &bytes[HEADER_BYTES..];
    let done = match codec {
        Codec::None => Ok(()),
        Codec::Gzip => compress::<Gzip>(&mut out, records),
        Codec::Snappy => compress::<Snappy>(&mut out, records),
        Codec::Lz4 => compress::<Lz4>(&mut out, records),
        Codec::Zstd => compress::<Zstd>(&mut out, records),
    };
    done.expect("compressing into memory does not fail");
    out.into()
}

fn compress<C: Compressor<BytesMut>>(out: &mut BytesMut, records: &[u8]) -> Result<()>
where
    C::BufMut: bytes::BufMut,
{
    C::compress(out, |buffer| {
        bytes::BufMut::put_slice(buffer, records);
        Ok(())
    })
}

fn decompressed(codec: i16, records: &[u8]) -> Result<Cow<'_, [u8]>> {
    if codec == 0 {
        return Ok(Cow::Borrowed(records));
    }
    let mut bytes = Bytes::copy_from_slice(records);
    Ok(Cow::Owned(match codec {
        1 => decompress::<Gzip>(&mut bytes)?,
        2 => decompress::<Snappy>(&mut bytes)?,
        3 => decompress::<Lz4>(&mut bytes)?,
        4 => decompress::<Zstd>(&mut bytes)?,
        other => bail!("compression {other}"),
    }))
}

fn decompress<C: Decompressor<Bytes>>(records: &mut Bytes) -> Result<Vec<u8>>
where
    C::Buf: bytes::Buf,
{
    C::decompress(records, |buffer| {
        let len = bytes::Buf::remaining(buffer);
        Ok(bytes::Buf::copy_to_bytes(buffer, len).into())
    })
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

    /// Of the whole batch.
    pub fn size_bytes(self) -> usize {
        self.0.len()
    }

    pub fn record_count(self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    fn field<const N: usize>(self, at: usize) -> [u8; N] {
        self.0[at..at + N]
            .try_into()
            .expect("the header was found whole")
    }

    /// Checks magic, checksum and counts, then hands each record's offset and value to `visit`. A record without a value
    /// is as one without bytes.
    pub fn records(self, mut visit: impl FnMut(i64, &[u8]) -> Result<()>) -> Result<()> {
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
        let codec = i16::from_be_bytes(self.field(21)) & 7;
        let records = decompressed(codec, &self.0[HEADER_BYTES..])
            .with_context(|| format!("batch at offset {base}: decompression"))?;
        let mut rest = &*records;
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
    take_bytes(&mut body)?;
    let value = take_bytes(&mut body)?;
    for _ in 0..take_varint(&mut body)? {
        take_bytes(&mut body)?;
        take_bytes(&mut body)?;
    }
    body.is_empty().then_some((delta, value))
}

/// Bytes behind their length; none if it is -1.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_varint(rest)?.max(0);
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(bytes)
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
pub fn whole_batches(bytes: &[u8]) -> WholeBatches<'_> {
    WholeBatches(bytes)
}

/// Made by [`whole_batches`].
#[derive(Clone, Debug)]
pub struct WholeBatches<'a>(&'a [u8]);

impl WholeBatches<'_> {
    /// The length that the next batch claims to have behind its length field, if no batch can have it: there is no way
    /// to what follows.
    pub fn impossible_length(&self) -> Option<i32> {
        let counted = i32::from_be_bytes(*self.0.get(8..)?.first_chunk()?);
        (counted < (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32).then_some(counted)
    }
}

impl<'a> Iterator for WholeBatches<'a> {
    type Item = Batch<'a>;

    fn next(&mut self) -> Option<Batch<'a>> {
        if self.impossible_length().is_some() {
            return None;
        }
        let counted = i32::from_be_bytes(*self.0.get(8..)?.first_chunk()?);
        let length = counted as usize + LENGTH_PREFIX_BYTES;
        let (batch, after) = self.0.split_at_checked(length)?;
        self.0 = after;
        Some(Batch(batch))
    }
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
        assert_eq!(batches[0].field::<8>(43), 7_i64.to_be_bytes());
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
    fn compressed_records_with_keys_are_read_back_and_by_kafka_protocol() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let mut builder = Builder::new(10);
            for n in 0..100_u8 {
                builder.push(10 + i64::from(n), Some(&[n]), &[n; 500]);
            }
            let mut bytes = Bytes::from(builder.finish(Producer::NONE, codec));
            if codec != Codec::None {
                assert!(bytes.len() < 25_000, "{codec:?}: {} bytes", bytes.len());
            }
            let mut read = 0;
            whole_batches(&bytes)
                .next()
                .unwrap()
                .records(|offset, value| {
                    assert_eq!(value, [offset as u8; 500]);
                    read += 1;
                    Ok(())
                })
                .unwrap();
            assert_eq!(read, 100);
            let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes).unwrap();
            assert_eq!(set.records.len(), 100);
            assert_eq!(set.records[7].key.as_deref(), Some(&[7_u8][..]));
            assert_eq!(set.records[7].timestamp, 17);
        }
    }

    /// A batch of these records, each as its bytes behind the length.
    fn batch_of(records: &[&[u8]]) -> Vec<u8> {
        let mut batch = encode(Producer::NONE, 5, records.iter().map(|_| b"".as_slice()));
        batch.truncate(HEADER_BYTES);
        for record in records {
            put_varint(&mut batch, record.len() as i64);
            batch.extend_from_slice(record);
        }
        let counted = (batch.len() - LENGTH_PREFIX_BYTES) as i32;
        batch[8..12].copy_from_slice(&counted.to_be_bytes());
        let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
        batch
    }

    #[test]
    fn records_of_others_may_have_headers_and_no_value() {
        // Attributes, timestamp, offset, key, value, headers; -1 is 1 as a varint, n is 2n.
        let with_headers = [0, 0, 0, 1, 4, b'h', b'i', 4, 2, b'a', 2, b'b', 2, b'c', 1];
        let without_value = [0, 0, 2, 2, b'k', 1, 0];
        let bytes = batch_of(&[&with_headers, &without_value]);
        let mut read = Vec::new();
        let batch = whole_batches(&bytes).next().unwrap();
        let outcome = batch.records(|offset, value| {
            read.push((offset, value.to_vec()));
            Ok(())
        });
        outcome.unwrap();
        assert_eq!(read, [(0, b"hi".to_vec()), (1, Vec::new())]);

        let headers_missing = [0, 0, 0, 1, 4, b'h', b'i', 4, 2, b'a', 2, b'b'];
        let bytes = batch_of(&[&headers_missing]);
        let batch = whole_batches(&bytes).next().unwrap();
        assert!(batch.records(|_, _| Ok(())).is_err());
    }

    #[test]
    fn a_length_that_no_batch_can_have_is_told() {
        let whole = encode(Producer::NONE, 5, [b"one".as_slice()]);
        for (length, impossible) in [
            (-1, true),
            (0, true),
            (48, true),
            (49, false),
            (1 << 20, false),
        ] {
            let mut bytes = whole.clone();
            bytes.extend_from_within(..);
            let at = whole.len() + 8;
            bytes[at..at + 4].copy_from_slice(&i32::to_be_bytes(length));
            let mut batches = whole_batches(&bytes);
            assert!(batches.next().is_some());
            assert_eq!(batches.impossible_length(), impossible.then_some(length));
            assert_eq!(batches.next().is_some(), length == 49);
        }
        let mut cut_short = whole_batches(&whole[..50]);
        assert!(cut_short.next().is_none() && cut_short.impossible_length().is_none());
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
