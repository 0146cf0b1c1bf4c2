//! Where the server finds the shards, and what it may ask them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use corelog_shards::io::Inbox;
use corelog_shards::metrics::{Metrics, RecoveryMetrics};
use corelog_shards::partition::Traffic;
use corelog_shards::shard::{FolderFacts, PartitionFacts, Shard, journal_dir};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::RequestMetrics;
use super::recovery::Recovery;
use crate::broker::Broker;
use crate::budget::MemoryUse;
use crate::cluster::driver::{METADATA_LOG, SnapshotFacts};
use crate::cluster::image::Image;
use crate::coordinator::group::census::Census;
use crate::coordinator::lag::{self, Cursor, Lags};
use crate::coordinator::metrics::CoordinatorMetrics;
use crate::net::Network;
use crate::turns::Turns;

/// How long shards may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// A shard that has not looked outside for so long hangs. Without work it does so every 100 ms.
const HANGS_AFTER: Duration = Duration::from_secs(10);
/// Partitions named before the time is looked at.
const NAMED_AT_ONCE: usize = 64;

/// Where the broker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Journals are read, partitions put together.
    Recovering,
    /// Clients are served.
    Ready,
    /// What has begun is finished.
    Stopping,
    /// Something has failed that nothing goes without: nothing more is taken on, and the process ends.
    Failed,
}

/// Of one shard.
#[derive(Clone)]
pub(super) struct Counted {
    pub engine: Metrics,
    pub requests: Arc<RequestMetrics>,
    pub coordinators: Arc<CoordinatorMetrics>,
}

/// What kind of thing has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Data is damaged, or not this broker's.
    Data,
    /// A disk.
    Disk,
    Other,
}

/// Why the broker ends by itself.
#[derive(Clone, Debug)]
pub struct Failure {
    pub cause: Cause,
    pub why: String,
    /// Whether clients were never served.
    pub is_of_start: bool,
}

/// Shared by the shards and the server.
/// Begins in [`Phase::Recovering`].
#[derive(Default)]
pub struct Monitor {
    phase: AtomicU8,
    failure: OnceLock<Failure>,
    recovering: Mutex<BTreeMap<usize, Arc<RecoveryMetrics>>>,
    shards: Mutex<BTreeMap<usize, Watched>>,
    questions: Inbox<Question>,
}

/// What the server wants to know, and where the answer goes.
enum Question {
    Known(oneshot::Sender<Known>),
    Lags(Cursor, oneshot::Sender<Lags>),
}

struct Watched {
    counted: Counted,
    /// Looks outside that it had made, and when that was found to have changed.
    looks: u64,
    changed: Instant,
}

/// What shards know and do not count.
#[derive(Debug, Default)]
pub struct Known {
    pub shards: Vec<ShardState>,
    /// With the names of their topics.
    pub(super) partitions: Vec<(Arc<str>, PartitionFacts)>,
    pub(super) topics: usize,
    /// Those of `log.dirs`.
    pub(super) folders: Vec<FolderFacts>,
    /// Bytes of the journals in each folder that has some.
    pub(super) journals: Vec<(PathBuf, u64)>,
    pub(super) metadata: MetadataFacts,
}

/// Of the metadata log and its snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MetadataFacts {
    pub log_bytes: u64,
    pub start_offset: i64,
    pub end_offset: i64,
    pub epoch: i32,
    pub snapshots: SnapshotFacts,
}

#[derive(Clone, Debug, Default)]
pub struct ShardState {
    pub connections: usize,
    /// Of requests that are being read or worked on.
    pub request_memory: MemoryUse,
    /// Of large replies that clients have not taken yet.
    pub reply_memory: MemoryUse,
    /// Files that are kept open while nobody asks for anything.
    pub open_files: usize,
    pub(super) partitions: usize,
    pub(super) unsettled_bytes: u64,
    pub(super) cached_bytes: usize,
    pub(super) cached_bytes_max: usize,
    pub(super) journal_waiting_bytes: usize,
    pub(super) journal_files_free: usize,
    pub(super) coordinators: Census,
}

/// Of all partitions of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TopicFacts {
    pub partitions: usize,
    pub segments: usize,
    pub bytes: u64,
    pub traffic: Traffic,
}

/// What is in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FolderUse {
    pub partitions: usize,
    pub bytes: u64,
}

impl Known {
    /// In the order of the folders. Partitions that are being moved count where they come from, the
    /// bytes of their copies where they are.
    pub(super) fn by_folder(&self) -> Vec<FolderUse> {
        let mut uses: BTreeMap<Uuid, FolderUse> = BTreeMap::new();
        for (_, facts) in &self.partitions {
            let of_folder = uses.entry(facts.folder).or_default();
            of_folder.partitions += 1;
            of_folder.bytes += facts.bytes;
            if let Some(future) = &facts.future {
                uses.entry(future.folder).or_default().bytes += future.bytes;
            }
        }
        let folders = self.folders.iter();
        let uses = folders.map(|folder| uses.remove(&folder.id).unwrap_or_default());
        uses.collect()
    }

