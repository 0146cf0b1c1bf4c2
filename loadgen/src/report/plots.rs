//! Which plots there are of a run, or of two over each other, and the table of what each shows.

use super::figures::{CurvePoint, Figures, LatencySecond, Second};
use super::format;
use super::svg::{Axis, Line, Plot};

/// More points than that, nobody sees.
const POINTS_MAX: usize = 600;
/// More rows than that, nobody reads.
const ROWS_MAX: usize = 24;
/// Shorter intervals, at the ends of a run, have no rate to speak of.
const RATE_LENGTH_S_MIN: f64 = 0.2;

/// A run under the name that it has in the plot: none if it is the only one.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub name: &'a str,
    pub figures: &'a Figures,
}

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

type OfBin = fn(&Bin) -> Option<f64>;

/// What can be drawn over time.
struct Series {
    name: &'static str,
    value: OfBin,
    text: fn(f64) -> String,
}

/// All plots that there is something to show in.
pub(super) fn pictures(runs: &[Run<'_>]) -> Vec<Picture> {
    let all = [
        rates(runs),
        produce_latency(runs),
        end_to_end_latency(runs),
        curves(runs),
        lag(runs),
        lateness(runs),
        errors(runs),
    ];
    let has_lines = |picture: &Picture| !picture.plot.lines.is_empty();
    all.into_iter().filter(has_lines).collect()
}

fn rates(runs: &[Run<'_>]) -> Picture {
    let series = [
        Series {
            name: "intended",
            value: |bin| bin.rate(bin.intended_per_s),
            text: format::rate,
        },
        Series {
            name: "produced",
            value: |bin| bin.rate(bin.produced_per_s),
            text: format::rate,
        },
        Series {
            name: "consumed",
            value: |bin| bin.rate(bin.consumed_per_s),
            text: format::rate,
        },
    ];
    let mut picture = over_time(runs, "rate", "Rate over time", &series, |_, max| {
        Axis::linear("records/s", max, format::short)
    });
    let sentences = runs.iter().map(|run| {
        let figures = run.figures;
        format!(
            "{}Produced {} records/s and consumed {} records/s on average.",
            prefix(run),
            format::rate(figures.produced.records_per_s),
            format::rate(figures.consumed.records_per_s),
        )
    });
    picture.plot.description = sentences.collect::<Vec<_>>().join(" ");
    picture
}

fn produce_latency(runs: &[Run<'_>]) -> Picture {
    let series = latency_series([
        |bin| Some(bin.produce?.p50 as f64),
        |bin| Some(bin.produce?.p99 as f64),
        |bin| Some(bin.produce?.p999 as f64),
        |bin| Some(bin.produce?.max as f64),
    ]);
    let title = "Produce latency over time";
    let mut picture = over_time(runs, "produce-latency", title, &series, latency_axis);
    picture.plot.description = latency_sentences(runs, |run| run.figures.produce_latency_ns);
    picture
}

fn end_to_end_latency(runs: &[Run<'_>]) -> Picture {
    let series = latency_series([
        |bin| Some(bin.end_to_end?.p50 as f64),
        |bin| Some(bin.end_to_end?.p99 as f64),
        |bin| Some(bin.end_to_end?.p999 as f64),
        |bin| Some(bin.end_to_end?.max as f64),
    ]);
    let title = "End-to-end latency over time";
    let mut picture = over_time(runs, "end-to-end-latency", title, &series, latency_axis);
    picture.plot.description = latency_sentences(runs, |run| run.figures.end_to_end_latency_ns);
    picture
}

fn lag(runs: &[Run<'_>]) -> Picture {
    let series = [Series {
        name: "lag",
        value: |bin| bin.lag_records.map(|lag| lag as f64),
        text: format::rate,
    }];
    let mut picture = over_time(
        runs,
        "lag",
        "Lag of consumers over time",
        &series,
        |_, max| Axis::linear("records", max, format::short),
    );
    let sentences = runs.iter().filter_map(|run| {
        let lag = run.figures.lag?;
        Some(format!(
            "{}Consumers were {} records behind at the most, {} at the end.",
            prefix(run),
            format::count(lag.max_records),
            format::count(lag.last_records),
        ))
    });
    picture.plot.description = sentences.collect::<Vec<_>>().join(" ");
    picture
}

fn lateness(runs: &[Run<'_>]) -> Picture {
    let series = [Series {
        name: "latest",
        value: |bin| Some(bin.lateness_max_ns as f64),
        text: format::time,
    }];
    let title = "How late requests left the generator";
    let mut picture = over_time(runs, "lateness", title, &series, lateness_axis);
    picture.plot.description = latency_sentences(runs, |run| run.figures.lateness_ns);
    picture
}

fn errors(runs: &[Run<'_>]) -> Picture {
    let series = [Series {
        name: "errors",
        value: |bin| bin.rate(bin.errors_per_s),
        text: format::digits,
    }];
    let mut picture = over_time(runs, "errors", "Errors over time", &series, |_, max| {
        Axis::linear("errors/s", max, format::short)
    });
    let sentences = runs.iter().map(|run| {
        let total = format::count(run.figures.errors.total);
        format!("{}{total} errors after the warm-up.", prefix(run))
    });
    picture.plot.description = sentences.collect::<Vec<_>>().join(" ");
    picture
}

/// Latency against 1/(1 - p), as HdrHistogram's tools draw it.
fn curves(runs: &[Run<'_>]) -> Picture {
    type OfRun = (&'static str, fn(&Figures) -> (&[CurvePoint], u64));
    let kinds: [OfRun; 2] = [
        ("produce", |figures| {
            (
                &figures.produce_latency_curve,
                figures.produce_latency_ns.count,
            )
        }),
        ("end-to-end", |figures| {
            let count = figures.end_to_end_latency_ns.count;
            (&figures.end_to_end_latency_curve, count)
        }),
    ];
    let mut lines = Vec::new();
    for (kind_at, (kind, curve)) in kinds.into_iter().enumerate() {
        for (run_at, run) in runs.iter().enumerate() {
            let (points, count) = curve(run.figures);
            if !points.is_empty() {
                lines.push(Line {
                    name: name(run, kind),
                    color: if runs.len() > 1 { run_at } else { kind_at },
                    dash: kind_at,
                    points: points
                        .iter()
                        .map(|point| curve_point(point, count))
                        .collect(),
                });
            }
        }
    }
    let (min, max) = bounds(&lines);
    let furthest = lines.iter().flat_map(|line| &line.points);
    let furthest = furthest.map(|point| point.0).fold(1.0, f64::max);
    let columns = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let mut rows = Vec::new();
    for run in runs {
        for (kind, latency) in super::table::latencies(run.figures) {
            let mut row = vec![name(run, kind)];
            row.extend(super::table::columns(latency));
            rows.push(row);
        }
    }
    let title = "Latency by percentile";
    Picture {
        plot: Plot {
            id: "percentiles",
            title,
            description: latency_sentences(runs, |run| run.figures.produce_latency_ns),
            x: Axis::percentiles("part of all records that took no longer", furthest),
            y: latency_axis(min, max),
            lines,
            shaded_to: 0.0,
        },
        columns: std::iter::once("latency, ms")
            .chain(columns)
            .map(str::to_owned)
            .collect(),
        rows,
    }
}

/// The last point, of the longest of all, has no place on the scale; it stands where the last but one would.
fn curve_point(point: &CurvePoint, count: u64) -> (f64, Option<f64>) {
    let left = (1.0 - point.quantile).max(1.0 / count.max(1) as f64);
    (1.0 / left, Some(point.latency_ns as f64))
}

fn over_time(
    runs: &[Run<'_>],
    id: &'static str,
    title: &'static str,
    series: &[Series],
    y: impl Fn(f64, f64) -> Axis,
) -> Picture {
    let mut lines = Vec::new();
    let mut columns = vec!["from".to_owned()];
    let mut rows = table_times(runs);
    let step = table_step(runs);
    for (run_at, run) in runs.iter().enumerate() {
        let drawn = bins(&run.figures.seconds, points_step(runs));
        let told = bins(&run.figures.seconds, step);
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
                name: name(run, series.name),
                color: if runs.len() > 1 { run_at } else { at },
                dash: at,
                points,
            });
            columns.push(name(run, series.name));
            for (row_at, row) in rows.iter_mut().enumerate() {
                let value = told.get(row_at).and_then(series.value);
                row.push(value.map_or("-".to_owned(), series.text));
            }
        }
    }
    let (min, max) = bounds(&lines);
    let ends = runs.iter().filter_map(|run| run.figures.seconds.last());
    let end_s = ends
        .map(|last| last.start_s + last.length_s)
        .fold(0.0, f64::max);
    Picture {
        plot: Plot {
            id,
            title,
            description: String::new(),
            x: Axis::time("time since the start", end_s),
            y: y(min, max),
            lines,
            shaded_to: runs
                .iter()
                .map(|run| run.figures.warm_up_s)
                .fold(0.0, f64::max),
        },
        columns,
        rows,
    }
}

/// The first column of a table over time: when the seconds of a row begin, in the run that went on for longest.
fn table_times(runs: &[Run<'_>]) -> Vec<Vec<String>> {
    let longest = runs.iter().max_by_key(|run| run.figures.seconds.len());
    let bins = longest.map(|run| bins(&run.figures.seconds, table_step(runs)));
    let starts = bins.into_iter().flatten().map(|bin| bin.start_s);
    starts
        .map(|start_s| vec![format::clock(start_s as u64)])
        .collect()
}

fn table_step(runs: &[Run<'_>]) -> usize {
    step(runs, ROWS_MAX)
}

fn points_step(runs: &[Run<'_>]) -> usize {
    step(runs, POINTS_MAX)
}

/// How many seconds make up one bin, alike in all runs, if there are to be no more than so many bins.
fn step(runs: &[Run<'_>], bins_max: usize) -> usize {
    let longest = runs.iter().map(|run| run.figures.seconds.len()).max();
    longest.unwrap_or(0).div_ceil(bins_max).max(1)
}

fn bins(seconds: &[Second], step: usize) -> Vec<Bin> {
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

fn latency_series(values: [OfBin; 4]) -> Vec<Series> {
    let names = ["p50", "p99", "p99.9", "max"];
    let series = names.into_iter().zip(values);
    series
        .map(|(name, value)| Series {
            name,
            value,
            text: format::time,
        })
        .collect()
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

fn latency_sentences(runs: &[Run<'_>], of: fn(&Run<'_>) -> super::figures::Latency) -> String {
    let sentences = runs.iter().map(|run| {
        let latency = of(run);
        let [p50, p99, max] =
            [latency.p50, latency.p99, latency.max].map(|ns| format::time(ns as f64));
        format!(
            "{}Over the whole run: p50 {p50}, p99 {p99}, at most {max}.",
            prefix(run)
        )
    });
    sentences.collect::<Vec<_>>().join(" ")
}

fn name(run: &Run<'_>, name: &str) -> String {
    match run.name {
        "" => name.to_owned(),
        run => format!("{run} {name}"),
    }
}

fn prefix(run: &Run<'_>) -> String {
    match run.name {
        "" => String::new(),
        run => format!("{run}: "),
    }
}
