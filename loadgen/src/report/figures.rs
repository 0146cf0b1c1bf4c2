//! The plain numbers of a run: exactly what the JSON holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host::Host;
use super::workload;
use crate::measure::histogram::{Compact, Histogram};
use crate::measure::{Flow, Interval, Measurements, ThreadUse, Verdict, Verification};
use crate::workload::{Load, Workload};

/// Points of a percentile curve between one half of what is left and the next.
const CURVE_TICKS: u32 = 5;

/// A run in numbers. Names carry their units; they stay as they are, so that a program may rely on them. A later
/// version adds names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Version of the generator.
    pub generator: String,
    /// What was to be done, by names with units.
    pub workload: BTreeMap<String, serde_json::Value>,
    /// Start of the run, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Time before anything counted.
    pub warm_up_s: f64,
    /// Time that was to count.
    pub planned_s: f64,
    /// Time that did count.
    pub measured_s: f64,
    /// The generator's machines.
    pub hosts: Vec<Host>,
    /// How far the clocks of two of them may be apart at the most, if there were agents.
    #[serde(default)]
    pub clock_error_ns: Option<u64>,
    /// Agents that were lost on the way, in words. Their part is in no figure.
    #[serde(default)]
    pub lost_agents: Vec<String>,
    /// What was due. Zero without a timetable.
    pub intended: FlowFigures,
    /// What the broker acknowledged.
    pub produced: FlowFigures,
    /// Bytes of the batches that the broker acknowledged: with their headers, and compressed if they are.
    #[serde(default)]
    pub produced_wire_bytes: u64,
    /// What all sets of consumers got.
    pub consumed: FlowFigures,
    /// From due to acknowledged, or to when it was given up.
    pub produce_latency_ns: Latency,
    /// From due to consumed.
    pub end_to_end_latency_ns: Latency,
    /// How much later than due records were made.
    pub lateness_ns: Latency,
    /// Records that were due and never left, because the broker was too far behind.
    #[serde(default)]
    pub unsent_records: u64,
    /// Records that left and had no answer.
    #[serde(default)]
    pub unanswered_records: u64,
    /// Records that were deleted, by retention or on request, before consumers had read them; they went on behind them.
    /// The warm-up is included.
    #[serde(default)]
    pub skipped_records: u64,
    /// Failures.
    pub errors: Errors,
    /// How far consumers were behind, if there were any.
    pub lag: Option<Lag>,
    /// What consumers did as members of groups, if they were.
    #[serde(default)]
    pub groups: Option<Groups>,
    /// What became of the records, if that was looked at.
    pub verification: Option<Verification>,
    /// What the generator says of itself.
    pub verdict: Verdict,
    /// The generator's threads.
    pub threads: Vec<ThreadFigures>,
    /// Percentile curve of the produce latency.
    pub produce_latency_curve: Vec<CurvePoint>,
    /// Percentile curve of the end-to-end latency.
    pub end_to_end_latency_curve: Vec<CurvePoint>,
    /// The run second by second, the warm-up included.
    pub seconds: Vec<Second>,
}

/// Records and bytes in the time that counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowFigures {
    /// Records.
    pub records: u64,
    /// Records a second.
    pub records_per_s: f64,
    /// Bytes of values; keys are not counted. What was due is counted in records only.
    pub bytes: u64,
    /// Those a second.
    pub bytes_per_s: f64,
}

/// A distribution of times in nanoseconds; all zero if there is nothing in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many times it is made of.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them were no longer.
    pub p50: u64,
    /// 90 % of them.
    pub p90: u64,
    /// 99 % of them.
    pub p99: u64,
    /// 99.9 % of them.
    pub p999: u64,
    /// 99.99 % of them.
    pub p9999: u64,
    /// The longest.
    pub max: u64,
}

/// The same of one second, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LatencySecond {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// Failures after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// All of them.
    pub total: u64,
    /// How many of each name.
    pub by_name: BTreeMap<String, u64>,
}

/// How far consumers were behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// When it was last looked at.
    pub last_records: u64,
    /// At the most, of how it was at the end of each second after the warm-up.
    pub max_records: u64,
}

/// Consumers as members of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// Times that members were given partitions anew after the warm-up, over all of them.
    pub rebalances: u64,
    /// From when a member began until it first had partitions, the warm-up included.
    pub first_assignment_ns: Latency,
    /// Commits of offsets after the warm-up, from request to acknowledgement.
    pub commit_latency_ns: Latency,
}

/// One of the generator's threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadFigures {
    /// Which one.
    pub name: String,
    /// Part of the time that it ran, from 0 to 1.
    pub ran_share: f64,
    /// Part of the time that it could have run and had no core, from 0 to 1.
    pub waited_share: f64,
    /// How often it woke up in a second. Many wake-ups are the price of a timetable kept to some microseconds.
    #[serde(default)]
    pub wake_ups_per_s: f64,
    /// Seconds that it was watched for.
    pub seconds: u64,
    /// Seconds in which it hardly ever slept.
    pub full_seconds: u64,
}

/// A part of all latencies that were no longer than so much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The part, from 0 to 1.
    pub quantile: f64,
    /// In nanoseconds.
    pub latency_ns: u64,
}

