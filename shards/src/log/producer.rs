//! What one partition remembers of its idempotent and transactional producers.
//!
//! Purpose: recognise a repeated batch, refuse one out of order or from a fenced producer, and know
//! the first offset whose transaction is undecided, with the rules of Apache Kafka's
//! `ProducerStateManager` and `ProducerAppendInfo`.
//! Owner: the partition, on the core that owns it. Plain state without I/O or clock: `check` looks,
//! `apply` records what was appended; recovery applies the same batches without checking them.
//!
//! | state of the producer id | batch | answer |
//! |---|---|---|
//! | any | same epoch and sequences as one of the last five | duplicate of that one |
//! | unknown | any epoch, any sequence | append |
//! | known | lower epoch | `InvalidEpoch` |
//! | known | higher epoch, sequence 0 | append; earlier batches are forgotten |
//! | known | higher epoch, other sequence | `OutOfOrderSequence` |
//! | known | same epoch, next sequence (0 follows 2^31 - 1) | append |
//! | known | same epoch, other sequence | `OutOfOrderSequence` |
//! | in a transaction | not transactional | `NotInTransaction` |
//!
//! An unknown producer may start anywhere, as in Kafka, because its records may have been removed
//! by retention, or its entry by expiry; for the same reason a moving log start removes no entry.
//! For a table that grows too large the shard has the most silent ones forgotten earlier.
//! Expiry counts from the last append as the broker saw it, not from the timestamp a client wrote
//! into its records (Kafka's way), which may be years old or in the future.
//!
//! Crash behaviour: the table is part of the partition's checkpoint (`encode`), to which batches
//! journaled later are applied. Kafka's `.snapshot` files are neither read nor written.
//! What it does not do: verify transactions with their coordinator, or keep aborted ones (`aborted`).

mod encoding;

use std::collections::BTreeMap;

use super::batch::BatchHeader;
use super::batch::header::{NO_SEQUENCE, add_to_sequence};

pub use encoding::{PRODUCER_BYTES_MAX, ProducersDecodeError};

/// So many batches of a producer are recognised when they are repeated; a client has no more in
/// flight.
pub const BATCHES_REMEMBERED: usize = 5;
const NO_COORDINATOR_EPOCH: i32 = -1;

/// The fields of a batch's header that concern its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub producer_id: i64,
    pub epoch: i16,
    /// -1 for batches written by a coordinator on a producer's behalf.
    pub base_sequence: i32,
    pub last_offset_delta: i32,
    pub transactional: bool,
}

impl From<&BatchHeader<'_>> for ProducerBatch {
    fn from(header: &BatchHeader<'_>) -> Self {
        ProducerBatch {
            producer_id: header.producer_id(),
            epoch: header.producer_epoch(),
            base_sequence: header.base_sequence(),
            last_offset_delta: header.last_offset_delta(),
            transactional: header.is_transactional(),
        }
    }
}

/// Where and when a batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedAt {
    pub base_offset: i64,
    pub max_timestamp_ms: i64,
    /// The broker's clock.
    pub now_ms: i64,
}

/// The control record that ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    pub producer_id: i64,
    pub epoch: i16,
    pub coordinator_epoch: i32,
    pub aborted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
    /// The offset of the marker.
    pub last_offset: i64,
    pub aborted: bool,
    /// Below it every transaction is decided, as far as this partition knows.
    pub last_stable_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Append,
    /// The batch is in the log already.
    Duplicate(RememberedBatch),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerError {
    InvalidEpoch { current: i16 },
    OutOfOrderSequence { expected: i32 },
    NotInTransaction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RememberedBatch {
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub max_timestamp_ms: i64,
}

impl RememberedBatch {
    pub fn base_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    pub fn base_sequence(&self) -> i32 {
        sequence_before(self.last_sequence, self.offset_delta)
    }
}

/// The state of one producer id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub epoch: i16,
    /// Of the coordinator that ended the last transaction, or -1.
    pub coordinator_epoch: i32,
    pub last_update_ms: i64,
    pub transaction_first_offset: Option<i64>,
    batches: [RememberedBatch; BATCHES_REMEMBERED],
    batch_count: u8,
}

