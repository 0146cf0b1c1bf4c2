//! Partitions whose folders go between two runs.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::io::futures::first_of;
use crate::io::sim::{Crash, Faults, NodeId, Operation, World};
use crate::io::{BLOCK, Io};
use crate::journal::Durability;
use crate::journal::group::{Entries, EntryKind, GroupHeader, HEADER_LEN};
use crate::mesh::lanes;
use crate::route::Route;
use crate::shard::message::{AppendError, ReadError};
use crate::shard::tests::{
    append, append_to, config, key, open_in, open_partition, read_all, read_from, spec, started,
};
use crate::shard::{FolderConfig, ShardConfig, open};

const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);
const A_SECOND: Duration = Duration::from_secs(1);
/// Shorter than a test waits for what is appended.
const A_WHILE: Duration = Duration::from_secs(20);
const BATCHES: i64 = 50;
/// A topic that is left alone.
const OTHER: u128 = 100;

fn folders(second_device: u64, on_rot: RotPolicy) -> ShardConfig {
    let second = FolderConfig {
        device: second_device,
        ..FolderConfig::only(SECOND, "/second")
    };
    ShardConfig {
        folders: vec![FolderConfig::only(FIRST, "/first"), second],
        on_rot,
        ..config()
    }
}

/// A node that has never run, but for making its disk reachable.
fn new_world() -> (World, NodeId) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    (world, node)
}

fn restart(world: &mut World, node: NodeId, crash: Crash) {
    world.crash(node, crash);
    world.start(node, 1, |_, _| async {});
}

/// Has the partition move from the first folder to the second, and the run end some time after that.
fn move_one(world: &mut World, node: NodeId, second_device: u64, stops: bool) {
    world.block_on(node, move |io| async move {
        let shard = started(&io, folders(second_device, RotPolicy::Refuse)).await;
        open_in(&shard, 1, FIRST).await;
        for _ in 0..BATCHES {
            append(&shard, vec![append_to(1, 10_000)]).await;
        }
        let partition = shard.partition(&key(1)).expect("it is open");
        assert_eq!(shard.move_partition(&key(1), SECOND), Ok(()));
        while partition.moving.borrow().is_some() {
            io.sleep(A_SECOND).await;
        }
        if stops {
            shard.stop().await;
        }
    });
    restart(world, node, Crash::Kill);
}

async fn remove_dir(io: &Io, dir: &Path) {
    for entry in io.list_dir(dir).await.expect("a folder") {
        let removed = io.remove_file(&dir.join(entry.name)).await;
        removed.expect("removed");
    }
    io.remove_dir(dir).await.expect("removed");
}

/// The folders that a start misses which must have all, and that it leaves where they are.
async fn missed(io: &Io, config: ShardConfig) -> Vec<PathBuf> {
    let shard = started(io, config).await;
    let missing = shard.missing_folders().await;
    io.sleep(A_SECOND).await;
    missing.into_iter().map(|missing| missing.path).collect()
}

#[test]
fn the_folder_of_a_partition_that_has_moved_is_missed() {
    for (device, stops) in [(0, false), (0, true), (1, false), (1, true)] {
        let (mut world, node) = new_world();
        move_one(&mut world, node, device, stops);
        world.block_on(node, move |io| async move {
            let config = || folders(device, RotPolicy::Refuse);
            assert_eq!(missed(&io, config()).await, Vec::<PathBuf>::new());
            remove_dir(&io, Path::new("/second/topic1-0")).await;
            let dir = PathBuf::from("/second/topic1-0");
            // However often.
            for _ in 0..2 {
                let dirs = missed(&io, config()).await;
                assert_eq!(dirs, [&*dir], "device {device}, stops: {stops}");
            }
        });
    }
}

/// The checkpoint says until the next one that the old folder is to go.
#[test]
fn what_a_move_has_left_behind_stays_if_it_is_all_there_is() {
    for device in [0, 1] {
        let (mut world, node) = new_world();
        move_one(&mut world, node, device, false);
        world.block_on(node, move |io| async move {
            let (from, to) = ("/second/topic1-0", "/first/topic1-0");
            let renamed = io.rename(Path::new(from), Path::new(to)).await;
            renamed.expect("renamed");
            let dirs = missed(&io, folders(device, RotPolicy::Refuse)).await;
            assert_eq!(dirs, [Path::new(from)]);
            let left = io.list_dir(Path::new(to)).await;
            left.expect("it is where it was");
        });
        restart(&mut world, node, Crash::PowerLoss);
        let read = world.block_on(node, move |io| async move {
            let shard = started(&io, folders(device, RotPolicy::Continue)).await;
            assert_eq!(shard.missing_folders().await, []);
            open_in(&shard, 1, SECOND).await;
            let read = read_all(&shard, 1).await;
            append(&shard, vec![append_to(1, 10)]).await;
            read
        });
        assert!(read > BATCHES / 2, "{read}");
        for _ in 0..2 {
            restart(&mut world, node, Crash::PowerLoss);
            world.block_on(node, move |io| async move {
                let shard = started(&io, folders(device, RotPolicy::Refuse)).await;
                assert_eq!(shard.missing_folders().await, []);
                open_in(&shard, 1, SECOND).await;
                assert_eq!(read_all(&shard, 1).await, read + 1);
                io.sleep(A_SECOND).await;
            });
        }
    }
}

