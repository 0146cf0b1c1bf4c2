//! Reading the journals of a shard: those of its own number, and those that it takes over.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::replay::{Place, Replayed};
use super::{RotPolicy, StartError, at};
use crate::io::{DirEntry, Io, Landmark};
use crate::journal::Ticket;
use crate::journal::files::Files;
use crate::journal::recovery::{RecoveryError, Rot, journals_in, scan};
use crate::metrics::RecoveryMetrics;
use crate::route::{PartitionKey, Route, ShardId};
use crate::shard::handover::{OldCopy, remove_adopted};
use crate::shard::volume::{Folder, Folders, journal_dir};

/// What reading the journals gave.
#[derive(Default)]
pub(super) struct Recovered {
    pub(super) replayed: Replayed,
    /// Copies in this shard's own journals of partitions that belong into others.
    pub(super) foreign: Vec<OldCopy>,
    /// This shard's own journals.
    pub(super) own: Vec<OwnJournal>,
    pub(super) groups: u64,
    /// Groups that cannot be read any more.
    rot: Vec<Rot>,
    /// Files that are not there any more.
    missing: Vec<PathBuf>,
    /// Lists of files that cannot be read.
    unread_lists: Vec<(PathBuf, io::Error)>,
    /// Journals that no shard has any more, and their folders.
    pub(super) orphans: Vec<(PathBuf, u32)>,
}

/// A journal that goes on.
#[derive(Default)]
pub(super) struct OwnJournal {
    pub(super) files: Files,
    pub(super) carried: Ticket,
    pub(super) has_rot: bool,
    copies: Vec<(PartitionKey, u64)>,
}

pub(super) async fn read_journals(
    io: &Io,
    id: ShardId,
    route: Route,
    folders: &Folders,
    found: &[(&Rc<Folder>, Vec<DirEntry>)],
    on_rot: RotPolicy,
    progress: &RecoveryMetrics,
) -> Result<Recovered, StartError> {
    let is_mine = |journal_id: u32| journal_id as usize % route.shards() == id;
    let mut recovered = Recovered::default();
    recovered.own.resize_with(folders.hosts().len(), || {
        let mut own = OwnJournal::default();
        own.files.next_group = 1;
        own
    });
    for (folder, entries) in found {
        let dir = journal_dir(&folder.path);
        match remove_adopted(io, &dir, is_mine).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(at(&dir))?,
        }
        let ids = journals_in(io, &dir, entries).await.map_err(at(&dir))?;
        let is_host = folders.hosts()[folder.volume].id == folder.id;
        for journal_id in ids.into_iter().filter(|id| is_mine(*id)) {
            let is_own = is_host && journal_id as usize == id;
            let place = Place {
                folder: folder.id,
                volume: folder.volume,
                journal: is_own.then_some(folder.volume),
            };
            read_journal(io, &dir, journal_id, place, &mut recovered, progress).await?;
        }
    }
    for (file, error) in recovered.unread_lists.drain(..) {
        if on_rot == RotPolicy::Refuse {
            return Err(StartError::Journal(RecoveryError::Io(file, error)));
        }
        tracing::warn!(
            file = %file.display(),
            %error,
            "the list of a journal's files cannot be read: nobody will notice if one of them is missing"
        );
    }
    for file in &recovered.missing {
        tracing::error!(
            file = %file.display(),
            "a file of the journal is missing: what may have been acknowledged in it is lost"
        );
    }
    if !recovered.missing.is_empty() && on_rot == RotPolicy::Refuse {
        return Err(StartError::Missing(recovered.missing));
    }
    if !recovered.rot.is_empty() && on_rot == RotPolicy::Refuse {
        return Err(StartError::Damaged(recovered.rot));
    }
    recovered.replayed.tell_losses();
    recovered.find_places(folders);
    recovered.find_foreign(|key| route.owner(key) == id);
    Ok(recovered)
}

async fn read_journal(
    io: &Io,
    dir: &Path,
    id: u32,
    place: Place,
    recovered: &mut Recovered,
    progress: &RecoveryMetrics,
) -> Result<(), StartError> {
    let now_ms = io.wall_ms();
    let before = progress.journal_bytes.get();
    let mut replayed = Replayed::default();
    let scanned = scan(io, dir, id, |found| {
        progress.journal_bytes.set(before + found.needed_bytes);
        progress.journal_bytes_read.set(before + found.read_bytes);
        replayed.apply(place, &found, now_ms)
    });
    let scanned = scanned.await.map_err(StartError::Journal)?;
    // Behind its last group there is nothing to read.
    let all = progress.journal_bytes.get();
    progress.journal_bytes_read.set(all);
    recovered.groups += scanned.groups;
    match place.journal {
        Some(volume) => {
            let partitions = replayed.partitions.iter();
            let copies = partitions.map(|(key, found)| (*key, found.revision));
            recovered.own[volume] = OwnJournal {
                files: scanned.files,
                carried: scanned.carried,
                has_rot: !scanned.rot.is_empty(),
                copies: copies.collect(),
            };
        }
        None => recovered.orphans.push((dir.to_owned(), id)),
    }
    replayed.note_damage(&scanned.rot, &scanned.missing);
    recovered.rot.extend(scanned.rot);
    recovered.missing.extend(scanned.missing);
    recovered.unread_lists.extend(scanned.unread_list);
    if !replayed.dropped.is_empty() {
        io.reached(Landmark::DropRecovered);
    }
    let known = &recovered.replayed.partitions;
    for _ in replayed
        .partitions
        .keys()
        .filter(|key| known.contains_key(*key))
    {
        io.reached(Landmark::OldCopyMet);
    }
    recovered.replayed.merge(replayed);
    Ok(())
}

impl Recovered {
    /// Finds out into which journals the partitions belong: into those of their folders. What is known of an offline
    /// folder's partitions stays on the device where it was found, see `hosts`.
    fn find_places(&mut self, folders: &Folders) {
        for found in self.replayed.partitions.values_mut() {
            let folder = folders.by_id(found.folder);
            if !folder.is_offline.get() {
                found.volume = folder.volume;
            }
        }
    }

    /// Notes which copies in this shard's journals are not to stay where they are.
    fn find_foreign(&mut self, is_owned: impl Fn(&PartitionKey) -> bool) {
        for (volume, own) in self.own.iter_mut().enumerate() {
            let mut copies = std::mem::take(&mut own.copies);
            copies.sort_unstable();
            copies.retain(|(key, _)| {
                let newest = &self.replayed.partitions[key];
                let is_here = newest.journal == Some(volume);
                !is_owned(key) || !is_here || newest.volume != volume
            });
            let old = copies.into_iter().map(|(key, revision)| OldCopy {
                volume,
                key,
                revision,
            });
            self.foreign.extend(old);
        }
    }
}
