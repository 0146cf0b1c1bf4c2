//! Recorded rates: a text file with a time and a rate in each line.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::fault::{Fault, Place};
use super::settings::RATE_MAX;
use super::units::{TimeUnit, parse_number, parse_time};

/// Of a trace.
const POINTS_MAX: usize = 1_000_000;

/// No shorter time lies between two points.
const DISTANCE_MIN: Duration = Duration::from_millis(1);

/// Reads a file of lines such as `0s 1000` or `0,1000`: a time since the beginning of the trace, in seconds unless a
/// unit is given, and records a second from then on. Blank lines and what follows a `#` don't count.
pub(super) fn read(path: &Path) -> Result<Vec<(Duration, f64)>, Vec<Fault>> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        vec![Fault {
            place: Place::File(file.clone()),
            problem: format!("the trace cannot be read: {error}"),
        }]
    })?;
    let mut points = Vec::new();
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match point(line.split_once([',', ' ', '\t']), points.last()) {
            Ok(point) => points.push(point),
            Err(problem) => faults.push(Fault {
                place: Place::Line {
                    file: file.clone(),
                    line: at + 1,
                },
                problem: format!("`{line}`: {problem}"),
            }),
        }
    }
    if faults.is_empty()
        && let Err(problem) = check(&points)
    {
        faults.push(Fault {
            place: Place::File(file),
            problem,
        });
    }
    if faults.is_empty() {
        Ok(points)
    } else {
        Err(faults)
    }
}

/// Points such as `0s:1000`.
pub(super) fn parse(points: &[String]) -> Result<Vec<(Duration, f64)>, String> {
    let mut read = Vec::new();
    for text in points {
        let next = point(text.split_once(':'), read.last());
        read.push(next.map_err(|problem| format!("`{text}`: {problem}"))?);
    }
    check(&read)?;
    Ok(read)
}

fn point(
    parts: Option<(&str, &str)>,
    before: Option<&(Duration, f64)>,
) -> Result<(Duration, f64), String> {
    let parsed = parts.and_then(|(time, rate)| {
        let time = parse_time(time, TimeUnit::Seconds)?;
        let rate = parse_number(rate).filter(|rate| *rate <= RATE_MAX)?;
        Some((time, rate))
    });
    let (time, rate) = parsed.ok_or_else(|| {
        format!("must be a time and a rate from 0 to {RATE_MAX} records a second")
    })?;
    match before {
        None if !time.is_zero() => Err("the first time must be 0".into()),
        Some((before, _)) if time < *before + DISTANCE_MIN => {
            Err("must be at least 1ms after the time before it".into())
        }
        _ => Ok((time, rate)),
    }
}

fn check(points: &[(Duration, f64)]) -> Result<(), String> {
    if points.is_empty() || points.len() > POINTS_MAX {
        return Err(format!(
            "a trace must have from 1 to {POINTS_MAX} times with their rates"
        ));
    }
    Ok(())
}