/// The journal has much to write, and the disk has no room for more.
#[test]
fn what_is_made_anew_without_a_lost_folder_stays() {
    let (mut world, node) = new_world();
    world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        append(&shard, vec![append_to(1, 100_000)]).await;
        let partition = shard.partition(&key(1)).expect("it is open");
        shard.anchor_anew(&partition).await;
        assert!(shard.anchor_synced(&partition).await);
    });
    restart(&mut world, node, Crash::Kill);
    world.block_on(node, |io| async move {
        remove_dir(&io, Path::new("/data/topic1-0")).await;
        let goes_on = ShardConfig {
            on_rot: RotPolicy::Continue,
            ..config()
        };
        let shard = started(&io, goes_on).await;
        open_in(&shard, 2, Uuid::nil()).await;
        for _ in 0..40 {
            let others = vec![append_to(2, 60_000)];
            drop(shard.append(others, io.now()).await);
        }
        let volume = &shard.0.volumes[0];
        volume.is_disk_full.set(true);
        volume.settling.grew(1 << 40);
        assert_eq!(shard.missing_folders().await, []);
        volume.is_disk_full.set(false);
        volume.settling.shrank(1 << 40);
        open_in(&shard, 1, Uuid::nil()).await;
        append(&shard, vec![append_to(1, 10)]).await;
    });
    restart(&mut world, node, Crash::Kill);
    let read = world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_in(&shard, 1, Uuid::nil()).await;
        read_all(&shard, 1).await
    });
    assert_eq!(read, 1);
}

/// It holds nothing that was acknowledged.
#[test]
fn a_list_of_a_journals_files_that_cannot_be_read_ends_no_start_that_goes_on_without() {
    let (mut world, node) = new_world();
    world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_in(&shard, 1, Uuid::nil()).await;
        append(&shard, vec![append_to(1, 10)]).await;
    });
    for on_rot in [RotPolicy::Refuse, RotPolicy::Continue] {
        restart(&mut world, node, Crash::Kill);
        world.fail_next(node, Operation::Read, "/data/.journal-0000");
        let config = ShardConfig { on_rot, ..config() };
        let opened = world.block_on(node, |io| async move {
            let ends = lanes(1).pop().expect("one shard");
            open(io, 0, Route::new(1), config, ends).await
        });
        match on_rot {
            RotPolicy::Refuse => assert!(opened.is_err()),
            RotPolicy::Continue => assert_eq!(opened.expect("opened").partitions, 1),
        }
    }
}

/// Flips a bit of the group in which a log start has moved.
fn rot_log_start(world: &mut World, node: NodeId) {
    let (path, position) = world.block_on(node, |io| async move {
        let dir = Path::new("/data/journal");
        for entry in io.list_dir(dir).await.expect("a folder") {
            let path = dir.join(entry.name);
            let bytes = io.read_small(&path).await.expect("read");
            for position in (0..bytes.len()).step_by(BLOCK) {
                let Ok((header, _)) = GroupHeader::decode(&bytes[position..]) else {
                    continue;
                };
                let payload = position + HEADER_LEN;
                let entries = Entries::new(&bytes[payload..][..header.payload_len as usize]);
                let mut kinds = entries.map(|entry| entry.expect("an entry").0.kind);
                if kinds.any(|kind| kind == EntryKind::LogStart) {
                    return (path, payload as u64);
                }
            }
        }
        panic!("no log start has moved");
    });
    world.rot(node, &path, position, 0).expect("flipped");
}

/// A run that ends after records were deleted up to `to`, and a bit flips of the group that says so. Returns where the
/// oldest segment begins that is left.
fn lose_log_start(world: &mut World, node: NodeId, topic: u128, to: i64) -> i64 {
    lose_group(world, node, topic, (to, Loss::Rot))
}

/// How the group of a log start is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The journal says behind it that it was on stable storage.
    Rot,
    /// The same, and then producers fill the journal but for its reserve, and wait.
    RotOfFullJournal,
    /// It looks like one whose write a crash has cut off.
    End,
}

