//! The metadata log stays small: snapshots of the metadata are made beside it, and its beginning goes.
//!
//! Rules and files are those of Apache Kafka (its SnapshotGenerator and KafkaRaftLog). A snapshot is due when
//! the log has grown by so many bytes since the last one, or when so much time has gone by and something has
//! changed. The oldest of several goes when log and snapshots are too large, or when it is too old, and the
//! log then begins where the next one ends. The newest always stays.
//!
//! A task of shard 0, beside the traffic: it holds on to the image as it is, and writes that batch by batch.
//! Decisions go on meanwhile, in a copy of the image's maps that the first of them makes: what is in them is
//! shared.
//!
//! Crash behaviour: a snapshot has its name only once it is durable, and the log start moves only after that.
//! What is half-written, or was to go, is removed after the next start. A failed write is tried again later;
//! the log just keeps growing.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::futures::first_of;
use corelog_shards::io::{BLOCK, DmaBuffer, File, Instant, Io, Landmark, Notify, OpenMode};
use corelog_shards::log::checkpoint_name::{SnapshotId, is_leftover};
use corelog_shards::mutation::{Mutation, is_on};

use super::read_log::ReadLog;
use super::{Driver, METADATA_LOG};
use crate::cluster::log_codec::snapshot_batches;
use crate::cluster::snapshot::{Breach, Kept, breach};
use crate::config::SnapshotSettings;

/// How often snapshots are looked at that may have become too old: Kafka's interval.
const CLEAN_INTERVAL: Duration = Duration::from_secs(60);
/// Pause before another attempt after one that failed.
const RETRY: Duration = Duration::from_secs(60);
/// For the segments below a new log start to go.
const SEGMENTS_GO: Duration = Duration::from_secs(1);
/// Bytes of one write.
const WRITE_BYTES: usize = 128 << 10;

/// What the driver knows of its snapshots.
pub(super) struct Snapshots {
    dir: PathBuf,
    settings: SnapshotSettings,
    /// Oldest first.
    kept: RefCell<Vec<Kept>>,
    damaged: RefCell<Vec<SnapshotId>>,
    /// Of batches behind the newest.
    bytes_behind: Cell<u64>,
    /// When the newest was made, or the process began.
    made_at: Cell<Instant>,
    /// Of the one this process made last; 0 if it made none.
    made_bytes: Cell<u64>,
    /// No attempt before.
    not_before: Cell<Instant>,
    /// Another one is due by bytes.
    grown: Notify,
}

/// For operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Since the last one was made, or since the process began.
    pub age: Duration,
    /// Of the one this process made last; 0 if it made none.
    pub made_bytes: u64,
    /// Those in the folder.
    pub count: usize,
    /// Of all of them.
    pub bytes: u64,
}

impl Snapshots {
    pub(super) fn new(
        dir: &Path,
        settings: SnapshotSettings,
        read: &ReadLog,
        now: Instant,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            // What one stood for that cannot be used is to be in another one soon.
            bytes_behind: Cell::new(match read.is_one_passed_over {
                true => settings.bytes_between,
                false => read.bytes_behind,
            }),
            settings,
            kept: RefCell::new(read.snapshots.clone()),
            damaged: RefCell::new(read.damaged.clone()),
            made_at: Cell::new(now),
            made_bytes: Cell::new(0),
            not_before: Cell::new(now),
            grown: Notify::new(),
        }
    }

    /// So many bytes were appended to the log.
    pub(super) fn appended(&self, bytes: usize) {
        let behind = self.bytes_behind.get() + bytes as u64;
        self.bytes_behind.set(behind);
        if behind >= self.settings.bytes_between {
            self.grown.notify_one();
        }
    }

    fn due_in(&self, now: Instant) -> Option<Duration> {
        let due = match self.bytes_behind.get() >= self.settings.bytes_between {
            true => self.made_at.get(),
            false => self.made_at.get() + self.settings.interval?,
        };
        Some(due.max(self.not_before.get()).since(now))
    }

    fn total_bytes(&self) -> u64 {
        self.kept.borrow().iter().map(|kept| kept.bytes).sum()
    }
}

impl Driver {
    pub fn snapshot_facts(&self) -> SnapshotFacts {
        let snapshots = &self.snapshots;
        SnapshotFacts {
            age: self.shard.io().now().since(snapshots.made_at.get()),
            made_bytes: snapshots.made_bytes.get(),
            count: snapshots.kept.borrow().len(),
            bytes: snapshots.total_bytes(),
        }
    }

