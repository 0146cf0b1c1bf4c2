//! Monotonic time and the slices of it that a task may hold a core for.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use super::Io;

/// How long a task may work before it has to let the others on its core run.
pub const SLICE: Duration = Duration::from_micros(100);

/// A point on the monotonic clock, in nanoseconds since an arbitrary start that
/// all shards of the process (or of the simulated world) share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is the later one.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates: a deadline too far away to express is never reached.
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the start of the clock.
    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// The share of its core that a long-running task is in.
///
/// ```ignore
/// let mut slice = io.slice();
/// for step in long_work {
///     step();
///     if slice.is_over(&io) {
///         io.yield_now().await;
///         slice = io.slice();
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    started: Instant,
}

impl Slice {
    pub(super) fn starting(now: Instant) -> Slice {
        Slice { started: now }
    }

    /// Whether it is time to yield. Reads the clock: ask once per step of some
    /// microseconds, not per byte. In simulation the answer is the seed's, since
    /// no time passes there while a task works.
    pub fn is_over(&self, io: &Io) -> bool {
        self.has_lasted(io, SLICE)
    }

    /// The same for who is to have no more than a part of a slice.
    pub fn has_lasted(&self, io: &Io, time: Duration) -> bool {
        io.slice_has_lasted(self.started, time)
    }
}
