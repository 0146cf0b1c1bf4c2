//! The highest rate that keeps a promise of latency, and the curve of latency against rate.
//!
//! [`find`] runs a workload at one rate after the other, which a [`Search`] chooses. Each step has load that settles,
//! then load that counts for the time the promise has to hold, then waits until all is answered and read.

mod curve;
mod promise;
mod search;

#[cfg(test)]
mod tests;

use anyhow::{Result, ensure};

pub use curve::{Curve, Load, Node, Point, Rate, Step};
pub use promise::{GRAMMAR, Part, Path, Promise, Term};
pub use search::{Bound, Purpose, Range, Search, Shown};

use crate::client::Client;
use crate::measure::{Judgement, Level};
use crate::report::{self, Figures, Latency};
use crate::workload::{self, Load as WorkloadLoad, Shape, Workload};

/// Parts of the limit that the curve has a point at.
const CURVE_PARTS: [f64; 6] = [0.1, 0.25, 0.5, 0.75, 0.9, 1.1];
/// A measured rate stands for those that are so near, as a part of them.
const CURVE_NEAR: f64 = 0.08;
/// Part of the asked rate that must be acknowledged, and of that, read.
const ACHIEVED_MIN: f64 = 0.98;

/// What is searched for, and on what.
#[derive(Clone, Debug)]
pub struct Settings {
    pub promise: Promise,
    pub range: Range,
    /// For the planner.
    pub node: Node,
    /// Milliseconds since 1970.
    pub started_unix_ms: u64,
}

/// The workload at a constant rate, if it can have one.
///
/// # Errors
/// With a shape of rates or a backlog, or a promise about consumers that it has not.
pub fn at_rate(workload: &Workload, promise: &Promise, rate: f64) -> Result<Workload, String> {
    let shape = match &workload.load {
        WorkloadLoad::Open(Shape::Poisson(_)) => Shape::Poisson(rate),
        WorkloadLoad::Open(Shape::Constant(_)) | WorkloadLoad::Max => Shape::Constant(rate),
        WorkloadLoad::Open(_) => {
            return Err(
                "find-limit sets the rate itself: the workload may have a rate, and no ramp, steps, bursts or trace"
                    .into(),
            );
        }
    };
    if workload.consumers.backlog_bytes > 0 {
        return Err("find-limit looks for a steady state: the workload may have no backlog".into());
    }
    if promise.needs_consumers() && workload.consumers.count == 0 {
        return Err("a promise of end-to-end latency needs at least 1 consumer".into());
    }
    Ok(Workload {
        load: WorkloadLoad::Open(shape),
        ..workload.clone()
    })
}

/// A step deletes its topics when it is over: refuses those that it would not have made.
///
/// # Errors
/// If one exists, or the broker does not tell.
pub fn refuse_existing(client: &mut Client, workload: &Workload) -> Result<()> {
    let existing = client.existing(&workload.topics.names())?;
    ensure!(
        existing.is_empty(),
        "topic {} exists, and would be deleted after the step; choose another --topic",
        existing.join(", ")
    );
    Ok(())
}

/// Searches. `run` is given the rate of a step and returns its figures, or `None` to end the search with what there is.
/// `told` hears of each step. Of the curve, replication factor and hosts are for the caller to fill in.
pub fn find(
    workload: &Workload,
    settings: &Settings,
    mut run: impl FnMut(f64) -> Result<Option<Figures>>,
    mut told: impl FnMut(&Step),
) -> Result<Curve> {
    let mut search = Search::new(settings.range);
    let mut steps: Vec<Step> = Vec::new();
    let mut try_rate = |rate, purpose, steps: &mut Vec<Step>| -> Result<Option<Shown>> {
        let Some(figures) = run(rate)? else {
            return Ok(None);
        };
        let why = broken_by(workload, &settings.promise, &figures);
        let step = Step::of(&figures, purpose, rate, why);
        told(&step);
        let shown = step.shown();
        steps.push(step);
        Ok(Some(shown))
    };
    let mut is_over = false;
    while let Some((rate, purpose)) = search.next_rate() {
        let Some(shown) = try_rate(rate, purpose, &mut steps)? else {
            is_over = true;
            break;
        };
        search.record(shown);
    }
    let bound = search.bound();
    for rate in missing(search.limit(), settings.range, &steps) {
        if is_over || try_rate(rate, Purpose::Curve, &mut steps)?.is_none() {
            break;
        }
    }
    Ok(of_steps(workload, settings, &search, bound, steps))
}

/// Why a run did not keep the promise; empty if it did.
fn broken_by(workload: &Workload, promise: &Promise, figures: &Figures) -> Vec<String> {
    let mut why = promise.broken_by(figures);
    let (intended, produced) = (figures.intended, figures.produced);
    if is_behind(produced.records, intended.records) {
        why.push(format!(
            "only {} of {} records/s were acknowledged",
            report::rate(produced.records_per_s),
            report::rate(intended.records_per_s)
        ));
    }
    let sets = workload.consumers.sets();
    if is_behind(figures.consumed.records, produced.records * sets as u64) {
        why.push(format!(
            "only {} of {} records/s were read",
            report::rate(figures.consumed.records_per_s),
            report::rate(produced.records_per_s * sets as f64)
        ));
    }
    if figures.errors.total > 0 {
        let names: Vec<&str> = figures.errors.by_name.keys().map(String::as_str).collect();
        why.push(format!(
            "{} errors ({})",
            figures.errors.total,
            names.join(", ")
        ));
    }
    match figures.verification.map(|found| found.judgement()) {
        None | Some(Judgement::Whole) => {}
        Some(Judgement::Unread) => why.push("not all records could be read".into()),
        Some(Judgement::Broken) => {
            why.push("records were lost, repeated, reordered or corrupted".into());
        }
    }
    why
}

