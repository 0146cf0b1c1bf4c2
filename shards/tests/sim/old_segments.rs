//! Removing many old segments: others write the partition's segments meanwhile, neither a start nor who deleted
//! the records waits for it, and a topic that is made again under the name of the partition keeps its own.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Io;
use corelog_shards::io::sim::{Crash, Faults, World, seeds};
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::{Batch, BatchBuilder};
use corelog_shards::log::config::LogConfig;
use corelog_shards::log::segment_name::{
    FileKind, PARTITION_METADATA, SegmentFile, format_partition_metadata,
};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::Append;
use uuid::Uuid;

use crate::job::run;
use crate::model::{LOG_DIR, key, log_config, spec};

/// Segments that are removed, of one record each.
const OLD: i64 = 300;

/// Every batch fills a segment.
fn tiny_segments() -> LogConfig {
    LogConfig {
        segment_bytes: 100,
        file_delete_delay: Duration::ZERO,
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
    let deleted = shard.delete_records(&key(0), None).await;
    deleted.expect("deleted");
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

/// Base offsets of the segments that are to be removed and whose files are still there.
async fn old_files(io: &Io) -> Vec<i64> {
    let found = segment_files(io).await;
    found.into_iter().filter(|base| *base < OLD).collect()
}

async fn start_meanwhile(shard: Shard, _: usize) {
    let left = old_files(shard.io()).await.len();
    assert!(left as i64 > OLD / 2, "{left} of {OLD} were left");
    shard.set_config(&key(0), tiny_segments());
    append(&shard, key(0), &[1; 3]).await;
    until(shard.io(), |found| found.iter().all(|base| *base >= OLD)).await;
    until(shard.io(), |found| found.contains(&(OLD + 1))).await;
    // Nobody writes to them any more.
    shard.io().sleep(Duration::from_secs(5)).await;
    assert_eq!(old_files(shard.io()).await, []);
}

#[test]
fn a_start_does_not_wait_for_the_removal_of_old_segments() {
    for seed in seeds(4) {
        for crash in [Crash::Kill, Crash::PowerLoss] {
            let mut world = World::new(seed, Faults::none());
            let node = world.add_node();
            run(&mut world, node, 1, |shard, _| async move {
                begin_to_remove(&shard).await
            });
            world.crash(node, crash);
            run(&mut world, node, 1, start_meanwhile);
        }
    }
}

/// As if the topic had been deleted and made again, and a crash had kept that from the journal.
async fn give_folder_to_another_topic(io: Io) -> Vec<i64> {
    let topic = format_partition_metadata(Uuid::from_u128(100));
    let path = Path::new(LOG_DIR).join("topic-0").join(PARTITION_METADATA);
    io.write_small(&path, topic.as_bytes()).await.expect("said");
    old_files(&io).await
}

#[test]
fn a_start_leaves_the_segments_of_another_topic_alone() {
    for seed in seeds(4) {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        run(&mut world, node, 1, |shard, _| async move {
            begin_to_remove(&shard).await
        });
        world.crash(node, Crash::Kill);
        world.start(node, 1, |_, _| async {});
        let before = world.block_on(node, give_folder_to_another_topic);
        world.crash(node, Crash::Kill);
        run(&mut world, node, 1, |shard, _| async move {
            shard.io().sleep(Duration::from_secs(5)).await;
        });
        assert_eq!(
            world.block_on(node, |io| async move { old_files(&io).await }),
            before
        );
    }
}

async fn make_again_meanwhile(shard: Shard, _: usize) {
    begin_to_remove(&shard).await;
    shard.drop_partitions(&[key(0)]).await;
    let again = PartitionKey {
        topic: Uuid::from_u128(100),
        ..key(0)
    };
    let opened = shard.open_partition(again, "topic-0", Uuid::nil(), 0, tiny_segments());
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

async fn append_and_stop(shard: Shard, _: usize) {
    append(&shard, key(0), &[1]).await;
    shard.stop().await;
}

/// Has retention take the active segment, the beginning of which is in its file.
async fn retain_nothing(shard: Shard, _: usize) {
    assert_eq!(segment_files(shard.io()).await, [0]);
    let of_one_second = LogConfig {
        retention_ms: Some(1_000),
        file_delete_delay: Duration::ZERO,
        ..log_config(Durability::Sync)
    };
    shard.set_config(&key(0), of_one_second);
    append(&shard, key(0), &[1]).await;
    shard.enforce_retention().await;
    until(shard.io(), |found| found.is_empty()).await;
}

async fn read_what_is_left(shard: Shard, _: usize) {
    let mut read = shard.read(&[spec(0, 2, 1 << 20)]).await;
    let bytes = read.remove(0).expect("read").batches.concat();
    let batch = Batch::first(&bytes).expect("a batch");
    batch.check_crc().expect("sound");
    // A loss of power may have brought back the old one.
    until(shard.io(), |found| found == [2]).await;
}

#[test]
fn a_segment_that_retention_has_taken_is_not_written_again_after_a_crash() {
    for seed in seeds(4) {
        for crash in [Crash::Kill, Crash::PowerLoss] {
            let mut world = World::new(seed, Faults::none());
            let node = world.add_node();
            run(&mut world, node, 1, append_and_stop);
            world.crash(node, Crash::Kill);
            run(&mut world, node, 1, retain_nothing);
            world.crash(node, crash);
            run(&mut world, node, 1, append_and_stop);
            world.crash(node, Crash::Kill);
            run(&mut world, node, 1, read_what_is_left);
        }
    }
}
