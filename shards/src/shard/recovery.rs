//! From a folder to a running shard.
//!
//! Each shard reads the journals of its own number (and those of numbers that no shard has any more, and
//! those in folders that are not the first of their device any more), puts its partitions together in memory and
//! serves; segments are settled later. The time this takes depends on the journal's size, and on the number of
//! partitions where the start is told to go on without what is lost: their folders are listed then.
//!
//! A partition whose owner has changed, because the number of cores did, is handed to the new owner
//! (`handover`) before the start has ended.

mod journals;
mod losses;
mod replay;

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::ack::VolumeEvents;
use super::cache::Cache;
use super::compact::{Cleaner, CompactError};
use super::hosts::{Hosts, add_hosts, keep_hosts, look_for_hosts};
use super::producers::Producers;
use super::store::Store;
use super::volume::{FolderConfig, Folders, Volume, journal_dir};
use super::{Shard, ShardConfig, missing};
use crate::io::{Io, Landmark, Notify, align_down};
use crate::journal::files::write_list;
use crate::journal::recovery::{RecoveryError, Rot};
use crate::journal::{Journal, JournalConfig, Ticket};
use crate::log::snapshot::UnfinishedMove;
use crate::mesh::{Ends, Mesh};
use crate::metrics::RecoveryMetrics;
use crate::partition::Partition;
use crate::route::{PartitionKey, Route, ShardId};
use journals::read_journals;
pub use losses::Lost;
pub(super) use losses::Seen;
pub use replay::{NeededDir, Place, Replayed};
pub(super) use replay::{Recovering, needs_dir};

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
    /// A journal has lost files.
    Missing(Vec<PathBuf>),
    /// What a start has to write of a partition could not be written to the journal of its core.
    NotWritten(PartitionKey),
    /// None of the folders can be used, or one cannot without which nothing goes.
    NoFolder,
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
            Self::Missing(files) => {
                for file in files {
                    write!(
                        f,
                        "{} is missing, with what may have been acknowledged in it; ",
                        file.display()
                    )?;
                }
                write!(
                    f,
                    "restore it, or set corelog.recovery.on.rot=continue to start without"
                )
            }
            Self::NotWritten(key) => write!(
                f,
                "partition {} of topic {} could not be written to the journal of its core",
                key.partition, key.topic
            ),
            Self::NoFolder => f.write_str("none of the log folders can be used that are needed"),
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

/// Opens a shard over its part of the folders and starts its tasks.
pub async fn open(
    io: Io,
    id: ShardId,
    route: Route,
    config: ShardConfig,
    ends: Ends,
) -> Result<Opened, StartError> {
    open_watched(io, id, route, config, ends, Arc::default()).await
}

