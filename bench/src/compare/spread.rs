//! The middle of repeated measurements, and how far they lie apart.

use serde::{Deserialize, Serialize};

/// Two rounds say little of the noise: the gap between two such pairs must be so many times the wider one.
const GAP_OF_TWO: f64 = 2.0;
/// Medians closer than this part of each other are alike, however little the repeats differed.
const ALIKE: f64 = 0.05;

/// Of one figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Of how many repeats.
    pub repeats: usize,
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = match sorted.len() % 2 {
            1 => sorted[half],
            _ => f64::midpoint(sorted[half - 1], sorted[half]),
        };
        Some(Self {
            repeats: sorted.len(),
            median,
            min,
            max,
        })
    }

    /// Whether another one differs by more than chance explains: the gap between the two ranges is wider than the wider
    /// range (twice that if one is of two rounds), and the medians are further apart than 5 %. Where nothing changed and
    /// noise is normal, that leaves 4 figures of a hundred after two rounds each and 1 after three; ranges that do not
    /// overlap would be 33 and 10. A single round says nothing of the noise.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        let times = match self.repeats.min(other.repeats) {
            0 | 1 => return false,
            2 => GAP_OF_TWO,
            _ => 1.0,
        };
        let gap = (self.min - other.max).max(other.min - self.max);
        let wider = (self.max - self.min).max(other.max - other.min);
        let distance = (self.median - other.median).abs();
        gap > times * wider && distance > ALIKE * self.median.abs().max(other.median.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(Spread::of([]), None);
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
    }

    #[test]
    fn only_what_lies_beyond_the_noise_of_both_is_apart() {
        let spread = |values: [f64; 3]| Spread::of(values).unwrap();
        let one = spread([9.0, 10.0, 11.0]);
        assert!(
            !one.is_apart_from(&spread([10.5, 12.0, 13.0])),
            "they overlap"
        );
        assert!(
            !one.is_apart_from(&spread([12.0, 12.5, 13.0])),
            "the gap is less than the wider range"
        );
        assert!(one.is_apart_from(&spread([13.5, 14.0, 14.5])));
        assert!(one.is_apart_from(&spread([5.0, 5.5, 6.0])));
        let two = |values: [f64; 2]| Spread::of(values).unwrap();
        let pair = two([10.0, 11.0]);
        assert!(!pair.is_apart_from(&two([12.5, 13.0])), "only two rounds");
        assert!(pair.is_apart_from(&two([13.5, 14.0])));
        let (still, near) = (spread([10.0; 3]), spread([10.3; 3]));
        assert!(!still.is_apart_from(&near), "three percent are nothing");
        let single = Spread::of([100.0]).unwrap();
        assert!(!single.is_apart_from(&still), "its noise is not known");
    }
}
