//! What members of both protocols have in common: how they live, what they know of topics, how they commit and find
//! where their group has come to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Instant;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::commits::Place;
use super::holders::Process;
use super::plan::Feature;
use super::sim::{Sim, Term};
use crate::wire::{Client, Lost, text};

/// Between two looks at the topics, as a much shorter `metadata.max.age.ms`.
const TOPICS_AGE_MAX: Duration = Duration::from_secs(3);

/// What one member of a group is like.
#[derive(Clone, Debug)]
pub struct Character {
    pub group: String,
    pub protocol: Protocol,
    /// `group.instance.id`.
    pub instance: Option<String>,
    pub wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Eager,
    Cooperative,
    /// The new one, with one of its assignors.
    Consumer(&'static str),
}

/// What a member subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Names(Vec<&'static str>),
    /// All that begin with `t`.
    Pattern,
}

/// What a member is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Stay,
    /// To stop in order. A static member does so without leaving its place.
    Stop,
}

/// What of a member can be seen and done from outside.
pub struct Handle {
    pub character: Character,
    pub process: Process,
    pub wish: Cell<Wish>,
    pub has_ended: Cell<bool>,
    /// Several processes have the same `group.instance.id`, and take each other's place. The same cell for all of them.
    pub is_contested: Rc<Cell<bool>>,
    /// Its id in the group, and generation or epoch, while it is a member with an assignment.
    pub place: RefCell<Option<(String, i32)>>,
    pub knows_topics: RefCell<BTreeMap<String, (Uuid, i32)>>,
}

/// A partition as members name it; the classic protocol has no ids.
pub type Partition = (String, Uuid, i32);

pub struct Member {
    pub sim: Rc<Sim>,
    pub client: Client,
    pub handle: Rc<Handle>,
    /// What it holds, and how far it has read, where it knows.
    pub held: BTreeMap<Partition, Option<i64>>,
    pub has_coordinator: bool,
    /// When it was given its generation, while nothing of that is known to be written.
    pub unwritten: Option<Term>,
    topics_seen: Option<Instant>,
    /// Of its own commits.
    next_commit: Instant,
}

/// What became of a request for offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fine,
    /// Worth another try.
    Later,
    /// Its epoch has moved on.
    Stale,
    /// It is no member any more.
    NoMember,
    /// It is a member, and of another generation.
    OtherGeneration,
    /// A rebalance is to be joined.
    Rebalance,
    Fenced,
}

impl Member {
    pub fn new(sim: Rc<Sim>, client: Client, handle: Rc<Handle>) -> Member {
        Member {
            next_commit: client.io().now(),
            sim,
            client,
            handle,
            held: BTreeMap::new(),
            has_coordinator: false,
            topics_seen: None,
            unwritten: None,
        }
    }

    pub fn now(&self) -> Instant {
        self.client.io().now()
    }

    pub fn group(&self) -> GroupId {
        GroupId(text(&self.handle.character.group))
    }

    pub fn instance(&self) -> Option<StrBytes> {
        self.handle.character.instance.as_deref().map(text)
    }

    pub fn is_to_stop(&self) -> bool {
        self.handle.wish.get() == Wish::Stop
    }

    /// One of so many times, as long as nobody waits for calm, where that is switched on.
    pub fn dares(&self, what: Feature, one_of: u64) -> bool {
        !self.sim.is_calm.get() && self.client.below(one_of) == 0 && self.sim.plan.has(what)
    }

    pub async fn sleep_ms(&self, least: u64, more: u64) {
        let pause = least + self.client.below(more + 1);
        self.client.io().sleep(Duration::from_millis(pause)).await;
    }

    pub fn place_of(&self, (topic, _, partition): &Partition) -> Place {
        let group = self.handle.character.group.clone();
        (group, topic.clone(), *partition)
    }

    pub fn take(&mut self, partition: Partition, asked: Instant) {
        let (place, now) = (self.place_of(&partition), self.now());
        let mut holders = self.sim.holders.borrow_mut();
        holders.take(self.handle.process, &place, asked, now);
        self.held.insert(partition, None);
    }

