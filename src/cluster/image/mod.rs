//! The image: everything the metadata log says, as of one offset.
//!
//! The controller's shard replays committed records into its image with a [`Replayer`] and takes out
//! the [`Delta`] of what changed; each shard keeps a copy of its own and swaps it by applying the
//! delta ([`Image::apply`]). Topics, partitions, brokers and configurations are shared between the
//! copies by `Arc`, so a copy costs a map entry per topic, and a delta costs what it changes and not
//! what the cluster has. Nothing is locked, and an image is `Send`.
//!
//! All maps are ordered, so that whatever iterates over an image does so alike on every run.
//!
//! Invariants: every id in [`Topics`] has exactly one name and the other way round; a topic's
//! configuration is gone when the topic is; the offset never goes back.
//!
//! Crash behaviour: none of its own. An image is replayed from the log (or from a snapshot's records
//! first) at each start.

mod brokers;
mod delta;
mod directories;
mod partition;
mod replay;
mod security;
#[cfg(test)]
mod tests;
mod topics;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use brokers::{Broker, ControllerNode};
pub use delta::{Delta, TopicChange};
pub use directories::DirectoryCounts;
pub use partition::Partition;
pub use replay::{ReplayError, Replayer};
pub use security::{QuotaEntityKey, Security};
pub use topics::{Topic, Topics};
pub use write::config_record;

use super::features::{self, MetadataVersion};

/// What a configuration belongs to, in Kafka's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    Unknown = 0,
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceKind {
    pub fn from_id(id: i8) -> Self {
        match id {
            2 => Self::Topic,
            4 => Self::Broker,
            8 => Self::BrokerLogger,
            16 => Self::ClientMetrics,
            32 => Self::Group,
            _ => Self::Unknown,
        }
    }

    pub fn id(self) -> i8 {
        self as i8
    }

    /// Kafka's name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Topic => "TOPIC",
            Self::Broker => "BROKER",
            Self::BrokerLogger => "BROKER_LOGGER",
            Self::ClientMetrics => "CLIENT_METRICS",
            Self::Group => "GROUP",
        }
    }
}

/// One thing that has a configuration. The broker with the empty name is the default of all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    pub kind: ResourceKind,
    pub name: String,
}

impl ConfigResource {
    pub fn new(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }

    pub fn topic(name: impl Into<String>) -> Self {
        Self::new(ResourceKind::Topic, name)
    }

    pub fn group(name: impl Into<String>) -> Self {
        Self::new(ResourceKind::Group, name)
    }

    pub fn broker(id: i32) -> Self {
        Self::new(ResourceKind::Broker, id.to_string())
    }

    pub fn cluster_default() -> Self {
        Self::new(ResourceKind::Broker, "")
    }
}

/// The properties set on one resource.
pub type Properties = BTreeMap<String, String>;

/// Everything the metadata log says up to [`Image::last_offset`].
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Not in the log: the folder's `meta.properties` names it.
    pub cluster_id: Arc<str>,
    /// Of the last record replayed; -1 before the first.
    pub last_offset: i64,
    /// The leader epoch that record was written in.
    pub last_epoch: i32,
    pub topics: Topics,
    pub configs: BTreeMap<ConfigResource, Arc<Properties>>,
    /// Finalized levels of features; those at level 0 are not in here.
    pub features: BTreeMap<String, i16>,
    /// The ids below are given away.
    pub next_producer_id: i64,
    pub brokers: BTreeMap<i32, Arc<Broker>>,
    pub controllers: BTreeMap<i32, Arc<ControllerNode>>,
    pub security: Arc<Security>,
}

impl Image {
    /// The image of an empty log.
    pub fn empty(cluster_id: impl Into<Arc<str>>) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            last_offset: -1,
            last_epoch: 0,
            topics: Topics::default(),
            configs: BTreeMap::new(),
            features: BTreeMap::new(),
            next_producer_id: 0,
            brokers: BTreeMap::new(),
            controllers: BTreeMap::new(),
            security: Arc::default(),
        }
    }

    /// The level of `metadata.version`; the lowest one until the log says.
    pub fn metadata_version(&self) -> MetadataVersion {
        self.features
            .get(features::METADATA_VERSION)
            .map_or(MetadataVersion::MINIMUM, |level| MetadataVersion(*level))
    }

    pub fn is_elr_enabled(&self) -> bool {
        self.features
            .get(features::ELIGIBLE_LEADER_REPLICAS)
            .is_some_and(|level| *level > 0)
    }

    /// What is set on `resource`, not what is in effect there.
    pub fn properties(&self, resource: &ConfigResource) -> Option<&Properties> {
        self.configs.get(resource).map(Arc::as_ref)
    }

    /// One property set on `resource`.
    pub fn property(&self, resource: &ConfigResource, name: &str) -> Option<&str> {
        Some(self.configs.get(resource)?.get(name)?.as_str())
    }

    /// Whether `id` is a broker that takes new leaderships.
    pub fn is_active_broker(&self, id: i32) -> bool {
        self.brokers
            .get(&id)
            .is_some_and(|broker| broker.is_active())
    }
}
