//! The coordinator of consumer groups and of committed offsets: the groups of one partition of `__consumer_offsets`.
//!
//! Groups are of one of two kinds, of the classic protocol or of the consumer protocol ([`kind`]); requests of their
//! members are in [`members`], what records make of them is in [`replay`].
//!
//! A group comes to be when its first member joins, or when an offset is committed in its name by somebody who is no
//! member (a *simple* group, which is a classic one). It is gone when it is deleted, or found empty and without offsets
//! by a sweep ([`sweep`]). Whatever goes through all groups does so in steps ([`walks`]): there may be many.
//!
//! What a group waits for has one place in the deadlines of all, lazily: it may come too early, never too late.

pub mod assignor;
pub mod census;
pub mod classic;
pub mod committed;
pub mod consumer;
mod consumer_protocol;
mod kind;
mod members;
pub mod offsets;
pub mod records;
mod replay;
mod sweep;
mod walks;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::mem::{self, size_of};
use std::rc::Rc;

use corelog_shards::io::Instant;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponseTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopics;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetDeleteResponse, SyncGroupRequest, SyncGroupResponse,
};
use uuid::Uuid;

use self::census::count;
use self::classic::ClassicGroup;
use self::committed::{Committed, Place};
use self::consumer::Rejection;
use self::kind::Kind;
use self::offsets::{Commit, Offsets};
use self::records::Record;
use self::sweep::Sweep;
use self::walks::{Finishing, Spreading};
pub use self::walks::{Listed, TopicChanges};
use super::memory::Claim;
use super::{Context, KeyAndValue, LogRecord, Machine, Output, Replier};
use crate::cluster::image::Delta;
use crate::lines;

/// The topic that groups are kept in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The partition of that topic, of so many, that has a group: Java's hash of its name decides.
pub fn partition_of(group: &str, partitions: usize) -> i32 {
    let hash = |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group.encode_utf16().fold(0, hash);
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    (hash & i32::MAX) % partitions.max(1)
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Empty if the client gives none.
    pub client_id: String,
    /// As Kafka writes it, like `/127.0.0.1`.
    pub client_host: String,
    /// Of the request.
    pub version: i16,
}

/// Groups whose deadlines are dealt with in one step.
const DUE_PER_STEP: usize = 50;

/// From this version of OffsetCommit on, members of a group that is not there are told so.
const TELLS_MISSING_GROUP: i16 = 9;

/// A request about groups of this partition.
pub enum Input {
    Join(JoinGroupRequest, Caller, Replier<JoinGroupResponse>),
    Sync(SyncGroupRequest, Replier<SyncGroupResponse>),
    Heartbeat(HeartbeatRequest, Replier<Option<ResponseError>>),
    Leave(GroupId, Vec<MemberIdentity>, Replier<Vec<MemberResponse>>),
    ConsumerHeartbeat(
        ConsumerGroupHeartbeatRequest,
        Caller,
        Replier<Result<ConsumerGroupHeartbeatResponse, Rejection>>,
    ),
    /// A classic group. If there is none of this name, the answer says so in words.
    Describe(GroupId, Replier<Result<DescribedGroup, String>>),
    /// A consumer group, in the same way.
    ConsumerDescribe(GroupId, Replier<Result<DescribedConsumerGroup, String>>),
    /// Some groups, behind the one of this name or from the first on.
    List(Option<Rc<str>>, Replier<Listed>),
    Delete(GroupId, Replier<DeletableGroupResult>),
    /// With the version of the API.
    Commit(
        OffsetCommitRequest,
        i16,
        Replier<Vec<OffsetCommitResponseTopic>>,
    ),
    /// All offsets, if no topics are named.
    Fetch(
        OffsetFetchRequestGroup,
        Replier<Result<Vec<OffsetFetchResponseTopics>, ResponseError>>,
    ),
    DeleteOffsets(OffsetDeleteRequest, Replier<OffsetDeleteResponse>),
    /// Some of the committed offsets, from this place on.
    Committed(Place, Replier<Committed>),
}

