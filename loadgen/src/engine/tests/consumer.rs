use kafka_protocol::messages::fetch_response::PartitionData;

use super::*;
use crate::batch;
use crate::engine::consumer::Consumer;

#[test]
fn lag_is_known_from_what_brokers_answer_and_later_from_the_ends() {
    let mut two = workload();
    two.topics.partitions = 2;
    let ground = Ground::new(two);
    let mut consumer = Consumer::new(0, vec![(0, 5), (1, 7)]);
    assert_eq!(consumer.lag, 0);
    ground.measure(|recorder| {
        let shared = ground.at(SECOND, cluster(None));
        let batch = batch::encode(batch::Producer::NONE, 1, [b"one".as_slice(), b"two"]);
        let mut batch = batch;
        batch[..8].copy_from_slice(&5_i64.to_be_bytes());
        let answer = PartitionData::default()
            .with_high_watermark(20)
            .with_records(Some(batch.into()));
        assert!(consumer.read(0, 0, &answer, SECOND, &shared, recorder));
        assert_eq!(consumer.lag, 13);
        // An answer that does not tell.
        let untold = PartitionData::default().with_high_watermark(-1);
        assert!(!consumer.read(0, 1, &untold, SECOND, &shared, recorder));
        assert_eq!(consumer.lag, 13);
    });
    consumer.go_up_to(&[7, 9]);
    assert_eq!(consumer.lag, 2);
    assert_eq!(consumer.received.unknown, 2);
}

#[test]
fn what_was_read_beyond_the_end_shows() {
    let ground = Ground::new(workload());
    let mut consumer = Consumer::new(0, vec![(0, 0)]);
    ground.measure(|recorder| {
        let shared = ground.at(SECOND, cluster(None));
        let three = batch::encode(batch::Producer::NONE, 1, [b"one".as_slice(), b"two", b"3"]);
        let answer = PartitionData::default()
            .with_high_watermark(3)
            .with_records(Some(three.into()));
        consumer.read(0, 0, &answer, SECOND, &shared, recorder);
    });
    assert!(!consumer.received.is_beyond(&[3]));
    assert!(consumer.received.is_beyond(&[2]));
}

#[test]
fn every_record_of_a_damaged_batch_counts_and_one_in_the_wrong_partition() {
    let mut two = workload();
    two.topics.partitions = 2;
    let ground = Ground::new(two);
    let mut consumer = Consumer::new(0, vec![(0, 0), (1, 0)]);
    let measurements = ground.measure(|recorder| {
        let shared = ground.at(SECOND, cluster(None));
        let mut damaged = batch::encode(batch::Producer::NONE, 1, [b"one".as_slice(), b"two", b""]);
        *damaged.last_mut().unwrap() ^= 1;
        let answer = PartitionData::default()
            .with_high_watermark(3)
            .with_records(Some(damaged.into()));
        consumer.read(0, 0, &answer, SECOND, &shared, recorder);
        assert_eq!(consumer.received.corrupted, 3);
        let stamp = crate::record::Stamp {
            run: 1,
            producer: 0,
            partition: 0,
            sequence: 0,
            intended_ns: SECOND,
        };
        let mut value = Vec::new();
        stamp.encode(100, &[0; 100], &mut value);
        let misplaced = batch::encode(batch::Producer::NONE, 1, [value.as_slice()]);
        let answer = PartitionData::default()
            .with_high_watermark(1)
            .with_records(Some(misplaced.into()));
        consumer.read(0, 1, &answer, SECOND, &shared, recorder);
        assert_eq!(consumer.received.corrupted, 4);
    });
    assert_eq!(measurements.error_count(), 1);
}
