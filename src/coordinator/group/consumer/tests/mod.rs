mod commits;
mod descriptions;
mod histories;
mod joins;
mod kafka;
mod kafka_text;
mod leaves;
mod metadata;
mod patterns;
mod reconciliations;
mod refusals;
mod regexes;
mod replays;
mod statics;
mod targets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::member::Assigned;
use super::request::{JOIN, LEAVE, LEAVE_STATIC};
use super::subscriptions::Subscriptions;
use super::*;
use crate::cluster::image::{Image, Partition, Replayer};
use crate::cluster::records::{ConfigRecord, RegisterBrokerRecord, RemoveTopicRecord, TopicRecord};
use crate::config::{BrokerConfig, Layers, Overrides};
use crate::coordinator::group::Caller;
use crate::coordinator::memory::StateMemory;
use crate::coordinator::metrics::CoordinatorMetrics;
use crate::lines::Lines;
use crate::protocol::testing::Random;

const SECOND: Duration = Duration::from_secs(1);
const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(60);
const GROUP: &str = "group";

type Answer = Result<ConsumerGroupHeartbeatResponse, Rejection>;

/// A group with its clock, its log and its metadata.
struct World {
    group: ConsumerGroup,
    now: Instant,
    /// What the wall clock is ahead of `now`.
    wall_ahead_ms: i64,
    config: BrokerConfig,
    metadata: Replayer,
    record_bytes_max: usize,
    random: Random,
    /// What is drawn before anything else.
    drawn_next: VecDeque<u64>,
    memory: Rc<StateMemory>,
    log: Vec<Record>,
}

fn config(settings: &[(&str, &str)]) -> BrokerConfig {
    let set = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    let mut file: Overrides = settings.iter().map(set).collect();
    // Tests of the interval set it; all others would have to wait.
    let interval = "group.consumer.assignment.interval.ms".to_owned();
    file.entry(interval).or_insert("0".to_owned());
    BrokerConfig::resolve(Layers::of_file(&file)).expect("sound settings")
}

