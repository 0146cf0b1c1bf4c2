//! From a folder to a running shard.
//!
//! Each shard reads the journal of its own number (and those of numbers that no shard has any more),
//! puts its partitions together in memory and serves; segments are settled later. The time this
//! takes depends on the journal's size and on nothing else.
//!
//! A partition whose owner has changed, because the number of cores did, is handed to the new owner
//! (`handover`) before the start has ended.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::handover::remove_adopted;
use super::producers::Producers;
use super::settle::Settling;
use super::store::Store;
use super::{Shard, ShardConfig};
use crate::io::{Io, Notify, align_down};
use crate::journal::files::Files;
use crate::journal::group::{EntryKind, be64};
use crate::journal::recovery::{Found, RecoveryError, Rot, journals_in, scan};
use crate::journal::{Journal, JournalConfig, Ticket};
use crate::log::batch::header::HEADER_BYTES;
use crate::log::config::LogConfig;
use crate::log::{Log, snapshot};
use crate::mesh::{Ends, Mesh};
use crate::partition::Partition;
use crate::route::{PartitionKey, Route, ShardId};

/// Files of a journal: enough that half of them can be in use while the rest becomes free.
const JOURNAL_FILES: usize = 8;

/// What to do when part of a journal cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RotPolicy {
    /// Do not start.
    #[default]
    Refuse,
    /// Start without what is lost.
    Continue,
}

