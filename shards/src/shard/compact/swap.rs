//! Putting a compacted segment in the place of those that it was made of.
//!
//! | step | a crash behind it leaves |
//! |---|---|
//! | the new files are on stable storage, under names of their own | the log as it was, and files that are removed later |
//! | the log in memory has the new segment, marked as swapping; a checkpoint of that is on stable storage | the new log: the next start does the rest |
//! | the files have got their names, those of the old segments are gone, and the folder is synced | the same |
//! | the mark is gone, with another checkpoint | nothing to be done |
//!
//! Whoever reads meanwhile finds the new files under either name. Readers that have the old ones open go on with those,
//! which hold all that the new ones do.

use std::io;
use std::rc::Rc;

use super::CompactError;
use super::writer::Written;
use crate::io::{File, Landmark, OpenMode};
use crate::log::aborted::{self, AbortedTransaction};
use crate::log::compact::Candidate;
use crate::log::segment_name::{FileKind, SegmentFile};
use crate::mutation::{Mutation, is_on};
use crate::partition::Partition;
use crate::shard::Shard;
use crate::shard::folders::unless_gone;
use crate::shard::store::{SEGMENT_FILES, Store};

impl Shard {
    /// Finishes what an earlier pass has left undone, and removes what a crash has left behind.
    pub(super) async fn clear_up(&self, partition: &Rc<Partition>) -> Result<(), CompactError> {
        self.finish_swaps(partition).await?;
        // A crash shall not take files that are written from now on for those of an earlier swap.
        if partition.state.borrow().anchor > 0 && !self.anchor_synced(partition).await {
            return Err(CompactError::Gone);
        }
        self.remove_half_written(partition).await
    }

    /// Removes the files of a pass that has ended before they had their places.
    pub(super) async fn remove_half_written(
        &self,
        partition: &Rc<Partition>,
    ) -> Result<(), CompactError> {
        let _turn = partition.settling.take().await;
        still_there(partition)?;
        // Then they are what the log consists of.
        if partition.state.borrow().log.is_swapping() {
            return Ok(());
        }
        let dir = self.0.store.dir(partition);
        let io = self.io();
        for entry in io.list_dir(&dir).await? {
            if SegmentFile::is_cleaned_name(&entry.name) {
                unless_gone(io.remove_file(&dir.join(&entry.name)).await)?;
            }
        }
        Ok(())
    }

    /// A new file for what compaction leaves of some segments.
    pub(super) async fn create_cleaned(
        &self,
        partition: &Rc<Partition>,
        base_offset: i64,
    ) -> Result<File, CompactError> {
        let _turn = partition.settling.take().await;
        still_there(partition)?;
        let name = SegmentFile::new(base_offset, FileKind::Log).cleaned_name();
        let path = self.0.store.dir(partition).join(name);
        unless_gone(self.io().remove_file(&path).await)?;
        Ok(self.io().open(&path, OpenMode::CREATE).await?)
    }

    /// Puts a segment in the place of a group. Its files were written where the partition's were at `place`.
    pub(super) async fn swap(
        &self,
        partition: &Rc<Partition>,
        (group, place): (&[Candidate], u32),
        written: Written,
        aborted: &[AbortedTransaction],
    ) -> Result<(), CompactError> {
        let turn = partition.settling.take().await;
        still_there(partition)?;
        if partition.place() != place || !is_as_it_was(partition, group) {
            return Err(CompactError::Gone);
        }
        self.0
            .store
            .write_cleaned_indexes(partition, &written, aborted)
            .await?;
        let next_offset = group[group.len() - 1].next_offset;
        let Written {
            file,
            mut segment,
            index,
        } = written;
        let base = segment.base_offset;
        segment.is_swapping = true;
        let _swapping = self.io().within(Landmark::Swapping);
        {
            let mut state = partition.state.borrow_mut();
            // Deleted while the indexes were written.
            if state.is_dropped {
                return Err(CompactError::Gone);
            }
            state.log.replace_segments(group.len(), segment);
            let cached = state.log.tail().backing_bytes();
            state.log.forget_tail_below(next_offset);
            if let Some(all) = partition.aborted.borrow_mut().as_mut() {
                all.replace(base..next_offset, aborted);
            }
            let forgotten = cached - state.log.tail().backing_bytes();
            drop(state);
            let cache = &self.0.cache;
            cache.forgot_segments(partition, next_offset, forgotten);
        }
        self.0.store.forget_segments(partition, base..next_offset);
        self.0.store.know_segment(partition, base, file, index);
        match is_on(Mutation::SwapBeforeCheckpoint) {
            true => _ = self.anchor_in_turn(partition).await?,
            false => self.anchor_swap(partition).await?,
        }
        self.finish_swap(partition, base, next_offset).await?;
        drop(turn);
        Ok(())
    }

