//! One shard in a simulated world, looked at from inside.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;

use bytes::Bytes;
use uuid::Uuid;

use super::message::{Acknowledged, Append, ReadSpec};
use super::*;
use crate::io::futures::{first_of, poll_once};
use crate::io::sim::{Crash, Faults, Operation, World};
use crate::journal::Durability;
use crate::log::batch::{Batch, BatchBuilder, BatchHeader};
use crate::log::config::LogConfig;
use crate::mesh::lanes;

/// Longer than anything takes that ends.
const A_WHILE: Duration = Duration::from_secs(60);

pub(super) fn config() -> ShardConfig {
    ShardConfig {
        folders: vec![FolderConfig::only(Uuid::nil(), "/data")],
        journal_bytes: 8 << 20,
        tail_cache_bytes: 1 << 20,
        open_files_max: 4,
        memory_flush: Duration::from_millis(10),
        retention_check: Duration::from_secs(3600),
        producer_expiration_ms: i64::MAX,
        folder_delete_delay: Duration::ZERO,
        cleaner: CleanerConfig::default(),
        on_rot: RotPolicy::Refuse,
    }
}

/// The only shard of a node.
pub(super) async fn started(io: &Io, config: ShardConfig) -> Shard {
    let ends = lanes(1).pop().expect("one shard");
    let opened = open(io.clone(), 0, Route::new(1), config, ends).await;
    opened.unwrap_or_else(|error| panic!("{error}")).shard
}

/// Runs `job` on a node with one shard.
pub(super) fn with_shard<F: Future<Output = ()> + 'static>(
    config: ShardConfig,
    job: impl FnOnce(Shard) -> F + 'static,
) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        let shard = started(&io, config).await;
        job(shard).await;
    });
}

pub(super) fn key(topic: u128) -> PartitionKey {
    PartitionKey {
        // None of them is the metadata log.
        topic: Uuid::from_u128(0x100 + topic),
        partition: 0,
    }
}

pub(super) async fn open_partition(shard: &Shard, topic: u128, durability: Durability) {
    let config = LogConfig {
        segment_bytes: 1 << 20,
        durability,
        ..LogConfig::default()
    };
    let dir = format!("topic{topic}-0");
    let opened = shard.open_partition(key(topic), &dir, Uuid::nil(), 0, config);
    opened.await.expect("a partition");
}

pub(super) fn append_to(topic: u128, value_bytes: usize) -> Append {
    append_of(BatchBuilder::uncompressed(), topic, value_bytes)
}

fn append_of(mut batch: BatchBuilder, topic: u128, value_bytes: usize) -> Append {
    let value = vec![1; value_bytes];
    batch.append(1, None, Some(&value)).expect("a record");
    let bytes = batch.finish().expect("a batch");
    Append::own(key(topic), Bytes::from(bytes))
}

/// What comes of a request; panics if it is never answered.
async fn answered(shard: &Shard, pending: PendingAppend) -> Acknowledged {
    let answer = Cell::new(None);
    let waiting = async { answer.set(Some(pending.wait().await)) };
    first_of(pin!(waiting), pin!(shard.io().sleep(A_WHILE))).await;
    answer.take().expect("an answer")
}

pub(super) async fn append(shard: &Shard, appends: Vec<Append>) {
    let pending = shard.append(appends, shard.io().now()).await;
    for result in answered(shard, pending).await.results {
        result.expect("appended");
    }
}

pub(super) fn spec(topic: u128, offset: i64) -> ReadSpec {
    ReadSpec {
        key: key(topic),
        offset,
        bytes_max: 1 << 20,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: false,
    }
}

/// The same in a log folder, with the default settings.
pub(super) async fn open_in(shard: &Shard, topic: u128, folder: Uuid) {
    let dir = format!("topic{topic}-0");
    let config = LogConfig::default();
    let opened = shard.open_partition(key(topic), &dir, folder, 0, config);
    opened.await.expect("a partition");
}

/// How many batches a topic has, of one record each, as a reader gets them.
pub(super) async fn read_all(shard: &Shard, topic: u128) -> i64 {
    read_from(shard, topic, 0).await
}