/// Why a shard does not start.
#[derive(Debug)]
pub enum StartError {
    /// The disk says no.
    Io(PathBuf, io::Error),
    /// A journal cannot be read.
    Journal(RecoveryError),
    /// A journal has lost groups that were on stable storage.
    Damaged(Vec<Rot>),
    /// A partition that moves from one shard to another could not be written there.
    NotAdopted(PartitionKey),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Journal(error) => write!(f, "the journal cannot be read: {error}"),
            Self::Damaged(rot) => {
                for rot in rot {
                    let (path, count) = (rot.path.display(), rot.groups.end - rot.groups.start);
                    write!(
                        f,
                        "{path} is damaged at {}: {count} groups are lost; ",
                        rot.position
                    )?;
                }
                write!(
                    f,
                    "set corelog.recovery.on.rot=continue to start without them"
                )
            }
            Self::NotAdopted(key) => write!(
                f,
                "partition {} of topic {} could not be written by the core that is to have it",
                key.partition, key.topic
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// A shard that runs, and what its recovery found.
pub struct Opened {
    /// The shard.
    pub shard: Shard,
    /// Partitions with records or state.
    pub partitions: usize,
    /// Journal groups that were read.
    pub groups: u64,
}

/// A partition while its journal is read.
pub(super) struct Recovering {
    pub(super) revision: u64,
    pub(super) anchor: Ticket,
    pub(super) dir: String,
    pub(super) leader_epoch: i32,
    pub(super) log: Log,
}

/// What one journal says of partitions.
#[derive(Default)]
struct Replayed {
    partitions: FxHashMap<PartitionKey, Recovering>,
    dropped: FxHashMap<PartitionKey, String>,
}

/// What reading the journals gave.
struct Recovered {
    partitions: FxHashMap<PartitionKey, Recovering>,
    /// Partitions that were deleted, and their folders, which may still be there.
    dropped: FxHashMap<PartitionKey, String>,
    /// Copies in this shard's own journal of partitions that it does not own.
    foreign: Vec<(PartitionKey, u64)>,
    files: Files,
    carried: Ticket,
    groups: u64,
    /// Groups that cannot be read any more.
    rot: Vec<Rot>,
    /// Journals that no shard has any more.
    orphans: Vec<u32>,
}

/// Opens a shard over its part of the folder and starts its tasks.
pub async fn open(
    io: Io,
    id: ShardId,
    route: Route,
    config: ShardConfig,
    ends: Ends,
) -> Result<Opened, StartError> {
    let journal_dir = config.log_dir.join("journal");
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Io(path, error)
    };
    make_dirs(&io, &journal_dir)
        .await
        .map_err(at(&journal_dir))?;
    let recovered = read_journals(&io, id, route, &journal_dir, config.on_rot).await?;
    let (mesh, lanes) = Mesh::connect(&io, ends).await;
    let file_bytes = align_down(config.journal_bytes / JOURNAL_FILES as u64);
    let journal_config = JournalConfig {
        dir: journal_dir.clone(),
        id: id as u32,
        file_bytes,
        files_max: JOURNAL_FILES,
        memory_flush: config.memory_flush,
    };
    let journal = Journal::new(
        io.clone(),
        journal_config,
        recovered.files,
        recovered.carried,
    );
    let store = Store::new(io.clone(), config.log_dir.clone(), config.open_files_max);
    store.list_dirs().await.map_err(at(&config.log_dir))?;
    for (key, dir) in &recovered.dropped {
        let finished = store.finish_drop(key, dir).await;
        finished.map_err(at(&config.log_dir))?;
    }
    let cleaner = Cell::new(config.cleaner);
    let producer_expiration_ms = config.producer_expiration_ms;
    let settling = Settling::new(config.journal_bytes / 4, config.tail_cache_bytes);
    let shard = Shard(Rc::new(super::Inner {
        id,
        io: io.clone(),
        route,
        config,
        mesh,
        journal,
        store,
        partitions: RefCell::default(),
        acks: RefCell::default(),
        completed: Notify::new(),
        waiters: Default::default(),
        settling,
        anchors: RefCell::default(),
        reclaim: Default::default(),
        producers: Producers::new(file_bytes),
        is_disk_full: Cell::new(false),
        has_failed: Cell::new(false),
        stopping: Cell::new(false),
        producer_expiration_ms: Cell::new(producer_expiration_ms),
        cleaner,
        newest_copies: RefCell::default(),
        meetings: Cell::new(0),
        arrivals: Cell::new(0),
        arrival: Notify::new(),
        on_failure: OnceCell::new(),
        metrics: Default::default(),
        resident: OnceCell::new(),
    }));
    for (from, lane) in lanes {
        io.spawn("pump", shard.clone().pump(from, lane));
    }
    shard.start_journal();
    let groups = recovered.groups;
    shard.take_recovered(recovered.partitions).await?;
    shard.forget_copies(recovered.foreign).await?;
    // Until all have handed over, a partition that is not here may still come.
    shard.meet().await;
    shard.0.newest_copies.take();
    shard
        .finish_begun_swaps()
        .await
        .map_err(at(&shard.0.config.log_dir))?;
    shard
        .remove_journals(&recovered.orphans)
        .await
        .map_err(at(&journal_dir))?;
    shard.start_tasks();
    if !recovered.rot.is_empty() {
        // The next start shall not find the damage again.
        shard.reclaim_through(recovered.carried);
    }
    let partitions = shard.0.partitions.borrow().len();
    Ok(Opened {
        shard,
        partitions,
        groups,
    })
}

/// Makes the journal's folder and those above it, durably: files in it must not go with it.
async fn make_dirs(io: &Io, journal_dir: &Path) -> io::Result<()> {
    io.create_dir_all(journal_dir).await?;
    for dir in journal_dir.ancestors().skip(1).take(2) {
        io.sync_dir(dir).await?;
    }
    Ok(())
}

async fn read_journals(
    io: &Io,
    id: ShardId,
    route: Route,
    dir: &Path,
    on_rot: RotPolicy,
) -> Result<Recovered, StartError> {
    let is_mine = |journal_id: u32| journal_id as usize % route.shards() == id;
    let at_dir = |error| StartError::Io(dir.to_owned(), error);
    remove_adopted(io, dir, is_mine).await.map_err(at_dir)?;
    let ids = journals_in(io, dir)
        .await
        .map_err(|error| StartError::Io(dir.to_owned(), error))?;
    let mut recovered = Recovered {
        partitions: FxHashMap::default(),
        dropped: FxHashMap::default(),
        foreign: Vec::new(),
        files: Files::default(),
        carried: 0,
        groups: 0,
        rot: Vec::new(),
        orphans: Vec::new(),
    };
    recovered.files.next_group = 1;
    for journal_id in ids {
        if !is_mine(journal_id) {
            continue;
        }
        let is_own = journal_id as usize == id;
        let now_ms = io.wall_ms();
        let mut its_own = Replayed::default();
        let scanned = scan(io, dir, journal_id, |found| {
            replay(&mut its_own, &found, now_ms)
        })
        .await
        .map_err(StartError::Journal)?;
        recovered.groups += scanned.groups;
        recovered.rot.extend(scanned.rot);
        if is_own {
            recovered.files = scanned.files;
            recovered.carried = scanned.carried;
            let partitions = its_own.partitions.iter();
            let foreign = partitions.filter(|(key, _)| route.owner(key) != id);
            recovered
                .foreign
                .extend(foreign.map(|(key, found)| (*key, found.revision)));
            recovered.foreign.sort_unstable();
        } else {
            recovered.orphans.push(journal_id);
            let partitions = its_own.partitions.values_mut();
            partitions.for_each(|partition| partition.anchor = 0);
        }
        recovered.dropped.extend(its_own.dropped);
        for (key, partition) in its_own.partitions {
            merge(&mut recovered.partitions, key, partition);
        }
    }
    if !recovered.rot.is_empty() && on_rot == RotPolicy::Refuse {
        return Err(StartError::Damaged(recovered.rot));
    }
    Ok(recovered)
}

/// Keeps the copy with the higher revision.
fn merge(all: &mut FxHashMap<PartitionKey, Recovering>, key: PartitionKey, partition: Recovering) {
    match all.get(&key) {
        Some(known) if known.revision > partition.revision => {}
        _ => {
            all.insert(key, partition);
        }
    }
}

/// Applies one entry: the same code that applied it when it was new.
fn replay(all: &mut Replayed, found: &Found<'_>, now_ms: i64) -> Result<(), ()> {
    let (head, body) = (found.head, found.body);
    if head.kind == EntryKind::Checkpoint {
        let config = Rc::new(LogConfig::default());
        let snapshot = snapshot::decode(body, config).map_err(|_| ())?;
        let partition = Recovering {
            revision: head.revision,
            anchor: found.carried,
            dir: snapshot.dir,
            leader_epoch: snapshot.leader_epoch,
            log: snapshot.log,
        };
        merge(&mut all.partitions, head.key, partition);
        all.dropped.remove(&head.key);
        return Ok(());
    }
    if head.kind == EntryKind::Drop {
        let dropped = all.partitions.remove(&head.key);
        // Older versions do not say which folder it had.
        let dir = match str::from_utf8(body).map_err(|_| ())? {
            "" => dropped.map(|dropped| dropped.dir),
            dir => Some(dir.to_owned()),
        };
        all.dropped.extend(dir.map(|dir| (head.key, dir)));
        return Ok(());
    }
    // Entries of a partition without a checkpoint before them are left over from before it moved, or
    // from a file whose beginning is not needed any more.
    let Some(partition) = all.partitions.get_mut(&head.key) else {
        return Ok(());
    };
    if partition.revision != head.revision {
        return Ok(());
    }
    match head.kind {
        EntryKind::Checkpoint | EntryKind::Drop => unreachable!("handled above"),
        EntryKind::Append => {
            let (place, batch) = body.split_at_checked(16).ok_or(())?;
            let (header, records) = batch.split_first_chunk::<HEADER_BYTES>().ok_or(())?;
            let place = (be64(place, 0) as i64, be64(place, 8));
            let fits =
                partition
                    .log
                    .replay(place, header, &Bytes::copy_from_slice(records), now_ms);
            // Behind a loss a log ends where the loss began, until a checkpoint holds it all.
            return match fits || found.is_behind_rot {
                true => Ok(()),
                false => Err(()),
            };
        }
        EntryKind::LogStart => {
            let offset = body.get(..8).map(|bytes| be64(bytes, 0) as i64).ok_or(())?;
            let end = partition.log.end_offset();
            if offset > end && !found.is_behind_rot {
                return Err(());
            }
            partition.log.set_start(offset.min(end));
        }
        EntryKind::LeaderEpoch => {
            let epoch = body.get(..8).map(|bytes| be64(bytes, 0) as i32).ok_or(())?;
            partition.log.begin_epoch(epoch);
            partition.leader_epoch = partition.leader_epoch.max(epoch);
        }
        EntryKind::Moved => {
            all.partitions.remove(&head.key);
        }
    }
    Ok(())
}

impl Shard {
    fn start_journal(&self) {
        let journal = self.0.journal.clone();
        let events = Rc::new(self.clone());
        self.io().spawn(
            "journal files",
            journal.clone().prepare_files(events.clone()),
        );
        self.io().spawn("journal", journal.run(events));
        self.io().spawn("replies", self.clone().release_replies());
    }

