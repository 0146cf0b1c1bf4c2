mod checkpoints;
mod faults;

use std::path::Path;

use bytes::Bytes;
use corelog_shards::io::Io;
use corelog_shards::io::sim::{Crash, Faults, NodeId, World};
use corelog_shards::log::batch::control::{ControlKind, TransactionEnd};
use corelog_shards::log::batch::{BatchBuilder, BatchIter, Codec};
use corelog_shards::shard::OffsetQuery;
use corelog_shards::shard::message::{Append, ReadError};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponseTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{GroupId, OffsetCommitRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::*;
use crate::api::testing::image_of;
use crate::broker::testing::broker;
use crate::cluster::image::{Image, Replayer};
use crate::cluster::records::{PartitionChangeRecord, Record as MetadataRecord, RemoveTopicRecord};
use crate::coordinator::group::records::{OffsetCommitValue, Record};
use crate::coordinator::group::{Input, OFFSETS_TOPIC};
use crate::coordinator::instances::Asked;
use crate::replay::batches_at;

const FOLDER: &str = "/data";
/// For what has to be written, by the simulated clock.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// The partition of the groups, and a topic of which they commit offsets.
fn image() -> Image {
    image_of(&[(OFFSETS_TOPIC, 1), ("t", 10)], &[])
}

fn key() -> PartitionKey {
    let topic = image().topics.id_of(OFFSETS_TOPIC).expect("it is there");
    PartitionKey {
        topic,
        partition: 0,
    }
}

/// A broker that has loaded its coordinator.
async fn started(io: &Io) -> Rc<Broker> {
    let broker = opened(io).await;
    io.sleep(LONG_ENOUGH).await;
    broker
}

async fn opened(io: &Io) -> Rc<Broker> {
    let broker = broker(io, Path::new(FOLDER)).await;
    broker.install(image()).await;
    broker
}

fn world() -> (World, NodeId) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    (world, node)
}

/// Commits offsets of a group; the error codes.
fn commit(broker: &Broker, partition: i32, offset: i64) -> Committing {
    commit_with(broker, partition, offset, StrBytes::default())
}

/// The same with a text.
fn commit_with(broker: &Broker, partition: i32, offset: i64, text: StrBytes) -> Committing {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_metadata(Some(text))
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(StrBytes::from_static_str("t").into())
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_topics(vec![topic]);
    let input = |to| Input::Commit(request, 8, to);
    Committing(broker.groups.ask(&key(), input))
}

struct Committing(Asked<Vec<OffsetCommitResponseTopic>>);

impl Committing {
    async fn code(self) -> Result<i16, Refusal> {
        let topics = self.0.reply().await?;
        Ok(topics[0].partitions[0].error_code)
    }
}

/// All offsets of the group, by partition.
async fn fetch(broker: &Broker) -> Result<Vec<(i32, i64)>, Refusal> {
    let request = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_topics(None);
    let asked = broker.groups.ask(&key(), |to| Input::Fetch(request, to));
    let topics = asked.reply().await?.expect("anybody may read");
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let offsets = partitions.map(|one| (one.partition_index, one.committed_offset));
    Ok(offsets.collect())
}

async fn offset_of(broker: &Broker, partition: i32) -> Result<Option<i64>, Refusal> {
    let offsets = fetch(broker).await?;
    let found = offsets.into_iter().find(|(index, _)| *index == partition);
    Ok(found.map(|(_, offset)| offset))
}

async fn append_all(broker: &Broker, batches: Vec<Bytes>) {
    let io = broker.shard.io();
    for batch in batches {
        let appends = vec![Append::own(key(), batch)];
        let pending = broker.shard.append(appends, io.now()).await;
        for result in pending.wait().await.results {
            result.expect("it is appended");
        }
    }
}

/// As if the coordinator had not known of the log before.
fn open_anew(broker: &Broker) {
    broker.groups.close(&key());
    broker.groups.open(&broker.shard, key(), "it", 0);
}

async fn end_offset(broker: &Broker) -> Result<i64, ReadError> {
    let latest = OffsetQuery::Latest { committed: false };
    let listed = broker.shard.offset_for(&key(), None, latest).await?;
    Ok(listed.offset)
}

#[test]
fn what_was_answered_survives_a_loss_of_power() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        for offset in 0..20 {
            assert_eq!(commit(&broker, 1, offset).code().await, Ok(0));
        }
        assert_eq!(commit(&broker, 2, 7).code().await, Ok(0));
    });
    world.crash(node, Crash::PowerLoss);
    world.start(node, 1, |_, _| async {});
    let offsets = world.block_on(node, |io| async move {
        let broker = started(&io).await;
        fetch(&broker).await
    });
    assert_eq!(offsets, Ok(vec![(1, 19), (2, 7)]));
}

