//! Replaying records into an image: the only way an image ever changes at its source.
//!
//! Transitions of the transaction state, which decides when a record takes effect:
//!
//! | state | record | what happens |
//! |---|---|---|
//! | none | any other | takes effect at once |
//! | none | begin | open |
//! | open | any other | is held back |
//! | open | end | what was held back takes effect in order; none |
//! | open | abort | what was held back is dropped; none |
//! | none | end, abort | error |
//! | open | begin | error |
//!
//! An error means that the log doesn't fit what came before it: the image is then half-way and must
//! not be used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Broker, ConfigResource, Delta, DirectoryCounts, Image, Partition, ResourceKind, Topic,
    TopicChange,
};
use crate::cluster::records::{BrokerRegistrationChangeRecord, ConfigRecord, Record, TopicRecord};

/// Why a record doesn't fit the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    OffsetWentBack { last: i64, offset: i64 },
    DuplicateTopic { name: String },
    UnknownTopic { id: Uuid },
    UnknownTopicName { name: String },
    UnknownPartition { topic_id: Uuid, partition: i32 },
    NegativePartition { topic_id: Uuid, partition: i32 },
    DirectoriesOfReplicas { replicas: usize, directories: usize },
    UnknownBroker { id: i32, epoch: i64 },
    ProducerIdWentBack { current: i64, next: i64 },
    TransactionAlreadyOpen,
    NoOpenTransaction,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OffsetWentBack { last, offset } => {
                write!(f, "offset {offset} comes after offset {last}")
            }
            Self::DuplicateTopic { name } => write!(f, "topic {name} exists already"),
            Self::UnknownTopic { id } => write!(f, "there is no topic with id {id}"),
            Self::UnknownTopicName { name } => write!(f, "there is no topic {name}"),
            Self::UnknownPartition {
                topic_id,
                partition,
            } => write!(f, "topic {topic_id} has no partition {partition}"),
            Self::NegativePartition {
                topic_id,
                partition,
            } => write!(f, "topic {topic_id} is given a partition {partition}"),
            Self::DirectoriesOfReplicas {
                replicas,
                directories,
            } => write!(
                f,
                "{directories} directories are given for {replicas} replicas"
            ),
            Self::UnknownBroker { id, epoch } => {
                write!(f, "broker {id} is not registered with epoch {epoch}")
            }
            Self::ProducerIdWentBack { current, next } => {
                write!(f, "the next producer id goes back from {current} to {next}")
            }
            Self::TransactionAlreadyOpen => f.write_str("a metadata transaction is open already"),
            Self::NoOpenTransaction => f.write_str("no metadata transaction is open"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// What was touched since the last delta; the values are taken from the image in the end.
#[derive(Debug, Default)]
struct Touched {
    /// The topic as it was (`None`: it was not), and the partitions touched.
    topics: BTreeMap<Uuid, (Option<Arc<Topic>>, BTreeSet<i32>)>,
    configs: BTreeSet<ConfigResource>,
    features: BTreeSet<String>,
    producer_ids: bool,
    brokers: BTreeSet<i32>,
    controllers: BTreeSet<i32>,
    security: bool,
}

/// The image at its source, with what the log has opened but not yet closed.
#[derive(Debug)]
pub struct Replayer {
    image: Rc<Image>,
    directories: DirectoryCounts,
    held_back: Option<HeldBack>,
    touched: Touched,
}

#[derive(Debug)]
struct HeldBack {
    begin_offset: i64,
    records: Vec<Record>,
}

impl Replayer {
    pub fn new(image: Image) -> Self {
        Self {
            directories: DirectoryCounts::of(&image),
            image: Rc::new(image),
            held_back: None,
            touched: Touched::default(),
        }
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The image as it is now, for whoever holds it while this goes on. What is replayed then costs a
    /// copy of its maps, once.
    pub fn shared_image(&self) -> Rc<Image> {
        self.image.clone()
    }

    /// How many replicas of the image lie in each directory.
    pub fn directories(&self) -> &DirectoryCounts {
        &self.directories
    }

    /// Where the transaction that is still open began.
    pub fn open_transaction(&self) -> Option<i64> {
        self.held_back.as_ref().map(|held| held.begin_offset)
    }

    /// Replays the record at `offset`, written in `epoch`.
    pub fn replay(&mut self, offset: i64, epoch: i32, record: &Record) -> Result<(), ReplayError> {
        if offset <= self.image.last_offset {
            return Err(ReplayError::OffsetWentBack {
                last: self.image.last_offset,
                offset,
            });
        }
        self.pass(offset, epoch);
        match (record, &mut self.held_back) {
            (Record::BeginTransaction(_), None) => {
                self.held_back = Some(HeldBack {
                    begin_offset: offset,
                    records: Vec::new(),
                });
            }
            (Record::BeginTransaction(_), Some(_)) => {
                return Err(ReplayError::TransactionAlreadyOpen);
            }
            (Record::EndTransaction(_), _) => {
                let held = self
                    .held_back
                    .take()
                    .ok_or(ReplayError::NoOpenTransaction)?;
                for record in &held.records {
                    self.take_effect(record)?;
                }
            }
            (Record::AbortTransaction(_), _) => {
                self.held_back
                    .take()
                    .ok_or(ReplayError::NoOpenTransaction)?;
            }
            (record, Some(held)) => held.records.push(record.clone()),
            (record, None) => self.take_effect(record)?,
        }
        Ok(())
    }

    /// Notes that the log goes on to `offset` with something that is no metadata record.
    pub fn pass(&mut self, offset: i64, epoch: i32) {
        let image = Rc::make_mut(&mut self.image);
        image.last_offset = image.last_offset.max(offset);
        image.last_epoch = epoch;
    }

    /// What changed since this was last asked.
    pub fn take_delta(&mut self) -> Delta {
        let touched = std::mem::take(&mut self.touched);
        let image = &self.image;
        let topics = touched
            .topics
            .into_iter()
            .filter_map(|(id, (before, partitions))| {
                let after = image.topics.get(id).cloned();
                let change = TopicChange {
                    before,
                    after,
                    partitions,
                };
                // A topic made and deleted in between never was, as far as others know.
                (change.before.is_some() || change.after.is_some()).then_some((id, change))
            });
        Delta {
            last_offset: image.last_offset,
            last_epoch: image.last_epoch,
            topics: topics.collect(),
            configs: values_of(touched.configs, &image.configs),
            features: values_of(touched.features, &image.features),
            next_producer_id: touched.producer_ids.then_some(image.next_producer_id),
            brokers: values_of(touched.brokers, &image.brokers),
            controllers: values_of(touched.controllers, &image.controllers),
            security: touched.security.then(|| image.security.clone()),
        }
    }

    fn take_effect(&mut self, record: &Record) -> Result<(), ReplayError> {
        match record {
            Record::Topic(topic) => self.create_topic(topic),
            Record::Partition(record) => {
                let partition = Partition::from_record(record)?;
                let id = record.partition_id;
                if id < 0 {
                    return Err(ReplayError::NegativePartition {
                        topic_id: record.topic_id,
                        partition: id,
                    });
                }
                let topic = self.touch_topic(record.topic_id, [id])?;
                let directories = partition.directories.clone();
                let replaced = topic.partitions.insert(id, Arc::new(partition));
                if let Some(replaced) = replaced {
                    self.directories.remove(&replaced.directories);
                }
                self.directories.add(&directories);
                Ok(())
            }
            Record::PartitionChange(change) => {
                let id = change.partition_id;
                let topic = self.touch_topic(change.topic_id, [id])?;
                let partition =
                    topic
                        .partitions
                        .get_mut(&id)
                        .ok_or(ReplayError::UnknownPartition {
                            topic_id: change.topic_id,
                            partition: id,
                        })?;
                let before = partition.directories.clone();
                Arc::make_mut(partition).apply(change)?;
                let after = partition.directories.clone();
                self.directories.remove(&before);
                self.directories.add(&after);
                Ok(())
            }
            Record::RemoveTopic(removal) => self.remove_topic(removal.topic_id),
            Record::ClearElr(clear) => self.clear_elr(&clear.topic_name),
            Record::Config(config) => {
                self.set_config(config);
                Ok(())
            }
            Record::ProducerIds(ids) => {
                let current = self.image.next_producer_id;
                let next = ids.next_producer_id;
                if next < current {
                    return Err(ReplayError::ProducerIdWentBack { current, next });
                }
                Rc::make_mut(&mut self.image).next_producer_id = next;
                self.touched.producer_ids = true;
                Ok(())
            }
            Record::FeatureLevel(feature) => {
                let features = &mut Rc::make_mut(&mut self.image).features;
                match feature.feature_level {
                    0 => features.remove(&feature.name),
                    level => features.insert(feature.name.clone(), level),
                };
                self.touched.features.insert(feature.name.clone());
                Ok(())
            }
            Record::RegisterBroker(registration) => {
                let id = registration.broker_id;
                Rc::make_mut(&mut self.image)
                    .brokers
                    .insert(id, Arc::new(Broker::from(registration)));
                self.touched.brokers.insert(id);
                Ok(())
            }
            Record::UnregisterBroker(removal) => {
                self.touch_broker(removal.broker_id, removal.broker_epoch)?;
                Rc::make_mut(&mut self.image)
                    .brokers
                    .remove(&removal.broker_id);
                Ok(())
            }
            Record::FenceBroker(fence) => self.change_broker(&BrokerRegistrationChangeRecord {
                broker_id: fence.id,
                broker_epoch: fence.epoch,
                fenced: 1,
                ..Default::default()
            }),
            Record::UnfenceBroker(unfence) => self.change_broker(&BrokerRegistrationChangeRecord {
                broker_id: unfence.id,
                broker_epoch: unfence.epoch,
                fenced: -1,
                ..Default::default()
            }),
            Record::BrokerRegistrationChange(change) => self.change_broker(change),
            Record::RegisterController(registration) => {
                let id = registration.controller_id;
                Rc::make_mut(&mut self.image)
                    .controllers
                    .insert(id, Arc::new(registration.into()));
                self.touched.controllers.insert(id);
                Ok(())
            }
            Record::AccessControlEntry(_)
            | Record::RemoveAccessControlEntry(_)
            | Record::UserScramCredential(_)
            | Record::RemoveUserScramCredential(_)
            | Record::DelegationToken(_)
            | Record::RemoveDelegationToken(_)
            | Record::ClientQuota(_) => {
                Arc::make_mut(&mut Rc::make_mut(&mut self.image).security).apply(record);
                self.touched.security = true;
                Ok(())
            }
            // Nothing an image shows. Transactions are dealt with before.
            Record::NoOp(_)
            | Record::ZkMigrationState(_)
            | Record::BeginTransaction(_)
            | Record::EndTransaction(_)
            | Record::AbortTransaction(_) => Ok(()),
        }
    }

    fn create_topic(&mut self, record: &TopicRecord) -> Result<(), ReplayError> {
        let topics = &mut Rc::make_mut(&mut self.image).topics;
        if topics.id_of(&record.name).is_some() || topics.get(record.topic_id).is_some() {
            return Err(ReplayError::DuplicateTopic {
                name: record.name.clone(),
            });
        }
        topics.put(Arc::new(Topic {
            id: record.topic_id,
            name: record.name.as_str().into(),
            partitions: BTreeMap::new(),
        }));
        self.touched
            .topics
            .entry(record.topic_id)
            .or_insert((None, BTreeSet::new()));
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<(), ReplayError> {
        self.touch_topic(id, [])?;
        let image = Rc::make_mut(&mut self.image);
        let topic = image
            .topics
            .remove(id)
            .ok_or(ReplayError::UnknownTopic { id })?;
        for partition in topic.partitions.values() {
            self.directories.remove(&partition.directories);
        }
        let resource = ConfigResource::topic(&*topic.name);
        if image.configs.remove(&resource).is_some() {
            self.touched.configs.insert(resource);
        }
        Ok(())
    }

    /// The topic to change, after noting how it was.
    fn touch_topic(
        &mut self,
        id: Uuid,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<&mut Topic, ReplayError> {
        let unknown = ReplayError::UnknownTopic { id };
        let Some(before) = self.image.topics.get(id) else {
            return Err(unknown);
        };
        let (_, touched) = self
            .touched
            .topics
            .entry(id)
            .or_insert_with(|| (Some(before.clone()), BTreeSet::new()));
        touched.extend(partitions);
        let image = Rc::make_mut(&mut self.image);
        image.topics.get_mut(id).ok_or(unknown)
    }

    fn clear_elr(&mut self, topic_name: &str) -> Result<(), ReplayError> {
        let topics = &self.image.topics;
        let ids: Vec<Uuid> = if topic_name.is_empty() {
            topics.iter().map(|topic| topic.id).collect()
        } else {
            let id = topics
                .id_of(topic_name)
                .ok_or_else(|| ReplayError::UnknownTopicName {
                    name: topic_name.to_owned(),
                })?;
            vec![id]
        };
        for id in ids {
            let has_elr = |partition: &Partition| {
                !partition.elr.is_empty() || !partition.last_known_elr.is_empty()
            };
            let affected: Vec<i32> = self.image.topics.get(id).map_or(Vec::new(), |topic| {
                let partitions = topic.partitions.iter();
                partitions
                    .filter_map(|(id, partition)| has_elr(partition).then_some(*id))
                    .collect()
            });
            if affected.is_empty() {
                continue;
            }
            let topic = self.touch_topic(id, affected.iter().copied())?;
            for id in affected {
                if let Some(partition) = topic.partitions.get_mut(&id) {
                    let partition = Arc::make_mut(partition);
                    partition.elr.clear();
                    partition.last_known_elr.clear();
                    partition.partition_epoch = partition.partition_epoch.wrapping_add(1);
                }
            }
        }
        Ok(())
    }

    fn set_config(&mut self, record: &ConfigRecord) {
        let kind = ResourceKind::from_id(record.resource_type);
        let resource = ConfigResource::new(kind, record.resource_name.as_str());
        let configs = &mut Rc::make_mut(&mut self.image).configs;
        match &record.value {
            Some(value) => {
                let properties = Arc::make_mut(configs.entry(resource.clone()).or_default());
                properties.insert(record.name.clone(), value.clone());
            }
            None => {
                if let Some(properties) = configs.get_mut(&resource) {
                    let properties = Arc::make_mut(properties);
                    properties.remove(&record.name);
                    if properties.is_empty() {
                        configs.remove(&resource);
                    }
                }
            }
        }
        self.touched.configs.insert(resource);
    }

    fn touch_broker(&mut self, id: i32, epoch: i64) -> Result<&mut Broker, ReplayError> {
        let broker = Rc::make_mut(&mut self.image).brokers.get_mut(&id);
        let broker = broker
            .filter(|broker| broker.epoch == epoch)
            .ok_or(ReplayError::UnknownBroker { id, epoch })?;
        self.touched.brokers.insert(id);
        Ok(Arc::make_mut(broker))
    }

    fn change_broker(
        &mut self,
        change: &BrokerRegistrationChangeRecord,
    ) -> Result<(), ReplayError> {
        self.touch_broker(change.broker_id, change.broker_epoch)?
            .apply(change);
        Ok(())
    }
}

fn values_of<K: Ord, V: Clone>(keys: BTreeSet<K>, map: &BTreeMap<K, V>) -> BTreeMap<K, Option<V>> {
    keys.into_iter()
        .map(|key| {
            let value = map.get(&key).cloned();
            (key, value)
        })
        .collect()
}
