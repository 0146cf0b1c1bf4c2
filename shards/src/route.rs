//! Which shard owns a partition.
//!
//! Ownership is a pure function of the partition and the number of shards, so that every shard knows
//! it without asking and without sharing anything. A sender stamps nothing it can get wrong: the
//! owner checks with the same function.

use uuid::Uuid;

/// A partition of a topic. A topic that is deleted and made again has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    /// The topic's id.
    pub topic: Uuid,
    /// The partition's index in the topic.
    pub partition: i32,
}

/// The id that Kafka gives to the topic of the cluster's own metadata.
pub const METADATA_TOPIC: Uuid = Uuid::from_u128(1);

/// Index of a shard, from 0.
pub type ShardId = usize;

/// The deal of partitions over `shards` shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    shards: usize,
}

impl Route {
    /// A deal over this many shards.
    pub fn new(shards: usize) -> Self {
        assert!(shards > 0, "there is no broker without a shard");
        Self { shards }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The owner. The metadata log belongs to shard 0, where the controller is. Neighbouring partitions
    /// of a topic go to neighbouring shards, and topics begin at different ones, so that many topics of
    /// one partition spread as well as one topic of many.
    pub fn owner(&self, key: &PartitionKey) -> ShardId {
        if key.topic == METADATA_TOPIC {
            return 0;
        }
        let (high, low) = key.topic.as_u64_pair();
        let start = (high ^ low.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        (start as usize).wrapping_add(key.partition as usize) % self.shards
    }
}
