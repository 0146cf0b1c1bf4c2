//! The broker as a shard's request handlers see it: one instance on each shard, no locks.
//!
//! What others change arrives as a message and is swapped in whole: the image of the metadata and
//! what is resolved from it. Handlers take a copy of the handle ([`Broker::image`]). What is held over
//! a change costs a copy of the whole, so nobody holds it while he waits for long.

mod folders;
mod producer_ids;
mod registration;

use std::cell::{OnceCell, RefCell};
use std::future::pending;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use corelog_shards::log::batch::compress::DecoderPool;
use corelog_shards::log::compact;
use corelog_shards::log::config::{CompactionConfig, LogConfig};
use corelog_shards::metrics::RecoveryMetrics;
use corelog_shards::mutation::{Mutation, is_on};
use corelog_shards::route::{METADATA_TOPIC, PartitionKey};
use corelog_shards::shard::{CleanerConfig, Shard, Stray};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use self::folders::Reports;
pub use self::producer_ids::NoProducerId;
use self::producer_ids::ProducerIds;
use crate::cluster::controller::{Context, Decision};
use crate::cluster::driver::{ControlFailure, Driver, METADATA_NAME};
use crate::cluster::image::{ConfigResource, Delta, Image, Partition, ResourceKind, Topic};
use crate::config::{
    BrokerConfig, CleanerSettings, ConfigError, Endpoint, Layers, Overrides, TopicSettings,
};
use crate::coordinator::answers::Answers;
use crate::coordinator::group::{Groups, OFFSETS_TOPIC};
use crate::coordinator::instances::Instances;
use crate::coordinator::metrics::CoordinatorMetrics;
use crate::fetch::sessions::Sessions;
use crate::lines::Lines;
use crate::metrics::RequestMetrics;
use crate::net::Network;
use crate::turns::Turns;

/// What does not change while the process lives. The same on all shards.
#[derive(Clone, Debug)]
pub struct Node {
    pub cluster_id: String,
    /// Of the folder with the metadata log.
    pub directory_id: Uuid,
    /// Ids of the folders of `log.dirs`, in their order: where partitions lie.
    pub log_dirs: Vec<Uuid>,
    /// `server.properties` and the command line.
    pub file: Overrides,
    /// What clients are told, by listener.
    pub advertised: Vec<Endpoint>,
}

/// What handlers may use. Lives on one shard.
pub struct Broker {
    pub shard: Shard,
    pub node: Node,
    /// Decompressors that are used again and again.
    pub decoders: DecoderPool,
    /// Incremental fetch sessions that this shard holds.
    pub fetch_sessions: RefCell<Sessions>,
    /// Coordinators of the groups whose partitions this shard owns.
    pub groups: Instances<Groups>,
    /// Whom other shards' coordinators owe an answer.
    pub answers: Answers,
    /// What the coordinators of this shard count.
    pub coordinators: Arc<CoordinatorMetrics>,
    /// What the network side of this shard counts.
    pub metrics: Arc<RequestMetrics>,
    /// What the log of this shard says of clients, no more often than it should.
    pub lines: Rc<Lines>,
    /// How far this shard's start has come.
    recovery: Arc<RecoveryMetrics>,
    producer_ids: ProducerIds,
    reports: Reports,
    image: RefCell<Rc<Image>>,
    config: RefCell<Rc<BrokerConfig>>,
    /// Resolved settings of topics, filled as they are asked for, emptied when settings change.
    settings: RefCell<FxHashMap<Uuid, Rc<TopicSettings>>>,
    /// On shard 0.
    controller: OnceCell<Rc<Driver>>,
    network: OnceCell<Network>,
}

impl Broker {
    pub fn new(shard: Shard, node: Node, config: BrokerConfig) -> Rc<Self> {
        let image = Image::empty(node.cluster_id.as_str());
        let slots = config.fetch.session_slots as usize;
        let fetch_sessions = Sessions::new(slots, shard.id(), shard.count());
        let recovery = shard.metrics().recovery;
        Rc::new(Self {
            shard,
            recovery,
            fetch_sessions: RefCell::new(fetch_sessions),
            node,
            decoders: DecoderPool::default(),
            groups: Instances::default(),
            answers: Answers::default(),
            coordinators: Arc::default(),
            metrics: Arc::default(),
            lines: Rc::default(),
            producer_ids: ProducerIds::default(),
            reports: Reports::default(),
            image: RefCell::new(Rc::new(image)),
            config: RefCell::new(Rc::new(config)),
            settings: RefCell::default(),
            controller: OnceCell::new(),
            network: OnceCell::new(),
        })
    }