fn lose_group(world: &mut World, node: NodeId, topic: u128, (to, loss): (i64, Loss)) -> i64 {
    let start = world.block_on(node, move |io| async move {
        let shard = started(&io, config()).await;
        open_partition(&shard, topic, Durability::Sync).await;
        for _ in 0..BATCHES {
            append(&shard, vec![append_to(topic, 100_000)]).await;
        }
        io.sleep(A_SECOND).await;
        let partition = shard.partition(&key(topic)).expect("it is open");
        shard.anchor_anew(&partition).await;
        assert!(shard.anchor_synced(&partition).await);
        shard.roll(&key(topic));
        let moved = shard.delete_records(&key(topic), Some(to)).await;
        assert_eq!(moved, Ok(to));
        if loss != Loss::End {
            open_partition(&shard, OTHER, Durability::Sync).await;
            append(&shard, vec![append_to(OTHER, 100)]).await;
        }
        io.sleep(A_SECOND).await;
        if loss == Loss::RotOfFullJournal {
            // Its anchor stays where it is.
            let _turn = partition.settling.take().await;
            let filling = async {
                loop {
                    append(&shard, vec![append_to(OTHER, 60_000)]).await;
                }
            };
            first_of(pin!(filling), pin!(io.sleep(A_WHILE))).await;
        }
        partition.state.borrow().log.segments()[0].base_offset
    });
    restart(world, node, Crash::Kill);
    rot_log_start(world, node);
    start
}

/// What is left of the log from `start` on, and one record more.
async fn go_on(shard: &Shard, topic: u128, start: i64, end: i64) {
    open_partition(shard, topic, Durability::Sync).await;
    let partition = shard.partition(&key(topic)).expect("it is open");
    assert_eq!(partition.state.borrow().log.start_offset(), start);
    assert_eq!(read_from(shard, topic, start).await, end);
    append(shard, vec![append_to(topic, 100)]).await;
    // What has rotted is not needed for long.
    shard.io().sleep(A_SECOND).await;
}

#[test]
fn a_log_starts_behind_the_segments_of_whose_deletion_the_journal_has_lost_the_record() {
    for (to, is_left) in [(BATCHES / 2, true), (BATCHES, false)] {
        let (mut world, node) = new_world();
        let start = lose_log_start(&mut world, node, 1, to);
        assert!(start > 0 && is_left == (start < BATCHES), "{start}");
        for (added, on_rot) in [RotPolicy::Continue, RotPolicy::Refuse, RotPolicy::Refuse]
            .into_iter()
            .enumerate()
        {
            world.block_on(node, move |io| async move {
                let shard = started(&io, ShardConfig { on_rot, ..config() }).await;
                go_on(&shard, 1, start, BATCHES + added as i64).await;
            });
            restart(&mut world, node, Crash::PowerLoss);
        }
    }
}

/// Nobody makes room yet for what is appended.
#[test]
fn a_log_starts_behind_segments_that_are_gone_though_the_journal_is_full() {
    let (mut world, node) = new_world();
    let start = lose_group(&mut world, node, 1, (BATCHES / 2, Loss::RotOfFullJournal));
    world.block_on(node, move |io| async move {
        let goes_on = ShardConfig {
            on_rot: RotPolicy::Continue,
            ..config()
        };
        let shard = started(&io, goes_on).await;
        go_on(&shard, 1, start, BATCHES).await;
    });
}

/// Of a segment of which nothing is settled it is not known whether it was deleted: all of it is in the journal.
#[test]
fn a_log_starts_behind_the_last_of_the_oldest_segments_that_are_gone() {
    const END: i64 = 60;
    let end_of = |settled: [u64; 4], there: &[i64]| {
        let segments = (0..)
            .step_by(10)
            .zip(settled)
            .map(|(base_offset, settled)| {
                let mut segment = Segment::new(base_offset, 0);
                (segment.bytes, segment.settled) = (100, settled);
                segment
            });
        let segments: Vec<Segment> = segments.collect();
        end_of_gone(&segments, END, |base_offset| there.contains(&base_offset))
    };
    assert_eq!(end_of([100; 4], &[0, 10, 20, 30]), None);
    assert_eq!(end_of([100; 4], &[20, 30]), Some(20));
    assert_eq!(end_of([100; 4], &[]), Some(END));
    assert_eq!(end_of([0; 4], &[]), None);
    assert_eq!(end_of([100, 0, 100, 0], &[]), Some(30));
    assert_eq!(end_of([100, 0, 0, 100], &[30]), Some(10));
    // Those in the middle are missed by their readers.
    assert_eq!(end_of([100; 4], &[0, 30]), None);
}

