//! Latency against rate: what a search has measured, as `plan` and programs read it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::search::{Bound, Purpose, Shown};
use crate::measure::Level;
use crate::report::{Figures, FlowFigures, Host, Latency};

/// What the file says it is.
const KIND: &str = "corelog-loadgen limit";
/// Changes whenever an older reader would read it wrongly.
const FORMAT: u32 = 2;
/// Fewer points have no knee to speak of.
const KNEE_POINTS_MIN: usize = 4;
/// Nor does latency that does not rise to so many times its lowest.
const KNEE_RISE_MIN: f64 = 2.0;

/// The outcome of a search. Names carry their units; a later version adds names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Tells this file from others.
    pub kind: String,
    /// Version of its format.
    pub format: u32,
    /// Version of the generator.
    pub generator: String,
    /// When the search began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What had to be kept.
    pub promise: String,
    /// For so long in each step.
    pub hold_s: f64,
    /// Load before that in each step, which does not count.
    pub settle_s: f64,
    /// Part of the limit by which it may be too low.
    pub precision: f64,
    /// The highest rate that kept the promise; none if none did.
    pub limit: Option<Rate>,
    /// What is above it.
    pub bound: Bound,
    /// From there on, latency rises much faster than the rate.
    pub knee: Option<Rate>,
    /// All this in plain words, a sentence each.
    pub text: Vec<String>,
    /// One for each rate, ascending.
    pub points: Vec<Point>,
    /// All steps in their order.
    pub steps: Vec<Step>,
    /// What was run, by names with units.
    pub workload: BTreeMap<String, serde_json::Value>,
    /// What a planner needs to know of it.
    pub load: Load,
    /// What it was measured on.
    pub node: Node,
    /// The generator's machines.
    pub hosts: Vec<Host>,
}

/// A rate of records, and of the bytes of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub records_per_s: f64,
    pub bytes_per_s: f64,
}

/// One rate; of several steps at it, the one in the middle by the promise's first latency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// That was asked for.
    pub rate: Rate,
    /// That the broker acknowledged.
    pub produced: Rate,
    pub produce_latency_ns: Latency,
    pub end_to_end_latency_ns: Latency,
    /// Whether the search took it for one that keeps the promise; of a rate that it did not decide, whether all of its
    /// steps kept it.
    pub kept: bool,
    /// Whether it broke it because the generator was the limit.
    pub by_generator: bool,
}

/// One try of a rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub purpose: Purpose,
    /// That was asked for.
    pub records_per_s: f64,
    pub produced: FlowFigures,
    /// Bytes of the batches of those: with their headers, and compressed if they are.
    pub produced_wire_bytes: u64,
    pub consumed: FlowFigures,
    pub produce_latency_ns: Latency,
    pub end_to_end_latency_ns: Latency,
    /// How much later than due records were made.
    pub lateness_ns: Latency,
    pub errors: u64,
    /// What the generator says of itself.
    pub generator: Level,
    pub kept: bool,
    /// Why not, in words.
    pub why: Vec<String>,
}

/// The load, as far as a plan depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Mean length of a value.
    pub record_bytes: f64,
    /// Mean bytes that one takes in a batch, on the network and on a disk: with the headers, and compressed if it was.
    #[serde(default)]
    pub wire_record_bytes: f64,
    /// How often each record was read.
    pub fan_out: f64,
    pub replication_factor: f64,
    pub partitions: f64,
}

/// The brokers that were measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// How many there were.
    pub count: f64,
    /// Of each; 0 if nobody said.
    pub cores: f64,
    /// Of each; 0 if nobody said.
    pub memory_bytes: f64,
    /// Of each, in words; empty if nobody said.
    pub disk: String,
    /// Of each, in words; empty if nobody said.
    pub network: String,
    /// The generator ran on the same machine and used a part of it.
    pub is_shared: bool,
}

impl Step {
    /// Of the figures of a run that was to have this rate.
    pub(super) fn of(
        figures: &Figures,
        purpose: Purpose,
        records_per_s: f64,
        why: Vec<String>,
    ) -> Self {
        Self {
            purpose,
            records_per_s,
            produced: figures.produced,
            produced_wire_bytes: figures.produced_wire_bytes,
            consumed: figures.consumed,
            produce_latency_ns: figures.produce_latency_ns,
            end_to_end_latency_ns: figures.end_to_end_latency_ns,
            lateness_ns: figures.lateness_ns,
            errors: figures.errors.total,
            generator: figures.verdict.level,
            kept: why.is_empty(),
            why,
        }
    }

    /// It broke the promise, and the generator was the limit.
    pub fn is_by_generator(&self) -> bool {
        self.shown() == Shown::Generator
    }

    /// What it tells the search.
    pub(super) fn shown(&self) -> Shown {
        match (self.kept, self.generator) {
            (true, _) => Shown::Kept,
            (false, Level::Limit) => Shown::Generator,
            (false, _) => Shown::Broken,
        }
    }
}

/// What a record took in a batch, over all steps; its length if nothing was acknowledged.
pub(super) fn wire_record_bytes(steps: &[Step], record_bytes: f64) -> f64 {
    let records: u64 = steps.iter().map(|step| step.produced.records).sum();
    let bytes: u64 = steps.iter().map(|step| step.produced_wire_bytes).sum();
    match bytes {
        0 => record_bytes,
        bytes => bytes as f64 / records.max(1) as f64,
    }
}

