//! Removing thousands of old segments: others write the partition's segments meanwhile, and a topic that is
//! made again under the name of the partition keeps its own.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Io;
use corelog_shards::io::sim::{Faults, World, seeds};
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::BatchBuilder;
use corelog_shards::log::config::LogConfig;
use corelog_shards::log::segment_name::{FileKind, SegmentFile};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::Append;
use uuid::Uuid;

use crate::job::run;
use crate::model::{LOG_DIR, key, log_config};

/// Segments that are removed, of one record each.
const OLD: i64 = 300;

/// Every batch fills a segment.
fn tiny_segments() -> LogConfig {
    LogConfig {
        segment_bytes: 100,
        ..log_config(Durability::Sync)
    }
}

/// Appends batches of so many records.
async fn append(shard: &Shard, key: PartitionKey, batches: &[i64]) {
    let appends = batches.iter().map(|records| {
        let mut builder = BatchBuilder::uncompressed();
        for _ in 0..*records {
            builder.append(0, None, Some(&[7; 60])).expect("appended");
        }
        let batch = Bytes::from(builder.finish().expect("built"));
        Append::own(key, batch)
    });
    let appended = shard.append(appends.collect(), shard.io().now()).await;
    for result in appended.wait().await.results {
        result.expect("appended");
    }
}

/// Base offsets of the segments whose files are in the partition's folder.
async fn segment_files(io: &Io) -> Vec<i64> {
    let entries = io.list_dir(&Path::new(LOG_DIR).join("topic-0")).await;
    let entries = entries.unwrap_or_default().into_iter();
    let files = entries.filter_map(|entry| SegmentFile::parse(&entry.name));
    let logs = files.filter(|file| file.kind == FileKind::Log);
    logs.map(|file| file.base_offset).collect()
}

/// Waits until the files of segments are as they shall be; `job::run` ends a wait for ever.
async fn until(io: &Io, are_so: impl Fn(&[i64]) -> bool) -> Vec<i64> {
    loop {
        let found = segment_files(io).await;
        if are_so(&found) {
            return found;
        }
        io.sleep(Duration::from_micros(10)).await;
    }
}

/// Has all of many segments removed, and returns when the first file is gone.
async fn begin_to_remove(shard: &Shard) {
    shard.set_config(&key(0), tiny_segments());
    append(shard, key(0), &[1; OLD as usize]).await;
    // The last one is active.
    until(shard.io(), |found| found.contains(&(OLD - 2))).await;
    let deleting = shard.clone();
    shard.io().spawn("delete", async move {
        let deleted = deleting.delete_records(&key(0), None).await;
        deleted.expect("deleted");
    });
    until(shard.io(), |found| !found.contains(&0)).await;
}

async fn settle_meanwhile(shard: Shard, _: usize) {
    begin_to_remove(&shard).await;
    append(&shard, key(0), &[1; 3]).await;
    let found = until(shard.io(), |found| found.contains(&(OLD + 1))).await;
    let old = found.iter().filter(|base| **base < OLD).count();
    assert!(old as i64 > OLD / 2, "{old} of {OLD}");
    until(shard.io(), |found| found.iter().all(|base| *base >= OLD)).await;
}

#[test]
fn segments_are_written_while_old_ones_are_removed() {
    for seed in seeds(4) {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        run(&mut world, node, 1, settle_meanwhile);
    }
}

async fn make_again_meanwhile(shard: Shard, _: usize) {
    begin_to_remove(&shard).await;
    shard.drop_partition(&key(0)).await;
    let again = PartitionKey {
        topic: Uuid::from_u128(100),
        ..key(0)
    };
    let opened = shard.open_partition(again, "topic-0", 0, tiny_segments());
    opened.await.expect("opened");
    // Segments with the names of the old topic's newest ones.
    append(&shard, again, &[OLD - 10, 1, 1, 1]).await;
    until(shard.io(), |found| found.contains(&(OLD - 9))).await;
    // Whoever removes files of the old topic does so now.
    shard.io().sleep(Duration::from_secs(5)).await;
    let mut found = segment_files(shard.io()).await;
    found.sort_unstable();
    assert_eq!(found[..3], [0, OLD - 10, OLD - 9]);
}

#[test]
fn a_topic_made_again_keeps_its_segments() {
    for seed in seeds(4) {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        run(&mut world, node, 1, make_again_meanwhile);
    }
}
