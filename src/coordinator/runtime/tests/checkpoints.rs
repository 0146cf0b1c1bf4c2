//! Checkpoints: that they are used, and that nothing depends on them.

use std::path::PathBuf;

use corelog_shards::io::sim::Operation;
use corelog_shards::log::compact::Settings;
use corelog_shards::log::config::{CompactionConfig, LogConfig};

use super::*;

/// Less than the pause before a second attempt to read a log.
const AT_ONCE: Duration = Duration::from_millis(90);
const A_WHILE: Duration = Duration::from_secs(30);
/// Enough for a checkpoint.
const ROUNDS: i64 = 16;
const RECORDS: i64 = 4_000;
const PARTITIONS: i64 = 10;

fn folder() -> PathBuf {
    Path::new(FOLDER).join(format!("{OFFSETS_TOPIC}-0"))
}

/// Commits `first`, `first + 1` and so on for each of the topic's partitions, again and again.
async fn write_history(broker: &Broker, first: i64, rounds: i64) {
    let batches = (0..rounds).map(|round| {
        let records = (0..RECORDS).map(|at| {
            let offset = first + round * RECORDS / PARTITIONS + at / PARTITIONS;
            record((at % PARTITIONS) as i32, offset)
        });
        plain(&records.collect::<Vec<_>>())
    });
    append_all(broker, batches.collect()).await;
}

fn tombstone(partition: i32) -> Record {
    Record::OffsetCommit {
        group: "g".to_owned(),
        topic: "t".to_owned(),
        partition,
        value: None,
    }
}

fn expected(last: i64) -> Vec<(i32, i64)> {
    (0..PARTITIONS as i32).map(|at| (at, last)).collect()
}

const LAST: i64 = ROUNDS * RECORDS / PARTITIONS - 1;

async fn checkpoint_files(io: &Io) -> Vec<PathBuf> {
    let entries = io.list_dir(&folder()).await.expect("a folder");
    let names = entries.into_iter().map(|entry| entry.name);
    let names = names.filter(|name| name.starts_with("coordinator.checkpoint"));
    names.map(|name| folder().join(name)).collect()
}

/// Has the coordinator begin anew, and waits until it has loaded all and made what checkpoint is due.
async fn reopen(broker: &Broker, io: &Io) {
    open_anew(broker);
    io.sleep(A_WHILE).await;
}

/// A broker whose coordinator has made a checkpoint of a long history.
fn with_checkpoint(world: &mut World, node: NodeId) -> Rc<Broker> {
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        write_history(&broker, 0, ROUNDS).await;
        reopen(&broker, &io).await;
        assert_eq!(fetch(&broker).await, Ok(expected(LAST)));
        assert_eq!(checkpoint_files(&io).await.len(), 2);
        broker
    })
}

#[test]
fn a_load_reads_the_checkpoint_in_place_of_the_log() {
    let (mut world, node) = world();
    let broker = with_checkpoint(&mut world, node);
    let going_on = Rc::clone(&broker);
    world.block_on(node, |_| async move {
        assert_eq!(commit(&going_on, 3, 77).code().await, Ok(0));
    });
    // Whoever reads the log from its beginning meets this.
    world.fail_next(node, Operation::Read, ".log");
    world.block_on(node, |io| async move {
        open_anew(&broker);
        io.sleep(AT_ONCE).await;
        let mut expected = expected(LAST);
        expected[3].1 = 77;
        assert_eq!(fetch(&broker).await, Ok(expected));
    });
}

#[test]
fn the_next_checkpoint_is_made_from_the_last() {
    let (mut world, node) = world();
    let broker = with_checkpoint(&mut world, node);
    world.block_on(node, |io| async move {
        let before = checkpoint_files(&io).await;
        let first = LAST + 1;
        write_history(&broker, first, ROUNDS).await;
        reopen(&broker, &io).await;
        let after = checkpoint_files(&io).await;
        assert!(after.len() == 2 && after != before, "{after:?}");
        open_anew(&broker);
        io.sleep(LONG_ENOUGH).await;
        assert_eq!(fetch(&broker).await, Ok(expected(first + LAST)));
    });
}

#[test]
fn a_damaged_checkpoint_costs_time_alone() {
    for file in 0..2 {
        let (mut world, node) = world();
        let broker = with_checkpoint(&mut world, node);
        let files = world.block_on(node, |io| async move { checkpoint_files(&io).await });
        world.rot(node, &files[file], 30, 3).expect("a file");
        world.block_on(node, |io| async move {
            reopen(&broker, &io).await;
            assert_eq!(fetch(&broker).await, Ok(expected(LAST)));
        });
    }
}

#[test]
fn a_checkpoint_without_its_parts_costs_time_alone() {
    let (mut world, node) = world();
    let broker = with_checkpoint(&mut world, node);
    world.block_on(node, |io| async move {
        let files = checkpoint_files(&io).await;
        io.remove_file(&files[1]).await.expect("a part");
        reopen(&broker, &io).await;
        assert_eq!(fetch(&broker).await, Ok(expected(LAST)));
    });
}