/// As [`open`], and tells in `progress` how far it has come.
pub async fn open_watched(
    io: Io,
    id: ShardId,
    route: Route,
    mut config: ShardConfig,
    ends: Ends,
    progress: Arc<RecoveryMetrics>,
) -> Result<Opened, StartError> {
    let begin = io.now();
    let hosts = look_for_hosts(&io, &mut config.folders).await?;
    let is_missing = |folder: &FolderConfig| folder.is_required && folder.is_offline;
    if config.folders.iter().any(is_missing) {
        return Err(StartError::NoFolder);
    }
    let folders = Folders::new(&config.folders).ok_or(StartError::NoFolder)?;
    let mut found = Vec::new();
    for folder in folders.online() {
        let path = &folder.path;
        make_dir(&io, path).await.map_err(at(path))?;
        let entries = io.list_dir(path).await.map_err(at(path))?;
        found.push((folder, entries));
    }
    let reading = read_journals(&io, id, route, &folders, &found, config.on_rot, &progress);
    let mut recovered = reading.await?;
    // Not before: what is missing shall find its place free when it is brought back.
    for host in folders.hosts() {
        let dir = journal_dir(&host.path);
        make_dir(&io, &dir).await.map_err(at(&dir))?;
    }
    let took = io.now().since(begin).as_nanos();
    let took = u64::try_from(took).unwrap_or(u64::MAX);
    progress.journal_nanos.set(took.max(1));
    let (mesh, lanes) = Mesh::connect(&io, ends).await;
    let store = Store::new(io.clone(), config.open_files_max);
    for (folder, entries) in found {
        store.found(folder, entries);
        for (key, dir) in &recovered.replayed.dropped {
            let finished = store.finish_drop(folder, key, dir).await;
            finished.map_err(at(&folder.path))?;
        }
    }
    let journal_metrics = Arc::default();
    let mut own = std::mem::take(&mut recovered.own);
    for (host, own) in folders.hosts().iter().zip(&mut own) {
        // What is missing was said to be. Older versions list nothing.
        let dir = journal_dir(&host.path);
        if own.files.is_list_due {
            match write_list(&io, &dir, id as u32, &own.files.listed).await {
                Ok(()) => own.files.is_list_due = false,
                // It is written with the next file that is prepared. On a full disk the start goes on.
                Err(error) => {
                    tracing::warn!(journal = id, %error, "cannot list the files of a journal");
                }
            }
        }
    }
    let rotten: Vec<(usize, Ticket)> = own
        .iter()
        .enumerate()
        .filter(|(_, journal)| journal.has_rot)
        .map(|(volume, journal)| (volume, journal.carried))
        .collect();
    let journal_file_bytes = align_down(config.journal_bytes / JOURNAL_FILES as u64);
    let volumes = folders.hosts().iter().zip(own).map(|(host, own)| {
        let journal_config = JournalConfig {
            dir: journal_dir(&host.path),
            id: id as u32,
            file_bytes: journal_file_bytes,
            files_max: JOURNAL_FILES,
            memory_flush: config.memory_flush,
        };
        let found = (own.files, own.carried);
        let metrics = Arc::clone(&journal_metrics);
        let journal = Journal::new(io.clone(), journal_config, found, metrics);
        Volume::new(journal, config.journal_bytes / 4, host.disk_share.clone())
    });
    let volumes = volumes.collect();
    let cleaner = Cleaner::new(config.cleaner);
    let producer_expiration_ms = config.producer_expiration_ms;
    let folder_delete_delay = config.folder_delete_delay;
    let cache = Cache::new(config.tail_cache_bytes);
    let shard = Shard(Rc::new(super::Inner {
        id,
        io: io.clone(),
        route,
        config,
        mesh,
        folders,
        volumes,
        store,
        partitions: RefCell::default(),
        completed: Notify::new(),
        waiters: Default::default(),
        cache,
        producers: Producers::new(journal_file_bytes),
        has_failed: Cell::new(false),
        stopping: Cell::new(false),
        producer_expiration_ms: Cell::new(producer_expiration_ms),
        folder_delete_delay: Cell::new(folder_delete_delay),
        moves: Default::default(),
        cleaner,
        newest_copies: RefCell::default(),
        unopened: RefCell::default(),
        meetings: Cell::new(0),
        arrivals: Cell::new(0),
        arrival: Notify::new(),
        on_failure: OnceCell::new(),
        failures: RefCell::default(),
        metrics: Default::default(),
        recovery_metrics: progress,
        journal_metrics,
        resident: OnceCell::new(),
    }));
    for (from, lane) in lanes {
        io.spawn("pump", shard.clone().pump(from, lane));
    }
    if id == 0 {
        shard.name_hosts(&hosts, add_hosts).await?;
    }
    shard.start_journals();
    shard.take_recovered(recovered.replayed.partitions).await?;
    shard.forget_copies(recovered.foreign).await?;
    // Until all have handed over, a partition that is not here may still come.
    shard.meet().await;
    shard.0.newest_copies.take();
    shard.finish_begun_moves().await;
    shard.finish_begun_swaps().await;
    if shard.0.config.on_rot == RotPolicy::Continue {
        shard.give_up_removed_segments().await?;
    }
    shard.remove_journals(&recovered.orphans).await?;
    // Until all have taken over what was in other places, folders depend on those.
    shard.meet().await;
    if id == 0 && !shard.knows_of_offline_folders().await {
        shard.name_hosts(&hosts, keep_hosts).await?;
    }
    shard.start_tasks();
    for (volume, carried) in rotten {
        // The next start shall not find the damage again.
        shard.0.volumes[volume].reclaim.through(carried);
    }
    let partitions = shard.0.partitions.borrow().len();
    Ok(Opened {
        shard,
        partitions,
        groups: recovered.groups,
    })
}

/// An error of the disk there.
fn at(path: &Path) -> impl FnOnce(io::Error) -> StartError + use<> {
    let path = path.to_owned();
    move |error| StartError::Io(path, error)
}

/// Makes a folder and those above it, durably as far as the name of the folder itself goes: files in it must not go with
/// it.
async fn make_dir(io: &Io, dir: &Path) -> io::Result<()> {
    io.create_dir_all(dir).await?;
    match dir.parent() {
        Some(parent) => io.sync_dir(parent).await,
        None => Ok(()),
    }
}

