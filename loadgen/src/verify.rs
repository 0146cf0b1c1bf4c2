//! Whether what was acknowledged comes out again: once, in order, unchanged.
//!
//! Records of one producer in one partition are numbered from 0, so what was acknowledged and what
//! was received are sets of numbers, and as good as always a few long ranges: memory is bounded by
//! the number of gaps, not of records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::measure::Verification;

/// A set of numbers as disjoint ranges with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// End by begin.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds a number; whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        let before = self.ranges.range_mut(..=number).next_back();
        if let Some((begin, end)) = before {
            if number < *end {
                return false;
            }
            if number == *end {
                *end += 1;
                let (begin, end) = (*begin, *end);
                if let Some(after) = self.ranges.remove(&end) {
                    self.ranges.insert(begin, after);
                }
                return true;
            }
        }
        let end = self.ranges.remove(&(number + 1)).unwrap_or(number + 1);
        self.ranges.insert(number, end);
        true
    }

    /// Adds all of a range.
    pub fn insert_range(&mut self, numbers: std::ops::Range<u64>) {
        let last = self.ranges.iter_mut().next_back();
        if let Some((_, end)) = last
            && *end == numbers.start
        {
            *end = numbers.end;
            return;
        }
        for number in numbers {
            self.insert(number);
        }
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(begin, end)| end - begin).sum()
    }

    /// How many numbers there are from that one on.
    pub fn count_from(&self, first: u64) -> u64 {
        let from = |(begin, end): (&u64, &u64)| end.saturating_sub(first.max(*begin));
        self.ranges.iter().map(from).sum()
    }

    /// How many of these numbers are not in `other`.
    pub fn count_missing_in(&self, other: &Ranges) -> u64 {
        let common = |(&begin, &end): (&u64, &u64)| {
            let first = other.ranges.range(..=begin).next_back();
            let first = first.map_or(begin, |(begin, _)| *begin);
            let overlaps = other.ranges.range(first..end);
            let overlap = |(b, e): (&u64, &u64)| e.min(&end).saturating_sub(*b.max(&begin));
            overlaps.map(overlap).sum::<u64>()
        };
        self.count() - self.ranges.iter().map(common).sum::<u64>()
    }
}

/// A producer's records in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Line {
    pub producer: u32,
    /// Index of the partition over all topics.
    pub partition: u32,
}

/// What was acknowledged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Acknowledged(#[serde(with = "pairs")] HashMap<Line, Ranges>);

impl Acknowledged {
    pub fn insert(&mut self, line: Line, sequences: std::ops::Range<u64>) {
        self.0.entry(line).or_default().insert_range(sequences);
    }

    pub fn merge(&mut self, other: Acknowledged) {
        // Each line has one producer, which one worker runs.
        self.0.extend(other.0);
    }

    fn count(&self) -> u64 {
        self.0.values().map(Ranges::count).sum()
    }
}

/// What one set of consumers got.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Received {
    #[serde(with = "pairs")]
    lines: HashMap<Line, Receiving>,
    pub corrupted: u64,
    /// Records that this run did not make.
    pub unknown: u64,
    /// Records that were received and that the partitions no longer reach at the end: the broker had them and lost them.
    pub gone: u64,
    /// Partitions with a batch that has no possible length.
    pub damaged: BTreeSet<u32>,
    /// Partitions that could not be read to their ends.
    pub unread: BTreeSet<u32>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Receiving {
    sequences: Ranges,
    newest: Option<u64>,
    duplicated: u64,
    reordered: u64,
}

impl Received {
    pub fn insert(&mut self, line: Line, sequence: u64) {
        let receiving = self.lines.entry(line).or_default();
        if !receiving.sequences.insert(sequence) {
            receiving.duplicated += 1;
        } else if receiving.newest.is_some_and(|newest| sequence < newest) {
            receiving.reordered += 1;
        }
        receiving.newest = receiving.newest.max(Some(sequence));
    }

    /// Adds what another consumer of the same set got.
    pub fn merge(&mut self, other: Received) {
        // Each partition has one consumer in the set.
        self.lines.extend(other.lines);
        self.corrupted += other.corrupted;
        self.unknown += other.unknown;
        self.gone += other.gone;
        self.damaged.extend(other.damaged);
        self.unread.extend(other.unread);
    }
}

/// A map whose keys are no texts, as a list of its pairs: for `#[serde(with = ...)]`.
mod pairs {
    use super::{Deserialize, HashMap, Line, Serialize};

