//! Moves between folders of one device and of two, looked at from inside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::io::Io;
use crate::io::sim::{Crash, Faults, NodeId, Operation, World};
use crate::journal::Durability;
use crate::log::config::LogConfig;
use crate::log::segment_name::{PARTITION_METADATA, format_partition_metadata};
use crate::shard::tests::{append, append_to, config, key, read_all, started};
use crate::shard::{FolderConfig, PartitionFacts, ShardConfig};

const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);
const THIRD: Uuid = Uuid::from_u128(3);
const A_SECOND: Duration = Duration::from_secs(1);

/// The first folder is required; the second is on its device or on another, the third always on its own.
fn folders(second_device: u64) -> ShardConfig {
    let other = |id, path, device| FolderConfig {
        device,
        is_required: false,
        ..FolderConfig::only(id, path)
    };
    ShardConfig {
        folders: vec![
            FolderConfig::only(FIRST, "/first"),
            other(SECOND, "/second", second_device),
            other(THIRD, "/third", 2),
        ],
        tail_cache_bytes: 0,
        ..config()
    }
}

const DEVICES: [u64; 2] = [0, 1];

async fn opened(io: &Io, second_device: u64) -> Shard {
    let shard = started(io, folders(second_device)).await;
    let config = LogConfig {
        segment_bytes: 200_000,
        durability: Durability::Sync,
        ..LogConfig::default()
    };
    let opened = shard.open_partition(key(1), "t-0", FIRST, 0, config);
    opened.await.expect("a partition");
    shard
}

/// Runs `job` with a shard that has a partition in the first folder.
fn with_partition<F: Future<Output = ()> + 'static>(
    second_device: u64,
    job: impl FnOnce(Shard) -> F + 'static,
) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        let shard = opened(&io, second_device).await;
        job(shard).await;
    });
}

/// A node whose only shard has a partition with so many batches in the first folder, and two devices.
fn filled(batches: i64) -> (World, NodeId, Shard) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    let shard = world.block_on(node, move |io| async move {
        let shard = opened(&io, 1).await;
        fill(&shard, batches).await;
        io.sleep(A_SECOND).await;
        shard
    });
    (world, node, shard)
}

async fn fill(shard: &Shard, batches: i64) {
    for _ in 0..batches {
        append(shard, vec![append_to(1, 10_000)]).await;
    }
}

fn facts(shard: &Shard) -> PartitionFacts {
    shard.facts_of(&key(1)).expect("it is open")
}

fn is_moving(shard: &Shard) -> bool {
    let partition = shard.partition(&key(1)).expect("it is open");
    partition.moving.borrow().is_some()
}

/// Has the partition on its way to the second folder, which takes ten seconds.
async fn begin_slow_move(shard: &Shard) {
    shard.set_move_rate(Some(100_000));
    fill(shard, 100).await;
    assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
    shard.io().sleep(A_SECOND).await;
}

async fn moved(shard: &Shard) {
    while is_moving(shard) {
        shard.io().sleep(Duration::from_millis(1)).await;
    }
}

/// Folders of partitions in all log folders.
async fn dirs(io: &Io) -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::new();
    for folder in ["/first", "/second", "/third"] {
        let folder = Path::new(folder);
        for entry in io.list_dir(folder).await.expect("a folder") {
            if entry.name != "journal" && entry.is_dir {
                dirs.insert(folder.join(entry.name));
            }
        }
    }
    dirs
}

fn only(path: &str) -> BTreeSet<PathBuf> {
    BTreeSet::from([PathBuf::from(path)])
}

