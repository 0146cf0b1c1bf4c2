//! Checkpoints: what a log says up to one of its offsets, beside the log, so that a load reads that and the rest alone.
//!
//! A checkpoint is made from the log and from the checkpoint before: of each key the newest value, as compaction would
//! leave it. It never holds what is not durable in the log. It lies in the folder of the partition, in parts of whole
//! batches in Kafka's format, which have checksums of their own, and a manifest that is written last. After a crash
//! there is the old one or the new one; parts that no manifest names are removed with the next.
//!
//! A checkpoint that is damaged, or is not of this log any more, costs the time to read all of the log and nothing else.
//! It is of this log if this begins where it did then and still has the last batch that the checkpoint has seen, and if
//! compaction has not been through anything behind that: it may have removed what deletes a key of the checkpoint.
//!
//! A new one is due when the log has grown by as many records as the last one has, and by so many that it is worth it.
//! While it is made, the keys and values of the partition are in memory a second time. So a shard makes one after the
//! other, although the partitions of a broker that starts may all be due.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corelog_shards::io::Notify;
use corelog_shards::log::batch::{BatchBuilder, BatchIter};
use corelog_shards::shard::OffsetQuery;
use uuid::Uuid;

use super::replay::{BatchMark, LoadError, Loader, Sink};
use super::{Instance, State};
use crate::coordinator::Machine;
use crate::replay::{batches_at, log_start};

const MANIFEST: &str = "coordinator.checkpoint";
/// What there must be to save at a load: some tens of milliseconds.
const RECORDS_MIN: i64 = 50_000;
/// What is written, or read, at once.
const PART_BYTES: usize = 1 << 20;
const BATCH_BYTES: usize = 128 << 10;

/// How far an instance is with its checkpoints.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// From which end of the log on the next one is due.
    due_at: Cell<i64>,
    is_under_way: Cell<bool>,
}

impl Checkpoints {
    /// There is one up to this offset, with so many records.
    pub(super) fn made(&self, offset: i64, records: i64) {
        self.due_at.set(offset + records.max(RECORDS_MIN));
    }
}

/// Who makes a checkpoint on a shard, and who waits for that to be over.
#[derive(Default)]
pub struct OneAtATime {
    is_taken: Cell<bool>,
    is_free: Notify,
}

impl OneAtATime {
    async fn turn(&self) -> Turn<'_> {
        while self.is_taken.get() {
            self.is_free.notified().await;
        }
        self.is_taken.set(true);
        Turn(self)
    }
}

struct Turn<'a>(&'a OneAtATime);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_taken.set(false);
        self.0.is_free.notify_one();
    }
}

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    topic: Uuid,
    /// Where the log began.
    log_start: i64,
    /// Up to here, this one excluded, the log is in it.
    pub(super) offset: i64,
    /// The last batch before that offset.
    last: BatchMark,
    pub(super) records: i64,
    /// The bytes of each part.
    parts: Vec<u32>,
}

