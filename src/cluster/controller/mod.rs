//! The controller: what is to become of a request that changes the cluster.
//!
//! Every function here is *(image, request) -> (records, reply)*. It changes nothing itself: the
//! driver appends the records to the metadata log, replays them once they are committed and only then
//! releases the reply. With a quorum of one, committed means synced; with more it will mean agreed,
//! and nothing here changes. Decisions are taken one after the other, each against the image that the
//! records of the one before have been replayed into.
//!
//! Rules, order of the checks and texts of the errors are those of Kafka's controller, and of its
//! broker where that looks at a request before the controller does.
//!
//! Owner: the shard that has the controller. A request of thousands of partitions holds its core for
//! milliseconds; Kafka's limit of ten thousand records a request bounds that. Nothing is kept between
//! two calls, so a crash loses nothing but replies. Not here: authorization, quotas, timeouts,
//! reassignment, sessions of remote brokers.

mod alter_configs;
mod brokers;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod directories;
mod elect_leaders;
mod error;
mod partition_change;
mod placement;
mod producer_ids;
mod reassignments;
mod rules;
#[cfg(test)]
mod testing;

pub use alter_configs::{
    AlterConfigsReply, AlterOp, ConfigAlteration, IncrementalAlterConfigs, LegacyAlterConfigs,
    ResourceAlteration, ResourceReplacement, incremental_alter_configs, legacy_alter_configs,
};
pub use brokers::{NodeStart, start_node};
pub use create_partitions::{CreatePartitions, MorePartitions, create_partitions};
pub use create_topics::{
    CreateTopics, CreateTopicsReply, CreatedTopic, NewTopic, PARTITIONS_PER_REQUEST_MAX,
    create_topics, validate_topic_name,
};
pub use delete_topics::{DeletedTopic, TopicReference, delete_topics};
pub use directories::{
    FoundReplica, PreferredDirectories, assign_replicas, cordon_directories, directories_offline,
};
pub use elect_leaders::{ElectLeaders, ElectedPartition, ElectionType, elect_leaders};
pub use error::{ControlError, ControlErrorKind};
pub use producer_ids::{PRODUCER_ID_BLOCK_SIZE, ProducerIdBlock, allocate_producer_ids};
pub use reassignments::{AlterReassignments, Reassignment, alter_reassignments};

use uuid::Uuid;

use super::image::{DirectoryCounts, Image, Properties};
use super::records::Record;
use crate::config::BrokerConfig;

/// What one request may append: one batch of the log, so that it is all there or not at all.
const RECORDS_PER_REQUEST_MAX: usize = 10_000;

/// Refuses a request that names more topics or resources than can be changed at once, whatever they are: whoever
/// gets one need not bring it here.
pub fn check_count(topics: usize) -> Result<(), ControlError> {
    match topics <= RECORDS_PER_REQUEST_MAX {
        true => Ok(()),
        false => Err(ControlError::too_many_records()),
    }
}

/// What the controller was told in its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub node_id: i32,
    /// `num.partitions`
    pub default_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `delete.topic.enable`
    pub topics_can_be_deleted: bool,
}

impl From<&BrokerConfig> for Policy {
    fn from(config: &BrokerConfig) -> Self {
        let factor = config.topics.default_replication_factor;
        Self {
            node_id: config.node.node_id,
            default_partitions: config.topics.default_partitions,
            default_replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
            topics_can_be_deleted: config.topics.delete_enabled,
        }
    }
}

/// What every decision is taken from.
pub struct Context<'a> {
    pub image: &'a Image,
    /// Of the image.
    pub directories: &'a DirectoryCounts,
    /// What this decision has placed so far.
    pub placed: DirectoryCounts,
    pub preferred: &'a PreferredDirectories,
    /// Directories of this node that its settings cordon, whatever it could register of it.
    pub cordoned: &'a [Uuid],
    pub policy: &'a Policy,
    /// `server.properties` and the command line.
    pub file: &'a Properties,
    /// Draws ids and placements.
    pub random_u64: &'a mut dyn FnMut() -> u64,
}

impl Context<'_> {
    /// A number below `bound`, which is above zero.
    fn random_below(&mut self, bound: usize) -> usize {
        ((self.random_u64)() % bound as u64) as usize
    }
}

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The records to append and the reply to give once they are committed.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a decision has no effect until its records are committed and replayed"]
pub struct Decision<R> {
    pub records: Vec<Record>,
    pub reply: R,
}

impl<R> Decision<R> {
    fn new(records: Vec<Record>, reply: R) -> Self {
        assert!(
            records.len() <= RECORDS_PER_REQUEST_MAX,
            "a decision of {} records",
            records.len()
        );
        Self { records, reply }
    }

    /// The same reply without an effect.
    fn only_validated(mut self, validate_only: bool) -> Self {
        if validate_only {
            self.records.clear();
        }
        self
    }
}

/// The items that a request names once, and the names it has more than once.
fn split_duplicates<'a, T, K: Ord>(
    items: &'a [T],
    name: impl Fn(&'a T) -> K,
) -> (Vec<&'a T>, Vec<K>) {
    let mut counts = std::collections::BTreeMap::new();
    for item in items {
        *counts.entry(name(item)).or_insert(0usize) += 1;
    }
    let unique = items
        .iter()
        .filter(|item| counts[&name(item)] == 1)
        .collect();
    let repeated = counts.into_iter().filter(|(_, count)| *count > 1);
    (unique, repeated.map(|(name, _)| name).collect())
}