#[test]
fn the_beginning_of_the_metadata_is_needed_unless_a_finished_snapshot_has_it() {
    let names = |suffix: &str| {
        let names = [20, 42].map(|end| format!("{end:020}-0000000001.checkpoint{suffix}"));
        BTreeSet::from(names)
    };
    assert!(is_in_snapshot(&names(""), 42..=42));
    assert!(is_in_snapshot(&names(""), 30..=50));
    assert!(!is_in_snapshot(&names(""), 43..=50));
    // A log that ends before its snapshot is of no use.
    assert!(!is_in_snapshot(&names(""), 30..=41));
    assert!(!is_in_snapshot(&names(".deleted"), 42..=42));
    assert!(!is_in_snapshot(&BTreeSet::new(), 1..=50));
}

/// The journal is another shard's than the partition is now.
#[test]
fn a_log_that_changes_its_shard_starts_behind_segments_that_are_gone() {
    let route = Route::new(2);
    let topic = (1..OTHER).find(|topic| route.owner(&key(*topic)) == 1);
    let topic = topic.expect("one of them");
    let (mut world, node) = new_world();
    let start = lose_log_start(&mut world, node, topic, BATCHES / 2);
    for (added, on_rot) in [RotPolicy::Continue, RotPolicy::Refuse]
        .into_iter()
        .enumerate()
    {
        // The names of deleted segments are not on stable storage.
        world.crash(node, Crash::Kill);
        let ends = RefCell::new(lanes(2).into_iter());
        let done = Rc::<Cell<bool>>::default();
        world.start(node, 2, |io, id| {
            let ends = ends.borrow_mut().next().expect("in their order");
            let done = done.clone();
            async move {
                let config = ShardConfig { on_rot, ..config() };
                let opened = open(io, id, Route::new(2), config, ends).await;
                let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
                if id == 1 {
                    go_on(&shard, topic, start, BATCHES + added as i64).await;
                    done.set(true);
                }
            }
        });
        world.run_until(|| done.get());
    }
}

/// A stop leaves to the journal what must last.
#[test]
fn what_was_taken_over_from_a_folder_outlives_the_power() {
    // A stop has made the folder of the first of them, and a run that of the second.
    for (batches, bytes) in [(1, 1_000), (BATCHES, 100_000)] {
        take_over_and_lose_power(batches, bytes);
    }
}

fn take_over_and_lose_power(batches: i64, bytes: usize) {
    let (mut world, node) = new_world();
    world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        for _ in 0..batches {
            append(&shard, vec![append_to(1, bytes)]).await;
        }
        shard.stop().await;
    });
    restart(&mut world, node, Crash::Kill);
    world.block_on(node, |io| async move {
        remove_dir(&io, Path::new("/data/journal")).await;
        let list = Path::new("/data/.journal-0000");
        io.remove_file(list).await.expect("removed");
    });
    for _ in 0..2 {
        world.block_on(node, |io| async move {
            let shard = started(&io, config()).await;
            open_partition(&shard, 1, Durability::Sync).await;
            assert_eq!(read_all(&shard, 1).await, batches);
            let whose = shard
                .0
                .store
                .topic_of_dir(Path::new("/data/topic1-0"))
                .await;
            assert_eq!(whose.expect("read"), Some(key(1).topic));
        });
        restart(&mut world, node, Crash::PowerLoss);
    }
}

/// A stop that writes the last block of the segment whose file is gone would hide that it is.
#[test]
fn a_start_that_gives_nothing_up_leaves_the_place_of_a_lost_segment_free() {
    let (mut world, node) = new_world();
    let start = lose_group(&mut world, node, 1, (BATCHES, Loss::End));
    assert_eq!(start, BATCHES);
    for _ in 0..2 {
        world.block_on(node, |io| async move {
            let shard = started(&io, config()).await;
            open_partition(&shard, 1, Durability::Sync).await;
            io.sleep(A_SECOND).await;
            let pending = shard.append(vec![append_to(1, 100)], io.now()).await;
            let refused = pending.wait().await.results;
            assert_eq!(refused, [Err(AppendError::FolderOffline)]);
            let read = shard.read(&[spec(1, 0)]).await.pop().expect("one");
            assert_eq!(read.err(), Some(ReadError::Storage));
            // Others go on.
            open_partition(&shard, OTHER, Durability::Sync).await;
            append(&shard, vec![append_to(OTHER, 100)]).await;
            shard.stop().await;
        });
        // The power would bring back what was deleted: its name is not gone from stable storage.
        restart(&mut world, node, Crash::Kill);
    }
    for (added, on_rot) in [RotPolicy::Continue, RotPolicy::Refuse]
        .into_iter()
        .enumerate()
    {
        world.block_on(node, move |io| async move {
            let shard = started(&io, ShardConfig { on_rot, ..config() }).await;
            go_on(&shard, 1, BATCHES, BATCHES + added as i64).await;
        });
        restart(&mut world, node, Crash::PowerLoss);
    }
}
