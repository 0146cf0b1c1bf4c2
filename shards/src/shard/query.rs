//! Questions about partitions: offsets by time, epochs, sizes.

use std::rc::Rc;

use uuid::Uuid;

use super::Shard;
use super::compact::{self, CompactionFacts};
use super::message::ReadError;
use crate::log::config::LogConfig;
use crate::log::epochs::EpochEnd;
use crate::partition::{Partition, Traffic, check_epoch};
use crate::route::PartitionKey;

/// Which offset is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first of the log.
    Earliest,
    /// Where the next acknowledged record goes.
    Latest {
        /// Only up to the last stable offset.
        committed: bool,
    },
    /// The first record at or after this time.
    AtTime(i64),
    /// The record with the largest timestamp.
    MaxTimestamp,
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset, or -1 when there is none.
    pub offset: i64,
    /// Its record's time, or -1.
    pub timestamp_ms: i64,
    /// The leader epoch it was written in, if known.
    pub leader_epoch: Option<i32>,
}

/// What operators want to know of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// The partition.
    pub key: PartitionKey,
    /// How many segments there are.
    pub segments: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// First offset.
    pub start_offset: i64,
    /// Acknowledged records end here.
    pub high_watermark: i64,
    /// Records end here.
    pub end_offset: i64,
    /// What went in and out since it was opened.
    pub traffic: Traffic,
    /// The log folder where it is.
    pub folder: Uuid,
    /// Whether that is out of reach.
    pub is_offline: bool,
    /// Its copy in another folder, while it is being moved there.
    pub future: Option<FutureCopy>,
    /// How far its compaction is, if it is compacted.
    pub compaction: Option<CompactionFacts>,
}

/// The copy of a partition that is being moved to another folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutureCopy {
    /// The folder where it will be.
    pub folder: Uuid,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Offsets that were not.
    pub offset_lag: i64,
}

impl Shard {
    pub(super) fn owned(
        &self,
        key: &PartitionKey,
        leader_epoch: Option<i32>,
    ) -> Result<Rc<Partition>, ReadError> {
        let partition = self.find(key)?;
        if partition.is_offline() {
            return Err(ReadError::FolderOffline);
        }
        check_epoch(leader_epoch, partition.leader_epoch.get())?;
        Ok(partition)
    }

    /// Finds an offset. On the owner's shard.
    pub async fn offset_for(
        &self,
        key: &PartitionKey,
        leader_epoch: Option<i32>,
        query: OffsetQuery,
    ) -> Result<ListedOffset, ReadError> {
        let partition = self.owned(key, leader_epoch)?;
        let at = |offset: i64, timestamp_ms: i64| {
            let state = partition.state.borrow();
            let epochs = state.log.epochs();
            let leader_epoch = epochs
                .epoch_for_offset(offset)
                .or(epochs.latest().map(|latest| latest.epoch));
            ListedOffset {
                offset,
                timestamp_ms,
                leader_epoch,
            }
        };
        match query {
            OffsetQuery::Earliest => {
                let start = partition.state.borrow().log.start_offset();
                Ok(at(start, -1))
            }
            OffsetQuery::Latest { committed } => {
                let end = partition.state.borrow().readable_end(committed);
                Ok(at(end, -1))
            }
            OffsetQuery::AtTime(timestamp_ms) => {
                let found = self
                    .0
                    .store
                    .offset_at_time(&partition, timestamp_ms)
                    .await?;
                Ok(found.map_or(NOT_FOUND, |found| at(found.offset, found.timestamp)))
            }
            OffsetQuery::MaxTimestamp => {
                let found = self.0.store.max_timestamp(&partition).await?;
                Ok(found.map_or(NOT_FOUND, |found| at(found.offset, found.timestamp)))
            }
        }
    }

    /// Where an epoch ended. On the owner's shard.
    pub fn epoch_end(
        &self,
        key: &PartitionKey,
        leader_epoch: Option<i32>,
        epoch: i32,
    ) -> Result<Option<EpochEnd>, ReadError> {
        let partition = self.owned(key, leader_epoch)?;
        let state = partition.state.borrow();
        Ok(state
            .log
            .epochs()
            .end_offset_for(epoch, state.log.end_offset()))
    }

    /// Facts about one partition of this shard.
    pub fn facts_of(&self, key: &PartitionKey) -> Option<PartitionFacts> {
        Some(facts_of(&*self.partition(key)?, self.io().wall_ms()))
    }

    /// The settings that a partition of this shard goes by.
    pub fn config_of(&self, key: &PartitionKey) -> Option<Rc<LogConfig>> {
        let partition = self.partition(key)?;
        let state = partition.state.borrow();
        Some(state.log.config.clone())
    }

    /// Facts about all partitions of this shard, in no order.
    pub async fn partition_facts(&self) -> Vec<PartitionFacts> {
        let partitions: Vec<_> = self.0.partitions.borrow().values().cloned().collect();
        let mut facts = Vec::with_capacity(partitions.len());
        let mut slice = self.io().slice();
        for some in partitions.chunks(FACTS_AT_ONCE) {
            let now_ms = self.io().wall_ms();
            facts.extend(some.iter().map(|partition| facts_of(partition, now_ms)));
            if slice.is_over(self.io()) {
                self.io().yield_now().await;
                slice = self.io().slice();
            }
        }
        facts
    }
}

fn facts_of(partition: &Partition, now_ms: i64) -> PartitionFacts {
    let compaction = compact::facts(partition, now_ms);
    let state = partition.state.borrow();
    PartitionFacts {
        key: partition.key,
        segments: state.log.segments().len(),
        bytes: state.log.size_bytes(),
        start_offset: state.log.start_offset(),
        high_watermark: state.high_watermark,
        end_offset: state.log.end_offset(),
        traffic: partition.traffic.get(),
        folder: partition.folder().id,
        is_offline: partition.is_offline(),
        future: partition.future_copy(&state),
        compaction,
    }
}

/// Partitions looked at before the time is.
const FACTS_AT_ONCE: usize = 64;

const NOT_FOUND: ListedOffset = ListedOffset {
    offset: -1,
    timestamp_ms: -1,
    leader_epoch: None,
};