#[test]
fn a_partition_moves_with_all_that_it_has_and_stays_there() {
    for device in DEVICES {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, move |io| async move {
            let shard = opened(&io, device).await;
            fill(&shard, 150).await;
            assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
            assert_eq!(facts(&shard).future.map(|copy| copy.folder), Some(SECOND));
            moved(&shard).await;
            let after = facts(&shard);
            assert_eq!((after.folder, after.future), (SECOND, None));
            assert_eq!(read_all(&shard, 1).await, 150);
            fill(&shard, 50).await;
            assert_eq!(read_all(&shard, 1).await, 200);
            io.sleep(A_SECOND).await;
            assert_eq!(dirs(&io).await, only("/second/t-0"));
            assert_eq!(shard.metrics().engine.moves.get(), 1);
        });
        world.crash(node, Crash::PowerLoss);
        world.start(node, 1, |_, _| async {});
        world.block_on(node, move |io| async move {
            let shard = opened(&io, device).await;
            assert_eq!(facts(&shard).folder, SECOND);
            assert_eq!(read_all(&shard, 1).await, 200);
            // There and back again.
            for folder in [THIRD, FIRST, SECOND, FIRST] {
                assert_eq!(shard.move_partition(&key(1), folder), Ok(()));
                moved(&shard).await;
                assert_eq!(facts(&shard).folder, folder);
                fill(&shard, 1).await;
            }
            assert_eq!(read_all(&shard, 1).await, 204);
            shard.stop().await;
        });
        world.crash(node, Crash::Kill);
        world.start(node, 1, |_, _| async {});
        world.block_on(node, move |io| async move {
            let shard = opened(&io, device).await;
            assert_eq!(facts(&shard).folder, FIRST);
            assert_eq!(read_all(&shard, 1).await, 204);
            io.sleep(A_SECOND).await;
            assert_eq!(dirs(&io).await, only("/first/t-0"));
        });
    }
}

#[test]
fn the_broker_is_told_when_a_partition_has_moved() {
    with_partition(1, |shard| async move {
        let told = Rc::new(Cell::new(None));
        let telling = told.clone();
        shard.on_moved(move |key, folder| {
            telling.set(Some((key, folder)));
            std::future::ready(())
        });
        fill(&shard, 10).await;
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        assert_eq!(told.get(), None);
        moved(&shard).await;
        assert_eq!(told.get(), Some((key(1), SECOND)));
    });
}

/// Whoever starts without the new folder, before it is recorded that the partition is there, finds that missing, and no
/// older copy in its old place.
#[test]
fn the_old_place_knows_of_a_move_until_that_is_recorded() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = opened(&io, 1).await;
        shard.on_moved(|_, _| std::future::pending());
        fill(&shard, 100).await;
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        io.sleep(A_SECOND).await;
        assert_eq!(facts(&shard).folder, SECOND);
        assert!(is_moving(&shard));
        fill(&shard, 10).await;
        assert_eq!(read_all(&shard, 1).await, 110);
        shard.stop().await;
    });
    world.crash(node, Crash::PowerLoss);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let mut config = folders(1);
        config.folders[1].is_offline = true;
        let shard = started(&io, config).await;
        let opened = shard.open_partition(key(1), "t-0", FIRST, 0, LogConfig::default());
        _ = opened.await;
        assert!(facts(&shard).is_offline);
    });
    let shard = restarted(&mut world, node, Crash::PowerLoss);
    world.block_on(node, |_| async move {
        assert_eq!(facts(&shard).folder, SECOND);
        assert_eq!(read_all(&shard, 1).await, 110);
    });
}

/// Topics may have names that begin with the name of another one's partition.
#[test]
fn copies_of_other_partitions_are_left_alone() {
    with_partition(1, |shard| async move {
        fill(&shard, 100).await;
        let other = "/second/t-0.retry-3.00000000000000000000000000000001-future";
        let created = shard.io().create_dir_all(Path::new(other)).await;
        created.expect("a folder");
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        moved(&shard).await;
        let both = BTreeSet::from([PathBuf::from("/second/t-0"), PathBuf::from(other)]);
        shard.io().sleep(A_SECOND).await;
        assert_eq!(dirs(shard.io()).await, both);
    });
}

