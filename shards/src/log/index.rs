//! The sparse indexes of one segment: offset to file position, and timestamp to offset.
//!
//! Purpose: find the batch to start reading at, for a fetch by offset and for a search by time. The
//! entries are kept as the bytes of Kafka's own `.index` and `.timeindex` files, so writing a file
//! is handing out a slice and loading one is a check. Aborted transactions are in `aborted`.
//! Owner: the partition, on the core that owns it. The active segment's index lives in memory and
//! costs no allocation while the segment is small; the caller loads those of cold segments when
//! somebody reads there, and drops them again.
//! Invariants: offsets and positions of the offset index strictly increase; timestamps of the time
//! index strictly increase and its offsets never decrease. An offset entry names the *last* offset
//! of the batch at its position, a time entry the last offset of the batch that holds the largest
//! timestamp up to there: that is what Kafka writes and what `kafka-dump-log` checks.
//! Crash behaviour: the files carry no checksum. One that breaks an invariant is refused here, and
//! the caller goes on with an empty index: the segment is then read from its beginning, slower and
//! not wrong. Nothing rewrites the file.

use super::batch::header::NO_TIMESTAMP;

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// The length is no multiple of an entry's.
    PartialEntry,
    /// The entry breaks the order, points outside of the segment, or is negative.
    Disordered { entry: usize },
}

/// The largest timestamp so far and the last offset of the batch that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp_ms: i64,
    pub offset: i64,
}

/// What the index needs to know of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedBatch {
    pub last_offset: i64,
    pub position: u32,
    pub max_timestamp_ms: i64,
}

/// Bytes that the offset index and the time index of a segment of so many bytes come to at most.
pub fn index_bytes_max(segment_bytes: u64, interval_bytes: u32) -> (u64, u64) {
    let entries = segment_bytes / (u64::from(interval_bytes) + 1);
    // One more for the roll.
    (
        entries * OFFSET_ENTRY_BYTES as u64,
        (entries + 1) * TIME_ENTRY_BYTES as u64,
    )
}

/// The interval, or as much more as it takes to keep either index of a segment of so many bytes within a size. With less
/// than two time entries nothing does.
pub fn interval_within(segment_bytes: u64, interval_bytes: u32, index_bytes: u32) -> u32 {
    let entries = (index_bytes as usize / TIME_ENTRY_BYTES)
        .saturating_sub(1)
        .max(1);
    let needed = u32::try_from(segment_bytes / entries as u64).unwrap_or(u32::MAX);
    interval_bytes.max(needed)
}

/// Both indexes of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    base_offset: i64,
    /// Entries of (relative offset i32, position i32), big-endian.
    offsets: Vec<u8>,
    /// Entries of (timestamp i64, relative offset i32), big-endian.
    times: Vec<u8>,
    max_timestamp: TimestampOffset,
}

impl SegmentIndex {
    pub fn new(base_offset: i64) -> Self {
        SegmentIndex {
            base_offset,
            offsets: Vec::new(),
            times: Vec::new(),
            max_timestamp: TimestampOffset {
                timestamp_ms: NO_TIMESTAMP,
                offset: base_offset,
            },
        }
    }

    /// Takes the content of the two files of a closed segment of `segment_bytes`. Costs about a
    /// nanosecond an entry. The largest timestamp is the last time entry, as a roll left it.
    pub fn load(
        base_offset: i64,
        segment_bytes: u32,
        offsets: Vec<u8>,
        times: Vec<u8>,
    ) -> Result<Self, IndexError> {
        check_offsets(&offsets, segment_bytes)?;
        check_times(&times)?;
        let mut index = SegmentIndex {
            offsets,
            times,
            ..SegmentIndex::new(base_offset)
        };
        index.max_timestamp = index.last_time_entry();
        Ok(index)
    }

    /// Whether the segment can hold an offset that far from its base.
    pub fn can_hold(&self, last_offset: i64) -> bool {
        relative(self.base_offset, last_offset).is_some()
    }

    /// Whether another entry would not fit `segment.index.bytes`; the segment must be rolled. One
    /// time entry is kept free for the roll itself.
    pub fn is_full(&self, index_bytes_max: u32) -> bool {
        let max = index_bytes_max as usize;
        self.offsets.len() / OFFSET_ENTRY_BYTES >= max / OFFSET_ENTRY_BYTES
            || self.times.len() / TIME_ENTRY_BYTES + 1 >= max / TIME_ENTRY_BYTES
    }

