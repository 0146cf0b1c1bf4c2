//! Deleting records: what is too old or too much, and what somebody asks to delete.
//!
//! The log start moves first and durably; files go afterwards, a segment at a time, so that those who
//! write wait for one at most. A crash in between leaves files below the log start, which the next
//! start gives up (see `removal`).

use std::rc::Rc;

use super::Shard;
use super::message::ReadError;
use crate::io::Landmark;
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline};
use crate::log::retention::{
    LogBounds, RetainedSegment, RetentionDecision, RetentionPolicy, decide,
};
use crate::mutation::{Mutation, is_on};
use crate::partition::Partition;
use crate::route::PartitionKey;

impl Shard {
    /// Looks at all logs again and again until the shard stops.
    pub(super) async fn retention_task(self) {
        while !self.0.stopping.get() {
            self.io().sleep(self.0.config.retention_check).await;
            self.enforce_retention().await;
        }
    }

    /// Deletes what the settings of each topic no longer keep.
    pub async fn enforce_retention(&self) {
        let mut keys: Vec<PartitionKey> = self.0.partitions.borrow().keys().copied().collect();
        keys.sort_unstable();
        let mut slice = self.io().slice();
        for key in keys {
            if self.0.stopping.get() {
                return;
            }
            let Some(partition) = self.partition(&key) else {
                continue;
            };
            // Before it is opened nobody here knows its settings.
            if partition.is_offline() || !partition.is_opened.get() {
                continue;
            }
            let now_ms = self.io().wall_ms();
            let expiration_ms = self.0.producer_expiration_ms.get();
            let expired = partition
                .state
                .borrow_mut()
                .log
                .expire_producers(now_ms, expiration_ms);
            self.0.producers.forgot(expired);
            if let Some(decision) = self.decide(&partition, now_ms) {
                self.apply(&partition, decision, now_ms).await;
            }
            if slice.is_over(self.io()) {
                self.io().yield_now().await;
                slice = self.io().slice();
            }
        }
    }

    fn decide(&self, partition: &Partition, now_ms: i64) -> Option<RetentionDecision> {
        let state = partition.state.borrow();
        let config = &state.log.config;
        let segments: Vec<RetainedSegment> = state
            .log
            .segments()
            .iter()
            .map(|segment| RetainedSegment {
                base_offset: segment.base_offset,
                size_bytes: segment.bytes as u32,
                newest_ms: segment.newest_ms,
            })
            .collect();
        if segments.is_empty() {
            return None;
        }
        let policy = RetentionPolicy {
            delete: config.cleanup_delete,
            retention_ms: config.retention_ms.unwrap_or(-1),
            retention_bytes: config.retention_bytes.map_or(-1, |bytes| bytes as i64),
        };
        let bounds = LogBounds {
            log_start_offset: state.log.start_offset(),
            high_watermark: state.high_watermark,
            log_end_offset: state.log.end_offset(),
        };
        let decision = decide(&segments, policy, bounds, now_ms);
        if let Some(segment) = decision.of_the_future {
            tracing::warn!(
                partition = %partition.dir,
                segment,
                "a segment has records of the future: retention.ms does not delete it, nor what is behind it"
            );
        }
        (decision.segments > 0).then_some(decision)
    }

    async fn apply(&self, partition: &Rc<Partition>, decision: RetentionDecision, now_ms: i64) {
        if decision.roll_active {
            let mut state = partition.state.borrow_mut();
            let end = state.log.end_offset();
            state.log.roll_at(end, now_ms);
        }
        let start = partition.state.borrow().log.start_offset();
        if decision.log_start_offset > start
            && self
                .move_log_start(partition, decision.log_start_offset)
                .await
                .is_err()
        {
            return;
        }
        self.remove_old_segments(partition).await;
    }

    /// Moves the log start to `offset` (`None`: the high watermark) and waits until that is durable.
    /// Returns the new log start. On the owner's shard.
    pub async fn delete_records(
        &self,
        key: &PartitionKey,
        offset: Option<i64>,
    ) -> Result<i64, ReadError> {
        let partition = self.owned(key, None)?;
        let offset = {
            let state = partition.state.borrow();
            let offset = offset.unwrap_or(state.high_watermark);
            if offset > state.high_watermark || offset < 0 {
                return Err(ReadError::OffsetOutOfRange);
            }
            let start = state.log.start_offset();
            if offset <= start && start <= partition.durable_start.get() {
                return Ok(start);
            }
            // Another one may have moved it there just now, and a crash would take that back.
            offset.max(start)
        };
        self.move_log_start(&partition, offset).await?;
        // Whoever asks waits for the new start, not for the files.
        let shard = self.clone();
        self.io().spawn("remove segments", async move {
            shard.remove_old_segments(&partition).await;
        });
        Ok(offset)
    }