#[test]
fn what_cannot_be_moved_is_refused() {
    with_partition(1, |shard| async move {
        let to = |topic, folder| shard.move_partition(&key(topic), folder);
        assert_eq!(to(9, SECOND), Err(MoveError::UnknownPartition));
        assert_eq!(to(1, Uuid::from_u128(9)), Err(MoveError::UnknownFolder));
        assert_eq!(to(1, FIRST), Ok(()));
        assert!(!is_moving(&shard));
        shard.fail_folder(SECOND);
        assert_eq!(to(1, SECOND), Err(MoveError::FolderOffline));
    });
}

#[test]
fn a_partition_without_files_moves() {
    for device in DEVICES {
        with_partition(device, |shard| async move {
            assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
            moved(&shard).await;
            assert_eq!(facts(&shard).folder, SECOND);
            fill(&shard, 30).await;
            assert_eq!(read_all(&shard, 1).await, 30);
        });
    }
}

#[test]
fn a_move_ends_without_a_trace_when_the_partition_shall_stay() {
    with_partition(1, |shard| async move {
        begin_slow_move(&shard).await;
        let copy = facts(&shard).future.expect("it is on its way");
        assert!((1..1_000_000).contains(&copy.bytes), "{copy:?}");
        assert!((1..=100).contains(&copy.offset_lag), "{copy:?}");
        assert_eq!(dirs(shard.io()).await.len(), 2);
        assert_eq!(shard.move_partition(&key(1), FIRST), Ok(()));
        assert_eq!(facts(&shard).future, None);
        shard.io().sleep(A_SECOND).await;
        assert_eq!(dirs(shard.io()).await, only("/first/t-0"));
        assert_eq!(facts(&shard).folder, FIRST);
        assert_eq!(read_all(&shard, 1).await, 100);
    });
}

#[test]
fn a_move_to_another_folder_takes_the_place_of_the_one_before() {
    with_partition(1, |shard| async move {
        begin_slow_move(&shard).await;
        assert_eq!(shard.move_partition(&key(1), THIRD), Ok(()));
        // Asked again, it goes on.
        assert_eq!(shard.move_partition(&key(1), THIRD), Ok(()));
        shard.set_move_rate(None);
        moved(&shard).await;
        shard.io().sleep(A_SECOND).await;
        assert_eq!(facts(&shard).folder, THIRD);
        assert_eq!(dirs(shard.io()).await, only("/third/t-0"));
        assert_eq!(read_all(&shard, 1).await, 100);
    });
}

#[test]
fn a_move_takes_as_long_as_its_rate_makes_it() {
    with_partition(0, |shard| async move {
        fill(&shard, 200).await;
        let begun = shard.io().now();
        shard.set_move_rate(Some(100_000));
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        moved(&shard).await;
        let took = shard.io().now().since(begun);
        // The last megabyte is not held up.
        assert!((8..22).contains(&took.as_secs()), "{took:?}");
    });
}

#[test]
fn a_deleted_partition_leaves_no_copy() {
    with_partition(1, |shard| async move {
        begin_slow_move(&shard).await;
        shard.drop_partitions(&[key(1)]).await;
        shard.io().sleep(A_SECOND).await;
        assert_eq!(dirs(shard.io()).await, BTreeSet::new());
    });
}

#[test]
fn what_is_deleted_from_the_front_meanwhile_is_not_in_the_copy() {
    with_partition(1, |shard| async move {
        shard.set_move_rate(Some(400_000));
        fill(&shard, 200).await;
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        shard.io().sleep(2 * A_SECOND).await;
        let deleted = shard.delete_records(&key(1), Some(150)).await;
        assert_eq!(deleted, Ok(150));
        shard.set_move_rate(None);
        moved(&shard).await;
        shard.io().sleep(A_SECOND).await;
        let entries = shard.io().list_dir(Path::new("/second/t-0")).await;
        let names: Vec<String> = entries
            .expect("its folder")
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        let first = facts(&shard).start_offset;
        assert_eq!(first, 150);
        let logs = names.iter().filter(|name| name.ends_with(".log"));
        let bases: Vec<i64> = logs
            .map(|name| name[..20].parse().expect("a number"))
            .collect();
        assert!(bases.iter().all(|base| *base > 100), "{names:?}");
    });
}

