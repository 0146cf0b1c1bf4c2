//! Lines of the log that clients could repeat as often as they like: the first of a kind is said at once, further ones
//! at most once in an interval, with the number of those that were not. They are said at the level `debug` meanwhile.
//!
//! Each shard has its own: no line is more often in the log than once for each shard and interval.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use corelog_shards::io::Instant;

/// How often a line of one kind is said.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was said on a shard, and when. Kinds are few: clients have no say in them.
#[derive(Debug, Default)]
pub struct Lines {
    kinds: RefCell<BTreeMap<&'static str, Kind>>,
}

#[derive(Debug)]
struct Kind {
    said: Instant,
    unsaid: u64,
}

/// That a line may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How many of its kind were not said since the last one. None if there is nothing to tell.
    pub unsaid: Option<u64>,
}

impl Lines {
    /// Whether it is the turn of another line of this kind; else it counts as one that is not said.
    pub fn turn(&self, kind: &'static str, now: Instant) -> Option<Turn> {
        let mut kinds = self.kinds.borrow_mut();
        let Some(known) = kinds.get_mut(kind) else {
            let (said, unsaid) = (now, 0);
            kinds.insert(kind, Kind { said, unsaid });
            return Some(Turn { unsaid: None });
        };
        if now.since(known.said) < INTERVAL {
            known.unsaid += 1;
            return None;
        }
        let unsaid = std::mem::take(&mut known.unsaid);
        known.said = now;
        Some(Turn {
            unsaid: (unsaid > 0).then_some(unsaid),
        })
    }
}

/// Says a line as one of a kind, the kind of its place in the code: in its turn at the level that is named, else at the
/// level `debug`. Takes the [`Lines`], the time, the level, and what the macros of `tracing` take.
macro_rules! say {
    ($lines:expr, $now:expr, $level:ident, $($line:tt)+) => {
        match $lines.turn(concat!(module_path!(), ":", line!(), ":", column!()), $now) {
            Some(turn) => tracing::$level!(unsaid = turn.unsaid, $($line)+),
            None => tracing::debug!($($line)+),
        }
    };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_further_ones_with_the_number_of_those_that_were_not() {
        let lines = Lines::default();
        let start = Instant::default() + Duration::from_secs(5);
        let said = |kind, ms| lines.turn(kind, start + Duration::from_millis(ms));
        let turn = |unsaid| Some(Turn { unsaid });
        assert_eq!(said("a", 0), turn(None));
        assert_eq!(said("b", 0), turn(None));
        for ms in 0..1_000 {
            assert_eq!(said("a", ms), None);
        }
        assert_eq!(said("a", 9_999), None);
        assert_eq!(said("a", 10_000), turn(Some(1_001)));
        assert_eq!(said("a", 10_001), None);
        assert_eq!(said("b", 60_000), turn(None));
    }
}