impl World {
    /// With the topics `a` of 4 partitions and `b` of 2.
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let mut world = Self {
            group: ConsumerGroup::new(GROUP.into()),
            now: Instant::default() + SECOND,
            wall_ahead_ms: 1_000_000,
            config: config(settings),
            metadata: Replayer::new(Image::empty("cluster")),
            record_bytes_max: 1 << 20,
            random: Random::new(1),
            drawn_next: VecDeque::new(),
            memory: Rc::default(),
            log: Vec::new(),
        };
        world.create_topic("a", 4);
        world.create_topic("b", 2);
        world
    }

    /// One step of the machine, with what its runtime does around it. Returns the records, too.
    fn run<T>(
        &mut self,
        step: impl FnOnce(&mut ConsumerGroup, &mut Context<'_>, &mut Output<Record>) -> T,
    ) -> (T, Vec<Record>) {
        let mut out = Output::default();
        let mut context = Context {
            now: self.now,
            wall_ms: (self.now.as_nanos() / 1_000_000) as i64 + self.wall_ahead_ms,
            image: self.metadata.image(),
            config: &self.config,
            record_bytes_max: self.record_bytes_max,
            random_u64: &mut || {
                let drawn = self.drawn_next.pop_front();
                drawn.unwrap_or_else(|| self.random.draw())
            },
            metrics: &CoordinatorMetrics::default(),
            memory: &self.memory,
            lines: &Lines::default(),
        };
        let before = (self.group.durable.epoch, self.group.durable.target_epoch);
        let result = step(&mut self.group, &mut context, &mut out);
        let records = std::mem::take(&mut out.records);
        let mut bytes = Vec::new();
        for record in &records {
            let (key, value) = record.encode(&mut bytes).expect("only what fits is stored");
            assert!(key.len() + value.map_or(0, <[u8]>::len) <= self.record_bytes_max);
            assert_eq!(Record::decode(key, value).as_ref(), Ok(record));
            self.group.replay(record.clone());
            self.log.push(record.clone());
        }
        let after = (self.group.durable.epoch, self.group.durable.target_epoch);
        let is_gone =
            |record: &Record| matches!(record, Record::ConsumerGroupMetadata { value: None, .. });
        if !records.iter().any(is_gone) {
            assert!(before.0 <= after.0 && before.1 <= after.1 && after.1 <= after.0);
        }
        self.check();
        (result, records)
    }

    /// What always holds.
    fn check(&self) {
        let group = &self.group.durable;
        let mut owned = BTreeSet::new();
        let mut targeted = BTreeSet::new();
        let mut subscriptions = Subscriptions::default();
        for (id, member) in &group.members {
            assert_eq!(*id, member.id);
            assert!(member.epoch <= group.target_epoch);
            for (topic, partition) in
                partitions_of(&member.assigned).chain(partitions_of(&member.revoking))
            {
                assert!(
                    owned.insert((topic, partition)),
                    "{topic}-{partition} has two owners"
                );
                assert!(group.owners.has(topic, partition));
            }
            for (topic, partitions) in group.targets.get(id).into_iter().flatten() {
                for partition in partitions {
                    assert!(targeted.insert((*topic, *partition)));
                }
            }
            if let Some(instance_id) = &member.instance_id {
                assert_eq!(group.static_members.get(instance_id), Some(id));
            }
            subscriptions.add(member);
        }
        assert!(
            group
                .targets
                .keys()
                .all(|id| group.members.contains_key(id))
        );
        for (regex, resolved) in &group.subscriptions.resolved {
            assert!(subscriptions.regexes.contains_key(regex));
            subscriptions.resolve(regex.clone(), resolved.clone());
        }
        assert_eq!(subscriptions, group.subscriptions);
        assert_eq!(group.held_bytes, group.count_held());
        if !self.group.is_empty() {
            assert!(self.group.next_deadline().is_some());
        }
    }

    fn heartbeat(&mut self, ask: impl Into<ConsumerGroupHeartbeatRequest>) -> Answer {
        self.heartbeat_at(ask, 1)
    }

    fn heartbeat_at(
        &mut self,
        ask: impl Into<ConsumerGroupHeartbeatRequest>,
        version: i16,
    ) -> Answer {
        let caller = Caller {
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            version,
        };
        let request = ask.into();
        let (answer, records) =
            self.run(|group, context, out| group.heartbeat(&request, &caller, context, out));
        if answer.is_err() {
            assert_eq!(records, [], "a heartbeat that is refused changes nothing");
            assert_eq!(self.durable_copy(), self.group.durable);
        }
        answer
    }

    /// A heartbeat that must go well.
    fn beat(
        &mut self,
        ask: impl Into<ConsumerGroupHeartbeatRequest>,
    ) -> ConsumerGroupHeartbeatResponse {
        self.heartbeat(ask).expect("a heartbeat that is accepted")
    }

    /// Why a heartbeat is refused.
    fn refused(&mut self, ask: impl Into<ConsumerGroupHeartbeatRequest>) -> ResponseError {
        self.heartbeat(ask)
            .expect_err("a heartbeat that is refused")
            .0
    }

    /// Lets time go by; what becomes due is done in time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut rounds = 0;
        while let Some(due) = self.group.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.run(|group, context, out| group.expire(context, out));
            rounds += 1;
            assert!(rounds < 100_000, "there is always something to do");
        }
        self.now = end;
    }

    /// Has what waits for nothing done: regular expressions are resolved.
    fn settle(&mut self) {
        self.pass(Duration::ZERO);
    }

    /// The records again, from the start of the log, in a machine made anew.
    fn restart(&mut self) {
        self.group = self.replayed(self.log.iter().cloned());
        self.run(|group, context, _| group.loaded(context));
    }

    fn replayed(&self, records: impl Iterator<Item = Record>) -> ConsumerGroup {
        let mut group = ConsumerGroup::new(GROUP.into());
        records.for_each(|record| group.replay(record));
        group
    }

    fn durable_copy(&self) -> Durable {
        self.replayed(self.log.iter().cloned()).durable
    }

    /// The log with only the last record of each key.
    fn compacted(&self) -> Vec<Record> {
        let mut seen = BTreeSet::new();
        let mut kept = Vec::new();
        for record in self.log.iter().rev() {
            let mut bytes = Vec::new();
            let (key, _) = record.encode(&mut bytes).expect("it was stored");
            if seen.insert(key.to_vec()) {
                kept.push(record.clone());
            }
        }
        kept.reverse();
        kept
    }

    fn member(&self, id: &str) -> &Member {
        &self.group.durable.members[id]
    }

    fn target(&self, id: &str) -> Vec<(Uuid, Vec<i32>)> {
        let target = self.group.durable.targets[id].iter();
        target
            .map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()))
            .collect()
    }
}

