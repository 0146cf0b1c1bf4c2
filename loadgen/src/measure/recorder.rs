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
    pub wire_bytes: u64,
    pub consumed: Flow,
    pub errors: BTreeMap<Cow<'static, str>, u64>,
    /// Set in the last chunk of an interval only, so that it counts once.
    pub lag_records: Option<u64>,
    pub produce_latency: Option<Histogram>,
    pub end_to_end_latency: Option<Histogram>,
    pub lateness: Option<Histogram>,
    pub skipped: u64,
    pub rebalances: u64,
    pub first_assignment: Option<Histogram>,
    pub commit_latency: Option<Histogram>,
    pub thread: ThreadTime,
    pub wake_ups: u64,
    pub unsent: u64,
    pub unanswered: u64,
}

/// Why a record was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was due and never left.
    Unsent,
    /// It left, and nobody said what became of it.
    Unanswered,
    /// The broker refused it for good.
    Refused,
}

/// Records for one worker thread, without locks. To record takes some tens of nanoseconds; once a second, what was
/// recorded goes to the [`super::Collector`], and the rest follows when the recorder is dropped.
///
/// Every `at_ns` is the time at which something happened, in nanoseconds since the start of the run. Time never runs
/// back: what comes with an earlier second than the one before counts for the current second. What was due in the
/// warm-up counts nowhere but in plots, however late it is answered.
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
        }
    }

    /// A record was due at that time, whether or not it could be sent.
    #[inline]
    pub fn intended(&mut self, due_ns: u64) {
        self.tick(due_ns);
        self.chunk.intended += u64::from(self.counts(due_ns));
    }

    /// A record was made so many nanoseconds after it was due: 0 if in time. The linger is no lateness, nor is waiting
    /// for room in the buffer or among the requests in flight, for which the broker is to blame.
    #[inline]
    pub fn late(&mut self, at_ns: u64, late_ns: u64) {
        self.tick(at_ns);
        if self.counts(at_ns.saturating_sub(late_ns)) {
            record(&mut self.chunk.lateness, late_ns, 1);
        }
    }

    /// The broker acknowledged records that all had the same latency, from the time they were due.
    #[inline]
    pub fn produced(&mut self, at_ns: u64, latency_ns: u64, records: u64, bytes: u64) {
        self.tick(at_ns);
        self.chunk.produced.add(records, bytes);
        self.produce_latency(at_ns, latency_ns, records);
    }

    /// What the broker acknowledged took so many bytes on its way: batches with their headers, compressed if they are.
    #[inline]
    pub fn sent(&mut self, at_ns: u64, wire_bytes: u64) {
        self.tick(at_ns);
        self.chunk.wire_bytes += wire_bytes;
    }

    /// A record was given up, so long after it was due: that is the least that its latency can have been. The broker
    /// never got it, or never said what became of it, or refused it for good.
    pub fn gave_up(&mut self, at_ns: u64, latency_ns: u64, fate: Fate) {
        self.tick(at_ns);
        if self.counts(at_ns.saturating_sub(latency_ns)) {
            match fate {
                Fate::Unsent => self.chunk.unsent += 1,
                Fate::Unanswered => self.chunk.unanswered += 1,
                Fate::Refused => {}
            }
        }
        self.produce_latency(at_ns, latency_ns, 1);
    }

    fn produce_latency(&mut self, at_ns: u64, latency_ns: u64, records: u64) {
        if self.counts(at_ns.saturating_sub(latency_ns)) {
            record(&mut self.chunk.produce_latency, latency_ns, records);
        }
    }

    /// Whether what was due then counts in the current phase.
    #[inline]
    fn counts(&self, due_ns: u64) -> bool {
        self.chunk.phase == Phase::WarmUp || due_ns >= self.plan.warm_up_ns
    }

    /// A consumer got records that all had the same latency, from the time they were due to be produced.
    #[inline]
    pub fn consumed(&mut self, at_ns: u64, latency_ns: u64, records: u64, bytes: u64) {
        self.tick(at_ns);
        self.chunk.consumed.add(records, bytes);
        if self.counts(at_ns.saturating_sub(latency_ns)) {
            record(&mut self.chunk.end_to_end_latency, latency_ns, records);
        }
    }

    /// So many records were deleted before a consumer had read them, and it went on behind them.
    pub fn skipped(&mut self, at_ns: u64, records: u64) {
        self.tick(at_ns);
        self.chunk.skipped += records;
    }

    /// A member of a group was first given partitions, so long after it began.
    pub fn joined(&mut self, at_ns: u64, after_ns: u64) {
        self.tick(at_ns);
        record(&mut self.chunk.first_assignment, after_ns, 1);
    }

    /// A member of a group was given partitions anew.
    pub fn rebalanced(&mut self, at_ns: u64) {
        self.tick(at_ns);
        self.chunk.rebalances += 1;
    }

    /// A commit of offsets was acknowledged, so long after it was sent.
    pub fn committed(&mut self, at_ns: u64, latency_ns: u64) {
        self.tick(at_ns);
        record(&mut self.chunk.commit_latency, latency_ns, 1);
    }

    /// Something failed. Errors of the same name are counted together.
    pub fn error(&mut self, at_ns: u64, name: impl Into<Cow<'static, str>>) {
        self.errors(at_ns, name, 1);
    }

    /// So many things failed, none of them if it is 0.
    pub fn errors(&mut self, at_ns: u64, name: impl Into<Cow<'static, str>>, count: u64) {
        self.tick(at_ns);
        if count > 0 {
            *self.chunk.errors.entry(name.into()).or_default() += count;
        }
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