    /// Lets jobs of the shard find it from now on. It lives as long as tasks of the shard do: some go on behind the end of
    /// what has started it.
    pub fn move_in(self: &Rc<Self>) {
        let resident: Weak<Self> = Rc::downgrade(self);
        self.shard.set_resident(resident);
        let its = Rc::clone(self);
        self.shard.io().spawn("broker", async move {
            pending::<()>().await;
            drop(its);
        });
    }

    /// The broker of the shard that a job runs on.
    pub fn of(shard: &Shard) -> Rc<Self> {
        shard.resident()
    }

    pub fn node_id(&self) -> i32 {
        self.config.borrow().node.node_id
    }

    /// The metadata as this shard knows it.
    pub fn image(&self) -> Rc<Image> {
        self.image.borrow().clone()
    }

    /// The broker's settings as they are now.
    pub fn config(&self) -> Rc<BrokerConfig> {
        self.config.borrow().clone()
    }

    /// Puts the controller on this shard.
    pub fn set_controller(&self, driver: Rc<Driver>) {
        let set = self.controller.set(driver);
        assert!(set.is_ok(), "one controller");
    }

    /// The connections of this shard, from now on.
    pub fn set_network(&self, network: Network) {
        let set = self.network.set(network);
        assert!(set.is_ok(), "one network of a shard");
    }

    /// Finishes what has begun and closes all connections of this shard.
    pub async fn drain(&self, patience: Duration) {
        if let Some(network) = self.network.get() {
            network.drain(patience).await;
        }
    }

    /// The connections of this shard, once it listens.
    pub(crate) fn network(&self) -> Option<&Network> {
        self.network.get()
    }

    pub(crate) fn controller(&self) -> Rc<Driver> {
        self.controller
            .get()
            .expect("the controller is on shard 0")
            .clone()
    }