    /// Keeps the metadata log small until the shard stops.
    pub async fn keep_small(self: Rc<Self>) {
        let io = self.shard.io();
        if let Err(error) = self.clear_up().await {
            tracing::warn!(%error, "cannot remove what is left of old snapshots of the metadata");
        }
        while !self.shard.is_stopping() {
            if self.snapshots.due_in(io.now()) == Some(Duration::ZERO)
                && let Err(error) = self.make_snapshot().await
            {
                tracing::warn!(%error, "cannot make a snapshot of the metadata for now");
            }
            self.clean().await;
            let due_in = self.snapshots.due_in(io.now());
            let wait = due_in.map_or(CLEAN_INTERVAL, |due| due.min(CLEAN_INTERVAL));
            let grown = pin!(self.snapshots.grown.notified());
            first_of(pin!(io.sleep(wait)), grown).await;
        }
    }

    /// Removes what crashes have left behind, and sets damaged snapshots aside, of which the newest stays.
    async fn clear_up(&self) -> io::Result<()> {
        let (io, snapshots) = (self.shard.io(), &self.snapshots);
        let entries = match io.list_dir(&snapshots.dir).await {
            // It is made with the log's first segment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries.iter().filter(|entry| is_leftover(&entry.name)) {
            io.remove_file(&snapshots.dir.join(&entry.name)).await?;
        }
        let set_aside = entries.iter();
        let set_aside = set_aside.filter_map(|entry| SnapshotId::parse_damaged(&entry.name));
        let mut set_aside: Vec<SnapshotId> = set_aside.collect();
        for id in snapshots.damaged.take() {
            let aside = snapshots.dir.join(id.damaged_name());
            tracing::error!(file = %aside.display(), "a damaged snapshot of the metadata is set aside");
            io.rename(&snapshots.dir.join(id.file_name()), &aside)
                .await?;
            set_aside.push(id);
        }
        set_aside.sort_unstable();
        set_aside.dedup();
        set_aside.pop();
        for id in set_aside {
            io.remove_file(&snapshots.dir.join(id.damaged_name()))
                .await?;
        }
        Ok(())
    }

    /// Makes a snapshot of the metadata as it is now, unless there is one.
    async fn make_snapshot(&self) -> io::Result<()> {
        let (io, snapshots) = (self.shard.io(), &self.snapshots);
        let image = self.replayer.borrow().shared_image();
        let id = SnapshotId {
            end_offset: image.last_offset + 1,
            epoch: image.last_epoch,
        };
        let last_log_timestamp_ms = self.last_timestamp_ms.get();
        let behind = snapshots.bytes_behind.take();
        let newest = snapshots.kept.borrow().last().map(|kept| kept.id);
        if newest < Some(id) {
            let batches = snapshot_batches(&image, last_log_timestamp_ms, io.wall_ms());
            let writing = io.within(Landmark::SnapshotWritten);
            let written = write_snapshot(io, &snapshots.dir, id, batches).await;
            drop(writing);
            let bytes = written.inspect_err(|_| {
                snapshots
                    .bytes_behind
                    .set(snapshots.bytes_behind.get() + behind);
                snapshots.not_before.set(io.now() + RETRY);
            })?;
            tracing::info!(
                file = id.file_name(),
                bytes,
                log_bytes = behind,
                "made a snapshot of the metadata"
            );
            snapshots.made_bytes.set(bytes);
            snapshots.kept.borrow_mut().push(Kept {
                id,
                bytes,
                last_log_timestamp_ms: Some(last_log_timestamp_ms),
            });
        }
        snapshots.made_at.set(io.now());
        Ok(())
    }

    /// Lets snapshots go that are too many or too old, and the log up to where the next one ends.
    async fn clean(&self) {
        let (shard, io) = (&self.shard, self.shard.io());
        while let Some((oldest, next, why)) = self.oldest_to_go() {
            if why == Breach::Bytes {
                // Once there is another snapshot, all that is in the segment so far may go.
                shard.roll(&METADATA_LOG);
            }
            let start = Some(next.end_offset);
            if let Err(error) = shard.delete_records(&METADATA_LOG, start).await {
                tracing::warn!(?error, "cannot shorten the metadata log for now");
                return;
            }
            self.snapshots.kept.borrow_mut().remove(0);
            tracing::info!(
                file = oldest.file_name(),
                ?why,
                "a snapshot of the metadata goes"
            );
            if let Err(error) = self.delete(oldest).await {
                tracing::warn!(%error, "cannot remove a snapshot of the metadata for now");
            }
            io.sleep(SEGMENTS_GO).await;
        }
    }

