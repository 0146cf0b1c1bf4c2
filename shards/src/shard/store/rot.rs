//! Files of segments that are not what was written, or cannot be read: what is told of them.
//!
//! Readers come again and again, so each fault is told once. A line names the batch, how many bytes are out of reach with
//! it and with which offset reading goes on, as far as the batch itself, the index or the next segment says so. What is
//! remembered is bounded: so many files, and so many batches of each.

use std::io;

use super::scan::{BASE_OFFSET_BYTES, Rotten, base_offset_of};
use super::{SegmentKey, Store, has_segment, segment_key};
use crate::io::{BLOCK, File, align_down};
use crate::log::index::SegmentIndex;
use crate::log::segment_name::FileKind;
use crate::log::{DiskPlace, Found};
use crate::partition::Partition;
use crate::shard::message::ReadError;

/// Files that cannot be read of which it is remembered that it was told.
const FILES_MAX: usize = 1024;
/// Faults of one file that are told.
const FAULTS_MAX: usize = 32;

/// What is told of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk does not give it.
    Unreadable,
    /// The batch at this position is not what was written.
    RottenAt(u64),
}

/// A batch of a segment that is not what was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RottenBatch {
    position: u64,
    /// The first offset that cannot be read for it.
    offset: i64,
    /// Where it says that it ends, and with which offset it goes on there.
    claims: Option<(u64, i64)>,
}

impl RottenBatch {
    /// Found in a piece of a file that begins at a position.
    pub fn new(piece_position: u64, rotten: Rotten) -> Self {
        let at = |at: usize| piece_position + at as u64;
        Self {
            position: at(rotten.at),
            offset: rotten.offset,
            claims: rotten.claims.map(|(end, next)| (at(end), next)),
        }
    }

    /// The segment ends before this offset, and nothing goes on from there.
    pub fn at_end(place: &DiskPlace, offset: i64) -> Self {
        Self {
            position: place.limit,
            offset,
            claims: None,
        }
    }
}

impl Store {
    /// A segment's file cannot be read, which is told once.
    pub(super) fn unreadable(
        &self,
        partition: &Partition,
        key: SegmentKey,
        error: &io::Error,
    ) -> ReadError {
        if self.is_news(partition, key, FileKind::Log, Fault::Unreadable) {
            let file = self.path(partition, key.1, FileKind::Log);
            tracing::error!(file = %file.display(), %error, "cannot read a segment");
        }
        ReadError::Storage
    }

    /// A segment is not what was written, which is told once of each batch.
    pub(super) async fn tell_of_rot(
        &self,
        partition: &Partition,
        place: &DiskPlace,
        file: Option<&File>,
        rot: RottenBatch,
    ) -> ReadError {
        let error = ReadError::Corrupt;
        let key = (partition.key, place.segment_base, place.generation);
        let fault = Fault::RottenAt(rot.position);
        if !self.is_news(partition, key, FileKind::Log, fault) {
            return error;
        }
        let path = self.path(partition, place.segment_base, FileKind::Log);
        let goes_on = self.goes_on(partition, place, file, rot).await;
        let end = goes_on.map_or(place.limit, |(_, position)| position);
        tracing::error!(
            file = %path.display(),
            position = rot.position,
            bytes = end.saturating_sub(rot.position),
            offset = rot.offset,
            goes_on_at = goes_on.map(|(offset, _)| offset),
            "a segment is damaged: readers of the damaged batches get an error, those before and behind go on"
        );
        error
    }

    /// With which offset reading goes on behind a rotten batch, and where: as the batch says, if what is there agrees; as
    /// the index says, or with the next segment.
    async fn goes_on(
        &self,
        partition: &Partition,
        place: &DiskPlace,
        file: Option<&File>,
        rot: RottenBatch,
    ) -> Option<(i64, u64)> {
        if let (Some((end, next)), Some(file)) = (rot.claims, file)
            && self.begins_at(partition, place, file, (end, next)).await
        {
            return Some((next, end));
        }
        let position = u32::try_from(rot.position).unwrap_or(u32::MAX);
        let behind = |index: &SegmentIndex| index.entry_behind(position);
        let behind = self.with_index(partition, place.segment_base, behind).await;
        behind
            .filter(|(last, position)| *last > rot.offset && u64::from(*position) < place.limit)
            .map(|(last, position)| (last, u64::from(position)))
            .or_else(|| place.next_base.map(|next| (next, place.limit)))
    }

    /// Whether a batch with this offset begins at a position of a segment, or its successor there.
    async fn begins_at(
        &self,
        partition: &Partition,
        place: &DiskPlace,
        file: &File,
        (position, offset): (u64, i64),
    ) -> bool {
        if position == place.limit {
            let is_in_memory = || {
                let log = &partition.state.borrow().log;
                let end = log.end_offset();
                offset < end && matches!(log.find(offset, 0, true, end), Found::Memory(_))
            };
            return place
                .next_base
                .map_or_else(is_in_memory, |next| next == offset);
        }
        let aligned = align_down(position);
        let start = (position - aligned) as usize;
        let share = partition.disk_share();
        let read = share.read(&self.io, file, aligned, 2 * BLOCK).await;
        let found = read.ok();
        let base = found
            .as_ref()
            .and_then(|bytes| bytes.get(start..start + BASE_OFFSET_BYTES));
        base.is_some_and(|base| base_offset_of(base) == offset)
    }

    /// Whether a fault of a file of a segment is to be told: it was not yet, and they are not too many, which is told when
    /// the last of them is.
    pub(in crate::shard) fn is_news(
        &self,
        partition: &Partition,
        key: SegmentKey,
        kind: FileKind,
        fault: Fault,
    ) -> bool {
        // One that is deleted or compacted meanwhile misses nothing.
        let (_, base, _) = key;
        if !has_segment(partition, base) || segment_key(partition, base) != key {
            return false;
        }
        let mut told = self.told.borrow_mut();
        let Some(faults) = told.get_mut(&(key, kind)) else {
            told.put((key, kind), vec![fault], FILES_MAX);
            return true;
        };
        if faults.len() >= FAULTS_MAX || faults.contains(&fault) {
            return false;
        }
        faults.push(fault);
        if faults.len() == FAULTS_MAX {
            let path = self.path(partition, base, kind);
            tracing::warn!(
                file = %path.display(),
                "a segment is damaged in many places: no more of them are told"
            );
        }
        true
    }
}
