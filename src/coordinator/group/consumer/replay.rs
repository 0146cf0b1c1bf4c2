//! From records to the state.
//!
//! Nothing is taken for granted: records come from a log that was compacted, and perhaps written by another broker. What
//! makes no sense is passed over.

use std::rc::Rc;

use super::durable::{Durable, FIRST_EPOCH};
use super::held::{resolved_bytes, target_bytes};
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
                let target = value.map(target_from);
                self.held_bytes += target.as_ref().map_or(0, target_bytes);
                let before = match target {
                    Some(target) => self.targets.insert(member, target),
                    None => self.targets.remove(&member),
                };
                self.held_bytes -= before.as_ref().map_or(0, target_bytes);
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
                    self.forget_resolved(&regex);
                    self.held_bytes += resolved_bytes(&regex, &resolved);
                    self.subscriptions.resolve(regex, resolved);
                }
                None => self.forget_resolved(&regex),
            },
            Record::OffsetCommit { .. } | Record::GroupMetadata { .. } | Record::Unknown { .. } => {
            }
        }
    }

    /// Changes what a member has. It is new if it is not there.
    fn change_assignment(&mut self, id: String, change: impl FnOnce(&mut Member)) {
        let held_bytes = &mut self.held_bytes;
        let member = self.members.entry(id).or_insert_with_key(|id| {
            let member = Member::new(id.clone());
            *held_bytes += member.said_bytes();
            member
        });
        self.owners.remove(member);
        *held_bytes -= member.assigned_bytes();
        change(member);
        *held_bytes += member.assigned_bytes();
        self.owners.add(member);
    }

    /// Changes a member, which is new if it is not there.
    fn change_member(&mut self, id: String, change: impl FnOnce(&mut Member)) {
        let member = self.take_member(&id);
        let mut member = member.unwrap_or_else(|| Member::new(id));
        change(&mut member);
        self.held_bytes += member.said_bytes() + member.assigned_bytes();
        self.subscriptions.add(&member);
        self.owners.add(&member);
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(instance_id.clone(), member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
    }

    fn forget_resolved(&mut self, regex: &str) {
        if let Some(resolved) = self.subscriptions.resolved.get(regex) {
            self.held_bytes -= resolved_bytes(regex, resolved);
        }
        self.subscriptions.forget_resolved(regex);
    }

    fn forget_member(&mut self, id: &str) {
        self.take_member(id);
    }

    /// Takes a member out, with all that it counted for.
    fn take_member(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.held_bytes -= member.said_bytes() + member.assigned_bytes();
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
