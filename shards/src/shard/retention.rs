//! Deleting what is too old or too much, and partitions as a whole.
//!
//! The log start moves first and durably; files go afterwards, a segment at a time, so that those who
//! write wait for one at most. A crash in between leaves files below the log start, which the next
//! start removes.

use std::rc::Rc;

use bytes::Bytes;
use uuid::Uuid;

use super::Shard;
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline};
use crate::log::retention::{
    LogBounds, RetainedSegment, RetentionDecision, RetentionPolicy, decide,
};
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

    /// Removes segments that lie below the log start altogether, one at a time: in between, others who
    /// write the partition's segments have their turn.
    pub(super) async fn remove_old_segments(&self, partition: &Rc<Partition>) {
        while self.remove_oldest_segment(partition).await {}
    }

    /// Removes the oldest segment if it lies below the log start. Whether it did.
    async fn remove_oldest_segment(&self, partition: &Rc<Partition>) -> bool {
        let _turn = partition.settling.take().await;
        let Some(base) = self.forget_oldest_segment(partition) else {
            return false;
        };
        self.0.metrics.segments_removed.add(1);
        if let Err(error) = self.0.store.remove_segment(partition, base).await {
            tracing::warn!(partition = %partition.dir, segment = base, %error, "cannot remove a segment");
        }
        true
    }

    /// Takes the oldest segment out of the log if it lies below the log start. Its base offset.
    fn forget_oldest_segment(&self, partition: &Rc<Partition>) -> Option<i64> {
        let mut state = partition.state.borrow_mut();
        // The folder of a dropped one goes as a whole, and its name may be another topic's by now.
        if state.is_dropped {
            return None;
        }
        let next = state.log.segments().get(1)?.base_offset;
        if next > partition.durable_start.get() {
            return None;
        }
        let unsettled = state.log.unsettled_bytes();
        let cached = state.log.tail().backing_bytes();
        let base = state.log.remove_oldest_segment();
        let unsettled = unsettled - state.log.unsettled_bytes();
        let cached = cached - state.log.tail().backing_bytes();
        let forgotten = (unsettled, cached);
        self.0.settling.forgot_segments(partition, next, forgotten);
        Some(base)
    }

    /// Marks a partition as gone, lets go of its memory and tells those who wait for it; does nothing
    /// the second time.
    pub(super) fn end_partition(&self, partition: &Rc<Partition>) {
        let mut state = partition.state.borrow_mut();
        if std::mem::replace(&mut state.is_dropped, true) {
            return;
        }
        self.0.settling.forgot_partition(partition, &state.log);
        self.0.producers.forgot(state.log.producers().len());
        let watches = state.take_watches();
        drop(state);
        for watch in watches {
            self.wake(watch);
        }
    }

    /// Ends a partition of this shard: from now on it is unknown. Once this returns, its folder's name
    /// is free for another topic, and its files go in the background; if the shard has failed
    /// meanwhile, they stay where they are.
    pub async fn drop_partition(&self, key: &PartitionKey) {
        let Some(partition) = self.0.partitions.borrow_mut().remove(key) else {
            return;
        };
        self.end_partition(&partition);
        let has_journal = partition.state.borrow().anchor > 0;
        if has_journal && !self.acknowledges_no_more() {
            let ticket = self.0.journal.append(Entry {
                head: EntryHead {
                    kind: EntryKind::Drop,
                    key: partition.key,
                    revision: partition.revision,
                },
                inline: Inline::default(),
                // A crash may come before it goes, and the checkpoint that names it go before.
                body: Body::One(Bytes::copy_from_slice(partition.dir.as_bytes())),
                durability: Durability::Sync,
                queued: self.io().now(),
            });
            // What a crash brings back must have its folder. Only when the journal waits for room, the
            // folder goes first, because that makes room.
            if !self.is_out_of_room() && !self.synced(ticket).await {
                return;
            }
        }
        let turn = partition.settling.take().await;
        let renamed = self
            .0
            .store
            .set_aside(
                &partition,
                Uuid::from_u64_pair(self.io().random_u64(), self.io().random_u64()),
            )
            .await;
        drop(turn);
        match renamed {
            Ok(Some(dir)) => {
                let shard = self.clone();
                self.io().spawn("remove files", async move {
                    shard.0.store.remove_dir_with_files(&dir).await
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(partition = %partition.dir, %error, "cannot remove a partition's folder")
            }
        }
    }
}
