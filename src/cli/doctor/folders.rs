//! The data folders: whose they are, whether they can be used, and whether what they hold is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use corelog_shards::io::Io;
use corelog_shards::journal::recovery::{inspect, journals_in};
use corelog_shards::log::segment_name::{DirPurpose, PartitionDir};
use corelog_shards::runtime;
use corelog_shards::shard::journal_dir;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::cli::finding::{Finding, Verdict, finding, needed};
use crate::cli::folders::look::{Looked, check, look};
use crate::cli::host::{check_direct_io, check_room};
use crate::cluster::driver::METADATA_DIR;
use crate::cluster::snapshot::SnapshotId;
use crate::config::BrokerConfig;
use crate::serve::CLEAN_STOP;

/// Part of a disk that should be left.
const FREE_PERCENT_LOW: u64 = 10;

/// Whether a running process holds one of them, and what was found.
pub(super) fn examine(config: &BrokerConfig, shards: usize) -> (bool, Vec<Finding>) {
    let storage = &config.storage;
    let mut paths = storage.log_dirs.clone();
    let among_them = paths
        .iter()
        .position(|path| *path == storage.metadata_log_dir);
    let metadata = among_them.unwrap_or_else(|| {
        paths.push(storage.metadata_log_dir.clone());
        paths.len() - 1
    });
    let mut findings = Vec::new();
    let mut all = Vec::with_capacity(paths.len());
    for path in &paths {
        match look(path) {
            Ok(Some(looked)) => {
                findings.extend(of_one(&looked));
                all.push(Some(looked));
            }
            Ok(None) => {
                findings.push(missing(path));
                all.push(None);
            }
            Err(error) => {
                findings.push(needed(&name(path), Err::<(), _>(error)));
                all.push(None);
            }
        }
    }
    if let Err(error) = check(&paths, &all, metadata, config.node.node_id) {
        findings.push(needed("data folders together", Err::<(), _>(error)));
    }
    findings.extend(devices(&all, shards, storage.journal_bytes_per_shard));
    if let Some(looked) = &all[metadata] {
        findings.extend(metadata_log(looked));
    }
    let is_locked = all.iter().flatten().any(|looked| looked.is_locked);
    findings.extend(journals(&all, is_locked));
    (is_locked, findings)
}

fn name(path: &Path) -> String {
    format!("folder {}", path.display())
}

/// The start makes it.
fn missing(path: &Path) -> Finding {
    let setting = name(path);
    let mut above = path
        .ancestors()
        .skip(1)
        .filter(|above| !above.as_os_str().is_empty());
    let above = above.find(|above| above.exists()).unwrap_or(Path::new("."));
    let remedy =
        "create it for the user that the broker runs as, or choose another one with log.dirs";
    match may_write(above) {
        true => finding(
            setting,
            "not there yet: the first start makes it",
            Verdict::Unknown,
            "",
        ),
        false => {
            let found = format!("not there, and {} is not writable", above.display());
            finding(setting, found, Verdict::Needed, remedy)
        }
    }
}

fn may_write(path: &Path) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

fn of_one(looked: &Looked) -> Vec<Finding> {
    let path = &looked.path;
    let setting = name(path);
    if !may_write(path) {
        let remedy =
            "make it writable for the user that the broker runs as (mount -o remount,rw; chown)";
        return vec![finding(setting, "not writable", Verdict::Needed, remedy)];
    }
    let mut findings = vec![needed(
        &format!("direct I/O in {}", path.display()),
        check_direct_io(path),
    )];
    let (found, verdict) = match (looked.is_locked, looked.is_new) {
        (true, _) => ("used by a running process", Verdict::Fine),
        (false, true) => ("empty", Verdict::Fine),
        (false, false) if path.join(CLEAN_STOP).exists() => ("stopped in order", Verdict::Fine),
        (false, false) => (
            "the last run ended without a stop: the next start reads what was not settled from the journals",
            Verdict::Unknown,
        ),
    };
    findings.push(finding(setting, found, verdict, ""));
    findings.extend(set_aside(path));
    findings
}

/// Folders of partitions that the metadata did not know.
fn set_aside(path: &Path) -> Option<Finding> {
    let entries = fs::read_dir(path).ok()?;
    let is_stray =
        |name: &str| PartitionDir::parse(name).is_some_and(|dir| dir.purpose == DirPurpose::Stray);
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let strays: Vec<String> = names.filter(|name| is_stray(name)).collect();
    let first = strays.first()?;
    let setting = format!("stray partitions in {}", path.display());
    let found = format!("{}, such as {first}", strays.len());
    let remedy = "they were there, and the metadata knew no such partition: look into them with kafka-dump-log.sh, and \
                  remove them when nobody misses them";
    Some(finding(setting, found, Verdict::Advice, remedy))
}

