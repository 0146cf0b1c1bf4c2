//! The engine on real cores and a real disk: the journal's group write, settling into segments, the hop to another
//! core. Each sample starts its own engine in a fresh folder; what is timed begins when that has acknowledged a batch.
//!
//! The folder lies below the build's target folder, or where `CORELOG_BENCH_FOLDER` says: put it on the disk that is
//! meant.

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_shards::io::{Io, Stop};
use corelog_shards::journal::Durability;
use corelog_shards::log::config::LogConfig;
use corelog_shards::mesh;
use corelog_shards::route::{PartitionKey, Route};
use corelog_shards::runtime::{cores, run_shards};
use corelog_shards::shard::message::Append;
use corelog_shards::shard::{CleanerConfig, FolderConfig, RotPolicy, Shard, ShardConfig, open};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uuid::Uuid;

const TOPIC: Uuid = Uuid::from_u128(77);
const PARTITIONS: i32 = 4;
const KIB: usize = 1_024;
/// When all records were created.
const CREATED_MS: i64 = 1_700_000_000_000;

fn config(dir: &Path) -> ShardConfig {
    ShardConfig {
        folders: vec![FolderConfig::only(Uuid::nil(), dir)],
        journal_bytes: 256 << 20,
        tail_cache_bytes: 16 << 20,
        open_files_max: 64,
        memory_flush: Duration::from_millis(10),
        retention_check: Duration::from_secs(3_600),
        producer_expiration_ms: 86_400_000,
        folder_delete_delay: Duration::ZERO,
        cleaner: CleanerConfig::default(),
        on_rot: RotPolicy::Refuse,
    }
}

fn key(partition: i32) -> PartitionKey {
    PartitionKey {
        topic: TOPIC,
        partition,
    }
}

/// Work on shard 0 that says how long the part took which counts.
type Work = Arc<dyn Fn(Shard) -> Pin<Box<dyn Future<Output = Duration>>> + Send + Sync>;

/// Runs `work` on a fresh engine of so many shards.
fn timed(shards: usize, durability: Durability, work: Work) -> Duration {
    let parent = std::env::var_os("CORELOG_BENCH_FOLDER")
        .map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let folder = tempfile::tempdir_in(parent).expect("a fresh folder");
    let dir = folder.path().to_owned();
    let available = cores().expect("the cores of this process");
    let pinned: Vec<usize> = (0..shards)
        .map(|shard| available[shard % available.len()])
        .collect();
    let ends = Arc::new(Mutex::new(
        mesh::lanes(shards)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>(),
    ));
    let (stop, taken) = (Stop::new(), Arc::new(Mutex::new(Duration::ZERO)));
    let result = Arc::clone(&taken);
    run_shards(&pinned, move |io: Io, id| {
        let ends = ends
            .lock()
            .expect("the lanes")
            .get_mut(id)
            .and_then(Option::take)
            .expect("each end once");
        let (dir, stop, result, work) = (
            dir.clone(),
            stop.clone(),
            Arc::clone(&result),
            Arc::clone(&work),
        );
        async move {
            let opened = open(io, id, Route::new(shards), config(&dir), ends).await;
            let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
            for partition in (0..PARTITIONS)
                .map(key)
                .filter(|key| shard.owner(key) == id)
            {
                let dir = format!("bench-{}", partition.partition);
                let config = LogConfig {
                    durability,
                    ..LogConfig::default()
                };
                shard
                    .open_partition(partition, &dir, Uuid::nil(), 0, config)
                    .await
                    .expect("the partition is opened");
            }
            if id == 0 {
                // The others have opened theirs when they answer.
                shard.run_on_all(|_| async {}).await;
                *result.lock().expect("the result") = work(shard.clone()).await;
                stop.request();
            }
            stop.requested().await;
            shard.stop().await;
        }
    })
    .expect("the shards ran");
    *taken.lock().expect("the result")
}

fn one_batch(value_bytes: usize) -> Bytes {
    batch::encode(
        Producer::NONE,
        CREATED_MS,
        [vec![7; value_bytes].as_slice()],
    )
    .into()
}

/// Appends `count` batches to the partitions in turn, with so many in flight, and waits for all acknowledgements.
async fn append_all(shard: &Shard, batch: &Bytes, count: u64, in_flight: usize) {
    let mut pending = VecDeque::new();
    for number in 0..count {
        let append = Append {
            key: key((number % PARTITIONS as u64) as i32),
            batch: batch.clone(),
            max_timestamp_ms: CREATED_MS,
        };
        pending.push_back(shard.append(vec![append], shard.io().now()).await);
        if pending.len() >= in_flight {
            acknowledged(pending.pop_front()).await;
        }
    }
    while !pending.is_empty() {
        acknowledged(pending.pop_front()).await;
    }
}

async fn acknowledged(pending: Option<corelog_shards::shard::PendingAppend>) {
    for result in pending.expect("one is in flight").wait().await.results {
        result.expect("the batch is acknowledged");
    }
}

fn journal_group_write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal group write");
    group.sample_size(10);
    for (name, bytes, in_flight) in [
        ("1 KiB, 1 in flight", KIB, 1),
        ("1 KiB, 16 in flight", KIB, 16),
        ("1 KiB, 256 in flight", KIB, 256),
        ("64 KiB, 16 in flight", 64 * KIB, 16),
    ] {
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let work: Work = Arc::new(move |shard| {
                    Box::pin(async move {
                        let batch = one_batch(bytes);
                        append_all(&shard, &batch, 100, in_flight).await;
                        let start = Instant::now();
                        append_all(&shard, &batch, count, in_flight).await;
                        start.elapsed()
                    })
                });
                timed(1, Durability::Sync, work)
            });
        });
    }
    group.finish();
}

/// Through the journal without a sync, and on into segments to the last byte.
fn segment_settle(criterion: &mut Criterion) {
    const BATCHES: u64 = 64;
    let mut group = criterion.benchmark_group("segment settle");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes(BATCHES * 64 * KIB as u64));
    group.bench_function("4 MiB in batches of 64 KiB", |bencher| {
        bencher.iter_custom(|count| {
            let work: Work = Arc::new(move |shard| {
                Box::pin(async move {
                    let batch = one_batch(64 * KIB);
                    append_all(&shard, &batch, BATCHES, 16).await;
                    let start = Instant::now();
                    append_all(&shard, &batch, BATCHES * count, 16).await;
                    // Settles the rest.
                    shard.stop().await;
                    start.elapsed()
                })
            });
            timed(1, Durability::Written, work)
        });
    });
    group.finish();
}

fn mesh_hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh hop");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for (name, in_flight) in [
        ("there and back, 1 in flight", 1),
        ("there and back, 64 in flight", 64),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let work: Work = Arc::new(move |shard| {
                    Box::pin(async move {
                        let start = Instant::now();
                        let travellers: Vec<_> = (0..in_flight)
                            .map(|index| {
                                let (shard, rounds) =
                                    (shard.clone(), share(count, in_flight, index));
                                let io = shard.io().clone();
                                io.spawn("traveller", async move {
                                    for _ in 0..rounds {
                                        shard.run_on(1, |_| async {}).await;
                                    }
                                })
                            })
                            .collect();
                        for traveller in travellers {
                            traveller.await;
                        }
                        start.elapsed()
                    })
                });
                timed(2, Durability::Sync, work)
            });
        });
    }
    group.finish();
}

fn share(count: u64, parts: u64, index: u64) -> u64 {
    count / parts + u64::from(index < count % parts)
}

criterion_group!(benches, journal_group_write, segment_settle, mesh_hop);
criterion_main!(benches);
