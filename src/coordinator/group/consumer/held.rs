//! What a group takes in memory, estimated from above, and what records would add to it.
//!
//! Counted record by record as they are replayed: who a member is and what it subscribes to, what it has, what it is to
//! have, and what regular expressions stand for. What is derived of these is counted with them.

use std::collections::BTreeMap;
use std::mem::size_of;

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::durable::Durable;
use super::member::{Assigned, Member};
use super::subscriptions::Resolved;
use super::{ConsumerGroup, Rejection, rejection};
use crate::coordinator::Context;
use crate::coordinator::group::assignor::Partitions;
use crate::coordinator::group::has_room;
use crate::coordinator::group::records::{
    ClassicMemberMetadata, ConsumerGroupMemberMetadataValue, Record,
};
use crate::coordinator::memory::{text_bytes, tree_bytes};

/// What a member takes beside its texts: its places among members, targets, timers and static members, and the first
/// nodes of its trees.
const MEMBER_BYTES: usize = 2 * size_of::<Member>() + 2_500;
/// How often a member's id is kept.
const IDS: usize = 4;
/// Of a name that is subscribed to: its places in the member's set and among those of the group.
const NAME_BYTES: usize = 160;
/// Of a protocol of the classic protocol.
const PROTOCOL_BYTES: usize = 100;
/// Of a topic that a member has, and of one that it is to have.
const ASSIGNED_TOPIC_BYTES: usize = 250;
const TARGET_TOPIC_BYTES: usize = 150;
/// Of a partition that a member has, with its place among the owners, and of one that it is to have.
const ASSIGNED_PARTITION_BYTES: usize = 90;
const TARGET_PARTITION_BYTES: usize = 10;
/// Of a regular expression with what it stands for.
const REGEX_BYTES: usize = 400;

/// What a group without members takes, in bytes.
pub(super) fn group_bytes(id: &str) -> usize {
    // The first nodes of its trees are counted with the first member.
    size_of::<ConsumerGroup>() + text_bytes(id) + tree_bytes::<String, Member>(1)
}

impl Member {
    /// Who it is and what it subscribes to.
    pub(super) fn said_bytes(&self) -> usize {
        let texts = [
            &self.instance_id,
            &self.rack_id,
            &self.subscribed_regex,
            &self.assignor,
        ];
        said_bytes(
            &self.id,
            texts,
            [&self.client_id, &self.client_host],
            self.subscribed_topics.iter(),
            self.classic.as_ref(),
        )
    }

    pub(super) fn assigned_bytes(&self) -> usize {
        let bytes = |assigned: &Assigned| {
            let topics = assigned.values().map(BTreeMap::len);
            topics_bytes(topics, ASSIGNED_TOPIC_BYTES, ASSIGNED_PARTITION_BYTES)
        };
        bytes(&self.assigned) + bytes(&self.revoking)
    }
}

fn said_bytes<'a>(
    id: &str,
    texts: [&Option<String>; 4],
    caller: [&String; 2],
    names: impl Iterator<Item = &'a String>,
    classic: Option<&ClassicMemberMetadata>,
) -> usize {
    let texts = texts.into_iter().flatten().chain(caller);
    // Some of them are keys elsewhere, too.
    let texts: usize = texts.map(|text| 2 * text_bytes(text)).sum();
    let names: usize = names.map(|name| NAME_BYTES + 2 * name.len()).sum();
    let protocols = classic.into_iter().flat_map(|it| &it.supported_protocols);
    let protocols: usize = protocols
        .map(|protocol| PROTOCOL_BYTES + protocol.name.len() + protocol.metadata.len())
        .sum();
    MEMBER_BYTES + IDS * text_bytes(id) + texts + names + protocols
}

fn said_in(id: &str, value: &ConsumerGroupMemberMetadataValue) -> usize {
    let texts = [
        &value.instance_id,
        &value.rack_id,
        &value.subscribed_topic_regex,
        &value.server_assignor,
    ];
    said_bytes(
        id,
        texts,
        [&value.client_id, &value.client_host],
        value.subscribed_topic_names.iter(),
        value.classic_member_metadata.as_ref(),
    )
}

/// Of topics with so many partitions each.
fn topics_bytes(
    topics: impl Iterator<Item = usize>,
    topic_bytes: usize,
    partition_bytes: usize,
) -> usize {
    topics
        .map(|partitions| topic_bytes + partitions * partition_bytes)
        .sum()
}

pub(super) fn target_bytes(target: &Partitions) -> usize {
    let topics = target.values().map(|partitions| partitions.len());
    topics_bytes(topics, TARGET_TOPIC_BYTES, TARGET_PARTITION_BYTES)
}

