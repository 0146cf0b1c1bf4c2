use std::path::Path;

use uuid::Uuid;

use super::*;
use crate::io::Io;
use crate::io::sim::{Crash, Faults, World};
use crate::journal::Durability;
use crate::log::config::LogConfig;
use crate::log::segment_name::{FileKind, PARTITION_METADATA, format_partition_metadata};
use crate::shard::tests::{append, append_to, config, key, started, with_shard};
use crate::shard::{FolderConfig, ShardConfig};

const DELAY: Duration = Duration::from_secs(60);
/// More than the work takes, and less than the delay.
const A_MOMENT: Duration = Duration::from_secs(1);
const DIR: &str = "/data/topic1-0";
const NONE: [i64; 0] = [];

fn delayed() -> ShardConfig {
    ShardConfig {
        folder_delete_delay: DELAY,
        ..config()
    }
}

/// Each batch of 600 KiB fills a segment.
async fn open_partition(shard: &Shard, topic: u128) {
    let config = LogConfig {
        segment_bytes: 1 << 20,
        file_delete_delay: DELAY,
        durability: Durability::Sync,
        ..LogConfig::default()
    };
    let opened = shard.open_partition(key(topic), "topic1-0", Uuid::nil(), 0, config);
    opened.await.expect("a partition");
}

/// Fills four segments, which are all written, the last one in part.
async fn fill(shard: &Shard, topic: u128) {
    open_partition(shard, topic).await;
    for _ in 0..4 {
        append(shard, vec![append_to(topic, 600 << 10)]).await;
    }
    shard.io().sleep(A_MOMENT).await;
}

async fn names(io: &Io, dir: &str) -> Vec<String> {
    let entries = io.list_dir(Path::new(dir)).await.unwrap_or_default();
    entries.into_iter().map(|entry| entry.name).collect()
}

/// Base offsets of the logs in the folder, of those that are marked or of the others.
async fn logs(io: &Io, are_marked: bool) -> Vec<i64> {
    let names = names(io, DIR).await;
    let files = names.iter().filter_map(|name| SegmentFile::parse(name));
    let logs = files.filter(|file| file.kind == FileKind::Log && file.deleted == are_marked);
    let mut bases: Vec<i64> = logs.map(|file| file.base_offset).collect();
    bases.sort_unstable();
    bases
}

async fn folders_of_deleted(io: &Io) -> Vec<String> {
    let mut names = names(io, "/data").await;
    names.retain(|name| name.ends_with("-delete"));
    names
}

#[test]
fn files_of_deleted_segments_keep_for_the_delay_under_another_name() {
    with_shard(delayed(), |shard| async move {
        fill(&shard, 1).await;
        assert_eq!(logs(shard.io(), false).await, [0, 1, 2, 3]);
        shard
            .delete_records(&key(1), Some(2))
            .await
            .expect("deleted");
        shard.io().sleep(DELAY - A_MOMENT).await;
        assert_eq!(logs(shard.io(), false).await, [2, 3]);
        assert_eq!(logs(shard.io(), true).await, [0, 1]);
        let all = names(shard.io(), DIR).await;
        for name in ["log", "index", "timeindex"] {
            let name = format!("00000000000000000001.{name}.deleted");
            assert!(all.contains(&name), "{name} of {all:?}");
        }
        shard.io().sleep(2 * A_MOMENT).await;
        let all = names(shard.io(), DIR).await;
        assert!(
            !all.iter().any(|name| name.ends_with(".deleted")),
            "{all:?}"
        );
        assert_eq!(logs(shard.io(), false).await, [2, 3]);
    });
}

#[test]
fn without_a_delay_they_go_at_once() {
    with_shard(delayed(), |shard| async move {
        fill(&shard, 1).await;
        let now = LogConfig {
            file_delete_delay: Duration::ZERO,
            ..LogConfig::default()
        };
        shard.set_config(&key(1), now);
        shard
            .delete_records(&key(1), Some(2))
            .await
            .expect("deleted");
        shard.io().sleep(A_MOMENT).await;
        assert_eq!(logs(shard.io(), true).await, NONE);
        assert_eq!(logs(shard.io(), false).await, [2, 3]);
    });
}

#[test]
fn the_folder_of_a_deleted_partition_keeps_for_the_delay() {
    with_shard(delayed(), |shard| async move {
        fill(&shard, 1).await;
        shard.drop_partitions(&[key(1)]).await;
        shard.io().sleep(DELAY - A_MOMENT).await;
        let [folder] = &folders_of_deleted(shard.io()).await[..] else {
            panic!("one folder")
        };
        assert!(folder.starts_with("topic1-0."), "{folder}");
        let files = names(shard.io(), &format!("/data/{folder}")).await;
        assert!(files.contains(&"00000000000000000000.log".to_owned()));
        // A topic of the same name has a folder of its own meanwhile.
        fill(&shard, 2).await;
        shard.io().sleep(2 * A_MOMENT).await;
        assert_eq!(folders_of_deleted(shard.io()).await, [""; 0]);
        assert_eq!(logs(shard.io(), false).await, [0, 1, 2, 3]);
    });
}

