//! The folders of partitions: found at start, taken over from Apache Kafka, set aside and removed.

mod stored;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use uuid::Uuid;

use super::Shard;
use super::message::ReadError;
use super::missing::{has_only_owner, must_own_dir};
use super::store::Store;
use super::volume::Folder;
use crate::io::{BLOCK, DirEntry, File, OpenMode, align_down};
use crate::log::Log;
use crate::log::aborted::AbortedTransaction;
use crate::log::batch::Batch;
use crate::log::batch::header::HEADER_BYTES;
use crate::log::config::LogConfig;
use crate::log::segment_name::{
    DirPurpose, FileKind, PARTITION_METADATA, PartitionDir, SegmentFile, dir_set_aside,
    format_partition_metadata, parse_partition_metadata,
};
use crate::partition::Partition;
use crate::route::PartitionKey;
use stored::{Stored, has_sound_batch, next_stored};

/// Bytes read at a time.
const STEP_BYTES: usize = 1 << 20;
/// Kafka's segments are no longer: their indexes have positions of 31 bits.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

impl Store {
    /// Notes which folders exist, so that new partitions need not look.
    pub(super) fn found(&self, folder: &Folder, entries: Vec<DirEntry>) {
        let dirs = entries
            .into_iter()
            .filter(|entry| entry.is_dir)
            .map(|entry| entry.name);
        *folder.found_dirs.borrow_mut() = dirs.collect();
    }

    async fn import(
        &self,
        key: &PartitionKey,
        (folder, dir): (&Path, &str),
        config: &Rc<LogConfig>,
    ) -> Result<Option<Log>, ReadError> {
        let path = folder.join(dir);
        let topic = self.topic_of_dir(&path).await.map_err(not_taken_over)?;
        let deleted = topic.filter(|topic| *topic != key.topic && !has_only_owner(key));
        if let Some(deleted) = deleted {
            tracing::info!(dir, "the folder belongs to a topic that was deleted");
            // Under a name of its own: this topic may be deleted before what is set aside has gone.
            self.set_aside_dir(folder, dir, DirPurpose::Delete, deleted)
                .await
                .map_err(not_taken_over)?;
            return Ok(None);
        }
        let entries = match self.io().list_dir(&path).await {
            // Another shard had a partition there since the start, and its topic was deleted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            listed => listed.map_err(not_taken_over)?,
        };
        let mut bases: Vec<(i64, u64)> = entries
            .iter()
            .filter_map(|entry| Some((SegmentFile::parse(&entry.name)?, entry.len)))
            .filter(|(file, _)| file.kind == FileKind::Log && !file.deleted)
            .map(|(file, len)| (file.base_offset, len))
            .collect();
        bases.sort_unstable();
        let Some(&(first, _)) = bases.first() else {
            return Ok(None);
        };
        let mut log = Log::new(config.clone());
        for (at, (base, len)) in bases.iter().enumerate() {
            let later = &bases[at + 1..];
            self.import_segment(&mut log, &path, (*base, *len), later)
                .await?;
        }
        let start = self.kafkas_log_start(folder, dir).await.unwrap_or(first);
        log.set_start(start.max(first).min(log.end_offset()));
        // What is said of the files from now on holds for as long as their names do, and what says whose they are.
        let metadata = path.join(PARTITION_METADATA);
        let says_so = topic == Some(key.topic);
        let made_durable = match says_so {
            true => self.sync_small(&metadata).await,
            false => {
                let whose = format_partition_metadata(key.topic);
                self.io().write_small(&metadata, whose.as_bytes()).await
            }
        };
        made_durable.map_err(not_taken_over)?;
        for dir in [&path, folder] {
            self.io().sync_dir(dir).await.map_err(not_taken_over)?;
        }
        tracing::info!(
            dir,
            end_offset = log.end_offset(),
            "took over segments from the folder"
        );
        Ok(Some(log))
    }

    /// Makes a file durable that may have been written behind.
    async fn sync_small(&self, path: &Path) -> io::Result<()> {
        self.io()
            .open(path, OpenMode::READ_WRITE)
            .await?
            .sync()
            .await
    }

    /// The topic that a partition's folder says it belongs to, if it says so.
    pub(super) async fn topic_of_dir(&self, dir: &Path) -> io::Result<Option<Uuid>> {
        Ok(self.metadata_of_dir(dir).await?.flatten())
    }

