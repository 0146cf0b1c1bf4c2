use super::super::test_random::Random;
use super::*;

const KEEP_ALL: RetentionPolicy = RetentionPolicy {
    delete: true,
    retention_ms: -1,
    retention_bytes: -1,
};

/// Segments of ten records each from offset 0, the last one active.
fn segments(sizes_and_times: &[(u32, i64)]) -> Vec<RetainedSegment> {
    (0..)
        .step_by(10)
        .zip(sizes_and_times)
        .map(|(base_offset, (size_bytes, newest_ms))| RetainedSegment {
            base_offset,
            size_bytes: *size_bytes,
            newest_ms: *newest_ms,
        })
        .collect()
}

fn bounds(log_start_offset: i64, high_watermark: i64, log_end_offset: i64) -> LogBounds {
    LogBounds {
        log_start_offset,
        high_watermark,
        log_end_offset,
    }
}

fn gone(segments: usize, roll_active: bool, log_start_offset: i64) -> RetentionDecision {
    RetentionDecision {
        segments,
        roll_active,
        log_start_offset,
        of_the_future: None,
    }
}

#[test]
fn without_limits_everything_stays() {
    let log = segments(&[(100, 0), (100, 0), (50, 0)]);
    let decision = decide(&log, KEEP_ALL, bounds(0, 25, 25), i64::MAX);
    assert_eq!(decision, gone(0, false, 0));
    assert_eq!(decide(&[], KEEP_ALL, bounds(7, 7, 7), 0), gone(0, false, 7));
}

#[test]
fn by_size_only_what_leaves_enough_behind() {
    let log = segments(&[(100, 0), (100, 0), (50, 0)]);
    let kept = |retention_bytes| {
        let policy = RetentionPolicy {
            retention_bytes,
            ..KEEP_ALL
        };
        decide(&log, policy, bounds(0, 25, 25), 0)
    };
    assert_eq!(kept(251), gone(0, false, 0));
    assert_eq!(kept(151), gone(0, false, 0));
    assert_eq!(kept(150), gone(1, false, 10));
    assert_eq!(kept(50), gone(2, false, 20));
    assert_eq!(kept(1), gone(2, false, 20));
    assert_eq!(kept(0), gone(3, true, 25), "the active one is rolled first");
}

#[test]
fn by_time_from_the_oldest_up_to_the_first_young_one() {
    let log = segments(&[(100, 1_000), (100, 5_000), (100, 2_000), (50, 9_000)]);
    let policy = RetentionPolicy {
        retention_ms: 1_000,
        ..KEEP_ALL
    };
    // Whether what stays is of the future is for another test.
    let at = |now_ms| RetentionDecision {
        of_the_future: None,
        ..decide(&log, policy, bounds(0, 35, 35), now_ms)
    };
    assert_eq!(at(2_000), gone(0, false, 0));
    assert_eq!(at(2_001), gone(1, false, 10));
    assert_eq!(
        at(4_000),
        gone(1, false, 10),
        "a young one protects those behind it"
    );
    assert_eq!(at(6_001), gone(3, false, 30));
    assert_eq!(at(10_001), gone(4, true, 35));
    assert_eq!(at(9_000), gone(3, false, 30));
}

#[test]
fn by_time_never_what_is_of_the_future_nor_what_is_behind_it() {
    let end_of_time = i64::MAX;
    let log = segments(&[(100, 1_000), (100, end_of_time), (100, 1_000), (50, 1_000)]);
    let decided = |policy, now_ms| decide(&log, policy, bounds(0, 35, 35), now_ms);
    let held = RetentionDecision {
        of_the_future: Some(10),
        ..gone(1, false, 10)
    };
    let policy = RetentionPolicy {
        retention_ms: 0,
        ..KEEP_ALL
    };
    assert_eq!(decided(policy, 1_001), held);
    assert_eq!(decided(policy, end_of_time - 1), held);
    assert_eq!(
        decided(KEEP_ALL, 1_001),
        gone(0, false, 0),
        "not held by the future"
    );
    let by_size = RetentionPolicy {
        retention_bytes: 50,
        ..policy
    };
    assert_eq!(
        decided(by_size, 1_000),
        gone(3, false, 30),
        "by size it goes"
    );
    let compacted = RetentionPolicy {
        delete: false,
        ..policy
    };
    assert_eq!(decided(compacted, 500), gone(0, false, 0));
}