/// The points of steps whose values have that mean length, by rate. `verdict` is what the search found of a rate;
/// `latency` is what the middle step is chosen by.
pub(super) fn points(
    steps: &[Step],
    record_bytes: f64,
    verdict: impl Fn(f64) -> Option<Shown>,
    latency: impl Fn(&Step) -> u64,
) -> Vec<Point> {
    let mut sorted: Vec<&Step> = steps.iter().collect();
    sorted.sort_by(|one, other| {
        let by_rate = one.records_per_s.total_cmp(&other.records_per_s);
        by_rate.then_with(|| latency(one).cmp(&latency(other)))
    });
    let same_rate = |one: &&Step, other: &&Step| one.records_per_s == other.records_per_s;
    let point = |steps: &[&Step]| {
        let middle = steps[(steps.len() - 1) / 2];
        let verdict = verdict(middle.records_per_s).unwrap_or_else(|| {
            let mut shown = steps.iter().map(|step| step.shown());
            shown.find(|it| *it != Shown::Kept).unwrap_or(Shown::Kept)
        });
        let record_bytes = match middle.produced.records {
            0 => record_bytes,
            records => middle.produced.bytes as f64 / records as f64,
        };
        let rate = |records_per_s: f64| Rate {
            records_per_s,
            bytes_per_s: records_per_s * record_bytes,
        };
        Point {
            rate: rate(middle.records_per_s),
            produced: rate(middle.produced.records_per_s),
            produce_latency_ns: middle.produce_latency_ns,
            end_to_end_latency_ns: middle.end_to_end_latency_ns,
            kept: verdict == Shown::Kept,
            by_generator: verdict == Shown::Generator,
        }
    };
    sorted.chunk_by(same_rate).map(point).collect()
}

/// Where the curve bends most: the point furthest below the straight line from the first one to the last, both axes
/// from 0 to 1 (the Kneedle method). Latency counts as at most that of any higher rate, so that a step which something
/// disturbed makes no knee. None if latency does not really rise.
pub(super) fn knee(points: &[Point], latency: impl Fn(&Point) -> u64) -> Option<Rate> {
    let (first, last) = (points.first()?, points.last()?);
    let mut ns: Vec<f64> = points.iter().map(|point| latency(point) as f64).collect();
    for at in (1..ns.len()).rev() {
        ns[at - 1] = ns[at - 1].min(ns[at]);
    }
    let (least, most) = (*ns.first()?, *ns.last()?);
    if points.len() < KNEE_POINTS_MIN || most < least * KNEE_RISE_MIN {
        return None;
    }
    let width = last.rate.records_per_s - first.rate.records_per_s;
    let below = |(point, ns): (&Point, &f64)| {
        let x = (point.rate.records_per_s - first.rate.records_per_s) / width;
        (x - (ns - least) / (most - least), point.rate)
    };
    let furthest = points
        .iter()
        .zip(&ns)
        .map(below)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    furthest
        .filter(|(depth, _)| *depth > 0.0)
        .map(|(_, rate)| rate)
}

impl Curve {
    /// The mark of a file that this version writes.
    pub(super) fn mark() -> (String, u32) {
        (KIND.to_owned(), FORMAT)
    }

    /// As JSON, to be read by people as well.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and text");
        text.push('\n');
        text
    }

    /// From [`Curve::to_json`]; refuses what cannot have been measured.
    pub fn from_json(text: &str) -> Result<Self> {
        let curve: Self =
            serde_json::from_str(text).context("is no curve of find-limit, or is damaged")?;
        ensure!(
            curve.kind == KIND && curve.format == FORMAT,
            "is a `{}` of format {}, and not a `{KIND}` of format {FORMAT}",
            curve.kind,
            curve.format
        );
        let is_rate = |rate: Rate| {
            [rate.records_per_s, rate.bytes_per_s]
                .iter()
                .all(|rate| rate.is_finite() && *rate > 0.0)
        };
        ensure!(
            curve.points.iter().all(|point| is_rate(point.rate)),
            "is damaged: it has a point without a rate"
        );
        let rates = curve.points.iter().map(|point| point.rate.records_per_s);
        ensure!(
            rates.is_sorted_by(|one, other| one < other),
            "is damaged: its points are not in the order of their rates"
        );
        ensure!(
            curve.limit.is_none_or(is_rate),
            "is damaged: its limit is not above zero"
        );
        let Load {
            record_bytes,
            wire_record_bytes,
            fan_out,
            replication_factor,
            ..
        } = curve.load;
        let is_possible = |number: f64, least: f64| number.is_finite() && number >= least;
        ensure!(
            is_possible(record_bytes, 1.0)
                && is_possible(wire_record_bytes, f64::MIN_POSITIVE)
                && is_possible(fan_out, 0.0)
                && is_possible(replication_factor, 1.0)
                && is_possible(curve.node.count, 1.0)
                && is_possible(curve.node.cores, 0.0)
                && is_possible(curve.node.memory_bytes, 0.0),
            "is damaged: its load or its node is not possible"
        );
        Ok(curve)
    }
}
