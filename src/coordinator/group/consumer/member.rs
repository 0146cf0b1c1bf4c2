//! A member: who it is, what it subscribes to, and what it has.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use uuid::Uuid;

use crate::coordinator::group::Caller;
use crate::coordinator::group::records::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, CurrentTopicPartitions, Record,
};

/// Partitions by topic, each with the epoch at which the member got it. No topic has an empty map.
pub(super) type Assigned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// How far a member is on its way to its target, in Kafka's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberState {
    Stable = 0,
    /// It has yet to give up partitions.
    UnrevokedPartitions = 1,
    /// It waits for partitions that others have yet to give up.
    UnreleasedPartitions = 2,
    /// A later version wrote something that is not known here.
    Unknown = 127,
}

impl MemberState {
    fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub id: String,
    /// `group.instance.id`, if it is a static member.
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_topics: BTreeSet<String>,
    /// See [`Member::regex`]. Kafka knows none and an empty one, and tells them apart in records.
    pub subscribed_regex: Option<String>,
    /// How long it may take to give up partitions.
    pub rebalance_timeout_ms: i32,
    /// The assignor it asks for.
    pub assignor: Option<String>,
    /// What it joined with, if it speaks the classic protocol.
    pub classic: Option<ClassicMemberMetadata>,
    pub epoch: i32,
    /// The epoch of the last reply but one, which the member may still have if that reply was lost.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Assigned,
    /// No longer its own, but not yet given up.
    pub revoking: Assigned,
}

impl Member {
    /// One that has just come.
    pub fn new(id: String) -> Self {
        Self {
            id,
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            subscribed_topics: BTreeSet::new(),
            subscribed_regex: Some(String::new()),
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Assigned::new(),
            revoking: Assigned::new(),
        }
    }

    /// The regular expression it subscribes to.
    pub fn regex(&self) -> Option<&str> {
        self.subscribed_regex
            .as_deref()
            .filter(|regex| !regex.is_empty())
    }

    pub fn uses_classic_protocol(&self) -> bool {
        self.classic.is_some()
    }

    /// Whether it has all that the target of this epoch gives it, and nothing else.
    pub fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Whether it has at least the partitions it says it owns.
    pub fn has_all(&self, owned: &[Owned]) -> bool {
        owned.iter().all(|topic| {
            let assigned = self.assigned.get(&topic.topic_id);
            let has = |partition| assigned.is_some_and(|all| all.contains_key(partition));
            assigned.is_some() && topic.partitions.iter().all(has)
        })
    }

    /// The member as a heartbeat describes it. What the heartbeat leaves out stays as it is.
    pub fn updated_by(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
    ) -> Cow<'_, Self> {
        if self.is_as_in(request, caller) {
            return Cow::Borrowed(self);
        }
        fn update<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        let text = |text: &Option<_>| text.as_deref().map(|text: &str| Some(text.to_owned()));
        let names = request.subscribed_topic_names.as_ref();
        let names = names.map(|names| names.iter().map(|name| name.to_string()).collect());
        let timeout_ms = Some(request.rebalance_timeout_ms).filter(|ms| *ms != -1);

        let mut member = self.clone();
        update(&mut member.instance_id, text(&request.instance_id));
        update(&mut member.rack_id, text(&request.rack_id));
        update(&mut member.rebalance_timeout_ms, timeout_ms);
        update(&mut member.assignor, text(&request.server_assignor));
        update(&mut member.subscribed_topics, names);
        update(
            &mut member.subscribed_regex,
            text(&request.subscribed_topic_regex),
        );
        member.client_id.clone_from(&caller.client_id);
        member.client_host.clone_from(&caller.client_host);
        member.classic = None;
        Cow::Owned(member)
    }

    /// Whether a heartbeat is one of those, by far most, that say nothing new of the member.
    fn is_as_in(&self, request: &ConsumerGroupHeartbeatRequest, caller: &Caller) -> bool {
        let is_same =
            |new: Option<&str>, old: &Option<String>| new.is_none() || new == old.as_deref();
        request.rebalance_timeout_ms == -1
            && request.subscribed_topic_names.is_none()
            && is_same(
                request.subscribed_topic_regex.as_deref(),
                &self.subscribed_regex,
            )
            && is_same(request.instance_id.as_deref(), &self.instance_id)
            && is_same(request.rack_id.as_deref(), &self.rack_id)
            && is_same(request.server_assignor.as_deref(), &self.assignor)
            && caller.client_id == self.client_id
            && caller.client_host == self.client_host
            && self.classic.is_none()
    }
}

