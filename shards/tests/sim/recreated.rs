//! Partitions whose topics are deleted and made again under the same name, on the same shard or another,
//! with crashes in between: what was acknowledged of the newest topic stays, nothing of the older ones
//! comes back, and their folders go.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::sim::{Crash, Faults, NodeId, World, seeds};
use corelog_shards::io::{Io, Random};
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::BatchIter;
use corelog_shards::log::segment_name::{PARTITION_METADATA, parse_partition_metadata};
use corelog_shards::mesh::{self, Ends};
use corelog_shards::route::{PartitionKey, Route};
use corelog_shards::shard::message::{Append, ReadSpec};
use corelog_shards::shard::{RotPolicy, Shard, open};
use uuid::Uuid;

use crate::model::{HEADER_BYTES, LOG_DIR, log_config, make_batch, records_in, shard_config};

const NAMES: usize = 3;
/// Longer than it takes to remove what was set aside.
const A_WHILE: Duration = Duration::from_secs(2);

/// What the metadata says of a name, and what was sent to the topic that has it.
#[derive(Default)]
struct Named {
    /// How many topics have had this name.
    generation: u64,
    exists: bool,
    sent: Vec<Bytes>,
    /// Batches of these that were acknowledged.
    acked: usize,
}

impl Named {
    fn key(&self, name: usize) -> PartitionKey {
        PartitionKey {
            topic: Uuid::from_u64_pair(1 + name as u64, self.generation),
            partition: 0,
        }
    }
}

/// All names; outlives crashes as the metadata does.
type Metadata = Rc<RefCell<Vec<Named>>>;

struct Run {
    metadata: Metadata,
    random: RefCell<Random>,
    /// Shards that have dropped what the metadata does not know, and those that serve.
    dropped: Cell<usize>,
    opened: Cell<usize>,
    is_compared: Cell<bool>,
    /// Whether there are writers, and topics come and go.
    has_clients: bool,
}

fn dir_of(name: usize) -> String {
    format!("name{name}-0")
}

fn start(
    world: &mut World,
    node: NodeId,
    shards: usize,
    metadata: &Metadata,
    has_clients: bool,
) -> Rc<Run> {
    let run = Rc::new(Run {
        metadata: metadata.clone(),
        random: RefCell::new(Random::from_seed(world.random_below(u64::MAX))),
        dropped: Cell::new(0),
        opened: Cell::new(0),
        is_compared: Cell::new(false),
        has_clients,
    });
    let all = mesh::lanes(shards).into_iter().map(Some);
    let ends = RefCell::new(all.collect::<Vec<_>>());
    world.start(node, shards, |io, id| {
        let ends = ends.borrow_mut()[id].take().expect("each once");
        shard_main(io, id, shards, ends, run.clone())
    });
    run
}

/// Starts like the broker: first all shards drop what is not known, then they open what is.
async fn shard_main(io: Io, id: usize, shards: usize, ends: Ends, run: Rc<Run>) {
    let config = shard_config(RotPolicy::Refuse);
    let opened = open(io, id, Route::new(shards), config, ends).await;
    let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
    let known: Vec<_> = {
        let names = run.metadata.borrow();
        let known = names.iter().enumerate().filter(|(_, named)| named.exists);
        known.map(|(name, named)| (name, named.key(name))).collect()
    };
    for key in shard.partitions() {
        if !known.iter().any(|(_, known)| *known == key) {
            shard.drop_partitions(&[key]).await;
        }
    }
    run.dropped.set(run.dropped.get() + 1);
    shard.meet().await;
    assert_eq!(run.dropped.get(), shards);
    for (name, key) in known {
        if shard.owner(&key) == id {
            open_one(&shard, name, key).await;
        }
    }
    run.opened.set(run.opened.get() + 1);
    shard.meet().await;
    if id != 0 {
        return;
    }
    let is_known = |topic: &str| {
        let names = run.metadata.borrow();
        let of_topic = |name: &usize| format!("name{name}") == topic;
        let name = (0..NAMES).find(of_topic);
        name.is_some_and(|name| names[name].exists)
    };
    let strays = shard.strays(is_known).await;
    shard.set_strays_aside(strays).await;
    for name in 0..NAMES {
        compare(&shard, name, &run).await;
    }
    run.is_compared.set(true);
    if !run.has_clients {
        return;
    }
    for name in 0..NAMES {
        let io = shard.io().clone();
        io.spawn("writer", write(shard.clone(), name, run.clone()));
    }
    shard.io().clone().spawn("controller", control(shard, run));
}

async fn open_one(owner: &Shard, name: usize, key: PartitionKey) {
    let config = log_config(Durability::Sync);
    let opened = owner
        .open_partition(key, &dir_of(name), Uuid::nil(), 0, config)
        .await;
    opened.expect("opened");
}

/// Deletes topics and makes them again, one change at a time, as the controller does.
async fn control(shard: Shard, run: Rc<Run>) {
    loop {
        let pause = run.random.borrow_mut().below(40_000);
        shard.io().sleep(Duration::from_micros(pause)).await;
        let name = run.random.borrow_mut().below(NAMES as u64) as usize;
        replace(&shard, name, &run).await;
    }
}

/// Deletes a topic, if there is one, and makes another of its name.
async fn replace(shard: &Shard, name: usize, run: &Run) {
    let old = {
        let named = &mut run.metadata.borrow_mut()[name];
        named.sent.clear();
        named.acked = 0;
        std::mem::take(&mut named.exists).then(|| named.key(name))
    };
    if let Some(old) = old {
        let dropping = move |owner: Shard| async move { owner.drop_partitions(&[old]).await };
        shard.run_on_owner(&old, dropping).await;
    }
    if run.random.borrow_mut().below(4) == 0 {
        return;
    }
    let new = {
        let named = &mut run.metadata.borrow_mut()[name];
        named.generation += 1;
        named.exists = true;
        named.key(name)
    };
    let opening = move |owner: Shard| async move { open_one(&owner, name, new).await };
    shard.run_on_owner(&new, opening).await;
}

