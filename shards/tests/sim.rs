//! The engine in a simulated world: crashes at any step, lost and torn writes, failing disks, another
//! number of shards after a restart.
//!
//! For each partition a model remembers what was sent, in order, and how much of it was acknowledged
//! or seen by a reader. After every restart the log must hold what was sent up to some point that
//! covers both, each record once, in order and unchanged. How much that is depends on the class: with
//! `sync` whatever was acknowledged, with `written` whatever was acknowledged unless the power failed,
//! with `memory` nothing in particular.
//!
//! 200 seeds run by default. `CORELOG_SEEDS=100000` runs more, `CORELOG_SEED=17` replays one.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::sim::{Crash, Faults, World, seeds};
use corelog_shards::io::{Io, Random};
use corelog_shards::journal::Durability;
use corelog_shards::journal::recovery::RecoveryError;
use corelog_shards::log::batch::{BatchBuilder, BatchIter};
use corelog_shards::log::config::LogConfig;
use corelog_shards::mesh::{self, Ends};
use corelog_shards::route::{PartitionKey, Route};
use corelog_shards::shard::message::{Append, AppendError, ReadSpec};
use corelog_shards::shard::{RotPolicy, Shard, ShardConfig, StartError, open};
use uuid::Uuid;

const PARTITIONS: usize = 5;
const HEADER_BYTES: usize = 61;

/// What is known of one partition from outside.
#[derive(Default)]
struct Model {
    /// Batches by what they hold; the first has the offset `start`.
    sent: Vec<(i64, Bytes)>,
    /// Acknowledged, or seen by a reader, in this run.
    acked_end: i64,
    /// A log start that was acknowledged, and the furthest that was asked for.
    start_acked: i64,
    start_asked: i64,
    next_sequence: i32,
    high_watermark: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.sent
            .last()
            .map_or(0, |(base, batch)| base + records_in(batch))
    }
}

type Models = Rc<RefCell<Vec<Model>>>;

fn records_in(batch: &[u8]) -> i64 {
    i64::from(i32::from_be_bytes(
        batch[57..61].try_into().expect("four bytes"),
    ))
}

fn key(partition: usize) -> PartitionKey {
    PartitionKey {
        topic: Uuid::from_u128(99),
        partition: partition as i32,
    }
}

fn durability(partition: usize) -> Durability {
    match partition {
        3 => Durability::Written,
        4 => Durability::Memory,
        _ => Durability::Sync,
    }
}

fn is_idempotent(partition: usize) -> bool {
    partition % 2 == 1
}

fn shard_config() -> ShardConfig {
    ShardConfig {
        log_dir: PathBuf::from("/data"),
        journal_bytes: 8 * (96 << 10),
        tail_cache_bytes: 32 << 10,
        open_files_max: 4,
        memory_flush: Duration::from_millis(5),
        retention_check: Duration::from_secs(3600),
        producer_expiration_ms: i64::MAX,
        on_rot: RotPolicy::Refuse,
    }
}

fn log_config(partition: usize) -> LogConfig {
    LogConfig {
        segment_bytes: 50_000,
        index_interval_bytes: 1_000,
        retention_ms: None,
        durability: durability(partition),
        ..LogConfig::default()
    }
}

/// What happens on shard 0 of one run.
struct Run {
    models: Models,
    random: RefCell<Random>,
    /// The worst crash since the models were compared last.
    after: Option<Crash>,
    /// Whether they were in this run.
    is_compared: Cell<bool>,
}