/// Where a topic ends, of one record each batch, as a reader gets them from an offset on.
pub(super) async fn read_from(shard: &Shard, topic: u128, mut offset: i64) -> i64 {
    loop {
        let from = ReadSpec {
            offset,
            ..spec(topic, 0)
        };
        let read = shard.read(&[from]).await.remove(0).expect("data");
        let whole = read.batches.concat();
        let mut rest = &whole[..];
        if rest.is_empty() {
            return offset;
        }
        while !rest.is_empty() {
            let batch = Batch::first(rest).expect("a batch");
            batch.check_crc().expect("sound");
            assert_eq!(batch.header().base_offset(), offset);
            rest = &rest[batch.bytes().len()..];
            offset += 1;
        }
    }
}

#[test]
fn a_journal_of_any_size_goes_on() {
    let odd = ShardConfig {
        journal_bytes: 1_000_003,
        ..config()
    };
    with_shard(odd, |shard| async move {
        open_partition(&shard, 1, Durability::Sync).await;
        for _ in 0..100 {
            append(&shard, vec![append_to(1, 20_000)]).await;
        }
    });
}

#[test]
fn deleted_partitions_leave_nothing_in_memory() {
    with_shard(config(), |shard| async move {
        open_partition(&shard, 1, Durability::Sync).await;
        append(&shard, vec![append_to(1, 20_000)]).await;
        let (unsettled, cached) = (shard.unsettled_bytes(), shard.cached_bytes());
        for topic in 2..20 {
            open_partition(&shard, topic, Durability::Sync).await;
            let dropped = Rc::downgrade(&shard.partition(&key(topic)).expect("it is open"));
            let mut pending = VecDeque::new();
            for _ in 0..topic {
                let append = append_to(topic, 40_000);
                pending.push_back(shard.append(vec![append], shard.io().now()).await);
            }
            for pending in pending {
                answered(&shard, pending).await;
            }
            shard.drop_partitions(&[key(topic)]).await;
            shard.io().sleep(Duration::from_secs(1)).await;
            assert_eq!(dropped.strong_count(), 0, "{topic} is still there");
            let now = (shard.unsettled_bytes(), shard.cached_bytes());
            assert_eq!(now, (unsettled, cached), "after {topic}");
        }
    });
}

#[test]
fn the_cache_keeps_its_budget_when_partitions_go_while_they_are_settled() {
    with_shard(config(), |shard| async move {
        open_partition(&shard, 1, Durability::Sync).await;
        for topic in 2..10 {
            open_partition(&shard, topic, Durability::Sync).await;
            for _ in 0..topic * 7 {
                let appends = vec![append_to(1, 30_000), append_to(topic, 40_000)];
                append(&shard, appends).await;
            }
            shard.drop_partitions(&[key(topic)]).await;
            let kept = shard.partition(&key(1)).expect("it is open");
            let state = kept.state.borrow();
            assert_eq!(shard.cached_bytes(), state.log.tail().backing_bytes());
            assert_eq!(shard.unsettled_bytes(), state.log.unsettled_bytes());
        }
    });
}

#[test]
fn retention_leaves_no_trace_of_segments_in_memory() {
    let roomy = ShardConfig {
        tail_cache_bytes: 1 << 30,
        ..config()
    };
    with_shard(roomy, |shard| async move {
        open_partition(&shard, 1, Durability::Sync).await;
        for _ in 0..100 {
            append(&shard, vec![append_to(1, 60_000)]).await;
        }
        shard.io().sleep(Duration::from_secs(1)).await;
        let deleted = shard.delete_records(&key(1), None).await;
        deleted.expect("deleted");
        // The files follow in the background.
        shard.io().sleep(Duration::from_secs(1)).await;
        let partition = shard.partition(&key(1)).expect("it is open");
        let first = partition.state.borrow().log.segments()[0].base_offset;
        assert!(first > 0);
        let remembered = shard.0.cache.segments();
        assert_eq!(remembered.into_iter().find(|base| *base < first), None);
    });
}

/// Until its topic is known, a partition that recovery has found has the default settings.
#[test]
fn retention_leaves_partitions_alone_that_nobody_has_opened() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let in_run = |world: &mut World, is_second: bool| {
        world.start(node, 1, |_, _| async {});
        let read = world.block_on(node, move |io| async move {
            let shard = started(&io, config()).await;
            shard.enforce_retention().await;
            let forever = LogConfig {
                retention_ms: None,
                ..LogConfig::default()
            };
            let opened = shard.open_partition(key(1), "topic1-0", Uuid::nil(), 0, forever);
            opened.await.expect("a partition");
            if !is_second {
                append(&shard, vec![append_to(1, 10)]).await;
            }
            read_all(&shard, 1).await
        });
        world.crash(node, Crash::Kill);
        read
    };
    assert_eq!(in_run(&mut world, false), 1);
    assert_eq!(in_run(&mut world, true), 1);
}

