//! A classic group of consumers becomes a consumer group, with its members as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::held::no_memory;
use super::member::{Assigned, Member};
use super::subscriptions::Subscriptions;
use super::timers::millis;
use super::{ConsumerGroup, Rejection, check_sizes, rejection};
use crate::cluster::image::Image;
use crate::coordinator::group::assignor::Partitions;
use crate::coordinator::group::classic::{ClassicGroup, Migrant};
use crate::coordinator::group::consumer_protocol::{Assignment, NamedPartitions, Subscription};
use crate::coordinator::group::has_room;
use crate::coordinator::group::records::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMetadataValue,
    ConsumerGroupTargetAssignmentMetadataValue, Record,
};
use crate::coordinator::{Context, Output};
use crate::lines;

impl ConsumerGroup {
    /// What a classic group with members becomes when a first member of the consumer protocol comes. The records of it
    /// are written, and replayed into it already: replaying them once more changes nothing.
    ///
    /// All members have what they were assigned, as their target, too. The newcomer will move the epoch on. In the middle
    /// of a rebalance a member also has what it said it owned when it joined, as long as nobody else was assigned that:
    /// Kafka gives that to others at once, while its owner has not even heard of the rebalance's end.
    pub fn of_classic(
        id: Rc<str>,
        classic: &ClassicGroup,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<Self, Rejection> {
        let refused = |why: &str| {
            let text =
                format!("Cannot upgrade classic group {id} to consumer group because {why}.");
            rejection(ResponseError::GroupIdNotFound, text)
        };
        let config = &context.config.groups.consumer;
        if !config.migration.upgrade {
            return Err(refused("online upgrade is disabled"));
        }
        if !classic.is_of_consumers() {
            return Err(refused(
                "the group does not use the consumer embedded protocol",
            ));
        }
        if classic.members_len() > config.members_max {
            return Err(refused(
                "the group size exceeds the consumer group maximum size",
            ));
        }
        let epoch = classic.generation();
        let protocol = classic.protocol().unwrap_or_default();
        let members = classic
            .migrants()
            .map(|migrant| Self::take_in(migrant, &protocol, epoch, context.image));
        let members = members.collect::<Result<Vec<_>, Unfit>>();
        let members = members.map(|joined| with_owned(joined, epoch, context.image));
        let members = members.map_err(|unfit| match unfit {
            Unfit::Malformed => refused("the embedded consumer protocol is malformed"),
            Unfit::CustomAssignor => refused(
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default \
                 assignor before re-attempting the upgrade",
            ),
        })?;
        let mut group = Self::new(id);
        let records = group.records_of(epoch, &members, context.image);
        check_sizes(&records, context)?;
        for record in &records {
            group.replay(record.clone());
        }
        let more = group.held_bytes().saturating_sub(classic.held_bytes());
        if !has_room(context, classic.held_bytes(), more) {
            return Err(no_memory());
        }
        for member in &members {
            let session_ms = member
                .classic
                .as_ref()
                .map_or(0, |it| it.session_timeout_ms);
            let session = context.now + millis(session_ms);
            group.timers.renew_session(&member.id, session);
        }
        lines::say!(
            context.lines,
            context.now,
            info,
            group = &*group.durable.id,
            "a classic group becomes a consumer group"
        );
        out.records.push(Record::GroupMetadata {
            group: group.durable.id.to_string(),
            value: None,
        });
        out.records.extend(records);
        Ok(group)
    }

    /// A member of the classic protocol that is where the group is, and what it owned when it joined.
    fn take_in(
        migrant: Migrant,
        protocol: &str,
        epoch: i32,
        image: &Image,
    ) -> Result<(Member, Vec<NamedPartitions>), Unfit> {
        let mut protocols = migrant.protocols.iter();
        let metadata = protocols.find(|(name, _)| name == protocol);
        let (_, metadata) = metadata.ok_or(Unfit::Malformed)?;
        let subscription = Subscription::parse(metadata).map_err(|_| Unfit::Malformed)?;
        let protocols = migrant.protocols.into_iter();
        let classic = ClassicMemberMetadata {
            session_timeout_ms: migrant.session_timeout_ms,
            supported_protocols: protocols
                .map(|(name, metadata)| ClassicProtocol { name, metadata })
                .collect(),
        };
        let member = Member {
            instance_id: migrant.instance_id,
            rack_id: subscription.rack_id.filter(|rack| !rack.is_empty()),
            client_id: migrant.client_id,
            client_host: migrant.client_host,
            subscribed_topics: subscription.topics.into_iter().collect(),
            rebalance_timeout_ms: migrant.rebalance_timeout_ms,
            classic: Some(classic),
            epoch,
            previous_epoch: epoch,
            assigned: assigned_in(&migrant.assignment, epoch, image)?,
            ..Member::new(migrant.id)
        };
        Ok((member, subscription.owned_partitions))
    }

    fn records_of(&self, epoch: i32, members: &[Member], image: &Image) -> Vec<Record> {
        let group = &self.durable;
        let mut subscriptions = Subscriptions::default();
        members.iter().for_each(|member| subscriptions.add(member));
        let metadata_hash = group.hash_of(&subscriptions, image);
        let mut records = Vec::new();
        records.extend(
            members
                .iter()
                .map(|member| member.metadata_record(&group.id)),
        );
        records.push(Record::ConsumerGroupMetadata {
            group: group.id.to_string(),
            value: Some(ConsumerGroupMetadataValue {
                epoch,
                metadata_hash,
            }),
        });
        let targets = members.iter().map(|member| {
            let topics = member.assigned.iter();
            let target: Partitions = topics
                .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
                .collect();
            group.target_record(&member.id, &target)
        });
        records.extend(targets);
        records.push(Record::ConsumerGroupTargetAssignmentMetadata {
            group: group.id.to_string(),
            value: Some(ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: epoch,
                assignment_timestamp: 0,
            }),
        });
        records.extend(
            members
                .iter()
                .map(|member| member.assignment_record(&group.id)),
        );
        records
    }
}

