//! ConsumerGroupDescribe.

use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::ConsumerGroup;
use super::durable::Durable;
use super::member::Member;
use crate::cluster::image::Image;
use crate::coordinator::Context;

/// What kind of member it is: of the protocol that it speaks.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl ConsumerGroup {
    /// All there is to know, but for what the client may do.
    pub fn describe(&self, context: &Context<'_>) -> DescribedGroup {
        let group = &self.durable;
        let assignors = &context.config.groups.consumer.assignors;
        let assignor = group.subscriptions.preferred_assignor(assignors);
        let members = group.members.values();
        DescribedGroup::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_group_state(StrBytes::from_static_str(group.state().name()))
            .with_group_epoch(group.epoch)
            .with_assignment_epoch(group.target_epoch)
            .with_assignor_name(StrBytes::from_static_str(assignor.name()))
            .with_members(
                members
                    .map(|member| group.describe_member(member, context.image))
                    .collect(),
            )
    }
}

impl Durable {
    fn describe_member(&self, member: &Member, image: &Image) -> DescribedMember {
        let optional = |value: &Option<String>| value.as_deref().map(text);
        let topics = member.subscribed_topics.iter();
        let target = self.targets.get(&member.id).into_iter().flatten();
        let target =
            target.map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()));
        DescribedMember::default()
            .with_member_id(text(&member.id))
            .with_instance_id(optional(&member.instance_id))
            .with_rack_id(optional(&member.rack_id))
            .with_member_epoch(member.epoch)
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host))
            .with_subscribed_topic_names(topics.map(|topic| TopicName(text(topic))).collect())
            .with_subscribed_topic_regex(optional(&member.subscribed_regex))
            .with_assignment(to_assignment(current_of(member), image))
            .with_target_assignment(to_assignment(target, image))
            .with_member_type(match member.uses_classic_protocol() {
                true => CLASSIC_MEMBER,
                false => CONSUMER_MEMBER,
            })
    }
}

/// What a member has, with what it has yet to give up.
fn current_of(member: &Member) -> impl Iterator<Item = (Uuid, Vec<i32>)> {
    let mut current = member.assigned.clone();
    for (topic, partitions) in &member.revoking {
        current.entry(*topic).or_default().extend(partitions);
    }
    current
        .into_iter()
        .map(|(topic, partitions)| (topic, partitions.into_keys().collect()))
}

/// Topics that no longer exist have no name and are left out.
fn to_assignment(topics: impl Iterator<Item = (Uuid, Vec<i32>)>, image: &Image) -> Assignment {
    let topics = topics.filter_map(|(id, partitions)| {
        let topic = image.topics.get(id)?;
        Some(
            TopicPartitions::default()
                .with_topic_id(id)
                .with_topic_name(TopicName(text(&topic.name)))
                .with_partitions(partitions),
        )
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
