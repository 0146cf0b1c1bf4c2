use std::time::Duration;

use super::histogram::{self, Compact, LONGEST_NS};
use super::plan::Phase;
use super::verdict::{FULL_SECONDS_SHARE_MAX, LATE_NS_MAX, LATE_P99_NS_MAX};
use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn plan(warm_up_ms: u64, duration_ms: u64) -> Plan {
    Plan::new(
        Duration::from_millis(warm_up_ms),
        Duration::from_millis(duration_ms),
    )
}

/// A run of one recorder.
fn run(plan: Plan, ended_ns: u64, fill: impl FnOnce(&mut Recorder)) -> Measurements {
    let mut collector = Collector::new(plan, 0);
    let mut recorder = collector.recorder("worker-0");
    fill(&mut recorder);
    drop(recorder);
    collector.finish(ended_ns, ended_ns)
}

/// Without what no two runs have in common: their threads, and when they were.
fn timeless(mut measurements: Measurements) -> Measurements {
    measurements.threads.clear();
    measurements.started_unix_ms = 0;
    measurements
}

#[test]
fn percentiles_of_known_times_are_exact_to_three_digits() {
    let measurements = run(plan(0, 1_000), SECOND, |recorder| {
        for number in 1..=10_000 {
            recorder.produced(number, number * 1_000, 1, 100);
        }
    });
    let histogram = &measurements.produce_latency;
    assert_eq!(histogram.len(), 10_000);
    for (quantile, us) in [
        (0.5, 5_000),
        (0.9, 9_000),
        (0.99, 9_900),
        (0.9999, 9_999),
        (1.0, 10_000),
    ] {
        let value = histogram.value_at_quantile(quantile);
        assert!(
            value >= us * 1_000 && value <= us * 1_001,
            "{quantile}: {value}"
        );
    }
    assert_eq!(
        measurements.produced,
        Flow {
            records: 10_000,
            bytes: 1_000_000
        }
    );
    assert_eq!(
        measurements.per_second(measurements.produced.records),
        10_000.0
    );
}

#[test]
fn below_a_millisecond_values_are_known_to_a_microsecond() {
    let histogram = histogram::empty();
    for ns in [1, 900, 2_047] {
        assert_eq!(histogram.equivalent_range(ns), 1);
    }
    for ns in [10_000, 500_000, 999_999] {
        assert!(histogram.equivalent_range(ns) <= 1_000, "{ns}");
    }
    assert!(histogram.equivalent_range(LONGEST_NS - 1) <= LONGEST_NS / 1_000);
}

#[test]
fn a_time_beyond_an_hour_counts_as_an_hour() {
    let measurements = run(plan(0, 1_000), SECOND, |recorder| {
        recorder.consumed(1, 3 * LONGEST_NS, 2, 2);
    });
    assert_eq!(measurements.end_to_end_latency.len(), 2);
    assert!(measurements.end_to_end_latency.max() >= LONGEST_NS);
}

#[test]
fn merged_runs_are_as_if_recorded_together() {
    let plan = plan(1_000, 9_000);
    let even_or_odd = |recorder: &mut Recorder, rest: u64| {
        for number in (0..20_000_u64).filter(|number| number % 2 == rest) {
            let at_ns = number * SECOND / 2_000;
            recorder.intended(at_ns);
            recorder.late(at_ns, number % 7 * 1_000);
            recorder.produced(at_ns, 1_000 + number * number, 1, number % 100);
            recorder.consumed(at_ns, 5_000 + number * number, 2, number % 100);
            if number % 999 == 0 {
                recorder.error(at_ns, format!("ERROR_{}", number % 3));
            }
        }
    };
    let [one, other] =
        [0, 1].map(|rest| run(plan, 10 * SECOND, |recorder| even_or_odd(recorder, rest)));
    let mut merged = one;
    merged.merge(&other);

    let mut collector = Collector::new(plan, 0);
    std::thread::scope(|threads| {
        for rest in [0, 1] {
            let mut recorder = collector.recorder(format!("worker-{rest}"));
            threads.spawn(move || even_or_odd(&mut recorder, rest));
        }
    });
    let together = collector.finish(10 * SECOND, 10 * SECOND);
    assert_eq!(merged.threads.len(), 2);
    assert_eq!(timeless(merged), timeless(together));
}