#[test]
fn an_empty_active_segment_stays() {
    let log = segments(&[(100, 0), (0, 0)]);
    let policy = RetentionPolicy {
        retention_ms: 0,
        ..KEEP_ALL
    };
    assert_eq!(
        decide(&log, policy, bounds(0, 10, 10), 100),
        gone(1, false, 10)
    );
    let log = segments(&[(0, 0)]);
    assert_eq!(
        decide(&log, policy, bounds(0, 0, 0), 100),
        gone(0, false, 0)
    );
}

#[test]
fn nothing_above_the_high_watermark_goes() {
    let log = segments(&[(100, 0), (100, 0), (50, 0)]);
    let policy = RetentionPolicy {
        retention_ms: 0,
        ..KEEP_ALL
    };
    let at = |high_watermark| decide(&log, policy, bounds(0, high_watermark, 25), 100);
    assert_eq!(at(9), gone(0, false, 0));
    assert_eq!(at(19), gone(1, false, 10));
    assert_eq!(at(24), gone(2, false, 20));
    assert_eq!(at(25), gone(3, true, 25));
}

#[test]
fn segments_below_the_log_start_go_under_every_policy() {
    let log = segments(&[(100, 0), (100, 0), (50, 0)]);
    let compacted = RetentionPolicy {
        delete: false,
        retention_ms: 0,
        retention_bytes: 0,
    };
    let from = |log_start_offset| decide(&log, compacted, bounds(log_start_offset, 25, 25), 100);
    assert_eq!(from(9), gone(0, false, 9));
    assert_eq!(from(10), gone(1, false, 10));
    assert_eq!(from(15), gone(1, false, 15));
    assert_eq!(
        from(25),
        gone(2, false, 25),
        "the active one stays for its end"
    );
}

#[test]
fn size_counts_what_the_log_start_leaves() {
    let log = segments(&[(100, 0), (100, 0), (100, 0), (50, 0)]);
    let policy = RetentionPolicy {
        retention_bytes: 160,
        ..KEEP_ALL
    };
    assert_eq!(
        decide(&log, policy, bounds(10, 35, 35), 0),
        gone(1, false, 10)
    );
    let policy = RetentionPolicy {
        retention_bytes: 150,
        ..KEEP_ALL
    };
    assert_eq!(
        decide(&log, policy, bounds(10, 35, 35), 0),
        gone(2, false, 20)
    );
}

/// The rules as the module states them, read off a copy of the log that shrinks step by step.
#[test]
fn decisions_agree_with_removing_one_after_the_other() {
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let facts: Vec<(u32, i64)> = (0..random.between(1, 6))
            .map(|_| {
                (
                    u32::try_from(random.between(0, 3)).unwrap(),
                    random.between(0, 6),
                )
            })
            .collect();
        let log = segments(&facts);
        let active = *log.last().unwrap();
        let end = match active.size_bytes {
            0 => active.base_offset,
            _ => active.base_offset + random.between(1, 9),
        };
        let start = random.between(0, end);
        let bounds = bounds(start, random.between(start, end), end);
        let policy = RetentionPolicy {
            delete: !random.one_in(4),
            retention_ms: random.between(-1, 4),
            retention_bytes: random.between(-1, 8),
        };
        let now_ms = 6;

        let mut left = log.clone();
        let mut log_start = start;
        for rule in 0..3 {
            while let Some(oldest) = left.first().copied() {
                let next = left.get(1).map(|next| next.base_offset);
                let end_of_oldest = next.unwrap_or(end);
                let size: i64 = left
                    .iter()
                    .map(|segment| i64::from(segment.size_bytes))
                    .sum();
                let applies = match rule {
                    0 => next.is_some_and(|next| next <= start),
                    1 => {
                        policy.delete
                            && policy.retention_bytes >= 0
                            && size - i64::from(oldest.size_bytes) >= policy.retention_bytes
                    }
                    _ => {
                        policy.delete
                            && policy.retention_ms >= 0
                            && now_ms - oldest.newest_ms > policy.retention_ms
                    }
                };
                let stays = next.is_none() && oldest.size_bytes == 0;
                if !applies || stays || bounds.high_watermark < end_of_oldest {
                    break;
                }
                left.remove(0);
                log_start = log_start.max(end_of_oldest);
            }
        }
        let expected = gone(log.len() - left.len(), left.is_empty(), log_start);
        assert_eq!(
            decide(&log, policy, bounds, now_ms),
            expected,
            "seed {seed}"
        );
    }
}
