//! The segment files of one shard: opened on demand, kept open within a limit, read directly.
//!
//! Partitions get a folder with the first file they need, so that thousands of small ones cost
//! neither folders nor descriptors.

mod ahead;
mod read;
mod recent;
mod rot;
mod scan;
mod share;

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::missing::must_own_dir;
use crate::io::{File, Io, Landmark, OpenMode};
use crate::log::index::SegmentIndex;
use crate::log::segment_name::{
    DirPurpose, FileKind, PARTITION_METADATA, SegmentFile, format_partition_metadata,
};
use crate::mutation::{Mutation, is_on, strikes};
use crate::partition::Partition;
use crate::route::PartitionKey;
use ahead::ReadAhead;
use recent::Recent;
pub(super) use rot::Fault;
pub(crate) use share::DiskShare;

/// Indexes of full segments kept in memory.
const INDEXES_MAX: usize = 64;

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
    open_files_max: usize,
    files: RefCell<Recent<SegmentKey, Rc<File>>>,
    indexes: RefCell<Recent<SegmentKey, Rc<SegmentIndex>>>,
    /// Where the batch begins that a sequential reader asks for next.
    cursors: RefCell<Recent<(PartitionKey, i64), (SegmentKey, u64)>>,
    ahead: ReadAhead,
    /// What was told of files of segments that cannot be read.
    told: RefCell<Recent<(SegmentKey, FileKind), Vec<Fault>>>,
    /// Nothing need be durable any more but by the journal: the shard stops.
    is_stopping: Cell<bool>,
    /// Whether a file that is gone with records in it is written anew without them.
    replaces_lost: Cell<bool>,
}

impl Store {
    pub(super) fn new(io: Io, open_files_max: usize) -> Self {
        Self {
            io,
            open_files_max,
            files: RefCell::default(),
            indexes: RefCell::default(),
            cursors: RefCell::default(),
            ahead: ReadAhead::default(),
            told: RefCell::default(),
            is_stopping: Cell::new(false),
            replaces_lost: Cell::new(false),
        }
    }

    /// From now on files are written for other tools to read; what must last is in the journal.
    pub(super) fn stop(&self) {
        self.is_stopping.set(true);
    }

