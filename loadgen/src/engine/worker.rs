//! One thread of the generator: an epoll, a timer, some producers and some consumers.
//!
//! It sleeps until something is due or has come, at most 20 ms if nothing is. It never sleeps for less than 20 us, so
//! at some ten thousand records a second and more it wakes up to 50,000 times a second, which takes a good part of a
//! core; the report states the wake-ups and the part of a core. Nothing else of it runs in a loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::Shared;
use super::consumer::Consumer;
use super::producer::Producer;
use crate::cluster::Cluster;
use crate::connection::READ_BYTES;
use crate::measure::Recorder;

/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(20);
/// The shortest: what is due within it leaves together, so that a fast schedule does not take a core.
const SLEEP_MIN: Duration = Duration::from_micros(20);
/// How long answers may take once nothing more is sent.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long consumers may come no further, once producers are done, before they give up: a broker may start again
/// meanwhile.
const STUCK_MAX: Duration = Duration::from_secs(30);
const EVENTS_MAX: usize = 256;
const TIMER: u64 = u64::MAX;
/// How long members may take to leave their groups.
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// In a token: the link belongs to a consumer.
const OF_CONSUMER: u64 = 1 << 63;
/// In a token: the link is one of a consumer to the coordinators of its group.
const OF_MEMBER: u64 = 1 << 62;

#[derive(Default)]
pub(super) struct Worker<'a> {
    pub producers: Vec<Producer<'a>>,
    pub consumers: Vec<Consumer>,
}

/// How far consumers are since they know their ends, and since when.
#[derive(Default)]
struct Reading {
    records: Option<u64>,
    since_ns: u64,
    /// When members of groups were told to leave.
    leaving_ns: Option<u64>,
}

