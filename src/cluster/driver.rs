//! The driver of the controller: appends what it decides, replays it, publishes it, releases replies.
//!
//! Lives on shard 0, beside the metadata log, an ordinary partition of the engine. One decision at a
//! time: each is taken from the image that the one before has led to. It is carried out by a task of
//! its own, so that it comes to its end whoever has ceased to wait for it. A crash between append and
//! reply loses only the reply. With one node, committed means synced; a quorum will put its agreement
//! between append and replay.

mod read_log;
mod snapshots;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::slot;
use corelog_shards::journal::Durability;
use corelog_shards::log::config::LogConfig;
use corelog_shards::mutation::{Mutation, is_on};
use corelog_shards::partition::Turn;
use corelog_shards::route::{METADATA_TOPIC, PartitionKey};
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::{Append, AppendError, Appended};
use uuid::Uuid;

use super::controller::{
    Context, Decision, NodeStart, Policy, PreferredDirectories, start_node, validate_topic_name,
};
use super::features::first_unsupported;
use super::image::{Delta, DirectoryCounts, Image, Replayer};
use super::log_codec::{self, BatchPlace, encode_batch, encode_leader_change};
use crate::broker::Broker;
use crate::config::{MetadataLogConfig, Overrides, SnapshotSettings};

pub use read_log::ReadLogError;
use read_log::read_log;
pub use snapshots::SnapshotFacts;
use snapshots::Snapshots;

/// The metadata log.
pub const METADATA_LOG: PartitionKey = PartitionKey {
    topic: METADATA_TOPIC,
    partition: 0,
};

/// Name of its topic.
pub const METADATA_NAME: &str = "__cluster_metadata";

/// Its folder within a data folder, as Kafka names it.
pub const METADATA_DIR: &str = "__cluster_metadata-0";

/// Records of a start that are written together: with very many partitions all of them would be more than a journal
/// takes at once.
const START_BATCH_RECORDS: usize = 50_000;

/// Partitions that are not there yet, of which it is remembered where they are to be put.
const PREFERRED_MAX: usize = 10_000;

/// Pause before another attempt on a full disk.
const FULL_DISK_RETRY: Duration = Duration::from_millis(500);

/// How the metadata log is kept: whatever topics are given by default. Its beginning goes by snapshots.
pub fn log_config(settings: &MetadataLogConfig) -> LogConfig {
    LogConfig {
        segment_bytes: settings.segment_bytes,
        segment_ms: settings.segment_ms,
        cleanup_delete: false,
        durability: Durability::Sync,
        ..LogConfig::default()
    }
}

/// Why the controller did not carry out a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlFailure {
    /// The metadata log cannot be written.
    Storage,
    /// Its records are more than the metadata log takes in one batch. Nothing was written.
    TooLarge,
}

/// Why the controller does not start.
#[derive(Debug)]
pub enum DriverError {
    Read(ReadLogError),
    /// The log was written by a version that knows more.
    Unsupported {
        feature: String,
        level: i16,
    },
    Append(ControlFailure),
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Unsupported { feature, level } => {
                write!(
                    f,
                    "the folder needs {feature} at level {level}, which this version does not have"
                )
            }
            Self::Append(ControlFailure::Storage) => {
                f.write_str("the metadata log cannot be written")
            }
            Self::Append(ControlFailure::TooLarge) => {
                f.write_str("what a start says in the metadata log is more than a journal takes")
            }
        }
    }
}

impl std::error::Error for DriverError {}

/// The one controller.
pub struct Driver {
    shard: Shard,
    policy: Policy,
    file: Overrides,
    replayer: RefCell<Replayer>,
    /// For partitions that are not there yet; not kept over a restart, as in Kafka.
    preferred: RefCell<PreferredDirectories>,
    epoch: i32,
    turn: Turn,
    /// Of the last batch.
    last_timestamp_ms: Cell<i64>,
    snapshots: Snapshots,
    /// The node is not in service yet: it waits for what a client would be told to try again.
    is_starting: Cell<bool>,
}