    pub fn let_go(&mut self, partition: &Partition) {
        self.held.remove(partition);
        let place = self.place_of(partition);
        self.sim
            .holders
            .borrow_mut()
            .release(self.handle.process, &place);
    }

    /// Asked at `asked`, its coordinator has said something that it knows only once it has loaded the group.
    pub fn note_loaded(&self, asked: Instant) {
        let group = &self.handle.character.group;
        self.sim.note_loaded(group, asked);
    }

    pub fn had_loaded(&self, asked: Instant) -> bool {
        self.sim.had_loaded(&self.handle.character.group, asked)
    }

    /// It is no member any more.
    pub fn lose_all(&mut self) {
        self.held.clear();
        self.sim
            .holders
            .borrow_mut()
            .release_all(self.handle.process);
        self.handle.place.take();
    }

    /// The broker says that it is no member, for this reason.
    pub fn thrown_out(&mut self, why: ResponseError) -> Outcome {
        let (process, now) = (self.handle.process, self.now());
        let why = format!("{why:?}");
        self.sim.holders.borrow_mut().thrown_out(process, now, &why);
        self.lose_all();
        Outcome::NoMember
    }

    /// Whether what was learned of a coordinator then, if anything, may be forgotten by it.
    pub fn is_of_the_past(&self, term: Option<Term>) -> bool {
        term.is_some_and(|term| self.sim.may_be_forgotten(term))
    }

    /// The broker says that it is of another generation. Unless the group has gone from one protocol to the other, or the
    /// broker has forgotten a generation that was not written, that was the turn of a rebalance that it has missed.
    pub fn other_generation(&mut self) -> Outcome {
        let is_mixed = self.handle.character.group.starts_with("mixed");
        if !is_mixed && !self.is_of_the_past(self.unwritten) {
            self.thrown_out(ResponseError::IllegalGeneration);
        }
        self.lose_all();
        Outcome::OtherGeneration
    }

    pub fn fenced(&mut self) {
        let is_contested = self.handle.is_contested.get();
        assert!(
            is_contested,
            "{}: fenced without a rival",
            self.handle.process
        );
        self.lose_all();
    }