    /// Does the rest of swaps that were begun.
    pub(in crate::shard) async fn finish_swaps(
        &self,
        partition: &Rc<Partition>,
    ) -> Result<(), CompactError> {
        if !partition.state.borrow().log.is_swapping() {
            return Ok(());
        }
        let _turn = partition.settling.take().await;
        if !partition.state.borrow().log.is_swapping() {
            return Ok(());
        }
        // Whatever became of the checkpoint that the swap has waited for.
        self.anchor_swap(partition).await?;
        while let Some((base, next)) = swapping(partition) {
            self.finish_swap(partition, base, next).await?;
        }
        Ok(())
    }

    /// Has the log as it is in memory on stable storage, if the disk has room for that now. The caller holds the partition's
    /// turn, and gives it back if there is none: others may make some.
    async fn anchor_swap(&self, partition: &Rc<Partition>) -> Result<(), CompactError> {
        match self.anchor_in_turn(partition).await? && self.anchor_synced(partition).await {
            true => Ok(()),
            false => Err(CompactError::Gone),
        }
    }

    /// The files of a segment get their names, and those of the segments that it was made of go. The caller holds the
    /// partition's turn.
    async fn finish_swap(
        &self,
        partition: &Rc<Partition>,
        base_offset: i64,
        next_offset: i64,
    ) -> io::Result<()> {
        self.0
            .store
            .finish_swap(partition, base_offset, next_offset)
            .await?;
        let mark = |is_swapping| {
            if let Some(segment) = partition.state.borrow_mut().log.segment_mut(base_offset) {
                segment.is_swapping = is_swapping;
            }
        };
        mark(false);
        let anchored = self.anchor_in_turn(partition).await;
        if anchored.is_err() {
            // Until a checkpoint says that it is over, a start would do this again, with whatever files there are then.
            mark(true);
        }
        anchored.map(drop)
    }
}

impl Store {
    async fn write_cleaned_indexes(
        &self,
        partition: &Partition,
        written: &Written,
        aborted: &[AbortedTransaction],
    ) -> io::Result<()> {
        let dir = self.dir(partition);
        let base = written.segment.base_offset;
        let path = |kind| dir.join(SegmentFile::new(base, kind).cleaned_name());
        let io = self.io();
        let index = &written.index;
        io.write_small(&path(FileKind::OffsetIndex), index.offset_index_bytes())
            .await?;
        io.write_small(&path(FileKind::TimeIndex), index.time_index_bytes())
            .await?;
        if !aborted.is_empty() {
            io.write_small(&path(FileKind::TxnIndex), &aborted::encode(aborted))
                .await?;
        }
        io.sync_dir(&dir).await
    }

    async fn finish_swap(
        &self,
        partition: &Partition,
        base_offset: i64,
        next_offset: i64,
    ) -> io::Result<()> {
        let dir = self.dir(partition);
        let io = self.io();
        let has_aborted = {
            let state = partition.state.borrow();
            let segment = state.log.segment(base_offset);
            segment.is_some_and(|segment| segment.aborted > 0)
        };
        if !has_aborted {
            let old = SegmentFile::new(base_offset, FileKind::TxnIndex).name();
            unless_gone(io.remove_file(&dir.join(old)).await)?;
        }
        for kind in SEGMENT_FILES {
            let file = SegmentFile::new(base_offset, kind);
            let (from, to) = (dir.join(file.cleaned_name()), dir.join(file.name()));
            unless_gone(io.rename(&from, &to).await)?;
        }
        let entries = match io.list_dir(&dir).await {
            // A start has found a partition that was being deleted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        for entry in entries {
            let is_old = SegmentFile::parse(&entry.name).is_some_and(|file| {
                SEGMENT_FILES.contains(&file.kind)
                    && file.base_offset > base_offset
                    && file.base_offset < next_offset
            });
            if is_old {
                unless_gone(io.remove_file(&dir.join(&entry.name)).await)?;
            }
        }
        if is_on(Mutation::ForgetSwappedNames) {
            return Ok(());
        }
        io.sync_dir(&dir).await
    }
}

/// A segment that is swapping, and where the next one begins.
fn swapping(partition: &Partition) -> Option<(i64, i64)> {
    let state = partition.state.borrow();
    let segments = state.log.segments();
    let mut pairs = segments.iter().zip(segments.iter().skip(1));
    let found = pairs.find(|(segment, _)| segment.is_swapping && !state.is_dropped);
    found.map(|(segment, next)| (segment.base_offset, next.base_offset))
}

/// A partition that moves to another log folder is left alone until it is there.
fn still_there(partition: &Partition) -> Result<(), CompactError> {
    let is_moving = partition.moving.borrow().is_some();
    match partition.state.borrow().is_dropped || partition.is_offline() || is_moving {
        true => Err(CompactError::Gone),
        false => Ok(()),
    }
}

/// Whether the log still has these segments: meanwhile retention may have removed some.
fn is_as_it_was(partition: &Partition, group: &[Candidate]) -> bool {
    let state = partition.state.borrow();
    let now = super::candidates(&state);
    let at = now.partition_point(|segment| segment.base_offset < group[0].base_offset);
    now[at..].starts_with(group)
}
