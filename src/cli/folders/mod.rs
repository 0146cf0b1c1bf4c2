//! The data folders: one process at a time, and in each `meta.properties` as Apache Kafka's storage
//! tool lays it out, which says whose data this is.
//!
//! The lock is one on the file `.lock` that the kernel lets go when the process ends, however it
//! ends. It also keeps off an Apache Kafka, which locks the same file its own way.
//!
//! As in Kafka, a folder that can't be read or written is left offline while the others go on, unless
//! it has the metadata log or is the last. What tells of a mistake rather than of a broken device
//! refuses the start: folders of another process, node or cluster, or one that is there twice. An
//! empty folder is made one of this node's.

mod error;
pub(super) mod look;
mod meta;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corelog_shards::log::uuid_text;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use uuid::Uuid;

pub use self::error::FolderError;
use self::meta::{META, META_BESIDE, Meta};
use crate::cli::host::DIRECT_IO_PROBE;
use crate::cluster::driver::METADATA_DIR;
use crate::cluster::ids::random_id;

const LOCK: &str = ".lock";
/// A lock on it is one on all of its bytes.
const WHOLE_FILE: libc::flock = libc::flock {
    l_type: libc::F_WRLCK as libc::c_short,
    l_whence: libc::SEEK_SET as libc::c_short,
    l_start: 0,
    l_len: 0,
    l_pid: 0,
};

/// What a folder may hold and still count as empty: a file system's own, and what an earlier attempt or a look has left.
const NOT_DATA: [&str; 4] = [LOCK, "lost+found", META_BESIDE, DIRECT_IO_PROBE];

/// The locked data folders of a node.
#[derive(Debug)]
pub struct DataFolders {
    pub cluster_id: String,
    /// Those of `log.dirs` in their order, and that of the metadata log if it is none of them.
    pub all: Vec<DataFolder>,
    /// How many of them, from the first on, are those of `log.dirs`.
    pub log_dirs: usize,
    /// Which of them has the metadata log.
    pub metadata: usize,
}

/// One of them.
#[derive(Debug)]
pub struct DataFolder {
    /// Absolute.
    pub path: PathBuf,
    /// Kafka's `directory.id`; drawn for this run alone if the folder is offline.
    pub id: Uuid,
    /// Number of the device that it is on.
    pub device: u64,
    /// Whether this is its first start.
    pub is_new: bool,
    /// Whether it can't be used.
    pub is_offline: bool,
    /// Locked for as long as it is open.
    lock: Option<File>,
}

/// What is in a folder that can be used.
struct Found {
    lock: File,
    device: u64,
    canonical: PathBuf,
    meta: Option<Meta>,
}

impl DataFolders {
    /// Makes the folders if need be, locks them, and checks or writes `meta.properties` of each. After
    /// an error none has an identity that had none before.
    pub fn open(
        log_dirs: &[PathBuf],
        metadata_log_dir: &Path,
        node_id: i32,
        cluster_id: Option<&str>,
    ) -> Result<DataFolders, FolderError> {
        let mut paths = Vec::with_capacity(log_dirs.len() + 1);
        for path in log_dirs {
            paths.push(absolute(path)?);
        }
        let metadata_path = absolute(metadata_log_dir)?;
        let among_them = paths.iter().position(|path| *path == metadata_path);
        let metadata = among_them.unwrap_or_else(|| {
            paths.push(metadata_path);
            paths.len() - 1
        });
        let mut found = Vec::with_capacity(paths.len());
        for (at, path) in paths.iter().enumerate() {
            found.push(match Found::at(path, &found) {
                Err(error) if error.is_of_one_folder() && paths.len() > 1 => {
                    go_on_without(error, at == metadata)?;
                    None
                }
                found => Some(found?),
            });
        }
        if found.iter().take(log_dirs.len()).all(Option::is_none) {
            return Err(FolderError::NoneLeft(paths));
        }
        let read = found
            .iter()
            .map(|it| it.as_ref().map(|it| it.meta.as_ref()));
        check_together(&paths, &read.collect::<Vec<_>>(), metadata)?;
        let metas = || found.iter().map(|found| found.as_ref()?.meta.as_ref());
        let cluster_id = match (cluster_id, metas().flatten().next()) {
            (Some(given), _) => given.to_owned(),
            (None, Some(meta)) => meta.cluster_id.clone(),
            (None, None) => uuid_text::format(draw_id()),
        };
        for (path, meta) in paths.iter().zip(metas()) {
            if let Some(meta) = meta {
                meta.check(path, node_id, &cluster_id)?;
            }
        }
        let has_id = |meta: Option<&Meta>| meta.is_some_and(|meta| meta.directory_id.is_some());
        let without_id: Vec<usize> = (0..)
            .zip(metas())
            .filter_map(|(at, meta)| (!has_id(meta)).then_some(at))
            .collect();
        let all = paths.into_iter().zip(found);
        let mut folders = DataFolders {
            all: all
                .map(|(path, found)| DataFolder::of(path, found))
                .collect(),
            log_dirs: log_dirs.len(),
            cluster_id,
            metadata,
        };
        match folders.identify(without_id, node_id) {
            Ok(()) => Ok(folders),
            Err(error) => {
                folders.abandon();
                Err(error)
            }
        }
    }

    /// The folder of the metadata log.
    pub fn of_metadata(&self) -> &DataFolder {
        &self.all[self.metadata]
    }

    /// The folders of `log.dirs`.
    pub fn of_partitions(&self) -> impl Iterator<Item = &DataFolder> {
        self.all[..self.log_dirs].iter()
    }