pub(super) fn resolved_bytes(regex: &str, resolved: &Resolved) -> usize {
    regex_bytes(regex, resolved.topics.iter())
}

fn regex_bytes<'a>(regex: &str, topics: impl Iterator<Item = &'a String>) -> usize {
    let topics: usize = topics.map(|name| NAME_BYTES + 2 * name.len()).sum();
    REGEX_BYTES + text_bytes(regex) + topics
}

/// What a record is about; the later of two takes the place of the earlier.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum About<'a> {
    Said(&'a str),
    Assigned(&'a str),
    Target(&'a str),
    Regex(&'a str),
}

fn about(record: &Record) -> Option<(About<'_>, usize)> {
    type Topics<'a> = &'a mut dyn Iterator<Item = (&'a Uuid, usize)>;
    let sizes = |topics: Topics<'_>, topic_bytes, partition_bytes| {
        topics_bytes(topics.map(|(_, len)| len), topic_bytes, partition_bytes)
    };
    Some(match record {
        Record::ConsumerGroupMemberMetadata { member, value, .. } => {
            let bytes = value.as_ref().map(|value| said_in(member, value));
            (About::Said(member), bytes.unwrap_or(0))
        }
        Record::ConsumerGroupCurrentMemberAssignment { member, value, .. } => {
            let topics = value.iter().flat_map(|value| {
                let assigned = value.assigned_partitions.iter();
                assigned.chain(&value.partitions_pending_revocation)
            });
            let mut topics = topics.map(|topic| (&topic.topic_id, topic.partitions.len()));
            let bytes = sizes(&mut topics, ASSIGNED_TOPIC_BYTES, ASSIGNED_PARTITION_BYTES);
            (About::Assigned(member), bytes)
        }
        Record::ConsumerGroupTargetAssignmentMember { member, value, .. } => {
            let topics = value.iter().flat_map(|value| &value.topic_partitions);
            let mut topics = topics.map(|topic| (&topic.topic_id, topic.partitions.len()));
            let bytes = sizes(&mut topics, TARGET_TOPIC_BYTES, TARGET_PARTITION_BYTES);
            (About::Target(member), bytes)
        }
        Record::ConsumerGroupRegularExpression {
            regular_expression: regex,
            value,
            ..
        } => {
            let bytes = |topics: &Vec<String>| regex_bytes(regex, topics.iter());
            let bytes = value.as_ref().map(|value| bytes(&value.topics));
            (About::Regex(regex), bytes.unwrap_or(0))
        }
        _ => return None,
    })
}

impl Durable {
    /// What records would add to what the group takes, in bytes.
    pub fn growth(&self, records: &[Record]) -> usize {
        let after: BTreeMap<About<'_>, usize> = records.iter().filter_map(about).collect();
        let before = after.keys().map(|about| self.bytes_about(about)).sum();
        after.values().sum::<usize>().saturating_sub(before)
    }

    fn bytes_about(&self, about: &About<'_>) -> usize {
        let member = |id: &str| self.members.get(id);
        match about {
            About::Said(id) => member(id).map_or(0, Member::said_bytes),
            About::Assigned(id) => member(id).map_or(0, Member::assigned_bytes),
            About::Target(id) => self.targets.get(*id).map_or(0, target_bytes),
            About::Regex(regex) => {
                let resolved = self.subscriptions.resolved.get(*regex);
                resolved.map_or(0, |resolved| resolved_bytes(regex, resolved))
            }
        }
    }

    /// Whether the shard has the memory for what these records make of the group.
    pub fn check_memory(&self, records: &[Record], context: &Context<'_>) -> Result<(), Rejection> {
        match has_room(context, self.held_bytes, self.growth(records)) {
            true => Ok(()),
            false => Err(no_memory()),
        }
    }

    /// What the group takes, counted anew.
    #[cfg(test)]
    pub fn count_held(&self) -> usize {
        let members = self.members.values();
        let members = members.map(|member| member.said_bytes() + member.assigned_bytes());
        let resolved = self.subscriptions.resolved.iter();
        let resolved = resolved.map(|(regex, resolved)| resolved_bytes(regex, resolved));
        let targets = self.targets.values().map(target_bytes);
        members.chain(targets).chain(resolved).sum()
    }
}

/// There is no memory for what a group is to become: clients try again.
pub(super) fn no_memory() -> Rejection {
    let text = "The coordinator holds as much of groups as corelog.group.memory.bytes allows.";
    rejection(ResponseError::CoordinatorNotAvailable, text)
}
