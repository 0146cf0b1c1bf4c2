//! Which broker leads which partition, known to all workers and looked up again when one of them
//! finds it wrong.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use uuid::Uuid;

use crate::client::Client;
use crate::workload::Topics;

/// Between two looks.
const REFRESH_EVERY: Duration = Duration::from_millis(100);

/// How long a broker may take to say what it knows of the cluster.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A partition of the workload: its topic's name and number, and its index there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub topic: Arc<str>,
    /// Among the topics of the workload.
    pub topic_number: usize,
    pub partition: i32,
}

/// All partitions of a workload, in the order in which they are numbered everywhere here.
pub fn places(topics: &Topics) -> Vec<Place> {
    let mut places = Vec::new();
    for (topic_number, topic) in topics.names().into_iter().enumerate() {
        let topic: Arc<str> = topic.into();
        places.extend((0..topics.partitions as i32).map(|partition| Place {
            topic: Arc::clone(&topic),
            topic_number,
            partition,
        }));
    }
    places
}

impl Topics {
    /// Their names: the name itself if there is one.
    pub fn names(&self) -> Vec<String> {
        match self.count {
            1 => vec![self.name.clone()],
            count => (0..count)
                .map(|number| format!("{}-{number}", self.name))
                .collect(),
        }
    }
}

/// What one look has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Addresses of brokers by id, at least one of each.
    pub brokers: BTreeMap<i32, Vec<SocketAddr>>,
    /// The topics of the workload, in their order.
    pub topics: Vec<Topic>,
    /// The leader of each partition; -1 if it has none.
    pub leaders: Vec<i32>,
    /// Replicas of each partition at the least; 0 if there is none.
    pub replication_factor: usize,
}

/// A topic of the workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// Nil if the broker is too old to tell, or the topic is not there.
    pub id: Uuid,
}

impl Cluster {
    /// Asks one of the brokers.
    pub fn look_up(client: &mut Client, topics: &Topics) -> Result<Self> {
        let names = topics.names();
        let reply = client.metadata(&names)?;
        let found: Vec<Option<&MetadataResponseTopic>> =
            names.iter().map(|name| topic(&reply, name)).collect();
        let replicas = found.iter().flatten().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| partition.replica_nodes.len())
        });
        Ok(Self {
            brokers: brokers(&reply)?,
            leaders: leaders(&found, topics),
            replication_factor: replicas.min().unwrap_or(0),
            topics: found
                .iter()
                .zip(names)
                .map(|(found, name)| Topic {
                    name,
                    id: found.map_or(Uuid::nil(), |topic| topic.topic_id),
                })
                .collect(),
        })
    }

    /// Whether topics can be given by their ids.
    pub fn has_ids(&self) -> bool {
        self.topics.iter().all(|topic| !topic.id.is_nil())
    }

    /// The number of a topic in a reply, which has its name or its id; `near` is where to look first.
    pub fn topic_number(&self, name: &str, id: Uuid, near: usize) -> Option<usize> {
        let is_it = |at: &usize| {
            let topic = &self.topics[*at];
            match name {
                "" => topic.id == id,
                name => topic.name == name,
            }
        };
        let count = self.topics.len();
        (near..count).chain(0..near.min(count)).find(is_it)
    }
}

fn topic<'a>(reply: &'a MetadataResponse, name: &str) -> Option<&'a MetadataResponseTopic> {
    reply.topics.iter().find(|topic| {
        let found = topic.name.as_ref();
        found.is_some_and(|found| found.as_str() == name)
    })
}

/// Addresses of the brokers that a reply names, by their ids.
pub(crate) fn brokers(reply: &MetadataResponse) -> Result<BTreeMap<i32, Vec<SocketAddr>>> {
    let mut brokers = BTreeMap::new();
    for broker in &reply.brokers {
        let host = broker.host.as_str();
        let addresses = (host, broker.port as u16)
            .to_socket_addrs()
            .with_context(|| format!("the broker calls itself {host}, which is not known here"))?;
        let addresses = addresses.collect::<Vec<_>>();
        ensure!(
            !addresses.is_empty(),
            "the broker calls itself {host}, which has no address"
        );
        brokers.insert(broker.node_id.0, addresses);
    }
    Ok(brokers)
}

fn leaders(found: &[Option<&MetadataResponseTopic>], topics: &Topics) -> Vec<i32> {
    let mut leaders = vec![-1; (topics.count * topics.partitions) as usize];
    for (number, topic) in found.iter().enumerate() {
        for partition in topic.iter().flat_map(|topic| &topic.partitions) {
            let at = number * topics.partitions as usize + partition.partition_index as usize;
            if let Some(leader) = leaders.get_mut(at) {
                *leader = partition.leader_id.0;
            }
        }
    }
    leaders
}

/// The newest look, and the wish for another one.
#[derive(Debug)]
pub struct Directory {
    topics: Topics,
    bootstrap: Vec<SocketAddr>,
    newest: RwLock<Arc<Cluster>>,
    is_wanted: AtomicBool,
}

impl Directory {
    /// After a first look.
    pub fn new(cluster: Cluster, bootstrap: &[SocketAddr], topics: &Topics) -> Self {
        Self {
            topics: topics.clone(),
            bootstrap: bootstrap.to_vec(),
            newest: RwLock::new(Arc::new(cluster)),
            is_wanted: AtomicBool::new(false),
        }
    }

    pub fn newest(&self) -> Arc<Cluster> {
        Arc::clone(&self.newest.read().expect("nobody panics here"))
    }

    /// Something was not where it was said to be.
    pub fn want_another_look(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    /// Looks whenever it is wanted, until `ended`. Brokers that do not answer are asked again.
    pub fn keep(&self, ended: &AtomicBool) {
        let mut client = None;
        while !ended.load(Ordering::Relaxed) {
            std::thread::sleep(REFRESH_EVERY);
            if !self.is_wanted.swap(false, Ordering::Relaxed) {
                continue;
            }
            if client.is_none() {
                let known = self.newest();
                let known = known.brokers.values().flatten();
                let addresses = known.chain(&self.bootstrap);
                let mut addresses = addresses.take_while(|_| !ended.load(Ordering::Relaxed));
                client = addresses.find_map(|it| Client::connect_for(*it, ANSWER_MAX).ok());
            }
            let found = client
                .as_mut()
                .map(|client| Cluster::look_up(client, &self.topics));
            match found {
                Some(Ok(cluster)) => {
                    *self.newest.write().expect("nobody panics here") = Arc::new(cluster);
                }
                _ => {
                    client = None;
                    self.want_another_look();
                }
            }
        }
    }
}
