//! What segment files hold after crashes.

use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use crate::io::Io;
use crate::io::sim::{Crash, Faults, NodeId, Operation, World};
use crate::journal::Durability;
use crate::log::config::LogConfig;
use crate::log::segment_name::{
    PARTITION_METADATA, format_partition_metadata, parse_partition_metadata,
};
use crate::route::{METADATA_TOPIC, PartitionKey};
use crate::shard::message::Append;
use crate::shard::settle::Reach;
use crate::shard::tests::{append, append_to, config, key, open_partition, spec, started};
use crate::shard::{Shard, ShardConfig};

const RECORD: usize = 50_000;
const A_WHILE: Duration = Duration::from_secs(3);

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

const DIR: &str = "/data/topic1-0";
const INDEX: &str = "/data/topic1-0/00000000000000000000.index";

/// The journal keeps all that it has.
fn roomy() -> ShardConfig {
    ShardConfig {
        journal_bytes: 64 << 20,
        ..config()
    }
}

/// A node whose next run finds that partition 1, of which something is in a file and more is not, has the folder of
/// another topic, with an index: so it looks after rot, too.
fn with_foreign_dir(more: usize) -> (World, NodeId) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        let shard = started(&io, roomy()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        append(&shard, vec![append_to(1, RECORD)]).await;
        settle_all(&shard).await;
        let more = (0..more).map(|_| append_to(1, RECORD));
        append(&shard, more.collect()).await;
    });
    world.crash(node, Crash::Kill);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let metadata = format_partition_metadata(Uuid::from_u128(77));
        let path = Path::new(DIR).join(PARTITION_METADATA);
        for (path, bytes) in [(&*path, metadata.as_bytes()), (Path::new(INDEX), b"other")] {
            io.write_small(path, bytes).await.expect("written");
        }
    });
    (world, node)
}

async fn metadata(io: &Io) -> Option<Uuid> {
    let path = Path::new(DIR).join(PARTITION_METADATA);
    let bytes = io.read_small(&path).await.expect("read");
    parse_partition_metadata(&String::from_utf8(bytes).expect("text"))
}

#[test]
fn a_stop_leaves_alone_what_may_be_another_topics() {
    for more in [0, 1, 30] {
        let (mut world, node) = with_foreign_dir(more);
        world.block_on(node, |io| async move {
            let shard = started(&io, roomy()).await;
            io.sleep(A_WHILE).await;
            shard.stop().await;
            let index = io.read_small(Path::new(INDEX)).await;
            assert_eq!(index.expect("read"), b"other");
            assert_eq!(metadata(&io).await, Some(Uuid::from_u128(77)));
        });
    }
}

#[test]
fn a_partition_is_settled_once_it_is_known_that_its_folder_is_its_own() {
    for ends_another in [false, true] {
        let (mut world, node) = with_foreign_dir(30);
        world.block_on(node, move |io| async move {
            let shard = started(&io, roomy()).await;
            if ends_another {
                open_partition(&shard, 2, Durability::Sync).await;
                append(&shard, vec![append_to(2, 10)]).await;
            }
            let partition = shard.partition(&key(1)).expect("recovered");
            let is_behind = || partition.state.borrow().log.has_full_segment_to_settle();
            io.sleep(A_WHILE).await;
            assert!(partition.has_foreign_dir.get());
            assert!(is_behind());
            if ends_another {
                shard.drop_partitions(&[key(2)]).await;
            }
            open_partition(&shard, 1, Durability::Sync).await;
            io.sleep(A_WHILE).await;
            assert!(!is_behind());
            assert_eq!(metadata(&io).await, Some(key(1).topic));
            assert!(batches_read(&shard, 1).await > 0);
        });
    }
}

#[test]
fn the_folder_of_a_deleted_partition_goes_whatever_its_metadata_says() {
    let (mut world, node) = with_foreign_dir(0);
    world.block_on(node, |io| async move {
        let shard = started(&io, roomy()).await;
        open_partition(&shard, 1, Durability::Sync).await;
        shard.drop_partitions(&[key(1)]).await;
        let entries = io.list_dir(Path::new("/data")).await.expect("listed");
        assert!(entries.iter().all(|entry| entry.name != "topic1-0"));
    });
}

/// The name is free for another topic at once, which would take what is left there for its own.
#[test]
fn the_folder_of_a_deleted_partition_goes_if_its_metadata_cannot_be_read() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let shard = start(&mut world, node);
    world.block_on(node, |_| async move {
        append(&shard, vec![append_to(1, 1_000)]).await;
        shard.stop().await;
    });
    world.crash(node, Crash::Kill);
    let shard = start(&mut world, node);
    world.fail_next(node, Operation::Read, "/data/topic1-0/partition.metadata");
    world.block_on(node, |io| async move {
        shard.drop_partitions(&[key(1)]).await;
        let entries = io.list_dir(Path::new("/data")).await.expect("listed");
        assert!(entries.iter().all(|entry| entry.name != "topic1-0"));
    });
}

#[test]
fn a_partition_that_was_deleted_itself_leaves_the_folder_of_another_topic_alone() {
    let (mut world, node) = with_foreign_dir(0);
    world.block_on(node, |io| async move {
        let shard = started(&io, roomy()).await;
        shard.drop_partitions(&[key(1)]).await;
        io.sleep(A_WHILE).await;
        assert_eq!(metadata(&io).await, Some(Uuid::from_u128(77)));
    });
}

/// Its snapshots are there, which no journal has.
#[test]
fn the_folder_of_the_metadata_log_is_its_own_whatever_its_metadata_says() {
    const DIR_NAME: &str = "__cluster_metadata-0";
    const KEY: PartitionKey = PartitionKey {
        topic: METADATA_TOPIC,
        partition: 0,
    };
    async fn opened(io: &Io) -> Shard {
        let shard = started(io, config()).await;
        let opened = shard.open_partition(KEY, DIR_NAME, Uuid::nil(), 0, LogConfig::default());
        opened.await.expect("a partition");
        shard
    }
    async fn append_to_log(shard: &Shard) {
        let Append { batch, .. } = append_to(1, RECORD);
        append(shard, vec![Append::own(KEY, batch)]).await;
    }
    for is_in_journal in [true, false] {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, move |io| async move {
            let shard = opened(&io).await;
            if is_in_journal {
                append_to_log(&shard).await;
            }
        });
        world.crash(node, Crash::Kill);
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let dir = Path::new("/data").join(DIR_NAME);
            let (metadata, snapshot) = (dir.join(PARTITION_METADATA), dir.join("a.checkpoint"));
            let rotten = format_partition_metadata(Uuid::from_u128(77));
            io.create_dir_all(&dir).await.expect("a folder");
            for (path, bytes) in [(&metadata, rotten.as_bytes()), (&snapshot, b"all topics")] {
                io.write_small(path, bytes).await.expect("written");
            }
            let shard = opened(&io).await;
            append_to_log(&shard).await;
            let partition = shard.partition(&KEY).expect("it is open");
            let turn = partition.settling.take().await;
            let settled = shard.settle(&partition, Reach::End).await;
            settled.expect("settled");
            drop(turn);
            let kept = io.read_small(&snapshot).await;
            assert_eq!(kept.expect("it stays where it is"), b"all topics");
            let mended = io.read_small(&metadata).await.expect("read");
            let mended = parse_partition_metadata(&String::from_utf8_lossy(&mended));
            assert_eq!(mended, Some(METADATA_TOPIC));
        });
    }
}
