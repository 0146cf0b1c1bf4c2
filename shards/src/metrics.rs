//! What a shard counts, for whoever wants to look.
//!
//! Counting is a plain addition in memory that only its shard writes to; another thread may read at
//! any time, also when the shard hangs, and costs it nothing but a cache line. What is read together
//! need not be of the same moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows. One thread adds.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        // Not a read-modify-write: there is one writer, and that is much cheaper.
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set. One thread does.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Two buckets an octave from 2^10 ns (1 us) to 2^36 ns (69 s), one below, one above.
const FIRST_OCTAVE: u32 = 10;
const LAST_OCTAVE: u32 = 36;
const BUCKETS: usize = 2 * (LAST_OCTAVE - FIRST_OCTAVE) as usize + 2;

/// How often something took how long. One thread records.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    nanos: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            nanos: Counter::default(),
        }
    }
}

impl Histogram {
    pub fn record(&self, took: Duration) {
        self.record_many(took, 1);
    }

    /// Records the same for several.
    pub fn record_many(&self, took: Duration, count: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].add(count);
        self.nanos.add(nanos.saturating_mul(count));
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            counts: std::array::from_fn(|at| self.buckets[at].get()),
            nanos: self.nanos.get(),
        }
    }
}

/// The place of the smallest upper bound that is not below `nanos`.
fn bucket(nanos: u64) -> usize {
    let below = nanos.saturating_sub(1);
    let octave = below.max(1).ilog2();
    if octave < FIRST_OCTAVE {
        return 0;
    }
    let upper_half = (below >> (octave - 1)) & 1;
    (1 + 2 * (octave - FIRST_OCTAVE) as usize + upper_half as usize).min(BUCKETS - 1)
}

/// The upper bound of a bucket; `None` for the last, which has none.
fn upper_bound(bucket: usize) -> Option<Duration> {
    if bucket == BUCKETS - 1 {
        return None;
    }
    let lower = 1u64 << (FIRST_OCTAVE + (bucket as u32).saturating_sub(1) / 2);
    let nanos = match bucket {
        0 => lower,
        odd if odd % 2 == 1 => lower + lower / 2,
        _ => 2 * lower,
    };
    Some(Duration::from_nanos(nanos))
}

/// What a [`Histogram`] held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    counts: [u64; BUCKETS],
    nanos: u64,
}

impl Snapshot {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Of all that was recorded together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// For each bound how many took at most as long, without the last bucket, which has none.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum = 0;
        self.counts
            .iter()
            .enumerate()
            .filter_map(move |(at, count)| {
                sum += count;
                Some((upper_bound(at)?, sum))
            })
    }
}

/// How a shard's thread spends its time.
#[derive(Debug, Default)]
pub struct ReactorMetrics {
    /// From one look at disk, network and clock to the next, while there was work.
    pub pauses: Histogram,
    /// Nanoseconds without anything to do.
    pub idle_nanos: Counter,
    /// Looks outside.
    pub looks: Counter,
}

/// What the journal does.
#[derive(Debug, Default)]
pub struct JournalMetrics {
    pub groups: Counter,
    /// With padding.
    pub group_bytes: Counter,
    /// Appends that groups held.
    pub appends: Counter,
    /// Checkpoints that groups held.
    pub checkpoints: Counter,
    /// Of each group that was written and synced with two calls.
    pub syncs: Histogram,
    /// Of each group: its write, which for small ones is durable by itself.
    pub writes: Histogram,
    /// Stages of appends, counted once for each of them.
    pub append_queue: Histogram,
    pub append_write: Histogram,
    pub append_sync: Histogram,
}

/// What a shard does with requests for its partitions.
#[derive(Debug, Default)]
pub struct EngineMetrics {
    /// From the beginning of a request to its arrival at the owner of its partitions.
    pub append_route: Histogram,
    /// From there until it is placed in its log.
    pub append_place: Histogram,
    /// Requests of other shards.
    pub requests_of_others: Counter,
    /// Bytes written to segment files.
    pub settled_bytes: Counter,
    /// Bytes of batches that reads found in memory.
    pub read_memory_bytes: Counter,
    /// Bytes of batches that reads took from files.
    pub read_disk_bytes: Counter,
    /// Segments that retention or a new log start removed.
    pub segments_removed: Counter,
    /// Partitions that have moved to another log folder.
    pub moves: Counter,
    /// Bytes of segments that were copied for that.
    pub moved_bytes: Counter,
    /// Passes of compaction over a log.
    pub compaction_passes: Histogram,
    /// Bytes of segments that were compacted.
    pub compacted_bytes: Counter,
    /// Bytes that were left of them.
    pub compaction_kept_bytes: Counter,
}

/// How far a shard's start has come.
#[derive(Debug, Default)]
pub struct RecoveryMetrics {
    /// Of the journal files that are needed, as far as they are known. A journal ends within its last file.
    pub journal_bytes: Gauge,
    pub journal_bytes_read: Gauge,
    /// Nanoseconds that reading the journals took; 0 while they are read.
    pub journal_nanos: Gauge,
    /// Partitions of the metadata that the shard owns; 0 until the metadata is there.
    pub partitions: Gauge,
    pub partitions_opened: Gauge,
}

/// All that one shard counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub reactor: Arc<ReactorMetrics>,
    pub journal: Arc<JournalMetrics>,
    pub engine: Arc<EngineMetrics>,
    pub recovery: Arc<RecoveryMetrics>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_and_each_duration_is_below_the_bound_of_its_bucket() {
        let bounds: Vec<Duration> = (0..BUCKETS - 1).filter_map(upper_bound).collect();
        assert!(bounds.is_sorted_by(|a, b| a < b));
        assert_eq!(bounds[0], Duration::from_nanos(1 << FIRST_OCTAVE));
        assert_eq!(bounds.last(), Some(&Duration::from_nanos(1 << LAST_OCTAVE)));
        for (at, bound) in bounds.iter().enumerate() {
            let nanos = bound.as_nanos() as u64;
            assert_eq!(bucket(nanos), at, "the bound itself belongs to it");
            assert_eq!(bucket(nanos + 1), at + 1, "what is longer does not");
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_snapshot_counts_up_to_each_bound() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_nanos(1));
        histogram.record_many(Duration::from_millis(1), 3);
        histogram.record(Duration::from_secs(1000));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 5);
        assert_eq!(
            snapshot.sum(),
            Duration::from_secs(1000) + Duration::from_millis(3) + Duration::from_nanos(1)
        );
        let below = |limit| {
            let mut bounds = snapshot.cumulative();
            bounds
                .find(|(bound, _)| *bound >= limit)
                .map(|(_, count)| count)
        };
        assert_eq!(below(Duration::from_nanos(1)), Some(1));
        assert_eq!(below(Duration::from_millis(1)), Some(4));
        assert_eq!(
            snapshot.cumulative().last().map(|(_, count)| count),
            Some(4)
        );
    }
}
