//! What is known of each partition from outside, and what the partitions are like.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Random;
use corelog_shards::io::sim::Crash;
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::{Batch, BatchBuilder, BatchIter};
use corelog_shards::log::config::LogConfig;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::message::{ReadData, ReadSpec};
use corelog_shards::shard::{CleanerConfig, FolderConfig, RotPolicy, ShardConfig};
use uuid::Uuid;

pub const PARTITIONS: usize = 5;
pub const LOG_DIR: &str = "/data";
pub const HEADER_BYTES: usize = 61;

/// What is known of one partition from outside.
#[derive(Default)]
pub struct Model {
    /// Batches by what they hold; the first has the offset `start`.
    pub sent: Vec<(i64, Bytes)>,
    /// Acknowledged, or seen by a reader, in this run.
    pub acked_end: i64,
    /// A log start that was acknowledged, and the furthest that was asked for.
    pub start_acked: i64,
    pub start_asked: i64,
    pub next_sequence: i32,
    pub high_watermark: i64,
    /// Leader epochs in which batches were sent, and where each begins.
    pub epochs: Vec<(i64, i32)>,
}

impl Model {
    /// Makes the next batch of a partition, with its offset.
    pub fn next_batch(
        &mut self,
        partition: usize,
        sending: Sending,
        random: &mut Random,
    ) -> (i64, Bytes) {
        let base = self.end();
        if self.epoch_at(base) != sending.leader_epoch {
            self.epochs.push((base, sending.leader_epoch));
        }
        let batch = match sending.is_small {
            true => make_small_batch(partition, base, self.next_sequence, random),
            false => make_batch(partition, base, self.next_sequence, random),
        };
        self.next_sequence += records_in(&batch) as i32;
        self.sent.push((base, batch.clone()));
        (base, batch)
    }

    /// The leader epoch in which the batch was sent that holds this offset.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        let behind = self.epochs.partition_point(|(begins, _)| *begins <= offset);
        behind.checked_sub(1).map_or(0, |at| self.epochs[at].1)
    }

    /// A batch that was found is what was sent.
    pub fn check(&self, partition: usize, found: Batch<'_>, sent: &(i64, Bytes)) {
        let (base, sent) = sent;
        assert_eq!(found.base_offset(), *base, "partition {partition}");
        assert!(
            found.bytes()[HEADER_BYTES..] == sent[HEADER_BYTES..],
            "partition {partition} at {base}"
        );
    }

    /// A batch that was found has the leader epoch in which it was sent.
    pub fn check_epoch(&self, partition: usize, found: Batch<'_>) {
        let base = found.base_offset();
        let epoch = self.epoch_at(base);
        assert_eq!(
            found.leader_epoch(),
            epoch,
            "partition {partition} at {base}"
        );
    }

    /// What a reader got from `offset` on is what was sent, and must be there from now on, by the promise of its
    /// class. Returns where to go on.
    pub fn note_read(&mut self, partition: usize, offset: i64, data: &ReadData) -> i64 {
        let mut next = offset;
        for batch in BatchIter::verifying(&data.batches.concat()) {
            let batch = batch.expect("a sound batch");
            let base = batch.header().base_offset();
            let at = self.sent.binary_search_by_key(&base, |(base, _)| *base);
            let sent = &self.sent[at.expect("a batch that was sent")];
            self.check(partition, batch, sent);
            self.check_epoch(partition, batch);
            next = batch.header().next_offset();
        }
        assert!(
            next <= data.probe.high_watermark.max(offset),
            "partition {partition}: read to {next}, the high watermark is {}",
            data.probe.high_watermark
        );
        self.acked_end = self.acked_end.max(next);
        next
    }

    /// A high watermark that a reader was told of.
    pub fn note_high_watermark(&mut self, partition: usize, high_watermark: i64) {
        assert!(
            high_watermark >= self.high_watermark,
            "partition {partition}: the high watermark went back"
        );
        self.high_watermark = high_watermark;
    }

    /// How far the log must go after that crash.
    pub fn must_end(&self, class: Durability, after: Option<Crash>) -> i64 {
        match (class, after) {
            (_, None) | (Durability::Sync, _) | (Durability::Written, Some(Crash::Kill)) => {
                self.acked_end.max(self.high_watermark)
            }
            (Durability::Written, Some(Crash::PowerLoss)) | (Durability::Memory, _) => 0,
        }
    }

    pub fn end(&self) -> i64 {
        self.sent
            .last()
            .map_or(0, |(base, batch)| base + records_in(batch))
    }
}

