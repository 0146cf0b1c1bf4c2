//! The log of histograms: the format of HdrHistogram's own tools (interval log, version 1.3), with one histogram a
//! second under the tags `produce` and `end-to-end`. The warm-up is left out.

use std::io::{self, Write};

use crate::measure::Measurements;
use crate::measure::histogram::Compact;

/// Tag of latencies from due to acknowledged.
pub const PRODUCE: &str = "produce";
/// Tag of latencies from due to consumed.
pub const END_TO_END: &str = "end-to-end";

/// The longest latency of an interval stands in the log in milliseconds, by custom; histograms are in nanoseconds.
const NS_PER_MS: f64 = 1e6;

/// Writes the log.
pub fn write(measurements: &Measurements, to: &mut impl Write) -> io::Result<()> {
    let started_s = measurements.started_unix_ms as f64 / 1e3;
    writeln!(to, "#[Latencies in nanoseconds, by corelog-loadgen]")?;
    writeln!(to, "#[Histogram log format version 1.3]")?;
    writeln!(to, "#[StartTime: {started_s:.3} (seconds since epoch)]")?;
    writeln!(to, "#[BaseTime: {started_s:.3} (seconds since epoch)]")?;
    writeln!(to, "#[MaxValueDivisor: {NS_PER_MS:.3}]")?;
    writeln!(
        to,
        r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#
    )?;
    let counted = measurements
        .intervals
        .iter()
        .filter(|&(&number, _)| !measurements.plan.is_warm_up(number));
    for (&number, interval) in counted {
        let start_s = measurements.plan.interval_start_ns(number) as f64 / 1e9;
        let length_s = measurements.interval_length_ns(number) as f64 / 1e9;
        let mut line = |tag: &str, latency: &Compact| -> io::Result<()> {
            if latency.is_empty() {
                return Ok(());
            }
            let max_ms = latency.max_ns() as f64 / NS_PER_MS;
            let histogram = latency.base64();
            writeln!(
                to,
                "Tag={tag},{start_s:.3},{length_s:.3},{max_ms:.3},{histogram}"
            )
        };
        line(PRODUCE, &interval.produce_latency)?;
        line(END_TO_END, &interval.end_to_end_latency)?;
    }
    Ok(())
}
