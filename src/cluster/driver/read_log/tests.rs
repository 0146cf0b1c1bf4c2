use std::path::Path;

use corelog_shards::io::Io;
use corelog_shards::io::sim::{Crash, Faults, World};
use corelog_shards::log::config::LogConfig;

use super::*;
use crate::broker::testing::broker;
use crate::cluster::log_codec::testing::encode_snapshot;
use crate::cluster::log_codec::{LogFault, replay_batch};
use crate::cluster::records::ProducerIdsRecord;

/// Written by Apache Kafka 4.3.1; ends at offset 125.
const KAFKA_LOG: &[u8] = include_bytes!(
    "../../../../tests/formats/kafka-4.3.1/__cluster_metadata-0/00000000000000000000.log"
);
const LOG_END: i64 = 125;
const DIR: &str = "/data/__cluster_metadata-0";

/// The log in two at a batch that begins at `at` or later, with what the first part says.
fn cut(at: i64) -> (Image, Vec<u8>) {
    let mut replayer = Replayer::new(Image::empty("c"));
    let mut rest = Vec::new();
    for batch in BatchIter::verifying(KAFKA_LOG) {
        let batch = batch.expect("a good batch");
        let is_open = replayer.open_transaction().is_some();
        if rest.is_empty() && (batch.base_offset() < at || is_open) {
            replay_batch(batch, &mut replayer).expect("a good log");
        } else {
            rest.extend_from_slice(batch.bytes());
        }
    }
    (replayer.image().clone(), rest)
}

fn whole() -> Image {
    cut(LOG_END).0
}

fn id_of(image: &Image) -> SnapshotId {
    SnapshotId {
        end_offset: image.last_offset + 1,
        epoch: image.last_epoch,
    }
}

fn base_of(log: &[u8]) -> i64 {
    let first = BatchIter::new(log).next().expect("a batch");
    first.expect("a good batch").base_offset()
}

/// What reading gives of a folder with this log, the base of its segment and these snapshots.
fn read(base: i64, log: Vec<u8>, snapshots: Vec<(String, Vec<u8>)>) -> Result<Image, ReadLogError> {
    read_all(base, log, snapshots).map(|read| read.replayer.image().clone())
}

fn read_all(
    base: i64,
    log: Vec<u8>,
    snapshots: Vec<(String, Vec<u8>)>,
) -> Result<ReadLog, ReadLogError> {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        let dir = Path::new(DIR);
        io.create_dir_all(dir).await.expect("a folder");
        let files = snapshots
            .into_iter()
            .chain([(format!("{base:020}.log"), log)]);
        for (name, bytes) in files {
            io.write_small(&dir.join(name), &bytes)
                .await
                .expect("a file");
        }
        read_in(&io).await
    })
}

/// Reads the folder as a start does.
async fn read_in(io: &Io) -> Result<ReadLog, ReadLogError> {
    let broker = broker(io, Path::new("/data")).await;
    let shard = &broker.shard;
    shard
        .open_partition(
            METADATA_LOG,
            "__cluster_metadata-0",
            broker.node.directory_id,
            0,
            LogConfig::default(),
        )
        .await
        .expect("a log");
    read_log(shard, Path::new(DIR), Image::empty("c")).await
}

#[test]
fn a_whole_log_needs_no_snapshot() {
    assert_eq!(read(0, KAFKA_LOG.to_vec(), Vec::new()).unwrap(), whole());
}

#[test]
fn a_log_without_its_beginning_is_read_from_its_newest_snapshot() {
    let snapshot_of = |image: &Image| (id_of(image).file_name(), encode_snapshot(image, 5, 6));
    let (old, _) = cut(30);
    let (newest, behind) = cut(80);
    assert!(base_of(&behind) < LOG_END && newest.last_offset > old.last_offset);
    assert!(!newest.topics.is_empty());
    let mut snapshots = vec![snapshot_of(&newest), snapshot_of(&old)];
    snapshots.push((
        "00000000000000000200-0000000002.checkpoint.part".into(),
        vec![1],
    ));
    // The log may reach back behind the snapshot.
    let overlapping = cut(60).1;
    for log in [behind, overlapping] {
        let image = read(base_of(&log), log, snapshots.clone()).unwrap();
        assert_eq!(image, whole());
    }
}

#[test]
fn a_snapshot_is_read_in_place_of_the_log_that_it_stands_for() {
    let (image, behind) = cut(80);
    // What it says of the cluster tells it from the log.
    let mut other = Replayer::new(image);
    let record = ProducerIdsRecord {
        broker_id: 1,
        broker_epoch: 1,
        next_producer_id: 1 << 40,
    };
    let offset = other.image().last_offset + 1;
    other.replay(offset, 1, &record.into()).expect("it fits");
    let mut image = other.image().clone();
    image.last_offset -= 1;
    let snapshot = (id_of(&image).file_name(), encode_snapshot(&image, 5, 6));
    let read = read_all(0, KAFKA_LOG.to_vec(), vec![snapshot]).unwrap();
    assert_eq!(read.replayer.image().next_producer_id, 1 << 40);
    assert_eq!(read.replayer.image().topics, whole().topics);
    assert_eq!(read.bytes_behind, behind.len() as u64);
    let snapshots: Vec<_> = read.snapshots.iter().map(|kept| kept.id).collect();
    assert_eq!(snapshots, [id_of(&image)]);
    assert_eq!(read.snapshots[0].last_log_timestamp_ms, Some(5));
}

