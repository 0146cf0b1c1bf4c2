//! Reading the metadata log at the start: its newest sound snapshot, and what comes behind that.
//!
//! The beginning of the log goes once a snapshot stands for it. The whole metadata or none: what is
//! neither in the log nor in a snapshot is an error, since a topic that nobody knows is a topic that is
//! lost. As long as the log reaches back far enough, an older snapshot, or none, is as good as one that
//! cannot be read: that is only passed over, since the next start may read it. One whose content is
//! wrong is damaged. Changes nothing in the folder.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corelog_shards::io::{BLOCK, DmaBuffer, OpenMode};
use corelog_shards::log::batch::BatchIter;
use corelog_shards::log::checkpoint_name::SnapshotId;
use corelog_shards::shard::message::ReadError;
use corelog_shards::shard::{OffsetQuery, Shard};

use super::METADATA_LOG;
use crate::cluster::image::{Image, Replayer};
use crate::cluster::log_codec::{self, LogError};
use crate::cluster::snapshot::{self, Kept, SnapshotError};
use crate::replay::{batches_at, log_start};
use crate::turns::Turns;

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
            Self::Read(ReadError::Storage) => f.write_str(
                "the metadata log cannot be read: restore the segments that are missing or cannot be read; if the \
                 oldest are gone, and a *.checkpoint file beside them goes further, \
                 corelog.recovery.on.rot=continue begins the log behind them",
            ),
            Self::Read(ReadError::Corrupt) => f.write_str(
                "the metadata log is damaged: restore the segment that is said above not to be what was written",
            ),
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

/// What was read.
pub struct ReadLog {
    pub replayer: Replayer,
    /// Of the last record.
    pub last_timestamp_ms: Option<i64>,
    /// Bytes of the batches behind the snapshot that it was begun with.
    pub bytes_behind: u64,
    /// Snapshots up to the one it was begun with, oldest first.
    pub snapshots: Vec<Kept>,
    /// Whether there are others behind them, which were passed over.
    pub is_one_passed_over: bool,
    /// Those of them whose content is wrong.
    pub damaged: Vec<SnapshotId>,
}

/// Replays everything from the empty image on. `dir` is the log's folder.
pub async fn read_log(shard: &Shard, dir: &Path, empty: Image) -> Result<ReadLog, ReadLogError> {
    let start = log_start(shard, &METADATA_LOG)
        .await
        .map_err(ReadLogError::Read)?;
    let first = read_at(shard, start).await?;
    let begins = BatchIter::new(&first)
        .next()
        .and_then(Result::ok)
        .map_or(start, |batch| batch.base_offset());
    let mut snapshots = list_snapshots(shard, dir).await?;
    if let Some(newest) = snapshots.last() {
        check_end(shard, dir, newest.id).await?;
    }
    let listed = snapshots.len();
    let mut damaged = Vec::new();
    let image = read_newest(shard, dir, begins, empty, &mut snapshots, &mut damaged).await?;
    let mut read = ReadLog {
        last_timestamp_ms: match image.last_offset + 1 {
            0 => None,
            _ => snapshots.last().and_then(|last| last.last_log_timestamp_ms),
        },
        replayer: Replayer::new(image),
        bytes_behind: 0,
        is_one_passed_over: snapshots.len() < listed,
        snapshots,
        damaged,
    };
    loop {
        let next = read.replayer.image().last_offset + 1;
        let batches = read_at(shard, next).await?;
        let Some(last) = BatchIter::new(&batches).filter_map(Result::ok).last() else {
            break;
        };
        read.last_timestamp_ms = Some(last.max_timestamp());
        read.bytes_behind += batches.len() as u64;
        log_codec::replay_contiguous(&batches, &mut read.replayer).map_err(|error| {
            let dir = dir.to_owned();
            ReadLogError::Log { dir, error }
        })?;
        shard.io().yield_now().await;
    }
    read.replayer.take_delta();
    Ok(read)
}