    /// Has the controller decide, wherever it is. Returns its reply once the records are committed
    /// and every shard knows of them.
    pub async fn control<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Context<'_>) -> Decision<R> + Send + 'static,
    ) -> Result<R, ControlFailure> {
        self.shard
            .run_on(0, |shard| async move {
                Broker::of(&shard).controller().submit(decide).await
            })
            .await
    }

    /// An id for an idempotent producer, that nobody was ever given.
    pub async fn new_producer_id(&self) -> Result<i64, NoProducerId> {
        self.producer_ids.draw(self).await
    }

    /// The settings of a topic, resolved over all layers.
    pub fn topic_settings(&self, topic: &Topic) -> Rc<TopicSettings> {
        if let Some(known) = self.settings.borrow().get(&topic.id) {
            return known.clone();
        }
        let image = self.image();
        let resolved = Rc::new(self.resolve(&image, topic));
        self.settings
            .borrow_mut()
            .insert(topic.id, resolved.clone());
        resolved
    }

    fn resolve(&self, image: &Image, topic: &Topic) -> TopicSettings {
        let nothing = Overrides::new();
        let own = image
            .properties(&ConfigResource::topic(&*topic.name))
            .unwrap_or(&nothing);
        TopicSettings::resolve(self.layers(image, &nothing), own)
    }

    /// The layers of settings above topics.
    pub fn layers<'a>(&'a self, image: &'a Image, nothing: &'a Overrides) -> Layers<'a> {
        let of = |resource| image.properties(&resource).unwrap_or(nothing);
        Layers {
            broker: of(ConfigResource::broker(self.node_id())),
            cluster: of(ConfigResource::cluster_default()),
            file: &self.node.file,
        }
    }

    /// Drops the partitions that recovery found and nobody knows, at the start. On all shards before
    /// [`Broker::install`] on any: the name of their folder may be another topic's by now.
    pub async fn drop_unknown(&self, image: &Image) {
        let is_known = |key: &PartitionKey| {
            let topic = image.topics.get(key.topic);
            topic.is_some_and(|topic| topic.partition(key.partition).is_some())
        };
        let mut unknown = self.shard.partitions();
        unknown.retain(|key| key.topic != METADATA_TOPIC && !is_known(key));
        self.shard.drop_partitions(&unknown).await;
    }

    /// Takes over the whole metadata, at the start, and opens this shard's partitions.
    pub async fn install(self: &Rc<Self>, image: Image) {
        *self.image.borrow_mut() = Rc::new(image);
        self.resolve_config();
        let image = self.image();
        self.recovery.partitions.set(self.partitions_in(&image));
        let mut turns = Turns::on(self.shard.io());
        for topic in image.topics.iter() {
            self.open_partitions(topic, topic.partitions.keys().copied(), |_| false)
                .await;
            turns.step().await;
        }
        // Every shard sees all folders: one of them is enough.
        if self.shard.id() == 0 {
            self.warn_of_folders();
            let is_known =
                |topic: &str| topic == METADATA_NAME || image.topics.by_name(topic).is_some();
            let strays = self.shard.strays(is_known).await;
            match strays.first() {
                // Rather the metadata was lost than every one of them deleted.
                Some(Stray { dir, .. }) if image.topics.is_empty() => tracing::error!(
                    folders = strays.len(),
                    dir,
                    "there are folders of topics, but the metadata knows no topic at all: they stay \
                     as they are"
                ),
                _ => self.shard.set_strays_aside(strays).await,
            }
        }
    }

    /// Partitions of this shard.
    fn partitions_in(&self, image: &Image) -> u64 {
        let owned = |topic: &Arc<Topic>| {
            let keys = topic.partitions.keys().map(|partition| PartitionKey {
                topic: topic.id,
                partition: *partition,
            });
            keys.filter(|key| self.shard.owner(key) == self.shard.id())
                .count() as u64
        };
        image.topics.iter().map(owned).sum()
    }

    /// Takes over a change of the metadata, and has its partitions follow.
    pub async fn apply(self: &Rc<Self>, delta: &Delta) {
        let mut changed = delta.configs.keys().map(|resource| resource.kind);
        let is_of_brokers = changed.any(|kind| kind == ResourceKind::Broker);
        let old_defaults = is_of_brokers.then(|| self.topic_defaults());
        Rc::make_mut(&mut self.image.borrow_mut()).apply(delta);
        for topic in delta.deleted_topics() {
            self.settings.borrow_mut().remove(&topic.id);
            let keys = topic.partitions.keys().map(|partition| PartitionKey {
                topic: topic.id,
                partition: *partition,
            });
            let own = |key: &PartitionKey| self.shard.owner(key) == self.shard.id();
            let keys: Vec<PartitionKey> = keys.filter(own).collect();
            keys.iter().for_each(|key| self.groups.close(key));
            self.shard.drop_partitions(&keys).await;
        }
        for change in delta.topics.values() {
            if let Some(topic) = &change.after {
                let changed = change.changed_partitions().map(|(id, _)| id);
                let was_there = |before: &Arc<Topic>, id| before.partition(id).is_some();
                let is_new = |id| !change.before.as_ref().is_some_and(|it| was_there(it, id));
                self.open_partitions(topic, changed, is_new).await;
            }
        }
        let mut is_broad = false;
        if let Some(old_defaults) = old_defaults {
            self.resolve_config();
            self.settings.borrow_mut().clear();
            is_broad = self.topic_defaults() != old_defaults;
            if self.shard.id() == 0 {
                self.cordon_changed();
            }
        }
        self.hand_out_settings(delta, is_broad).await;
        self.groups.metadata_changed(delta);
    }

    /// What topics have where they have no settings of their own.
    fn topic_defaults(&self) -> TopicSettings {
        let (image, nothing) = (self.image(), Overrides::new());
        TopicSettings::resolve(self.layers(&image, &nothing), &nothing)
    }

    /// The broker's settings by what the metadata says.
    fn config_by(&self, image: &Image) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::resolve(self.layers(image, &Overrides::new()))
    }

    fn resolve_config(&self) {
        match self.config_by(&self.image()) {
            Ok(config) => {
                let storage = &config.storage;
                let expiration_ms = storage.producer_id_expiration.as_millis() as i64;
                let delay = storage.folder_delete_delay;
                self.shard
                    .set_times(storage.memory_flush, expiration_ms, delay);
                let shards = self.shard.count();
                self.shard
                    .set_cleaner(cleaner_config(&storage.cleaner, shards));
                let move_rate = storage.move_bytes_a_second;
                self.shard
                    .set_move_rate(move_rate.map(|bytes| bytes / shards as u64));
                if let Some(network) = self.network.get() {
                    network.set_connection_limits(&config.network);
                }
                *self.config.borrow_mut() = Rc::new(config);
            }
            // The controller checks what it accepts; an older version may have accepted more.
            Err(error) => {
                tracing::warn!(%error, "stored settings cannot be used; the old ones stay")
            }
        }
    }

    /// Gives this shard's partitions the settings that changed: those of their topic, or, if the
    /// change is broad, of all.
    async fn hand_out_settings(&self, delta: &Delta, is_broad: bool) {
        let image = self.image();
        let mut turns = Turns::on(self.shard.io());
        if is_broad {
            for topic in image.topics.iter() {
                self.hand_out(topic, &mut turns).await;
            }
            return;
        }
        for resource in delta.configs.keys() {
            let is_topic = matches!(resource.kind, ResourceKind::Topic);
            let named = image.topics.by_name(&resource.name);
            if let Some(topic) = named.filter(|_| is_topic) {
                self.settings.borrow_mut().remove(&topic.id);
                self.hand_out(topic, &mut turns).await;
            }
        }
    }

    async fn hand_out(&self, topic: &Topic, turns: &mut Turns<'_>) {
        let config = log_config(&self.topic_settings(topic));
        for partition in topic.partitions.keys() {
            let key = PartitionKey {
                topic: topic.id,
                partition: *partition,
            };
            if self.shard.owner(&key) == self.shard.id() {
                self.shard.set_config(&key, config.clone());
            }
            turns.step().await;
        }
    }

    async fn open_partitions(
        self: &Rc<Self>,
        topic: &Topic,
        ids: impl Iterator<Item = i32>,
        is_new: impl Fn(i32) -> bool,
    ) {
        let mut config = None;
        for id in ids {
            let key = PartitionKey {
                topic: topic.id,
                partition: id,
            };
            let Some(partition) = topic.partition(id) else {
                continue;
            };
            if self.shard.owner(&key) != self.shard.id() {
                continue;
            }
            let config = config
                .get_or_insert_with(|| log_config(&self.topic_settings(topic)))
                .clone();
            let dir = corelog_shards::log::segment_name::partition_dir(&topic.name, id);
            let epoch = partition.leader_epoch;
            let folder = self.folder_of(&key, partition, is_new(id));
            let opening = self.shard.open_partition(key, &dir, folder, epoch, config);
            match opening.await {
                Ok(found) => self.opened(key, (topic, partition), &dir, found),
                Err(error) => tracing::error!(partition = dir, ?error, "cannot open a partition"),
            }
            let opened = self.recovery.partitions_opened.get() + 1;
            if opened <= self.recovery.partitions.get() {
                self.recovery.partitions_opened.set(opened);
            }
        }
    }

    /// A partition is open, in the folder `found`. Who leads it has its coordinators.
    fn opened(
        self: &Rc<Self>,
        key: PartitionKey,
        (topic, partition): (&Topic, &Partition),
        dir: &str,
        found: Uuid,
    ) {
        if self.recorded_folder(partition) != Some(found) && self.is_online(found) {
            self.found_elsewhere(key, found);
        }
        if &*topic.name == OFFSETS_TOPIC {
            match partition.leader == self.node_id() {
                true => {
                    let epoch = partition.leader_epoch;
                    self.groups.open(&self.shard, key, dir, epoch);
                }
                false => self.groups.close(&key),
            }
        }
    }
}

