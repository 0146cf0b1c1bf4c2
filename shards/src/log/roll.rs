//! When the active segment is closed and a new one begun, as Apache Kafka decides it.
//!
//! Purpose: one pure decision, taken before each append by the partition that owns the log.
//! A segment without a batch is never rolled: the new one would have the same name.

use super::index::SegmentIndex;

/// The settings `segment.bytes`, `segment.ms`, `segment.jitter.ms` and `segment.index.bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollLimits {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub jitter_ms: i64,
    pub index_bytes: u32,
}

/// The active segment.
#[derive(Clone, Copy, Debug)]
pub struct ActiveSegment<'log> {
    pub index: &'log SegmentIndex,
    pub size_bytes: u32,
    /// Any number that is another one for other segments: what part of the jitter it takes follows from it.
    pub seed: u64,
    /// Largest timestamp of its first batch; negative if that carries none.
    pub first_timestamp_ms: i64,
    pub created_ms: i64,
}

/// What is about to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    pub size_bytes: u32,
    pub max_timestamp_ms: i64,
    pub last_offset: i64,
}

impl RollLimits {
    /// As Kafka has it, less than the jitter and less than the time itself.
    fn jitter_of(self, seed: u64) -> i64 {
        let below = self.jitter_ms.min(self.segment_ms);
        match u64::try_from(below) {
            Ok(below) if below > 0 => (mixed(seed) % below) as i64,
            _ => 0,
        }
    }
}

/// A number that seems to have nothing to do with the one that it is made of (the last step of
/// SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Time counts from the first batch's timestamp to the new one's, so that replayed history rolls
/// as it did at first; without timestamps, from the segment's creation to now.
pub fn must_roll(
    active: ActiveSegment<'_>,
    limits: RollLimits,
    incoming: Incoming,
    now_ms: i64,
) -> bool {
    if active.size_bytes == 0 {
        return false;
    }
    let size_bytes = u64::from(active.size_bytes) + u64::from(incoming.size_bytes);
    let waited_ms = if active.first_timestamp_ms >= 0 {
        incoming
            .max_timestamp_ms
            .saturating_sub(active.first_timestamp_ms)
    } else {
        now_ms.saturating_sub(active.created_ms)
    };
    size_bytes > u64::from(limits.segment_bytes)
        || waited_ms > limits.segment_ms - limits.jitter_of(active.seed)
        || active.index.is_full(limits.index_bytes)
        || !active.index.can_hold(incoming.last_offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::index::IndexedBatch;

    const LIMITS: RollLimits = RollLimits {
        segment_bytes: 1_000,
        segment_ms: 500,
        jitter_ms: 0,
        index_bytes: 1_024,
    };
    const INCOMING: Incoming = Incoming {
        size_bytes: 100,
        max_timestamp_ms: 10_000,
        last_offset: 60,
    };

    fn active(index: &SegmentIndex, size_bytes: u32) -> ActiveSegment<'_> {
        ActiveSegment {
            index,
            size_bytes,
            seed: 7,
            first_timestamp_ms: 9_500,
            created_ms: 0,
        }
    }

    #[test]
    fn by_size() {
        let index = SegmentIndex::new(50);
        assert!(!must_roll(active(&index, 900), LIMITS, INCOMING, 0));
        assert!(must_roll(active(&index, 901), LIMITS, INCOMING, 0));
        assert!(must_roll(active(&index, u32::MAX), LIMITS, INCOMING, 0));
    }

    #[test]
    fn by_the_timestamps_of_batches_and_not_the_clock() {
        let index = SegmentIndex::new(50);
        let late = Incoming {
            max_timestamp_ms: 10_001,
            ..INCOMING
        };
        assert!(!must_roll(active(&index, 1), LIMITS, INCOMING, i64::MAX));
        assert!(must_roll(active(&index, 1), LIMITS, late, 0));
        let early = Incoming {
            max_timestamp_ms: i64::MIN,
            ..INCOMING
        };
        assert!(!must_roll(active(&index, 1), LIMITS, early, 0));
    }

    #[test]
    fn by_the_clock_when_there_are_no_timestamps() {
        let index = SegmentIndex::new(50);
        let untimed = ActiveSegment {
            first_timestamp_ms: -1,
            created_ms: 1_000,
            ..active(&index, 1)
        };
        assert!(!must_roll(untimed, LIMITS, INCOMING, 1_500));
        assert!(must_roll(untimed, LIMITS, INCOMING, 1_501));
    }

    #[test]
    fn earlier_by_a_part_of_the_jitter() {
        let index = SegmentIndex::new(50);
        let waited = |limits: RollLimits, seed, waited_ms| {
            let active = ActiveSegment {
                seed,
                first_timestamp_ms: 10_000 - waited_ms,
                ..active(&index, 1)
            };
            must_roll(active, limits, INCOMING, 0)
        };
        let some = RollLimits {
            jitter_ms: 100,
            ..LIMITS
        };
        let jitters: Vec<i64> = (0..1_000)
            .map(|seed| {
                let jitter_ms = some.jitter_of(seed);
                assert!(!waited(some, seed, 500 - jitter_ms));
                assert!(waited(some, seed, 501 - jitter_ms));
                jitter_ms
            })
            .collect();
        assert!((0..100).all(|jitter_ms| jitters.contains(&jitter_ms)));
        assert!(jitters.iter().all(|jitter_ms| *jitter_ms < 100));
        let most = RollLimits {
            jitter_ms: i64::MAX,
            ..LIMITS
        };
        assert!(
            (0..1_000).all(|seed| !waited(most, seed, 0)),
            "less than the time itself"
        );
    }

    #[test]
    fn by_a_full_index_or_an_offset_out_of_reach() {
        let mut index = SegmentIndex::new(50);
        let far = Incoming {
            last_offset: 51 + i64::from(i32::MAX),
            ..INCOMING
        };
        assert!(must_roll(active(&index, 1), LIMITS, far, 0));
        for entry in 0..128 {
            assert!(!must_roll(active(&index, 1), LIMITS, INCOMING, 0));
            let batch = IndexedBatch {
                last_offset: 50 + i64::from(entry),
                position: (entry + 1) * 10,
                max_timestamp_ms: -1,
            };
            index.append(batch, 0);
        }
        assert!(must_roll(active(&index, 1), LIMITS, INCOMING, 0));
    }

    #[test]
    fn never_without_a_batch() {
        let index = SegmentIndex::new(50);
        let huge = Incoming {
            size_bytes: u32::MAX,
            ..INCOMING
        };
        assert!(!must_roll(active(&index, 0), LIMITS, huge, i64::MAX));
    }
}
