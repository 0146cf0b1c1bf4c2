//! Leader epochs of one partition: where in the log each leader's term began.
//!
//! Purpose: answer 'where did epoch N end?' for consumers and followers that check whether their
//! copy has parted from ours (OffsetForLeaderEpoch, diverging epochs of Fetch), with the semantics
//! of Apache Kafka's `LeaderEpochFileCache`.
//! Owner: the partition, on the core that owns it. Plain state without I/O: the caller makes each
//! change durable (journal, checkpoint) and replays it at start.
//! Invariant: epochs and start offsets are both strictly increasing and never negative. An
//! assignment that contradicts earlier entries removes them: the newest knowledge wins.
//! What it does not do: decide epochs, or check them against batches.

use bytes::{Buf, BufMut};

const BINARY_VERSION: u8 = 1;
const BINARY_ENTRY_BYTES: usize = 12;
const UNDEFINED_EPOCH: i32 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: i32,
    pub start_offset: i64,
}

/// The answer to 'where did this epoch end?'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch that is not above the one asked for, or that one itself.
    pub epoch: i32,
    /// First offset that no longer belongs to it.
    pub end_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochsError {
    /// The bytes end before the announced content does.
    Truncated,
    UnknownVersion,
    /// Entries that are negative or not in increasing order.
    Disordered,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start_offset`; answers whether anything changed. An epoch that
    /// is already the latest keeps its place unless the new one is earlier.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        assert!(
            epoch >= 0 && start_offset >= 0,
            "leader epoch {epoch} at offset {start_offset}"
        );
        let news = self
            .latest()
            .is_none_or(|last| last.epoch != epoch || start_offset < last.start_offset);
        if news {
            while self
                .latest()
                .is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset)
            {
                self.entries.pop();
            }
            self.entries.push(EpochEntry {
                epoch,
                start_offset,
            });
        }
        news
    }

    /// Where `requested_epoch` ended. `None` (Kafka's undefined epoch and offset) for Kafka's undefined
    /// epoch, -1, and for one above all known ones. Below all known ones the first known start is the
    /// answer, so that a follower goes on from where the log still has data.
    pub fn end_offset_for(&self, requested_epoch: i32, log_end_offset: i64) -> Option<EpochEnd> {
        if requested_epoch == UNDEFINED_EPOCH {
            return None;
        }
        let above = self
            .entries
            .partition_point(|entry| entry.epoch <= requested_epoch);
        let floor = above.checked_sub(1).map(|index| self.entries[index]);
        match (floor, self.entries.get(above)) {
            (Some(floor), None) => (floor.epoch == requested_epoch).then_some(EpochEnd {
                epoch: requested_epoch,
                end_offset: log_end_offset,
            }),
            (None, None) => None,
            (floor, Some(higher)) => Some(EpochEnd {
                epoch: floor.map_or(requested_epoch, |floor| floor.epoch),
                end_offset: higher.start_offset,
            }),
        }
    }

    /// The epoch whose leader wrote the record at `offset`.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let above = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        above.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// The log now starts at `start_offset`: the epoch that covers it begins there, earlier ones go.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let covered = self
            .entries
            .partition_point(|entry| entry.start_offset <= start_offset);
        if covered == 0 {
            return false;
        }
        let changed = covered > 1 || self.entries[0].start_offset < start_offset;
        self.entries.drain(..covered - 1);
        self.entries[0].start_offset = start_offset;
        changed
    }

    /// Compact form for journal and checkpoints, which carry their own checksums.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(BINARY_VERSION);
        out.put_u32(u32::try_from(self.entries.len()).expect("fewer epochs than 2^32"));
        for entry in &self.entries {
            out.put_i32(entry.epoch);
            out.put_i64(entry.start_offset);
        }
    }

    /// Reads what `encode` wrote and moves `bytes` past it. Total, and allocates no more than the
    /// bytes that are there can fill.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, EpochsError> {
        let truncated = |_| EpochsError::Truncated;
        if bytes.try_get_u8().map_err(truncated)? != BINARY_VERSION {
            return Err(EpochsError::UnknownVersion);
        }
        let count = bytes.try_get_u32().map_err(truncated)? as usize;
        if bytes.remaining() / BINARY_ENTRY_BYTES < count {
            return Err(EpochsError::Truncated);
        }
        let mut epochs = LeaderEpochs {
            entries: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let entry = EpochEntry {
                epoch: bytes.get_i32(),
                start_offset: bytes.get_i64(),
            };
            epochs.push_decoded(entry)?;
        }
        Ok(epochs)
    }

    fn push_decoded(&mut self, entry: EpochEntry) -> Result<(), EpochsError> {
        let follows = self
            .latest()
            .is_none_or(|last| entry.epoch > last.epoch && entry.start_offset > last.start_offset);
        if entry.epoch < 0 || entry.start_offset < 0 || !follows {
            return Err(EpochsError::Disordered);
        }
        self.entries.push(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
