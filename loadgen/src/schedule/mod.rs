//! When each record is due, known before the run begins: no reply can delay it.
//!
//! Rates that change evenly or not at all are integrated exactly: record `k` of the whole run is due when the integral
//! of the rate reaches `k + 1/2`, in the middle of its own gap, and is computed from `k` and not from the record before
//! it, so that nothing drifts. The producers take these records in turn. Poisson arrivals are drawn instead, by each
//! producer for itself: independent streams of a part of the rate add up to one of the whole rate.
//!
//! Nothing here reads a clock.

pub mod choice;
mod timeline;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::workload::Shape;
use choice::Random;
use timeline::{Timeline, Walk};

const NANOS_PER_SECOND: f64 = 1e9;

/// The intended times of one producer's records, in nanoseconds since the start of the run, in order, all before its
/// end. An iterator that allocates nothing on the way.
#[derive(Clone, Debug)]
pub struct Schedule {
    whole_ns: u64,
    gaps: Gaps,
}

#[derive(Clone, Debug)]
enum Gaps {
    /// Every `stride`-th record of the timeline.
    Turns { walk: Walk, next: u64, stride: u64 },
    /// Exponential gaps.
    Random {
        random: Random,
        mean_ns: f64,
        now_ns: f64,
    },
}

impl Schedule {
    /// For producer `index` of `count`, over a run of the given length. The same arguments give the same times.
    ///
    /// # Panics
    /// If `index` is not below `count`.
    pub fn new(shape: &Shape, whole: Duration, seed: u64, index: u32, count: u32) -> Self {
        assert!(index < count, "producer {index} of {count}");
        let gaps = match shape {
            Shape::Poisson(rate) => Gaps::Random {
                random: Random::stream(seed, u64::from(index)),
                mean_ns: f64::from(count) / rate * NANOS_PER_SECOND,
                now_ns: 0.0,
            },
            _ => Gaps::Turns {
                walk: Walk::new(Timeline::new(shape, whole)),
                next: u64::from(index),
                stride: u64::from(count),
            },
        };
        Self {
            whole_ns: nanos(whole),
            gaps,
        }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let due = match &mut self.gaps {
            Gaps::Turns { walk, next, stride } => {
                let due = walk.time_of(*next as f64 + 0.5, self.whole_ns)?;
                *next += *stride;
                due
            }
            Gaps::Random {
                random,
                mean_ns,
                now_ns,
            } => {
                *now_ns += random.exponential() * *mean_ns;
                *now_ns as u64
            }
        };
        (due < self.whole_ns).then_some(due)
    }
}

impl Shape {
    /// Records a second on the average of a run of the given length; zero if it has no length.
    pub fn mean_rate(&self, whole: Duration) -> f64 {
        if whole.is_zero() {
            return 0.0;
        }
        Timeline::new(self, whole).records_until(nanos(whole)) / whole.as_secs_f64()
    }
}

/// Good for 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
