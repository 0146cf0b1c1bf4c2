//! Histograms of nanoseconds, and the compact form in which many of them are kept.
//!
//! Three significant digits from 1 ns to an hour: below 1 ms a value is known to half a microsecond, above to a
//! thousandth of itself. Longer ones count as an hour. One takes 270 kB while it is written to, and some kilobytes in
//! its compact form, which is HdrHistogram's own (version 2, deflated).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer as Source, Serialize, Serializer as Sink};

/// Counts by nanoseconds.
pub type Histogram = hdrhistogram::Histogram<u64>;

/// The longest time that is told apart: an hour, in nanoseconds.
pub const LONGEST_NS: u64 = 3_600_000_000_000;

const SIGNIFICANT_DIGITS: u8 = 3;

/// An empty histogram. All have the same bounds, so that any two can be added.
pub fn empty() -> Histogram {
    Histogram::new_with_bounds(1, LONGEST_NS, SIGNIFICANT_DIGITS).expect("bounds are right")
}

/// Counts a value so many times.
pub(super) fn record(histogram: &mut Option<Histogram>, value_ns: u64, times: u64) {
    if times > 0 {
        histogram
            .get_or_insert_with(empty)
            .saturating_record_n(value_ns, times);
    }
}

/// Adds one to another.
pub(super) fn add(to: &mut Histogram, other: &Histogram) {
    to.add(other).expect("all histograms have the same bounds");
}

/// A histogram in its compact form. An empty one takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compact {
    max_ns: u64,
    bytes: Vec<u8>,
}

impl Compact {
    /// Compacts.
    pub fn of(histogram: &Histogram) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(histogram, &mut bytes)
            .expect("memory takes any histogram");
        bytes.shrink_to_fit();
        Self {
            max_ns: histogram.max(),
            bytes,
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The highest value in nanoseconds; 0 if there is none.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The histogram again.
    pub fn histogram(&self) -> Histogram {
        match self.is_empty() {
            true => empty(),
            false => decode(&self.bytes).expect("only what was compacted here gets in"),
        }
    }

    /// As it stands in log files: base64.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// Adds another to it.
    pub(super) fn add(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
        } else if !other.is_empty() {
            let mut sum = self.histogram();
            add(&mut sum, &other.histogram());
            *self = Self::of(&sum);
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Histogram, String> {
    let decoded: Histogram = Deserializer::new()
        .deserialize(&mut &*bytes)
        .map_err(|error| error.to_string())?;
    let mut histogram = empty();
    // It may have been made with other bounds, by somebody else.
    match decoded.max() <= LONGEST_NS.max(histogram.highest_equivalent(LONGEST_NS)) {
        true => add(&mut histogram, &decoded),
        false => return Err("a histogram with values above an hour".to_owned()),
    }
    Ok(histogram)
}

impl Serialize for Compact {
    fn serialize<S: Sink>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.base64())
    }
}

impl<'de> Deserialize<'de> for Compact {
    fn deserialize<D: Source<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        match bytes.is_empty() {
            true => Ok(Self::default()),
            false => decode(&bytes)
                .map(|histogram| Self::of(&histogram))
                .map_err(D::Error::custom),
        }
    }
}

/// Whole histograms written in their compact form: for `#[serde(with = ...)]`.
pub(super) mod compacted {
    use super::{Compact, Deserialize, Histogram, Serialize, Sink, Source};

    pub fn serialize<S: Sink>(histogram: &Histogram, to: S) -> Result<S::Ok, S::Error> {
        Compact::of(histogram).serialize(to)
    }

    pub fn deserialize<'de, D: Source<'de>>(from: D) -> Result<Histogram, D::Error> {
        Ok(Compact::deserialize(from)?.histogram())
    }
}
