//! Agreement with the kafka-protocol crate, which knows the format independently.

use super::{GOLDEN, OwnedRecord, build, random_records};
use crate::log::batch::Codec;
use crate::log::test_random::Random;
use bytes::BytesMut;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

fn theirs(record: &OwnedRecord, offset: i64) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        // They take offset and sequence to go together.
        sequence: NO_SEQUENCE + offset as i32,
        timestamp: record.timestamp,
        key: record.key.clone().map(Into::into),
        value: record.value.clone().map(Into::into),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| {
                let key = String::from_utf8(key.clone()).unwrap();
                (key.into(), value.clone().map(Into::into))
            })
            .collect(),
    }
}

fn encode(records: &[Record]) -> BytesMut {
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut out, records, &options).unwrap();
    out
}

#[test]
fn golden_bytes_are_what_all_write() {
    let record = OwnedRecord {
        timestamp: 1_000,
        key: Some("k".into()),
        value: Some("hello".into()),
        headers: vec![],
    };
    assert_eq!(&encode(&[theirs(&record, 0)])[..], GOLDEN);
    assert_eq!(build(&[record], Codec::None), GOLDEN);
}

#[test]
fn others_write_the_same_and_read_ours() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let count = 1 + random.below(20);
        let mut records = random_records(&mut random, count, 300);
        // They put the earliest timestamp into the header, we (as Kafka) the first, and they keep headers
        // in a map.
        records.sort_by_key(|record| record.timestamp);
        for record in &mut records {
            record.headers.sort();
            record.headers.dedup_by(|a, b| a.0 == b.0);
        }
        let ours = build(&records, Codec::None);
        let expected: Vec<_> = records
            .iter()
            .zip(0..)
            .map(|(record, offset)| theirs(record, offset))
            .collect();
        assert_eq!(encode(&expected)[..], ours, "seed {seed}");
        let read = RecordBatchDecoder::decode(&mut &ours[..]).unwrap();
        assert_eq!(read.records.len(), expected.len());
        for (read, expected) in read.records.iter().zip(&expected) {
            assert_eq!(
                (read.offset, read.timestamp),
                (expected.offset, expected.timestamp)
            );
            assert_eq!(
                (&read.key, &read.value, &read.headers),
                (&expected.key, &expected.value, &expected.headers)
            );
        }
    }
}
