//! What a broker finds in its folder: files of a good one, of which some were damaged in any way while it was down.
//!
//! Damaged are segments, indexes, journals, snapshots and the metadata log, the marks and the rest. The broker starts, or
//! says why not; nothing panics, and nothing large is allocated for what the bytes claim. Whatever it serves is what was
//! written at that offset: what it cannot vouch for it refuses. How much an arbitrary damage may cost is not looked at
//! here (see `shards/tests/sim/rotten_*.rs`, which flip one bit and know).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{
    error_name, is_retriable, produce_outcome, produce_request, topic_name,
};
use corelog_shards::io::Io;
use corelog_shards::io::sim::{Crash, Faults, NodeId, World};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest,
};

use crate::clients::create_topics;
use crate::log::without_panics;
use crate::memory;
use crate::node::{DATA, Node, PORT, Setup};
use crate::random::Random;
use crate::story::Story;
use crate::wire::{Client, text};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 2;
const BATCHES: i64 = 60;
const COMMITS: i64 = 20;
/// So that segments are rolled.
const SEGMENT_BYTES: &str = "6000";
/// Long enough for everything to be settled, or not.
const SETTLING_MS: u64 = 4_000;
/// A start takes no longer.
const START_MAX: Duration = Duration::from_secs(300);
/// Damages of the same good folder.
const ROUNDS: u64 = 12;

/// Of one allocation. Buffers of the journal and of reads are the largest; a length can claim gigabytes.
const LARGEST_BYTES_MAX: usize = 8 << 20;
/// Of all in a world: files, broker, and the copy of the files.
const HELD_BYTES_MAX: isize = 96 << 20;

type Files = BTreeMap<PathBuf, Vec<u8>>;
/// Values by partition and offset.
type Written = BTreeMap<(i32, i64), Vec<u8>>;

/// How starts ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub served: u64,
    pub refused: u64,
    /// Records read after it.
    pub read: u64,
    pub held_bytes_max: isize,
    pub largest_bytes: usize,
}

/// Makes a folder and damages it again and again.
pub fn run(seed: u64) -> Outcome {
    without_panics(seed, || simulate(seed))
}

fn simulate(seed: u64) -> Outcome {
    let before = memory::take();
    let mut world = World::new(seed, Faults::none());
    let mut node = Node::new(&mut world, Setup::new(properties()));
    let shards = 1 + (seed % 2) as usize;
    start(&mut world, &mut node, shards).unwrap_or_else(|why| panic!("CORELOG_SEED={seed}: {why}"));
    let client = world.add_node();
    world.start(client, 1, |_, _| async {});
    let broker = world.socket_address(node.id(), PORT);
    let written = world.block_on(client, move |io| write(io, broker));
    let pause = world.random_below(SETTLING_MS);
    world.run_for(Duration::from_millis(pause));
    match world.random_below(3) {
        0 => _ = node.stop(&mut world),
        1 => node.crash(&mut world, Crash::Kill),
        _ => node.crash(&mut world, Crash::PowerLoss),
    }
    let good = read_all(&mut world, node.id());
    let (written, mut outcome) = (Rc::new(written), Outcome::default());
    for round in 0..ROUNDS {
        let mut random = Random::new(seed << 8 | round);
        let mut files = good.clone();
        let told = damage(&mut files, &mut random);
        write_all(&mut world, node.id(), files);
        let shards = 1 + random.below(3) as usize;
        match start(&mut world, &mut node, shards) {
            Err(why) => {
                assert!(
                    !why.is_empty(),
                    "CORELOG_SEED={seed}, {told}: it does not say why"
                );
                outcome.refused += 1;
            }
            Ok(()) => {
                let expected = written.clone();
                let read = world.block_on(client, move |io| read(io, broker, expected));
                match read {
                    Ok(count) => outcome.read += count,
                    Err(why) => panic!("CORELOG_SEED={seed}, {told}: {why:#}"),
                }
                outcome.served += 1;
            }
        }
        node.crash(&mut world, Crash::Kill);
    }
    drop(world);
    let counts = memory::take();
    outcome.held_bytes_max = counts.held_max - before.held;
    outcome.largest_bytes = counts.largest;
    assert!(
        outcome.largest_bytes < LARGEST_BYTES_MAX && outcome.held_bytes_max < HELD_BYTES_MAX,
        "CORELOG_SEED={seed}: {outcome:?}"
    );
    outcome
}

