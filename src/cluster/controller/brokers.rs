//! A node's own way into the cluster, at each start of its process.

use uuid::Uuid;

use super::partition_change::{Election, PartitionUpdate, has_replica};
use super::{Context, Decision};
use crate::cluster::bootstrap::bootstrap_records;
use crate::cluster::features::{FEATURES, MetadataVersion};
use crate::cluster::image::{Broker, Image, Partition, Topic};
use crate::cluster::records::{
    AbortTransactionRecord, BrokerRegistrationChangeRecord, Endpoint, FeatureRange,
    PartitionChangeRecord, Record, RegisterBrokerRecord, RegisterControllerRecord,
};

/// What a process says of itself when it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStart {
    pub node_id: i32,
    /// Drawn by this process, so that it is told from the one before.
    pub incarnation_id: Uuid,
    /// Where clients reach the broker.
    pub endpoints: Vec<Endpoint>,
    /// Where others reach the controller; none if nobody is to.
    pub controller_endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    /// Those that are online.
    pub log_dirs: Vec<Uuid>,
    /// Those of them that take no new replicas.
    pub cordoned_log_dirs: Vec<Uuid>,
    /// Whether leaders that stay must begin a new epoch: after a stop that was not clean, what was
    /// not acknowledged may be gone, and consumers must be able to tell.
    pub bump_leader_epochs: bool,
}

/// The records that put a node into service, the first of which will be at `next_offset`. They begin
/// the log if it is empty. The reply is the broker's epoch.
///
/// As in Kafka, a broker registers as fenced and is then unfenced, and the registration's epoch is its
/// offset. Partitions without a leader get one if this node may lead them; a leader that stays keeps
/// its epoch or begins a new one.
pub fn start_node(
    context: &Context<'_>,
    start: &NodeStart,
    next_offset: i64,
    open_transaction: bool,
) -> Decision<i64> {
    let image = context.image;
    let mut records = Vec::new();
    if open_transaction {
        records.push(Record::from(AbortTransactionRecord {
            reason: Some("Controller failover".to_owned()),
        }));
    }
    if image.features.is_empty() {
        records.extend(bootstrap_records());
    }
    let features: Vec<FeatureRange> = FEATURES
        .iter()
        .map(|feature| FeatureRange {
            name: feature.name.to_owned(),
            min_supported_version: feature.min_level,
            max_supported_version: feature.max_level,
        })
        .collect();
    records.push(Record::from(RegisterControllerRecord {
        controller_id: start.node_id,
        incarnation_id: start.incarnation_id,
        zk_migration_ready: false,
        end_points: start.controller_endpoints.clone(),
        features: features.clone(),
    }));
    let broker_epoch = next_offset + records.len() as i64;
    let registration = RegisterBrokerRecord {
        broker_id: start.node_id,
        is_migrating_zk_broker: false,
        incarnation_id: start.incarnation_id,
        broker_epoch,
        end_points: start.endpoints.clone(),
        features,
        rack: start.rack.clone(),
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: start.log_dirs.clone(),
        cordoned_log_dirs: None,
    };
    let broker = Broker::from(&registration);
    records.push(registration.into());
    records.push(Record::from(BrokerRegistrationChangeRecord {
        broker_id: start.node_id,
        broker_epoch,
        fenced: -1,
        ..Default::default()
    }));
    let is_new = image.features.is_empty();
    let can_cordon = is_new || image.metadata_version() >= MetadataVersion::CORDONED_DIRECTORIES;
    if can_cordon && !start.cordoned_log_dirs.is_empty() {
        records.push(Record::from(BrokerRegistrationChangeRecord {
            broker_id: start.node_id,
            broker_epoch,
            cordoned_log_dirs: Some(start.cordoned_log_dirs.clone()),
            ..Default::default()
        }));
    }
    for topic in image.topics.iter() {
        for (id, partition) in &topic.partitions {
            let of = (*id, partition.as_ref());
            let change = leader_at_start(context, topic, of, &broker, start.bump_leader_epochs);
            records.extend(change.map(Record::from));
        }
    }
    // No limit whatever the number of partitions: it is not a client who asks.
    Decision {
        records,
        reply: broker_epoch,
    }
}

fn leader_at_start(
    context: &Context<'_>,
    topic: &Topic,
    (id, partition): (i32, &Partition),
    starting: &Broker,
    bump_leader_epochs: bool,
) -> Option<PartitionChangeRecord> {
    let serves = |replica: i32| {
        if replica == starting.id {
            return has_replica(partition, starting);
        }
        serves_elsewhere(context.image, partition, replica)
    };
    if partition.leader == starting.id && serves(starting.id) {
        return bump_leader_epochs.then(|| PartitionChangeRecord {
            partition_id: id,
            topic_id: topic.id,
            leader: starting.id,
            ..Default::default()
        });
    }
    if partition.has_leader() && partition.leader != starting.id {
        return None;
    }
    let election = match context.is_unclean_election_enabled(&topic.name) {
        true => Election::Unclean,
        false => Election::Online,
    };
    let update = PartitionUpdate::new(context, topic, (id, partition), election, &serves);
    // Its directory is gone.
    let is_lost = partition.replicas.contains(&starting.id) && !serves(starting.id);
    let update = if is_lost {
        update.out_of_sync(starting.id)
    } else {
        update
    };
    update.record()
}

fn serves_elsewhere(image: &Image, partition: &Partition, replica: i32) -> bool {
    let broker = image.brokers.get(&replica);
    broker.is_some_and(|broker| broker.is_active() && has_replica(partition, broker))
}

#[cfg(test)]
mod tests;
