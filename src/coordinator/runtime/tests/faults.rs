//! Disks that are full or fail, logs that change while they are read, topics without room.

use corelog_shards::io::sim::Operation;

use super::*;
use crate::api::testing::image_of;
use crate::cluster::image::ConfigResource;
use crate::cluster::records::TopicRecord;

/// Of the pauses between attempts, the first few.
const SHORT: Duration = Duration::from_millis(50);
const PAUSES_MAX: Duration = Duration::from_secs(11);
/// More than the caches of the test's broker hold.
const LOG_BYTES: usize = 6 << 20;

fn with_text(text_bytes: usize) -> impl Fn(i32, i64) -> Record {
    move |partition, offset| {
        let mut record = record(partition, offset);
        if let Record::OffsetCommit {
            value: Some(value), ..
        } = &mut record
        {
            value.metadata = "x".repeat(text_bytes);
        }
        record
    }
}

/// A log whose beginning is in no cache any more. Its last record commits offset 77 for partition 5.
async fn write_long_log(broker: &Broker) {
    const TEXT: usize = 4_000;
    const RECORDS: usize = 50;
    let record = with_text(TEXT);
    let batches = (0..LOG_BYTES / (TEXT * RECORDS)).map(|round| {
        let records = (0..RECORDS).map(|at| record(at as i32 % 4, round as i64));
        plain(&records.collect::<Vec<_>>())
    });
    append_all(broker, batches.collect()).await;
    append_all(broker, vec![plain(&[self::record(5, 77)])]).await;
    broker.shard.io().sleep(LONG_ENOUGH).await;
}

#[test]
fn a_disk_that_cannot_be_read_is_asked_again() {
    let (mut world, node) = world();
    let broker = world.block_on(node, |io| async move {
        let broker = started(&io).await;
        write_long_log(&broker).await;
        broker
    });
    for _ in 0..3 {
        world.fail_next(node, Operation::Read, ".log");
    }
    world.block_on(node, |io| async move {
        open_anew(&broker);
        io.sleep(SHORT).await;
        assert_eq!(fetch(&broker).await, Err(Refusal::Loading));
        io.sleep(PAUSES_MAX).await;
        assert_eq!(offset_of(&broker, 5).await, Ok(Some(77)));
    });
}

#[test]
fn a_log_that_loses_its_beginning_while_it_is_read_is_read_anew() {
    let (mut world, node) = world();
    let broker = world.block_on(node, |io| async move {
        let broker = started(&io).await;
        write_long_log(&broker).await;
        broker
    });
    let slow = Duration::from_millis(5);
    world.set_faults(Faults {
        disk_latency: (slow, slow),
        ..Faults::none()
    });
    world.block_on(node, |io| async move {
        let end = end_offset(&broker).await.expect("a log");
        open_anew(&broker);
        io.sleep(slow).await;
        let deleted = broker.shard.delete_records(&key(), Some(end - 1)).await;
        deleted.expect("its beginning goes");
        assert_eq!(fetch(&broker).await, Err(Refusal::Loading));
        io.sleep(PAUSES_MAX).await;
        assert_eq!(fetch(&broker).await, Ok(vec![(5, 77)]));
    });
}

#[test]
fn offsets_without_a_topic_id_are_not_of_a_topic_that_is_made_while_they_are_read() {
    let (mut world, node) = world();
    let broker = world.block_on(node, |io| async move {
        let broker = started(&io).await;
        write_long_log(&broker).await;
        broker
    });
    world.fail_next(node, Operation::Read, ".log");
    world.block_on(node, |io| async move {
        open_anew(&broker);
        io.sleep(SHORT).await;
        // Between the first attempt and the second.
        let mut replayer = Replayer::new((*broker.image()).clone());
        let topic_id = replayer.image().topics.id_of("t").expect("it is there");
        let name = "t".to_owned();
        let records = [
            MetadataRecord::from(RemoveTopicRecord { topic_id }),
            MetadataRecord::from(TopicRecord {
                name,
                topic_id: Uuid::from_u128(99),
            }),
        ];
        for record in records {
            let offset = replayer.image().last_offset + 1;
            replayer.replay(offset, 0, &record).expect("sound records");
            broker.apply(&replayer.take_delta()).await;
        }
        assert_eq!(fetch(&broker).await, Err(Refusal::Loading));
        io.sleep(PAUSES_MAX).await;
        assert_eq!(fetch(&broker).await, Ok(vec![]));
    });
}

