mod compress;
mod fuzz;
mod golden;
mod header;
mod recompress;
mod record;
mod search;
mod validate;
mod walk;

use super::compress::{Codec, Encoder};
use super::header::{HEADER_BYTES, HeaderFields, TimestampType};
use super::iter::Batch;
use super::slice::Progress;
use super::{Attributes, BatchBuilder, Budget};
use crate::log::test_random::Random;

/// One record, key `k`, value `hello`, no headers, timestamp 1,000, plain producer; byte by byte as
/// Kafka's format description has it.
const GOLDEN: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0, 0, // base offset 0
    0, 0, 0, 62, // length
    0xff, 0xff, 0xff, 0xff, // leader epoch -1
    2,    // magic
    0xed, 0xb8, 0x8d, 0x21, // CRC-32C
    0, 0, // attributes: no codec, create time
    0, 0, 0, 0, // last offset delta 0
    0, 0, 0, 0, 0, 0, 3, 0xe8, // base timestamp 1,000
    0, 0, 0, 0, 0, 0, 3, 0xe8, // max timestamp 1,000
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // producer id -1
    0xff, 0xff, // producer epoch -1
    0xff, 0xff, 0xff, 0xff, // base sequence -1
    0, 0, 0, 1,  // record count
    24, // record length 12, zigzag
    0,  // attributes
    0,  // timestamp delta 0
    0,  // offset delta 0
    2, b'k', // key length 1
    10, b'h', b'e', b'l', b'l', b'o', // value length 5
    0,    // no headers
];

/// Each codec, at its default level.
pub(in crate::log) const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::GZIP,
    Codec::Snappy,
    Codec::LZ4,
    Codec::ZSTD,
];

/// Everything at once.
const UNLIMITED: Budget = Budget::of_us(u32::MAX);

type OwnedHeaders = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A record apart from any batch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnedRecord {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: OwnedHeaders,
}

fn random_bytes(random: &mut Random, length_max: u64) -> Vec<u8> {
    let length = random.below(length_max + 1);
    // Few different bytes, so that codecs find something to do.
    (0..length).map(|_| b'a' + random.below(4) as u8).collect()
}

fn random_field(random: &mut Random, length_max: u64) -> Option<Vec<u8>> {
    (!random.one_in(5)).then(|| random_bytes(random, length_max))
}

fn random_records(random: &mut Random, count: u64, length_max: u64) -> Vec<OwnedRecord> {
    (0..count)
        .map(|_| OwnedRecord {
            timestamp: random.between(0, 1 << 41),
            key: random_field(random, 40),
            value: random_field(random, length_max),
            headers: (0..random.below(4))
                .map(|_| (random_bytes(random, 10), random_field(random, 100)))
                .collect(),
        })
        .collect()
}

fn build(records: &[OwnedRecord], codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec).unwrap();
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref()))
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder
            .append_with_headers(record.timestamp, key, value, &headers)
            .unwrap();
    }
    builder.finish().unwrap()
}

/// A batch that says it has `count` records, whatever `records` holds.
fn forge(codec: Codec, count: i32, records: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(codec, vec![0; HEADER_BYTES]).unwrap();
    encoder.write(records).unwrap();
    let mut batch = encoder.finish().unwrap();
    let fields = HeaderFields {
        attributes: Attributes::default().with_compression(codec.compression()),
        last_offset_delta: count.wrapping_sub(1),
        record_count: count,
        ..Batch::first(GOLDEN).unwrap().fields()
    };
    fields.write(&mut batch);
    batch
}

/// Changes the header and makes the CRC right again.
fn edit(batch: &[u8], change: impl FnOnce(&mut HeaderFields)) -> Vec<u8> {
    let mut batch = batch.to_vec();
    let mut fields = Batch::first(&batch).unwrap().fields();
    change(&mut fields);
    fields.write(&mut batch);
    batch
}

/// The batch with the log's time on all records.
fn with_append_time(batch: &[u8], log_append_time: i64) -> Vec<u8> {
    edit(batch, |fields| {
        let kind = TimestampType::LogAppendTime;
        fields.attributes = fields.attributes.with_timestamp_type(kind);
        fields.max_timestamp = log_append_time;
    })
}

/// Runs a machine with this budget for each step, and tells how many steps it took.
fn run<T>(budget: Budget, mut step: impl FnMut(Budget) -> Progress<T>) -> (T, usize) {
    for steps in 1..10_000_000 {
        if let Progress::Done(result) = step(budget) {
            return (result, steps);
        }
    }
    panic!("the machine does not end");
}
