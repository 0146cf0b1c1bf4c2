//! Which broker leads which partition, known to all workers and looked up again when one of them
//! finds it wrong.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};

use crate::client::{Client, METADATA_VERSION, topic_name};
use crate::workload::Topics;

/// Between two looks.
const REFRESH_EVERY: Duration = Duration::from_millis(100);

/// A partition of the workload: its topic's name and its index there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// All partitions of a workload, in the order in which they are numbered everywhere here.
pub fn places(topics: &Topics) -> Vec<Place> {
    let mut places = Vec::new();
    for topic in topics.names() {
        let topic: Arc<str> = topic.into();
        places.extend((0..topics.partitions as i32).map(|partition| Place {
            topic: Arc::clone(&topic),
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
    /// Addresses of brokers by id.
    pub brokers: BTreeMap<i32, SocketAddr>,
    /// The leader of each partition; -1 if it has none.
    pub leaders: Vec<i32>,
}

impl Cluster {
    fn look_up(client: &mut Client, topics: &Topics) -> Result<Self> {
        let asked =
            |name: String| MetadataRequestTopic::default().with_name(Some(topic_name(&name)));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.names().into_iter().map(asked).collect()))
            .with_allow_auto_topic_creation(false);
        let reply = client.call(&request, METADATA_VERSION)?;
        Ok(Self {
            brokers: brokers(&reply)?,
            leaders: leaders(&reply, topics),
        })
    }
}

fn brokers(reply: &MetadataResponse) -> Result<BTreeMap<i32, SocketAddr>> {
    let mut brokers = BTreeMap::new();
    for broker in &reply.brokers {
        let host = broker.host.as_str();
        let mut addresses = (host, broker.port as u16)
            .to_socket_addrs()
            .with_context(|| format!("the broker calls itself {host}, which is not known here"))?;
        let address = addresses.next().context("a host name without an address")?;
        brokers.insert(broker.node_id.0, address);
    }
    Ok(brokers)
}

fn leaders(reply: &MetadataResponse, topics: &Topics) -> Vec<i32> {
    let mut leaders = vec![-1; (topics.count * topics.partitions) as usize];
    for (at, name) in topics.names().into_iter().enumerate() {
        let is_it = |found: &str| found == name;
        let found = reply.topics.iter().find(|topic| {
            let found = topic.name.as_ref();
            found.is_some_and(|found| is_it(found.as_str()))
        });
        for partition in found.into_iter().flat_map(|topic| &topic.partitions) {
            let index = at * topics.partitions as usize + partition.partition_index as usize;
            if let Some(leader) = leaders.get_mut(index) {
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
    /// Looks for the first time.
    pub fn open(client: &mut Client, bootstrap: &[SocketAddr], topics: &Topics) -> Result<Self> {
        Ok(Self {
            topics: topics.clone(),
            bootstrap: bootstrap.to_vec(),
            newest: RwLock::new(Arc::new(Cluster::look_up(client, topics)?)),
            is_wanted: AtomicBool::new(false),
        })
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
                let known = self.newest().brokers.values().copied().collect::<Vec<_>>();
                let mut addresses = known.iter().chain(&self.bootstrap);
                client = addresses.find_map(|address| Client::connect(*address).ok());
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
