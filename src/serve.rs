//! The broker as a process: what surrounds its life on the shards, which is a [`plan`].

pub mod plan;

use std::fmt;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corelog_shards::io::Stop;
use corelog_shards::runtime;
use corelog_shards::shard::{FolderConfig, RotPolicy, ShardConfig};

use self::plan::{Plan, Start};
use crate::broker::{Node, cleaner_config};
use crate::cli::logging;
use crate::cli::start::Prepared;
use crate::cli::status::Status;
use crate::cli::{DataFolders, FolderError};
use crate::config::{OnRot, StorageConfig};
use crate::metrics;
use crate::metrics::monitor::Monitor;
use crate::net::admission::Admission;

/// Kafka's mark of a clean stop.
pub(crate) const CLEAN_STOP: &str = ".kafka_cleanshutdown";

/// How long a broker that has failed may take to tell its clients and to end. What it leaves undone
/// then the next start does.
const FAILURE_DRAIN_MAX: Duration = Duration::from_secs(10);

/// Why the broker ended other than by request.
#[derive(Debug)]
pub struct ServeError {
    pub status: Status,
    pub why: String,
}

impl ServeError {
    fn new(status: Status, why: impl ToString) -> ServeError {
        let why = why.to_string();
        ServeError { status, why }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for ServeError {}

/// Runs a broker until `stop` is requested. One that fails at its start ends the process; one that fails
/// later tells its clients and returns, or ends the process if that takes too long.
pub fn serve(mut prepared: Prepared, stop: Stop) -> Result<(), ServeError> {
    let was_clean = take_marks(&mut prepared.folders)
        .map_err(|error| ServeError::new(Status::from(&error), error))?;
    let shards = prepared.cores.len();
    let monitor = Arc::new(Monitor::default());
    let banner = prepared.banner();
    if !prepared.http.is_empty() {
        metrics::server::start(prepared.http, monitor.clone()).map_err(|error| {
            ServeError::new(Status::Host, format!("cannot serve metrics: {error}"))
        })?;
    }
    let plan = Plan::new(Start {
        shard_config: shard_config(&prepared.config.storage, &prepared.folders, shards),
        node: Node {
            cluster_id: prepared.folders.cluster_id.clone(),
            directory_id: prepared.folders.of_metadata().id,
            log_dirs: prepared
                .folders
                .of_partitions()
                .map(|folder| folder.id)
                .collect(),
            file: prepared.file.clone(),
            advertised: prepared.advertised.clone(),
        },
        admission: Admission::new(connections_max(shards), look_up),
        listeners: prepared.listeners.clone(),
        config: prepared.config.clone(),
        shards,
        was_clean,
        monitor: monitor.clone(),
        stop: stop.clone(),
        on_ready: Box::new(move || show(&banner)),
        on_failure: Box::new(on_failure(monitor.clone(), stop)),
    });
    let of_shards = plan.clone();
    runtime::run_shards(&prepared.cores, move |io, id| of_shards.clone().run(io, id))
        .map_err(|error| ServeError::new(Status::from(&error), error))?;
    if let Some(failure) = monitor.failure() {
        return Err(ServeError::new(failure.cause.into(), &failure.why));
    }
    if plan.gave_up() {
        return Ok(());
    }
    let offline = plan.offline_folders();
    for folder in &prepared.folders.all {
        if !offline.contains(&folder.id) {
            leave_mark(&folder.path);
        }
    }
    Ok(())
}

/// Whether all folders were left by a clean stop. From here on a crash must not look like one: a folder
/// whose mark cannot be taken is left out.
fn take_marks(folders: &mut DataFolders) -> Result<bool, FolderError> {
    let mut was_clean = true;
    for at in 0..folders.all.len() {
        let folder = &folders.all[at];
        if folder.is_offline {
            continue;
        }
        match take_mark(&folder.path) {
            Ok(was_there) => was_clean &= was_there || folder.is_new,
            Err(source) => {
                let path = folder.path.join(CLEAN_STOP);
                folders.leave_out(at, FolderError::Io { path, source })?;
            }
        }
    }
    Ok(was_clean)
}

/// Removes the mark for good. Whether there was one.
fn take_mark(folder: &Path) -> io::Result<bool> {
    match std::fs::remove_file(folder.join(CLEAN_STOP)) {
        Ok(()) => std::fs::File::open(folder)?.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Without the mark the next start takes this stop for a crash, which costs nothing but new leader
/// epochs: no failure, and to be expected on a full disk.
fn leave_mark(folder: &Path) {
    let mark = folder.join(CLEAN_STOP);
    if let Err(error) = std::fs::write(&mark, "{\"version\":0,\"brokerEpoch\":-1}") {
        tracing::warn!(file = %mark.display(), %error, "cannot mark the stop as clean");
    }
}

/// On a thread of its own: no shard waits for whoever reads it.
fn show(banner: &str) {
    let banner = banner.to_owned();
    std::thread::spawn(move || {
        // A closed stdout is no reason to stop.
        let _ = write!(std::io::stdout(), "{banner}");
        tracing::info!("ready");
    });
}

/// What a broker that has failed does: once it serves clients, they are told; a start just ends. In any
/// case the process ends soon, since some may wait for what will never be done, and recovery is cheap.
fn on_failure(monitor: Arc<Monitor>, stop: Stop) -> impl Fn(&str) {
    move |why| {
        tracing::error!("ending the process: {why}");
        let failure = monitor.failure().expect("it says so first");
        let patience = match failure.is_of_start {
            true => Duration::ZERO,
            false => FAILURE_DRAIN_MAX,
        };
        let (status, why) = (Status::from(failure.cause), why.to_owned());
        std::thread::spawn(move || {
            std::thread::sleep(patience);
            logging::say_last(&format!("corelog: {why}"));
            std::process::exit(status as i32)
        });
        stop.request();
    }
}

fn shard_config(storage: &StorageConfig, folders: &DataFolders, shards: usize) -> ShardConfig {
    let metadata = folders.of_metadata().id;
    let folders = folders.all.iter().map(|folder| FolderConfig {
        id: folder.id,
        path: folder.path.clone(),
        device: folder.device,
        is_offline: folder.is_offline,
        is_required: folder.id == metadata,
    });
    ShardConfig {
        folders: folders.collect(),
        journal_bytes: storage.journal_bytes_per_shard,
        tail_cache_bytes: storage.tail_cache_bytes_per_shard as usize,
        open_files_max: open_files_max(shards),
        memory_flush: storage.memory_flush,
        retention_check: storage.retention_check_interval,
        producer_expiration_ms: storage.producer_id_expiration.as_millis() as i64,
        folder_delete_delay: storage.folder_delete_delay,
        cleaner: cleaner_config(&storage.cleaner, shards),
        on_rot: match storage.on_rot {
            OnRot::Refuse => RotPolicy::Refuse,
            OnRot::Continue => RotPolicy::Continue,
        },
    }
}

/// Files that each shard opens beside segments and connections: its journal, its rings.
const OWN_FILES_OF_SHARD: usize = 48;
/// Files of the process as a whole: the log, the folder's lock, and what serves metrics.
const OWN_FILES: usize = 32 + metrics::server::FILES_MAX;

/// Files that the process may open at once.
fn files_max() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft as usize)
}

/// A quarter of what the process may open is for segments; the rest for connections.
fn open_files_max(shards: usize) -> usize {
    (files_max() / 4 / shards).clamp(16, 4096)
}

/// Connections never take the files that the logs need.
fn connections_max(shards: usize) -> usize {
    let for_logs = (open_files_max(shards) + OWN_FILES_OF_SHARD) * shards + OWN_FILES;
    files_max().saturating_sub(for_logs).max(1)
}

/// On a thread of its own, since a name that does not resolve takes its time to say so.
fn look_up(admission: Arc<Admission>, hosts: Vec<String>) {
    std::thread::spawn(move || {
        for host in hosts {
            match (host.as_str(), 0).to_socket_addrs() {
                Ok(addresses) => admission.found(&host, addresses.map(|address| address.ip())),
                Err(error) => {
                    tracing::warn!(host, %error, "max.connections.per.ip.overrides: unknown host")
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Opens the folders of these names, the first with the metadata log.
    fn open(folder: &Path, names: &[&str]) -> DataFolders {
        let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        DataFolders::open(&paths, &paths[0], 1, None).unwrap()
    }

    #[test]
    fn marks_of_a_clean_stop_are_taken_from_every_folder() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a", "b"];
        assert!(take_marks(&mut open(folder.path(), &names)).unwrap());
        assert!(!take_marks(&mut open(folder.path(), &names)).unwrap());
        for name in names {
            leave_mark(&folder.path().join(name));
        }
        assert!(take_marks(&mut open(folder.path(), &names)).unwrap());
        leave_mark(&folder.path().join("b"));
        assert!(!take_marks(&mut open(folder.path(), &names)).unwrap());
        assert!(!folder.path().join("b").join(CLEAN_STOP).exists());
    }

    #[test]
    fn a_folder_whose_mark_cannot_be_taken_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mark_in = |name: &str| folder.path().join(name).join(CLEAN_STOP);
        drop(open(folder.path(), &["a", "b"]));
        leave_mark(&folder.path().join("a"));
        fs::create_dir(mark_in("b")).unwrap();
        let mut folders = open(folder.path(), &["a", "b"]);
        assert!(take_marks(&mut folders).unwrap());
        let offline = folders.all.iter().map(|folder| folder.is_offline);
        assert_eq!(offline.collect::<Vec<_>>(), [false, true]);
        assert!(!mark_in("a").exists());
        // Nothing works without the one of the metadata log.
        drop(folders);
        let refused = take_marks(&mut open(folder.path(), &["b"])).unwrap_err();
        assert!(matches!(refused, FolderError::Io { .. }), "{refused}");
    }
}
