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
        let (mut first, mut last) = (numbers.start, numbers.end);
        if first >= last {
            return;
        }
        // With all that it overlaps or touches it becomes one.
        while let Some((&begin, &end)) = self.ranges.range(..=last).next_back()
            && end >= first
        {
            self.ranges.remove(&begin);
            (first, last) = (first.min(begin), last.max(end));
        }
        self.ranges.insert(first, last);
    }

    /// Behind the highest number; 0 if there is none.
    pub fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, end)| *end)
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
    /// Partitions with a batch that has no possible length.
    pub damaged: BTreeSet<u32>,
    /// Up to which offset each partition was read.
    reached: BTreeMap<u32, i64>,
    /// Offsets of each partition that were deleted before they were read.
    skipped: BTreeMap<u32, Ranges>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Receiving {
    sequences: Ranges,
    /// The highest since reading last began anew.
    newest: Option<u64>,
    duplicated: u64,
    redelivered: u64,
    reordered: u64,
}

impl Received {
    pub fn insert(&mut self, line: Line, sequence: u64) {
        let receiving = self.lines.entry(line).or_default();
        let is_new = receiving.sequences.insert(sequence);
        let is_behind = receiving.newest.is_some_and(|newest| sequence <= newest);
        match (is_new, is_behind) {
            (true, false) => {}
            (true, true) => receiving.reordered += 1,
            (false, true) => receiving.duplicated += 1,
            (false, false) => receiving.redelivered += 1,
        }
        receiving.newest = receiving.newest.max(Some(sequence));
    }

    /// A partition was read up to that offset.
    pub fn reach(&mut self, partition: u32, offset: i64) {
        let reached = self.reached.entry(partition).or_insert(offset);
        *reached = offset.max(*reached);
    }

    /// These offsets of a partition are not there any more for who comes to them.
    pub fn skip(&mut self, partition: u32, offsets: std::ops::Range<u64>) {
        self.skipped
            .entry(partition)
            .or_default()
            .insert_range(offsets);
    }

    /// A partition is read from another offset on: where its group has committed. What was got before may come again.
    pub fn begin_anew(&mut self, partition: u32) {
        let lines = self.lines.iter_mut();
        for (_, receiving) in lines.filter(|(line, _)| line.partition == partition) {
            receiving.newest = None;
        }
    }

    /// Whether anything was read beyond these ends.
    pub fn is_beyond(&self, ends: &[i64]) -> bool {
        self.gone(ends) > 0
    }

    /// Records that were received and that the partitions no longer reach: the broker had them and lost them.
    fn gone(&self, ends: &[i64]) -> u64 {
        let reached = self.reached.iter();
        let gone = reached.map(|(at, offset)| (offset - ends[*at as usize]).max(0) as u64);
        gone.sum()
    }

    /// Whether a partition was not read to its end.
    fn is_unread(&self, partition: u32, ends: Option<&[i64]>) -> bool {
        let reached = self.reached.get(&partition).copied().unwrap_or(0);
        ends.is_none_or(|ends| reached < ends[partition as usize])
    }

