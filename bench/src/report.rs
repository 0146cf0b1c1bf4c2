//! What a run found, for a person and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::fetch::FetchSettings;
use crate::metrics::Inside;
use crate::produce::{Pace, ProduceSettings, Watched, histogram};
use crate::replay::Template;
use crate::target::{BrokerReport, Snapshot};
use corelog_loadgen::measure::ThreadTime;

/// A client thread that is busy, or waits for a core, for more than this part of the time was the limit.
const CLIENT_LIMIT: f64 = 0.95;

/// Requests that leave later than this part of the 99th percentile of latency make that the client's.
const LATE_PART_MAX: f64 = 0.2;

/// What sending threads counted in the window.
#[derive(Debug)]
pub struct Measured {
    /// In the window.
    pub requests: u64,
    /// Behind its end, as long as the load went on.
    pub later_requests: u64,
    /// From the first to the last, the warm-up included.
    pub all_requests: u64,
    /// That were due in the window and never sent, where more is offered than taken.
    pub left_out: u64,
    /// From the end of the load until all had replies.
    pub drain: Duration,
    pub latency_ns: Histogram<u64>,
    /// Open loop only: how much later than planned requests left the client.
    pub lateness_ns: Histogram<u64>,
    pub busiest_thread: ThreadTime,
}

impl Measured {
    pub fn empty() -> Self {
        let (latency_ns, lateness_ns) = (histogram(), histogram());
        Self {
            requests: 0,
            later_requests: 0,
            all_requests: 0,
            left_out: 0,
            drain: Duration::ZERO,
            latency_ns,
            lateness_ns,
            busiest_thread: ThreadTime::default(),
        }
    }

    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.later_requests += other.later_requests;
        self.all_requests += other.all_requests;
        self.left_out += other.left_out;
        self.drain = self.drain.max(other.drain);
        self.latency_ns += other.latency_ns;
        self.lateness_ns += other.lateness_ns;
        let busy = |time: ThreadTime| time.ran_ns + time.waited_ns;
        if busy(other.busiest_thread) > busy(self.busiest_thread) {
            self.busiest_thread = other.busiest_thread;
        }
    }
}

#[derive(Debug)]
pub struct ProduceReport {
    pub requests_a_second: f64,
    pub mb_a_second: f64,
    pub requests: u64,
    pub bytes: u64,
    /// Of the whole run, the warm-up included.
    pub all_bytes: u64,
    /// Requests that were due and never sent, where more is offered than taken.
    pub left_out: u64,
    /// From the end of the load until all requests had replies.
    pub drain: Duration,
    pub latency_ns: Histogram<u64>,
    pub broker: Option<BrokerReport>,
    /// What the broker says of itself, if it does.
    pub inside: Option<Inside>,
    /// System calls of the broker a request, or why they are not known; none if nobody wanted to know.
    pub calls_a_request: Option<Result<f64, String>>,
    /// Parts of the time for which the busiest client thread ran, and waited for a core.
    pub client_busy: f64,
    pub client_queued: f64,
    /// Open loop only: the 99th percentile of how late requests left the client.
    pub lateness_p99_ns: Option<u64>,
}

impl ProduceReport {
    pub(crate) fn new(
        settings: &ProduceSettings,
        template: &Template,
        measured: Measured,
        watched: &Watched,
        later_seconds: f64,
    ) -> Self {
        let seconds = settings.duration.as_secs_f64();
        let later_a_second = measured.later_requests as f64 / later_seconds;
        let bytes = measured.requests * template.payload_bytes;
        let open = matches!(settings.pace, Pace::Rate(_));
        Self {
            requests_a_second: measured.requests as f64 / seconds,
            mb_a_second: bytes as f64 / 1e6 / seconds,
            requests: measured.requests,
            bytes,
            all_bytes: measured.all_requests * template.payload_bytes,
            left_out: measured.left_out,
            drain: measured.drain,
            broker: watched.after.used_since(&watched.before),
            inside: watched.after.inside_since(&watched.before),
            calls_a_request: watched
                .calls_a_second
                .clone()
                .map(|calls| calls.map(|calls| calls / later_a_second)),
            client_busy: measured.busiest_thread.ran_ns as f64 / 1e9 / seconds,
            client_queued: measured.busiest_thread.waited_ns as f64 / 1e9 / seconds,
            lateness_p99_ns: open.then(|| measured.lateness_ns.value_at_quantile(0.99)),
            latency_ns: measured.latency_ns,
        }
    }

