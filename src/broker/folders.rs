//! The data folders of this node: in which of them a partition is, and what the controller must be
//! told of them.
//!
//! The engine finds out that a folder failed, that a partition has moved, or that one lies elsewhere
//! than the metadata says. Each shard tells the controller of its partitions, and shard 0 of the
//! folders, once clients are served: before, not every shard knows the metadata. What cannot be
//! recorded is tried again; a crash in between loses nothing, since the next start finds the same.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::{Completer, slot};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::FolderFacts;
use uuid::Uuid;

use super::Broker;
use crate::cluster::controller::{
    FoundReplica, assign_replicas, cordon_directories, directories_offline,
};
use crate::cluster::driver::ControlFailure;
use crate::cluster::features::MetadataVersion;
use crate::cluster::ids::{DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED};
use crate::cluster::image::Partition;

/// Replicas that one decision records at most.
const REPLICAS_AT_ONCE: usize = 5_000;
/// Pause before another attempt to tell the controller.
const RETRY: Duration = Duration::from_millis(500);

/// Ends the process, with the reason.
pub type GiveUp = Rc<dyn Fn(&str)>;

/// What the controller has yet to be told.
#[derive(Default)]
pub(super) struct Reports(RefCell<State>);

#[derive(Default)]
struct State {
    /// Each with who waits for it to be recorded.
    found: Vec<(FoundReplica, Option<Completer<()>>)>,
    offline: Vec<Uuid>,
    is_cordon_due: bool,
    /// What ends the process; there from when on reports are made.
    give_up: Option<GiveUp>,
    is_reporting: bool,
}

impl Broker {
    /// The folders of partitions, in the order of `log.dirs`.
    pub fn partition_folders(&self) -> Vec<FolderFacts> {
        let mut folders = self.shard.folders();
        folders.retain(|folder| self.node.log_dirs.contains(&folder.id));
        folders
    }

    /// The folder that the metadata says a partition is in on this node.
    pub(super) fn recorded_folder(&self, partition: &Partition) -> Option<Uuid> {
        let node_id = self.node_id();
        let mut placed = partition.replicas.iter().zip(&partition.directories);
        placed.find(|(id, _)| **id == node_id).map(|(_, dir)| *dir)
    }

    /// Where a partition is to be opened that lies nowhere yet, as far as this shard can see. Those that
    /// the metadata leaves open go round the folders that are neither offline nor cordoned. But one that
    /// is not new may be in a folder that cannot be looked into, as long as there is one.
    pub(super) fn folder_of(
        &self,
        key: &PartitionKey,
        partition: &Partition,
        is_new: bool,
    ) -> Uuid {
        match self.recorded_folder(partition) {
            Some(DIRECTORY_MIGRATING | DIRECTORY_UNASSIGNED) | None => {}
            Some(recorded) => return recorded,
        }
        let (offline, online): (Vec<_>, Vec<_>) = self
            .partition_folders()
            .into_iter()
            .partition(|folder| folder.is_offline);
        if let Some(hidden) = offline.first().filter(|_| !is_new || online.is_empty()) {
            return hidden.id;
        }
        let cordoned = self.cordoned_folders();
        let mut open: Vec<Uuid> = online.iter().map(|folder| folder.id).collect();
        if open.iter().any(|id| !cordoned.contains(id)) {
            open.retain(|id| !cordoned.contains(id));
        }
        let turn = key.topic.as_u64_pair().1.wrapping_add(key.partition as u64);
        match open.len() as u64 {
            0 => DIRECTORY_UNASSIGNED,
            folders => open[(turn % folders) as usize],
        }
    }

    /// As Kafka, which says no more of it than this: it cannot record where partitions are.
    pub(super) fn warn_of_folders(&self) {
        let version = self.image().metadata_version();
        if self.node.log_dirs.len() > 1 && version < MetadataVersion::DIRECTORY_ASSIGNMENT {
            tracing::error!(
                metadata_version = version.0,
                "Multiple log directories (aka JBOD) are not supported in the current \
                 MetadataVersion. Need 3.7-IV2 or higher"
            );
        }
    }

    pub(super) fn is_online(&self, id: Uuid) -> bool {
        self.shard.is_folder_online(id)
    }

    /// Remembers where a partition that is not there yet is to be put.
    pub async fn prefer_folder(&self, topic: &str, partition: i32, folder: Uuid) {
        let name = topic.to_owned();
        self.shard
            .run_on(0, move |shard| async move {
                Broker::of(&shard)
                    .controller()
                    .prefer(name, partition, folder);
            })
            .await;
    }

    /// A partition is in another folder than the metadata says.
    pub(super) fn found_elsewhere(self: &Rc<Self>, key: PartitionKey, directory: Uuid) {
        self.record_directory(key, directory, None);
    }

