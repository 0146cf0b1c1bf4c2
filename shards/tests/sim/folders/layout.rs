//! Which folders a run has, on which devices, and in which order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use corelog_shards::io::sim::{NodeId, World};
use corelog_shards::shard::FolderConfig;
use uuid::Uuid;

use super::topics::Topics;

/// Most folders that a world has.
pub const FOLDERS_MAX: usize = 4;
/// Where the folders are that a run is without.
const AWAY: &str = "/away";

/// What Kafka calls the `directory.id` of a folder.
pub fn id_of(folder: usize) -> Uuid {
    Uuid::from_u128(1 + folder as u128)
}

/// The folder that has this id.
pub fn folder_of(id: Uuid) -> usize {
    id.as_u128() as usize - 1
}

pub fn path_of(folder: usize) -> PathBuf {
    PathBuf::from(format!("/folder{folder}"))
}

/// How a folder is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is not in the configuration.
    NotConfigured,
    /// It is there, and cannot be used.
    Offline,
    /// It cannot even be read, so that nobody knows its id.
    Unreadable,
}

/// A folder in the configuration of a run.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub folder: usize,
    pub device: u64,
    pub missing: Option<Missing>,
}

/// The folders of a run, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub placed: Vec<Placed>,
    /// The folder without which nothing goes.
    pub required: Option<usize>,
}

impl Layout {
    /// So many folders in order, on some of three devices.
    pub fn draw(world: &mut World) -> Self {
        let folders = 2 + world.random_below(FOLDERS_MAX as u64 - 1) as usize;
        let devices = 1 + world.random_below(3);
        let mut placed = Vec::new();
        for folder in 0..folders {
            placed.push(Placed {
                folder,
                device: world.random_below(devices),
                missing: None,
            });
        }
        let required = (world.random_below(2) == 0).then_some(0);
        Self { placed, required }
    }

    /// All folders are there again; now and then they are in another order or on other devices.
    pub fn shuffle(&mut self, world: &mut World) {
        for placed in &mut self.placed {
            placed.missing = None;
        }
        if world.random_below(4) == 0 {
            for last in (1..self.placed.len()).rev() {
                let other = world.random_below(last as u64 + 1) as usize;
                self.placed.swap(last, other);
            }
        }
        if world.random_below(4) == 0 {
            let moved = world.random_below(self.placed.len() as u64) as usize;
            self.placed[moved].device = world.random_below(3);
        }
    }

    /// One folder goes to another device, or goes away if another one is there; each that is away may come back.
    pub fn drift(&mut self, world: &mut World) {
        for placed in &mut self.placed {
            if world.random_below(3) == 0 {
                placed.missing = None;
            }
        }
        let at = world.random_below(self.placed.len() as u64) as usize;
        let is_left = self
            .there()
            .any(|placed| placed.folder != self.placed[at].folder);
        match world.random_below(3) {
            0 if is_left => self.placed[at].missing = Some(Missing::Offline),
            1 => {}
            _ => self.placed[at].device = world.random_below(2),
        }
        if self.there().next().is_none() {
            self.placed[at].missing = None;
        }
    }

    /// Takes one or two folders away, but not all.
    pub fn lose_some(&mut self, world: &mut World) {
        let lost = 1 + world.random_below(self.placed.len() as u64 - 1).min(1);
        for _ in 0..lost {
            let at = world.random_below(self.placed.len() as u64) as usize;
            let is_required = self.required == Some(self.placed[at].folder);
            if is_required && world.random_below(4) > 0 {
                continue;
            }
            self.placed[at].missing = Some(match world.random_below(3) {
                0 => Missing::NotConfigured,
                1 => Missing::Offline,
                _ => Missing::Unreadable,
            });
        }
    }

    pub fn is_there(&self, folder: usize) -> bool {
        self.there().any(|placed| placed.folder == folder)
    }

    /// Folders that can be used.
    pub fn there(&self) -> impl Iterator<Item = &Placed> {
        self.placed.iter().filter(|placed| placed.missing.is_none())
    }

    pub fn is_whole(&self) -> bool {
        self.placed.iter().all(|placed| placed.missing.is_none())
    }