/// One shard's part of what the broker has for compaction.
pub fn cleaner_config(settings: &CleanerSettings, shards: usize) -> CleanerConfig {
    let part = |whole: u64| whole / shards as u64;
    CleanerConfig {
        is_enabled: settings.is_enabled,
        backoff: settings.backoff,
        map_bytes_max: usize::try_from(part(settings.map_bytes_max)).unwrap_or(usize::MAX),
        io_bytes_a_second: settings.io_bytes_a_second.map(part),
    }
}

/// A topic's settings in the engine's terms.
pub fn log_config(settings: &TopicSettings) -> LogConfig {
    use corelog_shards::journal::Durability as Class;
    use corelog_shards::log::batch::TimestampType as Time;

    use crate::config::{Durability, TimestampType};
    LogConfig {
        segment_bytes: settings.segment_bytes,
        segment_ms: match settings.cleanup_compact {
            // What must be compacted by then must not be in the active segment.
            true => settings.segment_ms.min(settings.compaction_lag_max_ms),
            false => settings.segment_ms,
        },
        segment_jitter_ms: settings.segment_jitter_ms,
        segment_index_bytes: settings.segment_index_bytes,
        index_interval_bytes: settings.index_interval_bytes,
        retention_ms: settings.retention_ms,
        retention_bytes: settings.retention_bytes,
        file_delete_delay: settings.file_delete_delay,
        cleanup_delete: settings.cleanup_delete,
        compaction: settings.cleanup_compact.then_some(CompactionConfig {
            when: compact::Settings {
                dirty_ratio_min: settings.dirty_ratio_min,
                lag_min_ms: settings.compaction_lag_min_ms,
                lag_max_ms: settings.compaction_lag_max_ms,
            },
            delete_retention_ms: settings.delete_retention_ms,
        }),
        timestamp_type: match settings.timestamp_type {
            TimestampType::CreateTime => Time::CreateTime,
            TimestampType::LogAppendTime => Time::LogAppendTime,
        },
        durability: match settings.durability {
            Durability::Sync if is_on(Mutation::WeakenDurability) => Class::Written,
            Durability::Sync => Class::Sync,
            Durability::Written => Class::Written,
            Durability::Memory => Class::Memory,
        },
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