/// The room on each device, and which folders share one.
fn devices(all: &[Option<Looked>], shards: usize, journal_bytes: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: Vec<(u64, &Path)> = Vec::new();
    for looked in all.iter().flatten() {
        if let Some((_, first)) = seen.iter().find(|(device, _)| *device == looked.device) {
            let setting = name(&looked.path);
            let found = format!(
                "on the same device as {}: they share its journals, and fail together",
                first.display()
            );
            findings.push(finding(setting, found, Verdict::Unknown, ""));
            continue;
        }
        seen.push((looked.device, &looked.path));
        let setting = format!("room in {}", looked.path.display());
        if let Err(error) = check_room(&looked.path, shards, journal_bytes) {
            findings.push(needed(&setting, Err::<(), _>(error)));
            continue;
        }
        let Ok(room) = statvfs(&looked.path) else {
            continue;
        };
        let (free, size) = (room.blocks_available(), room.blocks().max(1));
        let percent = 100 * free / size;
        let found = format!(
            "{} MiB free, {percent}%",
            (free * room.fragment_size()) >> 20
        );
        let verdict = match percent < FREE_PERCENT_LOW {
            true => Verdict::Advice,
            false => Verdict::Fine,
        };
        let remedy = "when it is full, appends are refused until there is room: shorten retention, move partitions to \
                      another folder, or enlarge it";
        findings.push(finding(setting, found, verdict, remedy));
    }
    findings
}

/// Without it nobody knows any topic.
fn metadata_log(looked: &Looked) -> Vec<Finding> {
    let dir = looked.path.join(METADATA_DIR);
    let setting = format!("metadata log {}", dir.display());
    let names: Option<Vec<String>> = fs::read_dir(&dir).ok().map(|entries| {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    });
    let Some(names) = names else {
        // It is made when the journal does not hold all of it any more; a start may have come no further.
        return match has_journal(&looked.path) || !has_partitions(&looked.path) {
            true => Vec::new(),
            false => {
                let remedy = "without it all topics are unknown: restore it, from a copy of the folder if there is one";
                vec![finding(setting, "not there", Verdict::Needed, remedy)]
            }
        };
    };
    let damaged: Vec<&String> = names
        .iter()
        .filter(|name| SnapshotId::parse_damaged(name).is_some())
        .collect();
    match damaged.first() {
        None => vec![finding(
            setting,
            format!("{} files", names.len()),
            Verdict::Fine,
            "",
        )],
        Some(first) => {
            let found = format!("a snapshot was found damaged: {first}");
            let remedy = "an older one, or the log, has taken its place: nothing is lost. The disk has damaged a file: \
                          check it (smartctl -a, dmesg)";
            vec![finding(setting, found, Verdict::Advice, remedy)]
        }
    }
}

fn has_partitions(folder: &Path) -> bool {
    let is_one = |name: &str| PartitionDir::parse(name).is_some();
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.any(|name| is_one(&name))
}

fn has_journal(folder: &Path) -> bool {
    fs::read_dir(journal_dir(folder)).is_ok_and(|mut entries| entries.next().is_some())
}

/// Reads the journals as a start does, and changes nothing.
fn journals(all: &[Option<Looked>], is_locked: bool) -> Vec<Finding> {
    let used: Vec<PathBuf> = all
        .iter()
        .flatten()
        .filter(|looked| !looked.is_new)
        .map(|looked| looked.path.clone())
        .collect();
    if is_locked || used.is_empty() || runtime::check_io_uring().is_err() {
        return Vec::new();
    }
    let findings = Arc::<Mutex<Vec<Finding>>>::default();
    let Some(core) = runtime::cores()
        .ok()
        .and_then(|cores| cores.first().copied())
    else {
        return Vec::new();
    };
    let found = findings.clone();
    let ran = runtime::run_shards(&[core], move |io, _| {
        let (used, found) = (used.clone(), found.clone());
        async move {
            for folder in &used {
                let read = read_journals(&io, folder).await;
                found
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(read);
            }
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

async fn read_journals(io: &Io, folder: &Path) -> Vec<Finding> {
    let dir = journal_dir(folder);
    let ids = match journals_in(io, &dir).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![needed(&dir.display().to_string(), Err::<(), _>(error))],
        Ok(ids) => ids,
    };
    let mut findings = Vec::new();
    for id in ids {
        let setting = format!("journal {id} in {}", dir.display());
        findings.push(match inspect(io, &dir, id).await {
            Ok(read) if !read.missing.is_empty() => {
                let found = format!(
                    "{} of its files are missing, such as {}",
                    read.missing.len(),
                    read.missing[0].display()
                );
                let remedy = "what was acknowledged in them is lost: restore them, or the folder from a copy, or start \
                              without them with corelog.recovery.on.rot=continue";
                finding(setting, found, Verdict::Needed, remedy)
            }
            Ok(read) if read.rot.is_empty() => {
                finding(setting, format!("{} groups are whole", read.groups), Verdict::Fine, "")
            }
            Ok(read) => {
                let lost: u64 = read.rot.iter().map(|rot| rot.groups.end - rot.groups.start).sum();
                let first = &read.rot[0];
                let found = format!(
                    "damaged: {lost} groups cannot be read, the first in {} at {}",
                    first.path.display(),
                    first.position
                );
                let remedy = "records that were acknowledged are lost: restore the folder from a copy that has them, or \
                              start without them with corelog.recovery.on.rot=continue; and check the disk (smartctl \
                              -a, dmesg)";
                finding(setting, found, Verdict::Needed, remedy)
            }
            Err(error) => {
                let remedy = "restore the file, or check the disk (smartctl -a, dmesg)";
                finding(setting, error.to_string(), Verdict::Needed, remedy)
            }
        });
    }
    findings
}