const MAGIC: &[u8; 8] = b"CoChkpt\x01";

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.topic.as_bytes());
        for number in [self.log_start, self.offset, self.last.base_offset] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.last.crc.to_be_bytes());
        bytes.extend_from_slice(&self.records.to_be_bytes());
        for part in &self.parts {
            bytes.extend_from_slice(&part.to_be_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(content) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = content.strip_prefix(MAGIC)?;
        let topic = Uuid::from_bytes(take(&mut rest)?);
        let log_start = i64::from_be_bytes(take(&mut rest)?);
        let offset = i64::from_be_bytes(take(&mut rest)?);
        let base_offset = i64::from_be_bytes(take(&mut rest)?);
        let crc = u32::from_be_bytes(take(&mut rest)?);
        let records = i64::from_be_bytes(take(&mut rest)?);
        let (parts, rest) = rest.as_chunks::<4>();
        rest.is_empty().then(|| Self {
            topic,
            log_start,
            offset,
            last: BatchMark { base_offset, crc },
            records,
            parts: parts.iter().map(|part| u32::from_be_bytes(*part)).collect(),
        })
    }

    fn part(&self, dir: &Path, index: usize) -> PathBuf {
        dir.join(format!("{}{index:05}", part_prefix(self.offset)))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// What the names of all parts of a checkpoint begin with.
fn part_prefix(offset: i64) -> String {
    format!("{MANIFEST}-{offset:020}-")
}

/// Why there is no new checkpoint.
enum Unmade {
    Load(LoadError),
    /// Their records may take effect, or not.
    OpenTransactions,
    Io(std::io::Error),
    /// The partition has gone, or nothing of it is on the disk yet.
    NoFolder,
    Record(Box<dyn Error>),
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(why) => why.fmt(f),
            Self::OpenTransactions => f.write_str("transactions have no end yet"),
            Self::Io(error) => error.fmt(f),
            Self::NoFolder => f.write_str("the partition has no folder"),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl From<std::io::Error> for Unmade {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NoFolder,
            _ => Self::Io(error),
        }
    }
}

/// The newest value of each key.
#[derive(Default)]
struct Newest(BTreeMap<Box<[u8]>, Box<[u8]>>);

impl Sink for Newest {
    type Record = (Box<[u8]>, Option<Box<[u8]>>);

    fn decode(&self, key: &[u8], value: Option<&[u8]>) -> Result<Self::Record, Box<dyn Error>> {
        Ok((key.into(), value.map(Into::into)))
    }

    fn take(&mut self, (key, value): Self::Record) {
        match value {
            Some(value) => self.0.insert(key, value),
            None => self.0.remove(&key),
        };
    }
}

impl<M: Machine> Instance<M> {
    /// The checkpoint beside the log, if there is one that is of this log.
    pub(super) async fn manifest(&self) -> Option<Manifest> {
        let (shard, key) = (&self.shard, self.key);
        let path = shard.partition_dir(&key)?.join(MANIFEST);
        let bytes = shard.io().read_small(&path).await.ok()?;
        let found = Manifest::decode(&bytes);
        let is_sound = async |manifest: &Manifest| {
            let latest = OffsetQuery::Latest { committed: false };
            let start = log_start(shard, &key).await.ok()?;
            let end = shard.offset_for(&key, None, latest).await.ok()?.offset;
            let fits = manifest.topic == key.topic
                && manifest.log_start == start
                && (start..=end).contains(&manifest.offset)
                && shard.first_dirty_offset(&key)? <= manifest.offset;
            if !fits {
                return None;
            }
            let batches = batches_at(shard, key, manifest.last.base_offset)
                .await
                .ok()?;
            let last = BatchIter::verifying(&batches).next()?.ok()?;
            let mark = BatchMark {
                base_offset: last.base_offset(),
                crc: last.crc(),
            };
            (mark == manifest.last && last.next_offset() == manifest.offset).then_some(())
        };
        match &found {
            Some(manifest) if is_sound(manifest).await.is_some() => found,
            _ => {
                let partition = &self.name;
                tracing::warn!(
                    partition,
                    "the checkpoint of a coordinator is not of its log"
                );
                None
            }
        }
    }

    /// Replays the parts of a checkpoint. An error for one that is damaged.
    pub(super) async fn replay_checkpoint<S: Sink>(
        &self,
        manifest: &Manifest,
        loader: &mut Loader<'_, M, S>,
    ) -> Result<(), Box<dyn Error>> {
        let dir = self.shard.partition_dir(&self.key).ok_or("it has gone")?;
        let before = loader.records;
        for (index, bytes) in manifest.parts.iter().enumerate() {
            let part = manifest.part(&dir, index);
            let part = self.shard.io().read_small(&part).await?;
            if part.len() != *bytes as usize {
                return Err(format!("part {index} has {} bytes of {bytes}", part.len()).into());
            }
            let replayed = loader.replay(&part, 0).await;
            replayed.map_err(|error| format!("part {index}: {error}"))?;
        }
        match (loader.records - before) as i64 {
            records if records == manifest.records => {
                loader.last = Some(manifest.last);
                Ok(())
            }
            records => Err(format!("{records} records of {}", manifest.records).into()),
        }
    }

    /// Makes a new checkpoint in the background if the log has grown by enough.
    pub(super) fn checkpoint_if_due(self: &Rc<Self>, log_end: i64) {
        let checkpoints = &self.checkpoints;
        if log_end < checkpoints.due_at.get()
            || checkpoints.is_under_way.get()
            || !matches!(*self.state.borrow(), State::Active(_))
        {
            return;
        }
        checkpoints.is_under_way.set(true);
        let instance = Rc::clone(self);
        let term = self.term.get();
        self.shard.io().spawn("coordinator checkpoint", async move {
            let turn = instance.checkpointing.turn().await;
            let io = instance.shard.io();
            let begun = io.now();
            let made = instance.make_checkpoint(term).await;
            drop(turn);
            let checkpoints = &instance.checkpoints;
            checkpoints.is_under_way.set(false);
            let partition = &instance.name;
            match made {
                Ok(manifest) => {
                    checkpoints.made(manifest.offset, manifest.records);
                    let ms = io.now().since(begun).as_millis() as u64;
                    let (offset, records) = (manifest.offset, manifest.records);
                    tracing::debug!(partition, offset, records, ms, "made a checkpoint");
                }
                Err(why) => {
                    checkpoints.due_at.set(log_end + RECORDS_MIN);
                    if !matches!(why, Unmade::NoFolder | Unmade::Load(LoadError::Overtaken)) {
                        tracing::warn!(partition, %why, "there is no new checkpoint of a coordinator");
                    }
                }
            }
        });
    }

    async fn make_checkpoint(&self, term: u64) -> Result<Manifest, Unmade> {
        let (shard, key) = (&self.shard, self.key);
        let failed = |error| Unmade::Load(LoadError::Read(error));
        let log_start = log_start(shard, &key).await.map_err(failed)?;
        let mut loader = Loader::new(self, term, Newest::default());
        let mut next = log_start;
        if let Some(before) = self.manifest().await {
            match self.replay_checkpoint(&before, &mut loader).await {
                Ok(()) => next = before.offset,
                Err(_) => loader = Loader::new(self, term, Newest::default()),
            }
        }
        let offset = loader.replay_log(next).await.map_err(Unmade::Load)?;
        if loader.open_transactions() > 0 {
            return Err(Unmade::OpenTransactions);
        }
        let last = loader.last.ok_or(Unmade::NoFolder)?;
        let dir = shard.partition_dir(&key).ok_or(Unmade::NoFolder)?;
        let mut manifest = Manifest {
            topic: key.topic,
            log_start,
            offset,
            last,
            records: loader.sink.0.len() as i64,
            parts: Vec::new(),
        };
        let written = self
            .write_checkpoint(&dir, &mut manifest, loader.sink, term)
            .await;
        let own = part_prefix(offset);
        match &written {
            Ok(()) => {
                let is_old = |name: &str| !name.starts_with(&own);
                self.remove_parts(&dir, is_old).await?;
            }
            // The folder may be another's by now.
            Err(_) if !self.is_in(term) => {}
            // The disk may be full, and this is of no use. What cannot be removed goes with the next checkpoint.
            Err(_) => _ = self.remove_parts(&dir, |name| name.starts_with(&own)).await,
        }
        written.map(|()| manifest)
    }

    /// Writes a checkpoint, the manifest at the end.
    async fn write_checkpoint(
        &self,
        dir: &Path,
        manifest: &mut Manifest,
        newest: Newest,
        term: u64,
    ) -> Result<(), Unmade> {
        self.write_parts(dir, manifest, newest).await?;
        if !self.is_in(term) {
            return Err(Unmade::Load(LoadError::Overtaken));
        }
        let io = self.shard.io();
        io.write_small(&dir.join(MANIFEST), &manifest.encode())
            .await?;
        Ok(())
    }

    async fn write_parts(
        &self,
        dir: &Path,
        manifest: &mut Manifest,
        newest: Newest,
    ) -> Result<(), Unmade> {
        let io = self.shard.io();
        let mut slice = io.slice();
        let mut part = Vec::new();
        let mut batch = BatchBuilder::uncompressed();
        let mut records = newest.0.into_iter().peekable();
        while let Some((key, value)) = records.next() {
            let appended = batch.append(0, Some(&key), Some(&value));
            appended.map_err(|error| Unmade::Record(error.into()))?;
            let is_last = records.peek().is_none();
            if batch.uncompressed_bytes() >= BATCH_BYTES || is_last {
                let full = std::mem::replace(&mut batch, BatchBuilder::uncompressed());
                part.extend(
                    full.finish()
                        .map_err(|error| Unmade::Record(error.into()))?,
                );
            }
            if part.len() >= PART_BYTES || is_last {
                let path = manifest.part(dir, manifest.parts.len());
                io.write_small(&path, &part).await?;
                manifest.parts.push(part.len() as u32);
                part.clear();
            }
            if slice.is_over(io) {
                io.yield_now().await;
                slice = io.slice();
            }
        }
        Ok(())
    }

    async fn remove_parts(&self, dir: &Path, goes: impl Fn(&str) -> bool) -> Result<(), Unmade> {
        let io = self.shard.io();
        for entry in io.list_dir(dir).await? {
            let is_part = entry.name.starts_with(MANIFEST) && entry.name != MANIFEST;
            if is_part && goes(&entry.name) {
                io.remove_file(&dir.join(&entry.name)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_or_not_at_all() {
        let manifest = Manifest {
            topic: Uuid::from_u128(7),
            log_start: 3,
            offset: 1_000,
            last: BatchMark {
                base_offset: 990,
                crc: 77,
            },
            records: 12,
            parts: vec![100, 20],
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Some(manifest));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Manifest::decode(&damaged), None, "byte {at}");
            assert_eq!(Manifest::decode(&bytes[..at]), None, "{at} bytes");
        }
    }
}