/// The next operation of this kind on the copy fails.
fn with_failing_copy(operation: Operation, job: impl AsyncFnOnce(Shard) + 'static) {
    let (mut world, node, shard) = filled(100);
    world.fail_next(node, operation, "-future/000");
    world.block_on(node, |_| async move {
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        moved(&shard).await;
        job(shard).await;
    });
}

#[test]
fn a_folder_that_fails_ends_the_moves_to_it() {
    for operation in [Operation::Write, Operation::Sync] {
        with_failing_copy(operation, async |shard| {
            assert_eq!(facts(&shard).folder, FIRST);
            assert!(!facts(&shard).is_offline);
            let second = shard.folders().remove(1);
            assert!(second.is_offline, "{second:?}");
            fill(&shard, 1).await;
            assert_eq!(read_all(&shard, 1).await, 101);
        });
    }
}

#[test]
fn a_full_disk_ends_a_move_and_gets_its_room_back() {
    let (mut world, node, shard) = filled(200);
    let used = world.disk_used(node);
    world.set_disk_capacity(node, used + 500_000);
    let full = shard.clone();
    world.block_on(node, |_| async move {
        assert_eq!(full.move_partition(&key(1), SECOND), Ok(()));
        moved(&full).await;
        assert_eq!(facts(&full).folder, FIRST);
        assert!(full.folders().iter().all(|folder| !folder.is_offline));
        assert_eq!(dirs(full.io()).await, only("/first/t-0"));
    });
    world.set_disk_capacity(node, u64::MAX);
    world.block_on(node, |_| async move {
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        moved(&shard).await;
        assert_eq!(facts(&shard).folder, SECOND);
        assert_eq!(read_all(&shard, 1).await, 200);
    });
}

fn restarted(world: &mut World, node: NodeId, crash: Crash) -> Shard {
    world.crash(node, crash);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move { opened(&io, 1).await })
}

#[test]
fn an_interrupted_move_is_begun_anew() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = opened(&io, 1).await;
        begin_slow_move(&shard).await;
    });
    let shard = restarted(&mut world, node, Crash::PowerLoss);
    world.block_on(node, |io| async move {
        io.sleep(A_SECOND).await;
        moved(&shard).await;
        assert_eq!(facts(&shard).folder, SECOND);
        assert_eq!(read_all(&shard, 1).await, 100);
        io.sleep(A_SECOND).await;
        assert_eq!(dirs(&io).await, only("/second/t-0"));
    });
}

/// The journal of the second device fails when it has to take the partition over.
#[test]
fn a_partition_whose_new_journal_fails_has_all_at_the_next_start() {
    let (mut world, node, shard) = filled(100);
    world.fail_next(node, Operation::Write, "/second/journal/0000-0000");
    world.block_on(node, |io| async move {
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        moved(&shard).await;
        let after = facts(&shard);
        assert!(after.is_offline && after.folder == SECOND, "{after:?}");
        // The journal of the first device goes on for so long that nothing is left of what it had then.
        let config = LogConfig::default();
        let opened = shard.open_partition(key(2), "u-0", FIRST, 0, config);
        opened.await.expect("a partition");
        for _ in 0..1_000 {
            append(&shard, vec![append_to(2, 60_000)]).await;
        }
        io.sleep(A_SECOND).await;
    });
    let shard = restarted(&mut world, node, Crash::PowerLoss);
    world.block_on(node, |_| async move {
        assert_eq!(facts(&shard).folder, SECOND);
        assert_eq!(read_all(&shard, 1).await, 100);
        fill(&shard, 1).await;
    });
}