    fn start_tasks(&self) {
        self.io().spawn("settler", self.clone().settler());
        self.io().spawn("reclaim", self.clone().reclaimer());
        self.io().spawn("retention", self.clone().retention_task());
        self.io()
            .spawn("compaction", self.clone().compaction_task());
        self.io()
            .spawn("remove files", self.clone().remove_leftovers());
        self.io()
            .spawn("old segments", self.clone().remove_all_old_segments());
    }

    /// Puts the segments in their places that compaction was about to when the last run ended.
    async fn finish_begun_swaps(&self) -> io::Result<()> {
        for key in self.partitions() {
            let Some(partition) = self.partition(&key) else {
                continue;
            };
            // The partition may itself have been deleted, and its folder be another topic's.
            if partition.state.borrow().log.is_swapping()
                && !self.0.store.is_of_another_topic(&partition).await?
            {
                let finished = self.finish_swaps(&partition).await;
                finished.map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    /// Removes segments that the last run has not come to, or of which it removed no more than the files.
    /// However many they are, the start does not wait for it.
    async fn remove_all_old_segments(self) {
        for key in self.partitions() {
            let Some(partition) = self.partition(&key) else {
                continue;
            };
            if !partition.state.borrow().log.has_old_segment() {
                continue;
            }
            // The partition may itself have been deleted, and its folder be another topic's.
            match self.0.store.is_of_another_topic(&partition).await {
                Ok(false) => self.remove_old_segments(&partition).await,
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(partition = %partition.dir, %error, "cannot remove old segments");
                }
            }
        }
    }

    pub(super) fn place_recovered(&self, key: PartitionKey, found: Recovering) {
        let anchor = found.anchor;
        let partition = Partition::new(
            key,
            &found.dir,
            found.revision,
            found.leader_epoch,
            found.log,
        );
        {
            let mut state = partition.state.borrow_mut();
            state.anchor = anchor;
            state.log.finish_old_segments();
            let now_ms = self.io().wall_ms();
            self.bound_producers(&partition, &mut state.log, 0, now_ms);
            let unsettled = state.log.unsettled_bytes();
            self.0
                .settling
                .grew(unsettled as usize, state.log.tail().backing_bytes());
        }
        if anchor > 0 {
            self.0
                .anchors
                .borrow_mut()
                .push_back((anchor, Rc::downgrade(&partition)));
        }
        self.0
            .partitions
            .borrow_mut()
            .insert(key, partition.clone());
        self.settle_if_due(&partition);
    }
}
