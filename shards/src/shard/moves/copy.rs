//! The copy of a partition's files in another log folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use super::{Ended, Move};
use crate::io::{BLOCK, DmaBuffer, File, Landmark, OpenMode, align_down};
use crate::log::segment_name::{
    DirPurpose, FileKind, PARTITION_METADATA, SegmentFile, format_partition_metadata,
};
use crate::mutation::{Mutation, is_on};
use crate::partition::Partition;
use crate::shard::Shard;
use crate::shard::folders::{future_dirs, unless_gone};
use crate::shard::store::SEGMENT_FILES;
use crate::shard::throttle::Throttle;
use crate::shard::volume::Folder;

/// Less than this is copied while the partition's turn is held.
const LAST_BYTES_MAX: u64 = 1 << 20;
/// In so many segments at most.
const LAST_SEGMENTS_MAX: usize = 2;
/// A move that has to go slowly looks again whether it is still wanted.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// See the module. Removed by [`Shard::remove_copy`] if nothing comes of it.
pub(super) struct Copy<'a> {
    shard: &'a Shard,
    partition: &'a Rc<Partition>,
    its: &'a Rc<Move>,
    dir: PathBuf,
    segments: BTreeMap<i64, Copied>,
    /// All segments before the one with this base offset are copied and finished.
    done_before: i64,
    /// The file written last.
    open: Option<(i64, Rc<File>)>,
    buffer: Option<DmaBuffer>,
    throttle: Throttle,
}

/// How much of a segment was copied.
#[derive(Default)]
struct Copied {
    bytes: u64,
    /// Length of its file when that was synced last.
    synced: Option<u64>,
    /// Nothing will be added, and the indexes are there.
    is_finished: bool,
}

/// What of a segment is to be copied.
struct Part {
    base_offset: i64,
    from: u64,
    to: u64,
    is_finished: bool,
}

impl Shard {
    /// Makes the folder of a move's copy, durably.
    pub(super) async fn make_copy_dir(&self, partition: &Partition, its: &Move) -> io::Result<()> {
        let io = self.io();
        let dir = its.dir();
        io.create_dir_all(&dir).await?;
        let metadata = format_partition_metadata(partition.key.topic);
        let path = dir.join(PARTITION_METADATA);
        io.write_small(&path, metadata.as_bytes()).await?;
        io.sync_dir(&its.target.path).await
    }

    /// Removes the copy of a move that has come to nothing.
    pub(super) async fn remove_copy(&self, partition: &Partition, its: &Move) {
        let target = &its.target.path;
        if let Err(error) = self.remove_copy_dir(target, &its.name).await {
            let folder = target.display();
            tracing::warn!(partition = %partition.dir, %folder, %error, "cannot remove the copy of a partition");
        }
    }

    /// Removes copies of a partition that earlier runs have left where it goes now.
    pub(super) async fn remove_other_copies(
        &self,
        partition: &Partition,
        its: &Move,
    ) -> io::Result<()> {
        let (io, store) = (self.io(), &self.0.store);
        let target = &its.target.path;
        let names = io.list_dir(target).await?;
        let names = names.into_iter().map(|entry| entry.name).collect();
        for name in future_dirs(&names, &partition.dir) {
            if *name == its.name {
                continue;
            }
            let topic = store.topic_of_dir(&target.join(name)).await?;
            if topic.is_none_or(|topic| topic == partition.key.topic) {
                self.remove_copy_dir(target, name).await?;
            }
        }
        Ok(())
    }

    async fn remove_copy_dir(&self, target: &Path, name: &str) -> io::Result<()> {
        let (io, store) = (self.io(), &self.0.store);
        let unique = Uuid::from_u64_pair(io.random_u64(), io.random_u64());
        let aside = store.set_aside_dir(target, name, DirPurpose::Delete, unique);
        if let Some(aside) = aside.await? {
            store.remove_dir_with_files(&aside).await;
        }
        Ok(())
    }

    /// What is needed for a copy.
    pub(super) async fn begin_copy<'a>(
        &'a self,
        partition: &'a Rc<Partition>,
        its: &'a Rc<Move>,
    ) -> Result<Copy<'a>, Ended> {
        self.check_move(partition, its)?;
        // A swap that is under way ends first; another one is not begun while the partition moves.
        drop(partition.settling.take().await);
        let finished = self.finish_swaps(partition).await;
        finished.map_err(|error| Ended::Source(io::Error::other(error)))?;
        // From here on they are in memory, whatever becomes of the files that name them.
        let loaded = self.0.store.all_aborted(partition).await;
        loaded.map_err(|error| Ended::Source(io::Error::other(format!("{error:?}"))))?;
        let io = self.io();
        let copy = Copy {
            shard: self,
            partition,
            its,
            dir: its.dir(),
            segments: BTreeMap::new(),
            done_before: i64::MIN,
            open: None,
            buffer: None,
            throttle: Throttle::new(io.now()),
        };
        Ok(copy)
    }
}

