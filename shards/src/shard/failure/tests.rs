//! Folders of one device, of which one fails.

use std::time::Duration;

use uuid::Uuid;

use crate::io::sim::{Crash, Faults, NodeId, Operation, World};
use crate::shard::tests::{append, append_to, config, open_in, read_all, started};
use crate::shard::{FolderConfig, ShardConfig};

const A_SECOND: Duration = Duration::from_secs(1);

const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);

/// The first folder has the metadata log and the journal.
fn two_folders() -> ShardConfig {
    let second = FolderConfig {
        is_required: false,
        ..FolderConfig::only(SECOND, "/second")
    };
    ShardConfig {
        folders: vec![FolderConfig::only(FIRST, "/first"), second],
        ..config()
    }
}

/// A partition of the second folder has batches of which its file has the first, not synced, when that folder fails. Then
/// the journal goes on for so long that all that it had of them is overwritten, unless it ends too.
fn go_on_after(world: &mut World, node: NodeId, fails: &[Operation]) -> i64 {
    const BATCHES: i64 = 100;
    world.start(node, 1, |_, _| async {});
    let shard = world.block_on(node, |io| async move {
        let shard = started(&io, two_folders()).await;
        open_in(&shard, 1, FIRST).await;
        open_in(&shard, 2, SECOND).await;
        for _ in 0..BATCHES {
            append(&shard, vec![append_to(2, 60_000)]).await;
        }
        shard
    });
    for operation in fails {
        world.fail_next(node, *operation, "/second/topic2");
    }
    let ends = !fails.is_empty();
    world.block_on(node, |io| async move {
        shard.fail_folder(SECOND);
        let mut appends_left = 1_000;
        while appends_left > 0 && !shard.has_failed() {
            let pending = shard.append(vec![append_to(1, 60_000)], io.now()).await;
            pending.wait().await;
            appends_left -= 1;
        }
        io.sleep(A_SECOND).await;
        assert_eq!(shard.has_failed(), ends);
    });
    BATCHES
}

fn has_all_after_power_loss(fails: &[Operation]) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let batches = go_on_after(&mut world, node, fails);
    world.crash(node, Crash::PowerLoss);
    world.start(node, 1, |_, _| async {});
    let read = world.block_on(node, |io| async move {
        let shard = started(&io, two_folders()).await;
        open_in(&shard, 2, SECOND).await;
        read_all(&shard, 2).await
    });
    assert_eq!(read, batches);
}

#[test]
fn what_a_failed_folder_had_acknowledged_survives_the_loss_of_power() {
    has_all_after_power_loss(&[]);
}

#[test]
fn also_if_its_files_cannot_be_synced() {
    has_all_after_power_loss(&[Operation::Sync]);
}
