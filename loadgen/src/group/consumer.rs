//! The protocol of KIP-848: the coordinator deals the partitions out, and tells each member by its heartbeats.

use std::collections::BTreeSet;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::Ask;
use super::classic::REBALANCE_TIMEOUT_MS;
use super::member::{Member, Stage};
use crate::client::topic_name;
use crate::workload::Assignor;

/// Of who joins.
const EPOCH_JOINING: i32 = 0;
/// Of who leaves.
const EPOCH_LEAVING: i32 = -1;

impl Member {
    /// Says what the coordinator does not know yet.
    pub(super) fn consumer_heartbeat(&self) -> Ask {
        let subscription = &self.settings.subscription;
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_member_id(self.id.clone())
            .with_member_epoch(match self.stage {
                Stage::Joining => EPOCH_JOINING,
                _ => self.generation,
            });
        let request = match self.must_introduce || self.stage == Stage::Joining {
            false => request,
            true => {
                let topics = subscription.topics.iter();
                let assignor = match self.settings.assignor {
                    Assignor::Uniform => Some("uniform"),
                    Assignor::Range => Some("range"),
                    Assignor::Default | Assignor::CooperativeSticky => None,
                };
                request
                    .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
                    .with_subscribed_topic_names(Some(
                        topics.map(|topic| topic_name(&topic.name)).collect(),
                    ))
                    .with_server_assignor(assignor.map(StrBytes::from_static_str))
            }
        };
        if !self.must_introduce && !self.must_tell && self.stage != Stage::Joining {
            return Ask::ConsumerGroupHeartbeat(request);
        }
        let held = subscription.by_topic(self.held().map(|at| (at, ())));
        let held = held.into_iter().map(|(topic, partitions)| {
            TopicPartitions::default()
                .with_topic_id(topic.id)
                .with_partitions(partitions.into_iter().map(|(index, ())| index).collect())
        });
        Ask::ConsumerGroupHeartbeat(request.with_topic_partitions(Some(held.collect())))
    }

    pub(super) fn consumer_farewell(&self) -> Ask {
        Ask::ConsumerGroupHeartbeat(
            ConsumerGroupHeartbeatRequest::default()
                .with_group_id(self.group_id())
                .with_member_id(self.id.clone())
                .with_member_epoch(EPOCH_LEAVING),
        )
    }

    pub(super) fn consumer_beat(
        &mut self,
        reply: ConsumerGroupHeartbeatResponse,
        now_ns: u64,
    ) -> Option<i16> {
        if reply.error_code != 0 {
            return Some(reply.error_code);
        }
        if reply.member_epoch < 0 {
            self.stage = Stage::Gone;
            return None;
        }
        if let Some(id) = reply.member_id {
            self.id = id;
        }
        self.generation = reply.member_epoch;
        self.heartbeat_ns = now_ns + reply.heartbeat_interval_ms.max(1) as u64 * 1_000_000;
        self.must_introduce = false;
        self.must_tell = false;
        self.stage = Stage::Stable;
        if let Some(assignment) = reply.assignment {
            let subscription = &self.settings.subscription;
            let numbers = assignment.topic_partitions.iter().flat_map(|topic| {
                let indexes = topic.partitions.iter();
                indexes.filter_map(|it| subscription.number_by_id(topic.topic_id, *it))
            });
            let given: BTreeSet<usize> = numbers.collect();
            self.given(given);
        }
        None
    }
}
