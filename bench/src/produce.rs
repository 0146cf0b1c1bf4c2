//! The produce workload: closed loop (a fixed number of requests in flight) or open loop (a fixed rate).
//!
//! In the open loop requests leave on a timetable made beforehand, whatever the broker does, and latency counts from
//! the time in the table: a broker that stalls is charged for all requests that were due meanwhile.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::replay::{Replay, Template};
use crate::report::{Measured, ProduceReport};
use crate::system_calls;
use crate::target::{Snapshot, Target};
use corelog_loadgen::client::connect_within;
use corelog_loadgen::measure::ThreadClock;

/// Longest time that replies may take after the last request.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// More than this without a reply in the open loop means that the broker cannot follow.
const OPEN_IN_FLIGHT_MAX: usize = 200_000;
/// Without a reply where more is offered than taken: what fills a Java producer's `buffer.memory` with records of 1 KiB.
const OFFERED_IN_FLIGHT_MAX: usize = 32 << 10;
/// Between two looks at what is due: less costs the client more than it tells.
const TICK_MIN: Duration = Duration::from_micros(50);
/// The same where more is offered than taken: nobody asks when exactly it was due, and the client is to leave the cores
/// to the broker.
const OFFERED_TICK_MIN: Duration = Duration::from_millis(1);
const TIMER: u64 = u64::MAX;
/// Time for which system calls are counted, behind the time that is measured.
const CALLS_COUNTED: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// This many requests in flight, over all connections.
    InFlight(usize),
    /// This many requests a second, whatever happens.
    Rate(f64),
    /// The same as far as the broker takes them: what is due while a client's buffer is full is left out.
    Offered(f64),
}

#[derive(Clone, Debug)]
pub struct ProduceSettings {
    pub target: Target,
    pub topic: String,
    pub partitions: i32,
    /// Properties of the topic.
    pub topic_configs: &'static [(&'static str, &'static str)],
    pub records_a_request: usize,
    pub record_bytes: usize,
    pub acks: i16,
    pub connections: usize,
    pub threads: usize,
    pub pace: Pace,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Whether the load goes on for a while after that, for the broker's system calls to be counted.
    pub counts_calls: bool,
}

impl ProduceSettings {
    /// Refuses what cannot be run, naming the setting, its value and the way out.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (1..=100_000).contains(&self.partitions),
            "--partitions {}: from 1 to 100000",
            self.partitions
        );
        ensure!(
            !self.topic.is_empty() && self.topic.len() <= 120,
            "--topic: from 1 to 120 bytes"
        );
        ensure!(
            self.records_a_request > 0 && self.record_bytes > 0,
            "a request needs at least one record of one byte"
        );
        ensure!(
            self.records_a_request.saturating_mul(self.record_bytes) <= 1_000_000,
            "a request of {} records of {} bytes: brokers take 1 MB at most by default",
            self.records_a_request,
            self.record_bytes
        );
        ensure!(
            self.acks == 1 || self.acks == -1,
            "--acks {}: 1, or -1 for all; without replies (0) there is nothing to measure",
            self.acks
        );
        ensure!(
            (1..=1_000).contains(&self.threads),
            "--threads {}: from 1 to 1000",
            self.threads
        );
        ensure!(
            self.connections >= self.threads,
            "--connections {}: at least one for each of the {} threads",
            self.connections,
            self.threads
        );
        ensure!(!self.duration.is_zero(), "--seconds: more than 0");
        match self.pace {
            Pace::InFlight(total) => ensure!(
                total > 0 && total.is_multiple_of(self.connections),
                "--in-flight {total}: as many for each of the {} connections, at least one",
                self.connections
            ),
            Pace::Rate(rate) | Pace::Offered(rate) => ensure!(
                rate.is_finite() && (0.1..=5e6).contains(&rate),
                "--rate {rate}: requests a second, from 0.1 to 5000000"
            ),
        }
        Ok(())
    }
}

