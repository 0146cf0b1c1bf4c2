//! The log from one of its records to its end, replayed.
//!
//! The log may be one of Apache Kafka's: compressed batches, holes where records were compacted away, control batches,
//! offsets committed by transactions. What belongs to a transaction counts from its end on, if that is a commit, unless
//! a record of the same key was written after it. A record that cannot be read ends the replay: with it the state would
//! have a hole.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use bytes::Bytes;
use corelog_shards::io::Slice;
use corelog_shards::log::batch::control::TransactionEnd;
use corelog_shards::log::batch::{Batch, BatchIter, Records};
use corelog_shards::mutation::{Mutation, is_on};
use corelog_shards::shard::message::ReadError;

use super::Instance;
use crate::coordinator::Machine;
use crate::replay::batches_at;

/// Records between two looks at the clock.
const RECORDS_BETWEEN_LOOKS: u32 = 16;

/// Why a log cannot be replayed.
#[derive(Debug)]
pub(super) enum LoadError {
    Read(ReadError),
    /// What stands at this offset, or behind it.
    Damaged {
        offset: i64,
        why: String,
    },
    /// Another term has begun.
    Overtaken,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "its log cannot be read: {error:?}"),
            Self::Damaged { offset, why } => {
                write!(f, "its log makes no sense at offset {offset}: {why}")
            }
            Self::Overtaken => f.write_str("it has left"),
        }
    }
}

/// Where records go, one after the other, as they take effect.
pub(super) trait Sink {
    type Record;

    fn decode(&self, key: &[u8], value: Option<&[u8]>) -> Result<Self::Record, Box<dyn Error>>;

    fn take(&mut self, record: Self::Record);

    /// Time has passed since the last record.
    fn resume(&mut self) {}
}

/// A batch, so that it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchMark {
    pub base_offset: i64,
    pub crc: u32,
}

pub(super) struct Loader<'a, M: Machine, S: Sink> {
    instance: &'a Instance<M>,
    /// Of the instance: with its end, reading ends.
    term: u64,
    pub(super) sink: S,
    open: Transactions<S::Record>,
    pub(super) records: u64,
    /// The newest batch of the log so far.
    pub(super) last: Option<BatchMark>,
    slice: Slice,
}

impl<'a, M: Machine, S: Sink> Loader<'a, M, S> {
    pub(super) fn new(instance: &'a Instance<M>, term: u64, sink: S) -> Self {
        Self {
            instance,
            term,
            sink,
            open: Transactions::default(),
            records: 0,
            last: None,
            slice: instance.shard.io().slice(),
        }
    }

    /// How many transactions have no end so far.
    pub(super) fn open_transactions(&self) -> usize {
        self.open.0.len()
    }

    /// Replays the log from an offset on. Returns its end.
    pub(super) async fn replay_log(&mut self, mut next: i64) -> Result<i64, LoadError> {
        let (shard, key) = (&self.instance.shard, self.instance.key);
        loop {
            let batches = batches_at(shard, key, next).await;
            let batches = batches.map_err(LoadError::Read)?;
            if batches.is_empty() {
                return Ok(next);
            }
            next = self.replay(&batches, next).await?;
            if !self.instance.is_in(self.term) {
                return Err(LoadError::Overtaken);
            }
        }
    }

    /// Replays whole batches, which begin at an offset. Returns the offset behind them.
    pub(super) async fn replay(&mut self, batches: &[u8], mut next: i64) -> Result<i64, LoadError> {
        for batch in BatchIter::verifying(batches) {
            let batch = batch.map_err(|error| LoadError::Damaged {
                offset: next,
                why: error.to_string(),
            })?;
            match batch.is_control() {
                true => self.replay_marker(batch),
                false => self.replay_batch(batch).await?,
            }
            next = batch.next_offset();
            self.last = Some(BatchMark {
                base_offset: batch.base_offset(),
                crc: batch.crc(),
            });
        }
        Ok(next)
    }

    fn replay_marker(&mut self, batch: Batch<'_>) {
        let Some(end) = TransactionEnd::of(batch) else {
            return;
        };
        let ended = self.open.end(batch.producer_id(), end.is_aborted);
        ended.into_iter().for_each(|record| self.sink.take(record));
    }

    async fn replay_batch(&mut self, batch: Batch<'_>) -> Result<(), LoadError> {
        let io = self.instance.shard.io();
        let mut records = Records::new(batch).map_err(|error| LoadError::Damaged {
            offset: batch.base_offset(),
            why: error.to_string(),
        })?;
        while self.replay_some(batch, &mut records)? {
            if self.slice.is_over(io) {
                io.yield_now().await;
                self.slice = io.slice();
                self.sink.resume();
            }
        }
        Ok(())
    }

    /// Replays the next few records of a batch; whether there may be more.
    fn replay_some(
        &mut self,
        batch: Batch<'_>,
        records: &mut Records<'_>,
    ) -> Result<bool, LoadError> {
        for _ in 0..RECORDS_BETWEEN_LOOKS {
            if !self.replay_next(batch, records)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn replay_next(
        &mut self,
        batch: Batch<'_>,
        records: &mut Records<'_>,
    ) -> Result<bool, LoadError> {
        let damaged = |offset, why: String| LoadError::Damaged { offset, why };
        let record = records
            .next()
            .map_err(|error| damaged(batch.base_offset(), error.to_string()))?;
        let Some(record) = record else {
            return Ok(false);
        };
        if record.value.is_none() && is_on(Mutation::ForgetTombstones) {
            return Ok(true);
        }
        let key = record
            .key
            .ok_or_else(|| damaged(record.offset, "a record without a key".to_owned()))?;
        let decoded = self.sink.decode(key, record.value);
        let decoded = decoded.map_err(|error| damaged(record.offset, error.to_string()))?;
        self.records += 1;
        if batch.is_transactional() {
            let key = Bytes::copy_from_slice(key);
            self.open
                .add(batch.producer_id(), key, record.offset, decoded);
        } else {
            self.open.overwrite(key, record.offset);
            self.sink.take(decoded);
        }
        Ok(true)
    }
}

/// Records of transactions whose ends have not come yet, by producer and key, with their offsets.
struct Transactions<R>(BTreeMap<i64, BTreeMap<Bytes, (i64, R)>>);

impl<R> Default for Transactions<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R> Transactions<R> {
    fn add(&mut self, producer_id: i64, key: Bytes, offset: i64, record: R) {
        let records = self.0.entry(producer_id).or_default();
        records.insert(key, (offset, record));
    }

    /// A record of this key took effect: older ones won't any more.
    fn overwrite(&mut self, key: &[u8], offset: i64) {
        for records in self.0.values_mut() {
            let is_older = records
                .get(key)
                .is_some_and(|(at, _)| at.cmp(&offset) == Ordering::Less);
            if is_older {
                records.remove(key);
            }
        }
    }

    /// The transaction of a producer ends; what takes effect by that.
    fn end(&mut self, producer_id: i64, is_aborted: bool) -> Vec<R> {
        let ended = self.0.remove(&producer_id).unwrap_or_default();
        if is_aborted {
            return Vec::new();
        }
        let committed = ended.into_iter().map(|(key, (offset, record))| {
            self.overwrite(&key, offset);
            record
        });
        committed.collect()
    }
}
