//! The real world: one glommio executor on one core.
//!
//! The rules that keep glommio well, each of them a trap met before:
//! - The preempt timer is off (`launch` sets it to an hour), so a task yields
//!   *through the reactor* or the reactor never runs: see [`Executor::yield_now`].
//! - A new task never runs inside the call that spawns it, unlike glommio's own
//!   `spawn_local`: the caller may hold borrows that the task wants.
//! - The first file opened on a device decides whether glommio polls that device
//!   for completions, and an empty one makes it decide wrongly: see `disk`.
//! - Closures for the blocking pool catch their panics, or their caller hangs.

mod disk;
mod launch;
mod net;
mod paths;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use ::glommio::channels::shared_channel;
use ::glommio::timer::Timer;
use ::glommio::{GlommioError, TaskQueueHandle};
use rustc_hash::FxHashSet;

use super::random::Random;
use super::time::Instant;

pub(super) use disk::File;
pub(crate) use launch::{Prepared, probe_io_uring};
pub(super) use net::{Listener, ReadHalf, WriteHalf};

/// What one executor's handle to the outside world remembers.
pub struct Executor {
    random: RefCell<Random>,
    /// Devices of which glommio knows that their completions are not polled for.
    known_devices: RefCell<FxHashSet<u64>>,
    /// A connection that is never made; polling it asks for the next pass of the reactor.
    next_pass: RefCell<Pin<Box<dyn Future<Output = ()>>>>,
    /// Keeps `next_pass` from completing.
    _never_connected: shared_channel::SharedSender<()>,
}

impl Executor {
    /// Must be called on the executor's own thread, inside of it.
    pub(super) fn new() -> io::Result<Executor> {
        let (sender, receiver) = shared_channel::new_bounded::<()>(1);
        Ok(Executor {
            random: RefCell::new(Random::from_seed(seed_from_kernel()?)),
            known_devices: RefCell::default(),
            next_pass: RefCell::new(Box::pin(async move {
                receiver.connect().await;
            })),
            _never_connected: sender,
        })
    }

    pub(super) fn now(&self) -> Instant {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
        Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
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
            Timer::new(duration).await;
        }
    }

    /// Suspends until the reactor has looked at the rings, the timers and the other
    /// cores once.
    ///
    /// The usual way is a timer of a few microseconds, which costs a timer and often
    /// a park: 29 us of CPU as measured. A receiver that waits for its peer costs 4:
    /// glommio wakes everyone who polled it at the reactor's next pass, and does not
    /// park before.
    pub(super) async fn yield_now(&self) {
        let mut passed = false;
        poll_fn(|cx| {
            if passed {
                return Poll::Ready(());
            }
            passed = true;
            let asked = self.next_pass.borrow_mut().as_mut().poll(cx);
            debug_assert!(asked.is_pending(), "the sender never connects");
            Poll::Pending
        })
        .await;
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let queue = TaskQueueHandle::default();
        match ::glommio::spawn_local_into(future, queue) {
            Ok(task) => drop(task.detach()),
            Err(error) => panic!("glommio's first task queue always exists: {error}"),
        }
    }
}

fn seed_from_kernel() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut source = std::fs::File::open("/dev/urandom")?;
    io::Read::read_exact(&mut source, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The operating system's error inside glommio's, so that callers can tell a full
/// disk from a broken one.
fn os_error<T>(error: GlommioError<T>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