    /// Makes a new log start durable. Reads below it fail from the call on.
    pub(super) async fn move_log_start(
        &self,
        partition: &Rc<Partition>,
        offset: i64,
    ) -> Result<(), ReadError> {
        let volume = self.volume(partition);
        if partition.is_offline() {
            return Err(ReadError::FolderOffline);
        }
        if volume.acknowledges_no_more() {
            return Err(ReadError::Storage);
        }
        let entry = self.begin_log_start(partition, offset);
        let ticket = volume.journal.append(entry);
        let is_early = is_on(Mutation::AcknowledgeLogStartAtOnce);
        if is_early || self.synced(volume, ticket).await {
            note_durable_start(partition, offset);
            Ok(())
        } else {
            Err(ReadError::Storage)
        }
    }

    /// The same for a start, where nobody yet makes room for what is appended: it goes into the journal's reserve. Whether
    /// it is durable.
    pub(super) async fn carry_log_start(&self, partition: &Rc<Partition>, offset: i64) -> bool {
        let volume = self.volume(partition);
        let entry = self.begin_log_start(partition, offset);
        let ticket = volume.journal.carry(entry);
        let is_durable = volume.carried_synced(ticket).await;
        if is_durable {
            note_durable_start(partition, offset);
        }
        is_durable
    }

    /// Moves a log start in memory. Returns what makes it durable.
    fn begin_log_start(&self, partition: &Rc<Partition>, offset: i64) -> Entry {
        if partition.state.borrow().anchor == 0 {
            self.checkpoint(partition);
        }
        self.io().reached(Landmark::LogStartMoved);
        partition.state.borrow_mut().log.set_start(offset);
        Entry {
            head: EntryHead {
                kind: EntryKind::LogStart,
                key: partition.key,
                revision: partition.revision.get(),
            },
            inline: Inline::pair(offset as u64, 0),
            body: Body::Empty,
            durability: Durability::Sync,
            queued: self.io().now(),
        }
    }

    /// Removes segments that lie below the log start altogether, one at a time: in between, others who
    /// write the partition's segments have their turn.
    pub(super) async fn remove_old_segments(&self, partition: &Rc<Partition>) {
        if let Err(error) = self.finish_swaps(partition).await {
            tracing::warn!(partition = %partition.dir, %error, "cannot remove segments for now");
        }
        while self.remove_oldest_segment(partition).await {}
    }

    /// Removes the oldest segment if it lies below the log start. Whether it did.
    async fn remove_oldest_segment(&self, partition: &Rc<Partition>) -> bool {
        let _turn = partition.settling.take().await;
        // Nothing happens to files any more when a shard has stopped.
        if self.0.stopping.get() {
            return false;
        }
        let Some(base) = self.forget_oldest_segment(partition) else {
            return false;
        };
        let _removing = self.io().within(Landmark::SegmentRemoved);
        self.0.metrics.segments_removed.add(1);
        if let Err(error) = self.give_up_segment(partition, base).await {
            tracing::warn!(partition = %partition.dir, segment = base, %error, "cannot remove a segment");
        }
        true
    }

    /// Takes the oldest segment out of the log if it lies below the log start. Its base offset.
    fn forget_oldest_segment(&self, partition: &Rc<Partition>) -> Option<i64> {
        let mut state = partition.state.borrow_mut();
        // The folder of a dropped one goes as a whole, and its name may be another topic's by now.
        if state.is_dropped || partition.is_offline() {
            return None;
        }
        let [oldest, next, ..] = state.log.segments() else {
            return None;
        };
        let next = next.base_offset;
        // Whoever finishes a swap needs the segment to know which files it was made of.
        if oldest.is_swapping || next > partition.durable_start.get() {
            return None;
        }
        let unsettled = state.log.unsettled_bytes();
        let cached = state.log.tail().backing_bytes();
        let base = state.log.remove_oldest_segment();
        let unsettled = unsettled - state.log.unsettled_bytes();
        let cached = cached - state.log.tail().backing_bytes();
        self.volume(partition).settling.shrank(unsettled);
        self.0.cache.forgot_segments(partition, next, cached);
        Some(base)
    }
}

fn note_durable_start(partition: &Partition, offset: i64) {
    let durable = partition.durable_start.get().max(offset);
    partition.durable_start.set(durable);
}