fn properties() -> Vec<String> {
    [
        "offsets.topic.num.partitions=1",
        "node.id=1",
        // The metadata log is cut behind snapshots again and again.
        "metadata.log.max.record.bytes.between.snapshots=600",
        "metadata.max.retention.bytes=4000",
        "internal.metadata.log.segment.bytes=1000",
    ]
    .map(str::to_owned)
    .into()
}

/// Until it serves, or says why it does not.
fn start(world: &mut World, node: &mut Node, shards: usize) -> Result<(), String> {
    node.start(world, shards);
    let end = world.now() + START_MAX;
    while !node.is_ready() {
        if let Some(why) = node.failure() {
            return Err(why);
        }
        let goes_on = world.now() < end && world.step();
        assert!(goes_on, "CORELOG_SEED={}: a start hangs", world.seed());
    }
    Ok(())
}

async fn write(io: Io, broker: SocketAddr) -> Written {
    let mut client = Client::new(io.clone(), broker, "writes", Story::new());
    let config = CreatableTopicConfig::default()
        .with_name(text("internal.segment.bytes"))
        .with_value(Some(text(SEGMENT_BYTES)));
    let topic = |name: &str, partitions| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(vec![config.clone()])
    };
    // Several, so that there are snapshots of the metadata.
    let topics = (0..8).map(|at| topic(&format!("other-{at}"), 1));
    let topics = topics.chain([topic(TOPIC, PARTITIONS)]).collect();
    create_topics(&mut client, topics).await;
    let mut written = Written::new();
    for at in 0..BATCHES {
        for partition in 0..PARTITIONS {
            let len = 20 + io.random_u64() as usize % 700;
            let mut value = format!("{partition}/{at}/").into_bytes();
            value.resize_with(len, || b'a' + (io.random_u64() % 26) as u8);
            let batch = batch::encode(Producer::NONE, io.wall_ms(), [value.as_slice()]);
            let request = produce_request(TOPIC, partition, -1, &Bytes::from(batch));
            let reply = client.ask(9..=9, |_| request).await.expect("a reply");
            assert_eq!(produce_outcome(&reply).expect("an outcome"), (0, at));
            written.insert((partition, at), value);
        }
    }
    commit(&io, &mut client).await;
    written
}

/// Commits some offsets of a group.
async fn commit(io: &Io, client: &mut Client) {
    // Its coordinator may have to be made, and to load.
    let answered = async |client: &mut Client| {
        let keys = vec![text("g")];
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        let found = client.ask(4..=4, |_| request).await;
        found.expect("a reply").coordinators[0].error_code
    };
    until_served(io, client, answered).await;
    for offset in 0..COMMITS {
        let committed = async |client: &mut Client| {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
            let topic = OffsetCommitRequestTopic::default()
                .with_name(topic_name(TOPIC))
                .with_partitions(vec![partition]);
            let request = OffsetCommitRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_topics(vec![topic]);
            let reply = client.ask(8..=8, |_| request).await.expect("a reply");
            reply.topics[0].partitions[0].error_code
        };
        until_served(io, client, committed).await;
    }
}

/// Asks again until there is no error.
async fn until_served(io: &Io, client: &mut Client, ask: impl AsyncFn(&mut Client) -> i16) {
    let end = io.now() + START_MAX;
    loop {
        let error = ask(client).await;
        if error == 0 {
            return;
        }
        assert!(
            is_retriable(error) && io.now() < end,
            "{}",
            error_name(error)
        );
        io.sleep(Duration::from_millis(50)).await;
    }
}

/// Reads all there is. Returns how many records; fails if one is not as it was written.
async fn read(io: Io, broker: SocketAddr, written: Rc<Written>) -> anyhow::Result<u64> {
    let mut client = Client::new(io, broker, "reads", Story::new());
    let mut count = 0;
    for partition in 0..PARTITIONS {
        let mut offset = 0;
        while offset < BATCHES {
            let wanted = FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(8_000);
            let topic = FetchTopic::default()
                .with_topic(topic_name(TOPIC))
                .with_partitions(vec![wanted]);
            let request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_bytes(8_000)
                .with_session_epoch(-1)
                .with_topics(vec![topic]);
            let Ok(reply) = client.ask(11..=11, |_| request).await else {
                anyhow::bail!("no reply for offset {offset} of partition {partition}");
            };
            let fetched = &reply.responses[0].partitions[0];
            let records = fetched.records.as_deref().unwrap_or_default();
            let mut next = offset;
            for batch in batch::whole_batches(records) {
                batch.records(|at, value| {
                    let expected = written.get(&(partition, at));
                    let is_same = expected.is_some_and(|expected| expected == value);
                    ensure!(
                        is_same,
                        "offset {at} of partition {partition} is another record"
                    );
                    next = next.max(at + 1);
                    count += 1;
                    Ok(())
                })?;
            }
            // What is refused is passed over.
            offset = next.max(offset + 1);
        }
    }
    Ok(count)
}