    pub(super) fn by_topic(&self) -> BTreeMap<&str, TopicFacts> {
        let mut topics = BTreeMap::<&str, TopicFacts>::new();
        for (name, facts) in &self.partitions {
            let topic = topics.entry(name).or_default();
            topic.partitions += 1;
            topic.segments += facts.segments;
            topic.bytes += facts.bytes;
            topic.traffic.records_in += facts.traffic.records_in;
            topic.traffic.bytes_in += facts.traffic.bytes_in;
            topic.traffic.bytes_out += facts.traffic.bytes_out;
        }
        topics
    }
}

/// For the shards.
impl Monitor {
    /// A broker that has failed stays so.
    pub fn enter(&self, phase: Phase) {
        let enter = |now| (now != Phase::Failed as u8).then_some(phase as u8);
        let order = Ordering::Relaxed;
        // An error says that it has failed.
        let _ = self.phase.fetch_update(order, order, enter);
    }

    /// The broker has failed, and why. `false` if it had before.
    pub fn fail(&self, cause: Cause, why: &str) -> bool {
        let failure = Failure {
            cause,
            why: why.to_owned(),
            is_of_start: self.phase() == Phase::Recovering,
        };
        let is_first = self.failure.set(failure).is_ok();
        self.phase.store(Phase::Failed as u8, Ordering::Relaxed);
        is_first
    }

    /// Why the broker has failed, if it has.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// What a shard tells of its start.
    pub fn watch_recovery(&self, shard: usize) -> Arc<RecoveryMetrics> {
        let progress = Arc::<RecoveryMetrics>::default();
        self.recovering().insert(shard, progress.clone());
        progress
    }

    /// How far the start has come, after so long.
    pub fn recovery(&self, elapsed: Duration) -> Recovery {
        Recovery::of(self.recovering().values().map(Arc::as_ref), elapsed)
    }