/// The journal of the old folder's device fails when it has to say where the partition is.
#[test]
fn a_partition_whose_old_journal_fails_goes_offline_with_its_folder_and_holds_up_no_other() {
    let (mut world, node, shard) = filled(10);
    let filling = shard.clone();
    world.block_on(node, |io| async move {
        let opened = filling.open_partition(key(2), "u-0", SECOND, 0, LogConfig::default());
        opened.await.expect("a partition");
        for _ in 0..100 {
            append(&filling, vec![append_to(2, 10_000)]).await;
        }
        io.sleep(A_SECOND).await;
    });
    world.fail_next(node, Operation::Write, "/second/journal/");
    world.block_on(node, |io| async move {
        assert_eq!(shard.move_partition(&key(2), THIRD), Ok(()));
        io.sleep(10 * A_SECOND).await;
        let after = shard.facts_of(&key(2)).expect("it is open");
        assert!(after.is_offline && after.folder == SECOND, "{after:?}");
        let third = shard.folders().remove(2);
        assert!(!third.is_offline, "{third:?}");
        assert_eq!(shard.move_partition(&key(1), THIRD), Ok(()));
        moved(&shard).await;
        assert_eq!(facts(&shard).folder, THIRD);
    });
    let shard = restarted(&mut world, node, Crash::PowerLoss);
    world.block_on(node, |io| async move {
        let opened = shard.open_partition(key(2), "u-0", SECOND, 0, LogConfig::default());
        opened.await.expect("a partition");
        assert_eq!(read_all(&shard, 2).await, 100);
        io.sleep(10 * A_SECOND).await;
        assert_eq!(
            shard.facts_of(&key(2)).map(|facts| facts.folder),
            Some(THIRD)
        );
        assert_eq!(read_all(&shard, 2).await, 100);
    });
}

#[test]
fn what_compaction_writes_before_a_move_takes_no_place_behind_it() {
    with_partition(0, |shard| async move {
        fill(&shard, 100).await;
        let partition = shard.partition(&key(1)).expect("it is open");
        let before = partition.place();
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        moved(&shard).await;
        assert_ne!(partition.place(), before);
    });
}

/// Two partitions of which the first has a slow copy, so that the second has to wait.
async fn begin_two_moves(shard: &Shard) {
    let opened = shard.open_partition(key(2), "u-0", FIRST, 0, LogConfig::default());
    opened.await.expect("a partition");
    append(shard, vec![append_to(2, 1_000)]).await;
    begin_slow_move(shard).await;
    assert_eq!(shard.move_partition(&key(2), SECOND), Ok(()));
    shard.moves_announced().await;
}

/// As in Apache Kafka, which begins with all copies at once.
#[test]
fn a_move_that_waits_for_others_is_begun_anew_too() {
    for stops in [false, true] {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, move |io| async move {
            let shard = opened(&io, 1).await;
            begin_two_moves(&shard).await;
            if stops {
                shard.stop().await;
            }
        });
        let shard = restarted(&mut world, node, Crash::PowerLoss);
        world.block_on(node, |io| async move {
            let opened = shard.open_partition(key(2), "u-0", FIRST, 0, LogConfig::default());
            opened.await.expect("a partition");
            io.sleep(30 * A_SECOND).await;
            let folder = |number| shard.facts_of(&key(number)).map(|facts| facts.folder);
            assert_eq!((folder(1), folder(2)), (Some(SECOND), Some(SECOND)));
            assert_eq!(read_all(&shard, 2).await, 1);
            let both = ["/second/t-0", "/second/u-0"].map(PathBuf::from);
            assert_eq!(dirs(&io).await, BTreeSet::from(both));
        });
    }
}

#[test]
fn a_move_that_waits_ends_at_once_when_the_partition_shall_stay() {
    with_partition(1, |shard| async move {
        begin_two_moves(&shard).await;
        assert_eq!(
            dirs(shard.io()).await.len(),
            3,
            "both copies beside the first partition"
        );
        // Back and forth leaves nothing behind but what was asked last.
        for folder in [FIRST, SECOND, THIRD, SECOND, FIRST, THIRD] {
            assert_eq!(shard.move_partition(&key(2), folder), Ok(()));
        }
        shard.io().sleep(A_SECOND).await;
        assert!(is_moving(&shard), "the first one is under way");
        let names = dirs(shard.io()).await;
        let copies = names.iter().filter(|name| !name.starts_with("/first"));
        let copies: Vec<_> = copies.filter_map(|name| name.parent()).collect();
        assert_eq!(copies, ["/second", "/third"].map(Path::new));
        assert_eq!(shard.move_partition(&key(2), FIRST), Ok(()));
        shard.io().sleep(A_SECOND).await;
        assert_eq!(dirs(shard.io()).await.len(), 2);
    });
}