/// To records and back.
impl Member {
    pub fn metadata_record(&self, group: &str) -> Record {
        Record::ConsumerGroupMemberMetadata {
            group: group.to_owned(),
            member: self.id.clone(),
            value: Some(ConsumerGroupMemberMetadataValue {
                instance_id: self.instance_id.clone(),
                rack_id: self.rack_id.clone(),
                client_id: self.client_id.clone(),
                client_host: self.client_host.clone(),
                subscribed_topic_names: self.subscribed_topics.iter().cloned().collect(),
                subscribed_topic_regex: self.subscribed_regex.clone(),
                rebalance_timeout_ms: self.rebalance_timeout_ms,
                server_assignor: self.assignor.clone(),
                classic_member_metadata: self.classic.clone(),
            }),
        }
    }

    pub fn assignment_record(&self, group: &str) -> Record {
        Record::ConsumerGroupCurrentMemberAssignment {
            group: group.to_owned(),
            member: self.id.clone(),
            value: Some(ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: self.epoch,
                previous_member_epoch: self.previous_epoch,
                state: self.state as i8,
                assigned_partitions: to_record(&self.assigned),
                partitions_pending_revocation: to_record(&self.revoking),
            }),
        }
    }

    pub fn take_metadata(&mut self, value: ConsumerGroupMemberMetadataValue) {
        self.instance_id = value.instance_id;
        self.rack_id = value.rack_id;
        self.client_id = value.client_id;
        self.client_host = value.client_host;
        self.subscribed_topics = value.subscribed_topic_names.into_iter().collect();
        self.subscribed_regex = value.subscribed_topic_regex;
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.assignor = value.server_assignor;
        self.classic = value.classic_member_metadata;
    }

    pub fn take_assignment(&mut self, value: ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_number(value.state);
        self.assigned = from_record(value.assigned_partitions, value.member_epoch);
        self.revoking = from_record(value.partitions_pending_revocation, value.member_epoch);
    }

    /// Its assignment is gone; that the member is, is said next.
    pub fn drop_assignment(&mut self) {
        self.epoch = super::request::LEAVE;
        self.previous_epoch = super::request::LEAVE;
        self.assigned.clear();
        self.revoking.clear();
    }
}

fn to_record(assigned: &Assigned) -> Vec<CurrentTopicPartitions> {
    let topics = assigned
        .iter()
        .map(|(topic, partitions)| CurrentTopicPartitions {
            topic_id: *topic,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        });
    topics.collect()
}

/// Where the epochs of partitions are not known, the member's stands for them.
fn from_record(topics: Vec<CurrentTopicPartitions>, member_epoch: i32) -> Assigned {
    let mut assigned = Assigned::new();
    for topic in topics
        .into_iter()
        .filter(|topic| !topic.partitions.is_empty())
    {
        let epochs = topic.assignment_epochs.unwrap_or_default();
        let are_known = epochs.len() == topic.partitions.len();
        let epoch_of = |place: usize| {
            if are_known {
                epochs[place]
            } else {
                member_epoch
            }
        };
        let partitions = topic.partitions.into_iter().enumerate();
        let partitions = partitions.map(|(place, partition)| (partition, epoch_of(place)));
        assigned
            .entry(topic.topic_id)
            .or_default()
            .extend(partitions);
    }
    assigned
}
