//! The text that histories of Apache Kafka's coordinator are written in.

use super::*;
use crate::coordinator::group::classic::ClassicGroup;
use crate::coordinator::group::consumer_protocol::{
    Assignment, CONSUMER, NamedPartitions, Subscription,
};
use crate::coordinator::group::records::{
    CurrentTopicPartitions, GroupMetadataValue, MemberMetadata,
};

pub(super) fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number: {text}"))
}

pub(super) fn optional(text: &str) -> Option<&str> {
    match text {
        "-" => None,
        "." => Some(""),
        text => Some(text),
    }
}

pub(super) fn read_partitions(text: &str) -> Vec<(Uuid, Vec<i32>)> {
    let topics = text
        .split(';')
        .filter(|topic| !topic.is_empty())
        .map(|topic| {
            let (id, partitions) = topic.split_once(':').expect("a topic with partitions");
            let id = u64::from_str_radix(id, 16).expect("the lower half of an id");
            (
                Uuid::from_u64_pair(0, id),
                partitions.split(',').map(number).collect(),
            )
        });
    topics.collect()
}

pub(super) fn write_topics(topics: impl Iterator<Item = (Uuid, String)>) -> String {
    let topics =
        topics.map(|(topic, partitions)| format!("{:x}:{partitions}", topic.as_u64_pair().1));
    let topics: Vec<_> = topics.collect();
    or_dot(&topics.join(";")).to_owned()
}

pub(super) fn commas<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn or_dot(text: &str) -> &str {
    if text.is_empty() { "." } else { text }
}

pub(super) fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().map_or("-", or_dot)
}

pub(super) fn write_current(topics: &[CurrentTopicPartitions]) -> String {
    let topics = topics.iter().map(|topic| {
        let epochs = topic.assignment_epochs.iter().flatten();
        let pairs = topic.partitions.iter().zip(epochs);
        let pairs: Vec<_> = pairs
            .map(|(partition, epoch)| format!("{partition}@{epoch}"))
            .collect();
        (topic.topic_id, commas(&pairs))
    });
    write_topics(topics)
}

pub(super) fn write_record(record: &Record) -> String {
    match record {
        Record::ConsumerGroupMemberMetadata { member, value, .. } => match value {
            Some(value) => {
                let classic = value.classic_member_metadata.as_ref().map(|classic| {
                    let names = classic.supported_protocols.iter();
                    let names: Vec<_> = names.map(|protocol| &*protocol.name).collect();
                    format!(" {} {}", classic.session_timeout_ms, names.join(","))
                });
                format!(
                    "m {member} {} {} {} {} {} {} {}{}",
                    or_dash(&value.instance_id),
                    value.client_id,
                    value.client_host,
                    or_dot(&commas(&value.subscribed_topic_names)),
                    or_dash(&value.subscribed_topic_regex),
                    value.rebalance_timeout_ms,
                    or_dash(&value.server_assignor),
                    classic.unwrap_or_default()
                )
            }
            None => format!("-m {member}"),
        },
        Record::ConsumerGroupMetadata {
            value: Some(value), ..
        } => {
            format!("g {} {}", value.epoch, value.metadata_hash)
        }
        Record::ConsumerGroupTargetAssignmentMember { member, value, .. } => match value {
            Some(value) => {
                let topics = value.topic_partitions.iter();
                let topics = topics.map(|topic| (topic.topic_id, commas(&topic.partitions)));
                format!("t {member} {}", write_topics(topics))
            }
            None => format!("-t {member}"),
        },
        Record::ConsumerGroupTargetAssignmentMetadata {
            value: Some(value), ..
        } => {
            format!(
                "e {} {}",
                value.assignment_epoch, value.assignment_timestamp
            )
        }
        Record::ConsumerGroupCurrentMemberAssignment { member, value, .. } => match value {
            Some(value) => format!(
                "c {member} {} {} {} {} {}",
                value.member_epoch,
                value.previous_member_epoch,
                value.state,
                write_current(&value.assigned_partitions),
                write_current(&value.partitions_pending_revocation)
            ),
            None => format!("-c {member}"),
        },
        Record::ConsumerGroupRegularExpression {
            regular_expression,
            value,
            ..
        } => match value {
            Some(value) => {
                let topics = commas(&value.topics);
                format!(
                    "x {regular_expression} {} {}",
                    or_dot(&topics),
                    value.timestamp
                )
            }
            None => format!("-x {regular_expression}"),
        },
        Record::GroupMetadata { value: None, .. } => "-G".to_owned(),
        Record::ConsumerGroupMetadata { value: None, .. } => "-g".to_owned(),
        Record::ConsumerGroupPartitionMetadata { value: None, .. } => "-p".to_owned(),
        Record::ConsumerGroupTargetAssignmentMetadata { value: None, .. } => "-e".to_owned(),
        Record::GroupMetadata {
            value: Some(value), ..
        } => {
            let members = value.members.iter().map(|member| {
                format!(
                    "{},{},{},{},{}",
                    member.member_id,
                    or_dash(&member.group_instance_id),
                    member.session_timeout,
                    member.rebalance_timeout,
                    write_assignment(&member.assignment)
                )
            });
            let mut members: Vec<_> = members.collect();
            members.sort();
            let protocol = or_dash(&value.protocol);
            format!("G {} {protocol} {}", value.generation, members.join("|"))
        }
        other => panic!("{other:?}"),
    }
}