impl ProducerEntry {
    fn new(epoch: i16) -> Self {
        ProducerEntry {
            epoch,
            coordinator_epoch: NO_COORDINATOR_EPOCH,
            last_update_ms: 0,
            transaction_first_offset: None,
            batches: [RememberedBatch::default(); BATCHES_REMEMBERED],
            batch_count: 0,
        }
    }

    /// The last batches of its epoch, oldest first.
    pub fn batches(&self) -> &[RememberedBatch] {
        &self.batches[..usize::from(self.batch_count)]
    }

    pub fn last_batch(&self) -> Option<&RememberedBatch> {
        self.batches().last()
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = Default::default();
            self.batch_count = 0;
        }
    }

    fn remember(&mut self, batch: RememberedBatch) {
        if usize::from(self.batch_count) == BATCHES_REMEMBERED {
            self.batches.rotate_left(1);
        } else {
            self.batch_count += 1;
        }
        self.batches[usize::from(self.batch_count) - 1] = batch;
    }

    fn next_sequence(&self) -> i32 {
        self.last_batch()
            .map_or(0, |last| sequence_after(last.last_sequence, 1))
    }
}

/// A transaction whose marker is written but may be above the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DecidedTransaction {
    producer_id: i64,
    last_offset: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    /// Boxed: nodes of the map stay small for the many partitions with one producer.
    producers: BTreeMap<i64, Box<ProducerEntry>>,
    /// Open transactions: first offset to producer id.
    undecided: BTreeMap<i64, i64>,
    /// By first offset.
    unreplicated: BTreeMap<i64, DecidedTransaction>,
}