/// All files of the folder of a node that is down.
fn read_all(world: &mut World, node: NodeId) -> Files {
    world.start(node, 1, |_, _| async {});
    let files = world.block_on(node, |io| async move {
        let (mut files, mut folders) = (Files::new(), vec![PathBuf::from(DATA)]);
        while let Some(folder) = folders.pop() {
            for entry in io.list_dir(&folder).await.expect("a folder") {
                let path = folder.join(&entry.name);
                match entry.is_dir {
                    true => folders.push(path),
                    false => drop(
                        files.insert(path.clone(), io.read_small(&path).await.expect("a file")),
                    ),
                }
            }
        }
        files
    });
    world.crash(node, Crash::Kill);
    files
}

/// Puts these in the place of all there are.
fn write_all(world: &mut World, node: NodeId, files: Files) {
    let there = read_all(world, node);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        for path in there.keys().filter(|path| !files.contains_key(*path)) {
            io.remove_file(path).await.expect("removed");
        }
        for (path, bytes) in &files {
            io.create_dir_all(path.parent().expect("a folder"))
                .await
                .expect("made");
            io.write_small(path, bytes).await.expect("written");
        }
    });
    world.crash(node, Crash::Kill);
}

/// Damages one to three files. Tells which.
fn damage(files: &mut Files, random: &mut Random) -> String {
    let told = RefCell::new(Vec::new());
    let mut kinds: Vec<&str> = files.keys().map(|path| kind(path)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    // Each kind is as likely as any other.
    let kinds: Vec<String> = kinds.into_iter().map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        let wanted = &kinds[random.below(kinds.len() as u64) as usize];
        let of_kind: Vec<PathBuf> = files
            .keys()
            .filter(|path| kind(path) == wanted)
            .cloned()
            .collect();
        let Some(path) = of_kind.get(random.below(of_kind.len().max(1) as u64) as usize) else {
            continue;
        };
        told.borrow_mut().push(path.display().to_string());
        if random.one_in(12) {
            files.remove(path);
        } else if let Some(bytes) = files.get_mut(path) {
            damage_bytes(bytes, random);
        }
    }
    told.into_inner().join(", ")
}

/// The ending of a name, or the name.
fn kind(path: &Path) -> &str {
    let ending = path.extension().or(path.file_name());
    ending
        .and_then(|ending| ending.to_str())
        .unwrap_or_default()
}

fn damage_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        // Mostly where something has been written.
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let len = if random.one_in(6) { bytes.len() } else { used };
        if len == 0 {
            bytes.extend((0..random.below(200)).map(|_| random.next() as u8));
            continue;
        }
        let at = random.below(len as u64) as usize;
        let end = (at + 1 + random.below(64) as usize).min(bytes.len());
        match random.below(9) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at..end].fill_with(|| random.next() as u8),
            3 => bytes[at..end].fill(if random.one_in(2) { 0 } else { 0xff }),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..end)),
            6 => {
                // A piece of it is there twice, in another place.
                let from = random.below(len as u64) as usize;
                let piece = bytes[from..(from + 4_096).min(len)].to_vec();
                let room = piece.len().min(bytes.len() - at);
                bytes[at..at + room].copy_from_slice(&piece[..room]);
            }
            7 => {
                let claims = [0, 1, i32::MAX as u32, i32::MIN as u32, u32::MAX, 1 << 24];
                let claim = claims[random.below(6) as usize].to_be_bytes();
                for (byte, claimed) in bytes[at..].iter_mut().zip(claim) {
                    *byte = claimed;
                }
            }
            _ => bytes.extend((0..random.below(5_000)).map(|_| random.next() as u8)),
        }
    }
}