impl<'a> Worker<'a> {
    /// Runs until its producers have sent everything and its consumers have read everything.
    pub(super) fn run(mut self, shared: &Shared<'_>, mut recorder: Recorder) -> Result<Self> {
        // Without this the kernel wakes a sleeping thread up to 50 us late.
        nix::sys::prctl::set_timerslack(1).context("asking for exact timers")?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let mut buffer = vec![0; READ_BYTES];
        let whole_ns = shared.workload.whole().as_nanos() as u64;
        let mut stopped_ns = None;
        let mut producers_done = false;
        let mut progress = Reading::default();
        loop {
            let now_ns = shared.clock.now_ns();
            if stopped_ns.is_none() && (now_ns >= whole_ns || shared.stop.load(Ordering::Relaxed)) {
                stopped_ns = Some(now_ns);
                for producer in &mut self.producers {
                    producer.stop(now_ns.min(whole_ns), shared, &mut recorder);
                }
                recorder.stop(now_ns);
            }
            recorder.tick(now_ns);
            let cluster = shared.directory.newest();
            let mut wake_ns = u64::MAX;
            let mut waiting = 0;
            for producer in &mut self.producers {
                let next_ns = producer.tick(&cluster, shared, &mut recorder);
                wake_ns = wake_ns.min(next_ns);
                waiting += producer.unacknowledged;
            }
            if let Some(stopped_ns) = stopped_ns
                && !producers_done
                && (waiting == 0 || now_ns > stopped_ns + DRAIN_MAX.as_nanos() as u64)
            {
                producers_done = true;
                for producer in &mut self.producers {
                    // Whatever it sent after that would be behind the ends that consumers go up to.
                    producer.give_up(now_ns, &mut recorder);
                }
                let done = self.producers.len() as u64;
                shared.producers_done.fetch_add(done, Ordering::Relaxed);
            }
            if self.consume(&cluster, shared, &mut recorder, &mut progress) && producers_done {
                return Ok(self);
            }
            self.watch(&epoll)?;
            arm(&timer, wake_ns, shared.clock.now_ns())?;
            let timeout = SLEEP_MAX.as_millis() as u16;
            let count = match epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno).context("waiting for replies"),
            };
            recorder.woke();
            for event in &events[..count] {
                if event.data() == TIMER {
                    // What it returns does not matter: the clock tells what is due.
                    let _ = timer.wait();
                } else {
                    self.happened(*event, &epoll, &mut buffer, shared, &mut recorder)?;
                }
            }
        }
    }

    /// Lets the consumers ask; whether all of them are done.
    fn consume(
        &mut self,
        cluster: &Arc<Cluster>,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
        progress: &mut Reading,
    ) -> bool {
        if !shared.may_consume.load(Ordering::Relaxed) {
            return self.consumers.is_empty();
        }
        let mut records = 0;
        for consumer in &mut self.consumers {
            consumer.tick(cluster, shared, recorder);
            records += consumer.records;
        }
        let now_ns = shared.clock.now_ns();
        let ends = shared.ends.get();
        let lags = self.consumers.iter_mut().map(|consumer| {
            if let Some(ends) = ends {
                consumer.go_up_to(ends);
            }
            consumer.lag
        });
        let lag: u64 = lags.sum();
        if !self.consumers.is_empty() {
            recorder.lag(now_ns, lag);
        }
        let must_give_up = shared.give_up.load(Ordering::Relaxed);
        if shared.workload.consumers.group.protocol.is_some() {
            // Whether all is read nobody knows of his own partitions: others may come to him.
            if !must_give_up && !shared.have_read_all.load(Ordering::Relaxed) {
                return self.consumers.is_empty();
            }
            let leaving_ns = *progress.leaving_ns.get_or_insert(now_ns);
            let mut have_left = true;
            for consumer in &mut self.consumers {
                have_left &= consumer.leave();
            }
            return have_left || now_ns > leaving_ns + LEAVE_MAX.as_nanos() as u64;
        }
        if ends.is_none() {
            return self.consumers.is_empty() || must_give_up;
        }
        if progress.records != Some(records) {
            progress.records = Some(records);
            progress.since_ns = now_ns;
        }
        lag == 0 || now_ns > progress.since_ns + STUCK_MAX.as_nanos() as u64
    }

    /// Registers connections that are new.
    fn watch(&mut self, epoll: &Epoll) -> Result<()> {
        for (at, producer) in self.producers.iter_mut().enumerate() {
            for (link_at, link) in producer.links.iter_mut().enumerate() {
                link.watch(epoll, (at as u64) << 32 | link_at as u64)?;
            }
        }
        for (at, consumer) in self.consumers.iter_mut().enumerate() {
            let token = OF_CONSUMER | (at as u64) << 32;
            for (link_at, link) in consumer.links.iter_mut().enumerate() {
                link.watch(epoll, token | link_at as u64)?;
            }
            if let Some(membership) = &mut consumer.membership {
                membership.watch(epoll, token | OF_MEMBER)?;
            }
        }
        Ok(())
    }

    fn happened(
        &mut self,
        event: EpollEvent,
        epoll: &Epoll,
        buffer: &mut [u8],
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let token = event.data();
        let (at, link_at) = (
            (token & !OF_CONSUMER & !OF_MEMBER) >> 32,
            token as u32 as usize,
        );
        let at = at as usize;
        if token & OF_MEMBER != 0 {
            self.consumers[at].hear_group(event, epoll, buffer, shared, recorder)?;
        } else if token & OF_CONSUMER != 0 {
            let consumer = &mut self.consumers[at];
            consumer.links[link_at].happened(epoll, event)?;
            consumer.receive(link_at, buffer, shared, recorder);
        } else {
            let producer = &mut self.producers[at];
            producer.links[link_at].happened(epoll, event)?;
            producer.receive(link_at, buffer, shared, recorder);
        }
        Ok(())
    }
}

/// Has the timer fire at `wake_ns`, given what the time is now.
fn arm(timer: &TimerFd, wake_ns: u64, now_ns: u64) -> Result<()> {
    let sleep = Duration::from_nanos(wake_ns.saturating_sub(now_ns)).max(SLEEP_MIN);
    if sleep < SLEEP_MAX {
        let once = Expiration::OneShot(TimeSpec::from_duration(sleep));
        timer.set(once, TimerSetTimeFlags::empty())?;
    }
    Ok(())
}
