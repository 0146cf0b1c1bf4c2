//! How long a thread ran, and how long it stood in line for a core, as the scheduler counts it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// A stretch of a thread's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// How long the stretch was, in nanoseconds.
    pub wall_ns: u64,
    /// For how much of it the thread ran, in nanoseconds.
    pub ran_ns: u64,
    /// For how much of it the thread could have run and another had the core, in nanoseconds.
    pub waited_ns: u64,
}

/// Reads the scheduler's counters of the thread that started it. They are exact to a tick of the kernel, some
/// milliseconds. Where the kernel keeps none, all is zero.
#[derive(Debug)]
pub struct ThreadClock {
    file: Option<File>,
    at: Instant,
    counters: (u64, u64),
}

impl ThreadClock {
    /// Starts, for the thread that calls.
    pub fn start() -> Self {
        let mut clock = Self {
            file: File::open("/proc/thread-self/schedstat").ok(),
            at: Instant::now(),
            counters: (0, 0),
        };
        clock.counters = clock.read();
        clock
    }

    /// The time since the start or the last lap.
    pub fn lap(&mut self) -> ThreadTime {
        let now = Instant::now();
        let (ran, waited) = self.read();
        let time = ThreadTime {
            wall_ns: (now - self.at).as_nanos() as u64,
            ran_ns: ran.saturating_sub(self.counters.0),
            waited_ns: waited.saturating_sub(self.counters.1),
        };
        (self.at, self.counters) = (now, (ran, waited));
        time
    }

    /// Nanoseconds run and nanoseconds waited for a core, since the thread began.
    fn read(&self) -> (u64, u64) {
        let mut buffer = [0; 80];
        let read = self
            .file
            .as_ref()
            .and_then(|file| file.read_at(&mut buffer, 0).ok());
        let text = std::str::from_utf8(&buffer[..read.unwrap_or(0)]).unwrap_or("");
        let mut fields = text.split_whitespace().map(str::parse);
        match (fields.next(), fields.next()) {
            (Some(Ok(ran)), Some(Ok(waited))) => (ran, waited),
            // The thread is gone, or there are no counters: as if nothing more had happened.
            _ => self.counters,
        }
    }
}

/// What one worker thread used while it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// Which thread.
    pub name: String,
    /// How long it was watched, in nanoseconds.
    pub wall_ns: u64,
    /// How long it ran, in nanoseconds.
    pub ran_ns: u64,
    /// How long it could have run and had no core, in nanoseconds.
    pub waited_ns: u64,
    /// Intervals it was watched for.
    pub seconds: u64,
    /// Intervals in which it ran or waited for a core nearly all the time: [`ThreadUse::FULL_SHARE`].
    pub full_seconds: u64,
    /// How often it woke up.
    #[serde(default)]
    pub wake_ups: u64,
}

impl ThreadUse {
    /// From this part of its time on, a thread's second is full.
    pub const FULL_SHARE: f64 = 0.95;

    /// Shorter stretches, at the ends of a run, are no seconds.
    const SECOND_MIN_NS: u64 = 500_000_000;

    /// Adds a stretch.
    pub fn add(&mut self, time: ThreadTime) {
        self.wall_ns += time.wall_ns;
        self.ran_ns += time.ran_ns;
        self.waited_ns += time.waited_ns;
        if time.wall_ns >= Self::SECOND_MIN_NS {
            self.seconds += 1;
            let busy_ns = time.ran_ns + time.waited_ns;
            self.full_seconds += u64::from(share(busy_ns, time.wall_ns) >= Self::FULL_SHARE);
        }
    }

    /// The part of its time that it ran, from 0 to 1.
    pub fn ran_share(&self) -> f64 {
        share(self.ran_ns, self.wall_ns)
    }

    /// The part of its time that it waited for a core, from 0 to 1.
    pub fn waited_share(&self) -> f64 {
        share(self.waited_ns, self.wall_ns)
    }

    /// How often it woke up in a second.
    pub fn wake_ups_per_s(&self) -> f64 {
        match self.wall_ns {
            0 => 0.0,
            wall_ns => self.wake_ups as f64 * 1e9 / wall_ns as f64,
        }
    }

    /// The part of its time that it ran or waited for a core, from 0 to 1.
    pub fn busy_share(&self) -> f64 {
        share(self.ran_ns + self.waited_ns, self.wall_ns)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => (part as f64 / whole as f64).min(1.0),
    }
}
