//! What all members are to have.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::durable::Durable;
use super::member::Member;
use super::subscriptions::Subscriptions;
use super::{Rejection, rejection};
use crate::coordinator::Context;
use crate::coordinator::group::assignor::{GroupSpec, MemberSpec, Partitions};
use crate::coordinator::group::records::{
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue, Record,
    TargetTopicPartitions,
};

/// What topics a member subscribes to: names, and a regular expression.
type Subscription<'a> = (&'a BTreeSet<String>, Option<&'a str>);

impl Durable {
    /// Computes the target of a group epoch, with one member as it will be and these subscriptions, and writes what
    /// changes by it. Returns the target of that member.
    pub fn assign(
        &self,
        epoch: i32,
        changed: &Member,
        subscriptions: &Subscriptions,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) -> Result<Partitions, Rejection> {
        let assignors = &context.config.groups.consumer.assignors;
        let assignor = subscriptions.preferred_assignor(assignors);
        let members = self.members_with(changed);
        let topics_of = self.resolve_subscriptions(&members, context);
        let mut spec = GroupSpec::default();
        for topic in topics_of.values().flatten() {
            let partitions = context.image.topics.get(*topic);
            let partitions = partitions.map_or(0, |topic| topic.partition_count());
            spec.topics.insert(*topic, partitions);
        }
        for member in &members {
            let member_spec = MemberSpec {
                instance_id: member.instance_id.as_deref(),
                subscribed_topics: &topics_of[&subscription_of(member)],
                target: self.target_of(member),
            };
            spec.members.insert(&member.id, member_spec);
        }
        let mut assignment = assignor.assign(&spec).map_err(|error| {
            let text =
                format!("Failed to compute a new target assignment for epoch {epoch}: {error}");
            rejection(ResponseError::UnknownServerError, text)
        })?;

        for (&member, target) in &assignment {
            if self.targets.get(member) != Some(target) {
                records.push(self.target_record(member, target));
            }
        }
        records.push(Record::ConsumerGroupTargetAssignmentMetadata {
            group: self.id.to_string(),
            value: Some(ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: epoch,
                assignment_timestamp: context.wall_ms,
            }),
        });
        Ok(assignment.remove(&*changed.id).unwrap_or_default())
    }

    pub fn target_record(&self, member: &str, target: &Partitions) -> Record {
        let topics = target
            .iter()
            .map(|(topic, partitions)| TargetTopicPartitions {
                topic_id: *topic,
                partitions: partitions.iter().copied().collect(),
            });
        Record::ConsumerGroupTargetAssignmentMember {
            group: self.id.to_string(),
            member: member.to_owned(),
            value: Some(ConsumerGroupTargetAssignmentMemberValue {
                topic_partitions: topics.collect(),
            }),
        }
    }

    /// All members, with the changed one in place of itself, or of the one that had its instance before.
    fn members_with<'a>(&'a self, changed: &'a Member) -> Vec<&'a Member> {
        let instance_id = changed.instance_id.as_ref();
        let replaced = instance_id.and_then(|id| self.static_members.get(id));
        let stays = |member: &&Member| member.id != changed.id && Some(&member.id) != replaced;
        self.members
            .values()
            .filter(stays)
            .chain([changed])
            .collect()
    }

    /// The topics that exist of each subscription, once for all members that share it.
    fn resolve_subscriptions<'a>(
        &self,
        members: &[&'a Member],
        context: &Context<'_>,
    ) -> BTreeMap<Subscription<'a>, BTreeSet<Uuid>> {
        let mut subscriptions = BTreeMap::new();
        for member in members {
            let (names, regex) = subscription_of(member);
            subscriptions.entry((names, regex)).or_insert_with(|| {
                let resolved = regex.and_then(|regex| self.subscriptions.resolved.get(regex));
                let matched = resolved
                    .into_iter()
                    .flat_map(|resolved| resolved.topics.iter());
                let names = names.iter().chain(matched);
                names
                    .filter_map(|name| context.image.topics.id_of(name))
                    .collect()
            });
        }
        subscriptions
    }
}

fn subscription_of(member: &Member) -> Subscription<'_> {
    (&member.subscribed_topics, member.regex())
}