/// Deletes two segments and another partition. Their files stay for the delay.
async fn delete_some(shard: &Shard) {
    fill(shard, 2).await;
    shard.drop_partitions(&[key(2)]).await;
    fill(shard, 1).await;
    shard
        .delete_records(&key(1), Some(2))
        .await
        .expect("deleted");
    shard.io().sleep(A_MOMENT).await;
    assert_eq!(logs(shard.io(), true).await, [0, 1]);
}

/// Deletes two segments and another partition, ends the run at once, and looks at what the next one
/// finds: after a moment, and after the delay.
fn after_a_restart(end: Option<Crash>) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        let shard = started(&io, delayed()).await;
        delete_some(&shard).await;
        if end.is_none() {
            shard.stop().await;
        }
    });
    world.crash(node, end.unwrap_or(Crash::Kill));
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, delayed()).await;
        open_partition(&shard, 1).await;
        io.sleep(DELAY - A_MOMENT).await;
        assert_eq!(logs(&io, true).await, [0, 1]);
        assert_eq!(logs(&io, false).await.first(), Some(&2));
        assert_eq!(folders_of_deleted(&io).await.len(), 1);
        io.sleep(2 * BEFORE_LOOKING).await;
        assert_eq!(logs(&io, true).await, NONE);
        assert_eq!(folders_of_deleted(&io).await, [""; 0]);
    });
}

#[test]
fn what_is_marked_goes_after_a_restart_too() {
    for end in [None, Some(Crash::Kill), Some(Crash::PowerLoss)] {
        after_a_restart(end);
    }
}

#[test]
fn a_start_removes_segments_before_all_that_the_log_knows() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, delayed()).await;
        fill(&shard, 1).await;
        shard
            .delete_records(&key(1), Some(2))
            .await
            .expect("deleted");
        io.sleep(DELAY + A_MOMENT).await;
        shard.stop().await;
        // As if a loss of power had brought it back.
        let back = Path::new(DIR).join("00000000000000000001.log");
        io.write_small(&back, b"anything").await.expect("a file");
    });
    world.crash(node, Crash::Kill);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, delayed()).await;
        open_partition(&shard, 1).await;
        io.sleep(2 * BEFORE_LOOKING).await;
        assert_eq!(logs(&io, false).await, [2, 3]);
        assert_eq!(logs(&io, true).await, [1]);
        io.sleep(DELAY).await;
        assert_eq!(logs(&io, true).await, NONE);
    });
}

#[test]
fn on_a_full_disk_they_go_at_once() {
    with_shard(delayed(), |shard| async move {
        delete_some(&shard).await;
        shard.set_disk_full(&shard.0.volumes[0], true);
        shard.io().sleep(A_MOMENT).await;
        assert_eq!(logs(shard.io(), true).await, NONE);
        assert_eq!(folders_of_deleted(shard.io()).await, [""; 0]);
    });
}

#[test]
fn another_full_disk_does_not_hurry_them() {
    let other = FolderConfig {
        device: 1,
        is_required: false,
        ..FolderConfig::only(Uuid::from_u128(1), "/other")
    };
    let mut config = delayed();
    config.folders.push(other);
    with_shard(config, |shard| async move {
        delete_some(&shard).await;
        shard.set_disk_full(&shard.0.volumes[1], true);
        shard.io().sleep(A_MOMENT).await;
        assert_eq!(logs(shard.io(), true).await, [0, 1]);
    });
}

/// Apache Kafka marks what its cleaner has replaced, which has the names of what replaces it.
#[test]
fn a_marked_file_may_have_the_name_of_one_in_use() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, delayed()).await;
        fill(&shard, 1).await;
        shard.stop().await;
        let replaced = Path::new(DIR).join("00000000000000000002.log.deleted");
        io.write_small(&replaced, b"anything")
            .await
            .expect("a file");
    });
    world.crash(node, Crash::Kill);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, delayed()).await;
        open_partition(&shard, 1).await;
        io.sleep(2 * BEFORE_LOOKING).await;
        assert_eq!(logs(&io, false).await, [0, 1, 2, 3]);
        assert_eq!(logs(&io, true).await, [2]);
        io.sleep(DELAY).await;
        assert_eq!(logs(&io, false).await, [0, 1, 2, 3]);
        assert_eq!(logs(&io, true).await, NONE);
    });
}

#[test]
fn old_segments_go_whatever_the_metadata_of_their_folder_says() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let shard = started(&io, delayed()).await;
        fill(&shard, 1).await;
        let deleted = shard.delete_records(&key(1), Some(2)).await;
        deleted.expect("deleted");
    });
    world.crash(node, Crash::Kill);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        assert_eq!(logs(&io, false).await, [0, 1, 2, 3]);
        let metadata = format_partition_metadata(Uuid::from_u128(77));
        let path = Path::new(DIR).join(PARTITION_METADATA);
        let written = io.write_small(&path, metadata.as_bytes()).await;
        written.expect("a file");
        let shard = started(&io, delayed()).await;
        // Whose the folder is cannot be known yet.
        io.sleep(A_MOMENT).await;
        assert_eq!(logs(&io, false).await, [0, 1, 2, 3]);
        open_partition(&shard, 1).await;
        io.sleep(2 * BEFORE_LOOKING).await;
        assert_eq!(logs(&io, false).await, [2, 3]);
    });
}