/// Whether the log goes as far as its newest snapshot.
async fn check_end(shard: &Shard, dir: &Path, newest: SnapshotId) -> Result<(), ReadLogError> {
    let latest = OffsetQuery::Latest { committed: false };
    let log_end = shard.offset_for(&METADATA_LOG, None, latest).await;
    let log_end = log_end.map_err(ReadLogError::Read)?.offset;
    match newest.end_offset > log_end {
        true => Err(ReadLogError::EndsBeforeSnapshot {
            path: dir.join(newest.file_name()),
            snapshot_end: newest.end_offset,
            log_end,
        }),
        false => Ok(()),
    }
}

/// The image of the newest snapshot that can be used, or `empty` if there is none and the log, which
/// `begins` there, has its first record. What cannot be used is taken off the end of `snapshots`.
async fn read_newest(
    shard: &Shard,
    dir: &Path,
    begins: i64,
    empty: Image,
    snapshots: &mut Vec<Kept>,
    damaged: &mut Vec<SnapshotId>,
) -> Result<Image, ReadLogError> {
    let mut failure = None;
    while let Some(newest) = snapshots.last().filter(|kept| kept.id.end_offset >= begins) {
        let id = newest.id;
        let error = match read_snapshot(shard, dir, id, empty.clone()).await {
            Ok(image) => return Ok(image),
            Err(error) => error,
        };
        tracing::error!(%error, "a snapshot of the metadata is passed over");
        snapshots.pop();
        if matches!(error, ReadLogError::Snapshot { .. }) {
            damaged.push(id);
        }
        failure.get_or_insert(error);
    }
    match (begins, failure) {
        (0, _) => Ok(empty),
        (_, Some(failure)) => Err(failure),
        (_, None) => {
            let dir = dir.to_owned();
            Err(ReadLogError::NoBeginning { dir, begins })
        }
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
    let mut reader = snapshot::Reader::new(empty);
    let mut turns = Turns::on(shard.io());
    let mut taken = Ok(());
    for batch in BatchIter::verifying(&bytes) {
        taken = taken.and_then(|()| reader.take(batch));
        turns.step().await;
    }
    let image = taken.and_then(|()| reader.finish(id));
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

/// Oldest first, each with a name that is on stable storage: the log may be shortened behind what the start relies on, and
/// a process that was killed may have renamed a snapshot without having synced its folder.
async fn list_snapshots(shard: &Shard, dir: &Path) -> Result<Vec<Kept>, ReadLogError> {
    let entries = match shard.io().list_dir(dir).await {
        Ok(entries) => entries,
        // A new log's folder is made with its first segment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ReadLogError::Io(dir.to_owned(), error)),
    };
    for synced in [Some(dir), dir.parent()].into_iter().flatten() {
        let named = shard.io().sync_dir(synced).await;
        named.map_err(|error| ReadLogError::Io(synced.to_owned(), error))?;
    }
    let mut snapshots = Vec::new();
    for entry in entries {
        let Some(id) = SnapshotId::parse(&entry.name) else {
            continue;
        };
        let first = read_first_block(shard, &dir.join(entry.name)).await;
        snapshots.push(Kept {
            id,
            bytes: entry.len,
            last_log_timestamp_ms: first
                .ok()
                .and_then(|block| snapshot::last_log_timestamp_ms(&block)),
        });
    }
    snapshots.sort_unstable_by_key(|kept| kept.id);
    Ok(snapshots)
}

async fn read_first_block(shard: &Shard, path: &Path) -> io::Result<DmaBuffer> {
    let file = shard.io().open(path, OpenMode::READ).await?;
    file.read_at(0, BLOCK).await
}

/// Some of the batches from `offset` on; nothing at the end.
async fn read_at(shard: &Shard, offset: i64) -> Result<Bytes, ReadLogError> {
    let read = batches_at(shard, METADATA_LOG, offset).await;
    read.map_err(ReadLogError::Read)
}

#[cfg(test)]
mod tests;