impl ProducerTable {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.unreplicated.is_empty()
    }

    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id).map(Box::as_ref)
    }

    /// All producers in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.producers
            .iter()
            .map(|(id, entry)| (*id, entry.as_ref()))
    }

    /// Whether a client's batch may be appended now.
    pub fn check(&self, batch: &ProducerBatch) -> Result<Check, ProducerError> {
        let Some(entry) = self.get(batch.producer_id) else {
            return Ok(Check::Append);
        };
        if batch.epoch == entry.epoch {
            let last_sequence = sequence_after(batch.base_sequence, batch.last_offset_delta);
            let duplicate = entry.batches().iter().find(|known| {
                known.last_sequence == last_sequence
                    && known.offset_delta == batch.last_offset_delta
            });
            if let Some(duplicate) = duplicate {
                return Ok(Check::Duplicate(*duplicate));
            }
        }
        if batch.epoch < entry.epoch {
            return Err(ProducerError::InvalidEpoch {
                current: entry.epoch,
            });
        }
        let expected = match batch.epoch == entry.epoch {
            true => entry.next_sequence(),
            false => 0,
        };
        if batch.base_sequence != expected {
            return Err(ProducerError::OutOfOrderSequence { expected });
        }
        if entry.transaction_first_offset.is_some() && !batch.transactional {
            return Err(ProducerError::NotInTransaction);
        }
        Ok(Check::Append)
    }

    /// Records a batch of data that is in the log now. Not checked: recovery and followers apply
    /// what the leader has accepted.
    pub fn apply(&mut self, batch: &ProducerBatch, at: AppendedAt) {
        let entry = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| Box::new(ProducerEntry::new(batch.epoch)));
        entry.set_epoch(batch.epoch);
        entry.remember(RememberedBatch {
            last_sequence: sequence_after(batch.base_sequence, batch.last_offset_delta),
            last_offset: at.base_offset + i64::from(batch.last_offset_delta),
            offset_delta: batch.last_offset_delta,
            max_timestamp_ms: at.max_timestamp_ms,
        });
        entry.last_update_ms = at.now_ms;
        if batch.transactional && entry.transaction_first_offset.is_none() {
            entry.transaction_first_offset = Some(at.base_offset);
            self.undecided.insert(at.base_offset, batch.producer_id);
        }
    }

    /// Records the marker at `offset`. Answers the transaction it ended, if the partition had
    /// records of it.
    pub fn apply_marker(
        &mut self,
        marker: &EndMarker,
        offset: i64,
        now_ms: i64,
    ) -> Option<CompletedTransaction> {
        let entry = self
            .producers
            .entry(marker.producer_id)
            .or_insert_with(|| Box::new(ProducerEntry::new(marker.epoch)));
        entry.set_epoch(marker.epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_update_ms = now_ms;
        let first_offset = entry.transaction_first_offset.take()?;
        self.undecided.remove(&first_offset);
        self.unreplicated.insert(
            first_offset,
            DecidedTransaction {
                producer_id: marker.producer_id,
                last_offset: offset,
            },
        );
        Some(CompletedTransaction {
            producer_id: marker.producer_id,
            first_offset,
            last_offset: offset,
            aborted: marker.aborted,
            last_stable_offset: self.first_undecided_offset().unwrap_or(offset + 1),
        })
    }

    /// First offset of a transaction that is open, or decided by a marker that is not yet below
    /// the high watermark. Readers of committed records stop there.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let unreplicated = self.unreplicated.keys().next().copied();
        match (self.first_undecided_offset(), unreplicated) {
            (Some(undecided), Some(unreplicated)) => Some(undecided.min(unreplicated)),
            (undecided, unreplicated) => undecided.or(unreplicated),
        }
    }

    fn first_undecided_offset(&self) -> Option<i64> {
        self.undecided.keys().next().copied()
    }

    /// Markers below the high watermark are replicated: their transactions are stable now.
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.unreplicated
            .retain(|_, decided| decided.last_offset >= high_watermark);
    }

    /// Transactions that ended below the log start no longer matter. Producers stay.
    pub fn on_log_start(&mut self, log_start_offset: i64) {
        self.on_high_watermark(log_start_offset);
    }

    /// Forgets producers without an open transaction that have been silent for `expiration_ms`
    /// (`producer.id.expiration.ms`).
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, entry| {
            let silent_ms = now_ms.saturating_sub(entry.last_update_ms);
            entry.transaction_first_offset.is_some() || silent_ms < expiration_ms
        });
    }

    /// Forgets up to `count` producers without an open transaction: those that have been silent for
    /// longest. Who was heard after `now_ms` was heard before the clock jumped back. Looks at the whole
    /// table, whatever `count` is. Answers how many it were.
    pub fn forget_silent(&mut self, count: usize, now_ms: i64) -> usize {
        let mut silent: Vec<(bool, i64, Option<i64>, i64)> = self
            .iter()
            .filter(|(_, entry)| entry.transaction_first_offset.is_none())
            .map(|(id, entry)| {
                let last_offset = entry.last_batch().map(|last| last.last_offset);
                let last_update_ms = entry.last_update_ms;
                (last_update_ms <= now_ms, last_update_ms, last_offset, id)
            })
            .collect();
        if count < silent.len() {
            silent.select_nth_unstable(count);
            silent.truncate(count);
        }
        for (.., id) in &silent {
            self.producers.remove(id);
        }
        silent.len()
    }

    /// Adds an entry read from a snapshot; `false` if its producer or transaction exists already.
    fn insert_decoded(&mut self, producer_id: i64, entry: ProducerEntry) -> bool {
        if let Some(first_offset) = entry.transaction_first_offset
            && self.undecided.insert(first_offset, producer_id).is_some()
        {
            return false;
        }
        let replaced = self.producers.insert(producer_id, Box::new(entry));
        replaced.is_none()
    }
}

fn sequence_after(sequence: i32, count: i32) -> i32 {
    match sequence {
        NO_SEQUENCE => NO_SEQUENCE,
        sequence => add_to_sequence(sequence, count),
    }
}

/// The sequence that `count` more lead to.
fn sequence_before(sequence: i32, count: i32) -> i32 {
    match sequence {
        NO_SEQUENCE => NO_SEQUENCE,
        sequence if sequence >= count => sequence - count,
        sequence => i32::MAX - (count - sequence) + 1,
    }
}

#[cfg(test)]
mod tests;
