//! Logs that are compacted all the time, under crashes at any step and on disks that now and then fail or fill, beside readers,
//! deletion from their fronts, and a topic that is deleted and made anew under its name.
//!
//! A reader from the start comes to the same state as one of everything that was sent, sees nothing but what was sent,
//! where it was sent, and each offset once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::sim::{Crash, Faults, NodeId, World, seeds};
use corelog_shards::io::{Io, Landmark, Random};
use corelog_shards::journal::recovery::RecoveryError;
use corelog_shards::log::batch::{BatchBuilder, BatchIter, Codec, Records};
use corelog_shards::log::compact::Settings;
use corelog_shards::log::config::{CompactionConfig, LogConfig};
use corelog_shards::mesh::{self, Ends};
use corelog_shards::route::{PartitionKey, Route};
use corelog_shards::shard::message::{Append, AppendError, ReadError, ReadSpec};
use corelog_shards::shard::{
    CleanerConfig, FolderConfig, RotPolicy, Shard, ShardConfig, StartError, open,
};
use uuid::Uuid;

use crate::moves;

/// The last of them is deleted and made anew.
pub const PARTITIONS: usize = 3;
const KEYS: u64 = 12;

pub type Record = (Vec<u8>, Option<Vec<u8>>);

/// What was sent to a partition, by offset, and how far that was acknowledged.
#[derive(Clone, Default)]
pub struct Model {
    sent: Vec<Record>,
    acked_end: i64,
    start: i64,
}

/// One run of a node, from a start to its end.
pub struct Run {
    pub models: Rc<RefCell<Vec<Model>>>,
    /// How often the last partition was made.
    pub topics: Rc<Cell<u128>>,
    pub random: RefCell<Random>,
    pub is_disk_sound: bool,
    /// Whether the disk fills now and then.
    pub may_fill: bool,
    pub folders: Vec<FolderConfig>,
    /// By partition: the folder where the metadata says that it is.
    pub places: Rc<RefCell<Vec<Uuid>>>,
    /// Whether there are clients that write and read.
    pub has_clients: bool,
    /// Whether partitions are moved from one folder to another.
    pub has_moves: bool,
    /// Whether these shall come to an end.
    pub is_over: Cell<bool>,
    /// Whether the partitions are as their models say.
    pub is_compared: Cell<bool>,
    pub shards: RefCell<Vec<Shard>>,
}

impl Run {
    pub fn key(&self, partition: usize) -> PartitionKey {
        let topic = match partition {
            0 | 1 => 1,
            _ => 2 + self.topics.get(),
        };
        PartitionKey {
            topic: Uuid::from_u128(topic),
            partition: partition as i32,
        }
    }

    /// Whether the disk may have the engine refuse something.
    fn may_refuse(&self) -> bool {
        !self.is_disk_sound || self.may_fill
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 6_000,
        index_interval_bytes: 500,
        retention_ms: None,
        cleanup_delete: false,
        compaction: Some(CompactionConfig {
            when: Settings {
                dirty_ratio_min: 0.0,
                lag_min_ms: 0,
                lag_max_ms: i64::MAX,
            },
            delete_retention_ms: 20,
        }),
        ..LogConfig::default()
    }
}

fn shard_config(map_bytes_max: usize, folders: Vec<FolderConfig>) -> ShardConfig {
    ShardConfig {
        folders,
        journal_bytes: 8 * (96 << 10),
        tail_cache_bytes: 16 << 10,
        open_files_max: 3,
        memory_flush: Duration::from_millis(5),
        retention_check: Duration::from_secs(3600),
        producer_expiration_ms: i64::MAX,
        folder_delete_delay: Duration::ZERO,
        cleaner: CleanerConfig {
            backoff: Duration::from_millis(2),
            map_bytes_max,
            ..CleanerConfig::default()
        },
        on_rot: RotPolicy::Refuse,
    }
}

