//! Log folders, and the devices that they are on.
//!
//! A *folder* is what Kafka calls a log directory: partitions have their folders in it. A *volume* is what a shard has
//! for each device: one journal, in `journal/` of the first folder there, and all that is counted and ordered by its
//! tickets. A partition's appends go to the journal of its folder's volume.
//!
//! A folder that fails goes offline, and its partitions with it; the volume goes on as long as its journal can be
//! written, since that has what the partitions of its offline folders have not settled.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use uuid::Uuid;

use super::Shard;
use super::ack::Acks;
use super::reclaim::Reclaim;
use super::removal::Removals;
use super::settle::Settling;
use super::store::DiskShare;
use crate::journal::{Journal, Ticket};
use crate::partition::Partition;

/// A folder as the engine is told of it at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderConfig {
    /// Stays with the folder: Kafka's `directory.id`.
    pub id: Uuid,
    /// An absolute path.
    pub path: PathBuf,
    /// Number of the device it is on: folders of one device share a journal.
    pub device: u64,
    /// It cannot be listed, read or written: it is not touched.
    pub is_offline: bool,
    /// Without it the shard has failed.
    pub is_required: bool,
}

impl FolderConfig {
    /// The only folder.
    pub fn only(id: Uuid, path: impl Into<PathBuf>) -> Self {
        Self {
            id,
            path: path.into(),
            device: 0,
            is_offline: false,
            is_required: true,
        }
    }
}

/// A folder as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderFacts {
    /// Kafka's `directory.id`.
    pub id: Uuid,
    /// Where it is.
    pub path: PathBuf,
    /// Whether its partitions are out of reach.
    pub is_offline: bool,
}

/// A folder on one shard.
pub(crate) struct Folder {
    pub(crate) id: Uuid,
    pub(crate) path: PathBuf,
    /// Place of the volume whose journal its partitions use.
    pub(crate) volume: usize,
    pub(crate) is_offline: Cell<bool>,
    pub(super) is_required: bool,
    /// What the partitions of its device share.
    pub(crate) disk_share: Rc<DiskShare>,
    /// Folders that were there at the start, less those that were taken over from Apache Kafka or are gone. Other shards
    /// have lists of their own, so any of these may be gone or another's by now.
    pub(super) found_dirs: RefCell<BTreeSet<String>>,
}

/// The folders of one shard.
pub(super) struct Folders {
    configured: Vec<Rc<Folder>>,
    /// Folders that journals speak of and that are not configured any more.
    absent: RefCell<Vec<Rc<Folder>>>,
    /// Of each volume: the folder that has its journals.
    hosts: Vec<Rc<Folder>>,
}

impl Folders {
    /// `None` if no folder is online.
    pub(super) fn new(configs: &[FolderConfig]) -> Option<Self> {
        let online = || configs.iter().filter(|config| !config.is_offline);
        let mut devices: Vec<u64> = Vec::new();
        for config in online() {
            if !devices.contains(&config.device) {
                devices.push(config.device);
            }
        }
        let shares: Vec<Rc<DiskShare>> = devices.iter().map(|_| Rc::default()).collect();
        let folder = |config: &FolderConfig| {
            // Nothing is written to the journal of an offline folder's volume.
            let volume = devices.iter().position(|device| *device == config.device);
            let volume = volume.unwrap_or(0);
            Rc::new(Folder {
                id: config.id,
                path: config.path.clone(),
                volume,
                is_offline: Cell::new(config.is_offline),
                is_required: config.is_required,
                disk_share: shares[volume].clone(),
                found_dirs: RefCell::default(),
            })
        };
        if devices.is_empty() {
            return None;
        }
        let configured: Vec<Rc<Folder>> = configs.iter().map(folder).collect();
        let host = |volume: usize| {
            let mut online = configured.iter().filter(|folder| !folder.is_offline.get());
            online.find(|folder| folder.volume == volume).cloned()
        };
        let hosts = (0..devices.len()).map(host).collect::<Option<_>>()?;
        Some(Self {
            configured,
            absent: RefCell::default(),
            hosts,
        })
    }