/// Topics by their names, each with partitions.
pub(super) fn read_named(text: &str) -> Vec<NamedPartitions> {
    let topics = text.split(';').filter(|topic| *topic != ".");
    let topics = topics.map(|topic| {
        let (topic, partitions) = topic.split_once(':').expect("a topic with partitions");
        NamedPartitions {
            topic: topic.to_owned(),
            partitions: partitions.split(',').map(number).collect(),
        }
    });
    topics.collect()
}

pub(super) fn write_assignment(assignment: &[u8]) -> String {
    let assignment = Assignment::parse(assignment).expect("an assignment");
    let topics: BTreeMap<String, BTreeSet<i32>> = assignment
        .partitions
        .into_iter()
        .map(|topic| (topic.topic, topic.partitions.into_iter().collect()))
        .filter(|(_, partitions): &(String, BTreeSet<i32>)| !partitions.is_empty())
        .collect();
    let topics = topics.iter().map(|(topic, partitions)| {
        let partitions: Vec<_> = partitions.iter().collect();
        format!("{topic}:{}", commas(&partitions))
    });
    let topics: Vec<_> = topics.collect();
    or_dot(&topics.join(";")).to_owned()
}

pub(super) fn read_classic_group(fields: &[&str]) -> ClassicGroup {
    let [_, generation, protocol, session, members] = fields[..] else {
        panic!("{fields:?}");
    };
    let members = members.split('|').map(|member| {
        let fields: Vec<_> = member.splitn(5, ',').collect();
        let [id, instance, rebalance, topics, assigned] = fields[..] else {
            panic!("{fields:?}");
        };
        let topics = topics.split('+').map(str::to_owned).collect();
        let subscription = Subscription {
            topics,
            owned_partitions: read_named(assigned),
            ..Subscription::default()
        };
        let metadata = subscription.to_bytes(1);
        let assignment = Assignment {
            partitions: read_named(assigned),
            user_data: None,
        };
        MemberMetadata {
            member_id: id.to_owned(),
            group_instance_id: optional(instance).map(str::to_owned),
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            rebalance_timeout: number(rebalance),
            session_timeout: number(session),
            assignment: assignment.to_bytes(&metadata).expect("a version"),
            subscription: metadata,
        }
    });
    let value = GroupMetadataValue {
        protocol_type: CONSUMER.to_owned(),
        generation: number(generation),
        protocol: Some(protocol.to_owned()),
        leader: Some("c1".to_owned()),
        members: members.collect(),
        ..GroupMetadataValue::default()
    };
    ClassicGroup::restore(GROUP.into(), value)
}
