//! Numbers as people read them.

/// Milliseconds with three decimals, for columns.
pub(super) fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

/// A time with the unit that suits it, for axes and text: three digits at most.
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// At most three digits, and no zeros at the end of a fraction.
pub(super) fn digits(value: f64) -> String {
    let text = match value.abs() {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A whole number in groups of three.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate without its fraction, in groups of three.
pub fn rate(per_second: f64) -> String {
    count(per_second.round() as u64)
}

/// Millions with two decimals: bytes become MB.
pub(super) fn millions(number: f64) -> String {
    format!("{:.2}", number / 1e6)
}

/// A large number with a letter, for axes: 1.5 M.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 1e9 => format!("{} G", digits(number / 1e9)),
        n if n >= 1e6 => format!("{} M", digits(number / 1e6)),
        n if n >= 1e3 => format!("{} k", digits(number / 1e3)),
        _ => digits(number),
    }
}

/// A part from 0 to 1 in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", digits(share * 100.0))
}

/// A part of all, as a percentile: 0.999 is 99.9 %.
pub(super) fn percentile(quantile: f64) -> String {
    let text = format!("{:.9}", quantile * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Hours, minutes and seconds: `1:02:03`, `2:03`.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
