//! The log from its first record to its end, replayed.
//!
//! The log may be one of Apache Kafka's: compressed batches, holes where records were compacted away, control batches,
//! offsets committed by transactions. What belongs to a transaction counts from its end on, if that is a commit, unless
//! a record of the same key was written after it. A record that cannot be read ends the load: with it the state would
//! have a hole.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use corelog_shards::io::Slice;
use corelog_shards::log::batch::control::TransactionEnd;
use corelog_shards::log::batch::{Batch, BatchIter, Records};
use corelog_shards::shard::message::ReadError;

use super::Instance;
use crate::cluster::image::Image;
use crate::coordinator::{Context, LogRecord, Machine};
use crate::replay::{batches_at, log_start};

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

pub(super) struct Replayed<M> {
    pub(super) machine: M,
    pub(super) records: u64,
}

/// Replays the log of an instance into a new machine, which sees the metadata as it is said here.
pub(super) async fn replay_log<M: Machine>(
    instance: &Instance<M>,
    term: u64,
    image: Rc<Image>,
) -> Result<Replayed<M>, LoadError> {
    let (shard, key) = (&instance.shard, instance.key);
    let mut loader = Loader {
        instance,
        image,
        machine: M::default(),
        open: Transactions::default(),
        records: 0,
        slice: shard.io().slice(),
    };
    let mut next = log_start(shard, &key).await.map_err(LoadError::Read)?;
    loop {
        let batches = batches_at(shard, key, next).await;
        let batches = batches.map_err(LoadError::Read)?;
        if batches.is_empty() {
            break;
        }
        loader.replay(&batches, &mut next).await?;
        if !instance.is_in(term) {
            return Err(LoadError::Overtaken);
        }
    }
    if !loader.open.is_empty() {
        tracing::warn!(
            partition = instance.name,
            transactions = loader.open.len(),
            "offsets of transactions that have no end are not committed"
        );
    }
    Ok(Replayed {
        machine: loader.machine,
        records: loader.records,
    })
}

struct Loader<'a, M: Machine> {
    instance: &'a Instance<M>,
    image: Rc<Image>,
    machine: M,
    open: Transactions<M::Record>,
    records: u64,
    slice: Slice,
}

impl<M: Machine> Loader<'_, M> {
    /// Replays whole batches; `next` becomes the offset behind them.
    async fn replay(&mut self, batches: &[u8], next: &mut i64) -> Result<(), LoadError> {
        for batch in BatchIter::verifying(batches) {
            let batch = batch.map_err(|error| LoadError::Damaged {
                offset: *next,
                why: error.to_string(),
            })?;
            match batch.is_control() {
                true => self.replay_marker(batch),
                false => self.replay_batch(batch).await?,
            }
            *next = batch.next_offset();
        }
        Ok(())
    }

    fn replay_marker(&mut self, batch: Batch<'_>) {
        let Some(end) = TransactionEnd::of(batch) else {
            return;
        };
        let ended = self.open.end(batch.producer_id(), end.is_aborted);
        let (instance, machine) = (self.instance, &mut self.machine);
        instance.in_context_of(&self.image, |context| {
            for record in ended {
                machine.replay(record, context);
            }
        });
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
        let (instance, image) = (self.instance, Rc::clone(&self.image));
        instance.in_context_of(&image, |context| {
            for _ in 0..RECORDS_BETWEEN_LOOKS {
                if !self.replay_next(batch, records, context)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn replay_next(
        &mut self,
        batch: Batch<'_>,
        records: &mut Records<'_>,
        context: &mut Context<'_>,
    ) -> Result<bool, LoadError> {
        let damaged = |offset, why: String| LoadError::Damaged { offset, why };
        let record = records
            .next()
            .map_err(|error| damaged(batch.base_offset(), error.to_string()))?;
        let Some(record) = record else {
            return Ok(false);
        };
        let key = record
            .key
            .ok_or_else(|| damaged(record.offset, "a record without a key".to_owned()))?;
        let decoded = M::Record::decode(key, record.value)
            .map_err(|error| damaged(record.offset, error.to_string()))?;
        self.records += 1;
        if batch.is_transactional() {
            let key = Bytes::copy_from_slice(key);
            self.open
                .add(batch.producer_id(), key, record.offset, decoded);
        } else {
            self.open.overwrite(key, record.offset);
            self.machine.replay(decoded, context);
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
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

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
