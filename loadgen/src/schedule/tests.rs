use std::time::Duration;

use super::choice::{KeyChoice, Random, SizeChoice};
use super::*;
use crate::workload::{Keys, Sizes};

const SECOND: u64 = 1_000_000_000;

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Of all of so many producers, in order.
fn times(shape: &Shape, whole: Duration, count: u32) -> Vec<u64> {
    let each = (0..count).flat_map(|index| Schedule::new(shape, whole, 1, index, count));
    let mut times: Vec<u64> = each.collect();
    times.sort_unstable();
    times
}

fn between(times: &[u64], from: f64, to: f64) -> usize {
    let at = |seconds: f64| times.partition_point(|time| (*time as f64) < seconds * 1e9);
    at(to) - at(from)
}

fn bursts() -> Shape {
    Shape::Bursts {
        base: 100.0,
        peak: 1_000.0,
        every: secs(2.0),
        length: secs(0.5),
    }
}

fn trace() -> Shape {
    Shape::Trace(vec![(secs(0.0), 0.0), (secs(1.0), 300.0), (secs(3.0), 7.0)])
}

#[test]
fn a_constant_rate_has_even_gaps_whoever_produces() {
    for count in [1, 3, 8] {
        let times = times(&Shape::Constant(1_000.0), secs(3.0), count);
        let expected: Vec<u64> = (0..3_000).map(|k| 500_000 + k * 1_000_000).collect();
        assert_eq!(times, expected);
    }
    let third = Schedule::new(&Shape::Constant(1_000.0), secs(1.0), 1, 2, 4);
    let times: Vec<u64> = third.take(3).collect();
    assert_eq!(times, [2_500_000, 6_500_000, 10_500_000]);
}

#[test]
fn a_rate_that_is_no_whole_number_gives_no_record_too_much() {
    for (rate, seconds) in [
        (0.3, 10.0),
        (1.0 / 3.0, 9.0),
        (1e8, 0.001),
        (12_345.678, 1.0),
    ] {
        let times = times(&Shape::Constant(rate), secs(seconds), 2);
        let expected = rate * seconds;
        assert!(
            (times.len() as f64 - expected).abs() <= 0.51,
            "{rate}: {}",
            times.len()
        );
    }
}

#[test]
fn hours_later_nothing_has_drifted() {
    let whole = Duration::from_secs(30 * 86_400);
    let piece = |shape| Walk::new(Timeline::new(&shape, whole));
    let whole_ns = whole.as_nanos() as u64;
    // The last record of a month at a rate with gaps of no whole number of nanoseconds.
    let records = (3e6 * whole.as_secs_f64()) as u64;
    let due = piece(Shape::Constant(3e6))
        .time_of(records as f64 - 0.5, whole_ns)
        .expect("in the run");
    assert!((whole_ns - due).abs_diff(166) <= 1, "{}", whole_ns - due);

    // Bursts in the last hour begin when they should.
    let mut walk = piece(bursts());
    let periods = 30 * 43_200 - 3;
    let records = f64::from(periods) * 650.0 + 150.5;
    let due = walk.time_of(records, whole_ns).expect("in the run");
    let burst = periods as u64 * 2 * SECOND + 3 * SECOND / 2;
    assert_eq!(due, burst + SECOND / 2_000);
}

#[test]
fn a_ramp_follows_its_integral() {
    for (from, to) in [
        (0.0, 1_000.0),
        (1_000.0, 0.0),
        (500.0, 501.0),
        (200.0, 200.0),
    ] {
        let shape = Shape::Ramp(from, to);
        let times = times(&shape, secs(10.0), 3);
        let until = |t: f64| from * t + (to - from) * t * t / 20.0;
        assert!((times.len() as f64 - until(10.0)).abs() <= 1.0);
        for tenth in 0..10 {
            let (start, end) = (f64::from(tenth), f64::from(tenth + 1));
            let due = between(&times, start, end) as f64;
            assert!(
                (due - (until(end) - until(start))).abs() <= 1.0,
                "{shape:?} {tenth}"
            );
        }
        assert_eq!(shape.mean_rate(secs(10.0)), (from + to) / 2.0);
    }
}

