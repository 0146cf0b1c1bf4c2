//! The offsets that a group has committed.
//!
//! Kept with an offset is the id of its topic, so that a topic that takes the name of one that is gone does not inherit
//! where its readers were. Offsets from logs of older versions may have none: they are of the topic that had their name
//! when their log began to be read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;
use std::ops::Bound::{Excluded, Included, Unbounded};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::has_room;
use super::kind::Kind;
use super::records::{NO_LEADER_EPOCH, NO_TIMESTAMP, OffsetCommitValue, Record};
use crate::cluster::image::{Image, Topic};
use crate::config::OffsetsConfig;
use crate::coordinator::Context;
use crate::coordinator::memory::{text_bytes, tree_bytes};

/// In place of an offset that was never committed.
const NO_OFFSET: i64 = -1;
/// Of a commit that leaves to the broker how long it is kept.
const DEFAULT_RETENTION: i64 = -1;
/// The longest text that a record can hold, in bytes.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

type Partitions = BTreeMap<i32, OffsetCommitValue>;
/// A topic's name, and a partition of it.
pub type PartitionName = (String, i32);

/// By topic and partition.
#[derive(Default)]
pub struct Offsets {
    topics: BTreeMap<String, Partitions>,
    /// How many there are in all topics.
    len: usize,
    /// What they take in memory, without the group.
    held_bytes: usize,
}

/// What a request commits beside the offsets themselves.
#[derive(Clone, Copy)]
pub struct Commit<'a> {
    pub group: &'a str,
    /// How long to keep the offsets, in milliseconds; -1 leaves it to the broker.
    pub retention_ms: i64,
    /// Why the group takes none of it, if it does not.
    pub refused: Option<ResponseError>,
    /// What the group has committed so far; None if it is not there.
    pub before: Option<&'a Offsets>,
}