/// Commits until the disk takes no more; the last offset that was acknowledged.
async fn fill_disk(broker: &Broker) -> i64 {
    for offset in 0..10_000 {
        let text = StrBytes::from_string("x".repeat(4_000));
        if commit_with(broker, 1, offset, text).code().await != Ok(0) {
            return offset - 1;
        }
    }
    panic!("the disk never was full");
}

#[test]
fn a_full_disk_is_waited_out() {
    let (mut world, node) = world();
    let broker = world.block_on(node, |io| async move { started(&io).await });
    world.set_disk_capacity(node, world.disk_used(node));
    let filling = Rc::clone(&broker);
    let acknowledged = world.block_on(node, |io| async move {
        let acknowledged = fill_disk(&filling).await;
        assert!(acknowledged > 0);
        // Nothing can be written, and is not tried without a pause. What was acknowledged can be read at times.
        let mut refused = 0;
        let mut read = 0;
        for _ in 0..300 {
            match commit(&filling, 2, 1).code().await {
                Err(Refusal::NotHere) => refused += 1,
                other => assert_eq!(other, Err(Refusal::Loading)),
            }
            io.sleep(SHORT).await;
            if let Ok(offset) = offset_of(&filling, 1).await {
                assert_eq!(offset, Some(acknowledged));
                read += 1;
            }
        }
        assert!((1..20).contains(&refused), "{refused} attempts");
        assert!(read > 0);
        acknowledged
    });
    world.set_disk_capacity(node, u64::MAX);
    world.block_on(node, |io| async move {
        io.sleep(PAUSES_MAX).await;
        assert_eq!(offset_of(&broker, 1).await, Ok(Some(acknowledged)));
        assert_eq!(commit(&broker, 2, 7).code().await, Ok(0));
    });
    world.crash(node, Crash::PowerLoss);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        assert_eq!(offset_of(&broker, 1).await, Ok(Some(acknowledged)));
        assert_eq!(offset_of(&broker, 2).await, Ok(Some(7)));
    });
}

#[test]
fn a_journal_that_has_failed_is_not_written_to_over_and_over() {
    let (mut world, node) = world();
    let broker = world.block_on(node, |io| async move { started(&io).await });
    world.fail_next(node, Operation::Write, ".journal");
    world.block_on(node, |io| async move {
        let mut pauses = Vec::new();
        for _ in 0..3 {
            assert_eq!(commit(&broker, 1, 5).code().await, Err(Refusal::NotHere));
            let begun = io.now();
            while fetch(&broker).await == Err(Refusal::Loading) {
                io.sleep(Duration::from_millis(1)).await;
            }
            pauses.push(io.now().since(begun));
        }
        assert!(pauses[0] > SHORT, "{pauses:?}");
        assert!(
            pauses.windows(2).all(|pair| pair[1] > pair[0]),
            "{pauses:?}"
        );
    });
}

#[test]
fn a_topic_that_says_it_has_no_room_has_room_for_commits() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = broker(&io, Path::new(FOLDER)).await;
        let topic = ConfigResource::topic(OFFSETS_TOPIC);
        let small = [(topic, "max.message.bytes", "10")];
        let topics = [(OFFSETS_TOPIC, 1), ("t", 10)];
        broker.install(image_of(&topics, &small)).await;
        io.sleep(LONG_ENOUGH).await;
        assert_eq!(commit(&broker, 1, 5).code().await, Ok(0));
        assert_eq!(fetch(&broker).await, Ok(vec![(1, 5)]));
    });
}
