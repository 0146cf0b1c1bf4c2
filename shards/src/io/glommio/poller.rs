//! Where a shard waits: one `epoll_pwait2` for sockets, disk, timers and the other cores.
//!
//! glommio's own way to wait is dear: each pass of its reactor arms and cancels timers on three
//! rings, each wait for a socket is a poll whose completion interrupts the core, and going to sleep
//! takes a barrier on all cores. Small requests spend more on that than on everything else. So
//! sockets are watched by epoll, timers are kept here, lanes between cores are plain memory, and
//! files have a [`Ring`] of their own, whose completions epoll tells of. glommio's reactor runs only
//! when another thread has woken a task, which glommio alone takes note of.
//!
//! The poller is a task among the others and never waits for anything but its turn. It learns what
//! is going on by being polled:
//!
//! ```text
//!             ┌───────── tasks ran ──────────┐
//!             ▼                              │
//!   give the others their turn ──────────────┤
//!             │                              │
//!             │ none of them ran             │
//!             ▼                              │
//!   woken by another thread? ── yes ─ pass ──┤
//!             │ no                           │
//!             ▼                              │
//!   give the kernel what files want,         │
//!   sleep until something happens ───────────┘
//! ```
//!
//! While tasks run it looks outside now and then, without sleeping, so that none of them starves.
//!
//! That the executor's queue is first in, first out makes "none of them ran" mean that none is ready:
//! whoever was woken before the poller queued itself would have run before it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::glommio::channels::shared_channel;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::bell::Bell;
use super::now;
use super::ring::Ring;
use crate::io::time::Instant;
use crate::metrics::ReactorMetrics;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;

/// How long tasks may keep the poller from looking outside.
const LOOK_EVERY: Duration = Duration::from_micros(20);

/// How often glommio's reactor gets a pass without anybody's wish, and the longest sleep: bounds what
/// a wake-up would cost that is lost inside of glommio.
const PASS_EVERY: Duration = Duration::from_millis(100);

/// What makes a short read say nothing: the end follows without an event of its own, and a read stops
/// at a mark of urgent data.
const LAST_OR_URGENT: EpollFlags = EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLPRI);

/// Events with these tokens are for no source.
const RINGS: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const FILES: u64 = u64::MAX - 2;

/// A place that other threads put things into and a task of this shard may wait for.
pub(super) trait Inbound {
    /// Wakes the task if there is something for it.
    fn wake_if_any(&self) -> bool;
}

pub(super) struct Poller {
    epoll: Epoll,
    bell: Arc<Bell>,
    ring: Rc<Ring>,
    sources: RefCell<Sources>,
    timers: RefCell<Timers>,
    inbound: RefCell<Vec<Weak<dyn Inbound>>>,
    /// Who waits for the next look outside.
    yielded: RefCell<Vec<Waker>>,
    /// Another thread has woken a task, or one of glommio's rings has something, since its last pass.
    wants_pass: Cell<bool>,
    /// How many times a task has run.
    turns: Cell<u64>,
    ended: Cell<bool>,
    metrics: Arc<ReactorMetrics>,
    /// A connection that is never made. glommio wakes whoever has polled it at the next
    /// pass of its reactor, and does not park before: the cheapest way to a pass.
    next_pass: RefCell<Pin<Box<dyn Future<Output = ()>>>>,
    /// Keeps `next_pass` from completing.
    _never_connected: shared_channel::SharedSender<()>,
}

