//! Single passes over the log of one partition, looked at from inside.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::io::OpenMode;
use crate::io::sim::{Faults, Operation, World};
use crate::journal::Durability;
use crate::log::aborted::{AbortedTransaction, AbortedTransactions};
use crate::log::batch::control::{ControlKind, TransactionEnd};
use crate::log::batch::{BatchBuilder, BatchIter, Records};
use crate::log::config::{CompactionConfig, LogConfig};
use crate::log::segment_name::{FileKind, SegmentFile};
use crate::shard::ShardConfig;
use crate::shard::message::{Append, ReadSpec};
use crate::shard::tests::{append, append_to, config, key, spec, started, with_shard};

mod extremes;

const DELETE_RETENTION: Duration = Duration::from_secs(10);

/// Passes are made by the tests alone, over logs that are not in memory.
fn quiet() -> ShardConfig {
    ShardConfig {
        tail_cache_bytes: 0,
        cleaner: CleanerConfig {
            is_enabled: false,
            ..CleanerConfig::default()
        },
        ..config()
    }
}

fn compacted(segment_bytes: u32) -> LogConfig {
    LogConfig {
        segment_bytes,
        compaction: Some(CompactionConfig {
            when: Settings {
                dirty_ratio_min: 0.0,
                lag_min_ms: 0,
                lag_max_ms: i64::MAX,
            },
            delete_retention_ms: DELETE_RETENTION.as_millis() as i64,
        }),
        file_delete_delay: Duration::ZERO,
        durability: Durability::Sync,
        ..LogConfig::default()
    }
}

async fn opened(shard: &Shard, segment_bytes: u32) -> Rc<Partition> {
    opened_as(shard, 1, compacted(segment_bytes)).await
}

async fn opened_as(shard: &Shard, topic: u128, config: LogConfig) -> Rc<Partition> {
    let (key, dir) = (key(topic), format!("topic{topic}-0"));
    let opened = shard.open_partition(key, &dir, uuid::Uuid::nil(), 0, config);
    opened.await.expect("a partition");
    shard.partition(&key).expect("it is open")
}

fn of(batch: BatchBuilder, key_of_record: &[u8], value: &[u8]) -> Append {
    let mut batch = batch;
    batch
        .append(1, Some(key_of_record), Some(value))
        .expect("a record");
    let bytes = batch.finish().expect("a batch");
    Append::own(key(1), Bytes::from(bytes))
}

fn in_transaction(sequence: i32) -> BatchBuilder {
    let batch = BatchBuilder::uncompressed().producer(7, 0, sequence);
    batch.transactional()
}

fn marker(kind: ControlKind) -> Append {
    let end = TransactionEnd {
        is_aborted: kind == ControlKind::Abort,
        coordinator_epoch: 0,
    };
    of(in_transaction(-1).control(), &kind.key(), &end.value())
}

/// Fills segments until there are so many finished ones.
async fn fill(shard: &Shard, partition: &Partition, finished: usize) {
    while candidates(&partition.state.borrow()).len() < finished {
        let Append { batch, .. } = append_to(1, 60_000);
        append(shard, vec![Append::own(partition.key, batch)]).await;
        shard.io().sleep(Duration::from_millis(10)).await;
    }
}

/// A pass over all finished segments.
async fn pass(shard: &Shard, partition: &Rc<Partition>) {
    let segments = candidates(&partition.state.borrow());
    let plan = plan(0, segments.last().expect("some").next_offset);
    shard.compact(partition, &plan).await.expect("compacted");
}

fn plan(from: i64, to: i64) -> Plan {
    Plan {
        from,
        to,
        clean_bytes: 0,
        dirty_bytes: 1,
        is_overdue: false,
    }
}