    /// In the order of the configuration.
    pub(super) fn configured(&self) -> &[Rc<Folder>] {
        &self.configured
    }

    /// Those that can be used.
    pub(super) fn online(&self) -> impl Iterator<Item = &Rc<Folder>> {
        let all = self.configured.iter();
        all.filter(|folder| !folder.is_offline.get())
    }

    /// Of each volume: the folder that has its journals.
    pub(super) fn hosts(&self) -> &[Rc<Folder>] {
        &self.hosts
    }

    /// The folder of this id. One that is not configured is an offline one.
    pub(super) fn by_id(&self, id: Uuid) -> Rc<Folder> {
        let mut absent = self.absent.borrow_mut();
        let mut known = self.configured.iter().chain(absent.iter());
        if let Some(folder) = known.find(|folder| folder.id == id) {
            return folder.clone();
        }
        let folder = Rc::new(Folder {
            id,
            path: PathBuf::new(),
            volume: 0,
            is_offline: Cell::new(true),
            is_required: false,
            disk_share: self.hosts[0].disk_share.clone(),
            found_dirs: RefCell::default(),
        });
        absent.push(folder.clone());
        folder
    }
}

/// Where the journals of a folder are.
pub fn journal_dir(folder: &Path) -> PathBuf {
    folder.join("journal")
}

/// What a shard has for one device.
pub(super) struct Volume {
    pub(super) journal: Rc<Journal>,
    pub(super) acks: RefCell<Acks>,
    pub(super) settling: Settling,
    /// Partitions in the order of their newest checkpoints.
    pub(super) anchors: RefCell<VecDeque<(Ticket, Weak<Partition>)>>,
    pub(super) reclaim: Reclaim,
    pub(super) removals: Removals,
    pub(super) disk_share: Rc<DiskShare>,
    /// A write of a segment or journal file failed for want of space.
    pub(super) is_disk_full: Cell<bool>,
    /// The journal is poisoned.
    pub(super) has_failed: Cell<bool>,
}

impl Volume {
    pub(super) fn new(
        journal: Rc<Journal>,
        unsettled_bytes_max: u64,
        disk_share: Rc<DiskShare>,
    ) -> Self {
        Self {
            journal,
            acks: RefCell::default(),
            settling: Settling::new(unsettled_bytes_max),
            anchors: RefCell::default(),
            reclaim: Reclaim::default(),
            removals: Removals::default(),
            disk_share,
            is_disk_full: Cell::new(false),
            has_failed: Cell::new(false),
        }
    }

    /// Whether its journal has failed or come to its end.
    pub(super) fn acknowledges_no_more(&self) -> bool {
        self.has_failed.get() || self.journal.has_closed()
    }

    /// Whether nothing more can be taken until the disk has room.
    pub(super) fn is_out_of_room(&self) -> bool {
        self.is_disk_full.get()
            && (self.settling.is_over_budget() || self.journal.files_free() <= 1)
    }
}

impl Shard {
    /// The folders, in the order of the configuration.
    pub fn folders(&self) -> Vec<FolderFacts> {
        let folders = self.0.folders.configured().iter();
        folders
            .map(|folder| FolderFacts {
                id: folder.id,
                path: folder.path.clone(),
                is_offline: folder.is_offline.get(),
            })
            .collect()
    }

    /// Whether this is a folder of the configuration that is not out of reach.
    pub fn is_folder_online(&self, id: Uuid) -> bool {
        self.0.folders.online().any(|folder| folder.id == id)
    }

    /// The volume of a partition.
    pub(super) fn volume(&self, partition: &Partition) -> &Volume {
        &self.0.volumes[partition.volume()]
    }

    /// The volume of the device that a partition's files are on: another one while a move has switched to the new folder
    /// and not yet to that one's journal.
    pub(super) fn volume_of_files(&self, partition: &Partition) -> &Volume {
        &self.0.volumes[partition.folder().volume]
    }
}