    /// Notes the next batch of the segment. It gets an entry when more than `interval_bytes` were
    /// written since the batch of the last entry.
    pub fn append(&mut self, batch: IndexedBatch, interval_bytes: u32) {
        let relative_offset = self.relative(batch.last_offset);
        self.note_timestamp(batch.max_timestamp_ms, batch.last_offset);
        let (last_relative, last_position) = match self.offset_entries() {
            0 => (-1, 0),
            entries => self.offset_entry(entries - 1),
        };
        if batch.position.saturating_sub(last_position) > interval_bytes {
            assert!(
                relative_offset > last_relative,
                "offset {} after one at least as large",
                batch.last_offset
            );
            let position = i32::try_from(batch.position).expect("segments end below 2 GiB");
            self.offsets.extend(relative_offset.to_be_bytes());
            self.offsets.extend(position.to_be_bytes());
            self.push_time_entry();
        }
    }

    /// Notes a timestamp without an entry, for batches that are behind the last entry already.
    pub fn note_timestamp(&mut self, timestamp_ms: i64, last_offset: i64) {
        if timestamp_ms > self.max_timestamp.timestamp_ms {
            self.max_timestamp = TimestampOffset {
                timestamp_ms,
                offset: last_offset,
            };
        }
    }

    /// The segment takes no more batches: the time index ends with its largest timestamp, which
    /// retention and searches by time rely on.
    pub fn seal(&mut self) {
        self.push_time_entry();
    }

    fn push_time_entry(&mut self) {
        let TimestampOffset {
            timestamp_ms,
            offset,
        } = self.max_timestamp;
        if timestamp_ms > self.last_time_entry().timestamp_ms {
            let relative_offset = self.relative(offset);
            self.times.extend(timestamp_ms.to_be_bytes());
            self.times.extend(relative_offset.to_be_bytes());
        }
    }

    /// Largest timestamp of the segment, or `None` if no batch carried one.
    pub fn max_timestamp(&self) -> Option<TimestampOffset> {
        (self.max_timestamp.timestamp_ms > NO_TIMESTAMP).then_some(self.max_timestamp)
    }

    /// Where to start reading for `offset`: a batch that begins at or before it.
    pub fn position_for_offset(&self, offset: i64) -> u32 {
        self.entry_for_offset(offset)
            .map_or(0, |(_, position)| position)
    }

    /// The last offset and the position of the batch to start reading at for `offset`; `None` for the
    /// first batch of the segment.
    pub fn entry_for_offset(&self, offset: i64) -> Option<(i64, u32)> {
        let slot = self.offset_slot(offset).checked_sub(1)?;
        let (relative, position) = self.offset_entry(slot);
        Some((self.absolute(relative), position))
    }

    /// The last offset and the position of the first batch behind a position that it speaks of.
    pub fn entry_behind(&self, position: u32) -> Option<(i64, u32)> {
        let slot = partition_point(self.offset_entries(), |slot| {
            self.offset_entry(slot).1 <= position
        });
        let (relative, position) =
            (slot < self.offset_entries()).then(|| self.offset_entry(slot))?;
        Some((self.absolute(relative), position))
    }

    /// Forgets the entry that leads to a position.
    pub fn forget(&mut self, position: u32) {
        let slot = partition_point(self.offset_entries(), |slot| {
            self.offset_entry(slot).1 < position
        });
        if slot < self.offset_entries() && self.offset_entry(slot).1 == position {
            let at = slot * OFFSET_ENTRY_BYTES;
            self.offsets.drain(at..at + OFFSET_ENTRY_BYTES);
        }
    }

    /// Where to start looking for the first record with a timestamp of `timestamp_ms` or later: none
    /// lies before the batch that holds this offset, whose largest timestamp comes with it. `None` for
    /// the first batch of the segment.
    pub fn entry_for_timestamp(&self, timestamp_ms: i64) -> Option<TimestampOffset> {
        let slot = partition_point(self.time_entries(), |slot| {
            self.time_entry(slot).timestamp_ms <= timestamp_ms
        });
        Some(self.time_entry(slot.checked_sub(1)?))
    }

    /// The content of the `.index` file.
    pub fn offset_index_bytes(&self) -> &[u8] {
        &self.offsets
    }

    /// The content of the `.timeindex` file.
    pub fn time_index_bytes(&self) -> &[u8] {
        &self.times
    }