async fn shard_main(io: Io, id: usize, shards: usize, ends: Ends, run: Rc<Run>) {
    let map_bytes_max = match run.below(3) {
        0 => 24 * 10,
        _ => 1 << 20,
    };
    let opened = open(
        io,
        id,
        Route::new(shards),
        shard_config(map_bytes_max, run.folders.clone()),
        ends,
    )
    .await;
    let shard = match opened {
        Ok(opened) => opened.shard,
        Err(error) => {
            let is_of_the_disk = match error {
                StartError::Io(..) | StartError::Journal(RecoveryError::Io(..)) => true,
                StartError::NotWritten(_) => true,
                StartError::NoFolder | StartError::Missing(_) => false,
                StartError::Journal(RecoveryError::Malformed(..)) | StartError::Damaged(_) => false,
            };
            assert!(is_of_the_disk && run.may_refuse(), "{error}");
            return;
        }
    };
    for key in shard.partitions() {
        let is_known = (0..PARTITIONS).any(|partition| run.key(partition) == key);
        if !is_known {
            shard.drop_partitions(&[key]).await;
        }
    }
    for partition in 0..PARTITIONS {
        if shard.owner(&run.key(partition)) == id && !open_one(&shard, &run, partition).await {
            return;
        }
    }
    if run.has_moves {
        moves::watch(&shard, &run);
    }
    shard.meet().await;
    run.shards.borrow_mut().push(shard.clone());
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
    if run.has_moves {
        io.spawn("mover", moves::move_some(shard.clone(), run.clone()));
    }
    if !run.has_clients {
        return;
    }
    for partition in 0..PARTITIONS - 1 {
        io.spawn("writer", write(shard.clone(), partition, run.clone()));
        io.spawn("reader", read_along(shard.clone(), partition, run.clone()));
    }
    io.spawn("topics", come_and_go(shard.clone(), run.clone()));
}

/// `false` if the disk failed.
async fn open_one(shard: &Shard, run: &Run, partition: usize) -> bool {
    let dir = format!("topic-{partition}");
    let key = run.key(partition);
    let place = run.places.borrow()[partition];
    let opened = shard.open_partition(key, &dir, place, 0, log_config());
    let opened = opened.await;
    assert!(opened.is_ok() || run.may_refuse());
    if let Ok(found) = opened {
        run.places.borrow_mut()[partition] = found;
    }
    opened.is_ok()
}

fn batch(run: &Run) -> (Vec<Record>, Bytes) {
    let codec = [Codec::None, Codec::LZ4][run.below(2) as usize];
    let mut builder = BatchBuilder::new(codec).expect("a codec");
    let count = 1 + run.below(6);
    let mut records = Vec::new();
    for _ in 0..count {
        let key = run.below(KEYS).to_be_bytes().to_vec();
        let value = vec![run.below(256) as u8; run.below(600) as usize];
        let value = (run.below(4) > 0).then_some(value);
        builder
            .append(1_000, Some(&key), value.as_deref())
            .expect("a record");
        records.push((key, value));
    }
    (records, Bytes::from(builder.finish().expect("a batch")))
}

/// Appends until the shard fails, and deletes from the front now and then. `true` when `stop` says so.
async fn append_some(shard: &Shard, partition: usize, run: &Run, mut rounds: u64) -> bool {
    let key = run.key(partition);
    while rounds > 0 && !run.is_over.get() {
        rounds -= 1;
        let pause = run.below(1_000);
        shard.io().sleep(Duration::from_micros(pause)).await;
        let mut pending = Vec::new();
        // One that is refused must be the last of the model.
        let burst = if run.may_fill { 1 } else { 1 + run.below(3) };
        for _ in 0..burst {
            let (records, batch) = batch(run);
            let count = records.len();
            let end = {
                let model = &mut run.models.borrow_mut()[partition];
                model.sent.extend(records);
                model.sent.len()
            };
            let append = Append::own(key, batch);
            let appending = shard.append(vec![append], shard.io().now()).await;
            pending.push((end, count, appending));
        }
        for (end, count, pending) in pending {
            let result = pending.wait().await.results.pop().expect("one");
            let model = &mut run.models.borrow_mut()[partition];
            match result {
                Ok(_) => model.acked_end = model.acked_end.max(end as i64),
                Err(AppendError::StorageFull) if run.may_fill => model.sent.truncate(end - count),
                Err(_) => return false,
            }
        }
        if run.below(40) == 0 {
            let acked_end = run.models.borrow()[partition].acked_end;
            let offset = run.below(acked_end as u64 + 1) as i64;
            let moved = shard
                .run_on_owner(&key, move |owner| async move {
                    owner.delete_records(&key, Some(offset)).await
                })
                .await;
            let model = &mut run.models.borrow_mut()[partition];
            model.start = model.start.max(moved.unwrap_or(0));
        }
    }
    true
}

async fn write(shard: Shard, partition: usize, run: Rc<Run>) {
    append_some(&shard, partition, &run, u64::MAX).await;
}

async fn read_along(shard: Shard, partition: usize, run: Rc<Run>) {
    loop {
        let pause = run.below(3_000);
        shard.io().sleep(Duration::from_micros(pause)).await;
        if read_all(&shard, partition, &run).await.is_none() {
            return;
        }
    }
}