    pub async fn find_coordinator(&mut self) -> Result<(), Lost> {
        let group = self.group();
        let request = |version| match version {
            ..4 => FindCoordinatorRequest::default().with_key(group.0.clone()),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![group.0.clone()]),
        };
        let reply = self.client.ask(1..=6, request).await?;
        let code = match reply.coordinators.first() {
            Some(coordinator) => coordinator.error_code,
            None => reply.error_code,
        };
        match code.err() {
            None => self.has_coordinator = true,
            Some(ResponseError::CoordinatorNotAvailable) => self.client.back_off().await,
            Some(error) => panic!("FindCoordinator: {error:?}"),
        }
        Ok(())
    }

    /// The coordinator has to be looked for again.
    pub async fn lost_coordinator(&mut self) {
        self.has_coordinator = false;
        self.client.back_off().await;
    }

    /// Looks at the topics if that is due; whether it has.
    pub async fn look_at_topics(&mut self, is_urgent: bool) -> bool {
        let is_fresh = self
            .topics_seen
            .is_some_and(|seen| self.now().since(seen) < TOPICS_AGE_MAX);
        if is_fresh && !is_urgent {
            return false;
        }
        let Ok(topics) = topics(&mut self.client).await else {
            return false;
        };
        self.handle.knows_topics.replace(topics);
        self.topics_seen = Some(self.now());
        true
    }

    /// The topics that it subscribes to and that there are, as far as it knows.
    pub fn subscribed(&self) -> BTreeMap<String, i32> {
        let known = self.handle.knows_topics.borrow();
        let wanted = known.iter().filter(|(name, _)| self.wants(name));
        wanted
            .map(|(name, (_, count))| (name.clone(), *count))
            .collect()
    }

    pub fn wants(&self, topic: &str) -> bool {
        self.handle.character.wanted.matches(topic)
    }

    /// Whether it is time for a commit of its own.
    pub fn is_commit_due(&mut self) -> bool {
        let is_due = self.now() >= self.next_commit;
        if is_due {
            let pause = 300 + self.client.below(2_000);
            self.next_commit = self.now() + Duration::from_millis(pause);
        }
        is_due
    }

    /// Reads on in all that it holds and commits that, as a member of this generation or epoch. Stale if somebody else
    /// is known to own a partition, or if `is_stale` says that it is all wrong.
    pub async fn commit(
        &mut self,
        id: &StrBytes,
        generation: i32,
        is_stale: bool,
    ) -> Result<Outcome, Lost> {
        let some = self.client.below(3) == 0;
        let mut sent = Vec::new();
        for (partition, position) in self.held.clone() {
            let Some(position) = position else { continue };
            if some && self.client.below(2) == 0 {
                continue;
            }
            let position = position + self.client.below(5) as i64;
            if !is_stale {
                self.held.insert(partition.clone(), Some(position));
            }
            let place = self.place_of(&partition);
            let is_superseded = self
                .sim
                .holders
                .borrow_mut()
                .is_superseded(self.handle.process, &place);
            let at = self.sim.moment();
            let mut commits = self.sim.commits.borrow_mut();
            let number = commits.begin(&place, position, is_stale || is_superseded, at);
            sent.push((partition, place, position, number));
        }
        if sent.is_empty() {
            return Ok(Outcome::Fine);
        }
        let is_new = matches!(self.handle.character.protocol, Protocol::Consumer(_));
        let (group, instance) = (self.group(), self.instance());
        let versions = if is_new { 9..=9 } else { 7..=9 };
        let request = |_| {
            let topics = sent
                .iter()
                .map(|((topic, _, partition), _, position, number)| {
                    let partition = OffsetCommitRequestPartition::default()
                        .with_partition_index(*partition)
                        .with_committed_offset(*position)
                        .with_committed_metadata(Some(text(&number.to_string())));
                    OffsetCommitRequestTopic::default()
                        .with_name(TopicName(text(topic)))
                        .with_partitions(vec![partition])
                });
            OffsetCommitRequest::default()
                .with_group_id(group)
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(id.clone())
                .with_group_instance_id(instance)
                .with_topics(topics.collect())
        };
        let reply = self.client.ask(versions, request).await?;
        let mut worst = Outcome::Fine;
        let mut answered = 0;
        for topic in &reply.topics {
            for partition in &topic.partitions {
                let is_it = |((name, _, index), ..): &&(Partition, Place, i64, u64)| {
                    topic.name.as_str() == name && partition.partition_index == *index
                };
                let of = sent.iter().find(is_it);
                let (_, place, _, number) = of.expect("an answer to what was asked");
                let outcome = self.committed(place, *number, partition.error_code);
                if worst == Outcome::Fine {
                    worst = outcome;
                }
                answered += 1;
            }
        }
        if !is_stale && worst == Outcome::NoMember {
            self.thrown_out(ResponseError::UnknownMemberId);
        }
        if !is_stale && worst == Outcome::OtherGeneration {
            self.other_generation();
        }
        assert_eq!(answered, sent.len(), "an answer for each partition");
        Ok(worst)
    }

    /// What a client makes of the answer to a commit, as Java's `OffsetCommitResponseHandler` and
    /// `CommitRequestManager` do.
    fn committed(&self, place: &Place, number: u64, code: i16) -> Outcome {
        use ResponseError::*;
        let mut commits = self.sim.commits.borrow_mut();
        let Some(error) = code.err() else {
            commits.acknowledge(place, number, self.sim.moment());
            return Outcome::Fine;
        };
        let (outcome, is_refused) = match error {
            CoordinatorLoadInProgress => (Outcome::Later, true),
            CoordinatorNotAvailable | NotCoordinator | RequestTimedOut => (Outcome::Later, false),
            UnknownTopicOrPartition | UnknownTopicId => (Outcome::Fine, true),
            RebalanceInProgress => (Outcome::Rebalance, true),
            UnknownMemberId => (Outcome::NoMember, true),
            IllegalGeneration => (Outcome::OtherGeneration, true),
            GroupIdNotFound => (Outcome::NoMember, true),
            StaleMemberEpoch => (Outcome::Stale, true),
            FencedInstanceId => (Outcome::Fenced, true),
            error => panic!("{place:?}: OffsetCommit: {error:?}"),
        };
        if is_refused {
            commits.refuse(place, number);
        }
        outcome
    }

    /// Finds out where the group has come to in what it holds newly.
    pub async fn find_positions(
        &mut self,
        id: &StrBytes,
        generation: i32,
    ) -> Result<Outcome, Lost> {
        let new = self.held.iter().filter(|(_, position)| position.is_none());
        let new: Vec<Partition> = new.map(|(partition, _)| partition.clone()).collect();
        if new.is_empty() {
            return Ok(Outcome::Fine);
        }
        let is_new = matches!(self.handle.character.protocol, Protocol::Consumer(_));
        let group = self.group();
        let is_stable = self.client.below(2) == 0;
        let begin = self.now();
        let request = |_| {
            let topics = new.iter().map(|(topic, _, partition)| {
                OffsetFetchRequestTopics::default()
                    .with_name(TopicName(text(topic)))
                    .with_partition_indexes(vec![*partition])
            });
            let group = OffsetFetchRequestGroup::default()
                .with_group_id(group)
                .with_topics(Some(topics.collect()));
            let group = match is_new {
                true => group
                    .with_member_id(Some(id.clone()))
                    .with_member_epoch(generation),
                false => group,
            };
            OffsetFetchRequest::default()
                .with_groups(vec![group])
                .with_require_stable(is_stable)
        };
        let versions = if is_new { 9..=9 } else { 8..=9 };
        let reply = self.client.ask(versions, request).await?;
        let group = reply.groups.first().expect("the group asked for");
        use ResponseError::*;
        match group.error_code.err() {
            None => {}
            Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator) => {
                return Ok(Outcome::Later);
            }
            Some(StaleMemberEpoch) if is_new => return Ok(Outcome::Stale),
            Some(UnknownMemberId | GroupIdNotFound) if is_new => return Ok(Outcome::NoMember),
            Some(error) => panic!("OffsetFetch: {error:?}"),
        }
        for topic in &group.topics {
            for found in &topic.partitions {
                assert_eq!(found.error_code, 0, "OffsetFetch of a partition");
                let is_it = |(name, _, index): &&Partition| {
                    topic.name.as_str() == name && found.partition_index == *index
                };
                let partition = new.iter().find(is_it).expect("one that was asked for");
                let place = self.place_of(partition);
                let metadata = found.metadata.as_deref().unwrap_or_default();
                let offset = found.committed_offset;
                let committed = (offset >= 0).then_some((offset, metadata));
                let at = self.sim.moment();
                self.sim
                    .commits
                    .borrow_mut()
                    .check_read(&place, committed, begin, at);
                self.held.insert(partition.clone(), Some(offset.max(0)));
            }
        }
        Ok(Outcome::Fine)
    }
}

impl Wanted {
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Wanted::Names(names) => names.contains(&topic),
            Wanted::Pattern => topic.starts_with('t'),
        }
    }
}

/// All topics but the broker's own, with their ids and how many partitions they have.
pub async fn topics(client: &mut Client) -> Result<BTreeMap<String, (Uuid, i32)>, Lost> {
    let all = |_| {
        MetadataRequest::default()
            .with_topics(None)
            .with_allow_auto_topic_creation(false)
    };
    let reply: MetadataResponse = client.ask(10..=12, all).await?;
    let own = reply.topics.into_iter().filter(|topic| !topic.is_internal);
    let named = |topic: MetadataResponseTopic| {
        assert_eq!(topic.error_code, 0, "Metadata of {:?}", topic.name);
        let name = topic.name.expect("a name").to_string();
        (name, (topic.topic_id, topic.partitions.len() as i32))
    };
    Ok(own.map(named).collect())
}
