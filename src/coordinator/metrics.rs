//! What the coordinators of a shard count. See [`corelog_shards::metrics`] for how.

use corelog_shards::metrics::{Counter, Histogram};

/// Of the coordinators of groups.
#[derive(Debug, Default)]
pub struct CoordinatorMetrics {
    /// Of each load that came to its end: from when it began.
    pub loads: Histogram,
    /// Of each input: until its records and replies are made.
    pub processing: Histogram,
    /// Of each input whose replies waited for a write: from then until they left.
    pub replies: Histogram,
    /// Of each write: from the append until it is durable.
    pub writes: Histogram,
    /// Offsets that were committed.
    pub offset_commits: Counter,
    /// Offsets that a sweep has found to be over.
    pub offsets_expired: Counter,
    /// Offsets that somebody deleted.
    pub offsets_deleted: Counter,
    /// Generations of classic groups whose assignments came.
    pub classic_rebalances: Counter,
    /// Epochs of consumer groups that have begun.
    pub consumer_rebalances: Counter,
}
