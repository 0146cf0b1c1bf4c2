//! From records to the state.
//!
//! Nothing is taken for granted: records come from a log that was compacted, and perhaps written by another broker. What
//! makes no sense is passed over.

use std::rc::Rc;

use super::durable::{Durable, FIRST_EPOCH};
use super::member::Member;
use super::subscriptions::Resolved;
use crate::coordinator::group::assignor::Partitions;
use crate::coordinator::group::records::{ConsumerGroupTargetAssignmentMemberValue, Record};

/// The target epoch of a group whose target was taken away.
const NO_TARGET: i32 = -1;

impl Durable {
    /// Takes over a record of this group.
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::ConsumerGroupMetadata { value, .. } => {
                let value = value.map(|value| (value.epoch, value.metadata_hash));
                (self.epoch, self.metadata_hash) = value.unwrap_or((FIRST_EPOCH, 0));
            }
            Record::ConsumerGroupPartitionMetadata { value, .. } => {
                self.has_partition_metadata = value.is_some();
            }
            Record::ConsumerGroupMemberMetadata { member, value, .. } => match value {
                Some(value) => self.change_member(member, |member| member.take_metadata(value)),
                None => self.forget_member(&member),
            },
            Record::ConsumerGroupTargetAssignmentMetadata { value, .. } => {
                let value = value.map(|value| (value.assignment_epoch, value.assignment_timestamp));
                (self.target_epoch, self.target_computed_at_ms) = value.unwrap_or((NO_TARGET, 0));
            }
            Record::ConsumerGroupTargetAssignmentMember { member, value, .. } => {
                match value {
                    Some(value) => self.targets.insert(member, target_from(value)),
                    None => self.targets.remove(&member),
                };
            }
            Record::ConsumerGroupCurrentMemberAssignment { member, value, .. } => match value {
                Some(value) => {
                    self.change_assignment(member, |member| member.take_assignment(value));
                }
                None if self.members.contains_key(&member) => {
                    self.change_assignment(member, Member::drop_assignment);
                }
                None => {}
            },
            Record::ConsumerGroupRegularExpression {
                regular_expression: regex,
                value,
                ..
            } => match value {
                Some(value) => {
                    let resolved = Resolved {
                        topics: Rc::new(value.topics.into_iter().collect()),
                        version: value.version,
                        resolved_at_ms: value.timestamp,
                    };
                    self.subscriptions.resolve(regex, resolved);
                }
                None => self.subscriptions.forget_resolved(&regex),
            },
            Record::OffsetCommit { .. } | Record::GroupMetadata { .. } | Record::Unknown { .. } => {
            }
        }
    }

    /// Changes what a member has. It is new if it is not there.
    fn change_assignment(&mut self, id: String, change: impl FnOnce(&mut Member)) {
        let member = self.members.entry(id);
        let member = member.or_insert_with_key(|id| Member::new(id.clone()));
        self.owners.remove(member);
        change(member);
        self.owners.add(member);
    }

    /// Changes a member, which is new if it is not there.
    fn change_member(&mut self, id: String, change: impl FnOnce(&mut Member)) {
        let member = self.take_member(&id);
        let mut member = member.unwrap_or_else(|| Member::new(id));
        change(&mut member);
        self.subscriptions.add(&member);
        self.owners.add(&member);
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(instance_id.clone(), member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
    }

    fn forget_member(&mut self, id: &str) {
        self.take_member(id);
    }

    /// Takes a member out, with all that it counted for.
    fn take_member(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.subscriptions.remove(&member);
        self.owners.remove(&member);
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id) == Some(&member.id)
        {
            self.static_members.remove(instance_id);
        }
        Some(member)
    }
}

fn target_from(value: ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    let mut target = Partitions::new();
    let topics = value.topic_partitions.into_iter();
    for topic in topics.filter(|topic| !topic.partitions.is_empty()) {
        target
            .entry(topic.topic_id)
            .or_default()
            .extend(topic.partitions);
    }
    target
}
