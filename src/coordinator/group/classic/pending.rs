//! Ids that were given to clients which are to join again with them, and may never do.
//!
//! They are forgotten when the session would be over that the client has asked for. Nobody answers for how many clients
//! ask, so there is a limit to what they take, beyond which the oldest go: should one of them come back, it is told to
//! ask for another id. It must not be the ones with the least time left, or those who ask for little would never get in
//! beside a crowd that asks for much.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use corelog_shards::io::Instant;

/// What the ids of a group take together, in bytes: that of more than ten thousand clients at once.
const BYTES_MAX: usize = 1 << 20;
/// What an id takes beside its text.
const OVERHEAD_BYTES: usize = 40;
/// What it takes in memory beside that, which has three places.
const PLACES_BYTES: usize = 160;

#[derive(Default)]
pub(super) struct PendingJoins {
    by_id: BTreeMap<Rc<str>, Pending>,
    by_time: BTreeSet<(Instant, Rc<str>)>,
    by_age: BTreeMap<u64, Rc<str>>,
    /// How many there have been.
    given: u64,
    bytes: usize,
}

struct Pending {
    until: Instant,
    number: u64,
}

impl PendingJoins {
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub fn insert(&mut self, id: Rc<str>, until: Instant) {
        let number = self.given;
        self.given += 1;
        self.bytes += bytes_of(&id);
        self.by_time.insert((until, Rc::clone(&id)));
        self.by_age.insert(number, Rc::clone(&id));
        self.by_id.insert(id, Pending { until, number });
        while self.bytes > BYTES_MAX
            && self.by_id.len() > 1
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.remove(&oldest);
        }
    }

    pub fn remove(&mut self, id: &str) {
        if let Some((id, pending)) = self.by_id.remove_entry(id) {
            self.bytes -= bytes_of(&id);
            self.by_age.remove(&pending.number);
            self.by_time.remove(&(pending.until, id));
        }
    }

    /// What they take in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.bytes + PLACES_BYTES * self.by_id.len()
    }

    /// The ids whose time is over.
    pub fn overdue(&self, now: Instant) -> Vec<Rc<str>> {
        let overdue = self.by_time.iter().take_while(|(until, _)| *until <= now);
        overdue.map(|(_, id)| Rc::clone(id)).collect()
    }

    pub fn earliest(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }
}

fn bytes_of(id: &str) -> usize {
    id.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Instant {
        Instant::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn the_oldest_make_room() {
        let mut pending = PendingJoins::default();
        let id = |n: u64| -> Rc<str> { format!("{n:0>30000}").into() };
        for n in 0..100 {
            // The newest have the least time.
            pending.insert(id(n), at(1_000 - n));
        }
        let left = pending.by_id.len() as u64;
        assert!((30..40).contains(&left), "{left}");
        assert!((0..100).all(|n| pending.contains(&id(n)) == (n >= 100 - left)));
        assert_eq!(pending.overdue(at(901)), [id(99)]);
        assert_eq!(pending.earliest(), Some(at(901)));
        for n in 0..100 {
            pending.remove(&id(n));
        }
        assert!(pending.is_empty() && pending.by_age.is_empty());
        assert_eq!((pending.bytes, pending.earliest()), (0, None));
    }

    #[test]
    fn ten_thousand_clients_are_no_crowd() {
        let mut pending = PendingJoins::default();
        for n in 0..10_000 {
            pending.insert(format!("consumer-of-something-{n:0>36}").into(), at(10));
        }
        assert_eq!(pending.by_id.len(), 10_000);
    }
}
