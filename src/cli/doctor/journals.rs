//! The journals: whether they are whole, and whether the folders of partitions are there that they name.
//!
//! They are read as a start reads them, and without the lock, so that a broker may be started meanwhile. One that was
//! writes their files anew, which looks like damage: then nothing is told of what was found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use corelog_shards::io::Io;
use corelog_shards::journal::recovery::{RecoveryError, inspect, journals_in};
use corelog_shards::runtime;
use corelog_shards::shard::{Place, Replayed, journal_dir};
use uuid::Uuid;

use crate::cli::finding::{Finding, Verdict, finding, needed};
use crate::cli::folders::look::{InUse, Looked, in_use};

/// A folder that has been used.
#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    id: Option<Uuid>,
}

/// Of folders that nobody uses; of others nothing can be told.
pub(super) fn examine(all: &[Option<Looked>]) -> Vec<Finding> {
    let used = all.iter().flatten().filter(|looked| !looked.is_new);
    let folders: Vec<Folder> = used
        .map(|looked| Folder {
            path: looked.path.clone(),
            id: looked.id(),
        })
        .collect();
    let is_free = all.iter().flatten().all(|it| it.in_use == InUse::No);
    if !is_free || folders.is_empty() {
        return Vec::new();
    }
    if let Err(error) = runtime::check_io_uring() {
        let found = format!("not looked at: {error}");
        return vec![finding("journals", found, Verdict::Unknown, "")];
    }
    let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path.clone()).collect();
    unless_started(&paths, || read(folders))
}

/// What was found, unless a broker has used the folders meanwhile.
pub(super) fn unless_started(
    folders: &[PathBuf],
    look: impl FnOnce() -> Vec<Finding>,
) -> Vec<Finding> {
    let before = changes(folders);
    let findings = look();
    let is_free = folders.iter().all(|path| in_use(path) == InUse::No);
    // One that has ended again has left its traces.
    if is_free && changes(folders) == before {
        return findings;
    }
    let found = "a broker was started while they were read: nothing can be told of them";
    vec![finding("journals", found, Verdict::Unknown, "")]
}

/// When the journals' files were changed.
fn changes(folders: &[PathBuf]) -> BTreeMap<PathBuf, SystemTime> {
    let dirs = folders.iter().map(|folder| journal_dir(folder));
    let entries = dirs.flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    let changed = entries.filter_map(|it| Some((it.path(), it.metadata().ok()?.modified().ok()?)));
    changed.collect()
}

/// Reads all journals on one core.
fn read(folders: Vec<Folder>) -> Vec<Finding> {
    let cores = runtime::cores().unwrap_or_default();
    let Some(core) = cores.first() else {
        return Vec::new();
    };
    let findings = Arc::<Mutex<Vec<Finding>>>::default();
    let found = findings.clone();
    let ran = runtime::run_shards(&[*core], move |io, _| {
        let (folders, found) = (folders.clone(), found.clone());
        async move {
            let read = read_all(&io, &folders).await;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = read;
        }
    });
    let mut findings =
        std::mem::take(&mut *findings.lock().unwrap_or_else(PoisonError::into_inner));
    findings.extend(
        ran.err()
            .map(|error| needed("journals", Err::<(), _>(error))),
    );
    findings
}

async fn read_all(io: &Io, folders: &[Folder]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut replayed = Replayed::default();
    for folder in folders {
        let dir = journal_dir(&folder.path);
        let ids = async {
            let above = io.list_dir(&folder.path).await?;
            journals_in(io, &dir, &above).await
        };
        let ids = match ids.await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                findings.push(unreadable(&dir.display().to_string(), &error, &error));
                continue;
            }
            Ok(ids) => ids,
        };
        for id in ids {
            findings.push(read_one(io, &dir, id, folder.id, &mut replayed).await);
        }
    }
    // What damaged ones name is not all there was.
    if findings.iter().all(|it| it.verdict == Verdict::Fine) {
        findings.extend(missing_dirs(&replayed, folders));
    }
    findings
}

