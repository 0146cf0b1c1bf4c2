use std::time::Duration;

use super::*;
use crate::io::Io;
use crate::io::sim::{Faults, World};
use crate::log::batch::control::{ControlKind, TransactionEnd};
use crate::log::batch::{BatchBuilder, BatchIter};
use crate::mesh::lanes;
use crate::route::Route;
use crate::shard::message::{ReadData, ReadSpec};
use crate::shard::{RotPolicy, ShardConfig, open};

const KEY: PartitionKey = PartitionKey {
    topic: Uuid::from_u128(9),
    partition: 0,
};
const DIR: &str = "/data/t-0";

fn data(base: i64, producer_id: Option<i64>) -> Vec<u8> {
    let mut batch = BatchBuilder::uncompressed().at(base, 0);
    if let Some(id) = producer_id {
        batch = batch.producer(id, 0, 0).transactional();
    }
    batch.append(1, None, Some(b"value")).expect("a record");
    batch.finish().expect("a batch")
}

fn marker(base: i64, producer_id: i64, is_aborted: bool) -> Vec<u8> {
    let kind = match is_aborted {
        true => ControlKind::Abort,
        false => ControlKind::Commit,
    };
    let end = TransactionEnd {
        is_aborted,
        coordinator_epoch: 3,
    };
    let batch = BatchBuilder::uncompressed().at(base, 0);
    let mut batch = batch.producer(producer_id, 0, -1).transactional().control();
    let (key, value) = (kind.key(), end.value());
    batch.append(1, Some(&key), Some(&value)).expect("a record");
    batch.finish().expect("a batch")
}

async fn opened(io: &Io) -> Shard {
    let config = ShardConfig {
        log_dir: "/data".into(),
        journal_bytes: 8 << 20,
        tail_cache_bytes: 1 << 20,
        open_files_max: 4,
        memory_flush: Duration::from_millis(10),
        retention_check: Duration::from_secs(3600),
        producer_expiration_ms: i64::MAX,
        on_rot: RotPolicy::Refuse,
    };
    let ends = lanes(1).pop().expect("one shard");
    let opened = open(io.clone(), 0, Route::new(1), config, ends).await;
    let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
    let config = LogConfig::default();
    let opened = shard.open_partition(KEY, "t-0", 0, config).await;
    opened.expect("a partition");
    shard
}

/// Everything that a reader of committed records gets.
async fn read_committed(shard: &Shard) -> ReadData {
    let spec = ReadSpec {
        key: KEY,
        offset: 0,
        bytes_max: 1 << 20,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: true,
    };
    let read = shard.read(&[spec]).await.pop();
    read.expect("one answer").expect("a log")
}

/// Last stable offset and end of what a reader of committed records gets of a folder of Kafka with
/// these batches: when it is taken over, and after a restart.
fn committed(batches: &[Vec<u8>]) -> [(i64, i64); 2] {
    let log = batches.concat();
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        io.create_dir_all(Path::new(DIR)).await.expect("a folder");
        let path = Path::new(DIR).join("00000000000000000000.log");
        io.write_small(&path, &log).await.expect("a file");
        let mut found = [(0, 0); 2];
        for found in &mut found {
            let shard = opened(&io).await;
            let read = read_committed(&shard).await;
            let bytes = read.batches.concat();
            let end = BatchIter::new(&bytes)
                .last()
                .map_or(0, |batch| batch.expect("a good batch").next_offset());
            *found = (read.probe.last_stable_offset, end);
            shard.stop().await;
        }
        found
    })
}

#[test]
fn transactions_of_kafka_that_are_decided_are_stable() {
    let all = [(3, 3); 2];
    for is_aborted in [false, true] {
        let batches = [data(0, Some(7)), marker(1, 7, is_aborted), data(2, None)];
        assert_eq!(committed(&batches), all, "aborted: {is_aborted}");
    }
}

#[test]
fn a_transaction_of_kafka_that_is_open_holds_readers_of_committed_records_back() {
    // The marker is that of another producer.
    let batches = [
        data(0, Some(8)),
        data(1, Some(7)),
        marker(2, 8, false),
        data(3, None),
    ];
    assert_eq!(committed(&batches), [(1, 1); 2]);
}

#[test]
fn a_marker_counts_if_it_ends_a_transaction() {
    let end = |bytes: &[u8]| TransactionEnd::of(Batch::first(bytes).expect("a batch"));
    let expected = TransactionEnd {
        is_aborted: true,
        coordinator_epoch: 3,
    };
    assert_eq!(end(&marker(5, 7, true)), Some(expected));
    assert_eq!(end(&data(5, Some(7))), None);
}
