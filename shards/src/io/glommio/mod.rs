//! The real world: one glommio executor on one core.
//!
//! glommio runs the tasks. Everything that is waited for meets in the [`poller`], which says why;
//! files have an io_uring of their own ([`ring`]).
//!
//! The rules that keep glommio well, each of them a trap met before:
//! - The preempt timer is off (`launch` sets it to an hour): with a short one an executor can park
//!   for ever while tasks are runnable. So a task yields by [`Executor::yield_now`] or nobody else
//!   gets a turn.
//! - A new task never runs inside the call that spawns it, unlike glommio's own
//!   `spawn_local`: the caller may hold borrows that the task wants.
//! - A task that another thread is to wake gives it a [`RemoteWaker`].

mod bell;
mod disk;
mod lane;
mod launch;
mod net;
mod paths;
mod poller;
mod pool;
mod ring;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::random::Random;
use super::time::Instant;
use crate::metrics::ReactorMetrics;
use ::glommio::{GlommioError, TaskQueueHandle};
use poller::Poller;
use pool::Pool;
use ring::Ring;

use bell::Bell;

pub use bell::RemoteWaker;
pub(super) use disk::File;
pub(super) use lane::{ConnectedReceiver, ConnectedSender, LaneReceiver, LaneSender, lane};
pub(crate) use launch::{Prepared, probe_io_uring};
pub(super) use net::{Listener, ReadHalf, WriteHalf};

/// What one executor's handle to the outside world remembers.
pub struct Executor {
    poller: Rc<Poller>,
    pool: Pool,
    random: RefCell<Random>,
}

impl Executor {
    /// Must be called on the executor's own thread, inside of it. `rings` are its io_urings, `ring` is
    /// the one for files.
    fn new(rings: &[BorrowedFd<'_>], ring: Rc<Ring>, pool: Pool) -> io::Result<Executor> {
        let poller = Rc::new(Poller::new(rings, ring)?);
        poller.bell().hang_up_here();
        Ok(Executor {
            poller,
            pool,
            random: RefCell::new(Random::from_seed(seed_from_kernel()?)),
        })
    }

    fn ring(&self) -> &Rc<Ring> {
        self.poller.ring()
    }

    pub(super) fn now(&self) -> Instant {
        now()
    }

    pub(super) fn metrics(&self) -> Arc<ReactorMetrics> {
        Arc::clone(self.poller.metrics())
    }

    pub(super) fn wall_ms(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // The clock of the host is set before 1970.
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    pub(super) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            self.yield_now().await;
        } else {
            self.poller.sleep(duration).await;
        }
    }

    /// Suspends until the poller has looked at disk, network, timers and the other cores once.
    pub(super) async fn yield_now(&self) {
        self.poller.next_look().await;
    }

    pub(super) fn spawn(&self, mut future: impl Future<Output = ()> + Unpin + 'static) {
        let poller = Rc::clone(&self.poller);
        spawn_uncounted(poll_fn(move |cx| poller.turn(&mut future, cx)));
    }
}

/// Spawns a task of whose turns the poller does not know.
fn spawn_uncounted(future: impl Future<Output = ()> + 'static) {
    match ::glommio::spawn_local_into(future, TaskQueueHandle::default()) {
        Ok(task) => drop(task.detach()),
        Err(error) => panic!("glommio's first task queue always exists: {error}"),
    }
}

fn now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
    Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

fn seed_from_kernel() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut source = std::fs::File::open("/dev/urandom")?;
    io::Read::read_exact(&mut source, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The operating system's error inside glommio's, so that callers can tell why there is
/// no executor.
fn os_error<T>(error: GlommioError<T>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