impl Poller {
    /// `rings` are the io_urings of this thread's executor.
    pub(super) fn new(rings: &[BorrowedFd<'_>], ring: Rc<Ring>) -> io::Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // A policy may forbid it: better told now than in the middle of something.
        wait(&epoll, &mut [EpollEvent::empty()], Duration::ZERO)?;
        for &ring in rings {
            add(&epoll, ring, EpollFlags::EPOLLIN, RINGS)?;
        }
        add(&epoll, ring.descriptor(), EpollFlags::EPOLLIN, FILES)?;
        let bell = Bell::new()?;
        add(&epoll, bell.descriptor(), EpollFlags::EPOLLIN, BELL)?;
        let (sender, receiver) = shared_channel::new_bounded::<()>(1);
        Ok(Poller {
            epoll,
            bell,
            ring,
            sources: RefCell::default(),
            timers: RefCell::default(),
            inbound: RefCell::default(),
            yielded: RefCell::default(),
            wants_pass: Cell::new(false),
            turns: Cell::new(0),
            ended: Cell::new(false),
            metrics: Arc::default(),
            next_pass: RefCell::new(Box::pin(async move {
                receiver.connect().await;
            })),
            _never_connected: sender,
        })
    }

    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    pub(super) fn metrics(&self) -> &Arc<ReactorMetrics> {
        &self.metrics
    }

    /// Polls a task and counts that it had a turn.
    pub(super) fn turn<F: Future + Unpin>(
        &self,
        task: &mut F,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        self.turns.set(self.turns.get() + 1);
        Pin::new(task).poll(cx)
    }

    /// Suspends until the poller has looked outside once.
    pub(super) async fn next_look(&self) {
        let mut waits = true;
        poll_fn(|cx| {
            if !std::mem::take(&mut waits) {
                return Poll::Ready(());
            }
            self.yielded.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        Sleep {
            poller: self,
            deadline: now() + duration,
            id: None,
        }
        .await;
    }

    /// Watches a lane's receiving end for as long as there is one.
    pub(super) fn watch_inbound(&self, inbound: Weak<dyn Inbound>) {
        let mut all = self.inbound.borrow_mut();
        all.retain(|known| known.strong_count() > 0);
        all.push(inbound);
    }

    /// Watches a descriptor until that is closed. What is returned is to be dropped with it.
    pub(super) fn watch(self: &Rc<Poller>, descriptor: BorrowedFd<'_>) -> io::Result<Watched> {
        let source = Rc::new(Source::default());
        let token = self.sources.borrow_mut().insert(Rc::clone(&source));
        let watched = Watched {
            poller: Rc::clone(self),
            token,
            source,
        };
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | LAST_OR_URGENT;
        add(&self.epoll, descriptor, interest, token)?;
        Ok(watched)
    }

    /// Has [`Poller::run`] return.
    pub(super) fn end(&self) {
        self.ended.set(true);
    }

    /// The poller's own task.
    pub(super) async fn run(self: Rc<Poller>) {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let mut turns_seen = self.turns.get();
        let mut looked = now();
        let mut passed = looked;
        loop {
            give_turn().await;
            if self.ended.get() {
                return;
            }
            let turns = self.turns.get();
            let mut is_idle = turns == turns_seen;
            turns_seen = turns;
            if self.wants_pass.take() || looked.since(passed) >= PASS_EVERY {
                self.pass().await;
                passed = now();
                is_idle = false;
            }
            self.ring.submit();
            let at = now();
            if !is_idle && at.since(looked) < LOOK_EVERY {
                continue;
            }
            self.metrics.pauses.record(at.since(looked));
            let next_timer = self.timers.borrow_mut().expire(at);
            let may_sleep = is_idle && self.yielded.borrow().is_empty() && !self.ring.has_queued();
            let patience = if may_sleep {
                next_timer
            } else {
                Duration::ZERO
            };
            self.look(&mut events, patience.min(PASS_EVERY));
            looked = now();
            self.metrics.looks.add(1);
            if may_sleep {
                let idle = looked.since(at).as_nanos() as u64;
                self.metrics.idle_nanos.add(idle);
            }
            for waker in self.yielded.take() {
                waker.wake();
            }
        }
    }

    /// Waits that long for something to happen outside, and wakes who waits for it.
    fn look(&self, events: &mut [EpollEvent], mut patience: Duration) {
        if !patience.is_zero() {
            self.bell.fall_asleep();
            if self.wake_inbound() || self.bell.has_foreign_wakes() {
                patience = Duration::ZERO;
            }
        }
        let happened = wait(&self.epoll, events, patience);
        self.bell.wake_up();
        match happened {
            Ok(count) => {
                for event in &events[..count] {
                    match event.data() {
                        RINGS => self.wants_pass.set(true),
                        BELL | FILES => {}
                        token => self.sources.borrow().happened(token, event.events()),
                    }
                }
            }
            // A completion is delivered as an interruption first.
            Err(Errno::EINTR) => {}
            Err(errno) => panic!("epoll_pwait2 on a descriptor of our own failed: {errno}"),
        }
        if self.bell.take_foreign_wakes() {
            self.wants_pass.set(true);
        }
        self.ring.take_completions();
        self.wake_inbound();
    }

    fn wake_inbound(&self) -> bool {
        let mut woke = false;
        for inbound in &*self.inbound.borrow() {
            if let Some(inbound) = inbound.upgrade() {
                woke |= inbound.wake_if_any();
            }
        }
        woke
    }

    /// Has glommio submit what it was given and take in what has completed.
    pub(super) async fn pass(&self) {
        let mut passed = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut passed, true) {
                return Poll::Ready(());
            }
            let asked = self.next_pass.borrow_mut().as_mut().poll(cx);
            debug_assert!(asked.is_pending(), "the sender never connects");
            Poll::Pending
        })
        .await;
    }
}

/// Lets every task run that is ready now.
async fn give_turn() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A descriptor that the poller watches.
///
/// Events come once for each change, not for as long as a state lasts, so the state is remembered
/// here: whoever uses the descriptor says when it was found to have no more.
pub(super) struct Watched {
    poller: Rc<Poller>,
    token: u64,
    source: Rc<Source>,
}

