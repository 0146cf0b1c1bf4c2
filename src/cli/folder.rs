//! The data folder: one process at a time, and `meta.properties` as Apache Kafka's storage tool
//! lays it out, which says whose data this is.
//!
//! The lock is one on the file `.lock` that the kernel lets go when the process ends, however it
//! ends. It also keeps off an Apache Kafka, which locks the same file its own way.
//! `meta.properties` appears whole or not at all: it is written beside, synced and renamed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use corelog_shards::log::uuid_text;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use uuid::Uuid;

use crate::cluster::ids::random_id;
use crate::config::{Entry, parse_properties, render_property};

const META: &str = "meta.properties";
const LOCK: &str = ".lock";

/// What a folder may hold and still count as empty: a file system's own, and an earlier attempt.
const NOT_DATA: [&str; 3] = [LOCK, "lost+found", "meta.properties.tmp"];

/// A locked data folder.
#[derive(Debug)]
pub struct DataFolder {
    pub path: PathBuf,
    pub cluster_id: String,
    pub directory_id: Uuid,
    /// Whether this is its first start.
    pub is_new: bool,
    /// Locked for as long as it is open.
    _lock: File,
}

/// Why a folder can't be used, with the remedy.
#[derive(Debug)]
pub enum FolderError {
    Io {
        path: PathBuf,
        source: io::Error,
    },
    Locked(PathBuf),
    /// There is data and nothing that says whose.
    NoMeta(PathBuf),
    Malformed {
        path: PathBuf,
        why: String,
    },
    OtherNode {
        path: PathBuf,
        stored: i32,
        configured: i32,
    },
    OtherCluster {
        path: PathBuf,
        stored: String,
        wanted: String,
    },
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::Io { path, source } => write!(
                f,
                "{}: {source}. Make it writable for this user, or choose another folder with \
                 log.dirs",
                path.display()
            ),
            FolderError::Locked(path) => write!(
                f,
                "another process uses the data folder {}: stop it, or choose another folder with \
                 log.dirs",
                path.display()
            ),
            FolderError::NoMeta(path) => write!(
                f,
                "{} has files but no meta.properties, which says whose they are: restore that \
                 file, or choose an empty folder with log.dirs",
                path.display()
            ),
            FolderError::Malformed { path, why } => {
                write!(f, "{}: {why}. Restore the file", path.display())
            }
            FolderError::OtherNode {
                path,
                stored,
                configured,
            } => write!(
                f,
                "Stored node id {stored} doesn't match node.id={configured} in {}. If you moved \
                 your data, make sure your configured node id matches. If you intend to create a \
                 new node, you should remove all data in your data directories",
                path.display()
            ),
            FolderError::OtherCluster {
                path,
                stored,
                wanted,
            } => write!(
                f,
                "Invalid cluster.id in: {}. Expected {wanted}, but read {stored}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for FolderError {}

impl DataFolder {
    /// Makes the folder if need be, locks it, and checks or writes `meta.properties`.
    pub fn open(
        path: &Path,
        node_id: i32,
        cluster_id: Option<&str>,
    ) -> Result<DataFolder, FolderError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { path, source }
        };
        let path = &std::path::absolute(path).map_err(at(path))?;
        fs::create_dir_all(path).map_err(at(path))?;
        let lock = lock(path)?;
        let file = path.join(META);
        let stored = match fs::read(&file) {
            Ok(bytes) => Some(Meta::parse(&file, &bytes)?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(at(&file)(error)),
        };
        let is_new = stored.is_none();
        let meta = match stored {
            Some(meta) => {
                meta.check(&file, node_id, cluster_id)?;
                meta
            }
            None if has_data(path).map_err(at(path))? => {
                return Err(FolderError::NoMeta(path.to_owned()));
            }
            None => Meta {
                node_id,
                cluster_id: cluster_id.map_or_else(|| uuid_text::format(draw_id()), str::to_owned),
                directory_id: None,
            },
        };
        let directory_id = match meta.directory_id {
            Some(id) => id,
            None => {
                let id = draw_id();
                meta.write(path, id).map_err(at(&file))?;
                id
            }
        };
        Ok(DataFolder {
            path: path.to_owned(),
            cluster_id: meta.cluster_id,
            directory_id,
            is_new,
            _lock: lock,
        })
    }

    /// Leaves the folder without an identity, when its first start comes to nothing: one that nobody
    /// has used would only be in the way of another's data. What cannot be removed stays, and so does
    /// the file of the lock: another process may be about to take it.
    pub fn abandon(self) {
        if self.is_new {
            let _ = fs::remove_file(self.path.join(META));
        }
    }
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
    let whole_file = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file)) {
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

/// The contents of `meta.properties`, version 1.
#[derive(Debug, PartialEq, Eq)]
struct Meta {
    node_id: i32,
    cluster_id: String,
    /// Files of older versions of Apache Kafka have none.
    directory_id: Option<Uuid>,
}

impl Meta {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Meta, FolderError> {
        let malformed = |why: String| FolderError::Malformed {
            path: path.to_owned(),
            why,
        };
        let entries = parse_properties(bytes).map_err(|error| malformed(error.to_string()))?;
        let value = |name: &str| {
            let found = |entry: &&Entry| entry.name == name;
            let entry = entries.iter().rev().find(found);
            entry
                .map(|entry| entry.value.trim())
                .filter(|value| !value.is_empty())
        };
        let required =
            |name: &str| value(name).ok_or_else(|| malformed(format!("Failed to find {name}")));
        match required("version")? {
            "1" => {}
            other => {
                let why = format!("Unknown meta.properties version number {other}");
                return Err(malformed(why));
            }
        }
        let node_id = required("node.id")?;
        let directory_id = value("directory.id");
        let wrong = |name: &str, text: &str| malformed(format!("{name}={text} is not valid"));
        Ok(Meta {
            node_id: node_id.parse().map_err(|_| wrong("node.id", node_id))?,
            cluster_id: required("cluster.id")?.to_owned(),
            directory_id: match directory_id {
                None => None,
                Some(text) => {
                    let id = uuid_text::parse(text);
                    Some(id.ok_or_else(|| wrong("directory.id", text))?)
                }
            },
        })
    }

    fn check(
        &self,
        path: &Path,
        node_id: i32,
        cluster_id: Option<&str>,
    ) -> Result<(), FolderError> {
        if self.node_id != node_id {
            return Err(FolderError::OtherNode {
                path: path.to_owned(),
                stored: self.node_id,
                configured: node_id,
            });
        }
        match cluster_id {
            Some(wanted) if wanted != self.cluster_id => Err(FolderError::OtherCluster {
                path: path.to_owned(),
                stored: self.cluster_id.clone(),
                wanted: wanted.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn write(&self, folder: &Path, directory_id: Uuid) -> io::Result<()> {
        let text = [
            "#\n".to_owned(),
            render_property("node.id", &self.node_id.to_string()),
            render_property("directory.id", &uuid_text::format(directory_id)),
            render_property("version", "1"),
            render_property("cluster.id", &self.cluster_id),
        ];
        let beside = folder.join("meta.properties.tmp");
        let mut file = File::create(&beside)?;
        file.write_all(text.concat().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, folder.join(META))?;
        File::open(folder)?.sync_all()
    }
}
