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
    let received = consumer.finish(None);
    assert_eq!(received.unread.into_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(received.unknown, 2);
}

#[test]
fn what_was_read_beyond_the_end_is_gone_unless_another_look_finds_it() {
    let ground = Ground::new(workload());
    let read_three = || {
        let mut consumer = Consumer::new(0, vec![(0, 0)]);
        ground.measure(|recorder| {
            let shared = ground.at(SECOND, cluster(None));
            let three = batch::encode(batch::Producer::NONE, 1, [b"one".as_slice(), b"two", b"3"]);
            let answer = PartitionData::default()
                .with_high_watermark(3)
                .with_records(Some(three.into()));
            consumer.read(0, 0, &answer, SECOND, &shared, recorder);
        });
        consumer
    };
    for (ends, last_ends, gone) in [
        ([3], None, 0),
        ([1], None, 2),
        ([1], Some([2]), 1),
        ([1], Some([3]), 0),
    ] {
        let mut consumer = read_three();
        consumer.go_up_to(&ends);
        assert_eq!(consumer.is_beyond_ends(), ends[0] < 3);
        let received = consumer.finish(last_ends.as_ref().map(|ends| &ends[..]));
        assert_eq!((received.gone, received.unread.len()), (gone, 0));
    }
}

#[test]
fn without_known_ends_nothing_is_read_to_its_end() {
    let received = Consumer::new(0, vec![(3, 0), (4, 0)]).finish(None);
    assert_eq!(received.unread.into_iter().collect::<Vec<_>>(), [3, 4]);
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
