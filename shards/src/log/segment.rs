//! What is known of one segment without opening its files.

use super::batch::BatchHeader;
use super::batch::header::NO_TIMESTAMP;
use super::index::SegmentIndex;

/// One segment of a log. The bytes are in a file as far as `settled`, and behind that in memory and
/// in the journal.
pub struct Segment {
    /// Offset that names its files.
    pub base_offset: i64,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Bytes that were written to the file.
    pub settled: u64,
    /// Whether the file has its final length, is on stable storage, and has its indexes.
    pub is_finished: bool,
    /// Whether the file ends at `settled` but for what this run has written. What an earlier one left
    /// behind that is cut off before anything is written.
    pub is_cut: bool,
    /// Whether something was written since the last sync.
    pub has_unsynced_writes: bool,
    /// Largest timestamp of its records, or [`NO_TIMESTAMP`].
    pub max_timestamp_ms: i64,
    /// Timestamp of its first batch, or [`NO_TIMESTAMP`]: what `segment.ms` counts from.
    pub first_timestamp_ms: i64,
    /// When it was begun, by the clock of this machine.
    pub created_ms: i64,
    /// Age counts from here: the largest timestamp, or the time of the last append where no record
    /// carries one.
    pub newest_ms: i64,
    /// Aborted transactions whose markers it holds: so many entries its `.txnindex` has, and without
    /// any there is no such file.
    pub aborted: u32,
    /// How often compaction or a move has replaced its files since the start: what was read before is of other files.
    pub generation: u32,
    /// Whether its files may still have the names that compaction wrote them under, and those of the segments
    /// that it replaced be there.
    pub is_swapping: bool,
    /// The index of a full segment until it is in a file.
    pub sealed_index: Option<Box<SegmentIndex>>,
}

impl Segment {
    /// An empty segment.
    pub fn new(base_offset: i64, created_ms: i64) -> Self {
        Self {
            base_offset,
            bytes: 0,
            settled: 0,
            is_finished: false,
            is_cut: false,
            has_unsynced_writes: false,
            max_timestamp_ms: NO_TIMESTAMP,
            first_timestamp_ms: NO_TIMESTAMP,
            created_ms,
            newest_ms: created_ms,
            aborted: 0,
            generation: 0,
            is_swapping: false,
            sealed_index: None,
        }
    }

    /// Counts a batch at the end.
    pub fn note(&mut self, header: &BatchHeader<'_>, now_ms: i64) {
        if self.bytes == 0 {
            self.first_timestamp_ms = header.max_timestamp();
        }
        self.bytes += header.size_bytes() as u64;
        self.max_timestamp_ms = self.max_timestamp_ms.max(header.max_timestamp());
        self.newest_ms = if self.max_timestamp_ms >= 0 {
            self.max_timestamp_ms
        } else {
            now_ms
        };
    }

    /// Takes no more batches.
    pub fn seal(&mut self, mut index: SegmentIndex) {
        index.seal();
        self.sealed_index = Some(Box::new(index));
    }

    /// Its file and its indexes are as they stay.
    pub fn finish(&mut self) {
        self.is_finished = true;
        self.sealed_index = None;
    }
}
