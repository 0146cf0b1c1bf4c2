//! Offsets by time: over segments, then an index, then batches read from memory or disk.

use std::rc::Rc;

use super::message::{ReadError, ReadSpec};
use super::store::Store;
use crate::io::Io;
use crate::log::batch::lookup::{RecordSearch, TimestampOffset};
use crate::log::batch::{Batch, BatchIter, Budget, Progress};
use crate::log::index;
use crate::partition::Partition;

/// Bytes looked at together.
const STEP_BYTES: usize = 1 << 20;

/// Which record is looked for.
#[derive(Clone, Copy)]
enum Wanted {
    /// The first at or after a time, at or behind an offset.
    NotOlder { timestamp_ms: i64, from_offset: i64 },
    /// The first with exactly this time, which is the largest of its batch.
    Newest { timestamp_ms: i64 },
}

impl Wanted {
    fn may_be_in(&self, batch: &Batch<'_>) -> bool {
        let max = batch.header().max_timestamp();
        match self {
            Self::NotOlder {
                timestamp_ms,
                from_offset,
            } => max >= *timestamp_ms && batch.header().last_offset() >= *from_offset,
            Self::Newest { timestamp_ms } => max == *timestamp_ms,
        }
    }

    async fn find_in(
        &self,
        batch: &Batch<'_>,
        io: &Io,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let search = match self {
            Self::NotOlder {
                timestamp_ms,
                from_offset,
            } => RecordSearch::not_older(batch, *timestamp_ms, *from_offset),
            Self::Newest { .. } => RecordSearch::newest(batch),
        };
        let mut search = search.map_err(|_| ReadError::Corrupt)?;
        loop {
            match search.step(Budget::SLICE) {
                Progress::Pending => io.yield_now().await,
                Progress::Done(found) => return found.map_err(|_| ReadError::Corrupt),
            }
        }
    }
}

impl Store {
    /// The first readable record at or after a time.
    pub(super) async fn offset_at_time(
        &self,
        partition: &Rc<Partition>,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let (from_offset, candidates) = {
            let state = partition.state.borrow();
            let late_enough = state
                .log
                .segments()
                .iter()
                .filter(|segment| segment.max_timestamp_ms >= timestamp_ms);
            let bases: Vec<i64> = late_enough.map(|segment| segment.base_offset).collect();
            (state.log.start_offset(), bases)
        };
        let wanted = Wanted::NotOlder {
            timestamp_ms,
            from_offset,
        };
        for segment_base in candidates {
            let near = self
                .offset_near_time(partition, segment_base, timestamp_ms)
                .await?;
            let found = self
                .look_through(partition, near.max(from_offset), wanted)
                .await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp.
    pub(super) async fn max_timestamp(
        &self,
        partition: &Rc<Partition>,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let newest = {
            let state = partition.state.borrow();
            let with_time = state
                .log
                .segments()
                .iter()
                .rev()
                .filter(|segment| segment.max_timestamp_ms >= 0);
            with_time
                .max_by_key(|segment| segment.max_timestamp_ms)
                .map(|segment| {
                    (
                        segment.base_offset,
                        segment.max_timestamp_ms,
                        state.log.start_offset(),
                    )
                })
        };
        let Some((segment_base, timestamp_ms, start)) = newest else {
            return Ok(None);
        };
        let near = self
            .offset_near_time(partition, segment_base, timestamp_ms)
            .await?;
        self.look_through(partition, near.max(start), Wanted::Newest { timestamp_ms })
            .await
    }

    /// An offset whose batch, or one behind it, holds the segment's first record that is as late as
    /// `timestamp_ms`.
    async fn offset_near_time(
        &self,
        partition: &Rc<Partition>,
        segment_base: i64,
        timestamp_ms: i64,
    ) -> Result<i64, ReadError> {
        let in_memory = {
            let state = partition.state.borrow();
            let index = state.log.index_in_memory(segment_base);
            index.map(|index| index.entry_for_timestamp(timestamp_ms))
        };
        let entry = match in_memory {
            Some(entry) => entry,
            None => {
                let index = self.index(partition, segment_base).await;
                index.entry_for_timestamp(timestamp_ms)
            }
        };
        Ok(match entry {
            Some(entry) if self.is_sound(partition, entry).await? => entry.offset,
            _ => segment_base,
        })
    }

    /// Whether an entry of a time index fits to the batch that it speaks of: it may have rotted. One of a
    /// batch that nobody may read any more is of no use either.
    async fn is_sound(
        &self,
        partition: &Rc<Partition>,
        entry: index::TimestampOffset,
    ) -> Result<bool, ReadError> {
        let (start, upper) = {
            let state = partition.state.borrow();
            (state.log.start_offset(), state.high_watermark)
        };
        if entry.offset < start {
            return Ok(false);
        }
        let spec = step_from(partition, entry.offset, 0);
        let batches = self.read(partition, &spec, upper).await?.concat();
        let first = BatchIter::new(&batches).next();
        Ok(first.and_then(Result::ok).is_some_and(|batch| {
            batch.base_offset() <= entry.offset && batch.max_timestamp() == entry.timestamp_ms
        }))
    }

    /// Reads on from an offset until the record is found or the readable end is reached.
    async fn look_through(
        &self,
        partition: &Rc<Partition>,
        from: i64,
        wanted: Wanted,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut offset = from;
        loop {
            let spec = step_from(partition, offset, STEP_BYTES);
            // In memory a large batch lies in two slices, its header and its records.
            let upper = partition.state.borrow().high_watermark;
            let batches = self.read(partition, &spec, upper).await?.concat();
            let mut next = offset;
            for batch in BatchIter::new(&batches) {
                let batch = batch.map_err(|_| ReadError::Corrupt)?;
                if wanted.may_be_in(&batch)
                    && let Some(found) = wanted.find_in(&batch, self.io()).await?
                {
                    return Ok(Some(found));
                }
                next = batch.header().next_offset();
            }
            if next == offset {
                return Ok(None);
            }
            offset = next;
        }
    }
}

/// A read of whole batches, one at least.
fn step_from(partition: &Partition, offset: i64, bytes_max: usize) -> ReadSpec {
    ReadSpec {
        key: partition.key,
        offset,
        bytes_max,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: false,
    }
}