/// A topic whose name goes from one to the next.
async fn come_and_go(shard: Shard, run: Rc<Run>) {
    let partition = PARTITIONS - 1;
    loop {
        let rounds = run.below(60);
        if !append_some(&shard, partition, &run, rounds).await
            || run.is_over.get()
            || !verify(&shard, partition, &run).await
        {
            return;
        }
        let key = run.key(partition);
        // Deleted from now on, whatever comes in between.
        run.topics.set(run.topics.get() + 1);
        run.models.borrow_mut()[partition] = Model::default();
        shard
            .run_on_owner(&key, move |owner| async move {
                owner.drop_partitions(&[key]).await;
            })
            .await;
        let opener = run.clone();
        let key = run.key(partition);
        let owner = shard.owner(&key);
        let found = run
            .shards
            .borrow()
            .iter()
            .find(|shard| shard.id() == owner)
            .cloned();
        // In this world all shards are on one thread.
        let Some(owner) = found else { return };
        if !open_one(&owner, &opener, partition).await {
            return;
        }
    }
}

/// All records from the log start on, with the log start; `None` if the disk or the shard has failed.
async fn read_all(
    shard: &Shard,
    partition: usize,
    run: &Run,
) -> Option<(i64, BTreeMap<i64, Record>)> {
    let mut start = run.models.borrow()[partition].start;
    let mut next = start;
    let mut found = BTreeMap::new();
    loop {
        let spec = ReadSpec {
            key: run.key(partition),
            offset: next,
            bytes_max: 1 + run.below(10_000) as usize,
            at_least_one: true,
            current_leader_epoch: None,
            last_fetched_epoch: None,
            committed: false,
        };
        let data = match shard.read(&[spec]).await.pop().expect("one") {
            Ok(data) => data,
            Err(ReadError::OffsetOutOfRange)
                if next <= run.models.borrow()[partition].acked_end =>
            {
                // Meanwhile the start has moved.
                shard.io().sleep(Duration::from_millis(1)).await;
                start = run.models.borrow()[partition].start.max(next + 1);
                next = start;
                found.clear();
                continue;
            }
            Err(error) => {
                assert!(
                    !run.is_disk_sound || shard.has_failed(),
                    "{partition} at {next}: {error:?}"
                );
                return None;
            }
        };
        let bytes = data.batches.concat();
        for batch in BatchIter::verifying(&bytes) {
            let batch = batch.expect("a sound batch");
            let mut records = Records::new(batch).expect("records");
            while let Some(record) = records.next().expect("a record") {
                let offset = record.offset;
                let record = (
                    record.key.expect("a key").to_vec(),
                    record.value.map(<[u8]>::to_vec),
                );
                let sent = &run.models.borrow()[partition].sent;
                assert_eq!(
                    sent.get(offset as usize),
                    Some(&record),
                    "{partition} at {offset}"
                );
                if offset >= start {
                    let is_new = found.insert(offset, record).is_none();
                    assert!(is_new, "partition {partition} has {offset} twice");
                }
            }
            next = next.max(batch.next_offset());
        }
        if bytes.is_empty() {
            return Some((data.probe.log_start_offset.max(start), found));
        }
    }
}

/// Compares a partition at rest with what was sent to it, and lets the model follow what a crash has cost.
pub async fn verify(shard: &Shard, partition: usize, run: &Run) -> bool {
    let key = run.key(partition);
    let facts = shard
        .run_on_owner(&key, move |owner| async move {
            let all = owner.partition_facts().await;
            all.into_iter().find(|facts| facts.key == key)
        })
        .await;
    let facts = facts.expect("the partition is open");
    let end = facts.high_watermark;
    {
        let model = &mut run.models.borrow_mut()[partition];
        assert!(
            end >= model.acked_end,
            "partition {partition} ends at {end}"
        );
        assert!(end <= model.sent.len() as i64);
        assert!(facts.start_offset >= model.start);
        model.sent.truncate(end as usize);
        model.acked_end = end;
        model.start = facts.start_offset;
    }
    let Some((start, found)) = read_all(shard, partition, run).await else {
        return false;
    };
    let models = run.models.borrow();
    let sent = models[partition]
        .sent
        .iter()
        .zip(0..)
        .map(|(record, offset)| (offset, record));
    let wanted = state(sent.filter(|(offset, _)| *offset >= start));
    let state = state(found.iter().map(|(offset, record)| (*offset, record)));
    assert_eq!(state, wanted, "partition {partition} from {start} to {end}");
    true
}