    /// Writes the ids of those that had none: first that of the metadata log, without which the next
    /// start would not take the others for this node's.
    fn identify(&mut self, mut without_id: Vec<usize>, node_id: i32) -> Result<(), FolderError> {
        let meta = Meta {
            node_id,
            cluster_id: self.cluster_id.clone(),
            directory_id: None,
        };
        without_id.sort_by_key(|at| *at != self.metadata);
        for at in without_id {
            let folder = &self.all[at];
            if folder.is_offline {
                continue;
            }
            if folder.is_new && !self.of_metadata().is_new {
                tracing::info!(folder = %folder.path.display(), "a new data folder");
            }
            if let Err(source) = meta.write(&folder.path, folder.id) {
                let path = folder.path.clone();
                self.leave_out(at, FolderError::Io { path, source })?;
            }
        }
        Ok(())
    }

    /// Goes on without a folder, if that is possible.
    pub fn leave_out(&mut self, at: usize, error: FolderError) -> Result<(), FolderError> {
        if self.all.len() == 1 {
            return Err(error);
        }
        go_on_without(error, at == self.metadata)?;
        let folder = &mut self.all[at];
        folder.abandon();
        folder.is_offline = true;
        folder.lock = None;
        match self.of_partitions().all(|folder| folder.is_offline) {
            true => {
                let paths = self.of_partitions().map(|folder| folder.path.clone());
                Err(FolderError::NoneLeft(paths.collect()))
            }
            false => Ok(()),
        }
    }

    /// Leaves new folders without an identity, when their first start comes to nothing: one that
    /// nobody has used would only be in the way of another's data. What cannot be removed stays, and
    /// so does the file of the lock: another process may be about to take it.
    pub fn abandon(mut self) {
        // The metadata log's last, see `identify`.
        let metadata = self.metadata;
        self.all.swap(0, metadata);
        for folder in self.all.iter_mut().rev() {
            folder.abandon();
        }
    }
}

impl DataFolder {
    fn of(path: PathBuf, found: Option<Found>) -> DataFolder {
        let meta = found.as_ref().and_then(|found| found.meta.as_ref());
        DataFolder {
            path,
            id: meta
                .and_then(|meta| meta.directory_id)
                .unwrap_or_else(draw_id),
            device: found.as_ref().map_or(0, |found| found.device),
            is_new: found.is_some() && meta.is_none(),
            is_offline: found.is_none(),
            lock: found.map(|found| found.lock),
        }
    }

    fn abandon(&mut self) {
        if std::mem::take(&mut self.is_new) {
            let _ = fs::remove_file(self.path.join(META));
        }
    }
}

impl Found {
    /// Makes the folder if need be, locks it and reads whose it is. It must be none of those before.
    fn at(path: &Path, before: &[Option<Found>]) -> Result<Found, FolderError> {
        let at = |source| FolderError::Io {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(at)?;
        let canonical = fs::canonicalize(path).map_err(at)?;
        // The lock would take it for another process's.
        if before
            .iter()
            .flatten()
            .any(|found| found.canonical == canonical)
        {
            return Err(FolderError::Duplicate(path.to_owned()));
        }
        let lock = lock(path)?;
        let meta = Meta::read(path)?;
        if meta.is_none() && has_data(path).map_err(at)? {
            return Err(FolderError::NoMeta(path.to_owned()));
        }
        Ok(Found {
            lock,
            device: fs::metadata(path).map_err(at)?.dev(),
            canonical,
            meta,
        })
    }
}

/// What must hold of all folders together: of those that can be used, `found` has what says whose they are.
fn check_together(
    paths: &[PathBuf],
    found: &[Option<Option<&Meta>>],
    metadata: usize,
) -> Result<(), FolderError> {
    let usable: Vec<(usize, &PathBuf, Option<&Meta>)> = (0..)
        .zip(paths)
        .zip(found)
        .filter_map(|((at, path), found)| Some((at, path, (*found)?)))
        .collect();
    for (at, (_, second, meta)) in usable.iter().enumerate() {
        for (_, first, earlier) in &usable[..at] {
            let id = meta.and_then(|meta| meta.directory_id);
            let earlier_id = earlier.and_then(|meta| meta.directory_id);
            if let Some(id) = id.filter(|id| earlier_id == Some(*id)) {
                return Err(FolderError::DuplicateId {
                    id,
                    first: (*first).clone(),
                    second: (*second).clone(),
                });
            }
        }
    }
    let metadata_is_new = found[metadata].is_some_and(|meta| meta.is_none());
    for (at, path, meta) in &usable {
        let metadata_log = path.join(METADATA_DIR);
        if *at != metadata && metadata_log.exists() {
            return Err(FolderError::MetadataElsewhere {
                found: metadata_log,
                configured: paths[metadata].clone(),
            });
        }
        if meta.is_some() && metadata_is_new {
            return Err(FolderError::EmptyMetadata {
                path: paths[metadata].clone(),
                used: (*path).clone(),
            });
        }
    }
    Ok(())
}

/// Says that a folder is left out, unless it has what nothing works without.
fn go_on_without(error: FolderError, has_metadata: bool) -> Result<(), FolderError> {
    if has_metadata {
        return Err(FolderError::Metadata(Box::new(error)));
    }
    tracing::error!("a data folder is offline: {error}");
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, FolderError> {
    std::path::absolute(path).map_err(|source| FolderError::Io {
        path: path.to_owned(),
        source,
    })
}

fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join(LOCK);
    let failed = |source: io::Error| FolderError::Io {
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(&path).map_err(failed)?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&WHOLE_FILE)) {
        Ok(_) => Ok(file),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(FolderError::Locked(folder.to_owned())),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn has_data(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !NOT_DATA.iter().any(|allowed| name == *allowed) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn draw_id() -> Uuid {
    // The bits that are fixed in a version 4 id stand at different places of the two halves.
    random_id(&mut || {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        high ^ low
    })
}

#[cfg(test)]
mod tests;