impl Offsets {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// What they take in memory, estimated from above, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&OffsetCommitValue> {
        self.topics.get(topic)?.get(&partition)
    }

    /// The offsets behind one of them, or all, by topic and partition.
    pub fn iter_after(
        &self,
        seen: Option<&PartitionName>,
    ) -> impl Iterator<Item = (&str, i32, &OffsetCommitValue)> {
        let from = seen.map_or(Unbounded, |(topic, _)| Included(topic.as_str()));
        let topics = self.topics.range::<str, _>((from, Unbounded));
        topics.flat_map(move |(topic, partitions)| {
            let from = match seen {
                Some((name, partition)) if name == topic => Excluded(*partition),
                _ => Unbounded,
            };
            let partitions = partitions.range((from, Unbounded));
            partitions.map(move |(partition, value)| (topic.as_str(), *partition, value))
        })
    }

    /// Takes over a record.
    pub fn replay(
        &mut self,
        topic: String,
        partition: i32,
        value: Option<OffsetCommitValue>,
        image: &Image,
    ) {
        match (value, self.topics.entry(topic)) {
            (Some(mut value), entry) => {
                if value.topic_id.is_nil() {
                    value.topic_id = image.topics.id_of(entry.key()).unwrap_or_default();
                }
                let topic = match &entry {
                    Entry::Vacant(entry) => topic_bytes(entry.key()),
                    Entry::Occupied(_) => 0,
                };
                self.held_bytes += topic + offset_bytes(&value.metadata);
                let before = entry.or_default().insert(partition, value);
                self.len += usize::from(before.is_none());
                self.held_bytes -= before.map_or(0, |before| offset_bytes(&before.metadata));
            }
            (None, Entry::Occupied(mut entry)) => {
                let before = entry.get_mut().remove(&partition);
                self.len -= usize::from(before.is_some());
                self.held_bytes -= before.map_or(0, |before| offset_bytes(&before.metadata));
                if entry.get().is_empty() {
                    self.held_bytes -= topic_bytes(entry.key());
                    entry.remove();
                }
            }
            (None, Entry::Vacant(_)) => {}
        }
    }

    /// What becomes of the topics of a commit. Partitions that are not there are told so, whatever the group says.
    pub fn commit(
        commit: Commit<'_>,
        topics: Vec<OffsetCommitRequestTopic>,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) -> Vec<OffsetCommitResponseTopic> {
        let mut more = commit
            .before
            .map_or_else(|| group_bytes(commit.group), |_| 0);
        let answers = topics.into_iter().map(|topic| {
            let known = context.image.topics.by_name(&topic.name);
            let known = known.filter(|known| is_meant(topic.topic_id, known.id));
            let mut place = commit.bytes_of_place(&topic.name);
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let outcome = topic_id(known.map(AsRef::as_ref), index)
                    .and_then(|id| commit.refused.map_or(Ok(id), Err))
                    .and_then(|id| check_text(partition, context).map(|()| id))
                    .and_then(|id| {
                        let added = place + commit.growth_with(&topic.name, partition);
                        commit.check_memory(added, more, context)?;
                        more += added;
                        place = 0;
                        Ok(id)
                    })
                    .map(|id| records.push(commit.record(&topic.name, id, partition, context)));
                OffsetCommitResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(outcome.err().map_or(0, |error| error.code()))
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions)
        });
        answers.collect()
    }

    /// The offsets of some partitions, each of which is answered.
    pub fn fetch(
        &self,
        topics: Vec<OffsetFetchRequestTopics>,
        image: &Image,
    ) -> Vec<OffsetFetchResponseTopics> {
        let answers = topics.into_iter().map(|topic| {
            let id = match topic.topic_id.is_nil() {
                true => image.topics.id_of(&topic.name),
                false => Some(topic.topic_id),
            };
            let known = self.topics.get(topic.name.as_str());
            let answer = |index: &i32| {
                let value = known.and_then(|partitions| partitions.get(index));
                committed(*index, value.filter(|value| is_of(value, id)))
            };
            let partitions = topic.partition_indexes.iter().map(answer).collect();
            OffsetFetchResponseTopics::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions)
        });
        answers.collect()
    }

    /// All offsets.
    pub fn fetch_all(&self, image: &Image) -> Vec<OffsetFetchResponseTopics> {
        let answers = self.topics.iter().map(|(name, partitions)| {
            let id = image.topics.id_of(name);
            let current = partitions.iter().filter(|(_, value)| is_of(value, id));
            let partitions = current.map(|(index, value)| committed(*index, Some(value)));
            OffsetFetchResponseTopics::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_topic_id(id.unwrap_or_default())
                .with_partitions(partitions.collect())
        });
        answers
            .filter(|topic| !topic.partitions.is_empty())
            .collect()
    }

    /// What becomes of the topics whose offsets are to be forgotten: not of those that the group still reads.
    pub fn delete(
        &self,
        group: &str,
        topics: Vec<OffsetDeleteRequestTopic>,
        is_subscribed: impl Fn(&str) -> bool,
        image: &Image,
        records: &mut Vec<Record>,
    ) -> Vec<OffsetDeleteResponseTopic> {
        // However often a request names one: a million times, if it likes.
        let mut forgotten = BTreeSet::new();
        let answers = topics.into_iter().map(|topic| {
            let known = image.topics.by_name(&topic.name);
            let is_subscribed = is_subscribed(&topic.name);
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let is_there = known.is_some_and(|topic| topic.partition(index).is_some());
                let outcome = match is_there {
                    false => Some(ResponseError::UnknownTopicOrPartition),
                    true if is_subscribed => Some(ResponseError::GroupSubscribedToTopic),
                    true => None,
                };
                let is_kept = || self.get(&topic.name, index).is_some();
                if outcome.is_none() && is_kept() && forgotten.insert((topic.name.clone(), index)) {
                    records.push(tombstone(group, &topic.name, index));
                }
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(outcome.map_or(0, |error| error.code()))
            });
            let partitions = partitions.collect();
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(partitions)
        });
        answers.collect()
    }

    /// Tombstones for all offsets of a group.
    pub fn tombstones(&self, group: &str, records: &mut Vec<Record>) {
        let all = self.iter_after(None);
        records.extend(all.map(|(topic, partition, _)| tombstone(group, topic, partition)));
    }
}

/// What a topic takes beside its offsets, in bytes.
fn topic_bytes(name: &str) -> usize {
    text_bytes(name)
        + 2 * size_of::<(String, Partitions)>()
        + tree_bytes::<i32, OffsetCommitValue>(1)
}

/// What an offset takes, in bytes.
fn offset_bytes(metadata: &str) -> usize {
    let text = match metadata {
        "" => 0,
        text => text_bytes(text),
    };
    2 * size_of::<(i32, OffsetCommitValue)>() + text
}

/// What a group takes that has nothing else than offsets, in bytes.
fn group_bytes(id: &str) -> usize {
    size_of::<Kind>() + text_bytes(id)
}