#[test]
fn nobody_is_answered_before_the_log_is_read() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = opened(&io).await;
        assert_eq!(fetch(&broker).await, Err(Refusal::Loading));
        io.sleep(LONG_ENOUGH).await;
        assert_eq!(fetch(&broker).await, Ok(vec![]));
    });
}

#[test]
fn what_comes_during_a_write_is_the_next_one() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        let begun: Vec<_> = (0..10)
            .map(|partition| commit(&broker, partition, 1))
            .collect();
        for committing in begun {
            assert_eq!(committing.code().await, Ok(0));
        }
        // All of them came before the first write had begun.
        let batches = batches_at(&broker.shard, key(), 0).await;
        let bytes = batches.expect("a log");
        let batches = BatchIter::verifying(&bytes);
        let counts: Vec<i32> = batches
            .map(|batch| batch.expect("a batch").record_count())
            .collect();
        assert_eq!(counts, [10]);
    });
}

#[test]
fn what_one_request_changes_is_in_one_batch() {
    /// Together a little more than a batch holds.
    const REQUESTS: i64 = 3;
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        let text = StrBytes::from_string("x".repeat(4_000));
        let partitions = (0..100).map(|_| {
            OffsetCommitRequestPartition::default().with_committed_metadata(Some(text.clone()))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(StrBytes::from_static_str("t").into())
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str("g")))
            .with_topics(vec![topic]);
        let begun = [(); REQUESTS as usize].map(|()| {
            let request = request.clone();
            let input = |to| Input::Commit(request, 8, to);
            Committing(broker.groups.ask(&key(), input))
        });
        for committing in begun {
            assert_eq!(committing.code().await, Ok(0));
        }
        let mut next = 0;
        while next < 100 * REQUESTS {
            let batches = batches_at(&broker.shard, key(), next).await;
            let bytes = batches.expect("a log");
            for batch in BatchIter::verifying(&bytes) {
                let batch = batch.expect("a batch");
                assert_eq!(batch.record_count() % 100, 0);
                next = batch.next_offset();
            }
        }
        assert_eq!(end_offset(&broker).await, Ok(next));
    });
}

#[test]
fn a_question_waits_for_what_it_could_have_seen() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        let committing = commit(&broker, 1, 5);
        let offsets = fetch(&broker).await;
        // Were it answered from memory, a crash could take back what it has told.
        assert_eq!(end_offset(&broker).await, Ok(1));
        assert_eq!(offsets, Ok(vec![(1, 5)]));
        assert_eq!(committing.code().await, Ok(0));
    });
}

#[test]
fn who_waits_too_long_for_a_write_is_told_to_ask_again() {
    let (mut world, node) = world();
    let broker = world.block_on(node, |io| async move { started(&io).await });
    let slow = Duration::from_secs(20);
    world.set_faults(Faults {
        disk_latency: (slow, slow),
        ..Faults::none()
    });
    world.block_on(node, |io| async move {
        let begun = io.now();
        assert_eq!(commit(&broker, 1, 5).code().await, Err(Refusal::NotHere));
        // `offsets.commit.timeout.ms`
        let waited = io.now().since(begun).as_secs();
        assert!((5..20).contains(&waited), "{waited} s");
        let late = fetch(&broker).await;
        assert_eq!(late, Err(Refusal::NotHere));
        io.sleep(4 * slow).await;
        // The write has come to its end, and so has the machine's way.
        assert_eq!(fetch(&broker).await, Ok(vec![(1, 5)]));
    });
}

#[test]
fn what_cannot_be_written_is_taken_back() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        assert_eq!(commit(&broker, 1, 5).code().await, Ok(0));
        // The partition goes from under the coordinator.
        broker.shard.drop_partitions(&[key()]).await;
        let refused = commit(&broker, 1, 6).code().await;
        assert_eq!(refused, Err(Refusal::NotHere));
        io.sleep(LONG_ENOUGH).await;
        assert_eq!(fetch(&broker).await, Err(Refusal::NotHere));
    });
}

#[test]
fn a_coordinator_leaves_with_its_partition() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        assert_eq!(commit(&broker, 1, 5).code().await, Ok(0));
        let late = commit(&broker, 1, 6);
        let mut replayer = Replayer::new(image());
        let removed = MetadataRecord::from(RemoveTopicRecord {
            topic_id: key().topic,
        });
        let offset = image().last_offset + 1;
        replayer.replay(offset, 0, &removed).expect("sound records");
        broker.apply(&replayer.take_delta()).await;
        assert_eq!(fetch(&broker).await, Err(Refusal::NotHere));
        assert!(broker.groups.partitions().is_empty());
        // Whoever waited is not left waiting.
        let _ = late.code().await;
    });
}

