//! One shard: the engine of one core.
//!
//! A [`Shard`] is the handle that everything on its core holds. It owns its partitions, its journals
//! (one for each device, see `volume`), its segment files; requests for partitions of other shards
//! travel over the mesh. The modules, in the order of the data: [`append`](self), `ack` (what
//! completes when the journal has done its part), `settle` (memory to segment files), `reclaim`
//! (journal files become free), `fetch`, `query`, `retention`, `removal` (files go),
//! `lifecycle` (partitions come and go), `recovery`, `handover`.
//!
//! Nothing here knows a wire type or an error code.

mod aborted;
mod ack;
mod append;
mod cache;
pub(crate) mod compact;
mod failure;
mod fetch;
mod folders;
mod handover;
mod hosts;
mod lifecycle;
pub mod message;
mod missing;
pub(crate) mod moves;
mod producers;
mod pump;
mod query;
mod reclaim;
mod recovery;
mod removal;
mod retention;
mod seek;
mod settle;
pub(crate) mod store;
mod throttle;
pub(crate) mod volume;

pub use append::PendingAppend;
pub use compact::{CleanerConfig, CompactionFacts, LastPass};
pub use fetch::Waiter;
pub use folders::Stray;
pub use missing::MissingFolder;
pub use moves::MoveError;
pub use query::{FutureCopy, ListedOffset, OffsetQuery, PartitionFacts};
pub use recovery::{
    Lost, NeededDir, Opened, Place, Replayed, RotPolicy, StartError, open, open_watched,
};
pub use volume::{FolderConfig, FolderFacts, journal_dir};

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::io::{Io, Notify};
use crate::mesh::Mesh;
use crate::metrics::{EngineMetrics, JournalMetrics, Metrics, RecoveryMetrics};
use crate::partition::Partition;
use crate::route::{PartitionKey, Route, ShardId};
use cache::Cache;
use fetch::Waiters;
use message::{NotHere, Reply, Request};
use store::Store;
use volume::{Folders, Volume};

/// What a shard is told when it starts.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// The folders of partitions and journals.
    pub folders: Vec<FolderConfig>,
    /// Bytes of each shard's journal on each device.
    pub journal_bytes: u64,
    /// Bytes of settled batches kept in memory for readers.
    pub tail_cache_bytes: usize,
    /// Segment files kept open.
    pub open_files_max: usize,
    /// How long an append of class `memory` may wait for its write.
    pub memory_flush: Duration,
    /// How often retention looks at the logs.
    pub retention_check: Duration,
    /// How long an idle producer is remembered.
    pub producer_expiration_ms: i64,
    /// How long the folder of a deleted partition is kept.
    pub folder_delete_delay: Duration,
    /// How logs are compacted.
    pub cleaner: CleanerConfig,
    /// What to do about a damaged journal.
    pub on_rot: RotPolicy,
}

/// The handle of one shard; cheap to clone, stays on its core.
#[derive(Clone)]
pub struct Shard(Rc<Inner>);

struct Inner {
    id: ShardId,
    io: Io,
    route: Route,
    config: ShardConfig,
    mesh: Mesh,
    folders: Folders,
    /// One for each device.
    volumes: Vec<Volume>,
    store: Store,
    partitions: RefCell<FxHashMap<PartitionKey, Rc<Partition>>>,
    /// A journal has completed something: there may be replies to send.
    completed: Notify,
    waiters: Waiters,
    cache: Cache,
    producers: producers::Producers,
    /// A required folder is offline, or all of them are, or a full disk had no room for what a stop had to write.
    has_failed: Cell<bool>,
    stopping: Cell<bool>,
    producer_expiration_ms: Cell<i64>,
    folder_delete_delay: Cell<Duration>,
    moves: moves::Moves,
    cleaner: compact::Cleaner,
    /// Highest revisions of the copies of partitions that were found at the start.
    newest_copies: RefCell<FxHashMap<PartitionKey, u64>>,
    /// Partitions that could not be opened.
    unopened: RefCell<FxHashSet<PartitionKey>>,
    /// Meetings of all shards that this one has come to, and arrivals of the others at those.
    meetings: Cell<usize>,
    arrivals: Cell<usize>,
    arrival: Notify,
    on_failure: OnceCell<Box<dyn Fn()>>,
    failures: RefCell<failure::Failures>,
    metrics: Arc<EngineMetrics>,
    recovery_metrics: Arc<RecoveryMetrics>,
    /// Of all its journals.
    journal_metrics: Arc<JournalMetrics>,
    /// What lives on this shard above the engine, for jobs that other shards send. That holds the shard, not the shard it.
    resident: OnceCell<Weak<dyn Any>>,
}