#[test]
fn measurements_survive_the_way_to_another_machine() {
    let measurements = run(plan(500, 2_000), 3 * SECOND, |recorder| {
        for number in 0..3_000 {
            recorder.produced(number * MS, number * 1_000, 3, 10);
            recorder.lag(number * MS, number);
        }
        recorder.error(2_999 * MS, "TIMEOUT");
    });
    let text = serde_json::to_string(&measurements).unwrap();
    let read = |text: &str| serde_json::from_str::<Measurements>(text);
    assert_eq!(read(&text).unwrap(), measurements);
    assert!(read("{}").is_err());
    let broken = text.replace("\"lateness\":\"\"", "\"lateness\":\"AAAA\"");
    assert_ne!(broken, text);
    assert!(read(&broken).is_err());
}

#[test]
fn what_happens_in_the_warm_up_is_in_the_plot_only() {
    let measurements = run(plan(2_500, 1_000), 3_500 * MS, |recorder| {
        recorder.intended(2_499 * MS);
        recorder.late(2_499 * MS, 77);
        recorder.produced(2_499 * MS, 9 * MS, 5, 50);
        recorder.consumed(2_499 * MS, 9 * MS, 5, 50);
        recorder.error(2_499 * MS, "TIMEOUT");
        recorder.produced(2_501 * MS, MS, 1, 10);
    });
    assert_eq!(
        measurements.produced,
        Flow {
            records: 1,
            bytes: 10
        }
    );
    assert_eq!(measurements.consumed, Flow::default());
    assert_eq!((measurements.intended, measurements.error_count()), (0, 0));
    assert_eq!(measurements.produce_latency.len(), 1);
    assert!(measurements.end_to_end_latency.is_empty() && measurements.lateness.is_empty());
    // Half a second, two of warm-up, and one that counts.
    let intervals: Vec<_> = measurements
        .intervals
        .iter()
        .map(|(&number, interval)| {
            let start_ms = measurements.plan.interval_start_ns(number) / MS;
            (
                start_ms,
                measurements.plan.is_warm_up(number),
                interval.produced.records,
            )
        })
        .collect();
    assert_eq!(intervals, [(1_500, true, 5), (2_500, false, 1)]);
}

#[test]
fn what_was_due_in_the_warm_up_counts_nowhere_however_late_it_is_answered() {
    let measurements = run(plan(1_000, 1_000), 3_000 * MS, |recorder| {
        for (at_ms, latency_ms) in [(1_500, 600), (1_500, 500), (2_500, 1_600), (2_500, 1_500)] {
            recorder.late(at_ms * MS, latency_ms * MS);
            recorder.produced(at_ms * MS, latency_ms * MS, 1, 10);
            recorder.consumed(at_ms * MS, latency_ms * MS, 1, 10);
            recorder.gave_up(at_ms * MS, latency_ms * MS, Fate::Unsent);
        }
        recorder.intended(999 * MS);
        recorder.intended(1_000 * MS);
    });
    // Two of the four were due when the warm-up ended, or later.
    assert_eq!(measurements.produce_latency.len(), 4);
    assert_eq!(measurements.end_to_end_latency.len(), 2);
    assert_eq!(measurements.lateness.len(), 2);
    assert_eq!((measurements.unsent, measurements.intended), (2, 1));
    // Rates are of what was answered in the time that counts.
    assert_eq!(measurements.produced.records, 2);
}