impl Commit<'_> {
    /// What a topic takes in which nothing was committed so far, beside its offsets, in bytes.
    fn bytes_of_place(&self, topic: &str) -> usize {
        let is_there = self
            .before
            .is_some_and(|before| before.topics.contains_key(topic));
        match is_there {
            true => 0,
            false => topic_bytes(topic),
        }
    }

    /// What an offset takes more than the one that was committed before, in bytes.
    fn growth_with(&self, topic: &str, partition: &OffsetCommitRequestPartition) -> usize {
        let before = self
            .before
            .and_then(|before| before.get(topic, partition.partition_index));
        let before = before.map_or(0, |before| offset_bytes(&before.metadata));
        let text = partition.committed_metadata.as_deref().unwrap_or_default();
        offset_bytes(text).saturating_sub(before)
    }

    /// Whether the shard has the memory for an offset that adds so much, beside others of this commit that add `more`.
    fn check_memory(
        &self,
        added: usize,
        more: usize,
        context: &Context<'_>,
    ) -> Result<(), ResponseError> {
        let held = self.before.map_or(0, Offsets::held_bytes);
        match added == 0 || has_room(context, held, more + added) {
            true => Ok(()),
            false => Err(ResponseError::CoordinatorNotAvailable),
        }
    }

    fn record(
        self,
        topic: &str,
        topic_id: Uuid,
        partition: &OffsetCommitRequestPartition,
        context: &Context<'_>,
    ) -> Record {
        let expire_timestamp = match self.retention_ms {
            DEFAULT_RETENTION => NO_TIMESTAMP,
            ms => context.wall_ms.saturating_add(ms),
        };
        let metadata = partition.committed_metadata.as_ref();
        Record::OffsetCommit {
            group: self.group.to_owned(),
            topic: topic.to_owned(),
            partition: partition.partition_index,
            value: Some(OffsetCommitValue {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch.max(NO_LEADER_EPOCH),
                metadata: metadata.map(ToString::to_string).unwrap_or_default(),
                commit_timestamp: context.wall_ms,
                expire_timestamp,
                topic_id,
            }),
        }
    }
}

/// The id of the topic, if the partition is there.
fn topic_id(topic: Option<&Topic>, partition: i32) -> Result<Uuid, ResponseError> {
    let topic = topic.filter(|topic| topic.partition(partition).is_some());
    Ok(topic.ok_or(ResponseError::UnknownTopicOrPartition)?.id)
}

fn check_text(
    partition: &OffsetCommitRequestPartition,
    context: &Context<'_>,
) -> Result<(), ResponseError> {
    let text_max = context.config.groups.offsets.metadata_bytes_max;
    match &partition.committed_metadata {
        Some(text) if !is_short(text, text_max) => Err(ResponseError::OffsetMetadataTooLarge),
        _ => Ok(()),
    }
}

/// Whether a text has at most so many UTF-16 units, as Kafka counts, and fits into a record.
fn is_short(text: &str, units_max: usize) -> bool {
    let units = || text.encode_utf16().count();
    text.len() <= TEXT_BYTES_MAX && (text.len() <= units_max || units() <= units_max)
}

/// Whether a request that names a topic, and in newer versions its id as well, means the one that has this id.
fn is_meant(asked: Uuid, id: Uuid) -> bool {
    asked.is_nil() || asked == id
}

/// Whether an offset is of the topic that has this id now, not of one that had its name before.
pub fn is_of(value: &OffsetCommitValue, id: Option<Uuid>) -> bool {
    id.is_none_or(|id| id == value.topic_id)
}

fn committed(index: i32, value: Option<&OffsetCommitValue>) -> OffsetFetchResponsePartitions {
    let answer = OffsetFetchResponsePartitions::default().with_partition_index(index);
    match value {
        Some(value) => answer
            .with_committed_offset(value.offset)
            .with_committed_leader_epoch(value.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(value.metadata.clone()))),
        None => answer
            .with_committed_offset(NO_OFFSET)
            .with_metadata(Some(StrBytes::default())),
    }
}

pub fn tombstone(group: &str, topic: &str, partition: i32) -> Record {
    Record::OffsetCommit {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
        value: None,
    }
}

/// Whether an offset has been kept for long enough. Retention begins at `since_ms`, unless the commit said itself how
/// long it was to last.
pub fn is_expired(
    value: &OffsetCommitValue,
    since_ms: i64,
    wall_ms: i64,
    config: &OffsetsConfig,
) -> bool {
    match value.expire_timestamp {
        NO_TIMESTAMP => wall_ms.saturating_sub(since_ms) >= config.retention.as_millis() as i64,
        expires => wall_ms >= expires,
    }
}

/// Whether the topic of an offset is gone: there is none of this name, or another one.
pub fn is_orphan(value: &OffsetCommitValue, topic: &str, image: &Image) -> bool {
    image.topics.id_of(topic) != Some(value.topic_id)
}