/// Larger than what a group of the journal takes beside others.
const WHOLE_GROUP_BYTES: usize = 3 << 20;

fn with_large_journal<F: Future<Output = ()> + 'static>(job: impl FnOnce(Shard) -> F + 'static) {
    let large = ShardConfig {
        journal_bytes: 128 << 20,
        ..config()
    };
    with_shard(large, |shard| async move {
        open_partition(&shard, 1, Durability::Sync).await;
        open_partition(&shard, 2, Durability::Written).await;
        open_partition(&shard, 3, Durability::Memory).await;
        // The first group of a file is synced anyway.
        append(&shard, vec![append_to(1, WHOLE_GROUP_BYTES)]).await;
        job(shard).await;
    });
}

#[test]
fn a_request_to_topics_of_several_classes_is_answered() {
    with_large_journal(|shard| async move {
        for other in [2, 3] {
            let large = append_to(1, WHOLE_GROUP_BYTES);
            append(&shard, vec![large, append_to(other, 10)]).await;
        }
    });
}

#[test]
fn a_repeated_batch_is_answered_whatever_was_appended_behind_it() {
    with_large_journal(|shard| async move {
        for (sequence, other) in [(0, 2), (1, 3)] {
            let large = || {
                let batch = BatchBuilder::uncompressed().producer(7, 0, sequence);
                append_of(batch, 1, WHOLE_GROUP_BYTES)
            };
            let mut pending = Vec::new();
            for append in [large(), append_to(other, 10), large()] {
                pending.push(shard.append(vec![append], shard.io().now()).await);
            }
            for pending in pending {
                let answer = answered(&shard, pending).await;
                answer.results[0].as_ref().expect("appended");
            }
        }
    });
}

#[test]
fn a_repeated_batch_is_shown_when_it_is_acknowledged_in_a_weaker_class_than_its_first_copy() {
    with_shard(config(), |shard| async move {
        for (topic, weaker) in [(1, Durability::Written), (2, Durability::Memory)] {
            open_partition(&shard, topic, Durability::Sync).await;
            let copy = || append_of(BatchBuilder::uncompressed().producer(7, 0, 0), topic, 10);
            let first = shard.append(vec![copy()], shard.io().now()).await;
            let config = LogConfig {
                durability: weaker,
                ..LogConfig::default()
            };
            shard.set_config(&key(topic), config);
            append(&shard, vec![copy()]).await;
            assert_eq!(read_all(&shard, topic).await, 1, "{weaker:?}");
            answered(&shard, first).await;
        }
    });
}

#[test]
fn what_a_reader_gets_is_counted_once() {
    let forgetful = ShardConfig {
        tail_cache_bytes: 0,
        ..config()
    };
    with_shard(forgetful, |shard| async move {
        for topic in [1, 2] {
            open_partition(&shard, topic, Durability::Sync).await;
        }
        append(&shard, vec![append_to(1, 10)]).await;
        for _ in 0..50 {
            append(&shard, vec![append_to(2, 60_000)]).await;
        }
        shard.io().sleep(Duration::from_secs(1)).await;
        let read = shard.read(&[spec(1, 0), spec(2, 0)]).await;
        let got = read.iter().map(|data| data.as_ref().expect("data"));
        let got: Vec<u64> = got
            .map(|data| data.batches.iter().map(|batch| batch.len() as u64).sum())
            .collect();
        let metrics = &shard.0.metrics;
        let counted = [
            metrics.read_memory_bytes.get(),
            metrics.read_disk_bytes.get(),
        ];
        assert_eq!(counted, got[..], "from memory and from disk");
        let partition = shard.partition(&key(1)).expect("it is open");
        assert_eq!(partition.traffic.get().bytes_out, got[0]);
    });
}

