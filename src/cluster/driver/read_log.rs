//! Reading the metadata log at the start, from its first record or from a snapshot.
//!
//! Apache Kafka deletes the beginning of the log once a snapshot stands for it. The whole metadata or
//! none: what is neither in the log nor in a snapshot is an error, since a topic that nobody knows is a
//! topic that is lost. Changes nothing in the folder.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corelog_shards::log::batch::BatchIter;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::ReadError;

use super::METADATA_LOG;
use crate::cluster::image::{Image, Replayer};
use crate::cluster::log_codec::{self, LogError};
use crate::cluster::snapshot::{self, SnapshotError, SnapshotId};
use crate::replay::{batches_at, log_start};

/// Why the metadata cannot be read.
#[derive(Debug)]
pub enum ReadLogError {
    Read(ReadError),
    Log {
        dir: PathBuf,
        error: LogError,
    },
    Io(PathBuf, io::Error),
    /// The log does not begin with its first record, and nothing stands for what is missing.
    NoBeginning {
        dir: PathBuf,
        begins: i64,
    },
    /// The snapshot is newer than the log, which can only go on where it ends.
    EndsBeforeSnapshot {
        path: PathBuf,
        snapshot_end: i64,
        log_end: i64,
    },
    Snapshot {
        path: PathBuf,
        error: SnapshotError,
    },
}

impl fmt::Display for ReadLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the metadata log cannot be read: {error:?}"),
            Self::Log { dir, error } => {
                write!(f, "{}: the metadata log is damaged: {error}", dir.display())
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoBeginning { dir, begins } => write!(
                f,
                "{}: the metadata log begins at offset {begins}, and there is no *.checkpoint file \
                 beside it for what comes before",
                dir.display()
            ),
            Self::EndsBeforeSnapshot {
                path,
                snapshot_end,
                log_end,
            } => write!(
                f,
                "{}: the snapshot goes to offset {snapshot_end}, but the metadata log beside it only \
                 to {log_end}",
                path.display()
            ),
            Self::Snapshot { path, error } => {
                write!(
                    f,
                    "{}: the snapshot cannot be used: {error}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for ReadLogError {}

/// Replays everything from the empty image on. `dir` is the log's folder.
pub async fn read_log(shard: &Shard, dir: &Path, empty: Image) -> Result<Replayer, ReadLogError> {
    let start = log_start(shard, &METADATA_LOG)
        .await
        .map_err(ReadLogError::Read)?;
    let first = read_at(shard, start).await?;
    let begins = BatchIter::new(&first)
        .next()
        .and_then(Result::ok)
        .map_or(start, |batch| batch.base_offset());
    let newest = newest_snapshot(shard, dir).await?;
    let image = match (begins, newest) {
        (0, _) => empty,
        (begins, Some(id)) if id.end_offset >= begins => {
            read_snapshot(shard, dir, id, empty).await?
        }
        (begins, _) => {
            let dir = dir.to_owned();
            return Err(ReadLogError::NoBeginning { dir, begins });
        }
    };
    let mut replayer = Replayer::new(image);
    loop {
        let next = replayer.image().last_offset + 1;
        let batches = read_at(shard, next).await?;
        if batches.is_empty() {
            break;
        }
        log_codec::replay_contiguous(&batches, &mut replayer).map_err(|error| {
            let dir = dir.to_owned();
            ReadLogError::Log { dir, error }
        })?;
        shard.io().yield_now().await;
    }
    check_end(dir, newest, replayer.image().last_offset + 1)?;
    replayer.take_delta();
    Ok(replayer)
}

/// Whether the log goes as far as its newest snapshot.
fn check_end(dir: &Path, newest: Option<SnapshotId>, log_end: i64) -> Result<(), ReadLogError> {
    match newest {
        Some(id) if id.end_offset > log_end => Err(ReadLogError::EndsBeforeSnapshot {
            path: dir.join(id.file_name()),
            snapshot_end: id.end_offset,
            log_end,
        }),
        _ => Ok(()),
    }
}

async fn read_snapshot(
    shard: &Shard,
    dir: &Path,
    id: SnapshotId,
    empty: Image,
) -> Result<Image, ReadLogError> {
    let path = dir.join(id.file_name());
    let bytes = match shard.io().read_small(&path).await {
        Ok(bytes) => bytes,
        Err(error) => return Err(ReadLogError::Io(path, error)),
    };
    let image = snapshot::read(&bytes, id, empty);
    let image = image.map_err(|error| ReadLogError::Snapshot {
        path: path.clone(),
        error,
    })?;
    tracing::info!(
        file = %path.display(),
        topics = image.topics.len(),
        "began the metadata with a snapshot"
    );
    Ok(image)
}

async fn newest_snapshot(shard: &Shard, dir: &Path) -> Result<Option<SnapshotId>, ReadLogError> {
    let entries = match shard.io().list_dir(dir).await {
        Ok(entries) => entries,
        // A new log's folder is made with its first segment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadLogError::Io(dir.to_owned(), error)),
    };
    let ids = entries
        .iter()
        .filter_map(|entry| SnapshotId::parse(&entry.name));
    Ok(ids.max())
}

/// Some of the batches from `offset` on; nothing at the end.
async fn read_at(shard: &Shard, offset: i64) -> Result<Bytes, ReadLogError> {
    let read = batches_at(shard, METADATA_LOG, offset).await;
    read.map_err(ReadLogError::Read)
}

#[cfg(test)]
mod tests;
