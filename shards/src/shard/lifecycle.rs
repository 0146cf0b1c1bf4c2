//! Partitions come and go and their settings change; the shard stops.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use uuid::Uuid;

use super::Shard;
use super::message::ReadError;
use super::settle::Reach;
use crate::io::futures::join_all;
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline};
use crate::log::Log;
use crate::log::config::LogConfig;
use crate::mutation::{Mutation, is_on};
use crate::partition::Partition;
use crate::route::PartitionKey;

/// Partitions whose ends are written at the same time when a shard stops.
const FINISHED_AT_ONCE: usize = 16;
/// Partitions that end at the same time when a topic is deleted: their entries share a write to the journal.
const DROPPED_AT_ONCE: usize = 64;

impl Shard {
    /// Makes a partition known to this shard, which owns it: the one that recovery found, one whose
    /// segments lie in a folder already, or an empty one in `folder`. Returns the folder where it is. In
    /// one that is offline, or unknown, it is out of reach like all that are there.
    pub async fn open_partition(
        &self,
        key: PartitionKey,
        dir: &str,
        folder: Uuid,
        leader_epoch: i32,
        config: LogConfig,
    ) -> Result<Uuid, ReadError> {
        assert_eq!(
            self.owner(&key),
            self.id(),
            "a partition is opened by its owner"
        );
        let place = (dir, folder);
        let opened = self.open_or_import(key, place, leader_epoch, config).await;
        let mut unopened = self.0.unopened.borrow_mut();
        match opened {
            Ok(_) => unopened.remove(&key),
            Err(_) => unopened.insert(key),
        };
        opened
    }

    async fn open_or_import(
        &self,
        key: PartitionKey,
        (dir, folder): (&str, Uuid),
        leader_epoch: i32,
        config: LogConfig,
    ) -> Result<Uuid, ReadError> {
        let config = Rc::new(config);
        if let Some(partition) = self.partition(&key) {
            if !partition.is_opened.get() {
                self.0.store.look_for_begun_segment(&partition).await;
            }
            partition.is_opened.set(true);
            partition.state.borrow_mut().log.config = config;
            self.lead(&partition, leader_epoch);
            if partition.has_foreign_dir.replace(false) {
                self.settle_if_due(&partition);
            }
            return Ok(partition.folder().id);
        }
        let wanted = self.0.folders.by_id(folder);
        let (folder, log) = match self.import(&key, dir, &wanted, &config).await? {
            Some(imported) => imported,
            None => (wanted, Log::new(config)),
        };
        let id = folder.id;
        let partition = Partition::new(key, (folder, dir), 1, leader_epoch, log);
        partition.is_opened.set(true);
        let is_imported = {
            let log = &mut partition.state.borrow_mut().log;
            self.bound_producers(&partition, log, 0, self.io().wall_ms());
            log.end_offset() > 0
        };
        self.0
            .partitions
            .borrow_mut()
            .insert(key, partition.clone());
        if is_imported {
            partition.has_dir.set(true);
            self.checkpoint(&partition);
            if !self.anchor_synced(&partition).await {
                return Err(ReadError::Storage);
            }
        }
        partition.state.borrow_mut().log.begin_epoch(leader_epoch);
        Ok(id)
    }

    /// Begins a leader epoch of a partition of this shard, which batches carry from now on.
    pub fn begin_epoch(&self, key: &PartitionKey, leader_epoch: i32) {
        if let Some(partition) = self.partition(key) {
            self.lead(&partition, leader_epoch);
        }
    }

    /// Does nothing if this or a later one has begun.
    fn lead(&self, partition: &Rc<Partition>, leader_epoch: i32) {
        let is_known = leader_epoch <= partition.leader_epoch.get();
        if is_known || is_on(Mutation::ForgetLeaderEpoch) {
            return;
        }
        partition.leader_epoch.set(leader_epoch);
        let mut state = partition.state.borrow_mut();
        state.log.begin_epoch(leader_epoch);
        if state.anchor > 0 && !partition.is_offline() {
            self.volume(partition).journal.append(Entry {
                head: EntryHead {
                    kind: EntryKind::LeaderEpoch,
                    key: partition.key,
                    revision: partition.revision.get(),
                },
                inline: Inline::pair(leader_epoch as u64, 0),
                body: Body::Empty,
                durability: Durability::Written,
                queued: self.io().now(),
            });
        }
    }

    /// Marks partitions as gone, lets go of their memory and tells those who wait for them; does nothing for those that are
    /// gone already.
    pub(super) fn end_partitions(&self, partitions: &[Rc<Partition>]) {
        let mut unsettled = vec![0; self.0.volumes.len()];
        let mut cached = 0;
        for partition in partitions {
            let mut state = partition.state.borrow_mut();
            if std::mem::replace(&mut state.is_dropped, true) {
                continue;
            }
            if !partition.is_offline() {
                unsettled[partition.volume()] += state.log.unsettled_bytes();
            }
            cached += state.log.tail().backing_bytes();
            self.0.producers.forgot(state.log.producers().len());
            let watches = state.take_watches();
            drop(state);
            for watch in watches {
                self.wake(watch);
            }
        }
        for (volume, unsettled) in self.0.volumes.iter().zip(unsettled) {
            volume.settling.forgot_ended(unsettled);
        }
        self.0.cache.forgot_ended(cached);
    }

