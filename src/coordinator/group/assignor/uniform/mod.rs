//! The `uniform` assignor: every member gets as many partitions as the others, and keeps those that it has.
//!
//! Balance goes before keeping. It has one strategy for groups whose members all subscribe to the same topics
//! ([`homogeneous`]) and one for all others ([`heterogeneous`]). Both begin with what members have ([`Ownership`]) and
//! change as little of it as they can.

mod heterogeneous;
mod homogeneous;
mod ranking;

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::{AssignError, Assignment, Assignor, GroupSpec, Partitions, partition_id};

/// Spreads the partitions of all topics evenly.
#[derive(Clone, Copy, Debug)]
pub struct Uniform;

impl Assignor for Uniform {
    fn name(&self) -> &'static str {
        "uniform"
    }

    fn assign<'a>(&self, spec: &GroupSpec<'a>) -> Result<Assignment<'a>, AssignError> {
        let Some(first) = spec.members.values().next() else {
            return Ok(Assignment::new());
        };
        let mut ownership;
        if spec.is_homogeneous() {
            ownership = Ownership::of(spec, first.subscribed_topics)?;
            homogeneous::assign(&mut ownership, spec.members.len());
        } else {
            let subscriptions = spec.members.values().flat_map(|m| m.subscribed_topics);
            ownership = Ownership::of(spec, &subscriptions.copied().collect())?;
            heterogeneous::assign(&mut ownership, spec);
        }
        Ok(ownership.into_assignment(spec))
    }
}

/// Who has the partitions of the subscribed topics. Members and topics go by their place in ascending order.
struct Ownership {
    topics: Vec<Topic>,
    place_of_topic: FxHashMap<Uuid, usize>,
}

struct Topic {
    id: Uuid,
    /// By partition.
    owners: Vec<Option<usize>>,
}

impl Ownership {
    /// As the target assignment has it so far.
    fn of(spec: &GroupSpec<'_>, subscribed: &BTreeSet<Uuid>) -> Result<Self, AssignError> {
        let mut topics = Vec::with_capacity(subscribed.len());
        for &id in subscribed {
            let owners = vec![None; spec.partitions_of(id)?];
            topics.push(Topic { id, owners });
        }
        let places = subscribed.iter().enumerate();
        let place_of_topic: FxHashMap<_, _> = places.map(|(place, &id)| (id, place)).collect();

        for (member, spec) in spec.members.values().enumerate() {
            let is_subscribed = |id: &Uuid| spec.subscribed_topics.contains(id);
            for (id, partitions) in spec.target.iter().filter(|(id, _)| is_subscribed(id)) {
                let owners = &mut topics[place_of_topic[id]].owners;
                for &partition in partitions {
                    let place = usize::try_from(partition).ok();
                    if let Some(owner) = place.and_then(|place| owners.get_mut(place)) {
                        owner.get_or_insert(member);
                    }
                }
            }
        }
        Ok(Self {
            topics,
            place_of_topic,
        })
    }

    fn into_assignment<'a>(self, spec: &GroupSpec<'a>) -> Assignment<'a> {
        let mut members = vec![Partitions::new(); spec.members.len()];
        for topic in self.topics {
            for (partition, owner) in topic.owners.into_iter().enumerate() {
                let owner = owner.expect("every subscribed partition was assigned");
                let partitions = members[owner].entry(topic.id).or_default();
                partitions.insert(partition_id(partition));
            }
        }
        spec.members.keys().copied().zip(members).collect()
    }
}
