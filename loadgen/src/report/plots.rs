//! Which plots there are of a run, and the table of what each shows.

use super::figures::{CurvePoint, Figures, Latency, LatencySecond, Second};
use super::format;
use super::svg::{Axis, Line, Plot};

/// More points than that, nobody sees.
const POINTS_MAX: usize = 600;
/// More rows than that, nobody reads.
const ROWS_MAX: usize = 24;
/// Shorter intervals, at the ends of a run, have no rate to speak of.
const RATE_LENGTH_S_MIN: f64 = 0.2;

/// A plot and a table of the same.
pub(super) struct Picture {
    pub plot: Plot,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Some seconds of a run in one point: rates are their mean, all else is the worst of them.
struct Bin {
    middle_s: f64,
    start_s: f64,
    length_s: f64,
    intended_per_s: f64,
    produced_per_s: f64,
    consumed_per_s: f64,
    errors_per_s: f64,
    lateness_max_ns: u64,
    lag_records: Option<u64>,
    produce: Option<LatencySecond>,
    end_to_end: Option<LatencySecond>,
}

type OfBin = dyn Fn(&Bin) -> Option<f64>;

/// What can be drawn over time.
struct Series {
    name: &'static str,
    value: Box<OfBin>,
    text: fn(f64) -> String,
}

/// All plots that there is something to show in.
pub(super) fn pictures(figures: &Figures) -> Vec<Picture> {
    let all = [
        rates(figures),
        latency(
            figures,
            "produce-latency",
            "Produce latency over time",
            |bin| bin.produce,
            figures.produce_latency_ns,
        ),
        latency(
            figures,
            "end-to-end-latency",
            "End-to-end latency over time",
            |bin| bin.end_to_end,
            figures.end_to_end_latency_ns,
        ),
        curves(figures),
        lag(figures),
        lateness(figures),
        errors(figures),
    ];
    let has_lines = |picture: &Picture| !picture.plot.lines.is_empty();
    all.into_iter().filter(has_lines).collect()
}

fn rates(figures: &Figures) -> Picture {
    let series = [
        Series {
            name: "intended",
            value: Box::new(|bin| bin.rate(bin.intended_per_s)),
            text: format::rate,
        },
        Series {
            name: "produced",
            value: Box::new(|bin| bin.rate(bin.produced_per_s)),
            text: format::rate,
        },
        Series {
            name: "consumed",
            value: Box::new(|bin| bin.rate(bin.consumed_per_s)),
            text: format::rate,
        },
    ];
    let mut picture = over_time(figures, "rate", "Rate over time", &series, |_, max| {
        Axis::linear("records/s", max, format::short)
    });
    picture.plot.description = format!(
        "Produced {} records/s and consumed {} records/s on average.",
        format::rate(figures.produced.records_per_s),
        format::rate(figures.consumed.records_per_s),
    );
    picture
}

fn latency(
    figures: &Figures,
    id: &'static str,
    title: &'static str,
    of: fn(&Bin) -> Option<LatencySecond>,
    whole: Latency,
) -> Picture {
    let part = |name, value: fn(LatencySecond) -> u64| Series {
        name,
        value: Box::new(move |bin| of(bin).map(|latency| value(latency) as f64)),
        text: format::time,
    };
    let series = [
        part("p50", |latency| latency.p50),
        part("p99", |latency| latency.p99),
        part("p99.9", |latency| latency.p999),
        part("max", |latency| latency.max),
    ];
    let mut picture = over_time(figures, id, title, &series, latency_axis);
    picture.plot.description = latency_sentence(whole);
    picture
}

fn lag(figures: &Figures) -> Picture {
    let series = [Series {
        name: "lag",
        value: Box::new(|bin| bin.lag_records.map(|lag| lag as f64)),
        text: format::rate,
    }];
    let title = "Lag of consumers over time";
    let mut picture = over_time(figures, "lag", title, &series, |_, max| {
        Axis::linear("records", max, format::short)
    });
    if let Some(lag) = figures.lag {
        picture.plot.description = format!(
            "Consumers were {} records behind at the most, {} at the end.",
            format::count(lag.max_records),
            format::count(lag.last_records),
        );
    }
    picture
}

fn lateness(figures: &Figures) -> Picture {
    let series = [Series {
        name: "latest",
        value: Box::new(|bin| Some(bin.lateness_max_ns as f64)),
        text: format::time,
    }];
    let title = "How late the generator made records";
    let mut picture = over_time(figures, "lateness", title, &series, lateness_axis);
    picture.plot.description = latency_sentence(figures.lateness_ns);
    picture
}

fn errors(figures: &Figures) -> Picture {
    let series = [Series {
        name: "errors",
        value: Box::new(|bin| bin.rate(bin.errors_per_s)),
        text: format::digits,
    }];
    let mut picture = over_time(figures, "errors", "Errors over time", &series, |_, max| {
        Axis::linear("errors/s", max, format::short)
    });
    let total = format::count(figures.errors.total);
    picture.plot.description = format!("{total} errors after the warm-up.");
    picture
}

/// Latency against 1/(1 - p), as HdrHistogram's tools draw it.
fn curves(figures: &Figures) -> Picture {
    let kinds = [
        (
            "produce",
            &figures.produce_latency_curve,
            figures.produce_latency_ns.count,
        ),
        (
            "end-to-end",
            &figures.end_to_end_latency_curve,
            figures.end_to_end_latency_ns.count,
        ),
    ];
    let lines = kinds.into_iter().enumerate();
    let lines = lines.map(|(at, (name, points, count))| Line {
        name: name.to_owned(),
        color: at,
        dash: at,
        points: points
            .iter()
            .map(|point| curve_point(point, count))
            .collect(),
    });
    let lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
    let (min, max) = bounds(&lines);
    let furthest = lines.iter().flat_map(|line| &line.points);
    let furthest = furthest.map(|point| point.0).fold(1.0, f64::max);
    let columns = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let title = "Latency by percentile";
    Picture {
        plot: Plot {
            id: "percentiles",
            title,
            description: latency_sentence(figures.produce_latency_ns),
            x: Axis::percentiles("part of all records that took no longer", furthest),
            y: latency_axis(min, max),
            lines,
            shaded_to: 0.0,
        },
        columns: std::iter::once("latency, ms")
            .chain(columns)
            .map(str::to_owned)
            .collect(),
        rows: super::table::latency_rows(figures),
    }
}

/// The last point, of the longest of all, has no place on the scale; it stands where the last but one would.
fn curve_point(point: &CurvePoint, count: u64) -> (f64, Option<f64>) {
    let left = (1.0 - point.quantile).max(1.0 / count.max(1) as f64);
    (1.0 / left, Some(point.latency_ns as f64))
}

fn over_time(
    figures: &Figures,
    id: &'static str,
    title: &'static str,
    series: &[Series],
    y: impl Fn(f64, f64) -> Axis,
) -> Picture {
    let seconds = &figures.seconds;
    let drawn = bins(seconds, POINTS_MAX);
    let told = bins(seconds, ROWS_MAX);
    let mut lines = Vec::new();
    let mut columns = vec!["from".to_owned()];
    let starts = told.iter().map(|bin| format::clock(bin.start_s as u64));
    let mut rows: Vec<Vec<String>> = starts.map(|start| vec![start]).collect();
    for (at, series) in series.iter().enumerate() {
        let points: Vec<_> = drawn
            .iter()
            .map(|bin| (bin.middle_s, (series.value)(bin)))
            .collect();
        // What was never there, such as a rate without consumers, has no line.
        if points.iter().all(|(_, y)| y.is_none_or(|y| y == 0.0)) {
            continue;
        }
        lines.push(Line {
            name: series.name.to_owned(),
            color: at,
            dash: at,
            points,
        });
        columns.push(series.name.to_owned());
        for (row, bin) in rows.iter_mut().zip(&told) {
            row.push((series.value)(bin).map_or("-".to_owned(), series.text));
        }
    }
    let (min, max) = bounds(&lines);
    let end_s = seconds
        .last()
        .map_or(0.0, |last| last.start_s + last.length_s);
    Picture {
        plot: Plot {
            id,
            title,
            description: String::new(),
            x: Axis::time("time since the start", end_s),
            y: y(min, max),
            lines,
            shaded_to: figures.warm_up_s,
        },
        columns,
        rows,
    }
}

/// Seconds put together, into no more than so many bins.
fn bins(seconds: &[Second], bins_max: usize) -> Vec<Bin> {
    let step = seconds.len().div_ceil(bins_max).max(1);
    seconds.chunks(step).map(Bin::of).collect()
}

impl Bin {
    fn of(seconds: &[Second]) -> Self {
        let length_s: f64 = seconds.iter().map(|second| second.length_s).sum();
        let per_s = |count: fn(&Second) -> u64| {
            let sum: u64 = seconds.iter().map(count).sum();
            if length_s > 0.0 {
                sum as f64 / length_s
            } else {
                0.0
            }
        };
        let start_s = seconds.first().map_or(0.0, |second| second.start_s);
        Self {
            middle_s: start_s + length_s / 2.0,
            start_s,
            length_s,
            intended_per_s: per_s(|second| second.intended_records),
            produced_per_s: per_s(|second| second.produced_records),
            consumed_per_s: per_s(|second| second.consumed_records),
            errors_per_s: per_s(|second| second.errors),
            lateness_max_ns: seconds
                .iter()
                .map(|second| second.lateness_max_ns)
                .max()
                .unwrap_or(0),
            lag_records: seconds.iter().filter_map(|second| second.lag_records).max(),
            produce: worst(
                seconds
                    .iter()
                    .filter_map(|second| second.produce_latency_ns),
            ),
            end_to_end: worst(
                seconds
                    .iter()
                    .filter_map(|second| second.end_to_end_latency_ns),
            ),
        }
    }

