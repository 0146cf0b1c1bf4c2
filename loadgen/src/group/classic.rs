//! The classic protocol: members join, their leader deals the partitions out, all get theirs from the coordinator.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Assigned;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as Owned;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::api::Ask;
use super::assignor::{self, Candidate};
use super::member::{Member, Stage};
use crate::client::topic_name;
use crate::workload::Assignor;

/// How long all members have to join again, as Kafka's `max.poll.interval.ms`, which is longer.
pub(super) const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// Kafka's default, where the session is not too short for it.
const HEARTBEAT_NS_MAX: u64 = 3_000_000_000;
/// So many heartbeats in each session at the least.
const HEARTBEATS_MIN: u64 = 3;
const PROTOCOL_TYPE: &str = "consumer";
/// The newest version of what members tell each other that knows owned partitions and generations.
const SUBSCRIPTION_VERSION: i16 = 2;
const ASSIGNMENT_VERSION: i16 = 1;

/// What each member gets, as the leader sends it.
pub(super) type Assignments = Vec<SyncGroupRequestAssignment>;

impl Member {
    fn protocol_name(&self) -> StrBytes {
        StrBytes::from_static_str(match self.settings.assignor {
            Assignor::CooperativeSticky => "cooperative-sticky",
            Assignor::Default | Assignor::Range | Assignor::Uniform => "range",
        })
    }

    pub(super) fn join(&self) -> Ask {
        let subscription = &self.settings.subscription;
        let topics = subscription.topics.iter();
        let owned = subscription.by_topic(self.held().map(|at| (at, ())));
        let owned = owned.into_iter().map(|(topic, partitions)| {
            Owned::default()
                .with_topic(topic_name(&topic.name))
                .with_partitions(partitions.into_iter().map(|(index, ())| index).collect())
        });
        let told = ConsumerProtocolSubscription::default()
            .with_topics(topics.map(|it| topic_name(&it.name).0).collect())
            .with_owned_partitions(owned.collect())
            .with_generation_id(self.generation);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(self.protocol_name())
            .with_metadata(versioned(&told, SUBSCRIPTION_VERSION));
        Ask::JoinGroup(
            JoinGroupRequest::default()
                .with_group_id(self.group_id())
                .with_session_timeout_ms(self.settings.session_timeout.as_millis() as i32)
                .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
                .with_member_id(self.id.clone())
                .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
                .with_protocols(vec![protocol]),
        )
    }

    pub(super) fn joined(&mut self, reply: JoinGroupResponse, now_ns: u64) -> Option<i16> {
        if !reply.member_id.is_empty() {
            // Also where it comes with the demand to join with it.
            self.id = reply.member_id;
        }
        if reply.error_code != 0 {
            return Some(reply.error_code);
        }
        self.generation = reply.generation_id;
        self.beat_later(now_ns);
        self.stage = Stage::Syncing(match reply.leader == self.id {
            true => self.deal(reply.members),
            false => Assignments::new(),
        });
        None
    }

    /// As the leader: what each member gets.
    fn deal(&self, mut members: Vec<JoinGroupResponseMember>) -> Assignments {
        members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
        let subscription = &self.settings.subscription;
        let dealt = match self.settings.assignor {
            Assignor::CooperativeSticky => {
                let candidates = members
                    .iter()
                    .map(|member| self.candidate(&member.metadata));
                let candidates: Vec<Candidate> = candidates.collect();
                assignor::cooperative_sticky(subscription.count(), &candidates)
            }
            Assignor::Default | Assignor::Range | Assignor::Uniform => {
                let (topics, partitions) = (subscription.topics.len(), subscription.partitions);
                assignor::range(topics, partitions as usize, members.len())
            }
        };
        let all = members.into_iter().zip(dealt);
        all.map(|(member, numbers)| {
            let by_topic = subscription.by_topic(numbers.into_iter().map(|at| (at, ())));
            let assigned = by_topic.into_iter().map(|(topic, partitions)| {
                Assigned::default()
                    .with_topic(topic_name(&topic.name))
                    .with_partitions(partitions.into_iter().map(|(index, ())| index).collect())
            });
            let told =
                ConsumerProtocolAssignment::default().with_assigned_partitions(assigned.collect());
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id)
                .with_assignment(versioned(&told, ASSIGNMENT_VERSION))
        })
        .collect()
    }

    /// What a member says of itself; one that says nothing that can be read holds nothing.
    fn candidate(&self, metadata: &Bytes) -> Candidate {
        let told = unversioned::<ConsumerProtocolSubscription>(metadata, 0..=SUBSCRIPTION_VERSION);
        let told = told.unwrap_or_default();
        let subscription = &self.settings.subscription;
        let owned = told.owned_partitions.iter().flat_map(|topic| {
            let (name, indexes) = (topic.topic.as_str(), topic.partitions.iter());
            indexes.filter_map(|index| subscription.number_by_name(name, *index))
        });
        Candidate {
            owned: owned.collect(),
            generation: told.generation_id,
        }
    }

    pub(super) fn sync(&self) -> Ask {
        let assignments = match &self.stage {
            Stage::Syncing(assignments) => assignments.clone(),
            _ => Assignments::new(),
        };
        Ask::SyncGroup(
            SyncGroupRequest::default()
                .with_group_id(self.group_id())
                .with_generation_id(self.generation)
                .with_member_id(self.id.clone())
                .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
                .with_protocol_name(Some(self.protocol_name()))
                .with_assignments(assignments),
        )
    }

    pub(super) fn synced(&mut self, reply: &SyncGroupResponse, now_ns: u64) -> Option<i16> {
        if reply.error_code != 0 {
            return Some(reply.error_code);
        }
        let told =
            unversioned::<ConsumerProtocolAssignment>(&reply.assignment, 0..=ASSIGNMENT_VERSION);
        let told = told.unwrap_or_default();
        let subscription = &self.settings.subscription;
        let numbers = told.assigned_partitions.iter().flat_map(|topic| {
            let (name, indexes) = (topic.topic.as_str(), topic.partitions.iter());
            indexes.filter_map(|index| subscription.number_by_name(name, *index))
        });
        let given: BTreeSet<usize> = numbers.collect();
        self.beat_later(now_ns);
        self.given(given);
        None
    }

    pub(super) fn heartbeat(&self) -> Ask {
        Ask::Heartbeat(
            HeartbeatRequest::default()
                .with_group_id(self.group_id())
                .with_generation_id(self.generation)
                .with_member_id(self.id.clone()),
        )
    }

    pub(super) fn beat(&mut self, code: i16, now_ns: u64) -> Option<i16> {
        self.beat_later(now_ns);
        Some(code).filter(|code| *code != 0)
    }

    fn beat_later(&mut self, now_ns: u64) {
        let session_ns = self.settings.session_timeout.as_nanos() as u64;
        self.heartbeat_ns = now_ns + HEARTBEAT_NS_MAX.min(session_ns / HEARTBEATS_MIN);
    }
}

/// What members tell each other begins with its version.
fn versioned(told: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    told.encode(&mut bytes, version)
        .expect("it has nothing that the version does not know");
    bytes.freeze()
}

/// `None` if it cannot be read. What a newer version has more is left aside.
fn unversioned<T: Decodable>(bytes: &Bytes, known: std::ops::RangeInclusive<i16>) -> Option<T> {
    let version = i16::from_be_bytes(*bytes.first_chunk::<2>()?);
    let version = version.clamp(*known.start(), *known.end());
    T::decode(&mut bytes.slice(2..), version).ok()
}