impl Shard {
    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.0.id
    }

    /// Disk, network, clock.
    pub fn io(&self) -> &Io {
        &self.0.io
    }

    /// How many shards there are.
    pub fn count(&self) -> usize {
        self.0.route.shards()
    }

    /// The shard that owns a partition.
    pub fn owner(&self, key: &PartitionKey) -> ShardId {
        self.0.route.owner(key)
    }

    /// What this shard counts; may be read by any thread.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            reactor: self.0.io.metrics(),
            journal: self.0.journal_metrics.clone(),
            engine: self.0.metrics.clone(),
            recovery: self.0.recovery_metrics.clone(),
        }
    }

    /// Whether a folder has failed that nothing goes without, or a stop found no room for all that it had to write:
    /// nothing is acknowledged any more, the process should end.
    pub fn has_failed(&self) -> bool {
        self.0.has_failed.get()
    }

    /// Whether the shard is asked to stop: it takes no more appends.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.get()
    }

    /// Calls `then` once if the shard fails, or has failed.
    pub fn on_failure(&self, then: impl Fn() + 'static) {
        if self.has_failed() {
            then();
        }
        let set = self.0.on_failure.set(Box::new(then));
        assert!(set.is_ok(), "one observer of failure");
    }

    /// Lets jobs that run on this shard find what lives here above the engine, which has to outlive them.
    pub fn set_resident(&self, resident: Weak<dyn Any>) {
        let set = self.0.resident.set(resident);
        assert!(set.is_ok(), "one resident of a shard");
    }

    /// What [`Shard::set_resident`] was given.
    pub fn resident<T: 'static>(&self) -> Rc<T> {
        let resident = self
            .0
            .resident
            .get()
            .expect("jobs come after the residents")
            .upgrade()
            .expect("residents outlive the jobs");
        resident
            .downcast()
            .unwrap_or_else(|_| panic!("another resident than was asked for"))
    }

    /// New values for settings that may change while the shard runs.
    pub fn set_times(
        &self,
        memory_flush: Duration,
        producer_expiration_ms: i64,
        folder_delete_delay: Duration,
    ) {
        for volume in &self.0.volumes {
            volume.journal.set_memory_flush(memory_flush);
        }
        self.0.producer_expiration_ms.set(producer_expiration_ms);
        self.0.folder_delete_delay.set(folder_delete_delay);
    }

    fn partition(&self, key: &PartitionKey) -> Option<Rc<Partition>> {
        self.0.partitions.borrow().get(key).cloned()
    }

    /// The partition, for those who want something of it.
    fn find(&self, key: &PartitionKey) -> Result<Rc<Partition>, NotHere> {
        let is_unopened = || self.0.unopened.borrow().contains(key);
        self.partition(key).ok_or_else(|| match is_unopened() {
            true => NotHere::Unopened,
            false => NotHere::Unknown,
        })
    }

    /// Runs `job` on another shard, or here if that is the one, and returns its result.
    pub async fn run_on<R, F>(
        &self,
        shard: ShardId,
        job: impl FnOnce(Shard) -> F + Send + 'static,
    ) -> R
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        if shard == self.id() {
            return job(self.clone()).await;
        }
        let boxed: message::Job = Box::new(move |shard| {
            let running = job(shard);
            let erased: Pin<Box<dyn Future<Output = Box<dyn Any + Send>>>> =
                Box::pin(async move { Box::new(running.await) as Box<dyn Any + Send> });
            erased
        });
        match self.ask(shard, Request::Run(boxed)).await {
            Reply::Run(result) => *result.downcast().expect("a job returns its own type"),
            _ => unreachable!("a job is answered with its result"),
        }
    }

    /// Runs `job` on the shard that owns `key`.
    pub async fn run_on_owner<R, F>(
        &self,
        key: &PartitionKey,
        job: impl FnOnce(Shard) -> F + Send + 'static,
    ) -> R
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        self.run_on(self.owner(key), job).await
    }

    /// Runs a copy of `job` on every shard; results by shard.
    pub async fn run_on_all<R, F, J>(&self, job: J) -> Vec<R>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
        J: FnOnce(Shard) -> F + Clone + Send + 'static,
    {
        let mut results = Vec::with_capacity(self.count());
        for shard in 0..self.count() {
            results.push(self.run_on(shard, job.clone()).await);
        }
        results
    }

    async fn ask(&self, shard: ShardId, request: Request) -> Reply {
        let slot = self.0.mesh.request(shard, request).await;
        slot.await
            .expect("a shard answers every request or the process ends")
    }
}

#[cfg(test)]
mod tests;