    /// Folders that are on the device of one that is there, itself included.
    pub fn mates(&self, folder: usize) -> BTreeSet<usize> {
        let device = self.there().find(|placed| placed.folder == folder);
        let device = device.map(|placed| placed.device);
        let mates = self.there().filter(|placed| Some(placed.device) == device);
        mates.map(|placed| placed.folder).collect()
    }

    /// What the engine is told.
    pub fn config(&self) -> Vec<FolderConfig> {
        let listed = |placed: &Placed| {
            let config = FolderConfig {
                device: placed.device,
                is_offline: placed.missing.is_some(),
                is_required: self.required == Some(placed.folder),
                ..FolderConfig::only(id_of(placed.folder), path_of(placed.folder))
            };
            match placed.missing {
                Some(Missing::NotConfigured) => None,
                Some(Missing::Unreadable) => Some(FolderConfig {
                    id: Uuid::from_u128(1_000 + placed.folder as u128),
                    device: 0,
                    ..config
                }),
                Some(Missing::Offline) | None => Some(config),
            }
        };
        self.placed.iter().filter_map(listed).collect()
    }

    /// Puts the folders that are missing where nobody finds them, and the others where they belong. Whoever has made
    /// something in the place of a missing one is found out.
    pub fn mount(&self, world: &mut World, node: NodeId) {
        let places: Vec<(PathBuf, bool)> = self
            .placed
            .iter()
            .map(|placed| (path_of(placed.folder), placed.missing.is_none()))
            .collect();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            io.create_dir_all(Path::new(AWAY)).await.expect("made");
            for (place, is_there) in places {
                let name = place.file_name().expect("a name");
                let away = Path::new(AWAY).join(name);
                let is_away = io.list_dir(&away).await.is_ok();
                let moved = match (is_away, is_there) {
                    (true, true) => io.rename(&away, &place).await,
                    (false, false) => match io.list_dir(&place).await {
                        Ok(_) => io.rename(&place, &away).await,
                        Err(_) => io.create_dir_all(&away).await,
                    },
                    _ => Ok(()),
                };
                moved.unwrap_or_else(|error| panic!("{}: {error}", place.display()));
                let is_made = io.list_dir(&place).await.is_ok();
                assert!(is_there || !is_made, "{} is not there", place.display());
            }
            let names = io.list_dir(Path::new("/")).await.expect("listed");
            let is_known = |name: &str| name == "away" || name.starts_with("folder");
            for entry in names {
                assert!(
                    is_known(&entry.name),
                    "{} does not belong there",
                    entry.name
                );
            }
            for dir in [AWAY, "/"] {
                io.sync_dir(Path::new(dir)).await.expect("synced");
            }
        });
        world.crash(node, corelog_shards::io::sim::Crash::Kill);
    }
}

/// On which folders each one depends, as far as the starts so far may have made it so.
#[derive(Default)]
pub struct Dependencies(Vec<BTreeSet<usize>>);

impl Dependencies {
    pub fn new() -> Self {
        Self(vec![BTreeSet::new(); FOLDERS_MAX])
    }

    /// Whether the engine may have to leave a folder offline.
    pub fn may_be_offline(&self, layout: &Layout, folder: usize) -> bool {
        let mut all = BTreeSet::from([folder]);
        loop {
            let further = all.iter().flat_map(|folder| &self.0[*folder]);
            let wider: BTreeSet<usize> = further.chain(&all).copied().collect();
            if wider.len() == all.len() {
                break;
            }
            all = wider;
        }
        !all.iter().all(|folder| layout.is_there(*folder))
    }

    /// A start with these folders was attempted: to its end, or maybe not. Nothing is taken back while journals may
    /// know of a folder that is offline.
    pub fn note_start(&mut self, layout: &Layout, topics: &Topics, is_complete: bool) {
        let topics = topics.borrow();
        let mut had = topics.iter().flat_map(|topic| &topic.had);
        let takes_back = is_complete && !had.any(|folder| self.may_be_offline(layout, *folder));
        let there: Vec<usize> = layout.there().map(|placed| placed.folder).collect();
        for folder in there {
            let mates = layout.mates(folder);
            if takes_back && !self.may_be_offline(layout, folder) {
                self.0[folder] = mates;
            } else {
                self.0[folder].extend(mates);
            }
        }
    }
}