#[test]
fn a_part_that_ends_in_a_gap_is_compacted_to_its_end() {
    with_shard(quiet(), |shard| async move {
        let partition = opened(&shard, 200_000).await;
        append(&shard, vec![of(BatchBuilder::uncompressed(), b"a", b"1")]).await;
        fill(&shard, &partition, 2).await;
        // From now on segments stay as they are.
        shard.set_config(&key(1), compacted(100));
        pass(&shard, &partition).await;
        // As after a crash before the pass had ended, with a setting that leaves the second segment alone.
        let second = partition.state.borrow().log.segments()[1].base_offset;
        let log = || partition.state.borrow();
        partition.state.borrow_mut().log.set_first_dirty_offset(0);
        let again = shard.compact(&partition, &plan(0, second)).await;
        again.expect("compacted");
        assert_eq!(log().log.first_dirty_offset(), second);
    });
}

#[test]
fn readers_hear_nothing_of_aborted_transactions_of_which_nothing_is_left() {
    with_shard(quiet(), |shard| async move {
        let partition = opened(&shard, 200_000).await;
        append(
            &shard,
            vec![
                of(in_transaction(0), b"a", b"aborted"),
                marker(ControlKind::Abort),
                of(in_transaction(1), b"a", b"committed"),
                marker(ControlKind::Commit),
            ],
        )
        .await;
        fill(&shard, &partition, 1).await;
        let aborted = AbortedTransaction {
            producer_id: 7,
            first_offset: 0,
            last_offset: 1,
            last_stable_offset: 2,
        };
        *partition.aborted.borrow_mut() = Some(AbortedTransactions::new(vec![aborted]));
        let committed = ReadSpec {
            committed: true,
            ..spec(1, 0)
        };
        let read = async || {
            let data = shard.read(std::slice::from_ref(&committed)).await.remove(0);
            data.expect("data")
        };
        assert_eq!(read().await.aborted, [aborted]);
        // The records go, the marker gets its horizon, the marker goes.
        for _ in 0..3 {
            pass(&shard, &partition).await;
            shard.io().sleep(DELETE_RETENTION).await;
        }
        let data = read().await;
        assert_eq!(data.aborted, []);
        let bytes = data.batches.concat();
        let first = BatchIter::new(&bytes).next().expect("some").expect("sound");
        let mut records = Records::new(first).expect("records");
        let record = records.next().expect("sound").expect("one");
        assert_eq!((record.offset, record.value), (2, Some(&b"committed"[..])));
    });
}

#[test]
fn segments_are_removed_with_all_that_an_unfinished_swap_has_left() {
    with_shard(quiet(), |shard| async move {
        let partition = opened(&shard, 200_000).await;
        fill(&shard, &partition, 2).await;
        pass(&shard, &partition).await;
        // As if the old files could not be removed.
        let left = SegmentFile::new(1, FileKind::Log);
        let path = shard.0.store.dir(&partition).join(left.name());
        let file = shard.io().open(&path, OpenMode::CREATE).await;
        drop(file.expect("made"));
        let base = partition.state.borrow().log.segments()[0].base_offset;
        partition
            .state
            .borrow_mut()
            .log
            .segment_mut(base)
            .expect("the first")
            .is_swapping = true;
        let deleted = shard.delete_records(&key(1), None).await;
        deleted.expect("deleted");
        shard.io().sleep(Duration::from_secs(1)).await;
        let entries = shard.io().list_dir(Path::new("/data/topic1-0")).await;
        let first = partition.state.borrow().log.segments()[0].base_offset;
        for entry in entries.expect("listed") {
            let file = SegmentFile::parse(&entry.name);
            assert!(
                file.is_none_or(|file| file.base_offset >= first),
                "{}",
                entry.name
            );
        }
    });
}

#[test]
fn a_log_that_is_idle_is_compacted_once() {
    with_shard(quiet(), |shard| async move {
        let partition = opened(&shard, 200_000).await;
        append(&shard, vec![of(BatchBuilder::uncompressed(), b"a", b"1")]).await;
        fill(&shard, &partition, 3).await;
        assert!(shard.compact_next().await);
        assert!(!shard.compact_next().await);
        assert!(!partition.compaction.get().is_held_up());
    });
}

/// How far a log is compacted, and where its finished segments end.
fn progress(partition: &Partition) -> (i64, i64) {
    let state = partition.state.borrow();
    let end = candidates(&state).last().map_or(0, |last| last.next_offset);
    (state.log.first_dirty_offset(), end)
}