/// Writes to whichever topic has this name.
async fn write(shard: Shard, name: usize, run: Rc<Run>) {
    loop {
        let pause = run.random.borrow_mut().below(2_000);
        shard.io().sleep(Duration::from_micros(pause)).await;
        write_one(&shard, name, &run).await;
    }
}

async fn write_one(shard: &Shard, name: usize, run: &Run) {
    let (key, batch) = {
        let named = &mut run.metadata.borrow_mut()[name];
        if !named.exists {
            return;
        }
        let first = named.sent.iter().map(|batch| records_in(batch)).sum();
        let batch = make_batch(2, first, 0, &mut run.random.borrow_mut());
        named.sent.push(batch.clone());
        (named.key(name), batch)
    };
    let append = shard
        .append(vec![Append::own(key, batch)], shard.io().now())
        .await;
    let result = append.wait().await.results.pop().expect("one");
    let named = &mut run.metadata.borrow_mut()[name];
    if named.key(name) != key || !named.exists {
        return;
    }
    match result {
        Ok(_) => named.acked += 1,
        // It was made just now, and its owner has not heard of it.
        Err(_) => {
            named.sent.pop();
        }
    }
}

/// What a topic holds is what was sent to it, and all that was acknowledged.
async fn compare(shard: &Shard, name: usize, run: &Run) {
    let key = {
        let named = &run.metadata.borrow()[name];
        if !named.exists {
            return;
        }
        named.key(name)
    };
    let mut bytes = Vec::new();
    let mut next = 0;
    loop {
        let spec = ReadSpec {
            key,
            offset: next,
            bytes_max: 50_000,
            at_least_one: true,
            current_leader_epoch: None,
            last_fetched_epoch: None,
            committed: false,
        };
        let read = shard.read(&[spec]).await.pop().expect("one");
        let data = read.unwrap_or_else(|error| panic!("{name} at {next}: {error:?}"));
        if next == data.probe.high_watermark {
            break;
        }
        let chunk = data.batches.concat();
        assert!(!chunk.is_empty(), "{name} has nothing at {next}");
        for batch in BatchIter::verifying(&chunk) {
            next = batch.expect("a sound batch").header().next_offset();
        }
        bytes.extend_from_slice(&chunk);
    }
    let named = &mut run.metadata.borrow_mut()[name];
    let mut count = 0;
    for (batch, sent) in BatchIter::new(&bytes).zip(&named.sent) {
        let batch = batch.expect("a sound batch").bytes();
        assert!(batch[HEADER_BYTES..] == sent[HEADER_BYTES..], "{name}");
        count += 1;
    }
    assert!(count >= named.acked, "{name}: {count} of {}", named.acked);
    named.sent.truncate(count);
    named.acked = count;
}

/// Whatever lies in the data folder belongs to a topic that is known.
fn check_folders(world: &mut World, node: NodeId, metadata: &Metadata) {
    let found = world.block_on(node, |io| async move {
        let mut found = Vec::new();
        for entry in io.list_dir(Path::new(LOG_DIR)).await.expect("listed") {
            if entry.is_dir && entry.name != "journal" {
                let path = Path::new(LOG_DIR).join(&entry.name);
                let bytes = io.read_small(&path.join(PARTITION_METADATA)).await;
                let text = String::from_utf8(bytes.unwrap_or_default()).expect("text");
                found.push((entry.name, parse_partition_metadata(&text)));
            }
        }
        found
    });
    let names = metadata.borrow();
    for (dir, topic) in found {
        let name = (0..NAMES).find(|name| dir_of(*name) == dir);
        let name = name.unwrap_or_else(|| panic!("{dir} is left"));
        let named = &names[name];
        assert!(named.exists, "{dir} is left of a deleted topic, {topic:?}");
        assert_eq!(topic, Some(named.key(name).topic), "{dir}");
    }
}

fn crash_of(world: &mut World) -> Crash {
    match world.random_below(2) {
        0 => Crash::Kill,
        _ => Crash::PowerLoss,
    }
}

pub fn simulate(seed: u64) {
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let metadata = new_metadata();
    for _ in 0..2 + world.random_below(4) {
        let shards = 1 + world.random_below(3) as usize;
        let run = start(&mut world, node, shards, &metadata, true);
        if world.random_below(4) > 0 {
            world.run_until(|| run.is_compared.get());
        }
        let steps = world.random_below(6_000);
        world.run_steps(steps);
        let crash = crash_of(&mut world);
        world.crash(node, crash);
    }
    settle_down(&mut world, node, &metadata);
}

fn new_metadata() -> Metadata {
    Rc::new(RefCell::new((0..NAMES).map(|_| Named::default()).collect()))
}

/// A start after which nothing happens: all is there, and nothing else.
fn settle_down(world: &mut World, node: NodeId, metadata: &Metadata) {
    // The first start may set folders aside that only the next one removes.
    for _ in 0..2 {
        let run = start(world, node, 2, metadata, false);
        world.run_until(|| run.is_compared.get());
        world.crash(node, Crash::Kill);
    }
    let run = start(world, node, 2, metadata, false);
    world.run_until(|| run.is_compared.get());
    world.run_for(A_WHILE);
    world.crash(node, Crash::Kill);
    world.start(node, 1, |_, _| async {});
    check_folders(world, node, metadata);
}

#[test]
fn topics_made_again_keep_what_is_theirs() {
    for seed in seeds(40) {
        simulate(seed);
    }
}
