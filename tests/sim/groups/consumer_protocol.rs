//! What members of classic groups tell each other, and how their leader deals partitions out.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::wire::text;

const SUBSCRIPTION_VERSION: i16 = 2;
const ASSIGNMENT_VERSION: i16 = 1;

/// A topic and a partition.
pub type Assigned = (String, i32);

/// A member as its leader knows it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub topics: Vec<String>,
    pub owned: Vec<Assigned>,
    pub generation: i32,
}

fn versioned(version: i16, told: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    told.encode(&mut bytes, version).expect("encodes");
    bytes.freeze()
}

fn unversioned<T: Decodable>(mut bytes: Bytes) -> T {
    let version = bytes.split_to(2);
    let version = i16::from_be_bytes([version[0], version[1]]);
    T::decode(&mut bytes, version).expect("decodes")
}

pub fn subscription(topics: &[String], owned: &[Assigned], generation: i32) -> Bytes {
    let owned = owned.iter().map(|(topic, partition)| {
        OwnedTopic::default()
            .with_topic(TopicName(text(topic)))
            .with_partitions(vec![*partition])
    });
    let told = ConsumerProtocolSubscription::default()
        .with_topics(topics.iter().map(|topic| text(topic)).collect())
        .with_owned_partitions(owned.collect())
        .with_generation_id(generation);
    versioned(SUBSCRIPTION_VERSION, &told)
}

/// Topics, what it owns, and in which generation.
pub fn read_subscription(bytes: &Bytes) -> (Vec<String>, Vec<Assigned>, i32) {
    let told: ConsumerProtocolSubscription = unversioned(bytes.clone());
    let topics = told.topics.iter().map(ToString::to_string).collect();
    let owned = told.owned_partitions.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (topic.topic.to_string(), *partition))
    });
    (topics, owned.collect(), told.generation_id)
}

pub fn assignment(share: &[Assigned]) -> Bytes {
    let mut topics = BTreeMap::<_, Vec<i32>>::new();
    for (topic, partition) in share {
        topics.entry(topic).or_default().push(*partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        AssignedTopic::default()
            .with_topic(TopicName(text(topic)))
            .with_partitions(partitions)
    });
    let told = ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect());
    versioned(ASSIGNMENT_VERSION, &told)
}

/// Nothing for a member that was given no assignment at all.
pub fn read_assignment(bytes: &Bytes) -> Vec<Assigned> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let told: ConsumerProtocolAssignment = unversioned(bytes.clone());
    let topics = told.assigned_partitions.iter();
    let all = topics.flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (topic.topic.to_string(), *partition))
    });
    all.collect()
}

/// Deals the partitions of topics out to those who subscribe to them. Among cooperative members whoever has one keeps it
/// unless another one who wants it has much less, and nobody is given what another one has yet to let go of.
pub fn deal(
    topics: &BTreeMap<String, i32>,
    candidates: &BTreeMap<String, Candidate>,
    is_cooperative: bool,
) -> Vec<(String, Vec<Assigned>)> {
    let owners = match is_cooperative {
        true => owners(candidates),
        false => BTreeMap::new(),
    };
    let mut shares: BTreeMap<&str, Vec<Assigned>> = BTreeMap::new();
    for id in candidates.keys() {
        shares.insert(id, Vec::new());
    }
    let wants = |id: &str, partition: &Assigned| candidates[id].topics.contains(&partition.0);
    let is_there = |(topic, partition): &Assigned| topics.get(topic).is_some_and(|n| partition < n);
    for (partition, owner) in &owners {
        if wants(owner, partition) && is_there(partition) {
            shares
                .get_mut(owner)
                .expect("a candidate")
                .push(partition.clone());
        }
    }
    let mut promised: BTreeMap<&str, usize> =
        shares.iter().map(|(id, all)| (*id, all.len())).collect();
    for (partition, owner) in &owners {
        let others = promised.iter().filter(|(id, _)| wants(id, partition));
        let least = others
            .min_by_key(|(_, count)| **count)
            .map(|(id, count)| (*id, *count));
        let share = shares.get_mut(owner).expect("a candidate");
        if let Some((least, count)) = least
            && count + 1 < promised[owner]
            && share.contains(partition)
        {
            share.retain(|it| it != partition);
            *promised.get_mut(owner).expect("a candidate") -= 1;
            *promised.get_mut(least).expect("a candidate") += 1;
        }
    }
    let all = topics
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(move |partition| (topic.clone(), partition)));
    for partition in all.filter(|partition| !owners.contains_key(partition)) {
        let wanting = shares.iter_mut().filter(|(id, _)| wants(id, &partition));
        if let Some((_, share)) = wanting.min_by_key(|(_, share)| share.len()) {
            share.push(partition);
        }
    }
    let sorted = shares.into_iter().map(|(id, mut share)| {
        share.sort();
        (id.to_owned(), share)
    });
    sorted.collect()
}

/// Who has what: where several say so, the one of the latest generation.
fn owners(candidates: &BTreeMap<String, Candidate>) -> BTreeMap<Assigned, &str> {
    let mut owners: BTreeMap<Assigned, &str> = BTreeMap::new();
    for (id, candidate) in candidates {
        for partition in &candidate.owned {
            let owner = owners.entry(partition.clone()).or_insert(id);
            if candidates[*owner].generation < candidate.generation {
                *owner = id;
            }
        }
    }
    owners
}