/// The record that a partition has moved may come at any time of the stop, so that its journal changes then or never.
#[test]
fn a_stop_is_complete_whenever_a_move_is_recorded() {
    for late_us in (0..4_000).step_by(100) {
        with_partition(1, move |shard| async move {
            let written = LogConfig {
                durability: Durability::Written,
                ..LogConfig::default()
            };
            let opened = shard.open_partition(key(2), "u-0", SECOND, 0, written);
            opened.await.expect("a partition");
            let io = shard.io().clone();
            let recorded = Rc::new(Notify::new());
            let noted = recorded.clone();
            shard.on_moved(move |_, _| {
                let noted = noted.clone();
                async move { noted.notified().await }
            });
            fill(&shard, 10).await;
            assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
            io.sleep(A_SECOND).await;
            // So that the journal of the second device has something left to sync.
            append(&shard, vec![append_to(2, 1_000)]).await;
            let stopping = shard.clone();
            let stop = io.spawn("stop", async move { stopping.stop().await });
            io.sleep(Duration::from_micros(late_us)).await;
            recorded.notify_one();
            stop.await;
            assert!(!shard.has_failed(), "recorded {late_us} us late");
        });
    }
}

/// What a stop writes is not synced: the journal has it. A folder is the partition's for what it had before.
#[test]
fn a_loss_of_power_after_a_stop_leaves_a_partition_its_folder() {
    for seed in 0..20 {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let shard = opened(&io, 1).await;
            fill(&shard, 18).await;
            assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
            moved(&shard).await;
            io.sleep(A_SECOND).await;
            shard.stop().await;
        });
        let shard = restarted(&mut world, node, Crash::Kill);
        world.block_on(node, |_| async move { shard.stop().await });
        let shard = restarted(&mut world, node, Crash::PowerLoss);
        world.block_on(node, |io| async move {
            assert_eq!(read_all(&shard, 1).await, 18, "seed {seed}");
            assert_eq!(dirs(&io).await, only("/second/t-0"));
        });
    }
}

/// Has a folder say that it is another topic's.
async fn rot_metadata(io: &Io, dir: &Path) {
    let metadata = format_partition_metadata(Uuid::from_u128(77));
    let path = dir.join(PARTITION_METADATA);
    let written = io.write_small(&path, metadata.as_bytes()).await;
    written.expect("written");
}

#[test]
fn a_folder_gets_its_name_whatever_its_metadata_says() {
    let (mut world, node, shard) = filled(100);
    world.block_on(node, |io| async move {
        shard.on_moved(|_, _| std::future::pending());
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        io.sleep(A_SECOND).await;
        assert_eq!(facts(&shard).folder, SECOND);
    });
    world.crash(node, Crash::PowerLoss);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let dirs = dirs(&io).await;
        let future = dirs.iter().find(|dir| dir.starts_with("/second"));
        rot_metadata(&io, future.expect("a folder")).await;
        let shard = opened(&io, 1).await;
        assert_eq!(read_all(&shard, 1).await, 100);
    });
    let shard = restarted(&mut world, node, Crash::PowerLoss);
    world.block_on(node, |io| async move {
        assert_eq!(read_all(&shard, 1).await, 100);
        io.sleep(A_SECOND).await;
        assert_eq!(dirs(&io).await, only("/second/t-0"));
    });
}

#[test]
fn the_old_folder_goes_whatever_its_metadata_says() {
    let (mut world, node, shard) = filled(100);
    world.block_on(node, |io| async move {
        rot_metadata(&io, Path::new("/first/t-0")).await;
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        moved(&shard).await;
        io.sleep(A_SECOND).await;
        assert_eq!(dirs(&io).await, only("/second/t-0"));
    });
}