/// Why a member cannot be in a consumer group.
enum Unfit {
    Malformed,
    /// What its assignor notes beside the partitions would be lost.
    CustomAssignor,
}

/// The members, each with what it owned and nobody was assigned.
fn with_owned(
    joined: Vec<(Member, Vec<NamedPartitions>)>,
    epoch: i32,
    image: &Image,
) -> Vec<Member> {
    let mut taken: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    for (member, _) in &joined {
        for (topic, partitions) in &member.assigned {
            taken.extend(partitions.keys().map(|partition| (*topic, *partition)));
        }
    }
    let with_its = |(mut member, owned): (Member, Vec<NamedPartitions>)| {
        for named in owned {
            let Some(topic) = image.topics.by_name(&named.topic) else {
                continue;
            };
            let is_there = |partition: &i32| topic.partition(*partition).is_some();
            let topic = topic.id;
            for partition in named.partitions.into_iter().filter(is_there) {
                if taken.insert((topic, partition)) {
                    let assigned = member.assigned.entry(topic).or_default();
                    assigned.insert(partition, epoch);
                }
            }
        }
        member
    };
    joined.into_iter().map(with_its).collect()
}

/// What a member was assigned of topics that are there. One that has never synced has nothing.
fn assigned_in(assignment: &[u8], epoch: i32, image: &Image) -> Result<Assigned, Unfit> {
    let mut assigned = Assigned::new();
    if assignment.is_empty() {
        return Ok(assigned);
    }
    let assignment = Assignment::parse(assignment).map_err(|_| Unfit::Malformed)?;
    if assignment.user_data.is_some_and(|data| !data.is_empty()) {
        return Err(Unfit::CustomAssignor);
    }
    for topic in assignment.partitions {
        let id = image.topics.id_of(&topic.topic);
        let partitions: BTreeMap<i32, i32> =
            topic.partitions.into_iter().map(|id| (id, epoch)).collect();
        if let Some(id) = id.filter(|_| !partitions.is_empty()) {
            assigned.insert(id, partitions);
        }
    }
    Ok(assigned)
}