#[test]
fn each_step_takes_an_equal_part() {
    let shape = Shape::Steps(vec![100.0, 0.0, 300.0, 50.0]);
    let times = times(&shape, secs(8.0), 3);
    let due: Vec<usize> = (0..4)
        .map(|step| between(&times, f64::from(2 * step), f64::from(2 * step + 2)))
        .collect();
    assert_eq!(due, [200, 0, 600, 100]);
    assert_eq!(shape.mean_rate(secs(8.0)), 112.5);
}

#[test]
fn bursts_come_at_the_end_of_each_period() {
    let times = times(&bursts(), secs(7.0), 4);
    for period in [0.0, 2.0, 4.0] {
        assert_eq!(between(&times, period, period + 1.5), 150);
        assert_eq!(between(&times, period + 1.5, period + 2.0), 500);
    }
    assert_eq!(times.len(), 3 * 650 + 100);
    let mean = bursts().mean_rate(secs(7.0));
    assert!((mean - 2_050.0 / 7.0).abs() < 1e-9, "{mean}");
}

#[test]
fn a_trace_is_repeated_and_its_last_rate_holds_as_long_as_the_one_before() {
    let times = times(&trace(), secs(11.5), 2);
    for round in [0.0, 5.0] {
        assert_eq!(between(&times, round, round + 1.0), 0);
        assert_eq!(between(&times, round + 1.0, round + 3.0), 600);
        assert_eq!(between(&times, round + 3.0, round + 5.0), 14);
    }
    assert_eq!(times.len(), 2 * 614 + 150);
    let alone = Shape::Trace(vec![(Duration::ZERO, 10.0)]);
    assert_eq!(self::times(&alone, secs(3.0), 1).len(), 30);
}

#[test]
fn poisson_gaps_are_exponential_and_add_up_to_the_rate() {
    let (rate, seconds) = (10_000.0, 20.0);
    let shape = Shape::Poisson(rate);
    for count in [1, 5] {
        let times = times(&shape, secs(seconds), count);
        let expected = rate * seconds;
        // Five standard deviations.
        assert!((times.len() as f64 - expected).abs() < 5.0 * expected.sqrt());
        let gaps = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64 * rate / 1e9);
        let gaps: Vec<f64> = gaps.collect();
        for limit in [0.1, 0.5, 1.0, 2.0, 4.0] {
            let longer = gaps.iter().filter(|gap| **gap > limit).count() as f64;
            let share = longer / gaps.len() as f64;
            assert!((share - (-limit).exp()).abs() < 0.006, "{limit}: {share}");
        }
    }
    assert_eq!(shape.mean_rate(secs(1.0)), rate);
}

#[test]
fn the_same_seed_gives_the_same_times_and_another_producer_others() {
    let shape = Shape::Poisson(1_000.0);
    let of = |seed, index| Schedule::new(&shape, secs(1.0), seed, index, 2).collect::<Vec<_>>();
    assert_eq!(of(1, 0), of(1, 0));
    assert_ne!(of(1, 0), of(1, 1));
    assert_ne!(of(1, 0), of(2, 0));
    assert!(of(1, 0).is_sorted());
}

#[test]
fn nothing_is_due_in_no_time_or_at_no_rate() {
    for shape in [Shape::Constant(1e6), Shape::Poisson(1e6), bursts(), trace()] {
        assert_eq!(Schedule::new(&shape, Duration::ZERO, 1, 0, 1).count(), 0);
        assert_eq!(shape.mean_rate(Duration::ZERO), 0.0);
    }
    let still = Shape::Steps(vec![0.0, 0.0]);
    assert_eq!(Schedule::new(&still, secs(5.0), 1, 0, 1).count(), 0);
}