/// A group and what it has committed.
struct Group {
    kind: Kind,
    offsets: Offsets,
    /// Its place in the deadlines.
    due: Option<Instant>,
    /// On the shard's memory.
    claim: Claim,
}

/// The groups of one partition.
#[derive(Default)]
pub struct Groups {
    /// In order: clients choose the names, and could choose some that collide in a hash map.
    groups: BTreeMap<Rc<str>, Group>,
    deadlines: BTreeSet<(Instant, Rc<str>)>,
    finishing: Finishing,
    spreading: Spreading,
    sweep: Sweep,
}

impl Machine for Groups {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, input: Input, context: &mut Context<'_>) -> Output<Record> {
        let mut out = Output::default();
        match input {
            Input::Join(request, caller, to) => self.join(request, &caller, to, context, &mut out),
            Input::Sync(request, to) => self.sync(request, to, context, &mut out),
            Input::Heartbeat(request, to) => {
                let outcome = self.heartbeat(&request, context);
                out.reply(to, outcome);
            }
            Input::Leave(group, members, to) => {
                let answer = self.leave(&group, members, context, &mut out);
                out.reply(to, answer);
            }
            Input::ConsumerHeartbeat(request, caller, to) => {
                let answer = self.consumer_heartbeat(&request, &caller, context, &mut out);
                out.reply(to, answer);
            }
            Input::Describe(group, to) => {
                let answer = match self.kind_of(&group) {
                    Some(Kind::Classic(group)) => Ok(group.describe()),
                    other => Err(missing(&group, "classic", other.is_some())),
                };
                out.reply(to, answer);
            }
            Input::ConsumerDescribe(group, to) => {
                let answer = match self.kind_of(&group) {
                    Some(Kind::Consumer(group)) => Ok(group.describe(context)),
                    other => Err(missing(&group, "consumer", other.is_some())),
                };
                out.reply(to, answer);
            }
            Input::List(behind, to) => {
                let listed = self.list(behind.as_deref());
                out.reply(to, listed);
            }
            Input::Delete(group, to) => {
                let outcome = self.delete(&group, context, &mut out).err();
                let answer = DeletableGroupResult::default()
                    .with_group_id(group)
                    .with_error_code(outcome.map_or(0, |error| error.code()));
                out.reply(to, answer);
            }
            Input::Commit(request, version, to) => {
                let answer = self.commit(request, version, context, &mut out.records);
                out.reply(to, answer);
            }
            Input::Fetch(request, to) => {
                let answer = self.fetch(request, context);
                out.reply(to, answer);
            }
            Input::DeleteOffsets(request, to) => {
                let answer = self.delete_offsets(request, context, &mut out.records);
                out.reply(to, answer);
            }
            Input::Committed(from, to) => {
                let answer = self.committed(&from, context.image);
                out.reply(to, answer);
            }
        }
        let metrics = context.metrics;
        count(&out.records, &metrics.offsets_deleted, metrics);
        out
    }

    fn expire(&mut self, context: &mut Context<'_>) -> Output<Record> {
        let mut out = Output::default();
        // Each group once: what comes of it is to be replayed before it goes on.
        for id in self.take_due(context.now) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.kind.expire(context, &mut out);
                if group.is_unused() {
                    group.kind.delete(context, &mut out);
                }
                self.settle(&id);
            }
        }
        self.spread_on(context.now);
        if out.records.is_empty() {
            self.sweep_on(context, &mut out);
        }
        let metrics = context.metrics;
        count(&out.records, &metrics.offsets_expired, metrics);
        out
    }

    fn next_deadline(&self) -> Option<Instant> {
        let first = self.deadlines.first().map(|(due, _)| *due);
        let walks = [self.spreading.due(), self.sweep.due()];
        first.into_iter().chain(walks.into_iter().flatten()).min()
    }

    fn metadata_changed(&mut self, change: &Delta, context: &mut Context<'_>) -> Output<Record> {
        self.note_changes(change, context.now);
        Output::default()
    }

    fn replay(&mut self, record: Record, context: &mut Context<'_>) {
        self.take_over(record, context);
    }

    fn loaded(&mut self, context: &mut Context<'_>, out: &mut Output<Record>) -> bool {
        self.finish_some(context, out)
    }
}