    /// Adds what another consumer of the same set got. What both of them got, a group has delivered again.
    pub fn merge(&mut self, other: Received) {
        for (line, receiving) in other.lines {
            let sum = self.lines.entry(line).or_default();
            let missing = receiving.sequences.count_missing_in(&sum.sequences);
            sum.redelivered += receiving.redelivered + receiving.sequences.count() - missing;
            sum.duplicated += receiving.duplicated;
            sum.reordered += receiving.reordered;
            for (begin, end) in receiving.sequences.ranges {
                sum.sequences.insert_range(begin..end);
            }
        }
        self.corrupted += other.corrupted;
        self.unknown += other.unknown;
        self.damaged.extend(other.damaged);
        for (partition, offset) in other.reached {
            self.reach(partition, offset);
        }
        for (partition, offsets) in other.skipped {
            for (begin, end) in offsets.ranges {
                self.skip(partition, begin..end);
            }
        }
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

/// Holds what each set of consumers got against what was acknowledged, given where the partitions end, if that is known.
/// Which producer's records were deleted nobody knows: of a partition as many as offsets were skipped may be missing.
/// `may_repeat` if producers were not idempotent.
pub fn verify(
    acknowledged: &Acknowledged,
    sets: &[Received],
    ends: Option<&[i64]>,
    may_repeat: bool,
) -> Verification {
    let mut verification = Verification {
        acknowledged: acknowledged.count(),
        may_repeat,
        ..Verification::default()
    };
    for received in sets {
        verification.corrupted += received.corrupted + received.damaged.len() as u64;
        verification.unknown += received.unknown;
        verification.lost += ends.map_or(0, |ends| received.gone(ends));
        for receiving in received.lines.values() {
            let again = receiving.duplicated + receiving.redelivered;
            verification.received += receiving.sequences.count() + again;
            verification.duplicated += receiving.duplicated;
            verification.redelivered += receiving.redelivered;
            verification.reordered += receiving.reordered;
        }
        let mut missing: BTreeMap<u32, Missing> = BTreeMap::new();
        for (line, sequences) in &acknowledged.0 {
            let nothing = Receiving::default();
            let receiving = received.lines.get(line).unwrap_or(&nothing);
            let all = sequences.count_missing_in(&receiving.sequences);
            let behind = match received.is_unread(line.partition, ends) {
                true => sequences.count_from(receiving.sequences.end()),
                false => 0,
            };
            let of_partition = missing.entry(line.partition).or_default();
            of_partition.before += all - behind;
            of_partition.behind += behind;
        }
        for (partition, missing) in missing {
            let skipped = received.skipped.get(&partition).map_or(0, Ranges::count);
            let deleted_before = skipped.min(missing.before);
            let deleted_behind = (skipped - deleted_before).min(missing.behind);
            verification.deleted += deleted_before + deleted_behind;
            verification.lost += missing.before - deleted_before;
            verification.unread += missing.behind - deleted_behind;
        }
    }
    verification
}

/// Records of a partition that were acknowledged and not received.
#[derive(Default)]
struct Missing {
    /// Something that came later was read, or all was.
    before: u64,
    /// Where the partition was not read to its end: nothing later was.
    behind: u64,
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
        let verification = verify(&acknowledged, &[received], Some(&[0; 3]), false);
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
        received.reach(LINE.partition, 3);
        let found = verify(&acknowledged, &[received], Some(&[0, 0, 1]), false);
        assert_eq!((found.lost, found.judgement()), (2, Judgement::Broken));
    }

    #[test]
    fn what_could_not_be_read_is_not_lost() {
        let read = |sequences: &[u64], is_unread: bool| {
            let mut acknowledged = Acknowledged::default();
            acknowledged.insert(LINE, 0..10);
            let mut received = Received::default();
            sequences.iter().for_each(|it| received.insert(LINE, *it));
            received.reach(LINE.partition, 10 - i64::from(is_unread));
            let found = verify(&acknowledged, &[received], Some(&[0, 0, 10]), false);
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

    #[test]
    fn what_was_deleted_before_it_was_read_is_neither_lost_nor_forgotten() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.insert(LINE, 0..10);
        let read = |sequences: std::ops::Range<u64>, skipped: std::ops::Range<u64>, end: i64| {
            let mut received = Received::default();
            sequences.for_each(|it| received.insert(LINE, it));
            received.skip(LINE.partition, skipped);
            received.reach(LINE.partition, end);
            let found = verify(&acknowledged, &[received], Some(&[0, 0, 10]), false);
            let Verification {
                deleted,
                lost,
                unread,
                ..
            } = found;
            (deleted, lost, unread, found.judgement())
        };
        assert_eq!(read(4..10, 0..4, 10), (4, 0, 0, Judgement::Unread));
        assert_eq!(read(0..0, 0..10, 10), (10, 0, 0, Judgement::Unread));
        // One more is missing than was deleted.
        assert_eq!(read(5..10, 0..4, 10), (4, 1, 0, Judgement::Broken));
        // It could not read on behind what was deleted.
        assert_eq!(read(0..0, 0..4, 4), (4, 0, 6, Judgement::Unread));
        // Of what was deleted, another member of its group had read some.
        assert_eq!(read(0..10, 0..4, 10), (0, 0, 0, Judgement::Whole));
    }

    #[test]
    fn without_known_ends_nothing_is_read_to_its_end() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.insert(LINE, 0..10);
        let found = verify(&acknowledged, &[Received::default()], None, false);
        assert_eq!((found.lost, found.unread), (0, 10));
    }

    #[test]
    fn what_a_group_delivers_again_is_no_duplicate() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.insert(LINE, 0..10);
        let member = |runs: &[(u64, u64)]| {
            let mut received = Received::default();
            for (first, end) in runs {
                received.begin_anew(LINE.partition);
                (*first..*end).for_each(|it| received.insert(LINE, it));
            }
            received.reach(LINE.partition, 10);
            received
        };
        let judged = |members: Vec<Received>| {
            let mut group = Received::default();
            members.into_iter().for_each(|it| group.merge(it));
            let found = verify(&acknowledged, &[group], Some(&[0, 0, 10]), false);
            let repeated = (found.redelivered, found.duplicated, found.reordered);
            (found.received, found.lost, repeated, found.judgement())
        };
        // One member lost the partition and got it back from an earlier offset.
        let one = judged(vec![member(&[(0, 6), (4, 10)])]);
        assert_eq!(one, (12, 0, (2, 0, 0), Judgement::Whole));
        // Another one went on before what the first one had committed.
        let two = judged(vec![member(&[(0, 6)]), member(&[(3, 10)])]);
        assert_eq!(two, (13, 0, (3, 0, 0), Judgement::Whole));
        // Between them there is a gap.
        let gap = judged(vec![member(&[(0, 4)]), member(&[(6, 10)])]);
        assert_eq!(gap, (8, 2, (0, 0, 0), Judgement::Broken));
        // In one go, nothing comes twice.
        let mut twice = member(&[(0, 10)]);
        twice.insert(LINE, 7);
        assert_eq!(judged(vec![twice]).3, Judgement::Broken);
    }
}