#[test]
fn the_generator_is_the_published_one() {
    // From the reference code, with the state that SplitMix64 makes of 0.
    let mut random = Random::new(0);
    assert_eq!(random.next_u64(), 0x5317_5d61_490b_23df);
    let mut one = Random::stream(7, 0);
    let mut other = Random::stream(7, 1);
    assert!((0..100).all(|_| one.next_u64() != other.next_u64()));
    assert!((0..10_000).all(|_| one.below(3) < 3 && one.unit() < 1.0));
    assert_eq!(one.below(0), 0);
}

#[test]
fn sizes_come_as_often_as_they_should() {
    let mut random = Random::new(3);
    let mut shares = |sizes: &Sizes, of: &[u32]| -> Vec<f64> {
        let choice = SizeChoice::new(sizes);
        let drawn: Vec<u32> = (0..100_000).map(|_| choice.next(&mut random)).collect();
        let count = |size: &u32| drawn.iter().filter(|drawn| *drawn == size).count();
        of.iter().map(|size| count(size) as f64 / 1e5).collect()
    };
    assert_eq!(shares(&Sizes::Fixed(100), &[100]), [1.0]);
    let range = shares(&Sizes::Range(50, 53), &[50, 51, 52, 53]);
    assert!(
        range.iter().all(|share| (share - 0.25).abs() < 0.007),
        "{range:?}"
    );
    let weighted = Sizes::Weighted(vec![(100, 6.0), (200, 3.0), (400, 1.0)]);
    let weighted = shares(&weighted, &[100, 200, 400]);
    for (share, expected) in weighted.iter().zip([0.6, 0.3, 0.1]) {
        assert!((share - expected).abs() < 0.008, "{weighted:?}");
    }
}

#[test]
fn zipf_follows_its_formula() {
    let mut random = Random::new(5);
    let draws = 400_000;
    for (count, exponent) in [
        (1, 1.0),
        (10, 0.0),
        (10, 1.0),
        (1_000, 0.5),
        (1_000, 0.99),
        (100, 2.5),
        (50, 10.0),
    ] {
        let choice = KeyChoice::new(&Keys::Zipf(count, exponent));
        let mut drawn = vec![0_u32; count as usize];
        for _ in 0..draws {
            drawn[choice.next(&mut random).expect("a key") as usize] += 1;
        }
        let weight = |rank: u64| (rank as f64).powf(-exponent);
        let sum: f64 = (1..=count).map(weight).sum();
        for rank in 1..=count {
            let expected = f64::from(draws) * weight(rank) / sum;
            let off = (f64::from(drawn[rank as usize - 1]) - expected).abs();
            assert!(
                off <= 6.0 * expected.sqrt() + 3.0,
                "{count} {exponent} {rank}: {off} of {expected}"
            );
        }
    }
    // Too many to count: the first one's share, and no key out of range.
    let (count, exponent) = (1_000_000_000_000, 0.99);
    let choice = KeyChoice::new(&Keys::Zipf(count, exponent));
    let drawn: Vec<u64> = (0..draws)
        .map(|_| choice.next(&mut random).expect("a key"))
        .collect();
    assert!(drawn.iter().all(|key| *key < count));
    // By the integral of the rest.
    let sum = 0.577 + 0.005 + ((count as f64).powf(0.01) - 1.0) / 0.01;
    let first = drawn.iter().filter(|key| **key == 0).count() as f64 / f64::from(draws);
    assert!((first * sum - 1.0).abs() < 0.03, "{first} of {}", 1.0 / sum);
}

#[test]
fn uniform_keys_and_none() {
    let mut random = Random::new(8);
    let choice = KeyChoice::new(&Keys::Uniform(4));
    let mut drawn = [0_u32; 4];
    for _ in 0..40_000 {
        drawn[choice.next(&mut random).expect("a key") as usize] += 1;
    }
    assert!(
        drawn.iter().all(|count| count.abs_diff(10_000) < 500),
        "{drawn:?}"
    );
    assert_eq!(KeyChoice::new(&Keys::None).next(&mut random), None);
}