impl Copy<'_> {
    /// Number in its folder's name.
    pub(super) fn future(&self) -> Uuid {
        self.its.future
    }

    /// The log folder that it is in.
    pub(super) fn target(&self) -> Rc<Folder> {
        self.its.target.clone()
    }

    /// Whether there is still a reason to go on.
    pub(super) fn check(&self) -> Result<(), Ended> {
        self.shard.check_move(self.partition, self.its)
    }

    /// Copies what files hold, until it is only a little that they have beyond the copy. The caller does not hold the
    /// partition's turn.
    pub(super) async fn catch_up(&mut self) -> Result<(), Ended> {
        loop {
            self.check()?;
            let parts = self.parts(false);
            if let Some(first) = parts.first() {
                self.done_before = first.base_offset;
            }
            let left: u64 = parts.iter().map(|part| part.to - part.from).sum();
            self.note_progress(&parts);
            let is_close = left <= LAST_BYTES_MAX && parts.len() <= LAST_SEGMENTS_MAX;
            match parts.into_iter().next() {
                Some(part) if !is_close => self.copy_part(&part, true).await?,
                _ => return Ok(()),
            }
        }
    }

    /// Copies all that files hold, and has the copy on stable storage. The caller holds the partition's turn.
    pub(super) async fn seal(&mut self) -> Result<(), Ended> {
        loop {
            self.check()?;
            let parts = self.parts(true);
            self.note_progress(&parts);
            let Some(part) = parts.into_iter().next() else {
                break;
            };
            self.copy_part(&part, false).await?;
        }
        self.remove_old_segments().await.map_err(Ended::Target)?;
        let synced = self.shard.io().sync_dir(&self.dir).await;
        synced.map_err(Ended::Target)
    }

    /// What is to be copied, in the order of offsets. Of a file that is written, only whole blocks stay as they are,
    /// unless nobody `is_written_by` now.
    fn parts(&self, holds_turn: bool) -> Vec<Part> {
        let state = self.partition.state.borrow();
        let segments = state.log.segments();
        let start = state.log.start_offset();
        // Those that lie below the log start are about to go, or gone already.
        let below = segments.partition_point(|segment| segment.base_offset <= start);
        let done = segments.partition_point(|segment| segment.base_offset < self.done_before);
        let mut parts = Vec::new();
        for segment in &segments[below.saturating_sub(1).max(done)..] {
            let none = Copied::default();
            let copied = self.segments.get(&segment.base_offset).unwrap_or(&none);
            let is_finished = segment.is_finished;
            let to = match is_finished || holds_turn {
                true => segment.settled,
                false => align_down(segment.settled),
            };
            let is_all_there = match holds_turn {
                true => copied.synced == Some(to) || (to == 0 && !is_finished),
                false => copied.bytes >= to,
            };
            if !copied.is_finished && (is_finished || !is_all_there) {
                parts.push(Part {
                    base_offset: segment.base_offset,
                    from: copied.bytes.min(to),
                    to,
                    is_finished,
                });
            }
        }
        parts
    }

    fn note_progress(&self, parts: &[Part]) {
        let end = match parts.first() {
            Some(part) => part.base_offset,
            None => {
                let state = self.partition.state.borrow();
                let unfinished = state.log.segments().iter();
                let mut unfinished = unfinished.filter(|segment| !segment.is_finished);
                let first = unfinished.next();
                first.map_or(state.log.end_offset(), |segment| segment.base_offset)
            }
        };
        self.its.copied_through.set(end);
        let bytes = self.segments.values().map(|copied| copied.bytes).sum();
        self.its.bytes.set(bytes);
    }

    /// Whether a segment is in the log as it was when it was looked at.
    fn is_there(&self, base_offset: i64) -> bool {
        let state = self.partition.state.borrow();
        state.log.segment(base_offset).is_some()
    }

    /// Copies a part, and completes the segment if that is finished, or if this is the last to be copied of it.
    async fn copy_part(&mut self, part: &Part, is_paced: bool) -> Result<(), Ended> {
        let base = part.base_offset;
        let _copying = self.shard.io().within(Landmark::MoveCopies);
        let copied = self.copy_bytes(part, is_paced).await;
        match copied {
            // Retention was faster.
            Err(Ended::Source(_)) if !self.is_there(base) => return Ok(()),
            copied => copied?,
        }
        let is_cut = part.is_finished || !is_paced;
        if is_cut {
            let file = self.file(base).await.map_err(Ended::Target)?;
            file.truncate(part.to).await.map_err(Ended::Target)?;
            if !is_on(Mutation::MoveWithoutSync) {
                file.sync().await.map_err(Ended::Target)?;
            }
            self.segments.entry(base).or_default().synced = Some(part.to);
        }
        if part.is_finished {
            self.copy_indexes(base).await?;
            self.segments.entry(base).or_default().is_finished = true;
        }
        Ok(())
    }

    async fn copy_bytes(&mut self, part: &Part, is_paced: bool) -> Result<(), Ended> {
        let base = part.base_offset;
        let (store, io) = (&self.shard.0.store, self.shard.io());
        let source = store.segment(self.partition, base, false).await;
        let target = self.file(base).await.map_err(Ended::Target)?;
        let shares = (
            self.partition.disk_share(),
            self.its.target.disk_share.clone(),
        );
        if part.from >= part.to {
            return Ok(());
        }
        let source = source.map_err(Ended::Source)?;
        let mut at = align_down(part.from);
        while at < part.to {
            self.check()?;
            let chunk_max = shares.0.chunk_bytes_max(io).min(self.paced_bytes_max());
            let wanted = (part.to - at).min(chunk_max as u64) as usize;
            let padded = wanted.next_multiple_of(BLOCK);
            let read = shares.0.read(io, &source, at, padded).await;
            let read = read.map_err(Ended::Source)?;
            let Some(bytes) = read.get(..wanted) else {
                return Err(Ended::Source(io::ErrorKind::UnexpectedEof.into()));
            };
            let spare = self.buffer.take().filter(|spare| spare.len() >= padded);
            let mut buffer = spare.unwrap_or_else(|| io.buffer(padded));
            buffer[..wanted].copy_from_slice(bytes);
            buffer[wanted..padded].fill(0);
            drop(read);
            let writing = shares.1.write(io, &target, buffer, padded, at);
            let (written, buffer) = writing.await;
            self.buffer = Some(buffer);
            written.map_err(Ended::Target)?;
            self.shard.0.metrics.moved_bytes.add(wanted as u64);
            at += wanted as u64;
            let bytes = &self.its.bytes;
            bytes.set(bytes.get() + wanted as u64);
            let copied = self.segments.entry(base).or_default();
            copied.bytes = at;
            copied.synced = None;
            if is_paced {
                self.pace(wanted).await;
            }
            io.yield_now().await;
        }
        Ok(())
    }

    /// The file of a segment's copy.
    async fn file(&mut self, base_offset: i64) -> io::Result<Rc<File>> {
        if let Some((base, file)) = &self.open
            && *base == base_offset
        {
            return Ok(file.clone());
        }
        let name = SegmentFile::new(base_offset, FileKind::Log).name();
        let path = self.dir.join(name);
        let file = Rc::new(self.shard.io().open(&path, OpenMode::CREATE).await?);
        self.open = Some((base_offset, file.clone()));
        Ok(file)
    }

    async fn copy_indexes(&self, base_offset: i64) -> Result<(), Ended> {
        let indexes = SEGMENT_FILES
            .into_iter()
            .filter(|kind| *kind != FileKind::Log);
        for kind in indexes {
            let store = &self.shard.0.store;
            let bytes = match store.read_file(self.partition, base_offset, kind).await {
                // Without its index a segment is read from its beginning.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(Ended::Source)?,
            };
            let path = self.dir.join(SegmentFile::new(base_offset, kind).name());
            let written = self.shard.io().write_small(&path, &bytes).await;
            written.map_err(Ended::Target)?;
        }
        Ok(())
    }

    /// Removes copies of segments that are not in the log any more. The caller holds the partition's turn.
    async fn remove_old_segments(&mut self) -> io::Result<()> {
        let old: Vec<i64> = {
            let bases = self.segments.keys().copied();
            bases.filter(|base| !self.is_there(*base)).collect()
        };
        for base in old {
            self.open = None;
            for kind in SEGMENT_FILES {
                let path = self.dir.join(SegmentFile::new(base, kind).name());
                unless_gone(self.shard.io().remove_file(&path).await)?;
            }
            self.segments.remove(&base);
        }
        Ok(())
    }

    /// Bytes copied at once, where the allowed rate is low.
    fn paced_bytes_max(&self) -> usize {
        match self.shard.0.moves.bytes_a_second.get() {
            Some(a_second) => align_down(a_second).clamp(BLOCK as u64, 1 << 20) as usize,
            None => usize::MAX,
        }
    }

    /// Waits until so many bytes more may have been copied.
    async fn pace(&mut self, bytes: usize) {
        let io = self.shard.io();
        self.throttle.owe(bytes);
        while self.check().is_ok() {
            let a_second = self.shard.0.moves.bytes_a_second.get();
            let wait = self.throttle.wait(io.now(), a_second);
            if wait.is_zero() {
                return;
            }
            io.sleep(wait.min(PAUSE_MAX)).await;
        }
    }
}
