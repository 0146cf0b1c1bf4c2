//! The segment files of one shard: opened on demand, kept open within a limit, read directly.
//!
//! Partitions get a folder with the first file they need, so that thousands of small ones cost
//! neither folders nor descriptors.

mod ahead;
mod recent;
mod scan;
mod share;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use super::folders::unless_gone;
use super::message::{ReadError, ReadSpec};
use crate::io::{BLOCK, File, Io, OpenMode, align_down};
use crate::log::index::SegmentIndex;
use crate::log::segment_name::{
    DirPurpose, FileKind, PARTITION_METADATA, SegmentFile, format_partition_metadata,
};
use crate::log::{DiskPlace, Found};
use crate::partition::Partition;
use crate::route::PartitionKey;
use ahead::ReadAhead;
use recent::Recent;
use scan::{Expected, Piece, Scan};
pub(super) use share::DiskShare;

/// Least bytes of one read: a smaller one costs nearly as much.
const READ_BYTES_MIN: usize = 128 << 10;
/// Less than this is not read ahead: the reader is about to find the rest in memory.
const READ_AHEAD_LEFT_MIN: u64 = 128 << 10;
/// Indexes of full segments kept in memory.
const INDEXES_MAX: usize = 64;
/// Readers whose place in a file is remembered.
const CURSORS_MAX: usize = 1024;

/// The files of a segment that are made here.
pub(super) const SEGMENT_FILES: [FileKind; 4] = [
    FileKind::Log,
    FileKind::OffsetIndex,
    FileKind::TimeIndex,
    FileKind::TxnIndex,
];

/// Partition, base offset and generation: what was read before compaction put another file in its place is never taken
/// for what is there now.
type SegmentKey = (PartitionKey, i64, u32);

/// Files and what is known of them.
pub(super) struct Store {
    io: Io,
    log_dir: PathBuf,
    open_files_max: usize,
    files: RefCell<Recent<SegmentKey, Rc<File>>>,
    indexes: RefCell<Recent<SegmentKey, Rc<SegmentIndex>>>,
    /// Where the batch begins that a sequential reader asks for next.
    cursors: RefCell<Recent<(PartitionKey, i64), (SegmentKey, u64)>>,
    ahead: ReadAhead,
    pub(super) disk_share: Rc<DiskShare>,
    found_dirs: RefCell<BTreeSet<String>>,
    /// Nothing need be durable any more but by the journal: the shard stops.
    is_stopping: Cell<bool>,
}

impl Store {
    pub(super) fn new(io: Io, log_dir: PathBuf, open_files_max: usize) -> Self {
        Self {
            io,
            log_dir,
            open_files_max,
            files: RefCell::default(),
            indexes: RefCell::default(),
            cursors: RefCell::default(),
            ahead: ReadAhead::default(),
            disk_share: Rc::default(),
            found_dirs: RefCell::default(),
            is_stopping: Cell::new(false),
        }
    }

    /// From now on files are written for other tools to read; what must last is in the journal.
    pub(super) fn stop(&self) {
        self.is_stopping.set(true);
    }

    async fn write_small(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match self.is_stopping.get() {
            true => self.io.write_behind(path, bytes).await,
            false => self.io.write_small(path, bytes).await,
        }
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.is_stopping.get() {
            true => Ok(()),
            false => self.io.sync_dir(dir).await,
        }
    }

    pub(super) fn io(&self) -> &Io {
        &self.io
    }

    pub(super) fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Folders that were there at the start and that no partition of this shard has claimed. Other
    /// shards have lists of their own, so any of these may be gone or another's by now.
    pub(super) fn found_dirs(&self) -> &RefCell<BTreeSet<String>> {
        &self.found_dirs
    }

    /// Closes a partition's files and forgets its indexes.
    pub(super) fn forget_files(&self, partition: &Partition) {
        let others = |(key, ..): &SegmentKey| *key != partition.key;
        self.files.borrow_mut().retain(others);
        self.indexes.borrow_mut().retain(others);
        self.ahead.forget(partition.key);
    }