/// One second of the run, or less at its ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it began, since the start.
    pub start_s: f64,
    /// How long it was.
    pub length_s: f64,
    /// Whether it was before anything counted.
    pub is_warm_up: bool,
    /// Records that were due in it.
    pub intended_records: u64,
    /// Records acknowledged in it.
    pub produced_records: u64,
    /// Bytes of those.
    pub produced_bytes: u64,
    /// Records that consumers got in it.
    pub consumed_records: u64,
    /// Bytes of those.
    pub consumed_bytes: u64,
    /// Failures in it.
    pub errors: u64,
    /// The latest that anything was made after its time.
    pub lateness_max_ns: u64,
    /// How far consumers were behind at its end.
    pub lag_records: Option<u64>,
    /// None if nothing was acknowledged.
    pub produce_latency_ns: Option<LatencySecond>,
    /// None if nothing was consumed.
    pub end_to_end_latency_ns: Option<LatencySecond>,
}

impl Figures {
    /// Of a run, from what was asked for and what was measured.
    pub fn of(
        workload: &Workload,
        measurements: &Measurements,
        verification: Option<Verification>,
        hosts: Vec<Host>,
    ) -> Self {
        let flow = |flow: Flow| FlowFigures {
            records: flow.records,
            records_per_s: measurements.per_second(flow.records),
            bytes: flow.bytes,
            bytes_per_s: measurements.per_second(flow.bytes),
        };
        let is_timed = matches!(workload.load, Load::Open(_));
        let intended = Flow {
            records: if is_timed { measurements.intended } else { 0 },
            bytes: 0,
        };
        let seconds: Vec<Second> = measurements
            .intervals
            .iter()
            .map(|(&number, interval)| Second::of(measurements, number, interval))
            .collect();
        Self {
            generator: env!("CARGO_PKG_VERSION").to_owned(),
            workload: workload::values(workload),
            started_unix_ms: measurements.started_unix_ms,
            warm_up_s: seconds_of(measurements.plan.warm_up_ns),
            planned_s: seconds_of(measurements.plan.duration_ns),
            measured_s: seconds_of(measurements.measured_ns),
            hosts,
            clock_error_ns: None,
            lost_agents: Vec::new(),
            intended: flow(intended),
            produced: flow(measurements.produced),
            produced_wire_bytes: measurements.wire_bytes,
            consumed: flow(measurements.consumed),
            produce_latency_ns: Latency::of(&measurements.produce_latency),
            end_to_end_latency_ns: Latency::of(&measurements.end_to_end_latency),
            lateness_ns: Latency::of(&measurements.lateness),
            unsent_records: measurements.unsent,
            unanswered_records: measurements.unanswered,
            skipped_records: measurements.skipped,
            errors: Errors {
                total: measurements.error_count(),
                by_name: measurements.errors.clone(),
            },
            lag: Lag::of(&seconds),
            groups: workload.consumers.group.protocol.map(|_| Groups {
                rebalances: measurements.rebalances,
                first_assignment_ns: Latency::of(&measurements.first_assignment),
                commit_latency_ns: Latency::of(&measurements.commit_latency),
            }),
            verification,
            verdict: Verdict::of(&measurements.lateness, &measurements.threads),
            threads: measurements.threads.iter().map(ThreadFigures::of).collect(),
            produce_latency_curve: curve(&measurements.produce_latency),
            end_to_end_latency_curve: curve(&measurements.end_to_end_latency),
            seconds,
        }
    }

    /// The workload's name.
    pub fn name(&self) -> &str {
        let name = self.workload.get("name");
        name.and_then(serde_json::Value::as_str).unwrap_or("")
    }

    /// Whether the run ended before its time.
    pub fn is_cut_short(&self) -> bool {
        self.measured_s < self.planned_s
    }
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max(),
        }
    }
}

impl LatencySecond {
    fn of(compact: &Compact) -> Option<Self> {
        let histogram = compact.histogram();
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!compact.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: compact.max_ns(),
        })
    }
}

impl Lag {
    fn of(seconds: &[Second]) -> Option<Self> {
        let counted = seconds.iter().filter(|second| !second.is_warm_up);
        let lags: Vec<u64> = counted.filter_map(|second| second.lag_records).collect();
        Some(Self {
            last_records: *lags.last()?,
            max_records: *lags.iter().max()?,
        })
    }
}

impl ThreadFigures {
    fn of(thread: &ThreadUse) -> Self {
        Self {
            name: thread.name.clone(),
            ran_share: thread.ran_share(),
            waited_share: thread.waited_share(),
            wake_ups_per_s: thread.wake_ups_per_s(),
            seconds: thread.seconds,
            full_seconds: thread.full_seconds,
        }
    }
}

impl Second {
    fn of(measurements: &Measurements, number: u64, interval: &Interval) -> Self {
        Self {
            start_s: seconds_of(measurements.plan.interval_start_ns(number)),
            length_s: seconds_of(measurements.interval_length_ns(number)),
            is_warm_up: measurements.plan.is_warm_up(number),
            intended_records: interval.intended,
            produced_records: interval.produced.records,
            produced_bytes: interval.produced.bytes,
            consumed_records: interval.consumed.records,
            consumed_bytes: interval.consumed.bytes,
            errors: interval.errors,
            lateness_max_ns: interval.lateness_max_ns,
            lag_records: interval.lag_records,
            produce_latency_ns: LatencySecond::of(&interval.produce_latency),
            end_to_end_latency_ns: LatencySecond::of(&interval.end_to_end_latency),
        }
    }
}

fn curve(histogram: &Histogram) -> Vec<CurvePoint> {
    let points = histogram.iter_quantiles(CURVE_TICKS);
    points
        .map(|point| CurvePoint {
            quantile: point.quantile_iterated_to(),
            latency_ns: point.value_iterated_to(),
        })
        .collect()
}

fn seconds_of(ns: u64) -> f64 {
    ns as f64 / 1e9
}