impl Groups {
    fn delete(
        &mut self,
        id: &str,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<(), ResponseError> {
        let group = self.groups.get_mut(id);
        let group = group.ok_or(ResponseError::GroupIdNotFound)?;
        group.kind.check_delete()?;
        let offsets = &group.offsets;
        offsets.tombstones(id, &mut out.records);
        group.kind.delete(context, out);
        Ok(())
    }

    fn commit(
        &mut self,
        request: OffsetCommitRequest,
        version: i16,
        context: &mut Context<'_>,
        records: &mut Vec<Record>,
    ) -> Vec<OffsetCommitResponseTopic> {
        let (member, generation) = (&request.member_id, request.generation_id_or_member_epoch);
        let instance = request.group_instance_id.as_deref();
        let kind = self.groups.get_mut(request.group_id.as_str());
        let outcome = match kind.map(|group| &mut group.kind) {
            Some(Kind::Classic(group)) => group.check_commit(member, instance, generation, context),
            Some(Kind::Consumer(group)) => {
                let partitions = committed_partitions(&request, context);
                group.check_commit(member, generation, version, partitions)
            }
            None if generation < 0 => Ok(()),
            None if version >= TELLS_MISSING_GROUP => Err(ResponseError::GroupIdNotFound),
            None => Err(ResponseError::IllegalGeneration),
        };
        let group = self.groups.get(request.group_id.as_str());
        let commit = Commit {
            group: &request.group_id,
            retention_ms: request.retention_time_ms,
            refused: outcome.err(),
            before: group.map(|group| &group.offsets),
        };
        Offsets::commit(commit, request.topics, context, records)
    }

    fn fetch(
        &self,
        request: OffsetFetchRequestGroup,
        context: &Context<'_>,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ResponseError> {
        let nothing = Offsets::default();
        let group = self.groups.get(request.group_id.as_str());
        if let Some(Kind::Consumer(group)) = group.map(|group| &group.kind) {
            group.check_fetch(request.member_id.as_deref(), request.member_epoch)?;
        }
        let offsets = group.map_or(&nothing, |group| &group.offsets);
        Ok(match request.topics {
            Some(topics) => offsets.fetch(topics, context.image),
            None => offsets.fetch_all(context.image),
        })
    }

    fn delete_offsets(
        &mut self,
        request: OffsetDeleteRequest,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) -> OffsetDeleteResponse {
        let id = request.group_id.as_str();
        let refused =
            |error: ResponseError| OffsetDeleteResponse::default().with_error_code(error.code());
        let Some(group) = self.groups.get(id) else {
            return refused(ResponseError::GroupIdNotFound);
        };
        if let Err(error) = group.kind.check_offset_delete() {
            return refused(error);
        }
        let (offsets, image) = (&group.offsets, context.image);
        let is_subscribed = |topic: &str| group.kind.is_subscribed_to(topic);
        let topics = offsets.delete(id, request.topics, is_subscribed, image, records);
        OffsetDeleteResponse::default().with_topics(topics)
    }

    fn kind_of(&self, id: &str) -> Option<&Kind> {
        self.groups.get(id).map(|group| &group.kind)
    }

    fn kind_of_mut(&mut self, id: &str) -> Option<&mut Kind> {
        self.groups.get_mut(id).map(|group| &mut group.kind)
    }

    /// Has a group go over to another protocol. What it was so far is returned.
    fn convert(&mut self, id: &str, kind: Kind) -> Option<Kind> {
        let group = self.groups.get_mut(id)?;
        Some(mem::replace(&mut group.kind, kind))
    }

    /// A group, which is simple and empty if there was none.
    fn get_or_create(&mut self, id: &str, context: &Context<'_>) -> &mut Group {
        if !self.groups.contains_key(id) {
            let id: Rc<str> = id.into();
            let classic = ClassicGroup::new(id.clone(), context);
            let group = Group::of(Kind::Classic(classic), context);
            self.groups.insert(id, group);
        }
        self.groups.get_mut(id).expect("it was put in just now")
    }

    /// Some of the groups whose deadlines have come, each once.
    fn take_due(&mut self, now: Instant) -> Vec<Rc<str>> {
        let mut ids = Vec::new();
        while ids.len() < DUE_PER_STEP
            && let Some((due, _)) = self.deadlines.first()
            && *due <= now
            && let Some((_, id)) = self.deadlines.pop_first()
        {
            if let Some(group) = self.groups.get_mut(&id) {
                group.due = None;
                ids.push(id);
            }
        }
        ids
    }

    /// Gives a group's deadline its place, if it has come nearer.
    fn note_deadline(&mut self, id: &str) {
        let Some((id, group)) = self.groups.get_key_value(id) else {
            return;
        };
        let Some(due) = group.kind.next_deadline() else {
            return;
        };
        if group.due.is_some_and(|known| known <= due) {
            return;
        }
        let id = id.clone();
        if let Some(group) = self.groups.get_mut(&id)
            && let Some(later) = group.due.replace(due)
        {
            self.deadlines.remove(&(later, id.clone()));
        }
        self.deadlines.insert((due, id));
    }
}

impl Group {
    fn of(kind: Kind, context: &Context<'_>) -> Self {
        let mut group = Self {
            kind,
            offsets: Offsets::default(),
            due: None,
            claim: Claim::on(context.memory),
        };
        group.recount();
        group
    }