async fn shard_main(io: Io, id: usize, shards: usize, ends: Ends, run: Rc<Run>) {
    let opened = match open(io, id, Route::new(shards), shard_config(), ends).await {
        Ok(opened) => opened,
        // An injected I/O error at the start: the process would end and be started again.
        Err(StartError::Io(..) | StartError::Journal(RecoveryError::Io(..))) => return,
        Err(error) => panic!("{error}"),
    };
    let shard = opened.shard;
    for partition in (0..PARTITIONS).filter(|partition| shard.owner(&key(*partition)) == id) {
        let dir = format!("topic-{partition}");
        if shard
            .open_partition(key(partition), &dir, 0, log_config(partition))
            .await
            .is_err()
        {
            return;
        }
    }
    shard.meet().await;
    if id != 0 {
        return;
    }
    for partition in 0..PARTITIONS {
        if !verify(&shard, partition, &run).await {
            return;
        }
    }
    run.is_compared.set(true);
    let io = shard.io().clone();
    for partition in 0..PARTITIONS {
        io.spawn("writer", write(shard.clone(), partition, run.clone()));
        io.spawn("reader", read_along(shard.clone(), partition, run.clone()));
    }
}

fn spec(partition: usize, offset: i64, bytes_max: usize) -> ReadSpec {
    ReadSpec {
        key: key(partition),
        offset,
        bytes_max,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: false,
    }
}

/// Compares a recovered partition with its model, and lets the model follow what a crash has cost.
/// `false` if the disk failed.
async fn verify(shard: &Shard, partition: usize, run: &Run) -> bool {
    let owner = shard
        .run_on_owner(&key(partition), move |owner| async move {
            owner
                .sizes()
                .into_iter()
                .find(|size| size.key == key(partition))
        })
        .await;
    let found = owner.expect("the partition was opened");
    let mut next = found.start_offset;
    let mut bytes = Vec::new();
    while next < found.high_watermark {
        let read = shard
            .read(&[spec(partition, next, 20_000)])
            .await
            .pop()
            .expect("one");
        let Ok(data) = read else { return false };
        let chunk = data.batches.concat();
        for batch in BatchIter::verifying(&chunk) {
            next = batch.expect("a sound batch").header().next_offset();
        }
        assert!(
            !chunk.is_empty(),
            "partition {partition} has nothing at {next} below {}",
            found.high_watermark
        );
        bytes.extend_from_slice(&chunk);
    }
    let mut models = run.models.borrow_mut();
    let model = &mut models[partition];
    let must_end = match (durability(partition), run.after) {
        (_, None) | (Durability::Sync, _) | (Durability::Written, Some(Crash::Kill)) => {
            model.acked_end
        }
        (Durability::Written, Some(Crash::PowerLoss)) | (Durability::Memory, _) => 0,
    };
    let end = found.high_watermark;
    assert!(
        end >= must_end,
        "partition {partition} ends at {end}, {must_end} was acknowledged or read"
    );
    assert!(
        end <= model.end(),
        "partition {partition} ends at {end}, only {} were sent",
        model.end()
    );
    assert!(
        found.start_offset >= model.start_acked,
        "partition {partition}: the log start went back"
    );
    assert!(
        found.start_offset <= model.start_asked,
        "partition {partition}: nobody asked for that log start"
    );
    model.start_acked = found.start_offset;
    model.start_asked = found.start_offset;
    // The first batch may begin below the log start.
    let mut expected = model
        .sent
        .iter()
        .filter(|(base, batch)| base + records_in(batch) > found.start_offset);
    let mut last = found.start_offset;
    for batch in BatchIter::new(&bytes) {
        let batch = batch.expect("a sound batch");
        let (base, sent) = expected.next().expect("no more than was sent");
        assert_eq!(batch.header().base_offset(), *base, "partition {partition}");
        assert!(
            batch.bytes()[HEADER_BYTES..] == sent[HEADER_BYTES..],
            "partition {partition} at {base}"
        );
        last = batch.header().next_offset();
    }
    assert_eq!(
        last,
        end.max(found.start_offset),
        "partition {partition} is read to its end"
    );
    let lost = model.sent.partition_point(|(base, _)| *base < end);
    model.sent.truncate(lost);
    model.acked_end = end;
    model.high_watermark = end;
    model.next_sequence = model
        .sent
        .iter()
        .map(|(_, batch)| records_in(batch) as i32)
        .sum();
    true
}

