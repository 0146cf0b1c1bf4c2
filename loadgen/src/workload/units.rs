//! Times, sizes and numbers as people write them.

use std::time::Duration;

/// What a number without a unit means, where a time is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// `5` is 5 ms.
    Milliseconds,
    /// `5` is 5 s.
    Seconds,
}

impl TimeUnit {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }
}

/// Largest first, so that a time is written in the largest one that leaves no rest.
const TIMES: &[(&str, u64)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Likewise.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// A time such as `10s`, `1.5ms` or, in the given unit, `5`. None if it is none.
pub fn parse_time(text: &str, unit: TimeUnit) -> Option<Duration> {
    parse(text, unit.name(), TIMES).map(Duration::from_nanos)
}

/// A size in bytes such as `64KiB`, `1MB` or `1000`; no matter which letters are capitals. None if it is none.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, "B", SIZES)
}

/// Any number that is finite and not below zero. None if it is none.
pub fn parse_number(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// In the largest unit up to seconds that leaves no rest.
pub fn show_time(time: Duration) -> String {
    // Days, hours and minutes are read, not written: `90s` beside `1m` is harder to compare than beside `60s`.
    show(time.as_nanos() as u64, "s", &TIMES[3..])
}

/// In the largest unit that leaves no rest.
pub fn show_size(bytes: u64) -> String {
    show(bytes, "B", SIZES)
}

fn parse(text: &str, default: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => (text[..at].trim_end(), &text[at..]),
        None => (text, default),
    };
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor);
    }
    let product = parse_number(number)? * *factor as f64;
    (product < u64::MAX as f64).then_some(product.round() as u64)
}

fn show(number: u64, zero_unit: &str, units: &[(&str, u64)]) -> String {
    let largest = units
        .iter()
        .find(|(_, factor)| number != 0 && number.is_multiple_of(*factor));
    match largest {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => format!("{number}{zero_unit}"),
    }
}
