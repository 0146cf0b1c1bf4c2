//! Agreement with the kafka-protocol crate, which knows the format independently.

use super::GOLDEN;
use bytes::BytesMut;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

fn plain_record(offset: i64) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: NO_SEQUENCE,
        timestamp: 1_000,
        key: Some("k".into()),
        value: Some("hello".into()),
        headers: Default::default(),
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
fn golden_bytes_are_what_others_write() {
    assert_eq!(&encode(&[plain_record(0)])[..], GOLDEN);
}