/// Metadata.
impl World {
    fn change_metadata(&mut self, records: Vec<crate::cluster::records::Record>) {
        for record in records {
            let offset = self.metadata.image().last_offset + 1;
            self.metadata
                .replay(offset, 1, &record)
                .expect("records that fit");
        }
        let delta = self.metadata.take_delta();
        let mut changes = TopicChanges::default();
        changes.add(&delta);
        self.group.topics_changed(&changes);
    }

    fn create_topic(&mut self, name: &str, partitions: i32) {
        let topic_id = self.next_topic_id();
        let topic = TopicRecord {
            name: name.to_owned(),
            topic_id,
        };
        let partitions = (0..partitions).map(|id| partition_record(topic_id, id, 1));
        let records = std::iter::once(topic.into()).chain(partitions);
        self.change_metadata(records.collect());
    }

    fn next_topic_id(&self) -> Uuid {
        let offset = self.metadata.image().last_offset + 1;
        Uuid::from_u128(1000 + offset as u128)
    }

    fn add_partitions(&mut self, topic: &str, partitions: std::ops::Range<i32>) {
        let topic = self.topic(topic);
        self.change_metadata(
            partitions
                .map(|id| partition_record(topic, id, 1))
                .collect(),
        );
    }

    fn delete_topic(&mut self, topic: &str) {
        let topic_id = self.topic(topic);
        self.change_metadata(vec![RemoveTopicRecord { topic_id }.into()]);
    }

    fn configure(&mut self, name: &str, value: &str) {
        let record = ConfigRecord {
            resource_type: 32,
            resource_name: GROUP.to_owned(),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        };
        self.change_metadata(vec![record.into()]);
    }

    fn topic(&self, name: &str) -> Uuid {
        self.metadata
            .image()
            .topics
            .id_of(name)
            .expect("a topic that is there")
    }
}

fn partition_record(topic: Uuid, id: i32, leader: i32) -> crate::cluster::records::Record {
    let dir = Uuid::from_u128(99);
    let partition = Partition::new(vec![leader], vec![dir], vec![leader]);
    partition.to_record(topic, id).into()
}

fn partitions_of(assigned: &Assigned) -> impl Iterator<Item = (Uuid, i32)> {
    let topics = assigned.iter();
    topics.flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
}

/// What is in an answer, or the lack of it.
fn assigned(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<(Uuid, Vec<i32>)>> {
    let topics = answer.assignment.as_ref()?.topic_partitions.iter();
    Some(
        topics
            .map(|topic| (topic.topic_id, topic.partitions.clone()))
            .collect(),
    )
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// What a member sends.
#[derive(Clone)]
struct Ask(ConsumerGroupHeartbeatRequest);

impl From<Ask> for ConsumerGroupHeartbeatRequest {
    fn from(ask: Ask) -> Self {
        ask.0
    }
}

impl Ask {
    /// A heartbeat that says nothing new.
    fn of(id: &str, epoch: i32) -> Self {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(id))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(-1);
        Self(request)
    }

    /// A member that comes, and subscribes to nothing.
    fn join(id: &str) -> Self {
        Self::of(id, JOIN).rebalance(REBALANCE).names(&[]).owns(&[])
    }

    fn leave(id: &str) -> Self {
        Self::of(id, LEAVE)
    }

    fn names(mut self, topics: &[&str]) -> Self {
        let names = topics.iter().map(|topic| TopicName(text(topic)));
        self.0.subscribed_topic_names = Some(names.collect());
        self
    }

    fn regex(mut self, regex: &str) -> Self {
        self.0.subscribed_topic_regex = Some(text(regex));
        self
    }

    fn instance(mut self, instance: &str) -> Self {
        self.0.instance_id = Some(text(instance));
        self
    }

    fn assignor(mut self, name: &str) -> Self {
        self.0.server_assignor = Some(text(name));
        self
    }

    fn rebalance(mut self, timeout: Duration) -> Self {
        self.0.rebalance_timeout_ms = timeout.as_millis() as i32;
        self
    }

    fn owns(mut self, partitions: &[(Uuid, Vec<i32>)]) -> Self {
        let owned = partitions.iter().map(|(topic, partitions)| {
            Owned::default()
                .with_topic_id(*topic)
                .with_partitions(partitions.clone())
        });
        self.0.topic_partitions = Some(owned.collect());
        self
    }
}