#[test]
fn records_that_are_given_up_count_for_latency_and_by_their_fate() {
    let measurements = run(plan(0, 1_000), 5_000 * MS, |recorder| {
        recorder.produced(900 * MS, MS, 1, 10);
        recorder.gave_up(4_000 * MS, 3_500 * MS, Fate::Unsent);
        recorder.gave_up(4_000 * MS, 3_500 * MS, Fate::Unanswered);
        recorder.gave_up(4_000 * MS, 3_500 * MS, Fate::Refused);
        recorder.errors(4_000 * MS, "gone", 3);
    });
    assert_eq!((measurements.unsent, measurements.unanswered), (1, 1));
    assert_eq!(measurements.produced.records, 1);
    assert_eq!(measurements.produce_latency.len(), 4);
    assert!(measurements.produce_latency.value_at_quantile(0.5) >= 3_499 * MS);
    assert_eq!(measurements.errors["gone"], 3);
}

#[test]
fn late_answers_count_for_latency_and_not_for_rates() {
    let measurements = run(plan(0, 1_500), 1_700 * MS, |recorder| {
        recorder.produced(1_400 * MS, MS, 1, 10);
        recorder.produced(1_600 * MS, 200 * MS, 4, 40);
    });
    assert_eq!(measurements.produced.records, 1);
    assert_eq!(measurements.produce_latency.len(), 5);
    assert_eq!(measurements.intervals[&1].produced.records, 5);
    assert_eq!(measurements.interval_length_ns(0), SECOND);
    assert_eq!(measurements.interval_length_ns(1), 700 * MS);
}

#[test]
fn a_run_that_ends_early_is_measured_until_then() {
    let measurements = run(plan(1_000, 60_000), 2_250 * MS, |recorder| {
        recorder.produced(1_100 * MS, MS, 3, 30);
        recorder.stop(2_250 * MS);
        recorder.produced(2_300 * MS, MS, 3, 30);
    });
    assert_eq!(measurements.measured_ns, 1_250 * MS);
    assert_eq!(measurements.produced.records, 3);
    assert_eq!(measurements.produce_latency.len(), 6);
}

#[test]
fn lag_holds_until_it_is_told_again_and_adds_up() {
    let mut collector = Collector::new(plan(0, 10_000), 0);
    let mut one = collector.recorder("one");
    let mut other = collector.recorder("other");
    one.lag(100 * MS, 7);
    one.lag(4_100 * MS, 1);
    other.lag(2_100 * MS, 10);
    other.tick(4_900 * MS);
    drop((one, other));
    let measurements = collector.finish(5 * SECOND, 5 * SECOND);
    let lags: Vec<_> = measurements
        .intervals
        .values()
        .map(|interval| interval.lag_records)
        .collect();
    assert_eq!(lags, [7, 7, 17, 17, 11].map(Some));
}

#[test]
fn a_second_that_comes_late_still_gets_in() {
    let mut collector = Collector::new(plan(0, 100_000), 0);
    let mut fast = collector.recorder("fast");
    let mut slow = collector.recorder("slow");
    for second in 0..20 {
        fast.produced(second * SECOND, MS, 1, 1);
    }
    collector.collect();
    slow.produced(0, 2 * MS, 1, 1);
    drop((fast, slow));
    let measurements = collector.finish(20 * SECOND, 20 * SECOND);
    let first = measurements.intervals[&0].produce_latency.histogram();
    assert_eq!((first.len(), measurements.intervals.len()), (2, 20));
}

#[test]
fn progress_shows_the_last_whole_second() {
    let mut collector = Collector::new(plan(0, 10_000), 0);
    let mut recorder = collector.recorder("worker-0");
    for number in 0..3_100 {
        recorder.produced(number * MS, 2_000, 10, 1_000);
    }
    recorder.error(3_100 * MS, "TIMEOUT");
    recorder.lag(3_100 * MS, 5);
    recorder.tick(4_000 * MS);
    let mut progress = |ms| {
        let elapsed = Duration::from_millis(ms);
        Progress::of(
            [&collector.moment(elapsed)],
            elapsed,
            Duration::from_secs(10),
        )
    };
    let early = progress(3_100);
    let progress = progress(4_250);
    assert_eq!((early.records_per_s, early.lag_records), (10_000.0, None));
    assert_eq!(progress.whole, Duration::from_secs(10));
    assert_eq!(
        (progress.records_per_s, progress.bytes_per_s),
        (1_000.0, 100_000.0)
    );
    assert_eq!(
        (progress.p50_ns, progress.p99_ns),
        (Some(2_000), Some(2_000))
    );
    assert_eq!((progress.errors, progress.lag_records), (1, Some(5)));
}

