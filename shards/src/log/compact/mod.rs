//! Compaction: of each key the newest record stays, as Apache Kafka's cleaner defines it.
//!
//! Purpose: the decisions and the bytes. Which segments are due ([`plan`]), which offset each key was last
//! written at ([`keys`], [`offset_map`]), what stays of one batch ([`filter`]), and what of transactions
//! ([`transactions`]). The shard reads, writes and swaps files (`shard::compact`).
//! Rules:
//! - The log up to the first dirty offset was compacted before; behind it, up to the first offset that must
//!   not be touched yet, it is dirty. Never touched: the active segment, what is not acknowledged or belongs to
//!   an open transaction, and what is younger than `min.compaction.lag.ms`.
//! - A record stays if no later one with its key lies in what was read of the dirty part. One without a value, a
//!   tombstone, then stays for `delete.retention.ms` from the pass on that has seen it first: the batch says until
//!   when (KIP-534). Records without a key go.
//! - Offsets stay as they are, and so do the bounds of a batch: gaps are where records went.
//! - The last batch of a producer stays, without its records if need be: its sequence numbers do. So does the last
//!   batch of what a pass looks at: readers in the gap learn from it where they are.
//! - Records of aborted transactions go; a marker goes in a pass after the records of its transaction, once its
//!   horizon has passed.
//!
//! Everything here is plain state over bytes, without I/O or a clock.

pub mod filter;
pub mod keys;
pub mod offset_map;
pub mod plan;
pub mod transactions;

pub use filter::{BatchFilter, FilterError, Filtered, LastOfProducer, Rules};
pub use keys::BatchKeys;
pub use offset_map::OffsetMap;
pub use plan::{Candidate, Plan, SegmentLimits, Settings, Sized};
pub use transactions::Transactions;

#[cfg(test)]
mod tests;