    fn recovering(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<RecoveryMetrics>>> {
        let recovering = self.recovering.lock();
        recovering.unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a shard's numbers known.
    pub fn watch(&self, broker: &Broker) {
        let counted = Counted {
            engine: broker.shard.metrics(),
            requests: broker.metrics.clone(),
            coordinators: broker.coordinators.clone(),
        };
        let watched = Watched {
            looks: counted.engine.reactor.looks.get(),
            counted,
            changed: Instant::now(),
        };
        self.shards().insert(broker.shard.id(), watched);
    }

    /// Looks no longer after a shard that has come to its end.
    pub fn forget(&self, shard: usize) {
        self.shards().remove(&shard);
    }

    /// Answers the server's questions. A task of the controller's shard.
    pub async fn answer(self: Arc<Self>, broker: Rc<Broker>) {
        loop {
            // The server may have lost its patience, now or when there is an answer.
            match self.questions.next().await {
                Question::Known(asked) if !asked.is_closed() => {
                    let _ = asked.send(find_out(&broker).await);
                }
                Question::Lags(cursor, asked) if !asked.is_closed() => {
                    let _ = asked.send(lag::read(&broker, cursor).await);
                }
                _ => {}
            }
        }
    }
}

async fn find_out(broker: &Broker) -> Known {
    let told = broker.shard.run_on_all(|shard| async move {
        let facts = shard.partition_facts().await;
        (state_of(&shard, facts.len()).await, facts)
    });
    let image = broker.image();
    let mut known = Known {
        topics: image.topics.len(),
        folders: broker.partition_folders(),
        journals: journals(&broker.shard).await,
        metadata: metadata_facts(broker),
        ..Known::default()
    };
    let mut turns = Turns::on(broker.shard.io());
    for (state, facts) in told.await {
        known.shards.push(state);
        for some in facts.chunks(NAMED_AT_ONCE) {
            let named = some.iter().filter_map(|facts| name(&image, *facts));
            known.partitions.extend(named);
            turns.step().await;
        }
    }
    known
}

async fn journals(shard: &Shard) -> Vec<(PathBuf, u64)> {
    let mut journals = Vec::new();
    for folder in shard.folders() {
        // One that has no journal has no folder for it, one that has failed may not say.
        if let Ok(files) = shard.io().list_dir(&journal_dir(&folder.path)).await
            && !files.is_empty()
        {
            let bytes = files.iter().map(|file| file.len).sum();
            journals.push((folder.path, bytes));
        }
    }
    journals
}

/// On the controller's shard.
fn metadata_facts(broker: &Broker) -> MetadataFacts {
    let log = broker.shard.facts_of(&METADATA_LOG);
    let log = log.expect("the controller has its log");
    MetadataFacts {
        log_bytes: log.bytes,
        start_offset: log.start_offset,
        end_offset: log.end_offset,
        epoch: broker.image().last_epoch,
        snapshots: broker.controller().snapshot_facts(),
    }
}

/// `None` for a topic that was deleted just now, and for the metadata log, which is none.
fn name(image: &Image, facts: PartitionFacts) -> Option<(Arc<str>, PartitionFacts)> {
    let topic = image.topics.get(facts.key.topic)?;
    Some((topic.name.clone(), facts))
}

async fn state_of(shard: &Shard, partitions: usize) -> ShardState {
    let broker = Broker::of(shard);
    let network = broker.network();
    let memory = |of: fn(&Network) -> MemoryUse| network.map_or_else(MemoryUse::default, of);
    ShardState {
        connections: network.map_or(0, |network| network.connections()),
        request_memory: memory(Network::request_memory),
        reply_memory: memory(Network::reply_memory),
        open_files: shard.open_files(),
        partitions,
        unsettled_bytes: shard.unsettled_bytes(),
        cached_bytes: shard.cached_bytes(),
        cached_bytes_max: shard.cached_bytes_max(),
        journal_waiting_bytes: shard.journal_waiting_bytes(),
        journal_files_free: shard.journal_files_free(),
        coordinators: Census::of_shard(shard).await,
    }
}

/// For the server.
impl Monitor {
    pub fn phase(&self) -> Phase {
        const RECOVERING: u8 = Phase::Recovering as u8;
        const READY: u8 = Phase::Ready as u8;
        const STOPPING: u8 = Phase::Stopping as u8;
        match self.phase.load(Ordering::Relaxed) {
            RECOVERING => Phase::Recovering,
            READY => Phase::Ready,
            STOPPING => Phase::Stopping,
            _ => Phase::Failed,
        }
    }

    pub(super) fn counted(&self) -> Vec<(usize, Counted)> {
        let shards = self.shards();
        let counted = shards.iter();
        counted
            .map(|(id, watched)| (*id, watched.counted.clone()))
            .collect()
    }

    /// Asks what the shards know, which they say once clients are served.
    pub fn ask_known(&self) -> oneshot::Receiver<Known> {
        self.put(Question::Known)
    }

    /// What the shards know, if they say so in time.
    pub(super) async fn known(&self) -> Option<Known> {
        self.ask(Question::Known).await
    }

    /// A part of the lags of groups, if the shards tell it in time.
    pub(super) async fn lags(&self, cursor: Cursor) -> Option<Lags> {
        self.ask(|to| Question::Lags(cursor, to)).await
    }

    /// What the shards say, if they do so in time. While they recover they don't.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        if self.phase() == Phase::Recovering {
            return None;
        }
        let answer = self.put(question);
        tokio::time::timeout(ANSWER_PATIENCE, answer)
            .await
            .ok()?
            .ok()
    }

    fn put<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> oneshot::Receiver<T> {
        let (asked, answer) = oneshot::channel();
        self.questions.put(question(asked));
        answer
    }

    /// The shards that hang.
    pub(super) fn hanging(&self, now: Instant) -> Vec<usize> {
        let mut hanging = Vec::new();
        for (id, watched) in self.shards().iter_mut() {
            let looks = watched.counted.engine.reactor.looks.get();
            if looks != watched.looks {
                (watched.looks, watched.changed) = (looks, now);
            } else if now.duration_since(watched.changed) > HANGS_AFTER {
                hanging.push(*id);
            }
        }
        hanging
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<usize, Watched>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use corelog_shards::io::sim::{Faults, World};

    use super::*;

    #[test]
    fn a_broker_that_has_failed_stays_so_and_keeps_its_first_reason() {
        let monitor = Monitor::default();
        monitor.enter(Phase::Ready);
        assert!(monitor.fail(Cause::Disk, "the first"));
        assert!(!monitor.fail(Cause::Other, "the second"));
        monitor.enter(Phase::Stopping);
        assert_eq!(monitor.phase(), Phase::Failed);
        let failure = monitor.failure().expect("it has failed");
        assert_eq!((failure.cause, &*failure.why), (Cause::Disk, "the first"));
        assert!(!failure.is_of_start);
    }

    #[test]
    fn a_shard_that_came_to_its_end_does_not_hang() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let broker = crate::broker::testing::broker(&io, Path::new("/data")).await;
            let monitor = Monitor::default();
            monitor.watch(&broker);
            let later = Instant::now() + 2 * HANGS_AFTER;
            monitor.hanging(Instant::now());
            assert_eq!(monitor.hanging(later), [0]);
            monitor.forget(0);
            assert!(monitor.hanging(later).is_empty());
        });
    }
}