    /// Ends partitions of this shard: from now on they are unknown. Once this returns, the names of their folders are free
    /// for other topics, and their files go after the delay of the broker; if the shard has failed meanwhile, they stay
    /// where they are. Some at a time.
    pub async fn drop_partitions(&self, keys: &[PartitionKey]) {
        for some in keys.chunks(DROPPED_AT_ONCE) {
            for key in some {
                self.0.unopened.borrow_mut().remove(key);
            }
            let ended: Vec<Rc<Partition>> = {
                let mut partitions = self.0.partitions.borrow_mut();
                some.iter()
                    .filter_map(|key| partitions.remove(key))
                    .collect()
            };
            self.end_partitions(&ended);
            join_all(ended.iter().map(|partition| self.leave_ended(partition))).await;
        }
    }

    /// Has the journal and the folder of an ended partition go.
    async fn leave_ended(&self, partition: &Rc<Partition>) {
        let has_journal = partition.state.borrow().anchor > 0;
        let volume = self.volume(partition);
        if has_journal && !volume.acknowledges_no_more() {
            let ticket = volume.journal.append(Entry {
                head: EntryHead {
                    kind: EntryKind::Drop,
                    key: partition.key,
                    revision: partition.revision.get(),
                },
                inline: Inline::default(),
                // A crash may come before it goes, and the checkpoint that names it go before.
                body: Body::One(Bytes::copy_from_slice(partition.dir.as_bytes())),
                durability: Durability::Sync,
                queued: self.io().now(),
            });
            // What a crash brings back must have its folder. Only when the journal waits for room, the
            // folder goes first, because that makes room.
            if !volume.is_out_of_room() && !self.synced(volume, ticket).await {
                return;
            }
        }
        let turn = partition.settling.take().await;
        if partition.is_offline() {
            return;
        }
        let renamed = self
            .0
            .store
            .set_aside(
                partition,
                Uuid::from_u64_pair(self.io().random_u64(), self.io().random_u64()),
            )
            .await;
        drop(turn);
        match renamed {
            Ok(Some(dir)) => self.give_up_folder(&partition.folder(), dir),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(partition = %partition.dir, %error, "cannot remove a partition's folder")
            }
        }
    }

    /// New settings for a partition, from its next batch on.
    pub fn set_config(&self, key: &PartitionKey, config: LogConfig) {
        if let Some(partition) = self.partition(key) {
            partition.state.borrow_mut().log.config = Rc::new(config);
        }
    }

    /// Begins a segment of a partition with its next record, unless the active one is empty: what is in that one can go
    /// as a whole.
    pub fn roll(&self, key: &PartitionKey) {
        if let Some(partition) = self.partition(key) {
            let mut state = partition.state.borrow_mut();
            let end = state.log.end_offset();
            state.log.roll_at(end, self.io().wall_ms());
        }
    }

    /// The partitions of this shard, in order.
    pub fn partitions(&self) -> Vec<PartitionKey> {
        let mut keys: Vec<PartitionKey> = self.0.partitions.borrow().keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Stops: what is under way is finished, the journal is closed, and segment files get their last
    /// bytes and their exact lengths, for those who read them with other tools. On a full disk, what
    /// waits for room fails instead, and so does the shard.
    pub async fn stop(&self) {
        if self.0.stopping.replace(true) {
            return;
        }
        for volume in &self.0.volumes {
            volume.settling.wake();
            volume.journal.close();
        }
        for volume in &self.0.volumes {
            volume.journal.ended().await;
            volume.reclaim.wake();
        }
        self.moves_ended().await;
        if !self.has_failed() {
            self.0.store.stop();
            self.finish_files().await;
        }
        for volume in &self.0.volumes {
            volume.removals.ended().await;
        }
    }

    async fn finish_files(&self) {
        let mut partitions: Vec<Rc<Partition>> =
            self.0.partitions.borrow().values().cloned().collect();
        partitions.retain(|partition| partition.has_files());
        partitions.sort_unstable_by_key(|partition| partition.key);
        let mut rest = partitions.into_iter();
        loop {
            let mut tasks = Vec::with_capacity(FINISHED_AT_ONCE);
            for partition in rest.by_ref().take(FINISHED_AT_ONCE) {
                let shard = self.clone();
                tasks.push(self.io().spawn("finish", async move {
                    if let Err(error) = shard.finish_partition(&partition).await {
                        tracing::warn!(partition = %partition.dir, %error, "cannot write the end of a segment; the journal has it");
                    }
                }));
            }
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                task.await;
            }
        }
    }

    async fn finish_partition(&self, partition: &Rc<Partition>) -> io::Result<()> {
        let turn = partition.settling.take().await;
        let finished = async {
            self.settle(partition, Reach::Cut).await?;
            let active = {
                let state = partition.state.borrow();
                let active = state
                    .log
                    .segments()
                    .last()
                    .filter(|active| active.bytes > 0);
                active.map(|active| active.base_offset)
            };
            match active {
                Some(base) => self.0.store.write_indexes(partition, base).await,
                None => Ok(()),
            }
        };
        let finished = finished.await;
        drop(turn);
        finished
    }
}
