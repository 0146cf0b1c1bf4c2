//! Why the data folders can't be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

use corelog_shards::log::uuid_text;
use uuid::Uuid;

use crate::cli::HostError;

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
    /// Another name of a folder that is there already.
    Duplicate(PathBuf),
    /// One folder is a copy of another.
    DuplicateId {
        id: Uuid,
        first: PathBuf,
        second: PathBuf,
    },
    /// The metadata log lies in a folder that is not the one it is configured to lie in.
    MetadataElsewhere {
        found: PathBuf,
        configured: PathBuf,
    },
    /// The folder of the metadata log is empty, and another one has been used.
    EmptyMetadata {
        path: PathBuf,
        used: PathBuf,
    },
    /// Its file system won't do.
    Host(HostError),
    /// The folder of the metadata log is among those that can't be used.
    Metadata(Box<FolderError>),
    /// No folder for partitions is left.
    NoneLeft(Vec<PathBuf>),
}

impl FolderError {
    /// Whether this is about what one folder's device gives, so that the others can go on without it.
    pub(super) fn is_of_one_folder(&self) -> bool {
        matches!(self, FolderError::Io { .. } | FolderError::Malformed { .. })
    }
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
            FolderError::Duplicate(path) => write!(
                f,
                "Duplicate log directory found: {} is the same folder as one before it",
                path.display()
            ),
            FolderError::DuplicateId { id, first, second } => write!(
                f,
                "Duplicate directory ID {} found. It was the ID of {}, but also of {}: one is a \
                 copy of the other",
                uuid_text::format(*id),
                first.display(),
                second.display()
            ),
            FolderError::MetadataElsewhere { found, configured } => write!(
                f,
                "Found unexpected metadata location in data directory `{}` (the configured \
                 metadata directory is {}): set metadata.log.dir to the folder that has it",
                found.display(),
                configured.display()
            ),
            FolderError::EmptyMetadata { path, used } => write!(
                f,
                "{} is to have the metadata log and has no meta.properties, but {} has been used: \
                 set metadata.log.dir to the folder that has the log, or restore the one that is \
                 empty",
                path.display(),
                used.display()
            ),
            FolderError::Host(error) => write!(f, "{error}"),
            FolderError::Metadata(error) => {
                write!(
                    f,
                    "the folder of the metadata log can't be used, and nothing works without it: \
                     {error}"
                )
            }
            FolderError::NoneLeft(paths) => {
                let paths: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
                write!(
                    f,
                    "none of the log dirs {} can be used: what the log says of each must be put \
                     right",
                    paths.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for FolderError {}