#[test]
fn a_new_leader_epoch_begins_with_the_log() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        assert_eq!(commit(&broker, 1, 5).code().await, Ok(0));
        let log_end = || broker.shard.facts_of(&key()).expect("a log").end_offset;
        let before = log_end();
        let late = commit(&broker, 1, 6);
        while log_end() == before {
            io.after_ready_tasks().await;
        }
        let mut replayer = Replayer::new(image());
        let change = MetadataRecord::from(PartitionChangeRecord {
            topic_id: key().topic,
            leader: 1,
            ..PartitionChangeRecord::default()
        });
        let offset = image().last_offset + 1;
        replayer.replay(offset, 0, &change).expect("sound records");
        broker.apply(&replayer.take_delta()).await;
        assert_eq!(fetch(&broker).await, Err(Refusal::Loading));
        io.sleep(LONG_ENOUGH).await;
        // What had been begun before is in the log, whatever its client was told.
        let _ = late.code().await;
        assert_eq!(fetch(&broker).await, Ok(vec![(1, 6)]));
    });
}

fn record(partition: i32, offset: i64) -> Record {
    Record::OffsetCommit {
        group: "g".to_owned(),
        topic: "t".to_owned(),
        partition,
        value: Some(OffsetCommitValue {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            // Not to be forgotten during a test.
            commit_timestamp: i64::MAX / 2,
            expire_timestamp: -1,
            topic_id: Uuid::nil(),
        }),
    }
}

fn fill(mut batch: BatchBuilder, records: &[Record]) -> Bytes {
    let mut scratch = Vec::new();
    for record in records {
        let (key, value) = record.encode(&mut scratch).expect("a sound record");
        batch.append(1, Some(key), value).expect("it fits");
    }
    Bytes::from(batch.finish().expect("a batch"))
}

fn plain(records: &[Record]) -> Bytes {
    fill(BatchBuilder::uncompressed(), records)
}

fn transactional(producer_id: i64, sequence: i32, records: &[Record]) -> Bytes {
    let batch = BatchBuilder::uncompressed().producer(producer_id, 0, sequence);
    fill(batch.transactional(), records)
}

fn marker(producer_id: i64, kind: ControlKind) -> Bytes {
    let end = TransactionEnd {
        is_aborted: kind == ControlKind::Abort,
        coordinator_epoch: 0,
    };
    let batch = BatchBuilder::uncompressed().producer(producer_id, 0, -1);
    let mut batch = batch.transactional().control();
    batch
        .append(1, Some(&kind.key()), Some(&end.value()))
        .expect("it fits");
    Bytes::from(batch.finish().expect("a batch"))
}

/// The offsets that are loaded from a log of these batches.
fn loaded(batches: Vec<Bytes>) -> Result<Vec<(i32, i64)>, Refusal> {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        append_all(&broker, batches).await;
        open_anew(&broker);
        io.sleep(LONG_ENOUGH).await;
        fetch(&broker).await
    })
}

#[test]
fn logs_of_kafka_are_understood() {
    let many: Vec<Record> = (0..5_000).map(|offset| record(3, offset)).collect();
    let codecs = [
        Codec::Snappy,
        Codec::Lz4 { level: 9 },
        Codec::Zstd { level: 3 },
    ];
    let compressed = codecs.map(|codec| fill(BatchBuilder::new(codec).expect("a codec"), &many));
    let mut batches = vec![plain(&[record(1, 1), record(2, 2)])];
    batches.extend(compressed);
    assert_eq!(loaded(batches), Ok(vec![(1, 1), (2, 2), (3, 4_999)]));
}

#[test]
fn transactions_count_from_their_commits_on() {
    use ControlKind::{Abort, Commit};
    let batches = vec![
        plain(&[record(1, 1), record(2, 1), record(3, 1), record(4, 1)]),
        transactional(7, 0, &[record(1, 2), record(2, 2)]),
        transactional(8, 0, &[record(3, 2)]),
        transactional(9, 0, &[record(4, 2)]),
        // Newer than what the transaction brings later.
        plain(&[record(2, 3)]),
        marker(7, Commit),
        marker(8, Abort),
    ];
    let offsets = loaded(batches);
    assert_eq!(offsets, Ok(vec![(1, 2), (2, 3), (3, 1), (4, 1)]));
}

#[test]
fn a_log_that_makes_no_sense_is_not_served() {
    let mut batch = BatchBuilder::uncompressed();
    // A version of the value that nobody knows.
    let key = [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 1];
    batch
        .append(1, Some(&key), Some(&[0, 99]))
        .expect("it fits");
    let unknown = Bytes::from(batch.finish().expect("a batch"));
    let batches = vec![plain(&[record(1, 1)]), unknown];
    assert_eq!(loaded(batches), Err(Refusal::NotHere));
}