    /// The oldest snapshot if it is to go, and the next one.
    fn oldest_to_go(&self) -> Option<(SnapshotId, SnapshotId, Breach)> {
        let snapshots = &self.snapshots;
        let kept = snapshots.kept.borrow();
        let [oldest, next, ..] = kept[..] else {
            return None;
        };
        let now_ms = self.shard.io().wall_ms();
        let total_bytes = self.shard.facts_of(&METADATA_LOG)?.bytes + snapshots.total_bytes();
        let why = breach(&snapshots.settings, oldest, total_bytes, now_ms)?;
        Some((oldest.id, next.id, why))
    }

    /// Renames a snapshot, as Kafka does, and removes it a while later.
    async fn delete(&self, id: SnapshotId) -> io::Result<()> {
        let (io, snapshots) = (self.shard.io().clone(), &self.snapshots);
        let deleted = snapshots.dir.join(id.deleted_name());
        io.rename(&snapshots.dir.join(id.file_name()), &deleted)
            .await?;
        let delay = snapshots.settings.delete_delay;
        self.shard.io().spawn("remove snapshot", async move {
            io.sleep(delay).await;
            if let Err(error) = io.remove_file(&deleted).await {
                tracing::warn!(%error, "cannot remove a snapshot of the metadata");
            }
        });
        Ok(())
    }
}

/// Writes a snapshot durably; its length in bytes.
async fn write_snapshot(
    io: &Io,
    dir: &Path,
    id: SnapshotId,
    batches: impl Iterator<Item = Vec<u8>>,
) -> io::Result<u64> {
    let partial = dir.join(id.partial_name());
    let written = async {
        // The log may be in the journal alone as yet.
        io.create_dir_all(dir).await?;
        let file = io.open(&partial, OpenMode::CREATE).await?;
        let mut writer = Writer::new(io, file);
        writer.file.truncate(0).await?;
        for batch in batches {
            writer.put(&batch).await?;
        }
        let bytes = writer.finish().await?;
        io.rename(&partial, &dir.join(id.file_name())).await?;
        io.sync_dir(dir).await?;
        if let Some(parent) = dir.parent() {
            io.sync_dir(parent).await?;
        }
        Ok(bytes)
    };
    let written = written.await;
    if written.is_err() {
        // On a full disk it would only be in the way. The error is the one to tell.
        for name in [partial, dir.join(id.file_name())] {
            let _ = io.remove_file(&name).await;
        }
    }
    written
}

/// Writes a file from its beginning to its end.
struct Writer<'a> {
    io: &'a Io,
    file: File,
    buffer: DmaBuffer,
    filled: usize,
    written: u64,
}

impl<'a> Writer<'a> {
    fn new(io: &'a Io, file: File) -> Self {
        Self {
            io,
            file,
            buffer: io.buffer(WRITE_BYTES),
            filled: 0,
            written: 0,
        }
    }

    async fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let part = bytes.len().min(WRITE_BYTES - self.filled);
            self.buffer[self.filled..self.filled + part].copy_from_slice(&bytes[..part]);
            self.filled += part;
            bytes = &bytes[part..];
            if self.filled == WRITE_BYTES {
                self.flush().await?;
            }
        }
        // It has taken some tens of microseconds to make them.
        self.io.yield_now().await;
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let padded = self.filled.next_multiple_of(BLOCK);
        self.buffer[self.filled..padded].fill(0);
        let empty = self.io.buffer(BLOCK);
        let buffer = std::mem::replace(&mut self.buffer, empty);
        let writing = self.file.write_at(buffer, padded, self.written);
        let (written, buffer) = writing.await;
        self.buffer = buffer;
        self.written += self.filled as u64;
        self.filled = 0;
        written
    }

    /// Writes the rest and makes all of it durable. The length.
    async fn finish(mut self) -> io::Result<u64> {
        self.flush().await?;
        self.file.truncate(self.written).await?;
        if !is_on(Mutation::SnapshotWithoutSync) {
            self.file.sync().await?;
        }
        self.file.close().await?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests;
