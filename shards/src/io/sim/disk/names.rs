//! The directories of a simulated disk: the names as everyone sees them, and those
//! that a power loss would leave.
//!
//! Changes of names become durable when a directory they touch is synced, and with
//! them what happened before in the same directories. At a power loss a prefix of
//! the changes of each directory survives.

use std::collections::{BTreeMap, BTreeSet};

use crate::io::random::Random;
use crate::io::sim::coverage::{Coverage, Fault};

use super::content::Mood;

pub(super) type InodeId = u64;

pub(super) const ROOT: InodeId = 0;

/// The names in each directory. A directory is here even if it is empty.
type Tree = BTreeMap<InodeId, BTreeMap<String, InodeId>>;

pub(super) struct Directories {
    current: Tree,
    durable: Tree,
    /// With the number of each.
    unsynced: Vec<(u64, Change)>,
    changes: u64,
}

#[derive(Clone)]
enum Change {
    Link {
        directory: InodeId,
        name: String,
        inode: InodeId,
        is_directory: bool,
    },
    Unlink {
        directory: InodeId,
        name: String,
    },
    Rename {
        from: (InodeId, String),
        to: (InodeId, String),
    },
}

impl Change {
    fn directories(&self) -> [InodeId; 2] {
        match self {
            Change::Link { directory, .. } | Change::Unlink { directory, .. } => {
                [*directory, *directory]
            }
            Change::Rename { from, to } => [from.0, to.0],
        }
    }

    fn apply(&self, tree: &mut Tree) {
        match self {
            Change::Link {
                directory,
                name,
                inode,
                is_directory,
            } => {
                if *is_directory {
                    tree.entry(*inode).or_default();
                }
                let names = tree.entry(*directory).or_default();
                names.insert(name.clone(), *inode);
            }
            Change::Unlink { directory, name } => {
                tree.entry(*directory).or_default().remove(name);
            }
            Change::Rename { from, to } => {
                let moved = tree.entry(from.0).or_default().remove(&from.1);
                if let Some(inode) = moved {
                    tree.entry(to.0).or_default().insert(to.1.clone(), inode);
                }
            }
        }
    }
}

impl Directories {
    pub(super) fn new() -> Directories {
        let root = Tree::from([(ROOT, BTreeMap::new())]);
        Directories {
            current: root.clone(),
            durable: root,
            unsynced: Vec::new(),
            changes: 0,
        }
    }

    pub(super) fn is_directory(&self, inode: InodeId) -> bool {
        self.current.contains_key(&inode)
    }

    pub(super) fn find(&self, directory: InodeId, name: &str) -> Option<InodeId> {
        self.current.get(&directory)?.get(name).copied()
    }

    pub(super) fn list(&self, directory: InodeId) -> Option<&BTreeMap<String, InodeId>> {
        self.current.get(&directory)
    }

    pub(super) fn link(
        &mut self,
        directory: InodeId,
        name: &str,
        inode: InodeId,
        is_directory: bool,
    ) {
        self.change(Change::Link {
            directory,
            name: name.to_owned(),
            inode,
            is_directory,
        });
    }

    pub(super) fn unlink(&mut self, directory: InodeId, name: &str) {
        self.change(Change::Unlink {
            directory,
            name: name.to_owned(),
        });
    }

    pub(super) fn rename(&mut self, from: (InodeId, &str), to: (InodeId, &str)) {
        self.change(Change::Rename {
            from: (from.0, from.1.to_owned()),
            to: (to.0, to.1.to_owned()),
        });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.changes += 1;
        self.unsynced.push((self.changes, change));
    }

    /// How many changes have been made: what a sync covers that begins now.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes durable the first `covered` changes as far as they touch `directory`,
    /// and what these need.
    pub(super) fn sync(&mut self, directory: InodeId, covered: u64) {
        // Backwards: what a change needs lies before it.
        let mut needed = BTreeSet::from([directory]);
        let mut synced = BTreeSet::new();
        for (number, change) in self.unsynced.iter().rev() {
            let touched = change.directories();
            if *number <= covered && touched.iter().any(|directory| needed.contains(directory)) {
                needed.extend(touched);
                synced.insert(*number);
            }
        }
        let durable = &mut self.durable;
        self.unsynced.retain(|(number, change)| {
            let is_synced = synced.contains(number);
            if is_synced {
                change.apply(durable);
            }
            !is_synced
        });
    }

    /// The power is gone: a prefix of each directory's changes is left.
    pub(super) fn lose_power(&mut self, mood: Mood, random: &mut Random, counts: &mut Coverage) {
        let mut ended = BTreeSet::new();
        for (_, change) in std::mem::take(&mut self.unsynced) {
            let touched = change.directories();
            let is_lost = match mood {
                Mood::KeepsAll => false,
                Mood::LosesAll => true,
                Mood::TearsSectors => random.chance(0.3),
            };
            if is_lost || touched.iter().any(|directory| ended.contains(directory)) {
                ended.extend(touched);
                counts.inject(Fault::NameLost);
            } else {
                change.apply(&mut self.durable);
            }
        }
        self.current = self.durable.clone();
    }

    /// Everything that has a name, now or after a power loss. Drops the lists of
    /// directories that have neither.
    pub(super) fn reachable(&mut self) -> BTreeSet<InodeId> {
        // Something made and named since the last sync may be named after a crash.
        let mut roots = vec![ROOT];
        for (_, change) in &self.unsynced {
            if let Change::Link { inode, .. } = change {
                roots.push(*inode);
            }
        }
        let mut reachable: BTreeSet<InodeId> = roots.iter().copied().collect();
        for tree in [&self.current, &self.durable] {
            let mut open = roots.clone();
            while let Some(directory) = open.pop() {
                let Some(names) = tree.get(&directory) else {
                    continue;
                };
                for &inode in names.values() {
                    reachable.insert(inode);
                    open.push(inode);
                }
            }
        }
        for tree in [&mut self.current, &mut self.durable] {
            tree.retain(|directory, _| reachable.contains(directory));
        }
        reachable
    }

    /// Everything that has a name now.
    pub(super) fn linked(&self) -> BTreeSet<InodeId> {
        self.current
            .values()
            .flat_map(|names| names.values().copied())
            .collect()
    }
}