pub type Models = Rc<RefCell<Vec<Model>>>;

pub fn records_in(batch: &[u8]) -> i64 {
    i64::from(i32::from_be_bytes(
        batch[57..61].try_into().expect("four bytes"),
    ))
}

pub fn key(partition: usize) -> PartitionKey {
    PartitionKey {
        topic: Uuid::from_u128(99),
        partition: partition as i32,
    }
}

/// Which class a partition has: one of each, and more of the strictest.
pub type Classes = fn(usize) -> Durability;

pub fn all_classes(partition: usize) -> Durability {
    match partition {
        3 => Durability::Written,
        4 => Durability::Memory,
        _ => Durability::Sync,
    }
}

pub fn is_idempotent(partition: usize) -> bool {
    partition % 2 == 1
}

pub fn shard_config(on_rot: RotPolicy) -> ShardConfig {
    ShardConfig {
        folders: vec![FolderConfig::only(Uuid::nil(), LOG_DIR)],
        journal_bytes: 8 * (96 << 10),
        tail_cache_bytes: 32 << 10,
        open_files_max: 4,
        memory_flush: Duration::from_millis(5),
        retention_check: Duration::from_secs(3600),
        producer_expiration_ms: i64::MAX,
        folder_delete_delay: Duration::ZERO,
        cleaner: CleanerConfig::default(),
        on_rot,
    }
}

pub fn log_config(durability: Durability) -> LogConfig {
    LogConfig {
        segment_bytes: 50_000,
        index_interval_bytes: 1_000,
        retention_ms: None,
        file_delete_delay: Duration::from_millis(20),
        durability,
        ..LogConfig::default()
    }
}

pub fn spec(partition: usize, offset: i64, bytes_max: usize) -> ReadSpec {
    spec_of(key(partition), offset, bytes_max)
}

pub fn spec_of(key: PartitionKey, offset: i64, bytes_max: usize) -> ReadSpec {
    ReadSpec {
        key,
        offset,
        bytes_max,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: false,
    }
}

/// What batches are like.
#[derive(Clone, Copy, Default)]
pub struct Sending {
    /// In which they are appended.
    pub leader_epoch: i32,
    /// Whether each takes less than a block.
    pub is_small: bool,
}

fn builder(partition: usize, sequence: i32) -> BatchBuilder {
    let builder = BatchBuilder::uncompressed();
    match is_idempotent(partition) {
        true => builder.producer(7, 0, sequence),
        false => builder,
    }
}

fn make_small_batch(partition: usize, first: i64, sequence: i32, random: &mut Random) -> Bytes {
    let mut builder = builder(partition, sequence);
    let mut value = vec![random.below(256) as u8; random.below(1_500) as usize];
    value.extend_from_slice(&first.to_be_bytes());
    builder.append(first, None, Some(&value)).expect("appended");
    Bytes::from(builder.finish().expect("built"))
}

pub fn make_batch(partition: usize, first: i64, sequence: i32, random: &mut Random) -> Bytes {
    let mut builder = builder(partition, sequence);
    let large = random.below(20) == 0;
    let count = if large { 1 } else { 1 + random.below(6) };
    for number in 0..count {
        let len = if large { 40_000 } else { random.below(3_000) } as usize;
        let mut value = vec![random.below(256) as u8; len];
        value.extend_from_slice(&(first + number as i64).to_be_bytes());
        builder.append(first, None, Some(&value)).expect("appended");
    }
    Bytes::from(builder.finish().expect("built"))
}

/// Models of empty partitions.
pub fn empty_models() -> Models {
    Rc::new(RefCell::new(
        (0..PARTITIONS).map(|_| Model::default()).collect(),
    ))
}
