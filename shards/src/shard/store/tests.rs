//! What segment files hold after crashes.

use crate::io::sim::{Crash, Faults, NodeId, Operation, World};
use crate::journal::Durability;
use crate::shard::Shard;
use crate::shard::settle::Reach;
use crate::shard::tests::{append, append_to, config, key, open_partition, spec, started};

const RECORD: usize = 50_000;

fn start(world: &mut World, node: NodeId) -> Shard {
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, config()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        shard
    })
}

/// Settles all that partition 1 has, and anchors it anew.
async fn settle_all(shard: &Shard) {
    let partition = shard.partition(&key(1)).expect("it is open");
    let turn = partition.settling.take().await;
    let settled = shard.settle(&partition, Reach::End).await;
    settled.expect("settled");
    drop(turn);
    shard.anchor_anew(&partition).await;
    if !shard.has_failed() {
        assert!(shard.anchor_synced(&partition).await);
    }
}

async fn batches_read(shard: &Shard, offset: i64) -> usize {
    let read = shard.read(&[spec(1, offset)]).await.remove(0);
    let batches = read.expect("read").batches.concat();
    batches.len() / RECORD
}

#[test]
fn a_segment_keeps_its_length_though_it_was_read_before_it_was_written_again() {
    for seed in 0..20 {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        let shard = start(&mut world, node);
        let shard = world.block_on(node, |_| async move {
            append(&shard, vec![append_to(1, RECORD)]).await;
            settle_all(&shard).await;
            append(&shard, vec![append_to(1, RECORD)]).await;
            shard
        });
        world.fail_next(node, Operation::Sync, ".log");
        world.block_on(node, |_| async move {
            settle_all(&shard).await;
            assert!(shard.has_failed());
        });
        world.crash(node, Crash::Kill);
        let shard = start(&mut world, node);
        world.block_on(node, |_| async move {
            assert_eq!(batches_read(&shard, 0).await, 1, "from the file");
            settle_all(&shard).await;
            assert!(!shard.has_failed());
        });
        world.crash(node, Crash::PowerLoss);
        let shard = start(&mut world, node);
        world.block_on(node, |_| async move {
            assert_eq!(batches_read(&shard, 1).await, 1);
        });
    }
}
