//! How far a member has come: what it commits, and where its group has.

use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::api::Ask;
use super::member::Member;
use crate::client::topic_name;
use crate::workload::GroupProtocol;

/// A partition that a member holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Of the next record; `None` until it is known where the group has come to.
    pub offset: Option<i64>,
    /// As far as the coordinator has acknowledged it.
    committed: i64,
}

impl Held {
    fn is_dirty(&self) -> bool {
        self.offset.is_some_and(|offset| offset > self.committed)
    }
}

impl Member {
    /// A commit of what has been read since the last one, of those partitions; `None` if there is nothing.
    pub(super) fn commit(&mut self, is_of: impl Fn(usize) -> bool) -> Option<Ask> {
        let dirty = self
            .held
            .iter()
            .filter(|(at, held)| held.is_dirty() && is_of(**at));
        self.committing = dirty
            .filter_map(|(at, held)| held.offset.map(|offset| (*at, offset)))
            .collect();
        if self.committing.is_empty() {
            return None;
        }
        let by_topic = self
            .settings
            .subscription
            .by_topic(self.committing.iter().copied());
        let topics = by_topic.into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|(index, offset)| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_metadata(Some(StrBytes::default()))
            });
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(&topic.name))
                .with_partitions(partitions.collect())
        });
        Some(Ask::OffsetCommit(
            OffsetCommitRequest::default()
                .with_group_id(self.group_id())
                .with_generation_id_or_member_epoch(self.generation)
                .with_member_id(self.id.clone())
                .with_topics(topics.collect()),
        ))
    }

    /// Asks where the group has come to in what it holds newly; `None` if there is nothing.
    pub(super) fn fetch(&self) -> Option<Ask> {
        let new = self.held.iter().filter(|(_, held)| held.offset.is_none());
        let by_topic = self
            .settings
            .subscription
            .by_topic(new.map(|(at, _)| (*at, ())));
        if by_topic.is_empty() {
            return None;
        }
        let topics = by_topic.into_iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(&topic.name))
                .with_partition_indexes(partitions.into_iter().map(|(index, ())| index).collect())
        });
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(self.group_id())
            .with_topics(Some(topics.collect()));
        let group = match self.settings.protocol {
            GroupProtocol::Classic => group,
            GroupProtocol::Consumer => group
                .with_member_id(Some(self.id.clone()))
                .with_member_epoch(self.generation),
        };
        Some(Ask::OffsetFetch(
            OffsetFetchRequest::default()
                .with_groups(vec![group])
                .with_require_stable(true),
        ))
    }

    pub(super) fn committed(&mut self, reply: &OffsetCommitResponse) -> Option<i16> {
        let mut first = None;
        for topic in &reply.topics {
            for partition in &topic.partitions {
                let (name, index) = (topic.name.as_str(), partition.partition_index);
                if partition.error_code != 0 {
                    first = first.or(Some(partition.error_code));
                } else if let Some(at) = self.settings.subscription.number_by_name(name, index)
                    && let Some(held) = self.held.get_mut(&at)
                    && let Ok(found) = self.committing.binary_search_by_key(&at, |(at, _)| *at)
                {
                    held.committed = self.committing[found].1;
                }
            }
        }
        use ResponseError::*;
        // With these it is worth to try again before it lets go.
        self.is_commit_refused = first.is_some_and(|code| {
            let error = code.err();
            !matches!(
                error,
                Some(
                    NotCoordinator
                        | CoordinatorNotAvailable
                        | CoordinatorLoadInProgress
                        | StaleMemberEpoch
                )
            )
        });
        first
    }

    pub(super) fn fetched(&mut self, reply: OffsetFetchResponse) -> Option<i16> {
        let mut first = None;
        for group in reply.groups {
            if group.error_code != 0 {
                return Some(group.error_code);
            }
            for topic in &group.topics {
                for partition in &topic.partitions {
                    let (name, index) = (topic.name.as_str(), partition.partition_index);
                    if partition.error_code != 0 {
                        first = first.or(Some(partition.error_code));
                    } else if let Some(at) = self.settings.subscription.number_by_name(name, index)
                        && let Some(held) = self.held.get_mut(&at)
                        && held.offset.is_none()
                    {
                        held.committed = partition.committed_offset;
                        held.offset = Some(match partition.committed_offset {
                            ..0 => self.settings.starts[at],
                            offset => offset,
                        });
                    }
                }
            }
        }
        self.changes += 1;
        first
    }
}