impl Shard {
    /// Has the folders name those on whose journals they depend.
    async fn name_hosts(
        &self,
        hosts: &Hosts,
        name: impl AsyncFn(&Io, &Folders, &Hosts) -> io::Result<()>,
    ) -> Result<(), StartError> {
        let named = name(self.io(), &self.0.folders, hosts).await;
        named.map_err(at(&self.0.folders.hosts()[0].path))
    }

    /// Whether the journals of some shard have partitions of folders that are offline.
    async fn knows_of_offline_folders(&self) -> bool {
        let knows = |shard: Shard| async move {
            let partitions = shard.0.partitions.borrow();
            let is_held = |partition: &Rc<Partition>| {
                partition.is_offline() && partition.state.borrow().anchor > 0
            };
            partitions.values().any(is_held)
        };
        self.run_on_all(knows).await.contains(&true)
    }

    fn start_journals(&self) {
        for (volume, its) in self.0.volumes.iter().enumerate() {
            let shard = self.clone();
            let events = Rc::new(VolumeEvents { shard, volume });
            let preparing = its.journal.clone().prepare_files(events.clone());
            self.io().spawn("journal files", preparing);
            self.io().spawn("journal", its.journal.clone().run(events));
        }
        self.io().spawn("replies", self.clone().release_replies());
    }

    fn start_tasks(&self) {
        for volume in 0..self.0.volumes.len() {
            self.io().spawn("settler", self.clone().settler(volume));
            self.io().spawn("reclaim", self.clone().reclaimer(volume));
            self.io()
                .spawn("remove files", self.clone().remover(volume));
        }
        self.io().spawn("retention", self.clone().retention_task());
        self.io()
            .spawn("compaction", self.clone().compaction_task());
        self.io()
            .spawn("leftovers", self.clone().remove_leftovers());
    }

    /// Gives the folders of partitions their names that had just moved to other log folders when the last run ended.
    async fn finish_begun_moves(&self) {
        for key in self.partitions() {
            let Some(partition) = self.partition(&key) else {
                continue;
            };
            let is_finished = *partition.unfinished_move.borrow() == UnfinishedMove::default();
            // What a lost one has left elsewhere may be all there is of it.
            let is_there = !partition.is_offline() && !partition.has_lost_dir.get();
            if !is_finished && is_there {
                self.io().reached(Landmark::MoveFinishedAtStart);
                // Its checkpoint says until the next start what is left to do.
                if let Err(error) = self.finish_move(&partition).await {
                    self.segment_failed(&partition, &error);
                }
            }
        }
    }

    /// Puts the segments in their places that compaction was about to when the last run ended. Where the disk has no room,
    /// that is done later: until then they are found under the names that they have.
    async fn finish_begun_swaps(&self) {
        for key in self.partitions() {
            let Some(partition) = self.partition(&key) else {
                continue;
            };
            if partition.is_offline() || !partition.state.borrow().log.is_swapping() {
                continue;
            }
            self.io().reached(Landmark::SwapFinishedAtStart);
            let finished = match self.0.store.is_of_another_topic(&partition).await {
                // The partition may itself have been deleted, and its folder be another topic's.
                Ok(true) => continue,
                Ok(false) => self.finish_swaps(&partition).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = finished {
                tracing::warn!(partition = %partition.dir, %error, "cannot finish what compaction has begun");
                if let CompactError::Io(error) = error {
                    self.segment_failed(&partition, &error);
                }
            }
        }
    }

    pub(super) fn place_recovered(&self, key: PartitionKey, found: Recovering) {
        let anchor = found.anchor;
        let folder = self.0.folders.by_id(found.folder);
        let partition = Partition::new(
            key,
            (folder, &found.dir),
            found.revision,
            found.leader_epoch,
            found.log,
        );
        partition.set_volume(found.volume);
        *partition.unfinished_move.borrow_mut() = found.unfinished_move;
        missing::look_for_dir(&partition);
        {
            let mut state = partition.state.borrow_mut();
            state.anchor = anchor;
            let now_ms = self.io().wall_ms();
            state.log.finish_old_segments(now_ms);
            self.bound_producers(&partition, &mut state.log, 0, now_ms);
            self.0.cache.grew(state.log.tail().backing_bytes());
            if !partition.is_offline() {
                let settling = &self.volume(&partition).settling;
                settling.grew(state.log.unsettled_bytes());
            }
        }
        if anchor > 0 {
            let anchor = (anchor, Rc::downgrade(&partition));
            let anchors = &self.volume(&partition).anchors;
            anchors.borrow_mut().push_back(anchor);
        }
        self.0
            .partitions
            .borrow_mut()
            .insert(key, partition.clone());
        self.settle_if_due(&partition);
    }
}
