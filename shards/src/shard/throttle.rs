//! A bound of bytes a second for work that nobody waits for: compaction, and moves between folders.

use std::time::Duration;

use crate::io::Instant;

/// How long to wait so that no more is read and written than a rate allows, whatever that comes to be meanwhile.
pub(super) struct Throttle {
    /// Bytes that were used and not waited for.
    owed: f64,
    /// When that was so, and the rate since.
    since: Instant,
    a_second: Option<u64>,
}

impl Throttle {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            owed: 0.0,
            since: now,
            a_second: None,
        }
    }

    /// So many bytes were used.
    pub(super) fn owe(&mut self, bytes: usize) {
        self.owed += bytes as f64;
    }

    /// From now on, at this rate from now on; nothing if that is unlimited.
    pub(super) fn wait(&mut self, now: Instant, a_second: Option<u64>) -> Duration {
        let a_second = a_second.map(|rate| rate.max(1));
        let waited_for = |rate: u64| now.since(self.since).as_secs_f64() * rate as f64;
        self.owed = (self.owed - self.a_second.map_or(0.0, waited_for)).max(0.0);
        (self.since, self.a_second) = (now, a_second);
        match a_second {
            None => {
                self.owed = 0.0;
                Duration::ZERO
            }
            // What is less than a byte is lost in the rounding.
            Some(_) if self.owed < 1.0 => Duration::ZERO,
            Some(rate) => {
                let seconds = self.owed / rate as f64;
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_waited_for_at_the_rate_of_the_moment() {
        let at = |seconds| Instant::from_nanos(0) + Duration::from_secs(seconds);
        let mut throttle = Throttle::new(at(0));
        throttle.owe(1_000);
        assert_eq!(throttle.wait(at(0), Some(10)), Duration::from_secs(100));
        // A tenth was waited for when the rate changes.
        assert_eq!(throttle.wait(at(10), Some(100)), Duration::from_secs(9));
        assert_eq!(throttle.wait(at(19), Some(100)), Duration::ZERO);
        // Nobody saves up what he did not use.
        throttle.owe(100);
        assert_eq!(throttle.wait(at(50), Some(100)), Duration::ZERO);
        throttle.owe(100);
        assert_eq!(throttle.wait(at(50), Some(100)), Duration::from_secs(1));
        assert_eq!(throttle.wait(at(50), None), Duration::ZERO);
        assert_eq!(throttle.wait(at(50), Some(1)), Duration::ZERO);
    }
}