#[test]
fn a_log_that_the_disk_fails_holds_up_no_other() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    let (shard, failing, sound) = world.block_on(node, |io| async move {
        let shard = started(&io, quiet()).await;
        let failing = opened_as(&shard, 1, compacted(200_000)).await;
        let sound = opened_as(&shard, 2, compacted(200_000)).await;
        fill(&shard, &failing, 2).await;
        fill(&shard, &sound, 2).await;
        (shard, failing, sound)
    });
    for _ in 0..5 {
        world.fail_next(node, Operation::Read, "topic1-0");
    }
    shard.set_cleaner(CleanerConfig::default());
    world.run_for(Duration::from_secs(20));
    let (compacted, end) = progress(&sound);
    assert_eq!(compacted, end);
    assert_eq!(progress(&failing).0, 0);
    let facts = |topic| {
        let facts = shard.facts_of(&key(topic)).expect("it is there");
        facts.compaction.expect("it is compacted")
    };
    let (of_sound, of_failing) = (facts(2), facts(1));
    assert_eq!(
        (of_sound.first_dirty_offset, of_sound.dirty_bytes),
        (end, 0)
    );
    assert!(!of_sound.is_held_up && of_sound.last_pass.is_some());
    assert!(of_failing.is_held_up && of_failing.last_pass.is_none());
    assert_eq!(of_failing.dirty_ratio(), 1.0);
    // Pauses of 15 s and twice, 4, 8 and 16 times that.
    world.run_for(Duration::from_secs(430));
    assert_eq!(progress(&failing).0, 0);
    world.run_for(Duration::from_secs(150));
    let (compacted, end) = progress(&failing);
    assert_eq!(compacted, end);
    let of_failing = facts(1);
    assert!(!of_failing.is_held_up && of_failing.last_pass.is_some());
    assert_eq!(of_failing.dirty_ratio(), 0.0);
}

#[test]
fn a_pass_ends_when_what_it_is_about_was_removed() {
    with_shard(quiet(), |shard| async move {
        let partition = opened(&shard, 200_000).await;
        fill(&shard, &partition, 3).await;
        // Each chunk that is read takes a second or more.
        shard.set_cleaner(CleanerConfig {
            io_bytes_a_second: Some(200_000),
            ..quiet().cleaner
        });
        let passing = shard.clone();
        shard.io().spawn("a pass", async move {
            assert!(passing.compact_next().await);
        });
        shard.io().sleep(Duration::from_millis(100)).await;
        let deleted = shard.delete_records(&key(1), None).await;
        deleted.expect("deleted");
        shard.io().sleep(Duration::from_secs(60)).await;
        assert!(!partition.compaction.get().is_held_up());
    });
}

const SLOWLY: CleanerConfig = CleanerConfig {
    is_enabled: true,
    backoff: Duration::from_millis(1),
    map_bytes_max: 1 << 20,
    io_bytes_a_second: Some(1),
};

#[test]
fn a_pass_that_is_under_way_goes_by_the_rate_of_the_moment() {
    with_shard(quiet(), |shard| async move {
        let partition = opened(&shard, 200_000).await;
        fill(&shard, &partition, 2).await;
        shard.set_cleaner(SLOWLY);
        shard.io().sleep(Duration::from_secs(1000)).await;
        assert_eq!(progress(&partition).0, 0, "it has days to go");
        shard.set_cleaner(CleanerConfig {
            io_bytes_a_second: Some(100_000),
            ..SLOWLY
        });
        shard.io().sleep(Duration::from_secs(60)).await;
        let (compacted, end) = progress(&partition);
        assert_eq!(compacted, end);
    });
}

#[test]
fn a_pause_between_looks_ends_by_the_time_of_the_moment() {
    with_shard(quiet(), |shard| async move {
        let seldom = CleanerConfig {
            backoff: Duration::from_secs(3600),
            io_bytes_a_second: None,
            ..SLOWLY
        };
        shard.set_cleaner(seldom);
        let partition = opened(&shard, 200_000).await;
        fill(&shard, &partition, 2).await;
        shard.io().sleep(Duration::from_secs(60)).await;
        assert_eq!(progress(&partition).0, 0);
        shard.set_cleaner(CleanerConfig {
            backoff: Duration::from_secs(70),
            ..seldom
        });
        shard.io().sleep(Duration::from_secs(20)).await;
        let (compacted, end) = progress(&partition);
        assert_eq!(compacted, end);
    });
}