    /// Closes the files of the segments with these base offsets, unless somebody is reading them.
    pub(super) fn forget_segments(&self, partition: &Partition, bases: Range<i64>) {
        let is_other = |(key, base, _): &SegmentKey| *key != partition.key || !bases.contains(base);
        self.files.borrow_mut().retain(is_other);
        self.indexes.borrow_mut().retain(is_other);
    }

    /// The folder of a partition.
    pub(super) fn dir(&self, partition: &Partition) -> PathBuf {
        self.log_dir.join(&*partition.dir)
    }

    pub(super) fn path(&self, partition: &Partition, segment_base: i64, kind: FileKind) -> PathBuf {
        self.dir(partition)
            .join(SegmentFile::new(segment_base, kind).name())
    }

    /// The file of a segment, made if there is none. The caller holds the partition's turn.
    pub(super) async fn segment_for_write(
        &self,
        partition: &Partition,
        segment_base: i64,
    ) -> io::Result<Rc<File>> {
        if !partition.has_dir.get() {
            let dir = self.dir(partition);
            if self.is_of_another_topic(partition).await? {
                // A partition that recovery found may itself be the one that was deleted.
                if !partition.is_opened.get() {
                    return Err(io::Error::other("its folder belongs to another topic"));
                }
                self.set_aside_dir(&partition.dir, DirPurpose::Delete, partition.key.topic)
                    .await?;
            }
            self.io.create_dir_all(&dir).await?;
            let metadata = format_partition_metadata(partition.key.topic);
            self.write_small(&dir.join(PARTITION_METADATA), metadata.as_bytes())
                .await?;
            self.sync_dir(&self.log_dir).await?;
            partition.has_dir.set(true);
        }
        let file = self.segment(partition, segment_base, true).await?;
        self.cut_leftovers(partition, segment_base, &file).await?;
        Ok(file)
    }

    /// Cuts off what an earlier run has left behind that is written again. Were it left there, a sync
    /// would say nothing of the file's length, which one that failed then may have covered.
    async fn cut_leftovers(
        &self,
        partition: &Partition,
        segment_base: i64,
        file: &File,
    ) -> io::Result<()> {
        let settled = {
            let state = partition.state.borrow();
            match state.log.segment(segment_base) {
                Some(segment) if !segment.is_cut => segment.settled,
                _ => return Ok(()),
            }
        };
        file.truncate(settled).await?;
        if settled == 0 {
            // An attempt before this one may have made the file, but not its name durable.
            self.sync_dir(&self.dir(partition)).await?;
        }
        if let Some(segment) = partition.state.borrow_mut().log.segment_mut(segment_base) {
            segment.is_cut = true;
        }
        Ok(())
    }

    pub(super) async fn segment(
        &self,
        partition: &Partition,
        segment_base: i64,
        create: bool,
    ) -> io::Result<Rc<File>> {
        loop {
            let key = segment_key(partition, segment_base);
            if let Some(file) = self.files.borrow_mut().get(&key) {
                return Ok(file.clone());
            }
            let file = Rc::new(self.open_segment(partition, segment_base, create).await?);
            // Unless compaction has put another one there meanwhile.
            if segment_key(partition, segment_base) == key {
                self.keep_open(key, file.clone());
                return Ok(file);
            }
        }
    }

