//! Random choices that a seed repeats: lengths of values and keys, and the generator beneath them.

use crate::workload::{Keys, Sizes};

/// A fast generator, xoshiro256++. Good for load, not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// From any seed, zero included.
    pub fn new(seed: u64) -> Self {
        let mut weyl = seed;
        // SplitMix64 fills the state, which must not be all zeros, and with it is not.
        let state = std::array::from_fn(|_| {
            weyl = weyl.wrapping_add(GOLDEN);
            mix(weyl)
        });
        Self { state }
    }

    /// One of many generators from the same seed that have nothing to do with each other.
    pub fn stream(seed: u64, number: u64) -> Self {
        Self::new(mix(seed.wrapping_add(GOLDEN)) ^ mix(!number))
    }

    /// Any number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let state = &mut self.state;
        let next = state[0]
            .wrapping_add(state[3])
            .rotate_left(23)
            .wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        next
    }

    /// From 0 to `bound`, without it; 0 if `bound` is 0. Off from even by less than `bound` in 2⁶⁴.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 to 1, without 1, in steps of 2⁻⁵³.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Exponentially distributed with a mean of 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Chooses lengths of values.
#[derive(Clone, Debug)]
pub struct SizeChoice {
    kind: SizeKind,
}

#[derive(Clone, Debug)]
enum SizeKind {
    Fixed(u32),
    Range {
        least: u32,
        span: u64,
    },
    /// Each size with the sum of the weights up to and with it.
    Weighted(Box<[(u32, f64)]>),
}

impl SizeChoice {
    /// Prepares the choice.
    pub fn new(sizes: &Sizes) -> Self {
        let kind = match sizes {
            Sizes::Fixed(bytes) => SizeKind::Fixed(*bytes),
            Sizes::Range(least, most) => SizeKind::Range {
                least: *least,
                span: u64::from(most.saturating_sub(*least)) + 1,
            },
            Sizes::Weighted(weighted) => {
                let mut sum = 0.0;
                let sums = weighted.iter().map(|(bytes, weight)| {
                    sum += weight;
                    (*bytes, sum)
                });
                SizeKind::Weighted(sums.collect())
            }
        };
        Self { kind }
    }

    /// The next length, in bytes.
    #[inline]
    pub fn next(&self, random: &mut Random) -> u32 {
        match &self.kind {
            SizeKind::Fixed(bytes) => *bytes,
            SizeKind::Range { least, span } => least + random.below(*span) as u32,
            SizeKind::Weighted(sums) => {
                let last = sums.len() - 1;
                let at = random.unit() * sums[last].1;
                sums[sums.partition_point(|(_, sum)| *sum <= at).min(last)].0
            }
        }
    }
}

/// Chooses keys, in memory that does not grow with their number.
#[derive(Clone, Debug)]
pub struct KeyChoice {
    kind: KeyKind,
}

#[derive(Clone, Debug)]
enum KeyKind {
    None,
    Uniform(u64),
    Zipf(Zipf),
}

impl KeyChoice {
    /// Prepares the choice.
    pub fn new(keys: &Keys) -> Self {
        let kind = match *keys {
            Keys::None => KeyKind::None,
            Keys::Uniform(count) => KeyKind::Uniform(count),
            Keys::Zipf(count, exponent) => KeyKind::Zipf(Zipf::new(count, exponent)),
        };
        Self { kind }
    }

    /// The next key, counted from 0, with zipf the most frequent one first. None if records have no keys.
    #[inline]
    pub fn next(&self, random: &mut Random) -> Option<u64> {
        match &self.kind {
            KeyKind::None => None,
            KeyKind::Uniform(count) => Some(random.below(*count)),
            KeyKind::Zipf(zipf) => Some(zipf.next(random) - 1),
        }
    }
}

/// Ranks from 1 to a limit, each in proportion to `1 / rank^exponent`.
///
/// Rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
/// distributions", ACM TOMACS 6 (1996): draws from the hat `x^-exponent` by inverting its integral, and keeps the
/// nearest rank if the point lies under the histogram. More than nine in ten are kept at the first try.
#[derive(Clone, Debug)]
struct Zipf {
    count: f64,
    exponent: f64,
    /// Integral of the hat up to the right edge of rank 1 less its bar, where drawing begins.
    first: f64,
    /// Integral up to the right edge of the last rank, where drawing ends.
    last: f64,
    /// A point so near its rank is under the histogram, whatever the rank.
    sure: f64,
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Self {
        let mut zipf = Self {
            count: count.max(1) as f64,
            exponent,
            first: 0.0,
            last: 0.0,
            sure: 0.0,
        };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(zipf.count + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.hat(2.0));
        zipf
    }

    fn next(&self, random: &mut Random) -> u64 {
        loop {
            let u = self.last + random.unit() * (self.first - self.last);
            let x = self.inverse(u);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.sure || u >= self.integral(rank + 0.5) - self.hat(rank) {
                return rank as u64;
            }
        }
    }

    fn hat(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// Of the hat, from 1 to `x`: `(x^(1 - exponent) - 1) / (1 - exponent)`, and the logarithm for an exponent of 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_less_one_over((1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, integral: f64) -> f64 {
        // Rounding must not push the argument of the logarithm below zero.
        let t = (integral * (1.0 - self.exponent)).max(-1.0);
        (log_one_more_over(t) * integral).exp()
    }
}

/// `(e^x - 1) / x`, and its limit at 0.
fn exp_less_one_over(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        x.exp_m1() / x
    } else {
        1.0 + x / 2.0
    }
}

/// `ln(1 + x) / x`, and its limit at 0.
fn log_one_more_over(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        x.ln_1p() / x
    } else {
        1.0 - x / 2.0
    }
}