    fn rate(&self, per_s: f64) -> Option<f64> {
        (self.length_s >= RATE_LENGTH_S_MIN).then_some(per_s)
    }
}

fn worst(latencies: impl Iterator<Item = LatencySecond>) -> Option<LatencySecond> {
    latencies.reduce(|one, other| LatencySecond {
        p50: one.p50.max(other.p50),
        p90: one.p90.max(other.p90),
        p99: one.p99.max(other.p99),
        p999: one.p999.max(other.p999),
        max: one.max.max(other.max),
    })
}

fn latency_axis(min: f64, max: f64) -> Axis {
    Axis::log("latency", min, max, format::time)
}

fn lateness_axis(min: f64, max: f64) -> Axis {
    Axis::log("later than due", min, max, format::time)
}

/// The lowest and the highest y above 0.
fn bounds(lines: &[Line]) -> (f64, f64) {
    let values = lines
        .iter()
        .flat_map(|line| &line.points)
        .filter_map(|point| point.1);
    let values = values.filter(|&value| value > 0.0);
    let (min, max) = values.fold((f64::INFINITY, 0.0_f64), |(min, max), value| {
        (min.min(value), max.max(value))
    });
    (if min.is_finite() { min } else { 0.0 }, max)
}

fn latency_sentence(latency: Latency) -> String {
    let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(|ns| format::time(ns as f64));
    format!("Over the whole run: p50 {p50}, p99 {p99}, at most {max}.")
}
