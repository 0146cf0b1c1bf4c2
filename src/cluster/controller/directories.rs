//! In which directory of its broker a replica lies: chosen for new partitions, recorded where a
//! broker found or put it elsewhere, and what becomes of the partitions of a directory that goes
//! offline.
//!
//! Kafka's controller leaves the choice to the broker and learns of it by AssignReplicasToDirs. Here
//! it makes the choice that Kafka's broker would make, the directory with the fewest replicas, so
//! that the record of a new partition says where it is, and no crash can come between.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::partition_change::{Election, PartitionUpdate, has_replica};
use super::{Context, Decision, RECORDS_PER_REQUEST_MAX};
use crate::cluster::features::MetadataVersion;
use crate::cluster::image::{Broker, Partition, Topic};
use crate::cluster::records::{BrokerRegistrationChangeRecord, PartitionChangeRecord, Record};

/// Where partitions that are not there yet are to be put, by topic and partition.
pub type PreferredDirectories = BTreeMap<(String, i32), Uuid>;

/// Puts each replica of a new partition into the directory of its broker that is preferred for it, or
/// else into the one with the fewest replicas.
pub(super) fn place_in_directories(
    context: &mut Context<'_>,
    topic: &str,
    id: i32,
    partition: &mut Partition,
) {
    for (replica, directory) in partition.replicas.iter().zip(&mut partition.directories) {
        let Some(broker) = context.image.brokers.get(replica) else {
            continue;
        };
        let preferred = context.preferred.get(&(topic.to_owned(), id)).copied();
        *directory = match preferred.filter(|preferred| broker.log_dirs.contains(preferred)) {
            Some(preferred) => preferred,
            None => context.emptiest_directory(broker),
        };
        context.placed.add_replica(*directory);
    }
}

impl Context<'_> {
    /// Of directories with as many replicas it is the first. Where all are cordoned, a client chose
    /// the broker: then it is the first of all.
    fn emptiest_directory(&self, broker: &Broker) -> Uuid {
        let registered = broker.cordoned_log_dirs.as_deref().unwrap_or_default();
        let is_open = |dir: &&Uuid| !registered.contains(dir) && !self.cordoned.contains(dir);
        let open = broker.log_dirs.iter().filter(is_open);
        let replicas =
            |dir: &&Uuid| self.directories.replicas_in(**dir) + self.placed.replicas_in(**dir);
        let emptiest = open.min_by_key(replicas).or(broker.log_dirs.first());
        emptiest.copied().unwrap_or_else(|| broker.default_dir())
    }
}

/// A replica that its broker says is elsewhere than was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundReplica {
    pub topic_id: Uuid,
    pub partition: i32,
    pub directory: Uuid,
}

/// Records where replicas of a broker are, and elects leaders for those that can be led now. What is
/// recorded so already, or is gone meanwhile, is passed over. At most as many as a request may change.
pub fn assign_replicas(
    context: &Context<'_>,
    broker_id: i32,
    found: &[FoundReplica],
) -> Decision<()> {
    let image = context.image;
    if image.metadata_version() < MetadataVersion::DIRECTORY_ASSIGNMENT {
        return Decision::new(Vec::new(), ());
    }
    let records = found.iter().filter_map(|replica| {
        let topic = image.topics.get(replica.topic_id)?;
        let partition = topic.partition(replica.partition)?;
        let at = partition.replicas.iter().position(|id| *id == broker_id)?;
        let mut directories = partition.directories.clone();
        if std::mem::replace(&mut directories[at], replica.directory) == replica.directory {
            return None;
        }
        let moved = Partition {
            directories: directories.clone(),
            ..partition.as_ref().clone()
        };
        let serves = |id: i32| serves(context, &moved, id);
        let update = PartitionUpdate::new(
            context,
            topic,
            (replica.partition, &moved),
            Election::Online,
            &serves,
        );
        Some(Record::from(PartitionChangeRecord {
            directories: Some(directories),
            ..update.record().unwrap_or_else(|| PartitionChangeRecord {
                partition_id: replica.partition,
                topic_id: topic.id,
                ..Default::default()
            })
        }))
    });
    Decision::new(records.collect(), ())
}

/// Records that directories of a broker are offline, and takes their partitions from its lead. The
/// reply says whether all is recorded: what does not fit into one decision needs another one.
pub fn directories_offline(
    context: &Context<'_>,
    broker_id: i32,
    offline: &[Uuid],
) -> Decision<bool> {
    let image = context.image;
    let Some(broker) = image.brokers.get(&broker_id) else {
        return Decision::new(Vec::new(), true);
    };
    let online: Vec<Uuid> = broker
        .log_dirs
        .iter()
        .copied()
        .filter(|dir| !offline.contains(dir))
        .collect();
    let mut records = Vec::new();
    // A registration cannot say that none is left: the broker ends then.
    if online.len() < broker.log_dirs.len() && !online.is_empty() {
        records.push(Record::from(BrokerRegistrationChangeRecord {
            broker_id,
            broker_epoch: broker.epoch,
            log_dirs: online,
            ..Default::default()
        }));
    }
    for topic in image.topics.iter() {
        for (id, partition) in &topic.partitions {
            if !lies_in(partition, broker_id, offline) {
                continue;
            }
            let change = without_replica(context, topic, (*id, partition), broker_id);
            let Some(change) = change else {
                continue;
            };
            if records.len() == RECORDS_PER_REQUEST_MAX {
                return Decision::new(records, false);
            }
            records.push(change.into());
        }
    }
    Decision::new(records, true)
}

fn lies_in(partition: &Partition, broker_id: i32, directories: &[Uuid]) -> bool {
    let mut placed = partition.replicas.iter().zip(&partition.directories);
    placed.any(|(id, dir)| *id == broker_id && directories.contains(dir))
}

fn without_replica(
    context: &Context<'_>,
    topic: &Topic,
    (id, partition): (i32, &Partition),
    broker_id: i32,
) -> Option<PartitionChangeRecord> {
    let election = match context.is_unclean_election_enabled(&topic.name) {
        true => Election::Unclean,
        false => Election::Online,
    };
    let serves = |replica: i32| replica != broker_id && serves(context, partition, replica);
    PartitionUpdate::new(context, topic, (id, partition), election, &serves)
        .out_of_sync(broker_id)
        .record()
}

fn serves(context: &Context<'_>, partition: &Partition, replica: i32) -> bool {
    let broker = context.image.brokers.get(&replica);
    broker.is_some_and(|broker| broker.is_active() && has_replica(partition, broker))
}

/// Records which directories of a broker take no new replicas, if that is news.
pub fn cordon_directories(
    context: &Context<'_>,
    broker_id: i32,
    cordoned: &[Uuid],
) -> Decision<()> {
    let image = context.image;
    let broker = image.brokers.get(&broker_id);
    // A registration says nothing of it as long as there are none.
    let is_known =
        |broker: &Broker| broker.cordoned_log_dirs.as_deref().unwrap_or_default() == cordoned;
    let change = broker.filter(|broker| {
        image.metadata_version() >= MetadataVersion::CORDONED_DIRECTORIES && !is_known(broker)
    });
    let record = change.map(|broker| {
        Record::from(BrokerRegistrationChangeRecord {
            broker_id,
            broker_epoch: broker.epoch,
            cordoned_log_dirs: Some(cordoned.to_vec()),
            ..Default::default()
        })
    });
    Decision::new(record.into_iter().collect(), ())
}

#[cfg(test)]
mod tests;