    pub fn cpu_us_a_request(&self) -> Option<f64> {
        let broker = self.broker.as_ref()?;
        Some(broker.cpu.as_secs_f64() * 1e6 / self.requests as f64)
    }

    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e6
    }

    /// Whether a good part of the worst latencies passed before their requests left the client.
    pub fn client_was_late(&self) -> bool {
        let latency_ns = self.latency_ns.value_at_quantile(0.99) as f64;
        self.lateness_p99_ns
            .is_some_and(|late_ns| late_ns as f64 > LATE_PART_MAX * latency_ns)
    }

    /// Whether a faster broker would not have been seen.
    pub fn client_was_the_limit(&self) -> bool {
        self.client_busy + self.client_queued > CLIENT_LIMIT
    }

    pub fn json(&self) -> Value {
        json!({
            "requests_a_second": self.requests_a_second,
            "mb_a_second": self.mb_a_second,
            "requests": self.requests,
            "bytes": self.bytes,
            "latency_ms": {
                "p50": self.latency_ms(0.5),
                "p99": self.latency_ms(0.99),
                "p99.9": self.latency_ms(0.999),
                "max": self.latency_ns.max() as f64 / 1e6,
            },
            "broker": self.broker.as_ref().map(|broker| broker.json(self.bytes)),
            "broker_cpu_us_a_request": self.cpu_us_a_request(),
            "inside": self.inside,
            "client_busy": self.client_busy,
            "client_queued": self.client_queued,
            "client_was_the_limit": self.client_was_the_limit(),
            "lateness_p99_ms": self.lateness_p99_ns.map(|ns| ns as f64 / 1e6),
        })
    }
}

impl fmt::Display for ProduceReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:.0} requests/s, {:.1} MB/s",
            self.requests_a_second, self.mb_a_second
        )?;
        writeln!(
            out,
            "latency p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            self.latency_ms(0.5),
            self.latency_ms(0.99),
            self.latency_ms(0.999),
            self.latency_ns.max() as f64 / 1e6
        )?;
        if let (Some(broker), Some(cpu_us)) = (&self.broker, self.cpu_us_a_request()) {
            writeln!(
                out,
                "broker: {:.2} CPU s/GB, {cpu_us:.1} us of CPU a request, {:.0} MB resident, {:.2} bytes to disk a byte",
                broker.cpu_seconds_a_gb(self.bytes),
                broker.rss as f64 / 1e6,
                broker.disk_written as f64 / self.bytes as f64
            )?;
        }
        write!(
            out,
            "client: its busiest thread ran {:.0}% of the time and waited for a core {:.0}%",
            self.client_busy * 100.0,
            self.client_queued * 100.0
        )?;
        if let Some(late) = self.lateness_p99_ns {
            write!(
                out,
                "; requests left up to {:.2} ms late (p99)",
                late as f64 / 1e6
            )?;
        }
        if self.client_was_the_limit() {
            write!(
                out,
                "\nThe client was the limit: a faster broker would not have been seen"
            )?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub struct FetchReport {
    pub bytes: u64,
    pub records: u64,
    pub seconds: f64,
    pub broker: Option<BrokerReport>,
    pub inside: Option<Inside>,
    pub client_busy: f64,
    pub connections: usize,
}

impl FetchReport {
    pub fn new(
        settings: &FetchSettings,
        (bytes, records): (u64, u64),
        elapsed: Duration,
        client_cpu: Duration,
        (before, after): (Snapshot, Snapshot),
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            bytes,
            records,
            seconds,
            broker: after.used_since(&before),
            inside: after.inside_since(&before),
            client_busy: client_cpu.as_secs_f64() / seconds,
            connections: settings.connections,
        }
    }

    pub fn mb_a_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    /// Whether a faster broker would not have been seen: all readers were busy.
    pub fn client_was_the_limit(&self) -> bool {
        self.client_busy > CLIENT_LIMIT * self.connections as f64
    }

    pub fn json(&self) -> Value {
        json!({
            "mb_a_second": self.mb_a_second(),
            "records_a_second": self.records as f64 / self.seconds,
            "bytes": self.bytes,
            "records": self.records,
            "broker": self.broker.as_ref().map(|broker| broker.json(self.bytes)),
            "client_busy": self.client_busy,
        })
    }
}

impl fmt::Display for FetchReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:.1} MB/s, {:.0} records/s ({:.1} MB in {:.2} s)",
            self.mb_a_second(),
            self.records as f64 / self.seconds,
            self.bytes as f64 / 1e6,
            self.seconds
        )?;
        if let Some(broker) = &self.broker {
            writeln!(
                out,
                "broker: {:.2} CPU s/GB, {:.0} MB resident",
                broker.cpu_seconds_a_gb(self.bytes),
                broker.rss as f64 / 1e6
            )?;
        }
        write!(
            out,
            "client: {} connections used {:.0}% of a core",
            self.connections,
            self.client_busy * 100.0
        )
    }
}