    async fn open_segment(
        &self,
        partition: &Partition,
        segment_base: i64,
        create: bool,
    ) -> io::Result<File> {
        if let Some(cleaned) = self.cleaned_path(partition, segment_base, FileKind::Log) {
            match self.io.open(&cleaned, OpenMode::READ_WRITE).await {
                // Meanwhile it has got its own name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        let how = match create {
            true => OpenMode::CREATE,
            false => OpenMode::READ_WRITE,
        };
        let path = self.path(partition, segment_base, FileKind::Log);
        self.io.open(&path, how).await
    }

    /// Writes both index files of a full segment.
    pub(super) async fn write_indexes(
        &self,
        partition: &Partition,
        segment_base: i64,
    ) -> io::Result<()> {
        let (offsets, times) = {
            let state = partition.state.borrow();
            let Some(index) = state.log.index_in_memory(segment_base) else {
                return Ok(());
            };
            (
                index.offset_index_bytes().to_vec(),
                index.time_index_bytes().to_vec(),
            )
        };
        let path = |kind| self.path(partition, segment_base, kind);
        self.write_small(&path(FileKind::OffsetIndex), &offsets)
            .await?;
        self.write_small(&path(FileKind::TimeIndex), &times).await
    }

    /// Removes the files of a segment that nobody may read any more.
    pub(super) async fn remove_segment(
        &self,
        partition: &Partition,
        segment_base: i64,
    ) -> io::Result<()> {
        self.forget_segments(partition, segment_base..segment_base + 1);
        for kind in SEGMENT_FILES {
            let path = self.path(partition, segment_base, kind);
            unless_gone(self.io.remove_file(&path).await)?;
        }
        Ok(())
    }

    /// The index of a segment, from memory or its files.
    pub(super) async fn index(&self, partition: &Partition, segment_base: i64) -> Rc<SegmentIndex> {
        loop {
            let key = segment_key(partition, segment_base);
            if let Some(index) = self.indexes.borrow_mut().get(&key) {
                return index.clone();
            }
            let index = Rc::new(self.load_index(partition, segment_base).await);
            // Unless compaction has put another one there meanwhile.
            if segment_key(partition, segment_base) == key {
                let mut indexes = self.indexes.borrow_mut();
                indexes.put(key, index.clone(), INDEXES_MAX);
                return index;
            }
        }
    }

    async fn load_index(&self, partition: &Partition, segment_base: i64) -> SegmentIndex {
        let (offset_kind, time_kind) = (FileKind::OffsetIndex, FileKind::TimeIndex);
        let offsets = self.read_file(partition, segment_base, offset_kind).await;
        let times = self.read_file(partition, segment_base, time_kind).await;
        let segment_bytes = {
            let state = partition.state.borrow();
            let segment = state.log.segment(segment_base);
            segment.map_or(0, |segment| segment.bytes)
        };
        let loaded = match (offsets, times) {
            (Ok(offsets), Ok(times)) => {
                SegmentIndex::load(segment_base, segment_bytes as u32, offsets, times).ok()
            }
            _ => None,
        };
        // Without its index a segment is read from its beginning: slower, not wrong.
        loaded.unwrap_or_else(|| {
            tracing::warn!(partition = %partition.dir, segment_base, "a segment has no usable index");
            SegmentIndex::new(segment_base)
        })
    }

    /// The content of a small file of a segment.
    pub(super) async fn read_file(
        &self,
        partition: &Partition,
        segment_base: i64,
        kind: FileKind,
    ) -> io::Result<Vec<u8>> {
        if let Some(cleaned) = self.cleaned_path(partition, segment_base, kind) {
            match self.io.read_small(&cleaned).await {
                // Meanwhile it has got its own name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => return read,
            }
        }
        let path = self.path(partition, segment_base, kind);
        self.io.read_small(&path).await
    }

    /// Where a file of a segment may still lie that compaction has just put in the place of others.
    fn cleaned_path(
        &self,
        partition: &Partition,
        segment_base: i64,
        kind: FileKind,
    ) -> Option<PathBuf> {
        let state = partition.state.borrow();
        let segment = state.log.segment(segment_base)?;
        let name = SegmentFile::new(segment_base, kind).cleaned_name();
        segment.is_swapping.then(|| self.dir(partition).join(name))
    }

    /// Keeps what is known of a segment that was just written.
    pub(super) fn know_segment(
        &self,
        partition: &Partition,
        segment_base: i64,
        file: Rc<File>,
        index: SegmentIndex,
    ) {
        let key = segment_key(partition, segment_base);
        let mut indexes = self.indexes.borrow_mut();
        indexes.put(key, Rc::new(index), INDEXES_MAX);
        drop(indexes);
        self.keep_open(key, file);
    }

    fn keep_open(&self, key: SegmentKey, file: Rc<File>) {
        let mut files = self.files.borrow_mut();
        files.put(key, file, self.open_files_max);
    }

    /// Whole batches from disk, at least the one that holds the offset if the reader insists; none
    /// that reaches `upper`. What is large is read in chunks, between which others have their turn.
    pub(super) async fn read(
        &self,
        partition: &Rc<Partition>,
        spec: &ReadSpec,
        upper: i64,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut rest = spec.clone();
        let mut batches = Vec::new();
        loop {
            let chunk = match self.read_chunk(partition, &rest, upper).await {
                Ok(chunk) => chunk,
                Err(error) if batches.is_empty() => return Err(error),
                // What came before it is sound; who reads on meets the error.
                Err(_) => return Ok(batches),
            };
            let bytes: usize = chunk.batches.iter().map(Bytes::len).sum();
            batches.extend(chunk.batches);
            rest.bytes_max = rest.bytes_max.saturating_sub(bytes);
            rest.at_least_one = false;
            rest.offset = match chunk.next_offset {
                Some(next) if rest.bytes_max >= self.chunk_bytes_max() => next,
                _ => return Ok(batches),
            };
            self.io.yield_now().await;
        }
    }

    async fn read_chunk(
        &self,
        partition: &Rc<Partition>,
        spec: &ReadSpec,
        upper: i64,
    ) -> Result<Chunk, ReadError> {
        let mut offset = spec.offset;
        loop {
            let found = {
                let log = &partition.state.borrow().log;
                log.find(offset, spec.bytes_max, spec.at_least_one, upper)
            };
            let place = match found {
                Found::Memory(batches) => {
                    let next_offset = None;
                    return Ok(Chunk {
                        batches,
                        next_offset,
                    });
                }
                Found::Disk(place) => place,
            };
            let read = self
                .read_segment(partition, spec, offset..upper, &place)
                .await;
            let is_current = || {
                let state = partition.state.borrow();
                let segment = state.log.segment(place.segment_base);
                segment.is_some_and(|segment| segment.generation == place.generation)
            };
            let chunk = match read {
                // Compaction has put another file there meanwhile.
                Err(_) | Ok(None) if !is_current() && has_segment_for(partition, offset) => {
                    continue;
                }
                read => read?,
            };
            offset = match (chunk, place.next_base) {
                (Some(chunk), _) => return Ok(chunk),
                // The segment ends before the offset: compaction leaves such gaps.
                (None, Some(next)) => offset.max(next),
                // What is not in memory should be here.
                (None, None) => return Err(ReadError::Corrupt),
            };
        }
    }

    fn chunk_bytes_max(&self) -> usize {
        self.disk_share.chunk_bytes_max(&self.io)
    }

    async fn read_segment(
        &self,
        partition: &Partition,
        spec: &ReadSpec,
        wanted_offsets: Range<i64>,
        place: &DiskPlace,
    ) -> Result<Option<Chunk>, ReadError> {
        let (segment_base, limit) = (place.segment_base, place.limit);
        let key = (partition.key, segment_base, place.generation);
        let next_segment = place.next_base;
        let Start {
            mut position,
            mut expected,
            is_sequential,
        } = self.start_for(partition, key, wanted_offsets.start).await;
        let mut wanted = spec.bytes_max.clamp(READ_BYTES_MIN, self.chunk_bytes_max());
        let file = self
            .segment(partition, segment_base, false)
            .await
            .map_err(storage)?;
        let place = |at: u64| (key, at);
        let mut ahead = match is_sequential {
            true => self.ahead.take(place(align_down(position))).await,
            false => None,
        };
        let mut slice = self.io.slice();
        while position < limit {
            let aligned = align_down(position);
            let len = ((limit - aligned) as usize)
                .min(wanted + BLOCK)
                .next_multiple_of(BLOCK);
            let was_ahead = ahead.is_some();
            let chunk = match ahead.take() {
                Some(chunk) => chunk,
                None => self
                    .disk_share
                    .read(&self.io, &file, aligned, len)
                    .await
                    .map_err(storage)?,
            };
            let end = chunk.len().min((limit - aligned) as usize);
            let start = ((position - aligned) as usize).min(end);
            let is_cut_short = !was_ahead && end < len.min((limit - aligned) as usize);
            let piece = Piece {
                bytes: &chunk[start..end],
                left: limit - position,
                next_segment,
            };
            match piece.scan(expected, &wanted_offsets, spec)? {
                Scan::Data {
                    from,
                    to,
                    next_offset,
                } => {
                    let next = position + to as u64;
                    let cursor = (partition.key, next_offset);
                    self.cursors
                        .borrow_mut()
                        .put(cursor, (key, next), CURSORS_MAX);
                    let ahead_at = align_down(next);
                    if is_sequential && ahead_at + READ_AHEAD_LEFT_MIN <= limit {
                        let left = (limit - ahead_at) as usize;
                        let len =
                            align_down(left.min(wanted.min(self.chunk_bytes_max()) + BLOCK) as u64);
                        self.ahead.begin(
                            &self.io,
                            &self.disk_share,
                            file,
                            place(ahead_at),
                            len as usize,
                        );
                    }
                    return Ok(Some(Chunk {
                        batches: vec![chunk.into_bytes(start + from..start + to)],
                        next_offset: Some(next_offset),
                    }));
                }
                Scan::Nothing => return Ok(Some(Chunk::default())),
                Scan::Skipped { .. } if is_cut_short => return Err(ReadError::Corrupt),
                Scan::Skipped {
                    bytes,
                    needs,
                    expected: then,
                } => {
                    position += bytes as u64;
                    expected = then;
                    wanted = needs.max(wanted);
                }
                Scan::Astray => {
                    self.doubt_index(partition, key, position);
                    (position, expected) = (0, Expected::Base(segment_base));
                }
            }
            if slice.is_over(&self.io) {
                self.io.yield_now().await;
                slice = self.io.slice();
            }
        }
        Ok(None)
    }

    /// Where to begin reading for an offset: a batch that begins at or before it.
    async fn start_for(&self, partition: &Partition, key: SegmentKey, offset: i64) -> Start {
        let (_, segment_base, _) = key;
        if let Some((of, position)) = self.cursors.borrow_mut().get(&(partition.key, offset))
            && *of == key
        {
            return Start {
                position: *position,
                expected: Expected::Base(offset),
                is_sequential: true,
            };
        }
        let in_memory = {
            let state = partition.state.borrow();
            let index = state.log.index_in_memory(segment_base);
            index.map(|index| index.entry_for_offset(offset))
        };
        let entry = match in_memory {
            Some(entry) => entry,
            None => {
                let index = self.index(partition, segment_base).await;
                index.entry_for_offset(offset)
            }
        };
        let (position, expected) = match entry {
            Some((last_offset, position)) => (u64::from(position), Expected::Last(last_offset)),
            None => (0, Expected::Base(segment_base)),
        };
        Start {
            position,
            expected,
            is_sequential: false,
        }
    }

    /// An entry of an index leads astray: whether it has rotted or the segment has, readers begin before
    /// it from now on.
    fn doubt_index(&self, partition: &Partition, key: SegmentKey, position: u64) {
        let (_, segment_base, generation) = key;
        if segment_key(partition, segment_base).2 != generation {
            return;
        }
        tracing::warn!(partition = %partition.dir, segment_base, position, "an index does not fit to its segment");
        let mut indexes = self.indexes.borrow_mut();
        let Some(mut index) = indexes.get(&key).cloned() else {
            return;
        };
        Rc::make_mut(&mut index).forget(position as u32);
        indexes.put(key, index, INDEXES_MAX);
    }
}

/// What the files of a segment are known by at this moment.
fn segment_key(partition: &Partition, segment_base: i64) -> SegmentKey {
    let state = partition.state.borrow();
    let segment = state.log.segment(segment_base);
    let generation = segment.map_or(0, |segment| segment.generation);
    (partition.key, segment_base, generation)
}

/// Whether there is a segment to look for an offset in, rather than that it was deleted.
fn has_segment_for(partition: &Partition, offset: i64) -> bool {
    let state = partition.state.borrow();
    !state.is_dropped && offset >= state.log.start_offset()
}

/// What one read brought.
#[derive(Default)]
struct Chunk {
    batches: Vec<Bytes>,
    /// Where there may be more that the reader has room for.
    next_offset: Option<i64>,
}

/// Where to begin reading in a segment.
struct Start {
    position: u64,
    expected: Expected,
    /// Whether a reader has come that far before.
    is_sequential: bool,
}

pub(super) fn storage(error: io::Error) -> ReadError {
    tracing::error!(%error, "cannot read a segment");
    ReadError::Storage
}

#[cfg(test)]
mod tests;
