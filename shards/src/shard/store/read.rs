//! Reading batches from segment files, in chunks, and where in a file to begin.

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::rot::RottenBatch;
use super::scan::{Expected, Piece, Rotten, Scan};
use super::{INDEXES_MAX, SegmentKey, Store, segment_key};
use crate::io::{BLOCK, Landmark, align_down};
use crate::log::index::SegmentIndex;
use crate::log::{DiskPlace, Found};
use crate::partition::Partition;
use crate::shard::message::{ReadError, ReadSpec};

/// Least bytes of one read: a smaller one costs nearly as much.
const READ_BYTES_MIN: usize = 128 << 10;
/// Less than this is not read ahead: the reader is about to find the rest in memory.
const READ_AHEAD_LEFT_MIN: u64 = 128 << 10;
/// Readers whose place in a file is remembered.
const CURSORS_MAX: usize = 1024;

impl Store {
    /// Whole batches from disk, at least the one that holds the offset if the reader insists; none
    /// that reaches `upper`. What is large is read in chunks, between which others have their turn.
    pub(in crate::shard) async fn read(
        &self,
        partition: &Rc<Partition>,
        spec: &ReadSpec,
        upper: i64,
    ) -> Result<Vec<Bytes>, ReadError> {
        let share = partition.disk_share();
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
                Some(next) if rest.bytes_max >= share.chunk_bytes_max(&self.io) => next,
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
            match &read {
                Ok(Some(_)) => self.io.reached(Landmark::ReadFromDisk),
                Err(ReadError::Corrupt) => self.io.reached(Landmark::SegmentRotten),
                _ => {}
            }
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
                (None, None) => {
                    let rot = RottenBatch::at_end(&place, offset);
                    return Err(self.tell_of_rot(partition, &place, None, rot).await);
                }
            };
        }
    }

    async fn read_segment(
        &self,
        partition: &Partition,
        spec: &ReadSpec,
        wanted_offsets: Range<i64>,
        disk_place: &DiskPlace,
    ) -> Result<Option<Chunk>, ReadError> {
        let (segment_base, limit) = (disk_place.segment_base, disk_place.limit);
        let key = (partition.key, segment_base, disk_place.generation);
        let share = partition.disk_share();
        let chunk_bytes_max = || share.chunk_bytes_max(&self.io);
        let Start {
            mut position,
            mut expected,
            is_sequential,
        } = self.start_for(partition, key, wanted_offsets.start).await;
        let mut wanted = spec.bytes_max.clamp(READ_BYTES_MIN, chunk_bytes_max());
        let opened = self.segment(partition, segment_base, false).await;
        let file = opened.map_err(|error| self.unreadable(partition, key, &error))?;
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
                None => share
                    .read(&self.io, &file, aligned, len)
                    .await
                    .map_err(|error| self.unreadable(partition, key, &error))?,
            };
            let end = chunk.len().min((limit - aligned) as usize);
            let start = ((position - aligned) as usize).min(end);
            let is_cut_short = !was_ahead && end < len.min((limit - aligned) as usize);
            let piece = match is_cut_short {
                // Nothing goes on where it ends.
                true => Piece {
                    bytes: &chunk[start..end],
                    left: (end - start) as u64,
                    next_segment: None,
                },
                false => Piece {
                    bytes: &chunk[start..end],
                    left: limit - position,
                    next_segment: disk_place.next_base,
                },
            };
            let scanned = match piece.scan(expected, &wanted_offsets, spec) {
                Ok(Scan::Skipped {
                    bytes, expected, ..
                }) if is_cut_short => Err(Rotten::missing(bytes, expected)),
                scanned => scanned,
            };
            let scanned = match scanned {
                Ok(scanned) => scanned,
                Err(rotten) => {
                    let rot = RottenBatch::new(position, rotten);
                    let told = self.tell_of_rot(partition, disk_place, Some(&file), rot);
                    return Err(told.await);
                }
            };
            match scanned {
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
                            align_down(left.min(wanted.min(chunk_bytes_max()) + BLOCK) as u64);
                        self.ahead
                            .begin(&self.io, &share, file, place(ahead_at), len as usize);
                    }
                    return Ok(Some(Chunk {
                        batches: vec![chunk.into_bytes(start + from..start + to)],
                        next_offset: Some(next_offset),
                    }));
                }
                Scan::Nothing => return Ok(Some(Chunk::default())),
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
        let entry = self.with_index(partition, segment_base, |index| {
            index.entry_for_offset(offset)
        });
        let entry = entry.await;
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

    /// Looks something up in the index of a segment, which is in memory or in its files.
    pub(super) async fn with_index<T>(
        &self,
        partition: &Partition,
        segment_base: i64,
        look_up: impl Fn(&SegmentIndex) -> T,
    ) -> T {
        let in_memory = {
            let state = partition.state.borrow();
            state.log.index_in_memory(segment_base).map(&look_up)
        };
        match in_memory {
            Some(found) => found,
            None => look_up(&*self.index(partition, segment_base).await),
        }
    }

    /// An entry of an index leads astray: whether it has rotted or the segment has, readers begin before
    /// it from now on.
    fn doubt_index(&self, partition: &Partition, key: SegmentKey, position: u64) {
        let (_, segment_base, generation) = key;
        if segment_key(partition, segment_base).2 != generation {
            return;
        }
        self.io.reached(Landmark::IndexAstray);
        tracing::warn!(partition = %partition.dir, segment_base, position, "an index does not fit to its segment");
        let mut indexes = self.indexes.borrow_mut();
        let Some(mut index) = indexes.get(&key).cloned() else {
            return;
        };
        Rc::make_mut(&mut index).forget(position as u32);
        indexes.put(key, index, INDEXES_MAX);
    }
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