/// Whether so many fewer records came than should have that it is not for those on their way at the ends of the time.
fn is_behind(came: u64, should: u64) -> bool {
    let should = should as f64;
    let on_the_way = 3.0 * should.sqrt();
    (came as f64) < should * ACHIEVED_MIN - on_the_way
}

/// Rates that the curve has no point near.
fn missing(limit: Option<f64>, range: Range, steps: &[Step]) -> Vec<f64> {
    let is_missing = |rate: &f64| {
        let is_near = |step: &Step| (step.records_per_s / rate - 1.0).abs() < CURVE_NEAR;
        (range.least..=range.most).contains(rate) && !steps.iter().any(is_near)
    };
    let rates = CURVE_PARTS.map(|part| limit.map(|limit| limit * part));
    rates.into_iter().flatten().filter(is_missing).collect()
}

fn of_steps(
    workload: &Workload,
    settings: &Settings,
    search: &Search,
    bound: Bound,
    steps: Vec<Step>,
) -> Curve {
    let term = settings.promise.terms()[0];
    let first = |produce: &Latency, end_to_end: &Latency| {
        term.part.of(match term.path {
            Path::Produce => produce,
            Path::EndToEnd => end_to_end,
        })
    };
    let record_bytes = workload.records.sizes.mean();
    let points = curve::points(
        &steps,
        record_bytes,
        |rate| search.verdict(rate),
        |step| first(&step.produce_latency_ns, &step.end_to_end_latency_ns),
    );
    let knee = curve::knee(&points, |point| {
        first(&point.produce_latency_ns, &point.end_to_end_latency_ns)
    });
    let limit = search.limit().and_then(|limit| {
        let at = points
            .iter()
            .find(|point| point.rate.records_per_s == limit);
        at.map(|point| point.rate)
    });
    let wire_record_bytes = curve::wire_record_bytes(&steps, record_bytes);
    let (kind, format) = Curve::mark();
    let mut curve = Curve {
        kind,
        format,
        generator: env!("CARGO_PKG_VERSION").to_owned(),
        started_unix_ms: settings.started_unix_ms,
        promise: settings.promise.to_string(),
        hold_s: workload.duration.as_secs_f64(),
        settle_s: workload.warm_up.as_secs_f64(),
        precision: settings.range.precision,
        limit,
        bound,
        knee,
        text: Vec::new(),
        points,
        steps,
        workload: report::workload_values(workload),
        load: Load {
            record_bytes,
            wire_record_bytes,
            fan_out: workload.consumers.sets() as f64,
            partitions: f64::from(workload.topics.count * workload.topics.partitions),
            replication_factor: 1.0,
        },
        node: settings.node.clone(),
        hosts: Vec::new(),
    };
    curve.text = text(&curve, settings.range);
    curve
}

/// What was found, a sentence each.
fn text(curve: &Curve, range: Range) -> Vec<String> {
    let mut text = Vec::new();
    let hold = workload::units::show_time(std::time::Duration::from_secs_f64(curve.hold_s));
    match curve.limit {
        Some(limit) => text.push(format!(
            "{} records/s ({:.2} MB/s) kept {} for {hold}.",
            report::rate(limit.records_per_s),
            limit.bytes_per_s / 1e6,
            curve.promise
        )),
        None => text.push(format!("No rate was seen to keep {}.", curve.promise)),
    }
    let percent = curve.precision * 100.0;
    match curve.bound {
        Bound::Promise => text.push(format!(
            "A rate at most {percent:.0} % higher broke the promise, and did so when tried again."
        )),
        Bound::Generator => text.push(
            "The generator was the limit above that, not the broker, which may do more: give the generator more cores or \
             more machines (--agents)."
                .into(),
        ),
        Bound::Most => text.push(format!(
            "No higher rate was to be tried (--rate-max {}): the broker may do more.",
            range.most
        )),
        Bound::Nothing => text.push(format!(
            "Not even {} records/s kept it, the least rate to be tried (--rate-min).",
            range.least
        )),
        Bound::Interrupted => text.push("The search was ended early: the limit may be higher.".into()),
    }
    let is_disturbed = |step: &Step| step.kept && step.generator == Level::Limit;
    if curve.steps.iter().any(is_disturbed) {
        text.push(
            "In some steps that kept the promise the generator was late or had a full core: their latencies are partly \
             its own, so the broker's are lower."
                .into(),
        );
    }
    if let Some(knee) = curve.knee {
        text.push(format!(
            "The curve has its knee at {} records/s: from there on latency rises much faster than the rate.",
            report::rate(knee.records_per_s)
        ));
    }
    if curve.node.is_shared {
        text.push("The generator ran on the broker's machine and used a part of its cores.".into());
    }
    text
}