impl Watched {
    /// Waits until there may be something to read, the end, or an error.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.source.reading.poll(cx)
    }

    /// Waits until there may be room to write, or an error.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.source.writing.poll(cx)
    }

    /// Nothing was there to read.
    pub(super) fn found_empty(&self) {
        self.source.reading.is_ready.set(false);
    }

    /// Less was read than there was room for, so nothing is left, as a rule: what comes later is an
    /// event.
    pub(super) fn read_less(&self) {
        if !self.source.may_have_more.get() {
            self.source.reading.is_ready.set(false);
        }
    }

    /// There was no room to write.
    pub(super) fn found_full(&self) {
        self.source.writing.is_ready.set(false);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.poller.sources.borrow_mut().remove(self.token);
    }
}

/// What is known of one descriptor. It may be ready until it was found not to be.
#[derive(Default)]
struct Source {
    reading: Direction,
    writing: Direction,
    /// After a short read, too.
    may_have_more: Cell<bool>,
}

struct Direction {
    is_ready: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Default for Direction {
    fn default() -> Self {
        Direction {
            is_ready: Cell::new(true),
            waiting: RefCell::default(),
        }
    }
}

impl Direction {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_ready.get() {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn becomes_ready(&self) {
        self.is_ready.set(true);
        let waiting = self.waiting.borrow_mut().take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// The sources by token. A token is a place and how often the place was given away before, so that
/// an event that was on its way when its source went is not taken for the next one's.
#[derive(Default)]
struct Sources {
    places: Vec<Place>,
    free: Vec<u32>,
}

struct Place {
    generation: u32,
    source: Option<Rc<Source>>,
}

impl Sources {
    fn insert(&mut self, source: Rc<Source>) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                source: None,
            });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.source = Some(source);
        u64::from(place.generation) << 32 | u64::from(index)
    }

    fn remove(&mut self, token: u64) {
        let index = token as u32;
        let place = &mut self.places[index as usize];
        place.source = None;
        place.generation = (place.generation + 1) & (u32::MAX >> 1);
        self.free.push(index);
    }

    fn happened(&self, token: u64, events: EpollFlags) {
        let place = &self.places[token as u32 as usize];
        let Some(source) = &place.source else { return };
        if place.generation != (token >> 32) as u32 {
            return;
        }
        let over = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        if events.intersects(over | LAST_OR_URGENT) {
            source.may_have_more.set(true);
        }
        if events.intersects(over | LAST_OR_URGENT | EpollFlags::EPOLLIN) {
            source.reading.becomes_ready();
        }
        if events.intersects(over | EpollFlags::EPOLLOUT) {
            source.writing.becomes_ready();
        }
    }
}

/// Who sleeps until when; the number tells those apart that wake at the same time.
#[derive(Default)]
struct Timers {
    waiting: BTreeMap<(Instant, u64), Waker>,
    numbers: u64,
}

impl Timers {
    /// Wakes those whose time has come, and says how long the next one takes.
    fn expire(&mut self, at: Instant) -> Duration {
        let mut woke = false;
        while let Some(first) = self.waiting.first_entry() {
            let deadline = first.key().0;
            if deadline > at {
                return if woke { Duration::ZERO } else { deadline - at };
            }
            first.remove().wake();
            woke = true;
        }
        if woke { Duration::ZERO } else { Duration::MAX }
    }
}

struct Sleep<'a> {
    poller: &'a Poller,
    deadline: Instant,
    id: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut timers = self.poller.timers.borrow_mut();
        let id = self.id.unwrap_or_else(|| {
            timers.numbers += 1;
            timers.numbers
        });
        timers
            .waiting
            .insert((self.deadline, id), cx.waker().clone());
        drop(timers);
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut timers = self.poller.timers.borrow_mut();
            timers.waiting.remove(&(self.deadline, id));
        }
    }
}

fn add(
    epoll: &Epoll,
    descriptor: BorrowedFd<'_>,
    interest: EpollFlags,
    token: u64,
) -> io::Result<()> {
    let event = EpollEvent::new(interest | EpollFlags::EPOLLET, token);
    Ok(epoll.add(descriptor, event)?)
}

/// Like [`Epoll::wait`], whose time-outs are whole milliseconds.
#[allow(unsafe_code)]
fn wait(epoll: &Epoll, events: &mut [EpollEvent], patience: Duration) -> Result<usize, Errno> {
    let timeout = libc::timespec {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_nsec: patience.subsec_nanos().into(),
    };
    // SAFETY: `EpollEvent` is a transparent `epoll_event`, the kernel fills in at most as many as
    // there are, and the time-out outlives the call. No signal mask is given.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.0.as_raw_fd(),
            events.as_mut_ptr().cast::<libc::epoll_event>(),
            events.len() as libc::c_int,
            &raw const timeout,
            std::ptr::null::<libc::sigset_t>(),
            0usize,
        )
    };
    Errno::result(count).map(|count| count as usize)
}
