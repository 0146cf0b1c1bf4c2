//! How compaction of one partition has gone.
//!
//! | event | effect |
//! |---|---|
//! | a pass ends | it is remembered, and failures are forgotten |
//! | the disk fails a pass | no other is tried for a while, twice as long with each failure in a row |
//! | a pass meets damage | no other is tried until the next start |
//!
//! Owner: the partition's shard. Nothing of it outlives the process.

use std::time::Duration;

use crate::io::Instant;

/// How long a log is left alone after the first failure of the disk.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(15);
/// How long it is left alone at most.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(600);

/// A pass that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPass {
    /// When that was, by the clock on the wall.
    pub ended_ms: i64,
    /// How long it took.
    pub took: Duration,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    last_pass: Option<LastPass>,
    /// Passes that the disk has failed, one after the other.
    failures: u32,
    paused_until: Option<Instant>,
    is_given_up: bool,
}

impl Course {
    /// Whether a pass may be tried.
    pub fn may_go_on(&self, now: Instant) -> bool {
        !self.is_given_up && self.paused_until.is_none_or(|until| now >= until)
    }

    /// Whether the last pass has failed, for a while or for good.
    pub fn is_held_up(&self) -> bool {
        self.is_given_up || self.failures > 0
    }

    /// The last pass that has not failed.
    pub fn last_pass(&self) -> Option<LastPass> {
        self.last_pass
    }

    /// After a pass.
    pub fn passed(pass: LastPass) -> Self {
        Self {
            last_pass: Some(pass),
            ..Self::default()
        }
    }

    /// After one that the disk has failed.
    pub fn failed(self, now: Instant) -> Self {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let pause = PAUSE_MIN.saturating_mul(factor).min(PAUSE_MAX);
        Self {
            failures: self.failures.saturating_add(1),
            paused_until: Some(now + pause),
            ..self
        }
    }

    /// After one that has met damage.
    pub fn given_up(self) -> Self {
        Self {
            is_given_up: true,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_until_a_pass_has_ended() {
        let begin = Instant::from_nanos(1);
        let pause = |course: Course| {
            let pauses = (0..1_000).map(Duration::from_secs);
            let first = pauses
                .into_iter()
                .find(|pause| course.may_go_on(begin + *pause));
            first.expect("not for ever").as_secs()
        };
        let mut course = Course::default();
        assert!(course.may_go_on(begin) && !course.is_held_up());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            course = course.failed(begin);
            assert!(course.is_held_up());
            pauses.push(pause(course));
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 600, 600]);
        for _ in 0..100 {
            course = course.failed(begin);
        }
        assert_eq!(pause(course), 600);
        let pass = LastPass {
            ended_ms: 7,
            took: Duration::from_secs(1),
        };
        let course = Course::passed(pass);
        assert!(course.may_go_on(begin) && !course.is_held_up());
        assert_eq!(pause(course.failed(begin)), 15);
        let given_up = course.failed(begin).given_up();
        assert!(given_up.is_held_up());
        assert_eq!(given_up.last_pass(), Some(pass));
        assert!(!given_up.may_go_on(begin + Duration::from_secs(1_000_000)));
    }
}
