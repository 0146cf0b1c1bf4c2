//! The data folders: whose they are, whether they can be used, and whether what they hold is whole.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corelog_shards::log::checkpoint_name::SnapshotId;
use corelog_shards::log::segment_name::{DirPurpose, PartitionDir};
use corelog_shards::shard::journal_dir;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, Uid, access};

use super::journals;
use super::process::Process;
use crate::cli::FolderError;
use crate::cli::finding::{Finding, Verdict, finding, fine_if, needed};
use crate::cli::folders::look::{InUse, Looked, check, in_use, look};
use crate::cli::host::{HostError, check_direct_io, check_room};
use crate::cluster::driver::METADATA_DIR;
use crate::config::BrokerConfig;
use crate::serve::CLEAN_STOP;

/// Part of a disk that should be left.
const FREE_PERCENT_LOW: u64 = 10;

/// Those of `log.dirs`, and that of the metadata log if it is none of them; and which one that is.
fn paths(config: &BrokerConfig) -> (Vec<PathBuf>, usize) {
    let storage = &config.storage;
    let mut paths = storage.log_dirs.clone();
    let among_them = paths
        .iter()
        .position(|path| *path == storage.metadata_log_dir);
    let metadata = among_them.unwrap_or_else(|| {
        paths.push(storage.metadata_log_dir.clone());
        paths.len() - 1
    });
    (paths, metadata)
}

/// Whether a process has taken one of them.
pub(super) fn taken(config: &BrokerConfig) -> InUse {
    let (paths, _) = paths(config);
    let each: Vec<InUse> = paths.iter().map(|path| in_use(path)).collect();
    let ranked = [InUse::Yes, InUse::Unknown];
    let worst = ranked.into_iter().find(|it| each.contains(it));
    worst.unwrap_or(InUse::No)
}

/// The process that has taken one of them, if this user may know.
pub(super) fn taken_by(config: &BrokerConfig, root: &Path) -> Option<Process> {
    let (paths, _) = paths(config);
    let mut locked = paths.iter().filter(|path| in_use(path) == InUse::Yes);
    locked.find_map(|path| Process::with_lock(root, path))
}

pub(super) fn examine(config: &BrokerConfig, shards: usize) -> Vec<Finding> {
    let storage = &config.storage;
    let (paths, metadata) = paths(config);
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
                findings.push(refused(path, error));
                all.push(None);
            }
        }
    }
    if let Err(error) = check(&paths, &all, metadata, config.node.node_id) {
        findings.push(needed("data folders together", Err::<(), _>(error)));
    }
    findings.extend(devices(&all, shards, storage.journal_bytes_per_shard));
    if let Some(looked) = &all[metadata] {
        findings.extend(metadata_log(looked, &all));
    }
    findings.extend(journals::examine(&all));
    findings
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
    writable(path).is_ok()
}

fn writable(path: &Path) -> Result<(), Errno> {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK)
}

/// One that cannot be looked into.
fn refused(path: &Path, error: FolderError) -> Finding {
    if let FolderError::Io { source, .. } = &error
        && source.kind() == ErrorKind::PermissionDenied
        && let Some(owner) = other_owner(path)
    {
        return of_another(path, "not readable", &owner);
    }
    needed(&name(path), Err::<(), _>(error))
}

/// Who owns a folder, if that is not this user.
fn other_owner(path: &Path) -> Option<String> {
    let own = Uid::effective().as_raw();
    match fs::metadata(path) {
        Ok(folder) if folder.uid() == own => None,
        Ok(folder) => Some(format!("user {}", folder.uid())),
        // Not even that may be asked.
        Err(_) => Some("another user".to_owned()),
    }
}

/// The broker may be this user's or another's: nothing can be told.
fn of_another(path: &Path, what: &str, owner: &str) -> Finding {
    let found = format!(
        "{what} for this user, and {owner} owns it: run the doctor as the broker's user, who has to own it"
    );
    finding(name(path), found, Verdict::Unknown, "")
}

