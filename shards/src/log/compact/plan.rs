//! Which part of a log is to be compacted, and in which groups of segments.

use std::ops::Range;

/// The settings of a topic that this is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// `min.cleanable.dirty.ratio`: part of the log that must be dirty, unless the time has come.
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`: younger records are left alone.
    pub lag_min_ms: i64,
    /// `max.compaction.lag.ms`: older ones are not left any longer.
    pub lag_max_ms: i64,
}

/// A finished segment as this module sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// First offset that it may hold.
    pub base_offset: i64,
    /// Base offset of the next one.
    pub next_offset: i64,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Largest timestamp of its records; without one, when the newest was appended.
    pub newest_ms: i64,
    /// Timestamp of its first batch, or a negative one.
    pub first_timestamp_ms: i64,
}

/// The part of a log that is dirty and may be compacted: whole segments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// First dirty offset.
    pub from: i64,
    /// First offset that is left alone.
    pub to: i64,
    /// Bytes before that part.
    pub clean_bytes: u64,
    /// Bytes of that part.
    pub dirty_bytes: u64,
    /// Whether a record has waited for longer than it may.
    pub is_overdue: bool,
}

impl Plan {
    /// Looks at all finished segments of a log, oldest first. `None` if there is nothing dirty that may be touched:
    /// nothing at or behind `limit` may.
    pub fn of(
        candidates: &[Candidate],
        first_dirty: i64,
        limit: i64,
        settings: &Settings,
        now_ms: i64,
    ) -> Option<Self> {
        let split = candidates.partition_point(|segment| segment.next_offset <= first_dirty);
        let (clean, rest) = candidates.split_at(split);
        let youngest_ms = now_ms.saturating_sub(settings.lag_min_ms);
        let may_be_touched = |segment: &&Candidate| {
            let is_old_enough = settings.lag_min_ms <= 0 || segment.newest_ms <= youngest_ms;
            segment.next_offset <= limit && is_old_enough
        };
        let touched = rest.iter().take_while(may_be_touched).count();
        let dirty = &rest[..touched];
        let waited_since_ms = now_ms.saturating_sub(settings.lag_max_ms.max(0));
        let is_overdue =
            |segment: &Candidate| (1..waited_since_ms).contains(&segment.first_timestamp_ms);
        Some(Self {
            from: dirty.first()?.base_offset.max(first_dirty),
            to: dirty.last()?.next_offset,
            clean_bytes: clean.iter().map(|segment| segment.bytes).sum(),
            dirty_bytes: dirty.iter().map(|segment| segment.bytes).sum(),
            is_overdue: dirty.iter().any(is_overdue),
        })
    }

    /// Dirty part of the whole.
    pub fn dirty_ratio(&self) -> f64 {
        dirty_ratio(self.clean_bytes, self.dirty_bytes)
    }

    /// How far compaction is from being overtaken by those who write to the log: 1 where it begins as soon as it is due,
    /// and down to 0 the more of the log is dirty by then. A log that was never compacted is all dirty, which says
    /// nothing.
    pub fn slack(&self, settings: &Settings) -> f64 {
        if self.clean_bytes == 0 {
            return 1.0;
        }
        let clean_at_most = (1.0 - settings.dirty_ratio_min).max(f64::EPSILON);
        ((1.0 - self.dirty_ratio()) / clean_at_most).min(1.0)
    }

    /// Whether it is time.
    pub fn is_due(&self, settings: &Settings) -> bool {
        let is_worth_it = self.dirty_ratio() > settings.dirty_ratio_min;
        self.dirty_bytes > 0 && (is_worth_it || self.is_overdue)
    }
}

/// Dirty part of the whole.
pub fn dirty_ratio(clean_bytes: u64, dirty_bytes: u64) -> f64 {
    dirty_bytes as f64 / (clean_bytes + dirty_bytes).max(1) as f64
}

/// What compaction may make of several segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    /// `segment.bytes`.
    pub bytes: u64,
    /// `segment.index.bytes`, for each of the two indexes.
    pub index_bytes: u64,
}

/// A segment with the bytes of its indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sized {
    /// The segment.
    pub segment: Candidate,
    /// What its batches take of an offset index, at most.
    pub offset_index_bytes: u64,
    /// What they take of a time index.
    pub time_index_bytes: u64,
}

/// Deals segments that follow each other to groups, of which each becomes one segment within the limits, if its own
/// segments are. A segment's offsets reach as far as an index can say; those that an empty one does not have do not
/// matter.
pub fn groups(segments: &[Sized], limits: SegmentLimits) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut offset_index_bytes, mut time_index_bytes) = (0, 0, 0);
    for (at, sized) in segments.iter().enumerate() {
        let segment = &sized.segment;
        let open = groups.last_mut().filter(|group| {
            let base = segments[group.start].segment.base_offset;
            let reach = segment.next_offset.saturating_sub(base);
            bytes + segment.bytes <= limits.bytes
                && offset_index_bytes + sized.offset_index_bytes <= limits.index_bytes
                && time_index_bytes + sized.time_index_bytes <= limits.index_bytes
                && (segment.bytes == 0 || reach <= i64::from(i32::MAX))
        });
        match open {
            Some(group) => group.end = at + 1,
            None => {
                groups.push(at..at + 1);
                (bytes, offset_index_bytes, time_index_bytes) = (0, 0, 0);
            }
        }
        bytes += segment.bytes;
        offset_index_bytes += sized.offset_index_bytes;
        time_index_bytes += sized.time_index_bytes;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000;
    const SETTINGS: Settings = Settings {
        dirty_ratio_min: 0.5,
        lag_min_ms: 0,
        lag_max_ms: i64::MAX,
    };

    /// Segments of ten offsets and 100 bytes, each a second younger than the one before.
    fn segments(count: i64) -> Vec<Candidate> {
        let segment = |n| Candidate {
            base_offset: n * 10,
            next_offset: (n + 1) * 10,
            bytes: 100,
            newest_ms: NOW_MS - 1000 * (count - n) + 999,
            first_timestamp_ms: NOW_MS - 1000 * (count - n),
        };
        (0..count).map(segment).collect()
    }

    fn plan(first_dirty: i64, limit: i64, settings: &Settings) -> Option<Plan> {
        Plan::of(&segments(6), first_dirty, limit, settings, NOW_MS)
    }

    #[test]
    fn without_timestamps_a_segment_is_as_old_as_its_newest_append() {
        let mut segments = segments(3);
        for segment in &mut segments {
            segment.first_timestamp_ms = -1;
        }
        segments[1].newest_ms = NOW_MS - 10;
        let settings = Settings {
            lag_min_ms: 100,
            ..SETTINGS
        };
        let found = Plan::of(&segments, 0, 30, &settings, NOW_MS).expect("the first one");
        assert_eq!((found.from, found.to), (0, 10));
    }

    #[test]
    fn what_was_compacted_counts_as_clean_and_the_rest_up_to_the_limit_as_dirty() {
        let found = plan(20, 60, &SETTINGS).expect("four are dirty");
        assert_eq!((found.from, found.to), (20, 60));
        assert_eq!((found.clean_bytes, found.dirty_bytes), (200, 400));
        assert!(found.is_due(&SETTINGS));
        let found = plan(20, 45, &SETTINGS).expect("two are dirty");
        assert_eq!((found.to, found.dirty_bytes), (40, 200));
        assert!(!found.is_due(&SETTINGS), "half is not more than half");
        assert_eq!(plan(20, 25, &SETTINGS), None);
        assert_eq!(plan(60, 60, &SETTINGS), None);
        assert_eq!(Plan::of(&[], 0, 60, &SETTINGS, NOW_MS), None);
    }

    #[test]
    fn a_log_of_which_more_is_dirty_than_when_it_was_due_has_less_slack() {
        let slack = |first_dirty| {
            let found = plan(first_dirty, 60, &SETTINGS);
            found.expect("some are dirty").slack(&SETTINGS)
        };
        assert_eq!([40, 30].map(slack), [1.0, 1.0]);
        let behind = [20, 10].map(slack);
        assert!(behind[0] < 0.7 && behind[1] < 0.4, "{behind:?}");
        assert_eq!(slack(0), 1.0, "it was never compacted");
    }

    #[test]
    fn one_that_was_compacted_in_part_is_dirty_from_there() {
        let found = plan(25, 60, &SETTINGS).expect("four are dirty");
        assert_eq!(
            (found.from, found.clean_bytes, found.dirty_bytes),
            (25, 200, 400)
        );
    }

    #[test]
    fn young_records_are_left_alone() {
        let settings = Settings {
            lag_min_ms: 2_500,
            ..SETTINGS
        };
        let found = plan(0, 60, &settings).expect("some are old enough");
        assert_eq!(found.to, 30);
    }

    #[test]
    fn old_records_do_not_wait_for_the_ratio() {
        let waits = Settings {
            lag_max_ms: 2_000,
            ..SETTINGS
        };
        assert!(!plan(50, 60, &waits).expect("one is dirty").is_due(&waits));
        let waited = Settings {
            lag_max_ms: 500,
            ..SETTINGS
        };
        assert!(plan(50, 60, &waited).expect("one is dirty").is_due(&waited));
    }

    /// Segments with indexes of 80 and 120 bytes.
    fn sized(segments: &[Candidate]) -> Vec<Sized> {
        let sized = |segment: &Candidate| Sized {
            segment: *segment,
            offset_index_bytes: 80,
            time_index_bytes: 120,
        };
        segments.iter().map(sized).collect()
    }

    fn limits(bytes: u64, index_bytes: u64) -> SegmentLimits {
        SegmentLimits { bytes, index_bytes }
    }

    #[test]
    fn groups_stay_within_what_a_segment_may_have() {
        let six = sized(&segments(6));
        assert_eq!(groups(&six, limits(250, 1000)), [0..2, 2..4, 4..6]);
        assert_eq!(
            groups(&six, limits(50, 1000)),
            [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]
        );
        assert_eq!(groups(&[], limits(50, 1000)), []);
        let mut far = segments(3);
        far[2].next_offset = i64::from(i32::MAX) + 1;
        assert_eq!(groups(&sized(&far), limits(1000, 1000)), [0..2, 2..3]);
        far[2].bytes = 0;
        let all = groups(&sized(&far), limits(1000, 1000));
        assert_eq!(all.len(), 1, "nothing is there");
    }

    #[test]
    fn groups_stay_within_what_an_index_may_have() {
        let mut six = sized(&segments(6));
        assert_eq!(groups(&six, limits(1000, 360)), [0..3, 3..6], "of the time");
        for segment in &mut six {
            segment.time_index_bytes = 12;
        }
        assert_eq!(groups(&six, limits(1000, 320)), [0..4, 4..6], "of offsets");
        assert_eq!(groups(&six[..2], limits(1000, 10)), [0..1, 1..2]);
    }
}