/// What each key comes to.
pub fn state<'a>(records: impl Iterator<Item = (i64, &'a Record)>) -> BTreeMap<&'a [u8], &'a [u8]> {
    let mut state = BTreeMap::new();
    for (_, (key, value)) in records {
        match value {
            Some(value) => state.insert(key.as_slice(), value.as_slice()),
            None => state.remove(key.as_slice()),
        };
    }
    state
}

pub fn start(world: &mut World, node: NodeId, shards: usize, run: &Rc<Run>) {
    let ends = mesh::lanes(shards).into_iter().map(Some).collect();
    let ends: RefCell<Vec<Option<Ends>>> = RefCell::new(ends);
    world.start(node, shards, |io, id| {
        let ends = ends.borrow_mut()[id].take().expect("each once");
        shard_main(io, id, shards, ends, run.clone())
    });
}

/// Longer than all pauses between attempts on a full disk together, but those of compaction.
const A_WHILE: Duration = Duration::from_secs(5);

pub fn simulate(seed: u64, may_fill: bool) -> u64 {
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = Rc::new(RefCell::new(vec![Model::default(); PARTITIONS]));
    let topics = Rc::new(Cell::new(0));
    for _ in 0..3 + world.random_below(4) {
        let is_disk_sound = may_fill || world.random_below(4) > 0;
        world.set_faults(match is_disk_sound {
            true => Faults::none(),
            false => Faults::harsh(),
        });
        let run = Rc::new(Run {
            models: models.clone(),
            topics: topics.clone(),
            random: RefCell::new(Random::from_seed(world.random_below(u64::MAX))),
            is_disk_sound,
            may_fill,
            folders: vec![FolderConfig::only(Uuid::nil(), "/data")],
            places: Rc::new(RefCell::new(vec![Uuid::nil(); PARTITIONS])),
            has_clients: true,
            has_moves: false,
            is_over: Cell::new(false),
            is_compared: Cell::new(false),
            shards: RefCell::default(),
        });
        let shards = 1 + world.random_below(2) as usize;
        start(&mut world, node, shards, &run);
        let steps = world.random_below(12_000);
        if may_fill {
            fill_and_make_room(&mut world, node, &run);
        } else if world.random_below(3) == 0 && world.run_until_reached(Landmark::Swapping, steps) {
            // In the middle of it, or when all is compacted and nobody writes who would make names durable.
            run.is_over.set(world.random_below(2) == 0);
            let steps_max = if run.is_over.get() { 3_000 } else { 100 };
            let steps = world.random_below(steps_max);
            world.run_steps(steps);
        } else {
            world.run_steps(steps);
        }
        run.shards.borrow_mut().clear();
        let crash = match world.random_below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        world.crash(node, crash);
    }
    world.trace()
}

/// Now and then the disk has hardly any room, or none; in the end there is some, perhaps, and everything goes on.
fn fill_and_make_room(world: &mut World, node: NodeId, run: &Rc<Run>) {
    for _ in 0..1 + world.random_below(4) {
        let steps = world.random_below(4_000);
        world.run_steps(steps);
        let used = world.disk_used(node);
        let capacity = match world.random_below(3) {
            0 => u64::MAX,
            1 => used,
            _ => used + world.random_below(60_000),
        };
        world.set_disk_capacity(node, capacity);
        if world.random_below(8) == 0 {
            world.run_for(A_WHILE);
        }
    }
    if world.random_below(2) == 0 {
        return;
    }
    world.set_disk_capacity(node, u64::MAX);
    let goes_on = |world: &mut World, what: &str, goes_on: &dyn Fn() -> bool| {
        let end = world.now() + A_WHILE;
        while !goes_on() {
            assert!(world.now() < end, "{what} though there is room");
            world.run_for(A_WHILE / 100);
        }
    };
    goes_on(world, "the start hangs", &|| run.is_compared.get());
    let ends = || -> Vec<i64> {
        let models = run.models.borrow();
        models.iter().map(|model| model.acked_end).collect()
    };
    for (partition, before) in ends().into_iter().enumerate().take(PARTITIONS - 1) {
        goes_on(world, "a log takes nothing", &|| ends()[partition] > before);
    }
}

#[test]
fn compacted_logs_come_to_the_same_whatever_happens() {
    for seed in seeds(150) {
        simulate(seed, false);
    }
}

#[test]
fn also_on_a_disk_that_fills() {
    for seed in seeds(60) {
        simulate(seed, true);
    }
}

#[test]
fn compaction_is_the_same_for_the_same_seed() {
    for seed in 0..3 {
        assert_eq!(simulate(seed, false), simulate(seed, false));
    }
}