/// One in which this user cannot write.
fn unwritable(path: &Path, error: Errno, other_owner: Option<String>) -> Finding {
    match other_owner {
        Some(owner) if error == Errno::EACCES => of_another(path, "not writable", &owner),
        _ => {
            let remedy = "make it writable for the user that the broker runs as (mount -o remount,rw; chown)";
            let found = format!("not writable: {}", error.desc());
            finding(name(path), found, Verdict::Needed, remedy)
        }
    }
}

fn of_one(looked: &Looked) -> Vec<Finding> {
    let path = &looked.path;
    let setting = name(path);
    if let Err(error) = writable(path) {
        return vec![unwritable(path, error, other_owner(path))];
    }
    let mut findings = vec![needed(
        &format!("direct I/O in {}", path.display()),
        check_direct_io(path),
    )];
    let (found, verdict) = match (looked.in_use, looked.is_new) {
        (InUse::Yes, _) => ("used by a running process", Verdict::Fine),
        (InUse::Unknown, _) => (
            "whether a process uses it cannot be told: its lock is not readable",
            Verdict::Unknown,
        ),
        (InUse::No, true) => ("empty", Verdict::Fine),
        (InUse::No, false) if path.join(CLEAN_STOP).exists() => ("stopped in order", Verdict::Fine),
        (InUse::No, false) => (
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
            findings.push(no_room(&setting, error));
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
        findings.push(room_left(setting, found, percent));
    }
    findings
}

/// So many percent of a disk are free.
pub(super) fn room_left(setting: String, found: String, percent: u64) -> Finding {
    let remedy = "when it is full, appends are refused until there is room: shorten retention, move partitions to \
                  another folder, or enlarge it";
    finding(setting, found, fine_if(percent >= FREE_PERCENT_LOW), remedy)
}

fn no_room(setting: &str, error: HostError) -> Finding {
    match error {
        HostError::Unreadable { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            let found = "its journals are not readable for this user";
            finding(setting, found, Verdict::Unknown, "")
        }
        error => needed(setting, Err::<(), _>(error)),
    }
}

/// Without it nobody knows any topic.
fn metadata_log(looked: &Looked, all: &[Option<Looked>]) -> Vec<Finding> {
    let dir = looked.path.join(METADATA_DIR);
    let setting = format!("metadata log {}", dir.display());
    let names: Vec<String> = match fs::read_dir(&dir) {
        Ok(entries) => {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.collect()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // It is made when the journal does not hold all of it any more; a start may have come no further. The
            // journals are in one of the folders of the device.
            let of_device = |it: &&Looked| it.device == looked.device;
            let mut on_device = all.iter().flatten().filter(of_device);
            if on_device.any(|it| has_journal(&it.path)) || !has_partitions(&looked.path) {
                return Vec::new();
            }
            let remedy = "without it all topics are unknown: restore it, from a copy of the folder if there is one";
            return vec![finding(setting, "not there", Verdict::Needed, remedy)];
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return vec![finding(setting, error.to_string(), Verdict::Unknown, "")];
        }
        Err(error) => {
            let remedy = "make it a folder that can be read: without it all topics are unknown";
            return vec![finding(setting, error.to_string(), Verdict::Needed, remedy)];
        }
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

/// One that this user may not read may have some.
fn has_journal(folder: &Path) -> bool {
    match fs::read_dir(journal_dir(folder)) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_another_user_may_write_is_noted_and_what_nobody_may_is_a_problem() {
        let path = Path::new("/data");
        let of = |error, owner: Option<&str>| unwritable(path, error, owner.map(str::to_owned));
        let others = of(Errno::EACCES, Some("user 991"));
        assert_eq!(others.verdict, Verdict::Unknown);
        assert!(others.found.contains("run the doctor as"), "{others:?}");
        assert_eq!(of(Errno::EACCES, None).verdict, Verdict::Needed);
        assert_eq!(of(Errno::EROFS, Some("user 991")).verdict, Verdict::Needed);
        let here = std::env::temp_dir();
        let denied = |path: &Path| {
            let source = ErrorKind::PermissionDenied.into();
            let path = path.to_owned();
            refused(&path.clone(), FolderError::Io { path, source }).verdict
        };
        assert_eq!(denied(&here.join("no-such-folder")), Verdict::Unknown);
        let own = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(denied(own.path()), Verdict::Needed);
    }
}