#[test]
fn progress_of_several_machines_is_that_of_all_their_records() {
    let moment = |records, latency_ns| {
        let mut produce_latency = histogram::empty();
        produce_latency.record_n(latency_ns, records).unwrap();
        Moment {
            produced: Flow {
                records,
                bytes: records * 10,
            },
            produce_latency,
            errors: 2,
            lag_records: (records > 50).then_some(7),
        }
    };
    let second = Duration::from_secs(1);
    let progress = Progress::of(&[moment(98, 1_000), moment(2, 500_000)], second, second);
    assert_eq!(
        (progress.records_per_s, progress.bytes_per_s),
        (100.0, 1_000.0)
    );
    assert_eq!(progress.p50_ns, Some(1_000));
    assert!(progress.p99_ns.is_some_and(|p99_ns| p99_ns >= 500_000));
    assert_eq!((progress.errors, progress.lag_records), (4, Some(7)));
}

#[test]
fn phases_follow_each_other() {
    let plan = plan(1_500, 2_200);
    let phases = [0, 499, 500, 1_499, 1_500, 3_499, 3_500, 3_699, 3_700, 4_500].map(|ms| {
        let span = plan.span(ms * MS, plan.end_ns());
        assert!(span.until_ns > ms * MS);
        (span.interval, span.phase, span.until_ns / MS)
    });
    assert_eq!(
        phases,
        [
            (0, Phase::WarmUp, 500),
            (0, Phase::WarmUp, 500),
            (1, Phase::WarmUp, 1_500),
            (1, Phase::WarmUp, 1_500),
            (2, Phase::Measured, 2_500),
            (3, Phase::Measured, 3_500),
            (4, Phase::Measured, 3_700),
            (4, Phase::Measured, 3_700),
            (4, Phase::Drain, 4_500),
            (5, Phase::Drain, 5_500),
        ]
    );
}

#[test]
fn a_compact_histogram_is_small_and_whole() {
    let mut histogram = histogram::empty();
    for number in 0..100_000_u64 {
        histogram.record(100_000 + number * 13).unwrap();
    }
    let compact = Compact::of(&histogram);
    assert_eq!(compact.histogram(), histogram);
    assert_eq!(compact.max_ns(), histogram.max());
    assert!(
        compact.base64().len() < 16_000,
        "{}",
        compact.base64().len()
    );
    assert!(Compact::of(&histogram::empty()).is_empty());
}

#[test]
fn laps_of_a_thread_that_works_follow_each_other() {
    let before = std::time::Instant::now();
    let mut clock = ThreadClock::start();
    let mut laps = ThreadTime::default();
    // Counters move with the kernel's ticks, if it keeps any.
    while laps.wall_ns < 20 * MS || (laps.ran_ns == 0 && laps.wall_ns < 1_000 * MS) {
        let lap = clock.lap();
        laps.wall_ns += lap.wall_ns;
        laps.ran_ns += lap.ran_ns;
    }
    let whole_ns = before.elapsed().as_nanos() as u64;
    assert!(laps.wall_ns <= whole_ns, "{laps:?} in {whole_ns}");
    assert!(laps.ran_ns <= whole_ns + 20 * MS, "{laps:?} in {whole_ns}");
}

fn lateness(p99_ns: u64, max_ns: u64) -> histogram::Histogram {
    let mut lateness = histogram::empty();
    lateness.record_n(0, 9_000).unwrap();
    lateness.record_n(p99_ns, 999).unwrap();
    lateness.record(max_ns).unwrap();
    lateness
}

/// A thread of a hundred seconds.
fn thread(ran: f64, waited: f64, full_seconds: u64) -> ThreadUse {
    ThreadUse {
        name: "worker-0".to_owned(),
        wall_ns: 100 * SECOND,
        ran_ns: (ran * 100.0 * SECOND as f64) as u64,
        waited_ns: (waited * 100.0 * SECOND as f64) as u64,
        seconds: 100,
        full_seconds,
        wake_ups: 0,
    }
}