fn make_batch(partition: usize, first: i64, sequence: i32, random: &mut Random) -> Bytes {
    let mut builder = BatchBuilder::uncompressed();
    if is_idempotent(partition) {
        builder = builder.producer(7, 0, sequence);
    }
    let large = random.below(20) == 0;
    let count = if large { 1 } else { 1 + random.below(6) };
    for number in 0..count {
        let len = if large { 40_000 } else { random.below(3_000) } as usize;
        let mut value = vec![random.below(256) as u8; len];
        value.extend_from_slice(&(first + number as i64).to_be_bytes());
        builder.append(first, None, Some(&value)).expect("appended");
    }
    Bytes::from(builder.finish().expect("built"))
}

async fn write(shard: Shard, partition: usize, run: Rc<Run>) {
    loop {
        let pause = run.random.borrow_mut().below(2_000);
        shard.io().sleep(Duration::from_micros(pause)).await;
        let burst = 1 + run.random.borrow_mut().below(4);
        let mut pending = Vec::new();
        for _ in 0..burst {
            let (base, batch) = {
                let mut models = run.models.borrow_mut();
                let model = &mut models[partition];
                let base = model.end();
                let batch = make_batch(
                    partition,
                    base,
                    model.next_sequence,
                    &mut run.random.borrow_mut(),
                );
                model.next_sequence += records_in(&batch) as i32;
                model.sent.push((base, batch.clone()));
                (base, batch)
            };
            let append = Append::own(key(partition), batch.clone());
            pending.push((base, batch.clone(), shard.append(vec![append]).await));
            if is_idempotent(partition) && run.random.borrow_mut().below(4) == 0 {
                // The same again, while the first may still be in flight.
                let again = Append::own(key(partition), batch.clone());
                pending.push((base, batch, shard.append(vec![again]).await));
            }
        }
        for (base, batch, append) in pending {
            match append.wait().await.pop().expect("one") {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, base, "partition {partition}");
                    let mut models = run.models.borrow_mut();
                    let model = &mut models[partition];
                    model.acked_end = model.acked_end.max(base + records_in(&batch));
                }
                Err(AppendError::StorageFailed) => return,
                Err(error) => panic!("partition {partition} at {base}: {error:?}"),
            }
        }
        if run.random.borrow_mut().below(40) == 0 && !delete_some(&shard, partition, &run).await {
            return;
        }
    }
}

async fn delete_some(shard: &Shard, partition: usize, run: &Run) -> bool {
    let offset = {
        let mut models = run.models.borrow_mut();
        let model = &mut models[partition];
        let room = (model.high_watermark - model.start_asked).max(0) as u64;
        let offset = model.start_asked + run.random.borrow_mut().below(room + 1) as i64;
        model.start_asked = offset;
        offset
    };
    let deleted = shard
        .run_on_owner(&key(partition), move |owner| async move {
            owner.delete_records(&key(partition), Some(offset)).await
        })
        .await;
    if deleted.is_ok() {
        let mut models = run.models.borrow_mut();
        models[partition].start_acked = models[partition].start_acked.max(offset);
    }
    deleted.is_ok()
}

