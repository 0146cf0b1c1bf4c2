//! How many producers are remembered.
//!
//! A checkpoint holds all producers of its partition, and before a journal file becomes free, all
//! partitions that are anchored in it write theirs anew. So their number is bounded: by an eighth of a
//! journal file for one partition, by half a file for all partitions of a shard, because in the end one
//! file is kept in reserve for all that is carried.
//!
//! Beyond that, a new producer makes its partition forget those that have been silent for longest; what
//! they send next is taken like that of an unknown one. A partition keeps at least one producer, and all
//! with an open transaction.
//!
//! What segments take in checkpoints is not bounded: for those there are further journal files.

use std::cell::Cell;

use super::Shard;
use crate::log::Log;
use crate::log::producer::PRODUCER_BYTES_MAX;
use crate::partition::Partition;

/// The part of a journal file that the producers of one partition may take.
const PARTITION_PART: u64 = 8;
/// The part of a journal file that all producers of a shard may take.
const SHARD_PART: u64 = 2;
/// This part of a table is forgotten at a time, so that the table is rarely searched for the oldest.
const FORGOTTEN_PART: usize = 16;

/// How many producers the partitions of a shard remember, and how many they may.
pub(super) struct Producers {
    count: Cell<usize>,
    partition_max: usize,
    shard_max: usize,
}

impl Producers {
    pub(super) fn new(journal_file_bytes: u64) -> Self {
        let fit_into = |bytes: u64| (bytes as usize / PRODUCER_BYTES_MAX).max(1);
        Self {
            count: Cell::new(0),
            partition_max: fit_into(journal_file_bytes / PARTITION_PART),
            shard_max: fit_into(journal_file_bytes / SHARD_PART),
        }
    }

    /// So many are not remembered any more.
    pub(super) fn forgot(&self, count: usize) {
        let before = self.count.get();
        assert!(count <= before, "each producer is forgotten once");
        self.count.set(before - count);
    }

    /// Takes note of new producers of a partition that has `known` now. Answers how many of them are
    /// to be forgotten.
    fn grew(&self, known: usize, new: usize) -> usize {
        let count = self.count.get() + new;
        self.count.set(count);
        let too_many_here = known.saturating_sub(self.partition_max);
        // No more than came: others may be over the bound with the one that each may keep.
        let too_many_in_all = count.saturating_sub(self.shard_max).min(new);
        match too_many_here.max(too_many_in_all) {
            0 => 0,
            too_many => too_many
                .max(known / FORGOTTEN_PART)
                .min(known.saturating_sub(1)),
        }
    }
}

impl Shard {
    /// Takes note that a partition had `before` producers in what this shard has counted, and forgets
    /// some if there are too many now.
    pub(super) fn bound_producers(
        &self,
        partition: &Partition,
        log: &mut Log,
        before: usize,
        now_ms: i64,
    ) {
        let known = log.producers().len();
        if known <= before {
            return;
        }
        let too_many = self.0.producers.grew(known, known - before);
        if too_many == 0 {
            return;
        }
        self.0
            .producers
            .forgot(log.forget_producers(too_many, now_ms));
        if !partition.has_forgotten_producers.replace(true) {
            tracing::warn!(
                partition = %partition.dir,
                producers = known,
                "too many idempotent producers for the journal: those that are silent for longest are forgotten"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_BYTES: u64 = 1 << 20;

    #[test]
    fn a_partition_has_a_part_of_a_file() {
        let producers = Producers::new(FILE_BYTES);
        let most = producers.partition_max;
        assert!((most * PRODUCER_BYTES_MAX) as u64 <= FILE_BYTES / 8);
        assert_eq!(producers.grew(most, most), 0);
        assert_eq!(producers.grew(most + 1, 1), (most + 1) / FORGOTTEN_PART);
        producers.forgot(most + 1);
        assert_eq!(producers.grew(10 * most, 10 * most), 9 * most);
    }

    #[test]
    fn the_partitions_of_a_shard_have_a_part_together() {
        let producers = Producers::new(FILE_BYTES);
        let most = producers.shard_max;
        assert!((most * PRODUCER_BYTES_MAX) as u64 <= FILE_BYTES / 2);
        for _ in 0..most {
            assert_eq!(producers.grew(1, 1), 0);
        }
        assert_eq!(producers.grew(1, 1), 0, "one is kept");
        assert_eq!(producers.grew(3, 1), 1);
        assert_eq!(producers.grew(100, 1), 6);
        assert_eq!(producers.grew(200, 100), 100, "no more than came");
    }
}