#[test]
fn a_checkpoint_of_a_log_with_another_beginning_is_not_used() {
    let (mut world, node) = world();
    let broker = with_checkpoint(&mut world, node);
    world.block_on(node, |io| async move {
        assert_eq!(commit(&broker, 3, 77).code().await, Ok(0));
        let end = end_offset(&broker).await.expect("a log");
        let deleted = broker.shard.delete_records(&key(), Some(end - 1)).await;
        deleted.expect("its beginning goes");
        reopen(&broker, &io).await;
        assert_eq!(fetch(&broker).await, Ok(vec![(3, 77)]));
    });
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_nothing_behind() {
    let (mut world, node) = world();
    let broker = with_checkpoint(&mut world, node);
    // Of the manifest, when all of the parts are there.
    world.fail_next(node, Operation::Write, "coordinator.checkpoint.tmp");
    world.block_on(node, |io| async move {
        let before = checkpoint_files(&io).await;
        let first = LAST + 1;
        write_history(&broker, first, ROUNDS).await;
        reopen(&broker, &io).await;
        assert_eq!(checkpoint_files(&io).await, before);
        reopen(&broker, &io).await;
        assert_eq!(fetch(&broker).await, Ok(expected(first + LAST)));
        assert_ne!(checkpoint_files(&io).await, before);
    });
}

#[test]
fn what_was_deleted_stays_deleted() {
    let (mut world, node) = world();
    let broker = with_checkpoint(&mut world, node);
    world.block_on(node, |io| async move {
        let first = LAST + 1;
        write_history(&broker, first, ROUNDS).await;
        append_all(&broker, vec![plain(&[tombstone(9)])]).await;
        for _ in 0..2 {
            reopen(&broker, &io).await;
            let expected = &expected(first + LAST)[..9];
            assert_eq!(fetch(&broker).await, Ok(expected.to_vec()));
        }
    });
}

#[test]
fn a_crash_leaves_the_old_checkpoint_or_the_new_one() {
    for at in 0..12 {
        let (mut world, node) = world();
        let broker = with_checkpoint(&mut world, node);
        let first = LAST + 1;
        world.block_on(node, |_| async move {
            write_history(&broker, first, ROUNDS).await;
            open_anew(&broker);
        });
        // Somewhere in the load, or while the next checkpoint is made.
        world.run_for(Duration::from_millis(at * 2));
        let crash = [Crash::Kill, Crash::PowerLoss][at as usize % 2];
        world.crash(node, crash);
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let broker = opened(&io).await;
            io.sleep(A_WHILE).await;
            assert_eq!(fetch(&broker).await, Ok(expected(first + LAST)));
        });
    }
}

#[test]
fn a_shard_makes_one_checkpoint_at_a_time() {
    const COORDINATORS: i32 = 3;
    let (mut world, node) = world();
    let slow = Duration::from_millis(5);
    let broker = world.block_on(node, |io| async move {
        let broker = broker(&io, Path::new(FOLDER)).await;
        broker
            .install(image_of(&[(OFFSETS_TOPIC, COORDINATORS), ("t", 10)], &[]))
            .await;
        io.sleep(LONG_ENOUGH).await;
        broker
    });
    world.set_faults(Faults {
        disk_latency: (slow, slow),
        ..Faults::none()
    });
    world.block_on(node, |io| async move {
        for partition in 0..COORDINATORS {
            let key = PartitionKey { partition, ..key() };
            for round in 0..ROUNDS {
                let records = (0..RECORDS).map(|at| record(at as i32, round));
                let appends = vec![Append::own(key, plain(&records.collect::<Vec<_>>()))];
                broker.shard.append(appends, io.now()).await.wait().await;
            }
            broker.groups.close(&key);
            broker.groups.open(&broker.shard, key, "it", 0);
        }
        let mut made = 0;
        while made < COORDINATORS {
            io.sleep(Duration::from_millis(1)).await;
            let mut begun = 0;
            made = 0;
            for partition in 0..COORDINATORS {
                let folder = Path::new(FOLDER).join(format!("{OFFSETS_TOPIC}-{partition}"));
                let files = io.list_dir(&folder).await.expect("a folder");
                let mut names = files.iter().map(|file| &*file.name);
                begun += i32::from(names.clone().any(|name| name.starts_with("coordinator")));
                made += i32::from(names.any(|name| name == "coordinator.checkpoint"));
            }
            assert!(begun <= made + 1, "{begun} were begun and {made} made");
        }
    });
}

#[test]
fn what_compaction_has_removed_does_not_come_back_from_a_checkpoint() {
    let (mut world, node) = world();
    world.block_on(node, |io| async move {
        let broker = started(&io).await;
        write_history(&broker, 0, ROUNDS).await;
        // Compaction leaves the last batch of the checkpoint as it is.
        append_all(&broker, vec![plain(&[record(3, 77)])]).await;
        reopen(&broker, &io).await;
        assert_eq!(checkpoint_files(&io).await.len(), 2);
        // Each batch gets a segment of its own, and a tombstone hardly any time.
        let config = LogConfig {
            segment_bytes: 1,
            compaction: Some(CompactionConfig {
                when: Settings {
                    dirty_ratio_min: 0.0,
                    lag_min_ms: 0,
                    lag_max_ms: i64::MAX,
                },
                delete_retention_ms: 1,
            }),
            ..LogConfig::default()
        };
        broker.shard.set_config(&key(), config);
        append_all(&broker, vec![plain(&[tombstone(9)])]).await;
        for offset in 0..3 {
            append_all(&broker, vec![plain(&[record(5, offset)])]).await;
            io.sleep(A_WHILE).await;
        }
        reopen(&broker, &io).await;
        assert_eq!(offset_of(&broker, 9).await, Ok(None));
        assert_eq!(offset_of(&broker, 3).await, Ok(Some(77)));
    });
}