#[test]
fn a_pass_that_is_under_way_gives_memory_back() {
    // Of a record each; so many find room.
    const KEYS: i64 = 40;
    const SMALL: i64 = 9;
    with_shard(quiet(), |shard| async move {
        let partition = opened(&shard, 100_000).await;
        for at in 0..KEYS {
            let batch = of(BatchBuilder::uncompressed(), &at.to_be_bytes(), b"1");
            append(&shard, vec![batch]).await;
        }
        fill(&shard, &partition, 1).await;
        shard.set_cleaner(SLOWLY);
        shard.io().sleep(Duration::from_secs(10)).await;
        shard.set_cleaner(CleanerConfig {
            map_bytes_max: 24 * 10,
            io_bytes_a_second: None,
            ..SLOWLY
        });
        while progress(&partition).0 == 0 {
            shard.io().sleep(Duration::from_micros(10)).await;
        }
        assert_eq!(progress(&partition).0, SMALL);
    });
}

/// Bytes of the largest index in the partition's folder, and how many segments are finished.
async fn largest_index(shard: &Shard, partition: &Partition) -> (u64, usize) {
    let dir = shard.0.store.dir(partition);
    let entries = shard.io().list_dir(&dir).await.expect("listed");
    let is_index =
        |file: SegmentFile| matches!(file.kind, FileKind::OffsetIndex | FileKind::TimeIndex);
    let indexes = entries
        .iter()
        .filter(|entry| SegmentFile::parse(&entry.name).is_some_and(is_index));
    let largest = indexes.map(|entry| entry.len).max();
    (
        largest.unwrap_or(0),
        candidates(&partition.state.borrow()).len(),
    )
}

#[test]
fn segments_stay_apart_that_have_too_much_for_one_index() {
    const INDEX_BYTES: u32 = 120;
    with_shard(quiet(), |shard| async move {
        let small_index = LogConfig {
            segment_index_bytes: INDEX_BYTES,
            index_interval_bytes: 10,
            ..compacted(1_000_000)
        };
        let partition = opened_as(&shard, 1, small_index.clone()).await;
        let mut at = 0_i64;
        let mut written = async |segments| {
            while candidates(&partition.state.borrow()).len() < segments {
                at += 1;
                let mut batch = BatchBuilder::uncompressed();
                batch
                    .append(at, Some(&at.to_be_bytes()), Some(b"1"))
                    .expect("a record");
                let bytes = Bytes::from(batch.finish().expect("a batch"));
                append(&shard, vec![Append::own(key(1), bytes)]).await;
                shard.io().sleep(Duration::from_millis(1)).await;
            }
        };
        written(6).await;
        let all = candidates(&partition.state.borrow()).len();
        pass(&shard, &partition).await;
        let (largest, segments) = largest_index(&shard, &partition).await;
        assert_eq!(segments, all, "each fills an index");
        assert!((1..=u64::from(INDEX_BYTES)).contains(&largest), "{largest}");
        // With fewer entries there is room for more.
        let rare = LogConfig {
            index_interval_bytes: 100_000,
            ..small_index.clone()
        };
        shard.set_config(&key(1), rare);
        pass(&shard, &partition).await;
        let (largest, segments) = largest_index(&shard, &partition).await;
        assert_eq!(segments, 1);
        assert!((1..=u64::from(INDEX_BYTES)).contains(&largest), "{largest}");
        // What is there already is indexed less often than it would be now.
        shard.set_config(&key(1), small_index);
        pass(&shard, &partition).await;
        let (largest, segments) = largest_index(&shard, &partition).await;
        assert_eq!(segments, 1);
        assert!(
            (24..=u64::from(INDEX_BYTES)).contains(&largest),
            "{largest}"
        );
    });
}