    /// Has the controller note the folder of a partition, and tells `then` when it has.
    fn record_directory(
        self: &Rc<Self>,
        key: PartitionKey,
        directory: Uuid,
        then: Option<Completer<()>>,
    ) {
        let found = FoundReplica {
            topic_id: key.topic,
            partition: key.partition,
            directory,
        };
        self.report(|state| state.found.push((found, then)));
    }

    /// The folders that are cordoned may be others now.
    pub(super) fn cordon_changed(self: &Rc<Self>) {
        self.report(|state| state.is_cordon_due = true);
    }

    /// The folders of this node that take no new partitions.
    pub fn cordoned_folders(&self) -> Vec<Uuid> {
        self.folders_at(&self.config().storage.cordoned_log_dirs)
    }

    /// The folders at these places of `log.dirs`.
    pub(super) fn folders_at(&self, places: &[usize]) -> Vec<Uuid> {
        let folders = places.iter();
        folders
            .filter_map(|place| self.node.log_dirs.get(*place).copied())
            .collect()
    }

    /// Has the engine tell shard 0 of folders that go offline, which is the same for all shards.
    pub fn watch_folders(self: &Rc<Self>) {
        let broker = Rc::downgrade(self);
        self.shard.on_moved(move |key, folder| {
            let (completer, recorded) = slot();
            if let Some(broker) = broker.upgrade() {
                broker.record_directory(key, folder, Some(completer));
            }
            async move {
                recorded.await;
            }
        });
        if self.shard.id() == 0 {
            let broker = Rc::downgrade(self);
            self.shard.on_folder_offline(move |folder| {
                if let Some(broker) = broker.upgrade() {
                    broker.report(|state| state.offline.push(folder));
                }
            });
        }
    }

    /// From now on the controller is told of folders. `give_up` ends the process: a broker that cannot
    /// tell of a failed folder for long must not go on as if nothing had happened.
    pub fn report_folders(self: &Rc<Self>, give_up: GiveUp) {
        self.report(|state| state.give_up = Some(give_up));
    }

    fn report(self: &Rc<Self>, news: impl FnOnce(&mut State)) {
        let mut state = self.reports.0.borrow_mut();
        news(&mut state);
        let Some(give_up) = state.give_up.clone() else {
            return;
        };
        if state.is_reporting {
            return;
        }
        state.is_reporting = true;
        let broker = Rc::clone(self);
        self.shard.io().spawn("report folders", async move {
            broker.report_all(&*give_up).await;
        });
    }

    async fn report_all(&self, give_up: &dyn Fn(&str)) {
        let mut failing_since = None;
        loop {
            if self
                .partition_folders()
                .iter()
                .all(|folder| folder.is_offline)
            {
                give_up("all folders of log.dirs have failed");
                return;
            }
            let told = self.report_some().await;
            if self.shard.is_stopping() {
                return;
            }
            match told {
                Ok(true) => failing_since = None,
                Ok(false) => {
                    let mut state = self.reports.0.borrow_mut();
                    state.is_reporting = false;
                    return;
                }
                Err(ControlFailure::Storage | ControlFailure::TooLarge) => {
                    let now = self.shard.io().now();
                    let since = *failing_since.get_or_insert(now);
                    let patience = self.config().storage.log_dir_failure_timeout;
                    let is_folder_untold = !self.reports.0.borrow().offline.is_empty();
                    if is_folder_untold && now.since(since) >= patience {
                        give_up("a failed folder cannot be recorded in the metadata log");
                        return;
                    }
                    self.shard.io().sleep(RETRY).await;
                }
            }
        }
    }

    /// Tells the controller something, if there is anything. What it was not told stays to be told.
    async fn report_some(&self) -> Result<bool, ControlFailure> {
        let node_id = self.node_id();
        let offline = self.reports.0.borrow().offline.clone();
        if !offline.is_empty() {
            let told = offline.len();
            let is_all = self
                .control(move |context| directories_offline(context, node_id, &offline))
                .await?;
            if is_all {
                self.reports.0.borrow_mut().offline.drain(..told);
            }
            return Ok(true);
        }
        if self.reports.0.borrow().is_cordon_due {
            let cordoned = self.cordoned_folders();
            self.reports.0.borrow_mut().is_cordon_due = false;
            let told = self.control(move |context| cordon_directories(context, node_id, &cordoned));
            let told = told.await;
            self.reports.0.borrow_mut().is_cordon_due |= told.is_err();
            return told.map(|()| true);
        }
        let found: Vec<FoundReplica> = {
            let state = self.reports.0.borrow();
            let at_once = state.found.len().min(REPLICAS_AT_ONCE);
            let found = state.found[..at_once].iter();
            found.map(|(found, _)| *found).collect()
        };
        if found.is_empty() {
            return Ok(false);
        }
        let told = found.len();
        self.control(move |context| assign_replicas(context, node_id, &found))
            .await?;
        let told: Vec<_> = self.reports.0.borrow_mut().found.drain(..told).collect();
        for (_, then) in told {
            if let Some(then) = then {
                then.complete(());
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
