//! A partition of one folder whose records are in the journal of another, while folders change their devices.

use std::path::Path;

use uuid::Uuid;

use crate::io::Io;
use crate::io::sim::{Crash, Faults, NodeId, Operation, World};
use crate::mesh::lanes;
use crate::route::Route;
use crate::shard::message::{AppendError, ReadError};
use crate::shard::tests::{append, append_to, config, open_in, read_all, spec, started};
use crate::shard::{FolderConfig, RotPolicy, Shard, ShardConfig, open};

/// The folder of the partition.
const OWN: u128 = 1;
/// The one that has its journal at first.
const HOST: u128 = 2;
const OTHER: u128 = 3;
/// One that is always there, on a device of its own: a shard needs some folder.
const BYSTANDER: (u128, u64) = (4, 9);

const BATCHES: i64 = 5;

/// Folders in their order, each with its device.
fn folders(placed: &[(u128, u64)]) -> ShardConfig {
    let folder = |&(id, device): &(u128, u64)| FolderConfig {
        device,
        is_required: false,
        ..FolderConfig::only(Uuid::from_u128(id), format!("/folder{id}"))
    };
    ShardConfig {
        folders: placed.iter().chain([&BYSTANDER]).map(folder).collect(),
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

/// Runs a job on a shard with these folders, in which the partition was opened, then crashes.
fn run<T, F>(
    world: &mut World,
    node: NodeId,
    placed: &[(u128, u64)],
    job: impl FnOnce(Shard) -> F + 'static,
) -> T
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let config = folders(placed);
    let result = world.block_on(node, |io| async move {
        let shard = started(&io, config).await;
        open_in(&shard, 1, Uuid::from_u128(OWN)).await;
        job(shard).await
    });
    restart(world, node);
    result
}

fn restart(world: &mut World, node: NodeId) {
    world.crash(node, Crash::PowerLoss);
    world.start(node, 1, |_, _| async {});
}

fn write_some(world: &mut World, node: NodeId, placed: &[(u128, u64)]) {
    run(world, node, placed, |shard| async move {
        for _ in 0..BATCHES {
            append(&shard, vec![append_to(1, 1_000)]).await;
        }
    });
}

fn assert_has_all(world: &mut World, node: NodeId, placed: &[(u128, u64)]) {
    let read = run(world, node, placed, |shard| async move {
        read_all(&shard, 1).await
    });
    assert_eq!(read, BATCHES);
}

/// Nothing is taken or read of the partition.
fn assert_is_offline(world: &mut World, node: NodeId, placed: &[(u128, u64)]) {
    run(world, node, placed, |shard| async move {
        let read = shard.read(&[spec(1, 0)]).await.remove(0);
        assert_eq!(read.err(), Some(ReadError::FolderOffline));
        let appends = vec![append_to(1, 1_000)];
        let pending = shard.append(appends, shard.io().now()).await;
        let result = pending.wait().await.results.remove(0);
        assert_eq!(result.err(), Some(AppendError::FolderOffline));
    });
}

/// The last thing that this start does fails: to say where the journal of a folder is.
fn start_ends_before_its_end(
    world: &mut World,
    node: NodeId,
    placed: &[(u128, u64)],
    folder: u128,
) {
    let config = folders(placed);
    let part = format!("/folder{folder}/.journal_folders");
    world.fail_next(node, Operation::Write, &part);
    let is_open = world.block_on(node, |io: Io| async move {
        let ends = lanes(1).pop().expect("one shard");
        open(io, 0, Route::new(1), config, ends).await.is_ok()
    });
    assert!(!is_open);
    restart(world, node);
}

#[test]
fn a_folder_waits_for_what_its_journals_folder_waits_for() {
    let (mut world, node) = new_world();
    let (world, all) = (&mut world, [(OWN, 1), (HOST, 1), (OTHER, 2)]);
    // The host's own journal is in the third folder.
    run(world, node, &[(OTHER, 1), (HOST, 1)], |_| async {});
    write_some(world, node, &[(OWN, 1)]);
    start_ends_before_its_end(world, node, &[(HOST, 1), (OWN, 1), (OTHER, 2)], HOST);
    assert_is_offline(world, node, &[(HOST, 1), (OWN, 1)]);
    assert_has_all(world, node, &all);
}

#[test]
fn what_is_known_of_a_missing_folder_stays_where_it_is() {
    let (mut world, node) = new_world();
    let world = &mut world;
    write_some(world, node, &[(OTHER, 1), (HOST, 2), (OWN, 2)]);
    assert_is_offline(world, node, &[(OTHER, 1), (HOST, 2)]);
    assert_has_all(world, node, &[(HOST, 2), (OWN, 2)]);
}

#[test]
fn a_folder_that_comes_back_waits_for_where_its_journal_went_meanwhile() {
    let (mut world, node) = new_world();
    let world = &mut world;
    write_some(world, node, &[(HOST, 1), (OWN, 1)]);
    assert_is_offline(world, node, &[(OTHER, 1), (HOST, 1)]);
    assert_is_offline(world, node, &[(OTHER, 2), (HOST, 1)]);
    assert_is_offline(world, node, &[(HOST, 1), (OWN, 1)]);
    assert_has_all(world, node, &[(OTHER, 2), (HOST, 1), (OWN, 1)]);
    // By then nothing of it is elsewhere.
    assert_has_all(world, node, &[(HOST, 1), (OWN, 1)]);
}

/// Its folder is not the first of its device any more.
#[test]
fn a_start_that_goes_on_without_a_journal_goes_on_without_its_folder_as_well() {
    let (mut world, node) = new_world();
    let world = &mut world;
    write_some(world, node, &[(OWN, 1)]);
    world.block_on(node, |io| async move {
        let dir = Path::new("/folder1/journal");
        for entry in io.list_dir(dir).await.expect("a folder") {
            let removed = io.remove_file(&dir.join(entry.name)).await;
            removed.expect("removed");
        }
        io.remove_dir(dir).await.expect("removed");
    });
    // What is missing is told of once.
    for on_rot in [RotPolicy::Continue, RotPolicy::Refuse] {
        let config = ShardConfig {
            on_rot,
            ..folders(&[(HOST, 1), (OWN, 1)])
        };
        world.block_on(node, |io| async move {
            let shard = started(&io, config).await;
            open_in(&shard, 1, Uuid::from_u128(OWN)).await;
            append(&shard, vec![append_to(1, 1_000)]).await;
        });
        restart(world, node);
    }
}