async fn read_one(
    io: &Io,
    dir: &Path,
    id: u32,
    folder: Option<Uuid>,
    all: &mut Replayed,
) -> Finding {
    let setting = format!("journal {id} in {}", dir.display());
    // No folder has the id of one that says none.
    let place = Place {
        folder: folder.unwrap_or_default(),
        volume: 0,
        journal: None,
    };
    let (now_ms, mut replayed) = (io.wall_ms(), Replayed::default());
    let read = inspect(io, dir, id, |found| replayed.apply(place, &found, now_ms));
    let read = match read.await {
        Ok(read) => read,
        Err(RecoveryError::Io(path, error)) => {
            let found = format!("{}: {error}", path.display());
            return unreadable(&setting, &error, &found);
        }
        Err(error) => return unreadable(&setting, &std::io::ErrorKind::InvalidData.into(), &error),
    };
    replayed.note_damage(&read.rot, &read.missing);
    let lost = lost(&replayed);
    // Of the records of one journal at a time there is room.
    replayed.forget_records();
    all.merge(replayed);
    if let Some((path, error)) = read.unread_list {
        let found = format!("{}: {error}", path.display());
        return unreadable(&setting, &error, &found);
    }
    if !read.missing.is_empty() {
        let found = format!(
            "{} of its files are missing, such as {}{lost}",
            read.missing.len(),
            read.missing[0].display()
        );
        let remedy = "what may have been acknowledged in them is lost: restore them, or the folder from a copy, or \
                      start without them with corelog.recovery.on.rot=continue";
        return finding(setting, found, Verdict::Needed, remedy);
    }
    let Some(first) = read.rot.first() else {
        let found = format!("{} groups are whole", read.groups);
        return finding(setting, found, Verdict::Fine, "");
    };
    let groups: u64 = read
        .rot
        .iter()
        .map(|rot| rot.groups.end - rot.groups.start)
        .sum();
    let found = format!(
        "damaged: {groups} groups cannot be read, the first in {} at {}{lost}",
        first.path.display(),
        first.position
    );
    let remedy = "records that were acknowledged are lost: restore the folder from a copy that has them, or start \
                  without them with corelog.recovery.on.rot=continue; and check the disk (smartctl -a, dmesg)";
    finding(setting, found, Verdict::Needed, remedy)
}

/// The partitions that lack something of a damaged journal, as far as that tells. Others may have all of theirs.
fn lost(replayed: &Replayed) -> String {
    let lost = replayed.lost();
    let Some(first) = lost.first() else {
        return String::new();
    };
    let how = match first.through {
        Some(through) => format!(
            "has lost its records from offset {} to {through}",
            first.from
        ),
        None => format!("may have lost its records from offset {} on", first.from),
    };
    let (name, partitions) = (&first.partition, lost.len());
    format!("; of {partitions} partitions records are lost, or may be: {name} {how}")
}

/// What only the broker's user may read tells nothing.
fn unreadable(setting: &str, error: &std::io::Error, found: &impl ToString) -> Finding {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        let found = format!("{}: run the doctor as the broker's user", found.to_string());
        return finding(setting, found, Verdict::Unknown, "");
    }
    let remedy = "restore the file, or check the disk (smartctl -a, dmesg)";
    finding(setting, found.to_string(), Verdict::Needed, remedy)
}

/// The folders of partitions that are not there, and for which a start is refused.
fn missing_dirs(replayed: &Replayed, folders: &[Folder]) -> Option<Finding> {
    let is_gone = |path: &PathBuf| matches!(path.try_exists(), Ok(false));
    let missing: Vec<PathBuf> = replayed
        .needed_dirs()
        .into_iter()
        .filter_map(|needed| {
            // One that is not among the data folders any more takes its partitions with it.
            let folder = folders.iter().find(|it| it.id == Some(needed.folder))?;
            let path = folder.path.join(needed.dir);
            let before = needed.before.map(|before| folder.path.join(before));
            (is_gone(&path) && before.as_ref().is_none_or(is_gone)).then_some(path)
        })
        .collect();
    let first = missing.first()?;
    let found = format!("{}, such as {}", missing.len(), first.display());
    let remedy = "their records are lost: restore them from a copy, or start without with \
                  corelog.recovery.on.rot=continue, which makes them anew. Those of topics that were deleted as \
                  the last run ended are not missed";
    Some(finding(
        "folders of partitions that are missing",
        found,
        Verdict::Needed,
        remedy,
    ))
}