/// Creates the topic, unless it is there, and brings each partition to the point where it takes records.
pub fn prepare(settings: &ProduceSettings) -> Result<()> {
    settings.check()?;
    let mut client = connect_within(settings.target.addr, Duration::from_secs(10))?;
    client.create_topic(&settings.topic, settings.partitions, settings.topic_configs)?;
    client.prime(
        &settings.topic,
        settings.partitions,
        Duration::from_secs(120),
    )
}

/// Prepares the topic, runs the load, and reports.
pub fn run(settings: &ProduceSettings) -> Result<ProduceReport> {
    prepare(settings)?;
    load(settings)
}

/// Runs the load on a topic that is there, and reports. An error code in any reply ends it as an error.
pub fn load(settings: &ProduceSettings) -> Result<ProduceReport> {
    settings.check()?;
    let template = Template::new(
        &settings.topic,
        settings.acks,
        settings.records_a_request,
        settings.record_bytes,
    )?;

    let base = Instant::now();
    let end = base + settings.warm_up + settings.duration;
    let window = Window {
        base,
        start: base + settings.warm_up,
        end,
        stop: match settings.counts_calls {
            true => OnceLock::new(),
            false => OnceLock::from(end),
        },
        failed: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..settings.threads)
            .map(|index| {
                let (template, window) = (&template, &window);
                scope.spawn(move || {
                    let outcome =
                        Sender::new(settings, template, window, index).and_then(Sender::run);
                    if outcome.is_err() {
                        window.failed.store(true, Ordering::Relaxed);
                    }
                    outcome
                })
            })
            .collect();
        let watched = window.watch(settings);
        let mut measured = Measured::empty();
        for sender in senders {
            measured.add(sender.join().expect("a sending thread does not panic")?);
        }
        let watched = watched?;
        Ok(ProduceReport::new(
            settings,
            &template,
            measured,
            &watched,
            window.behind().as_secs_f64(),
        ))
    })
}

/// The part of the run that counts, and when the load ends.
struct Window {
    base: Instant,
    start: Instant,
    end: Instant,
    /// When the load ends; not known as long as something is counted behind the window.
    stop: OnceLock<Instant>,
    failed: AtomicBool,
}

/// The broker at the start and at the end of the window, and its system calls a second after it.
pub(crate) struct Watched {
    pub before: Snapshot,
    pub after: Snapshot,
    pub calls_a_second: Option<Result<f64, String>>,
}

impl Window {
    /// Since the base.
    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.base).as_nanos() as u64
    }

    /// How long the load goes on behind what is measured.
    fn behind(&self) -> Duration {
        let stop = self.stop.get().copied().unwrap_or(self.end);
        stop.saturating_duration_since(self.end)
    }

    /// Far away as long as it is not known.
    fn stop_ns(&self) -> u64 {
        let stop = self.stop.get();
        stop.map_or(u64::MAX, |stop| self.ns(*stop))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.stop.get().is_some_and(|stop| now >= *stop)
    }

    /// Watches the broker, and ends the load when all is counted, or counting has failed.
    fn watch(&self, settings: &ProduceSettings) -> Result<Watched> {
        let watched = self.counted(settings);
        self.stop.get_or_init(|| Instant::now().max(self.end));
        watched
    }

    fn counted(&self, settings: &ProduceSettings) -> Result<Watched> {
        let target = &settings.target;
        self.sleep_until(self.start);
        let before = target.before()?;
        self.sleep_until(self.end);
        let after = target.after()?;
        let pid = target.pid.filter(|_| settings.counts_calls);
        Ok(Watched {
            before,
            after,
            calls_a_second: pid.map(|pid| system_calls::per_second(pid, CALLS_COUNTED)),
        })
    }

    fn sleep_until(&self, at: Instant) {
        while !self.failed.load(Ordering::Relaxed) {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}

/// One sending thread with its share of the connections and of the load.
struct Sender<'a> {
    settings: &'a ProduceSettings,
    window: &'a Window,
    connections: Vec<Replay<'a>>,
    epoll: Epoll,
    timetable: Option<Timetable>,
    depth: usize,
    next_partition: i32,
    next_connection: usize,
    measured: Measured,
}

