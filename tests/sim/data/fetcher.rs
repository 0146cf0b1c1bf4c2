//! Fetchers: each follows some partitions, jumps about in them, and holds the broker to all it is told.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};

use super::TOPIC_IDS;
use super::offsets::{EARLIEST, list, list_some};
use super::partition::{Floor, Key};
use super::plan::Feature;
use super::session::{Session, ask_in_session};
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

const PAUSE_US: u64 = 3_000;
const VERSION_MIN: i16 = 4;
const VERSION_MAX: i16 = 18;

/// What was asked of a partition, and what was known then.
pub struct Asked {
    pub offset: i64,
    pub floor: Floor,
    pub changes: u32,
}

/// What became of it.
pub enum Outcome {
    /// Where to go on, and the high watermark.
    Read(i64, i64),
    OutOfRange,
    /// It has rotted.
    Corrupt,
    /// Nothing is to be learned from it.
    Gone,
}

/// What a fetch asks for beside its partitions.
#[derive(Clone, Copy)]
pub struct Terms {
    pub version: i16,
    pub wait_ms: i32,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
}

impl Terms {
    pub fn draw(client: &Client) -> Terms {
        let versions = (VERSION_MAX - VERSION_MIN + 1) as u64;
        Terms {
            version: VERSION_MIN + client.below(versions) as i16,
            wait_ms: [0, 1, 10][client.below(3) as usize],
            bytes_min: [0, 1, 1, 2_000][client.below(4) as usize],
            bytes_max: [1, 1_000, 1 << 20][client.below(3) as usize],
            partition_bytes_max: [1, 500, 5_000, 1 << 20][client.below(4) as usize],
        }
    }

    /// All there is, at once.
    pub fn greedy() -> Terms {
        Terms {
            version: VERSION_MAX,
            wait_ms: 0,
            bytes_min: 0,
            bytes_max: 1 << 20,
            partition_bytes_max: 1 << 20,
        }
    }
}

pub async fn fetch(sim: Rc<Sim>, io: Io, name: String) {
    let mut client = sim.client(io, &name);
    let mut positions: BTreeMap<Key, i64> = BTreeMap::new();
    let mut session = None;
    loop {
        sim.opened(client.io()).await;
        choose(&sim, &client, &mut positions);
        if sim.is_calm.get() && has_all(&sim, &positions) {
            break;
        }
        if sim.has(Feature::Offsets)
            && client.below(8) == 0
            && list_some(&sim, &mut client, &mut positions).await.is_err()
        {
            client.disconnect();
        }
        let fetched = fetch_once(&sim, &mut client, &mut positions, &mut session);
        if fetched.await.is_err() {
            session = None;
            client.disconnect();
        }
        let pause = client.below(PAUSE_US);
        client.io().sleep(Duration::from_micros(pause)).await;
    }
    client.disconnect();
    sim.end_client();
}

/// Whether all is read that is known to be there.
fn has_all(sim: &Sim, positions: &BTreeMap<Key, i64>) -> bool {
    let model = sim.model.borrow();
    let mut all = positions.iter();
    all.all(|(key, at)| *at >= model.floor(*key).end) && sim.ended.get() > model.plan.producers
}

/// Takes up partitions and lets go of others, and goes elsewhere in some.
fn choose(sim: &Sim, client: &Client, positions: &mut BTreeMap<Key, i64>) {
    let model = sim.model.borrow();
    let keys = model.keys();
    let is_calm = sim.is_calm.get();
    // In a session, whose topics have ids, it may not know yet that one has gone.
    let may_lag = !is_calm && model.plan.has(Feature::Sessions);
    positions.retain(|key, _| keys.contains(key) || may_lag && client.below(16) > 0);
    for key in keys {
        let floor = model.floor(key);
        let somewhere = || {
            let span = (floor.end - floor.start).max(0) as u64;
            floor.start + client.below(span + 1) as i64
        };
        match positions.get_mut(&key) {
            _ if is_calm => {
                positions.entry(key).or_insert(floor.start);
            }
            None if client.below(4) == 0 => {
                positions.insert(key, somewhere());
            }
            Some(_) if client.below(20) == 0 => {
                positions.remove(&key);
            }
            Some(position) if client.below(10) == 0 => *position = somewhere(),
            _ => {}
        }
    }
}

async fn fetch_once(
    sim: &Sim,
    client: &mut Client,
    positions: &mut BTreeMap<Key, i64>,
    session: &mut Option<Session>,
) -> Result<(), Lost> {
    if positions.is_empty() {
        return Ok(());
    }
    if !sim.is_open.get() {
        // What a crash has left is being found out.
        return Err(Lost);
    }
    let terms = Terms::draw(client);
    let outcomes = match sim.has(Feature::Sessions) {
        true => ask_in_session(sim, client, positions, terms, session).await?,
        false => ask(sim, client, positions, terms).await?,
    };
    for (key, outcome) in outcomes {
        match outcome {
            Outcome::Read(next, _) => {
                positions.insert(key, next);
            }
            Outcome::Gone if client.below(16) > 0 => {}
            Outcome::OutOfRange => {
                positions.remove(&key);
                if let Some(told) = list(sim, client, key, EARLIEST).await? {
                    positions.insert(key, told.offset);
                }
            }
            Outcome::Corrupt | Outcome::Gone => {
                positions.remove(&key);
            }
        }
    }
    Ok(())
}

