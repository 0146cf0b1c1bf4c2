//! Gathers what the worker threads recorded.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::histogram::{self, Compact, Histogram};
use super::measurements::{Flow, Interval, Measurements};
use super::plan::{Phase, Plan};
use super::progress::Moment;
use super::recorder::{Chunk, Recorder};
use super::thread::ThreadUse;

/// So many intervals are kept as they are before they get compacted: workers do not finish a second at the same time.
/// Who comes later still gets in, at some cost.
const OPEN_MAX: usize = 4;

/// Workers have handed in a second so long after its end; until then progress shows the one before.
const HAND_IN: Duration = Duration::from_millis(250);

/// Gathers what recorders hand in once a second. It has no thread: what happens, happens in [`Collector::collect`],
/// which whoever waits for the end of the run calls some times a second.
#[derive(Debug)]
pub struct Collector {
    plan: Plan,
    sender: Sender<Chunk>,
    receiver: Receiver<Chunk>,
    open: BTreeMap<u64, Open>,
    measurements: Measurements,
}

/// An interval that chunks are still expected for.
#[derive(Debug, Default)]
struct Open {
    /// Without its latencies.
    interval: Interval,
    produce_latency: Option<Histogram>,
    end_to_end_latency: Option<Histogram>,
}

impl Collector {
    /// For a run that starts at that time, in milliseconds since 1970.
    pub fn new(plan: Plan, started_unix_ms: u64) -> Self {
        let (sender, receiver) = channel();
        Self {
            plan,
            sender,
            receiver,
            open: BTreeMap::new(),
            measurements: Measurements::new(plan, started_unix_ms),
        }
    }

    /// A recorder for one worker thread, named in the report.
    pub fn recorder(&mut self, name: impl Into<String>) -> Recorder {
        let number = self.measurements.threads.len();
        self.measurements.threads.push(ThreadUse {
            name: name.into(),
            ..ThreadUse::default()
        });
        Recorder::new(self.plan, number, self.sender.clone())
    }

    /// Takes in what was handed in meanwhile.
    pub fn collect(&mut self) {
        while let Ok(chunk) = self.receiver.try_recv() {
            self.take(chunk);
        }
    }

    /// The figures of the last second that workers have handed in.
    pub fn moment(&mut self, elapsed: Duration) -> Moment {
        self.collect();
        let seen_ns = elapsed.saturating_sub(HAND_IN).as_nanos() as u64;
        let last = self.plan.interval(seen_ns).checked_sub(1);
        let last = last.and_then(|interval| self.open.get(&interval));
        let latency = last.and_then(|last| last.produce_latency.clone());
        Moment {
            produced: last.map_or_else(Flow::default, |last| last.interval.produced),
            produce_latency: latency.unwrap_or_else(histogram::empty),
            errors: self.measurements.error_count(),
            lag_records: last.and_then(|last| last.interval.lag_records),
        }
    }

    /// The measurements, once every recorder has been dropped: waits for that. Sending ended at `stopped_ns`, the last
    /// answer was waited for until `ended_ns`, both in nanoseconds since the start.
    pub fn finish(mut self, stopped_ns: u64, ended_ns: u64) -> Measurements {
        // The last sender but those of the recorders.
        let (closed, _) = channel();
        drop(std::mem::replace(&mut self.sender, closed));
        while let Ok(chunk) = self.receiver.recv() {
            self.take(chunk);
        }
        while let Some((number, open)) = self.open.pop_first() {
            self.compact(number, open);
        }
        let stopped_ns = stopped_ns.min(self.plan.end_ns());
        self.measurements.measured_ns = stopped_ns.saturating_sub(self.plan.warm_up_ns);
        self.measurements.ended_ns = ended_ns;
        self.measurements
    }

    fn take(&mut self, chunk: Chunk) {
        if chunk.phase != Phase::WarmUp {
            self.count(&chunk);
        }
        self.measurements.skipped += chunk.skipped;
        if let Some(part) = &chunk.first_assignment {
            histogram::add(&mut self.measurements.first_assignment, part);
        }
        let open = self.open.entry(chunk.interval).or_default();
        open.interval.add(&Interval {
            intended: chunk.intended,
            produced: chunk.produced,
            consumed: chunk.consumed,
            errors: chunk.errors.values().sum(),
            lateness_max_ns: chunk.lateness.as_ref().map_or(0, Histogram::max),
            lag_records: chunk.lag_records,
            ..Interval::default()
        });
        add(&mut open.produce_latency, chunk.produce_latency);
        add(&mut open.end_to_end_latency, chunk.end_to_end_latency);
        while self.open.len() > OPEN_MAX {
            let (number, open) = self.open.pop_first().expect("there are some");
            self.compact(number, open);
        }
    }

    /// Adds to the figures of the whole run.
    fn count(&mut self, chunk: &Chunk) {
        let whole = &mut self.measurements;
        // Whatever was due is counted after it was due.
        whole.intended += chunk.intended;
        whole.unsent += chunk.unsent;
        whole.unanswered += chunk.unanswered;
        whole.rebalances += chunk.rebalances;
        if chunk.phase == Phase::Measured {
            whole
                .produced
                .add(chunk.produced.records, chunk.produced.bytes);
            whole.wire_bytes += chunk.wire_bytes;
            whole
                .consumed
                .add(chunk.consumed.records, chunk.consumed.bytes);
            let thread = &mut whole.threads[chunk.recorder];
            thread.add(chunk.thread);
            thread.wake_ups += chunk.wake_ups;
        }
        for (name, count) in &chunk.errors {
            *whole.errors.entry(name.to_string()).or_default() += count;
        }
        for (sum, part) in [
            (&mut whole.produce_latency, &chunk.produce_latency),
            (&mut whole.end_to_end_latency, &chunk.end_to_end_latency),
            (&mut whole.lateness, &chunk.lateness),
            (&mut whole.commit_latency, &chunk.commit_latency),
        ] {
            if let Some(part) = part {
                histogram::add(sum, part);
            }
        }
    }

    fn compact(&mut self, number: u64, open: Open) {
        let compact = |histogram: Option<Histogram>| {
            histogram.map_or_else(Compact::default, |histogram| Compact::of(&histogram))
        };
        let interval = Interval {
            produce_latency: compact(open.produce_latency),
            end_to_end_latency: compact(open.end_to_end_latency),
            ..open.interval
        };
        let intervals = &mut self.measurements.intervals;
        intervals.entry(number).or_default().add(&interval);
    }
}

fn add(to: &mut Option<Histogram>, part: Option<Histogram>) {
    match (to, part) {
        (Some(to), Some(part)) => histogram::add(to, &part),
        (to, part @ Some(_)) => *to = part,
        (_, None) => {}
    }
}