    /// The two files' content with offset entries at least `step_bytes` apart, for a checkpoint: an
    /// index loaded from it finds the same batches after a longer walk, and goes on from there.
    pub fn thinned(&self, step_bytes: u32) -> (Vec<u8>, Vec<u8>) {
        let mut thin = SegmentIndex::new(self.base_offset);
        let mut position_due = 0;
        let mut time_slot = 0;
        for slot in 0..self.offset_entries() {
            let (relative_offset, position) = self.offset_entry(slot);
            if position < position_due {
                continue;
            }
            position_due = position.saturating_add(step_bytes);
            thin.offsets.extend(relative_offset.to_be_bytes());
            thin.offsets.extend(position.to_be_bytes());
            let offset = self.absolute(relative_offset);
            time_slot += partition_point(self.time_entries() - time_slot, |ahead| {
                self.time_entry(time_slot + ahead).offset <= offset
            });
            if let Some(last) = time_slot.checked_sub(1) {
                thin.max_timestamp = self.time_entry(last);
                thin.push_time_entry();
            }
        }
        thin.max_timestamp = self.max_timestamp;
        thin.push_time_entry();
        (thin.offsets, thin.times)
    }

    fn relative(&self, offset: i64) -> i32 {
        relative(self.base_offset, offset).unwrap_or_else(|| {
            panic!(
                "offset {offset} is out of reach of a segment from {}",
                self.base_offset
            )
        })
    }

    /// Saturates, since a file found under a nonsensical name may claim any base.
    fn absolute(&self, relative: i32) -> i64 {
        self.base_offset.saturating_add(i64::from(relative))
    }

    /// Number of entries at or below `offset`.
    fn offset_slot(&self, offset: i64) -> usize {
        partition_point(self.offset_entries(), |slot| {
            self.absolute(self.offset_entry(slot).0) <= offset
        })
    }

    fn offset_entries(&self) -> usize {
        self.offsets.len() / OFFSET_ENTRY_BYTES
    }

    fn time_entries(&self) -> usize {
        self.times.len() / TIME_ENTRY_BYTES
    }

    /// Relative offset and position.
    fn offset_entry(&self, slot: usize) -> (i32, u32) {
        let (relative, position) = read_offset_entry(&self.offsets[slot * OFFSET_ENTRY_BYTES..]);
        (relative, position.cast_unsigned())
    }

    fn time_entry(&self, slot: usize) -> TimestampOffset {
        let (timestamp_ms, relative) = read_time_entry(&self.times[slot * TIME_ENTRY_BYTES..]);
        TimestampOffset {
            timestamp_ms,
            offset: self.absolute(relative),
        }
    }

    fn last_time_entry(&self) -> TimestampOffset {
        match self.time_entries() {
            0 => TimestampOffset {
                timestamp_ms: NO_TIMESTAMP,
                offset: self.base_offset,
            },
            entries => self.time_entry(entries - 1),
        }
    }
}

fn relative(base_offset: i64, offset: i64) -> Option<i32> {
    let distance = offset.checked_sub(base_offset)?;
    i32::try_from(distance)
        .ok()
        .filter(|distance| *distance >= 0)
}

fn read_offset_entry(bytes: &[u8]) -> (i32, i32) {
    let (relative, rest) = bytes.split_first_chunk().expect("an entry has 8 bytes");
    let (position, _) = rest.split_first_chunk().expect("an entry has 8 bytes");
    (i32::from_be_bytes(*relative), i32::from_be_bytes(*position))
}

fn read_time_entry(bytes: &[u8]) -> (i64, i32) {
    let (timestamp, rest) = bytes.split_first_chunk().expect("an entry has 12 bytes");
    let (relative, _) = rest.split_first_chunk().expect("an entry has 12 bytes");
    (
        i64::from_be_bytes(*timestamp),
        i32::from_be_bytes(*relative),
    )
}

fn check_offsets(bytes: &[u8], segment_bytes: u32) -> Result<(), IndexError> {
    if !bytes.len().is_multiple_of(OFFSET_ENTRY_BYTES) {
        return Err(IndexError::PartialEntry);
    }
    let mut last = (-1, -1);
    for (entry, bytes) in bytes.chunks_exact(OFFSET_ENTRY_BYTES).enumerate() {
        let (relative, position) = read_offset_entry(bytes);
        let inside = i64::from(position) < i64::from(segment_bytes);
        if relative <= last.0 || position <= last.1 || !inside {
            return Err(IndexError::Disordered { entry });
        }
        last = (relative, position);
    }
    Ok(())
}

fn check_times(bytes: &[u8]) -> Result<(), IndexError> {
    if !bytes.len().is_multiple_of(TIME_ENTRY_BYTES) {
        return Err(IndexError::PartialEntry);
    }
    let mut last = (NO_TIMESTAMP, 0);
    for (entry, bytes) in bytes.chunks_exact(TIME_ENTRY_BYTES).enumerate() {
        let (timestamp_ms, relative) = read_time_entry(bytes);
        if timestamp_ms <= last.0 || relative < last.1 {
            return Err(IndexError::Disordered { entry });
        }
        last = (timestamp_ms, relative);
    }
    Ok(())
}

/// First slot of `0..len` for which `before` is false, given that it turns false once.
fn partition_point(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