/// One fetch without a session.
pub async fn ask(
    sim: &Sim,
    client: &mut Client,
    positions: &BTreeMap<Key, i64>,
    terms: Terms,
) -> Result<Vec<(Key, Outcome)>, Lost> {
    let asked = asked(sim, positions);
    let request = request(sim, &asked, terms)
        .with_session_id(0)
        .with_session_epoch(-1);
    let reply = exchange(sim, client, &request, terms).await?;
    assert_eq!(reply.error_code.err(), None);
    Ok(note_all(sim, &asked, &reply, terms))
}

/// A request and its reply, if that is from a broker that is still there.
pub async fn exchange(
    sim: &Sim,
    client: &mut Client,
    request: &FetchRequest,
    terms: Terms,
) -> Result<FetchResponse, Lost> {
    let run = sim.model.borrow().run;
    client.send(terms.version, request, true).await?;
    let reply = client.receive::<FetchRequest>(terms.version).await?;
    match run == sim.model.borrow().run {
        true => Ok(reply),
        false => Err(Lost),
    }
}

/// What is known when partitions are asked for.
pub fn asked(sim: &Sim, positions: &BTreeMap<Key, i64>) -> BTreeMap<Key, Asked> {
    let model = sim.model.borrow();
    let asked = positions.iter().map(|(key, offset)| {
        let asked = Asked {
            offset: *offset,
            floor: model.floor(*key),
            changes: model.changes(*key),
        };
        (*key, asked)
    });
    asked.collect()
}

pub fn request(sim: &Sim, asked: &BTreeMap<Key, Asked>, terms: Terms) -> FetchRequest {
    let model = sim.model.borrow();
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (key, asked) in asked {
        let name = TopicName(text(model.plan.topics[model.partitions[key].topic].name));
        let partition = FetchPartition::default()
            .with_partition(key.index)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(asked.offset)
            .with_partition_max_bytes(terms.partition_bytes_max);
        let topic = match terms.version {
            TOPIC_IDS.. => FetchTopic::default().with_topic_id(key.topic),
            _ => FetchTopic::default().with_topic(name),
        };
        topics.push(topic.with_partitions(vec![partition]));
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(terms.wait_ms)
        .with_min_bytes(terms.bytes_min)
        .with_max_bytes(terms.bytes_max)
        .with_isolation_level(0)
        .with_topics(topics)
}

/// Holds the broker to what it said of each partition.
pub fn note_all(
    sim: &Sim,
    asked: &BTreeMap<Key, Asked>,
    reply: &FetchResponse,
    terms: Terms,
) -> Vec<(Key, Outcome)> {
    let mut outcomes = Vec::new();
    for topic in &reply.responses {
        for partition in &topic.partitions {
            let is_it = |key: &&Key| {
                let model = sim.model.borrow();
                let its_name = model.plan.topics[model.partitions[key].topic].name;
                let is_its = match terms.version {
                    TOPIC_IDS.. => key.topic == topic.topic_id,
                    _ => *its_name == *topic.topic.0,
                };
                is_its && key.index == partition.partition_index
            };
            let key = *asked.keys().find(is_it).expect("nobody asked for it");
            outcomes.push((key, note(sim, key, &asked[&key], partition, terms)));
        }
    }
    outcomes
}

fn note(sim: &Sim, key: Key, asked: &Asked, told: &PartitionData, terms: Terms) -> Outcome {
    sim.tell(|| {
        let (offset, error, end) = (asked.offset, told.error_code.err(), told.high_watermark);
        let bytes = told.records.as_ref().map_or(0, |records| records.len());
        format!("fetch {key:?} from {offset}: {bytes} bytes, {error:?}, up to {end}")
    });
    let mut model = sim.model.borrow_mut();
    let is_unsure = model.is_unsure(key, asked.changes);
    match told.error_code.err() {
        // It may be another topic's.
        None if is_unsure && terms.version < TOPIC_IDS => Outcome::Gone,
        None => {
            let (end, start) = (told.high_watermark, told.log_start_offset);
            assert!(
                end >= asked.floor.end,
                "{key:?}: the high watermark {end} was {} before",
                asked.floor.end
            );
            if terms.version >= 5 {
                assert!(
                    start >= asked.floor.start,
                    "{key:?}: the log start {start} was {} before",
                    asked.floor.start
                );
                model.note_start(key, start);
            }
            assert_eq!(
                told.last_stable_offset, end,
                "{key:?}: there are no transactions"
            );
            let records = told.records.as_deref().unwrap_or_default();
            let next = model.note_read(key, asked.offset, records, end);
            model.partition(key).note_end(end);
            Outcome::Read(next, end)
        }
        // The same.
        Some(ResponseError::OffsetOutOfRange) if is_unsure && terms.version < TOPIC_IDS => {
            Outcome::Gone
        }
        Some(ResponseError::OffsetOutOfRange) => {
            let is_beyond = asked.offset > asked.floor.end;
            if !is_beyond {
                model.check_start(key, asked.offset + 1);
            }
            if !is_beyond && !is_unsure {
                model.note_start(key, asked.offset + 1);
            }
            Outcome::OutOfRange
        }
        Some(ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId)
            if is_unsure =>
        {
            Outcome::Gone
        }
        Some(ResponseError::CorruptMessage) if sim.has_rotted.get() => Outcome::Corrupt,
        Some(ResponseError::InconsistentTopicId) if is_unsure => Outcome::Gone,
        Some(ResponseError::KafkaStorageError) if model.plan.has_bad_disk() => Outcome::Gone,
        Some(error) => panic!("{key:?} from {}: {error:?}", asked.offset),
    }
}
