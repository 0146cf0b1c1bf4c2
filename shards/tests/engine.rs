//! The engine on real files and real cores: what was acknowledged is there, after restarts, rolls,
//! recycled journal files and another number of cores.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::{Io, Stop};
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::{BatchBuilder, BatchIter};
use corelog_shards::log::config::LogConfig;
use corelog_shards::mesh;
use corelog_shards::route::{PartitionKey, Route};
use corelog_shards::runtime::{cores, run_shards};
use corelog_shards::shard::message::{Append, ReadSpec};
use corelog_shards::shard::{CleanerConfig, FolderConfig, RotPolicy, Shard, ShardConfig, open};
use uuid::Uuid;

const PARTITIONS: i32 = 6;

fn config(dir: &Path) -> ShardConfig {
    ShardConfig {
        folders: vec![FolderConfig::only(Uuid::nil(), dir)],
        journal_bytes: 16 << 20,
        tail_cache_bytes: 1 << 20,
        open_files_max: 16,
        memory_flush: Duration::from_millis(10),
        retention_check: Duration::from_secs(3600),
        producer_expiration_ms: 86_400_000,
        folder_delete_delay: Duration::ZERO,
        cleaner: CleanerConfig::default(),
        on_rot: RotPolicy::Refuse,
    }
}

type Work = fn(Shard) -> Pin<Box<dyn Future<Output = ()>>>;

/// Runs `work` on the first of `shards` shards over `dir`; ends cleanly or leaves everything as a
/// crash would.
fn run(dir: &Path, shards: usize, cleanly: bool, work: Work) {
    let available = cores().expect("cores");
    let pinned: Vec<usize> = (0..shards)
        .map(|shard| available[shard % available.len()])
        .collect();
    let ends = Arc::new(Mutex::new(
        mesh::lanes(shards)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>(),
    ));
    let stop = Stop::new();
    let dir: PathBuf = dir.to_owned();
    run_shards(&pinned, move |io: Io, id| {
        let ends = ends
            .lock()
            .expect("lanes")
            .get_mut(id)
            .and_then(Option::take)
            .expect("each once");
        let (dir, stop) = (dir.clone(), stop.clone());
        async move {
            let opened = open(io, id, Route::new(shards), config(&dir), ends).await;
            let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
            for partition in (0..PARTITIONS)
                .map(key)
                .filter(|key| shard.owner(key) == id)
            {
                let dir = format!("topic-{}", partition.partition);
                let small_segments = LogConfig {
                    segment_bytes: 3 << 20,
                    ..LogConfig::default()
                };
                shard
                    .open_partition(partition, &dir, Uuid::nil(), 0, small_segments)
                    .await
                    .expect("opened");
            }
            shard.meet().await;
            if id == 0 {
                work(shard.clone()).await;
                stop.request();
            }
            stop.requested().await;
            if cleanly {
                shard.stop().await;
            }
        }
    })
    .expect("shards ran");
}

fn key(partition: i32) -> PartitionKey {
    PartitionKey {
        topic: Uuid::from_u128(77),
        partition,
    }
}

fn batch(first: i64, count: i64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::uncompressed();
    for number in first..first + count {
        let mut value = vec![(number % 251) as u8; value_bytes];
        value[..8].copy_from_slice(&number.to_be_bytes());
        let key = number.to_be_bytes();
        builder
            .append(number, Some(&key), Some(&value))
            .expect("appended");
    }
    Bytes::from(builder.finish().expect("built"))
}

/// Appends until each partition ends at `until`, with many batches in flight.
async fn fill(shard: &Shard, until: i64, value_bytes: usize) {
    let ends = end_offsets(shard).await;
    let mut pending = std::collections::VecDeque::new();
    let mut next: Vec<i64> = ends;
    while next.iter().any(|next| *next < until) {
        for partition in 0..PARTITIONS {
            let first = next[partition as usize];
            let count = (until - first).min(1 + (first + i64::from(partition)) % 5);
            if count <= 0 {
                continue;
            }
            let append = Append::own(key(partition), batch(first, count, value_bytes));
            pending.push_back((first, shard.append(vec![append], shard.io().now()).await));
            next[partition as usize] += count;
        }
        while pending.len() > 64 {
            let (first, append) = pending.pop_front().expect("one");
            let results = append.wait().await.results;
            assert_eq!(results[0].as_ref().map(|done| done.base_offset), Ok(first));
        }
    }
    for (first, append) in pending {
        let results = append.wait().await.results;
        assert_eq!(results[0].as_ref().map(|done| done.base_offset), Ok(first));
    }
}

fn spec(partition: i32, offset: i64) -> ReadSpec {
    ReadSpec {
        key: key(partition),
        offset,
        bytes_max: 300_000,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: false,
    }
}

async fn end_offsets(shard: &Shard) -> Vec<i64> {
    end_offsets_behind(shard, 0).await
}

/// The ends of logs that begin at `start`.
async fn end_offsets_behind(shard: &Shard, start: i64) -> Vec<i64> {
    let specs: Vec<ReadSpec> = (0..PARTITIONS)
        .map(|partition| spec(partition, start))
        .collect();
    let probes = shard.probe(&specs, None).await;
    probes
        .into_iter()
        .map(|probe| probe.expect("probe").high_watermark)
        .collect()
}