#[test]
fn a_damaged_snapshot_is_passed_over_while_the_log_reaches_back_far_enough() {
    let (old, _) = cut(30);
    let (newest, _) = cut(80);
    let sound = (id_of(&old).file_name(), encode_snapshot(&old, 5, 6));
    let mut rotten = encode_snapshot(&newest, 5, 6);
    let middle = rotten.len() / 2;
    rotten[middle] ^= 1;
    let cut_short = encode_snapshot(&newest, 5, 6);
    let cut_short = cut_short[..cut_short.len() - 1].to_vec();
    for damaged in [rotten, cut_short, Vec::new()] {
        let damaged = (id_of(&newest).file_name(), damaged);
        let (_, behind_old) = cut(30);
        for (log, snapshots, kept) in [
            (behind_old, vec![sound.clone(), damaged.clone()], 1),
            (KAFKA_LOG.to_vec(), vec![damaged], 0),
        ] {
            let read = read_all(base_of(&log), log, snapshots).unwrap();
            assert_eq!(read.replayer.image(), &whole());
            assert_eq!(read.snapshots.len(), kept);
            assert_eq!(read.damaged, [id_of(&newest)]);
            assert!(read.is_one_passed_over);
        }
    }
}

#[test]
fn a_log_without_its_beginning_and_without_a_snapshot_is_refused() {
    let (image, log) = cut(80);
    let base = base_of(&log);
    let refused = read(base, log.clone(), Vec::new()).unwrap_err();
    assert!(
        matches!(refused, ReadLogError::NoBeginning { begins, .. } if begins == base),
        "{refused}"
    );
    let text = refused.to_string();
    assert!(
        text.contains(DIR) && text.contains(&base.to_string()),
        "{text}"
    );

    // One that does not reach to where the log begins.
    let (old, _) = cut(30);
    let snapshot = (id_of(&old).file_name(), encode_snapshot(&old, 5, 6));
    let refused = read(base, log.clone(), vec![snapshot]).unwrap_err();
    assert!(
        matches!(refused, ReadLogError::NoBeginning { .. }),
        "{refused}"
    );

    // One that is damaged.
    let name = id_of(&image).file_name();
    let refused = read(base, log, vec![(name.clone(), vec![1, 2, 3])]).unwrap_err();
    assert!(
        matches!(refused, ReadLogError::Snapshot { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains(&name));
}

#[test]
fn a_log_that_ends_before_its_snapshot_is_refused() {
    let image = whole();
    let snapshot = (id_of(&image).file_name(), encode_snapshot(&image, 5, 6));
    let (_, rest) = cut(80);
    let begun = KAFKA_LOG[..KAFKA_LOG.len() - rest.len()].to_vec();
    let refused = read(0, begun, vec![snapshot.clone()]).unwrap_err();
    assert!(
        matches!(refused, ReadLogError::EndsBeforeSnapshot { .. }),
        "{refused}"
    );

    // All of it may be in the snapshot.
    assert_eq!(read(LOG_END, Vec::new(), vec![snapshot]).unwrap(), image);
}

#[test]
fn a_log_with_a_gap_is_refused() {
    let (_, from) = cut(60);
    let (_, to) = cut(80);
    let mut log = KAFKA_LOG[..KAFKA_LOG.len() - from.len()].to_vec();
    log.extend(&to);
    let refused = read(0, log, Vec::new()).unwrap_err();
    let ReadLogError::Log { error, .. } = refused else {
        panic!("{refused}");
    };
    let expected = base_of(&from);
    assert_eq!(error.offset, base_of(&to));
    assert_eq!(error.fault, LogFault::Gap { expected });
}

#[test]
fn a_snapshot_that_a_start_relies_on_outlives_the_power() {
    let (image, behind) = cut(80);
    let log = format!("{:020}.log", base_of(&behind));
    let name = id_of(&image).file_name();
    for seed in 0..20 {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        let (image, behind) = (image.clone(), behind.clone());
        let (log, its_name) = (log.clone(), name.clone());
        world.block_on(node, move |io| async move {
            let dir = Path::new(DIR);
            io.create_dir_all(dir).await.expect("a folder");
            let (partial, log) = (dir.join("part"), dir.join(log));
            io.write_small(&log, &behind).await.expect("a log");
            let snapshot = encode_snapshot(&image, 5, 6);
            io.write_small(&partial, &snapshot).await.expect("a file");
            let named = io.rename(&partial, &dir.join(its_name)).await;
            named.expect("a name");
        });
        // Whoever made it was killed before it had synced the folder.
        world.crash(node, Crash::Kill);
        world.start(node, 1, |_, _| async {});
        let read = world.block_on(node, |io| async move { read_in(&io).await });
        assert_eq!(read.expect("read").snapshots.len(), 1, "seed {seed}");
        world.crash(node, Crash::PowerLoss);
        world.start(node, 1, |_, _| async {});
        let names = world.block_on(node, |io| async move {
            let entries = io.list_dir(Path::new(DIR)).await.expect("listed");
            entries
                .into_iter()
                .map(|entry| entry.name)
                .collect::<Vec<_>>()
        });
        assert!(names.contains(&name), "seed {seed}: {names:?}");
    }
}