    /// From now on files of segments that are gone with records in them are written anew without them.
    pub(super) fn replace_lost(&self) {
        self.replaces_lost.set(true);
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

    /// Segment files that are kept open.
    pub(super) fn open_files(&self) -> usize {
        self.files.borrow().len()
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
        partition.folder().path.join(&*partition.dir_now())
    }

    pub(super) fn path(&self, partition: &Partition, segment_base: i64, kind: FileKind) -> PathBuf {
        self.dir(partition)
            .join(SegmentFile::new(segment_base, kind).name())
    }

    /// The file of a segment, made if there is none that had anything. The caller holds the partition's turn.
    pub(super) async fn segment_for_write(
        &self,
        partition: &Partition,
        segment_base: i64,
    ) -> io::Result<Rc<File>> {
        self.make_dir(partition).await?;
        let is_begun = {
            let state = partition.state.borrow();
            let segment = state.log.segment(segment_base);
            segment.is_some_and(|segment| segment.settled > 0)
        };
        let file = match self.segment(partition, segment_base, !is_begun).await {
            Err(error) if is_begun && error.kind() == io::ErrorKind::NotFound => {
                self.replacement(partition, segment_base).await?
            }
            opened => opened?,
        };
        self.cut_leftovers(partition, segment_base, &file).await?;
        Ok(file)
    }

    /// Finds out whether the file of a segment is gone that is half written, unless it would be replaced: nobody shall be
    /// told that a record was taken which goes with it when the log starts behind.
    pub(super) async fn look_for_begun_segment(&self, partition: &Partition) {
        let begun = {
            let state = partition.state.borrow();
            let mut segments = state.log.segments().iter();
            let begun = segments.find(|segment| !segment.is_finished && segment.settled > 0);
            begun.map(|segment| segment.base_offset)
        };
        let Some(base) = begun.filter(|_| partition.has_files() && !self.replaces_lost.get())
        else {
            return;
        };
        if let Err(error) = self.open_segment(partition, base, false).await
            && error.kind() == io::ErrorKind::NotFound
            && has_segment(partition, base)
        {
            let error = self.lose_segment(partition, base);
            tracing::error!(partition = %partition.dir, %error, "a partition takes no records");
        }
    }

    fn lose_segment(&self, partition: &Partition, segment_base: i64) -> io::Error {
        partition.has_lost_segment.set(true);
        io::Error::other(format!(
            "{} is missing, with records that are nowhere else; restore it, or start once with \
             corelog.recovery.on.rot=continue to go on without them",
            self.path(partition, segment_base, FileKind::Log).display()
        ))
    }

    /// A file in the place of one that is gone with records in it, if there may be one: nobody would see any more that
    /// those are lost, and what is brought back must find its place free.
    async fn replacement(&self, partition: &Partition, segment_base: i64) -> io::Result<Rc<File>> {
        if !self.replaces_lost.get() {
            return Err(self.lose_segment(partition, segment_base));
        }
        {
            let mut state = partition.state.borrow_mut();
            let log = &mut state.log;
            tracing::error!(
                partition = %partition.dir,
                segment = segment_base,
                "a segment is missing: it is written anew without the records that are lost"
            );
            if let Some(segment) = log.segment_mut(segment_base) {
                segment.is_cut = false;
            }
            // The index knows too little of what follows them in this one.
            if log.segments().last().map(|active| active.base_offset) == Some(segment_base) {
                log.roll_at(log.end_offset(), self.io.wall_ms());
            }
        }
        let file = self.segment(partition, segment_base, true).await?;
        self.sync_dir(&self.dir(partition)).await?;
        Ok(file)
    }

    /// Makes the folder of a partition, unless it is there and its own.
    async fn make_dir(&self, partition: &Partition) -> io::Result<()> {
        if partition.has_lost_dir.get() {
            // What is brought back must find its place free.
            return Err(io::Error::other("its folder is missing"));
        }
        if partition.has_dir.get() {
            return Ok(());
        }
        let dir = self.dir(partition);
        let said = self.metadata_of_dir(&dir).await?;
        let topic = said.flatten();
        let other = topic.filter(|topic| *topic != partition.key.topic);
        if said == Some(None) || other.is_some() && must_own_dir(partition) {
            tracing::warn!(dir = %dir.display(), "partition.metadata is damaged, and is written anew");
        } else if let Some(other) = other {
            if !partition.is_opened.get() {
                partition.has_foreign_dir.set(true);
                return Err(io::Error::other("its folder belongs to another topic"));
            } else {
                let folder = partition.folder();
                let dir = partition.dir_now();
                self.set_aside_dir(&folder.path, &dir, DirPurpose::Delete, other)
                    .await?;
            }
        }
        // What says so and is durable must not be lost to one that is written behind.
        let stays = self.is_stopping.get() && topic == Some(partition.key.topic);
        if !stays {
            self.io.create_dir_all(&dir).await?;
            let metadata = format_partition_metadata(partition.key.topic);
            self.write_small(&dir.join(PARTITION_METADATA), metadata.as_bytes())
                .await?;
        }
        self.sync_dir(&partition.folder().path).await?;
        partition.has_dir.set(true);
        Ok(())
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
        if !is_on(Mutation::KeepLeftovers) {
            file.truncate(settled).await?;
        }
        self.io.reached(match settled {
            0 => Landmark::SegmentMade,
            _ => Landmark::LeftoversCut,
        });
        if settled == 0 && !is_on(Mutation::ForgetSegmentName) {
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
            if strikes(Mutation::KeepFileOpen, 10) {
                _ = Rc::into_raw(file.clone());
            }
            // Unless compaction has put another one there meanwhile.
            if segment_key(partition, segment_base) == key {
                // The files of one that was removed meanwhile were closed already.
                if has_segment(partition, segment_base) {
                    self.keep_open(key, file.clone());
                }
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
        let open = async |path: &Path, may_create: bool| {
            let how = match create && may_create {
                true => OpenMode::CREATE,
                false => OpenMode::READ_WRITE,
            };
            self.io.open(path, how).await
        };
        self.with_path(partition, segment_base, FileKind::Log, open)
            .await
    }

    /// Does something with a file of a segment under the name that it has at this moment: compaction or a move may be
    /// about to give it another one. Whoever makes the file if there is none may do so where he is told that he may.
    async fn with_path<T>(
        &self,
        partition: &Partition,
        segment_base: i64,
        kind: FileKind,
        act: impl AsyncFn(&Path, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let is_not_found = |done: &io::Result<T>| {
            let error = done.as_ref().err();
            error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if let Some(cleaned) = self.cleaned_path(partition, segment_base, kind) {
            let done = act(&cleaned, false).await;
            if !is_not_found(&done) {
                return done;
            }
        }
        let name = SegmentFile::new(segment_base, kind).name();
        let is_future = partition.unfinished_move.borrow().future.is_some();
        let done = act(&self.dir(partition).join(&name), true).await;
        if is_future && is_not_found(&done) {
            let renamed = partition.folder().path.join(&*partition.dir);
            return act(&renamed.join(&name), true).await;
        }
        done
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
        self.make_dir(partition).await?;
        let path = |kind| self.path(partition, segment_base, kind);
        self.write_small(&path(FileKind::OffsetIndex), &offsets)
            .await?;
        self.write_small(&path(FileKind::TimeIndex), &times).await
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
        let read = async |path: &Path, _| self.io.read_small(path).await;
        self.with_path(partition, segment_base, kind, read).await
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
}

/// Whether the log of a partition that is there has a segment.
pub(super) fn has_segment(partition: &Partition, segment_base: i64) -> bool {
    let state = partition.state.borrow();
    !state.is_dropped && state.log.segment(segment_base).is_some()
}

/// What the files of a segment are known by at this moment.
pub(super) fn segment_key(partition: &Partition, segment_base: i64) -> SegmentKey {
    let state = partition.state.borrow();
    let segment = state.log.segment(segment_base);
    let generation = segment.map_or(0, |segment| segment.generation);
    (partition.key, segment_base, generation)
}

#[cfg(test)]
mod tests;