#[test]
fn a_large_read_comes_in_chunks_that_follow_each_other() {
    const BATCHES: i64 = 80;
    let forgetful = ShardConfig {
        tail_cache_bytes: 0,
        ..config()
    };
    with_shard(forgetful, |shard| async move {
        open_partition(&shard, 1, Durability::Sync).await;
        for _ in 0..BATCHES {
            append(&shard, vec![append_to(1, 60_000)]).await;
        }
        shard.io().sleep(Duration::from_secs(1)).await;
        let large = ReadSpec {
            bytes_max: 50 << 20,
            ..spec(1, 0)
        };
        let mut offset = 0;
        while offset < BATCHES {
            let from = ReadSpec {
                offset,
                ..large.clone()
            };
            let read = shard.read(&[from]).await.remove(0).expect("data");
            assert!(read.batches.len() > 2 || offset > 0, "chunks of a megabyte");
            let whole = read.batches.concat();
            let mut rest = &whole[..];
            while !rest.is_empty() {
                let batch = BatchHeader::parse(rest).expect("a batch");
                assert_eq!(batch.base_offset(), offset);
                rest = &rest[batch.size_bytes()..];
                offset += 1;
            }
        }
    });
}

#[test]
fn a_partition_keeps_its_folder_if_the_journal_does_not_take_its_end() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    let shard = world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        append(&shard, vec![append_to(1, 100_000)]).await;
        let partition = shard.partition(&key(1)).expect("it is open");
        shard.anchor_anew(&partition).await;
        assert!(shard.anchor_synced(&partition).await);
        shard
    });
    world.fail_next(node, Operation::Write, ".journal");
    let names = world.block_on(node, |io| async move {
        shard.drop_partitions(&[key(1)]).await;
        assert!(shard.has_failed());
        io.sleep(A_WHILE).await;
        let entries = io.list_dir(Path::new("/data")).await.expect("listed");
        entries.into_iter().map(|entry| entry.name)
    });
    assert!(names.into_iter().any(|name| name == "topic1-0"));
}

/// Each partition has a chunk that is not full, and some of it is not in its segment.
#[test]
fn many_partitions_take_no_more_memory_than_the_cache_has_times_three() {
    const PARTITIONS: u128 = 200;
    with_shard(config(), |shard| async move {
        for topic in 1..=PARTITIONS {
            open_partition(&shard, topic, Durability::Written).await;
        }
        for _ in 0..90 {
            let appends = (1..=PARTITIONS).map(|topic| append_to(topic, 1_000));
            append(&shard, appends.collect()).await;
            let held = shard.cached_bytes() as u64 - shard.unsettled_bytes();
            let bound = 3 * shard.cached_bytes_max() as u64;
            assert!(held <= bound, "{held} of {bound} bytes");
        }
    });
}

/// However much the cache holds that may be forgotten.
#[test]
fn a_busy_partition_has_large_chunks_among_many_idle_ones() {
    let roomy = ShardConfig {
        tail_cache_bytes: 8 << 20,
        ..config()
    };
    with_shard(roomy, |shard| async move {
        for topic in 1..=200 {
            open_partition(&shard, topic, Durability::Written).await;
        }
        for round in 1..=8_i64 {
            for _ in 0..30 {
                let appends = (0..40).map(|_| append_to(1, 1_000));
                append(&shard, appends.collect()).await;
                shard.io().sleep(Duration::from_millis(10)).await;
            }
            let end = 1_200 * round;
            let newest = ReadSpec {
                offset: end - 300,
                ..spec(1, 0)
            };
            let read = shard.read(&[newest]).await.remove(0).expect("data");
            let slices = read.batches.len();
            assert!(slices <= 4, "{slices} slices of 300 KB, round {round}");
        }
    });
}

/// The second one finds nothing left to do, and the first one is on its way to the disk.
#[test]
fn records_that_are_deleted_twice_at_a_time_stay_deleted() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        append(&shard, vec![append_to(1, 10), append_to(1, 10)]).await;
        let its = key(1);
        let mut first = pin!(shard.delete_records(&its, Some(1)));
        assert!(poll_once(first.as_mut()).await.is_none());
        let second = shard.delete_records(&its, Some(1)).await;
        assert_eq!(second.expect("deleted"), 1);
    });
    world.crash(node, Crash::PowerLoss);
    world.start(node, 1, |_, _| async {});
    let start = world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        shard.facts_of(&key(1)).expect("it is open").start_offset
    });
    assert_eq!(start, 1);
}