#[test]
fn the_verdict_on_lateness_turns_at_its_thresholds() {
    // What a histogram takes for equal to the threshold may be a thousandth above it.
    let (below, above) = (|ns: u64| ns - ns / 500, |ns: u64| ns + ns / 500);
    for (p99_ns, max_ns, level, text) in [
        (
            10_000,
            410_000,
            Level::Kept,
            "The generator kept its schedule: requests left up to 0.4 ms late (p99 0.010 ms).",
        ),
        (
            below(LATE_P99_NS_MAX),
            below(LATE_NS_MAX),
            Level::Kept,
            "kept its schedule",
        ),
        (
            below(LATE_P99_NS_MAX),
            above(LATE_NS_MAX),
            Level::Disturbed,
            "but for moments",
        ),
        (
            above(LATE_P99_NS_MAX),
            above(LATE_P99_NS_MAX),
            Level::Limit,
            "the schedule slipped",
        ),
        (
            800_000,
            3_100_000,
            Level::Limit,
            "Requests left up to 3.1 ms late (p99 0.8 ms): the schedule slipped, so the figures say as much of the \
             generator as of the broker.",
        ),
    ] {
        let verdict = Verdict::of(&lateness(p99_ns, max_ns), &[]);
        assert_eq!(verdict.level, level, "{verdict}");
        assert!(verdict.to_string().contains(text), "{verdict}");
    }
}

#[test]
fn the_verdict_on_threads_turns_at_its_thresholds() {
    let most = (FULL_SECONDS_SHARE_MAX * 100.0) as u64;
    for (thread, level, text) in [
        (
            thread(0.3, 0.0, 0),
            Level::Kept,
            "(worker-0) was busy 30 % of the time",
        ),
        (thread(0.3, 0.049, 0), Level::Kept, "busy 35 %"),
        (
            thread(0.3, 0.05, 0),
            Level::Disturbed,
            "waited for a core 5 % of the time",
        ),
        (
            thread(0.9, 0.0, most - 1),
            Level::Disturbed,
            "a full core in 9 of 100 s: latencies of those",
        ),
        (
            thread(0.9, 0.0, most),
            Level::Limit,
            "a full core in 10 of 100 s: the generator was the limit",
        ),
    ] {
        let verdict = Verdict::of(&histogram::empty(), &[thread]);
        assert_eq!(verdict.level, level, "{verdict}");
        assert!(verdict.to_string().contains(text), "{verdict}");
    }
}

#[test]
fn without_timetable_and_threads_there_is_a_verdict_too() {
    let idle = Verdict::of(&histogram::empty(), &[]);
    assert_eq!(idle.text.len(), 1);
}

#[test]
fn seconds_are_full_from_their_share_on() {
    let mut thread = ThreadUse::default();
    let time = |wall_ns, ran_ns, waited_ns| ThreadTime {
        wall_ns,
        ran_ns,
        waited_ns,
    };
    thread.add(time(SECOND, 900 * MS, 50 * MS));
    thread.add(time(SECOND, 900 * MS, 49 * MS));
    thread.add(time(100 * MS, 100 * MS, 0));
    assert_eq!((thread.seconds, thread.full_seconds), (2, 1));
    assert_eq!(thread.busy_share(), 1_999.0 / 2_100.0);
}

#[test]
fn verification_forgives_no_loss() {
    let clean = Verification {
        acknowledged: 10,
        received: 12,
        unknown: 2,
        ..Verification::default()
    };
    assert_eq!(clean.judgement(), Judgement::Whole);
    for broken in [
        Verification { lost: 1, ..clean },
        Verification {
            duplicated: 1,
            ..clean
        },
        Verification {
            reordered: 1,
            ..clean
        },
        Verification {
            corrupted: 1,
            ..clean
        },
    ] {
        assert_eq!(broken.judgement(), Judgement::Broken);
    }
}