impl Driver {
    /// Reads the metadata log, which lies in `dir`, begins a new epoch of it, and puts this node into
    /// service, with the `registration` that fits what the log says. The log grows until somebody runs
    /// [`Driver::keep_small`].
    pub async fn start(
        shard: Shard,
        dir: &Path,
        cluster_id: &str,
        policy: Policy,
        file: Overrides,
        snapshots: SnapshotSettings,
        registration: impl FnOnce(&Image) -> NodeStart,
    ) -> Result<Self, DriverError> {
        let read = read_log(&shard, dir, Image::empty(cluster_id))
            .await
            .map_err(DriverError::Read)?;
        let snapshots = Snapshots::new(dir, snapshots, &read, shard.io().now());
        let replayer = read.replayer;
        if let Some((feature, level)) = first_unsupported(replayer.image()) {
            let feature = feature.to_owned();
            return Err(DriverError::Unsupported { feature, level });
        }
        let epoch = replayer.image().last_epoch + 1;
        shard.begin_epoch(&METADATA_LOG, epoch);
        let driver = Self {
            shard,
            policy,
            file,
            replayer: RefCell::new(replayer),
            preferred: RefCell::default(),
            epoch,
            turn: Turn::default(),
            last_timestamp_ms: Cell::new(read.last_timestamp_ms.unwrap_or(-1)),
            snapshots,
            is_starting: Cell::new(true),
        };
        let node_id = driver.policy.node_id;
        let leads = |place| encode_leader_change(node_id, &[node_id], place);
        driver.commit(leads).await.map_err(DriverError::Append)?;
        let decision = {
            let replayer = driver.replayer.borrow();
            let start = registration(replayer.image());
            let next_offset = replayer.image().last_offset + 1;
            let open_transaction = replayer.open_transaction().is_some();
            let decide = |context: &mut Context<'_>| {
                start_node(context, &start, next_offset, open_transaction)
            };
            driver.decide(&replayer, decide)
        };
        // In parts: what a crash between two of them leaves undone the next start does.
        let version = driver.replayer.borrow().image().metadata_version();
        for part in decision.records.chunks(START_BATCH_RECORDS) {
            let batch = |place| encode_batch(part, version, place);
            driver.commit(batch).await.map_err(DriverError::Append)?;
        }
        driver.replayer.borrow_mut().take_delta();
        driver.is_starting.set(false);
        Ok(driver)
    }

    /// A copy of the metadata as it is now.
    pub fn image(&self) -> Image {
        self.replayer.borrow().image().clone()
    }

    /// Decides, commits, publishes to all shards, and returns the reply. Whoever asked may stop
    /// waiting at any time: what has been decided is carried out all the same.
    pub async fn submit<R: 'static>(
        self: &Rc<Self>,
        decide: impl FnOnce(&mut Context<'_>) -> Decision<R> + 'static,
    ) -> Result<R, ControlFailure> {
        let (carried_out, outcome) = slot();
        let driver = Rc::clone(self);
        self.shard.io().spawn("decision", async move {
            carried_out.complete(driver.carry_out(decide).await);
        });
        outcome.await.expect("a decision comes to its end")
    }

    /// Has a partition that is not there yet be placed in this directory once it is made.
    pub fn prefer(&self, topic: String, partition: i32, directory: Uuid) {
        let replayer = self.replayer.borrow();
        let known = replayer.image().topics.by_name(&topic);
        let is_there = known.is_some_and(|topic| topic.partition(partition).is_some());
        if is_there || validate_topic_name(&topic).is_err() {
            return;
        }
        let mut preferred = self.preferred.borrow_mut();
        let has_room = preferred.len() < PREFERRED_MAX;
        if has_room || preferred.contains_key(&(topic.clone(), partition)) {
            preferred.insert((topic, partition), directory);
        }
    }

    /// What was preferred for partitions that are there now has been of use.
    fn forget_preferred(&self, delta: &Delta) {
        let mut preferred = self.preferred.borrow_mut();
        if preferred.is_empty() {
            return;
        }
        for change in delta.topics.values() {
            let Some(topic) = &change.after else { continue };
            let mut key = (topic.name.to_string(), 0);
            for (id, _) in change.changed_partitions() {
                key.1 = id;
                preferred.remove(&key);
            }
        }
    }

    async fn carry_out<R>(
        &self,
        decide: impl FnOnce(&mut Context<'_>) -> Decision<R>,
    ) -> Result<R, ControlFailure> {
        let turn = self.turn.take().await;
        let decision = self.decide(&self.replayer.borrow(), decide);
        let reply = self.append(decision).await?;
        self.publish().await;
        drop(turn);
        Ok(reply)
    }

    fn decide<R>(&self, replayer: &Replayer, decide: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let mut random_u64 = || self.shard.io().random_u64();
        decide(&mut Context {
            image: replayer.image(),
            directories: replayer.directories(),
            placed: DirectoryCounts::default(),
            preferred: &self.preferred.borrow(),
            cordoned: &Broker::of(&self.shard).cordoned_folders(),
            policy: &self.policy,
            file: &self.file,
            random_u64: &mut random_u64,
        })
    }

    async fn append<R>(&self, decision: Decision<R>) -> Result<R, ControlFailure> {
        if !decision.records.is_empty() {
            let version = self.replayer.borrow().image().metadata_version();
            self.commit(|place| encode_batch(&decision.records, version, place))
                .await?;
        }
        Ok(decision.reply)
    }

    /// Appends one batch, waits until it is durable, and replays it.
    async fn commit(
        &self,
        batch: impl FnOnce(BatchPlace) -> Vec<u8>,
    ) -> Result<(), ControlFailure> {
        let place = BatchPlace {
            base_offset: self.replayer.borrow().image().last_offset + 1,
            leader_epoch: self.epoch,
            timestamp_ms: self.shard.io().wall_ms(),
        };
        let batch = Bytes::from(batch(place));
        let mut appended = self.append_batch(&batch).await;
        while self.is_starting.get() && appended == Err(AppendError::StorageFull) {
            tracing::warn!("the disk is full: the start waits for room for the metadata log");
            self.shard.io().sleep(FULL_DISK_RETRY).await;
            appended = self.append_batch(&batch).await;
        }
        let appended = appended.map_err(|error| {
            if let AppendError::TooLarge { bytes, bytes_max } = error {
                tracing::debug!(
                    bytes,
                    bytes_max,
                    "a decision is refused: its records are too many"
                );
                return ControlFailure::TooLarge;
            }
            tracing::error!(?error, "the metadata log cannot be written");
            ControlFailure::Storage
        })?;
        assert_eq!(
            appended.base_offset, place.base_offset,
            "the controller alone writes its log"
        );
        log_codec::replay(&batch, &mut self.replayer.borrow_mut())
            .expect("the controller can replay what it wrote");
        self.last_timestamp_ms.set(place.timestamp_ms);
        self.snapshots.appended(batch.len());
        Ok(())
    }

    async fn append_batch(&self, batch: &Bytes) -> Result<Appended, AppendError> {
        let append = Append::own(METADATA_LOG, batch.clone());
        let begun = self.shard.io().now();
        let pending = self.shard.append(vec![append], begun).await;
        let result = pending.wait().await.results.pop();
        result.expect("one result for one batch")
    }

    async fn publish(&self) {
        let delta = self.replayer.borrow_mut().take_delta();
        if delta.is_empty() {
            return;
        }
        self.forget_preferred(&delta);
        if is_on(Mutation::UntoldShards) {
            return Broker::of(&self.shard).apply(&delta).await;
        }
        self.shard
            .run_on_all(move |shard| async move { Broker::of(&shard).apply(&delta).await })
            .await;
    }
}

#[cfg(test)]
mod tests;