/// When the requests of an open loop are due, in nanoseconds since the base of the run.
struct Timetable {
    timer: TimerFd,
    period_ns: f64,
    issued: u64,
}

impl Timetable {
    fn new(rate: f64, tick_min: Duration) -> Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let period = Duration::from_secs_f64(1.0 / rate);
        // Faster than this, several requests are due at each tick.
        let tick = period.max(tick_min);
        timer.set(
            Expiration::Interval(TimeSpec::from_duration(tick)),
            TimerSetTimeFlags::empty(),
        )?;
        Ok(Self {
            timer,
            period_ns: period.as_nanos() as f64,
            issued: 0,
        })
    }

    fn next_due_ns(&self) -> u64 {
        (self.issued as f64 * self.period_ns) as u64
    }
}

impl<'a> Sender<'a> {
    fn new(
        settings: &'a ProduceSettings,
        template: &'a Template,
        window: &'a Window,
        index: usize,
    ) -> Result<Self> {
        let share =
            |total: usize| total / settings.threads + usize::from(index < total % settings.threads);
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        let connections = (0..share(settings.connections))
            .map(|at| {
                let replay = Replay::connect(settings.target.addr, template)?;
                epoll.add(
                    replay.stream(),
                    EpollEvent::new(EpollFlags::EPOLLIN, at as u64),
                )?;
                Ok(replay)
            })
            .collect::<Result<Vec<_>>>()?;
        let timetable =
            |rate: f64, tick_min| Timetable::new(rate / settings.threads as f64, tick_min);
        let (depth, timetable) = match settings.pace {
            Pace::InFlight(total) => (total / settings.connections, None),
            Pace::Rate(rate) => (0, Some(timetable(rate, TICK_MIN)?)),
            Pace::Offered(rate) => (0, Some(timetable(rate, OFFERED_TICK_MIN)?)),
        };
        if let Some(Timetable { timer, .. }) = &timetable {
            epoll.add(timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        }
        let next_partition =
            (index as i64 * i64::from(settings.partitions) / settings.threads as i64) as i32;
        let measured = Measured::empty();
        Ok(Self {
            settings,
            window,
            connections,
            epoll,
            timetable,
            depth,
            next_partition,
            next_connection: 0,
            measured,
        })
    }

    fn run(mut self) -> Result<Measured> {
        // Without this the kernel wakes a sleeping thread up to 50 us late.
        nix::sys::prctl::set_timerslack(1).context("asking for exact timers")?;
        for at in 0..self.connections.len() {
            self.refill(at)?;
        }
        let mut events = vec![EpollEvent::empty(); 512];
        let (mut clock, mut used) = (None, None);
        loop {
            let now = Instant::now();
            if now >= self.window.start && clock.is_none() {
                clock = Some(ThreadClock::start());
            }
            if now >= self.window.end && used.is_none() {
                used = clock.as_mut().map(ThreadClock::lap);
            }
            if let Some(stop) = self.window.stop.get()
                && now >= *stop
            {
                if self
                    .connections
                    .iter()
                    .all(|connection| connection.in_flight() == 0)
                {
                    self.measured.drain = now - *stop;
                    break;
                }
                ensure!(
                    now < *stop + DRAIN_MAX,
                    "no reply to a request for {DRAIN_MAX:?}"
                );
            }
            if self.window.failed.load(Ordering::Relaxed) {
                bail!("another sending thread failed");
            }
            self.issue_due(now)?;
            let ready = match self.epoll.wait(&mut events, 50_u8) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error).context("waiting for replies"),
            };
            for event in &events[..ready] {
                self.handle(event)?;
            }
        }
        self.measured.busiest_thread = used.context("the window was never entered")?;
        Ok(self.measured)
    }

    fn handle(&mut self, event: &EpollEvent) -> Result<()> {
        if event.data() == TIMER {
            if let Some(Timetable { timer, .. }) = &self.timetable {
                // What it returns does not matter: the clock tells what is due.
                let _ = timer.wait();
            }
            return Ok(());
        }
        let at = event.data() as usize;
        let connection = &mut self.connections[at];
        if event.events().contains(EpollFlags::EPOLLOUT) {
            connection.blocked = false;
            self.epoll.modify(
                connection.stream(),
                &mut EpollEvent::new(EpollFlags::EPOLLIN, at as u64),
            )?;
        }
        if event
            .events()
            .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
        {
            let now = Instant::now();
            let (now_ns, start_ns, end_ns) = (
                self.window.ns(now),
                self.window.ns(self.window.start),
                self.window.ns(self.window.end),
            );
            let stop_ns = self.window.stop_ns();
            let measured = &mut self.measured;
            let by_timetable = matches!(self.settings.pace, Pace::Rate(_));
            connection.receive(|sent_ns| {
                // Where all that is due is sent, what was due in the window counts, else what was answered within it.
                let decides = if by_timetable { sent_ns } else { now_ns };
                measured.all_requests += 1;
                if (end_ns..stop_ns).contains(&decides) {
                    measured.later_requests += 1;
                }
                if (start_ns..end_ns).contains(&decides) {
                    measured.requests += 1;
                    measured.latency_ns.saturating_record(now_ns - sent_ns);
                }
            })?;
        }
        self.refill(at)
    }

    /// Brings a connection of a closed loop back to its depth, and sends what it has.
    fn refill(&mut self, at: usize) -> Result<()> {
        let now = Instant::now();
        if !self.window.is_over(now) {
            let now_ns = self.window.ns(now);
            while self.connections[at].in_flight() < self.depth {
                let partition = self.take_partition();
                self.connections[at].queue(partition, now_ns);
            }
        }
        self.flush(at)
    }

    fn flush(&mut self, at: usize) -> Result<()> {
        let connection = &mut self.connections[at];
        let was_blocked = connection.blocked;
        connection.flush()?;
        if connection.blocked && !was_blocked {
            let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
            self.epoll
                .modify(connection.stream(), &mut EpollEvent::new(both, at as u64))?;
        }
        Ok(())
    }

    /// Sends what an open loop's timetable says is due.
    fn issue_due(&mut self, now: Instant) -> Result<()> {
        let (now_ns, start_ns, end_ns) = (
            self.window.ns(now),
            self.window.ns(self.window.start),
            self.window.ns(self.window.end),
        );
        let stop_ns = self.window.stop_ns();
        let mut is_queued = false;
        while let Some(timetable) = &mut self.timetable {
            let due_ns = timetable.next_due_ns();
            if due_ns > now_ns || due_ns >= stop_ns {
                break;
            }
            timetable.issued += 1;
            if (start_ns..end_ns).contains(&due_ns) {
                self.measured.lateness_ns.saturating_record(now_ns - due_ns);
            }
            let at = self.next_connection;
            self.next_connection = (at + 1) % self.connections.len();
            if let Pace::Offered(_) = self.settings.pace
                && self.connections[at].in_flight()
                    >= OFFERED_IN_FLIGHT_MAX / self.settings.connections
            {
                if (start_ns..end_ns).contains(&due_ns) {
                    self.measured.left_out += 1;
                }
                continue;
            }
            let partition = self.take_partition();
            self.connections[at].queue(partition, due_ns);
            is_queued = true;
            ensure!(
                self.connections[at].in_flight() < OPEN_IN_FLIGHT_MAX / self.connections.len(),
                "the broker cannot follow {:?}: {OPEN_IN_FLIGHT_MAX} requests wait for replies",
                self.settings.pace
            );
        }
        if !is_queued {
            return Ok(());
        }
        // What is due at once goes out in one piece on each connection, as from clients that are behind.
        for at in 0..self.connections.len() {
            if self.connections[at].can_flush() {
                self.flush(at)?;
            }
        }
        Ok(())
    }

    fn take_partition(&mut self) -> i32 {
        let partition = self.next_partition;
        self.next_partition = (partition + 1) % self.settings.partitions;
        partition
    }
}

/// From a microsecond to two minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("the bounds are valid")
}