/// Reads everything and checks that each record is there once, in order, unchanged.
async fn verify(shard: &Shard, until: i64, value_bytes: usize) {
    let expected: BTreeMap<i32, i64> = (0..PARTITIONS)
        .map(|partition| (partition, until))
        .collect();
    for (partition, until) in expected {
        let mut next = 0;
        while next < until {
            let data = shard
                .read(&[spec(partition, next)])
                .await
                .pop()
                .expect("one")
                .expect("read");
            let before = next;
            for found in BatchIter::verifying(&data.batches.concat()) {
                let found = found.expect("a sound batch");
                let (first, last) = (found.header().base_offset(), found.header().last_offset());
                assert!(
                    first <= next && last >= next,
                    "partition {partition}: {first}..{last} at {next}"
                );
                let sent = batch(first, last - first + 1, value_bytes);
                assert!(
                    found.bytes()[61..] == sent[61..],
                    "partition {partition} at {first}"
                );
                next = last + 1;
            }
            assert!(
                next > before,
                "partition {partition} ends at {next} instead of {until}"
            );
        }
    }
}

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("engine-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("folder");
    dir
}

#[test]
fn a_crash_loses_nothing_acknowledged_whatever_the_number_of_cores() {
    let dir = folder("crash");
    run(&dir, 2, false, |shard| {
        Box::pin(async move { fill(&shard, 300, 1000).await })
    });
    run(&dir, 2, false, |shard| {
        Box::pin(async move {
            verify(&shard, 300, 1000).await;
            fill(&shard, 600, 1000).await;
        })
    });
    run(&dir, 1, false, |shard| {
        Box::pin(async move {
            verify(&shard, 600, 1000).await;
            fill(&shard, 700, 1000).await;
        })
    });
    run(&dir, 3, true, |shard| {
        Box::pin(async move {
            verify(&shard, 700, 1000).await;
            fill(&shard, 800, 1000).await;
        })
    });
    run(&dir, 2, true, |shard| {
        Box::pin(async move { verify(&shard, 800, 1000).await })
    });
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn more_than_the_journal_holds_goes_through_it() {
    let dir = folder("reclaim");
    run(&dir, 2, false, |shard| {
        Box::pin(async move {
            fill(&shard, 12_000, 1000).await;
            verify(&shard, 12_000, 1000).await;
        })
    });
    run(&dir, 2, true, |shard| {
        Box::pin(async move {
            verify(&shard, 12_000, 1000).await;
            fill(&shard, 13_000, 1000).await;
        })
    });
    run(&dir, 1, true, |shard| {
        Box::pin(async move { verify(&shard, 13_000, 1000).await })
    });
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn large_batches_and_deleted_records() {
    let dir = folder("large");
    run(&dir, 2, false, |shard| {
        Box::pin(async move {
            fill(&shard, 60, 400_000).await;
            verify(&shard, 60, 400_000).await;
            let moved = shard
                .run_on_owner(&key(1), |owner| async move {
                    owner.delete_records(&key(1), Some(50)).await
                })
                .await;
            assert_eq!(moved, Ok(50));
        })
    });
    run(&dir, 2, true, |shard| {
        Box::pin(async move {
            let probe = shard.probe(&[spec(1, 50), spec(1, 49)], None).await;
            assert_eq!(probe[0].map(|probe| probe.log_start_offset), Ok(50));
            assert!(probe[1].is_err(), "below the log start");
            let waiter = shard.waiter();
            shard
                .probe(&[spec(2, 60)], Some(waiter.id()))
                .await
                .pop()
                .expect("one")
                .expect("probe");
            fill_one(&shard, 2, 60).await;
            waiter.news().await;
        })
    });
    std::fs::remove_dir_all(dir).expect("removed");
}

/// As retention leaves the folder of a topic that nobody writes to any more.
#[test]
fn a_folder_that_was_emptied_goes_on_where_it_ended() {
    let dir = folder("emptied");
    for partition in 0..PARTITIONS {
        let segments = dir.join(format!("topic-{partition}"));
        std::fs::create_dir_all(&segments).expect("a folder");
        std::fs::write(segments.join("00000000000000001000.log"), b"").expect("a segment");
    }
    run(&dir, 2, true, |shard| {
        Box::pin(async move {
            let ends = end_offsets_behind(&shard, 1_000).await;
            assert_eq!(ends, [1_000; PARTITIONS as usize]);
            for partition in 0..PARTITIONS {
                let append = Append::own(key(partition), batch(1_000, 10, 100));
                let results = shard
                    .append(vec![append], shard.io().now())
                    .await
                    .wait()
                    .await
                    .results;
                assert_eq!(results[0].as_ref().map(|done| done.base_offset), Ok(1_000));
            }
        })
    });
    run(&dir, 2, true, |shard| {
        Box::pin(async move {
            let ends = end_offsets_behind(&shard, 1_000).await;
            assert_eq!(ends, [1_010; PARTITIONS as usize]);
        })
    });
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn a_stop_right_after_the_start_keeps_what_is_only_in_memory() {
    let dir = folder("stop-early");
    run(&dir, 1, true, |shard| {
        Box::pin(async move {
            let lazy = LogConfig {
                durability: Durability::Memory,
                ..LogConfig::default()
            };
            (0..PARTITIONS).for_each(|partition| shard.set_config(&key(partition), lazy.clone()));
            // Acknowledged at once: no other task has run when this returns, not even the one that makes the journal's
            // first file.
            fill(&shard, 50, 1000).await;
        })
    });
    run(&dir, 1, true, |shard| {
        Box::pin(async move { verify(&shard, 50, 1000).await })
    });
    std::fs::remove_dir_all(dir).expect("removed");
}

async fn fill_one(shard: &Shard, partition: i32, first: i64) {
    let append = Append::own(key(partition), batch(first, 1, 100));
    let results = shard
        .append(vec![append], shard.io().now())
        .await
        .wait()
        .await
        .results;
    assert!(results[0].is_ok());
}
