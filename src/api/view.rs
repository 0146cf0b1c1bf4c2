//! The cluster's metadata as clients of one listener see it: the addresses of that listener, the
//! replicas that can be reached by it, and what a client may do.
//!
//! Metadata, DescribeCluster and DescribeTopicPartitions tell the same things in different shapes;
//! what they tell is decided here. Plain functions over an image.

use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::cluster::image::{Broker, Image, Partition};
use crate::cluster::records::Endpoint;
use crate::coordinator::group::OFFSETS_TOPIC;

/// Topics that the broker keeps for itself.
const INTERNAL_TOPICS: [&str; 3] = [OFFSETS_TOPIC, "__share_group_state", "__transaction_state"];

/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS as bits, which
/// everybody may do to a topic while there are no access rules.
pub const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// The same for the cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS,
/// ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// The same for a group: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Where there is no leader, controller or coordinator to name.
pub const NOBODY: BrokerId = BrokerId(-1);

/// An image, seen through a listener.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub image: &'a Image,
    /// Name of the listener, upper case.
    pub listener: &'a str,
}

impl<'a> View<'a> {
    /// Brokers that have this listener, fenced ones included, with their addresses there.
    pub fn brokers(self) -> impl Iterator<Item = (&'a Broker, &'a Endpoint)> {
        let brokers = self.image.brokers.values();
        brokers.filter_map(move |broker| Some((broker.as_ref(), self.endpoint(broker)?)))
    }

    /// A broker that has this listener, with its address there.
    pub fn broker(self, id: i32) -> Option<(&'a Broker, &'a Endpoint)> {
        let broker: &Broker = self.image.brokers.get(&id)?;
        Some((broker, self.endpoint(broker)?))
    }

    /// Any broker in service: all of them pass requests on to the controller, so clients are told
    /// one of them in its place.
    pub fn controller(self) -> BrokerId {
        let mut brokers = self.image.brokers.values();
        let serving = brokers.find(|broker| !broker.fenced);
        serving.map_or(NOBODY, |broker| BrokerId(broker.id))
    }

    /// The leader of a partition, if clients of this listener can reach it.
    pub fn leader(self, partition: &Partition) -> Option<BrokerId> {
        let (leader, _) = self.broker(partition.leader)?;
        Some(BrokerId(leader.id))
    }

    /// Those of `ids` that serve this listener.
    pub fn reachable(self, ids: &[i32]) -> Vec<BrokerId> {
        let serves = |id: &i32| {
            let broker = self.broker(*id);
            broker.is_some_and(|(broker, _)| !broker.fenced)
        };
        broker_ids(ids.iter().copied().filter(serves))
    }

    /// Replicas of a partition that don't serve this listener, or whose directory is not there.
    pub fn offline_replicas(self, partition: &Partition) -> Vec<BrokerId> {
        let placed = partition.replicas.iter().zip(&partition.directories);
        let is_online = |id: &i32, directory: &uuid::Uuid| {
            let broker = self.broker(*id);
            broker.is_some_and(|(broker, _)| !broker.fenced && broker.has_dir(*directory))
        };
        let offline = placed.filter(|(id, directory)| !is_online(id, directory));
        broker_ids(offline.map(|(id, _)| *id))
    }

    fn endpoint(self, broker: &'a Broker) -> Option<&'a Endpoint> {
        let mut endpoints = broker.endpoints.iter();
        endpoints.find(|endpoint| endpoint.name == self.listener)
    }
}

pub fn broker_ids(ids: impl IntoIterator<Item = i32>) -> Vec<BrokerId> {
    ids.into_iter().map(BrokerId).collect()
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn is_internal(topic: &str) -> bool {
    INTERNAL_TOPICS.contains(&topic)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::cluster::records::RegisterBrokerRecord;

    fn broker(id: i32, listeners: &[&str], fenced: bool) -> Arc<Broker> {
        let endpoint = |name: &&str| Endpoint {
            name: (*name).to_owned(),
            host: format!("{}.example", name.to_lowercase()),
            port: 9092,
            security_protocol: 0,
        };
        Arc::new(Broker::from(&RegisterBrokerRecord {
            broker_id: id,
            end_points: listeners.iter().map(endpoint).collect(),
            fenced,
            ..Default::default()
        }))
    }

    #[test]
    fn a_listener_sees_its_own_addresses_and_replicas() {
        let mut image = Image::empty("cluster");
        image.brokers.insert(1, broker(1, &["IN", "OUT"], false));
        image.brokers.insert(2, broker(2, &["IN"], false));
        image.brokers.insert(3, broker(3, &["IN", "OUT"], true));
        let out = View {
            image: &image,
            listener: "OUT",
        };
        let hosts: Vec<_> = out
            .brokers()
            .map(|(broker, at)| (broker.id, at.host.as_str()))
            .collect();
        assert_eq!(hosts, [(1, "out.example"), (3, "out.example")]);
        assert_eq!(out.controller(), BrokerId(1));

        let replicas = vec![2, 1, 3, 4];
        let mut partition = Partition::new(replicas.clone(), vec![Uuid::nil(); 4], vec![2]);
        assert_eq!(out.leader(&partition), None);
        partition.leader = 1;
        assert_eq!(out.leader(&partition), Some(BrokerId(1)));
        assert_eq!(out.reachable(&replicas), [BrokerId(1)]);
        let offline = out.offline_replicas(&partition);
        assert_eq!(offline, [BrokerId(2), BrokerId(3), BrokerId(4)]);
    }

    #[test]
    fn operations_are_the_bits_that_kafka_sends() {
        assert_eq!(TOPIC_OPERATIONS, 3576);
        assert_eq!(CLUSTER_OPERATIONS, 8096);
        assert_eq!(GROUP_OPERATIONS, 3400);
    }
}