/// A consumer: waits for news, reads, and holds the broker to what it saw.
async fn read_along(shard: Shard, partition: usize, run: Rc<Run>) {
    let mut next = run.models.borrow()[partition].start_asked;
    let waiter = shard.waiter();
    loop {
        if run.random.borrow_mut().below(10) == 0 {
            let models = run.models.borrow();
            let model = &models[partition];
            let span = (model.acked_end - model.start_asked).max(0) as u64;
            next = model.start_asked + run.random.borrow_mut().below(span + 1) as i64;
        }
        let probe = shard
            .probe(&[spec(partition, next, 10_000)], Some(waiter.id()))
            .await
            .pop()
            .expect("one");
        let Ok(probe) = probe else {
            next = run.models.borrow()[partition].start_asked;
            shard.io().sleep(Duration::from_millis(1)).await;
            continue;
        };
        {
            let mut models = run.models.borrow_mut();
            let model = &mut models[partition];
            assert!(
                probe.high_watermark >= model.high_watermark,
                "partition {partition}: the high watermark went back"
            );
            model.high_watermark = probe.high_watermark;
        }
        if probe.available == 0 {
            waiter.news().await;
            continue;
        }
        let read = shard
            .read(&[spec(partition, next, 10_000)])
            .await
            .pop()
            .expect("one");
        let Ok(data) = read else {
            shard.io().sleep(Duration::from_millis(1)).await;
            continue;
        };
        let bytes = data.batches.concat();
        let offset = next;
        let mut models = run.models.borrow_mut();
        let model = &mut models[partition];
        for batch in BatchIter::verifying(&bytes) {
            let batch = batch.expect("a sound batch");
            let base = batch.header().base_offset();
            let at = model.sent.binary_search_by_key(&base, |(base, _)| *base);
            let (_, sent) = &model.sent[at.expect("a batch that was sent")];
            assert!(
                batch.bytes()[HEADER_BYTES..] == sent[HEADER_BYTES..],
                "partition {partition} at {base}"
            );
            next = batch.header().next_offset();
        }
        assert!(
            next <= data.probe.high_watermark.max(offset),
            "partition {partition}: read to {next}, the high watermark is {}",
            data.probe.high_watermark
        );
        // What was read must be there for good, by the promise of its class.
        model.acked_end = model.acked_end.max(next);
    }
}

/// What was done to a node, told when the test fails.
#[derive(Default)]
struct Story(Vec<String>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in &self.0 {
                eprintln!("{line}");
            }
        }
    }
}

fn simulate(seed: u64) -> u64 {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models: Models = Rc::new(RefCell::new(
        (0..PARTITIONS).map(|_| Model::default()).collect(),
    ));
    let rounds = 3 + world.random_below(4);
    let mut after = None;
    for _ in 0..rounds {
        let shards = 1 + world.random_below(3) as usize;
        let harsh = world.random_below(4) == 0;
        world.set_faults(if harsh {
            Faults::harsh()
        } else {
            Faults::none()
        });
        let run = Rc::new(Run {
            models: models.clone(),
            random: RefCell::new(Random::from_seed(world.random_below(u64::MAX))),
            after,
            is_compared: Cell::new(false),
        });
        let ends = RefCell::new(
            mesh::lanes(shards)
                .into_iter()
                .map(Some)
                .collect::<Vec<_>>(),
        );
        world.start(node, shards, |io, id| {
            let ends = ends.borrow_mut()[id].take().expect("each once");
            shard_main(io, id, shards, ends, run.clone())
        });
        let steps = match world.random_below(4) {
            0 => world.random_below(300),
            _ => world.random_below(12_000),
        };
        story
            .0
            .push(format!("{shards} shards, harsh: {harsh}, {steps} steps"));
        world.run_steps(steps);
        let crash = if world.random_below(2) == 0 {
            Crash::Kill
        } else {
            Crash::PowerLoss
        };
        story.0.push(format!(
            "{crash:?} at {:?}, compared: {}",
            world.now(),
            run.is_compared.get()
        ));
        for (partition, model) in models.borrow().iter().enumerate() {
            let (sent, acked) = (model.end(), model.acked_end);
            story.0.push(format!(
                "  partition {partition}: {sent} sent, {acked} acknowledged or read"
            ));
        }
        world.crash(node, crash);
        after = match after {
            Some(Crash::PowerLoss) if !run.is_compared.get() => after,
            _ => Some(crash),
        };
    }
    world.trace()
}

#[test]
fn nothing_acknowledged_is_lost_changed_or_reordered() {
    for seed in seeds(1_000) {
        simulate(seed);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..3 {
        assert_eq!(simulate(seed), simulate(seed));
    }
}