    /// The same, and whether it says anything at all: what nobody can read is damaged.
    pub(super) async fn metadata_of_dir(&self, dir: &Path) -> io::Result<Option<Option<Uuid>>> {
        match self.io().read_small(&dir.join(PARTITION_METADATA)).await {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                Ok(Some(parse_partition_metadata(&text)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where Apache Kafka says that a partition's log starts, if records were deleted from its front.
    async fn kafkas_log_start(&self, folder: &Path, dir: &str) -> Option<i64> {
        let path = folder.join("log-start-offset-checkpoint");
        let bytes = self.io().read_small(&path).await.ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // A version and a count, then topic, partition and offset a line.
        let mut lines = text.lines().skip(2);
        lines.find_map(|line| {
            let mut words = line.split(' ');
            let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
            (format!("{topic}-{partition}") == dir).then(|| offset.parse().ok())?
        })
    }

    /// Takes over one segment. What a crash of Kafka has left behind the last sound batch of the log is
    /// cut off; a folder with damage before sound batches is refused and stays as it is. The index of the
    /// segment's aborted transactions is written anew, since Kafka may have died before it wrote its own.
    async fn import_segment(
        &self,
        log: &mut Log,
        dir: &Path,
        (base, len): (i64, u64),
        later: &[(i64, u64)],
    ) -> Result<(), ReadError> {
        let path = dir.join(SegmentFile::new(base, FileKind::Log).name());
        let file = self
            .io()
            .open(&path, OpenMode::READ_WRITE)
            .await
            .map_err(not_taken_over)?;
        let next_base = later.first().map(|(next, _)| *next);
        let noted = self
            .note_segment(log, &file, (base, len), next_base)
            .await
            .map_err(not_taken_over)?;
        if noted.sound_bytes < len {
            let position = noted.sound_bytes;
            let is_followed = later.iter().any(|(_, len)| *len > 0);
            if noted.is_misplaced
                || is_followed
                || has_sound_batch(self.io(), &file, position, len)
                    .await
                    .map_err(not_taken_over)?
            {
                tracing::error!(
                    file = %path.display(),
                    position,
                    "the segment is damaged there and goes on behind it: the partition is not taken over \
                     and its files stay as they are; let Apache Kafka recover them, or copy them anew"
                );
                return Err(ReadError::Corrupt);
            }
            tracing::warn!(file = %path.display(), position, len, "cut a segment at its last sound batch");
            file.truncate(position).await.map_err(not_taken_over)?;
        }
        file.sync().await.map_err(not_taken_over)?;
        self.write_aborted(dir, base, &noted.aborted)
            .await
            .map_err(not_taken_over)
    }

    /// Reads a segment's file and notes its batches, as far as they are sound and in their places.
    /// `next_base` is where the next segment begins, if there is one.
    pub(super) async fn note_segment(
        &self,
        log: &mut Log,
        file: &File,
        (base, len): (i64, u64),
        next_base: Option<i64>,
    ) -> io::Result<NotedSegment> {
        let now_ms = self.io().wall_ms();
        let mut noted = NotedSegment {
            sound_bytes: 0,
            is_misplaced: (base < log.end_offset() && len > 0) || len > SEGMENT_BYTES_MAX,
            aborted: Vec::new(),
        };
        if noted.is_misplaced {
            return Ok(noted);
        }
        // Where the file says that it begins, also if it holds nothing: what was there before is gone.
        log.skip_to(base.max(log.end_offset()));
        log.roll_at(log.end_offset(), now_ms);
        let mut wanted = STEP_BYTES;
        while noted.sound_bytes < len {
            let position = noted.sound_bytes;
            let aligned = align_down(position);
            let asked = wanted.next_multiple_of(BLOCK) + BLOCK;
            let chunk = file.read_at(aligned, asked).await?;
            let is_short = (chunk.len() as u64) < (len - aligned).min(asked as u64);
            let end = chunk.len().min((len - aligned) as usize);
            let chunk = chunk
                .get((position - aligned) as usize..end)
                .unwrap_or_default();
            let mut at = 0;
            let needs = loop {
                let left = (len - position) as usize - at;
                match next_stored(log, &chunk[at..], left, next_base) {
                    Stored::Batch(batch) => {
                        noted.aborted.extend(log.note_stored(&batch, now_ms));
                        at += batch.bytes().len();
                    }
                    Stored::Unread(needed) => break Some(needed),
                    Stored::Misplaced => {
                        noted.is_misplaced = true;
                        break None;
                    }
                    Stored::Unsound => break None,
                }
            };
            noted.sound_bytes += at as u64;
            match needs {
                Some(needed) if !is_short => wanted = needed.max(STEP_BYTES),
                _ => break,
            }
            self.io().yield_now().await;
        }
        log.finish_active(now_ms);
        Ok(noted)
    }

    /// Renames a partition's folder, so that a topic of the same name can be made at once. Returns
    /// the new name; `None` if there is no folder, or if it is another topic's already.
    pub(super) async fn set_aside(
        &self,
        partition: &Partition,
        unique: Uuid,
    ) -> io::Result<Option<PathBuf>> {
        self.forget_files(partition);
        match self.is_of_another_topic(partition).await {
            Ok(true) => return Ok(None),
            Ok(false) => {}
            // Nobody else has got this name yet: were the folder left, the next topic would take it for its own.
            Err(_) if partition.is_opened.get() => {}
            Err(error) => return Err(error),
        }
        let folder = partition.folder();
        let aside = self
            .set_aside_dir(
                &folder.path,
                &partition.dir_now(),
                DirPurpose::Delete,
                unique,
            )
            .await?;
        folder.found_dirs.borrow_mut().remove(&*partition.dir);
        Ok(aside)
    }

    /// Sets the folder of a partition aside whose deletion a crash has interrupted, if it is there.
    pub(super) async fn finish_drop(
        &self,
        folder: &Folder,
        key: &PartitionKey,
        dir: &str,
    ) -> io::Result<()> {
        let its: Vec<String> = {
            let found = folder.found_dirs.borrow();
            let futures = future_dirs(&found, dir);
            found.get(dir).into_iter().chain(futures).cloned().collect()
        };
        for dir in its {
            match self.topic_of_dir(&folder.path.join(&dir)).await {
                Ok(topic) if topic.is_none_or(|topic| topic == key.topic) => {}
                Ok(_) => continue,
                // It may be the next topic's of its name, which nothing but this could tell.
                Err(error) => {
                    tracing::warn!(dir, %error, "cannot find out whether a folder is that of a deleted partition: it stays");
                    continue;
                }
            }
            let unique = Uuid::from_u64_pair(self.io().random_u64(), self.io().random_u64());
            let aside = self
                .set_aside_dir(&folder.path, &dir, DirPurpose::Delete, unique)
                .await?;
            let name = aside.as_deref().and_then(Path::file_name);
            let mut found = folder.found_dirs.borrow_mut();
            found.remove(&dir);
            found.extend(name.map(|name| name.to_string_lossy().into_owned()));
        }
        Ok(())
    }

    /// Whether the folder of a partition's name may be that of another topic, as it says.
    pub(super) async fn is_of_another_topic(&self, partition: &Partition) -> io::Result<bool> {
        if must_own_dir(partition) {
            return Ok(false);
        }
        let topic = self.topic_of_dir(&self.dir(partition)).await?;
        Ok(topic.is_some_and(|topic| topic != partition.key.topic))
    }

    pub(super) async fn set_aside_dir(
        &self,
        folder: &Path,
        dir: &str,
        purpose: DirPurpose,
        unique: Uuid,
    ) -> io::Result<Option<PathBuf>> {
        let Some(parsed) = PartitionDir::parse(dir) else {
            return Ok(None);
        };
        let aside = dir_set_aside(&parsed, purpose, unique);
        let aside = folder.join(aside);
        match self.io().rename(&folder.join(dir), &aside).await {
            Ok(()) => {
                self.io().sync_dir(folder).await?;
                Ok(Some(aside))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a folder that was set aside. Another shard may have found it too.
    pub(super) async fn remove_dir_with_files(&self, dir: &Path) {
        let removed = async {
            let entries = match self.io().list_dir(dir).await {
                // A link that leads nowhere goes all the same.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                listed => listed?,
            };
            for entry in entries {
                unless_gone(self.io().remove_file(&dir.join(&entry.name)).await)?;
            }
            self.io().remove_dir(dir).await
        };
        if let Err(error) = unless_gone(removed.await) {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove a folder that was set aside");
        }
    }
}

/// Of the names of folders those of copies of the partition with this one, on their way from other log folders.
pub(super) fn future_dirs<'a>(
    names: &'a BTreeSet<String>,
    dir: &str,
) -> impl Iterator<Item = &'a String> + use<'a> {
    let front = format!("{dir}.");
    let wanted = PartitionDir::parse(dir);
    let its = names.range(front.clone()..);
    its.take_while(move |name| name.starts_with(&front))
        .filter(move |name| {
            // Names of topics have dots, too.
            PartitionDir::parse(name)
                .zip(wanted.as_ref())
                .is_some_and(|(found, wanted)| {
                    found.purpose == DirPurpose::Future
                        && (&found.topic, found.partition) == (&wanted.topic, wanted.partition)
                })
        })
}

/// The files of a partition that is to be taken over cannot be read or written.
fn not_taken_over(error: io::Error) -> ReadError {
    tracing::error!(%error, "cannot take over a partition");
    ReadError::Storage
}

/// What is not there need not be removed.
pub(super) fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A partition's folder that nobody has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The log folder that it is in.
    pub folder: Uuid,
    /// Its name.
    pub dir: String,
    /// The topic that it says it belongs to.
    pub topic: Uuid,
}

/// What was found in a segment's file.
pub(super) struct NotedSegment {
    /// Where its last sound batch ends.
    pub(super) sound_bytes: u64,
    /// What follows there is no torn batch, but something that does not belong there.
    is_misplaced: bool,
    /// Aborted transactions whose markers it holds.
    pub(super) aborted: Vec<AbortedTransaction>,
}

impl Log {
    /// Notes a batch that a segment file holds already, and returns the transaction that it aborted.
    fn note_stored(&mut self, batch: &Batch<'_>, now_ms: i64) -> Option<AbortedTransaction> {
        let (header, records) = batch
            .bytes()
            .split_first_chunk::<HEADER_BYTES>()
            .expect("a whole batch");
        let completed = self.install(header, &Bytes::copy_from_slice(records), now_ms);
        let aborted = completed
            .filter(|completed| completed.aborted)
            .map(AbortedTransaction::from);
        let active = self
            .segments()
            .last()
            .expect("a batch was installed")
            .base_offset;
        if let Some(segment) = self.segment_mut(active) {
            segment.settled = segment.bytes;
            segment.aborted += u32::from(aborted.is_some());
            let (base, settled) = (segment.base_offset, segment.settled);
            self.evict(base, settled, usize::MAX);
        }
        aborted
    }

    /// The active segment is complete as it is in its file; the next batch begins another.
    fn finish_active(&mut self, now_ms: i64) {
        let end = self.end_offset();
        let Some(active) = self.segments().last().map(|segment| segment.base_offset) else {
            return;
        };
        if active == end {
            return;
        }
        self.roll_at(end, now_ms);
        if let Some(segment) = self.segment_mut(active) {
            segment.finish();
        }
    }
}

impl Shard {
    /// Where the files of a partition of this shard are, or will be once there are any. Files of other names than those
    /// of Kafka's logs may be put there; they go with the partition.
    pub fn partition_dir(&self, key: &PartitionKey) -> Option<PathBuf> {
        let partition = self.partition(key)?;
        Some(self.0.store.dir(&partition))
    }

    /// Takes over a partition that is not in a journal and whose segments lie in a folder of it: written
    /// by Apache Kafka, or copied there. `None` if there is nothing. After an error the folder counts as
    /// unclaimed still, so that no later try begins an empty log over its files.
    pub(super) async fn import(
        &self,
        key: &PartitionKey,
        dir: &str,
        wanted: &Rc<Folder>,
        config: &Rc<LogConfig>,
    ) -> Result<Option<(Rc<Folder>, Log)>, ReadError> {
        // What is elsewhere is not all that there is, if it is of an offline folder.
        let others = self.0.folders.online();
        let others = others.filter(|folder| folder.id != wanted.id && !wanted.is_offline.get());
        let mut found = None;
        for folder in std::iter::once(wanted).chain(others) {
            if found.is_some() || !folder.found_dirs.borrow().contains(dir) {
                continue;
            }
            let place = (&*folder.path, dir);
            let log = self.0.store.import(key, place, config).await?;
            folder.found_dirs.borrow_mut().remove(dir);
            found = log.map(|log| (folder.clone(), log));
        }
        Ok(found)
    }

    /// Folders of partitions whose topics nobody knows by name.
    pub async fn strays(&self, is_known: impl Fn(&str) -> bool) -> Vec<Stray> {
        let is_stray = |dir: &String| {
            PartitionDir::parse(dir)
                .is_some_and(|dir| dir.purpose == DirPurpose::Live && !is_known(&dir.topic))
        };
        let mut strays = Vec::new();
        for folder in self.0.folders.online() {
            let found = folder.found_dirs.borrow().clone();
            for dir in found.into_iter().filter(is_stray) {
                let path = folder.path.join(&dir);
                // Anything else that looks like one is none of ours.
                if let Ok(Some(topic)) = self.0.store.topic_of_dir(&path).await {
                    let folder = folder.id;
                    strays.push(Stray { folder, dir, topic });
                }
            }
        }
        strays
    }

    /// Renames strays, as Kafka does: a deletion was cut short, or the metadata is not that of this
    /// folder. They are kept for whoever knows better. Before new topics can be made.
    pub async fn set_strays_aside(&self, strays: Vec<Stray>) {
        for Stray { folder, dir, topic } in strays {
            tracing::warn!(dir, %topic, "a folder of a topic that is not in the metadata is set aside");
            let (store, folder) = (&self.0.store, self.0.folders.by_id(folder));
            let renaming = store.set_aside_dir(&folder.path, &dir, DirPurpose::Stray, topic);
            if let Err(error) = renaming.await {
                tracing::warn!(dir, %error, "cannot set a folder aside");
            }
        }
    }
}

#[cfg(test)]
mod tests;