    pub fn serialize<V: Serialize, S: serde::Serializer>(
        map: &HashMap<Line, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub fn deserialize<'de, V: Deserialize<'de>, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<HashMap<Line, V>, D::Error> {
        Ok(Vec::<(Line, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Holds what each set of consumers got against what was acknowledged. `may_repeat` if producers were not idempotent.
pub fn verify(acknowledged: &Acknowledged, sets: &[Received], may_repeat: bool) -> Verification {
    let mut verification = Verification {
        acknowledged: acknowledged.count(),
        may_repeat,
        ..Verification::default()
    };
    for received in sets {
        verification.corrupted += received.corrupted + received.damaged.len() as u64;
        verification.unknown += received.unknown;
        verification.lost += received.gone;
        for receiving in received.lines.values() {
            verification.received += receiving.sequences.count() + receiving.duplicated;
            verification.duplicated += receiving.duplicated;
            verification.reordered += receiving.reordered;
        }
        for (line, sequences) in &acknowledged.0 {
            let nothing = Receiving::default();
            let receiving = received.lines.get(line).unwrap_or(&nothing);
            let missing = sequences.count_missing_in(&receiving.sequences);
            let unread = match received.unread.contains(&line.partition) {
                true => sequences.count_from(receiving.newest.map_or(0, |newest| newest + 1)),
                false => 0,
            };
            verification.unread += unread;
            verification.lost += missing - unread;
        }
    }
    verification
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Judgement;

    const LINE: Line = Line {
        producer: 1,
        partition: 2,
    };

    #[test]
    fn ranges_grow_together() {
        let mut ranges = Ranges::default();
        for number in [5, 3, 4, 0, 1, 9] {
            assert!(ranges.insert(number));
            assert!(!ranges.insert(number));
        }
        assert_eq!(ranges.ranges, BTreeMap::from([(0, 2), (3, 6), (9, 10)]));
        assert!(ranges.insert(2));
        ranges.insert_range(10..20);
        assert_eq!(ranges.ranges, BTreeMap::from([(0, 6), (9, 20)]));
        assert_eq!(ranges.count(), 17);
        ranges.insert_range(4..10);
        assert_eq!(ranges.ranges, BTreeMap::from([(0, 20)]));
    }

    #[test]
    fn what_is_missing_is_counted() {
        let ranges = |all: &[(u64, u64)]| {
            let mut ranges = Ranges::default();
            all.iter()
                .for_each(|(begin, end)| ranges.insert_range(*begin..*end));
            ranges
        };
        let acknowledged = ranges(&[(0, 10), (20, 30)]);
        for (received, missing) in [
            (ranges(&[]), 20),
            (ranges(&[(0, 30)]), 0),
            (ranges(&[(5, 25)]), 10),
            (ranges(&[(0, 1), (3, 4), (29, 40)]), 17),
        ] {
            assert_eq!(acknowledged.count_missing_in(&received), missing);
        }
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.insert(LINE, 0..6);
        let mut received = Received::default();
        for sequence in [0, 2, 1, 2, 3, 5, 7] {
            received.insert(LINE, sequence);
        }
        received.corrupted = 1;
        let verification = verify(&acknowledged, &[received], false);
        let Verification {
            acknowledged,
            received,
            lost,
            duplicated,
            reordered,
            corrupted,
            ..
        } = verification;
        assert_eq!((acknowledged, received, lost), (6, 7, 1));
        assert_eq!((duplicated, reordered, corrupted), (1, 1, 1));
        assert_eq!(verification.judgement(), Judgement::Broken);
    }

    #[test]
    fn what_was_received_and_is_gone_is_lost() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.insert(LINE, 0..3);
        let mut received = Received::default();
        (0..3).for_each(|sequence| received.insert(LINE, sequence));
        received.gone = 2;
        let found = verify(&acknowledged, &[received], false);
        assert_eq!((found.lost, found.judgement()), (2, Judgement::Broken));
    }

    #[test]
    fn what_could_not_be_read_is_not_lost() {
        let read = |sequences: &[u64], is_unread| {
            let mut acknowledged = Acknowledged::default();
            acknowledged.insert(LINE, 0..10);
            let mut received = Received::default();
            sequences.iter().for_each(|it| received.insert(LINE, *it));
            if is_unread {
                received.unread.insert(LINE.partition);
            }
            let found = verify(&acknowledged, &[received], false);
            (found.lost, found.unread, found.judgement())
        };
        let first = [0, 1, 2, 3, 4, 5];
        assert_eq!(read(&first, true), (0, 4, Judgement::Unread));
        assert_eq!(read(&first, false), (4, 0, Judgement::Broken));
        assert_eq!(read(&[], true), (0, 10, Judgement::Unread));
        // What is missing before the newest one would have been read.
        assert_eq!(read(&[0, 1, 5], true), (3, 4, Judgement::Broken));
        let all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(read(&all, true), (0, 0, Judgement::Whole));
    }
}