    /// Has something changed, what it takes is counted anew.
    fn recount(&mut self) {
        let places = 2 * size_of::<(Rc<str>, Self)>();
        self.claim
            .set(places + self.kind.held_bytes() + self.offsets.held_bytes());
    }

    /// Whether it was made for a client that has asked for a member id and never came back.
    fn is_unused(&self) -> bool {
        let Kind::Classic(group) = &self.kind else {
            return false;
        };
        self.offsets.is_empty() && group.is_unused()
    }
}

/// Whether the shard has the memory for a part of its groups that takes `held` bytes to take so many more. What takes
/// no more than before always has.
fn has_room(context: &Context<'_>, held: usize, more: usize) -> bool {
    let limit = context.config.groups.memory_bytes;
    let has_room = more == 0 || context.memory.has_room(limit, held, more);
    if !has_room {
        lines::say!(
            context.lines,
            context.now,
            warn,
            used_bytes = context.memory.used(),
            "groups hold all the memory that they may: who needs more of it is told to try again"
        );
    }
    has_room
}

/// Those partitions of a commit that are there.
fn committed_partitions(
    request: &OffsetCommitRequest,
    context: &Context<'_>,
) -> impl Iterator<Item = (Uuid, i32)> {
    request.topics.iter().flat_map(|topic| {
        let known = context.image.topics.by_name(&topic.name);
        let partitions = topic.partitions.iter();
        partitions.filter_map(move |partition| {
            let index = partition.partition_index;
            known
                .filter(|topic| topic.partition(index).is_some())
                .map(|topic| (topic.id, index))
        })
    })
}

/// Says that there is no such group, or none of this kind.
fn missing(id: &str, kind: &str, is_there: bool) -> String {
    match is_there {
        true => format!("Group {id} is not a {kind} group."),
        false => format!("Group {id} not found."),
    }
}

impl LogRecord for Record {
    fn encode<'a>(&self, out: &'a mut Vec<u8>) -> Result<KeyAndValue<'a>, Box<dyn Error>> {
        Ok(Record::encode(self, out)?)
    }

    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self, Box<dyn Error>> {
        Ok(Record::decode(key, value)?)
    }
}

#[cfg(test)]
mod tests;
