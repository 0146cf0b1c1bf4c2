//! What one worker thread writes into.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use super::histogram::{Histogram, record};
use super::measurements::Flow;
use super::plan::{Phase, Plan, Span};
use super::thread::{ThreadClock, ThreadTime};

/// What one thread recorded within one second and one phase of the run.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub recorder: usize,
    pub interval: u64,
    pub phase: Phase,
    pub intended: u64,
    pub produced: Flow,
    pub consumed: Flow,
    pub errors: BTreeMap<Cow<'static, str>, u64>,
    /// Set in the last chunk of an interval only, so that it counts once.
    pub lag_records: Option<u64>,
    pub produce_latency: Option<Histogram>,
    pub end_to_end_latency: Option<Histogram>,
    pub lateness: Option<Histogram>,
    pub thread: ThreadTime,
    pub wake_ups: u64,
    pub is_polling: bool,
}

/// Records for one worker thread, without locks. To record takes some tens of nanoseconds; once a second, what was
/// recorded goes to the [`super::Collector`], and the rest follows when the recorder is dropped.
///
/// Every `at_ns` is the time at which something happened, in nanoseconds since the start of the run. Time never runs
/// back: what comes with an earlier second than the one before counts for the current second.
#[derive(Debug)]
pub struct Recorder {
    plan: Plan,
    stop_ns: u64,
    to: Sender<Chunk>,
    chunk: Chunk,
    /// The chunk is for what happens before that.
    until_ns: u64,
    lag_records: Option<u64>,
    /// Started on the worker's own thread, by the first thing that it records.
    clock: Option<ThreadClock>,
    is_polling: bool,
}

impl Recorder {
    pub(super) fn new(plan: Plan, number: usize, to: Sender<Chunk>) -> Self {
        Self {
            plan,
            stop_ns: plan.end_ns(),
            to,
            chunk: Chunk {
                recorder: number,
                ..Chunk::default()
            },
            until_ns: 0,
            lag_records: None,
            clock: None,
            is_polling: false,
        }
    }

    /// Records were due, whether or not they could be sent.
    #[inline]
    pub fn intended(&mut self, at_ns: u64, records: u64) {
        self.tick(at_ns);
        self.chunk.intended += records;
    }

    /// Records left later than they were due, by so many nanoseconds: 0 if in time. The linger is no lateness, nor is
    /// waiting for a free place among the requests in flight, for which the broker is to blame.
    #[inline]
    pub fn late(&mut self, at_ns: u64, late_ns: u64) {
        self.tick(at_ns);
        record(&mut self.chunk.lateness, late_ns, 1);
    }

    /// The broker acknowledged records that all had the same latency, from the time they were due.
    #[inline]
    pub fn produced(&mut self, at_ns: u64, latency_ns: u64, records: u64, bytes: u64) {
        self.tick(at_ns);
        self.chunk.produced.add(records, bytes);
        record(&mut self.chunk.produce_latency, latency_ns, records);
    }

    /// A consumer got records that all had the same latency, from the time they were due to be produced.
    #[inline]
    pub fn consumed(&mut self, at_ns: u64, latency_ns: u64, records: u64, bytes: u64) {
        self.tick(at_ns);
        self.chunk.consumed.add(records, bytes);
        record(&mut self.chunk.end_to_end_latency, latency_ns, records);
    }

    /// Something failed. Errors of the same name are counted together.
    pub fn error(&mut self, at_ns: u64, name: impl Into<Cow<'static, str>>) {
        self.tick(at_ns);
        *self.chunk.errors.entry(name.into()).or_default() += 1;
    }

    /// How many records this worker's consumers are behind. Holds until the next such call; the run's lag is the sum
    /// over its workers.
    #[inline]
    pub fn lag(&mut self, at_ns: u64, records: u64) {
        self.tick(at_ns);
        self.lag_records = Some(records);
    }

    /// The worker has slept, and goes on.
    #[inline]
    pub fn woke(&mut self) {
        self.chunk.wake_ups += 1;
    }

    /// The worker runs even if it has nothing to do: a thread that always runs is no sign of a full core.
    pub fn polls(&mut self) {
        self.is_polling = true;
    }

    /// Sending ends earlier than planned: what comes after that counts for latency and no longer for rates.
    pub fn stop(&mut self, at_ns: u64) {
        self.stop_ns = self.stop_ns.min(at_ns.max(self.plan.warm_up_ns));
        self.until_ns = self.until_ns.min(self.stop_ns);
        self.tick(at_ns);
    }

    /// Time has passed. To be called now and then by a worker that may have nothing to record for a second or longer.
    #[inline]
    pub fn tick(&mut self, at_ns: u64) {
        if at_ns >= self.until_ns {
            self.turn_to(at_ns);
        }
    }

    #[cold]
    fn turn_to(&mut self, at_ns: u64) {
        let next = self.plan.span(at_ns, self.stop_ns);
        if self.clock.is_some() {
            let last = self.chunk.interval;
            self.send(last != next.interval);
            if self.lag_records.is_some() {
                for interval in last + 1..next.interval {
                    let at_ns = self.plan.interval_start_ns(interval);
                    self.begin(self.plan.span(at_ns, self.stop_ns));
                    self.send(true);
                }
            }
        } else {
            self.clock = Some(ThreadClock::start());
        }
        self.begin(next);
    }

    fn begin(&mut self, span: Span) {
        self.chunk.interval = span.interval;
        self.chunk.phase = span.phase;
        self.until_ns = span.until_ns;
    }

    fn send(&mut self, is_interval_over: bool) {
        let empty = Chunk {
            recorder: self.chunk.recorder,
            ..Chunk::default()
        };
        let mut chunk = std::mem::replace(&mut self.chunk, empty);
        chunk.thread = self
            .clock
            .as_mut()
            .map(ThreadClock::lap)
            .unwrap_or_default();
        chunk.is_polling = self.is_polling;
        chunk.lag_records = self.lag_records.filter(|_| is_interval_over);
        // Nobody collects any more: the run was given up.
        let _ = self.to.send(chunk);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.clock.is_some() {
            self.send(true);
        }
    }
}
