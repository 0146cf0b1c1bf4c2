//! Who holds which partition, by what members were told, and for how long that must be true.
//!
//! A member that was answered holds its place in the group for as long as a session from when it asked, and what that
//! answer did not take from it for as long as a rebalance may take. Until then nobody else may be given what it holds,
//! unless it has let go of it: before it says so, as real clients do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelog_shards::io::Instant;

use super::commits::Place;

/// One life of a member: a process from its start to its end.
pub type Process = usize;

#[derive(Debug)]
struct Hold {
    process: Process,
    /// When it asked for the last answer that left it this partition.
    confirmed: Instant,
    /// Since when another one holds it.
    superseded: Option<Instant>,
    /// It learned so late of its share that it may have lost it by then to one who holds it as well: nobody can tell from
    /// outside which of both the group means.
    is_in_doubt: bool,
    /// Of a topic that is gone: keeps nobody from those of its successor, for which it may be taken.
    is_void: bool,
    /// Its owner has joined a generation of a group that may go over to the new protocol, and knows nothing of its share
    /// yet. A group that does so then has forgotten who holds what, as Apache Kafka's has: the first to ask is given it.
    is_forgotten: bool,
}

impl Hold {
    fn is_valid(&self) -> bool {
        self.superseded.is_none() && !self.is_in_doubt
    }
}

#[derive(Debug)]
struct Lease {
    answered: Instant,
    session: Duration,
    rebalance: Duration,
    /// Until when it had to let go of what it has let go of since it was answered.
    released: Option<Instant>,
}

impl Lease {
    fn since(answered: Instant, session: Duration, rebalance: Duration) -> Self {
        Self {
            answered,
            session,
            rebalance,
            released: None,
        }
    }
}

#[derive(Default)]
pub struct Holders {
    holds: BTreeMap<Place, Vec<Hold>>,
    leases: BTreeMap<Process, Lease>,
    /// Processes with the same `group.instance.id` as others, which take each other's place, unknown to one another.
    contested: BTreeSet<Process>,
    /// Until when members may take partitions of a topic that is gone for those of its successor.
    unsettled: BTreeMap<String, Instant>,
    /// Partitions that members were given.
    pub given: u64,
}

impl Holders {
    /// Another process has a process's `group.instance.id`.
    pub fn contest(&mut self, process: Process) {
        self.contested.insert(process);
    }

    /// A process is a member since something that it asked at `asked`, if it was none before.
    pub fn begin(
        &mut self,
        process: Process,
        asked: Instant,
        session: Duration,
        rebalance: Duration,
    ) {
        let lease = Lease::since(asked, session, rebalance);
        self.leases.entry(process).or_insert(lease);
    }

    /// A process was answered, to a heartbeat that it had sent at `asked`, that it is a member.
    pub fn answered(
        &mut self,
        process: Process,
        asked: Instant,
        session: Duration,
        rebalance: Duration,
    ) {
        let lease = Lease::since(asked, session, rebalance);
        self.leases.insert(process, lease);
    }

    /// The broker says that a process is no member. It may have ceased to be one if it was silent for too long, or slow.
    pub fn thrown_out(&mut self, process: Process, now: Instant, why: &str) {
        let until = self.until(process);
        self.leases.remove(&process);
        let is_contested = self.contested.contains(&process);
        assert!(
            until <= now || is_contested,
            "{process} was thrown out at {now:?}, until {until:?}: {why}"
        );
    }

    /// Until when a process keeps its place for sure, and with it all that it holds: what it is slow to let go of costs it
    /// its place, whatever that is.
    fn until(&self, process: Process) -> Instant {
        let Some(lease) = self.leases.get(&process) else {
            return Instant::default();
        };
        let holds = self
            .holds
            .values()
            .flatten()
            .filter(|hold| hold.process == process);
        let slowest = holds.map(|hold| hold.confirmed + lease.rebalance).min();
        let awaited = lease.answered + lease.session.min(lease.rebalance);
        let ends = [slowest, lease.released].into_iter().flatten();
        ends.fold(awaited, Instant::min)
    }

    /// That answer left a partition to it.
    pub fn confirmed(&mut self, process: Process, place: &Place, asked: Instant) {
        let Some(hold) = self.hold(process, place) else {
            return;
        };
        hold.confirmed = asked;
        hold.is_forgotten = false;
        if std::mem::take(&mut hold.is_in_doubt) {
            // It is the one that the group means.
            let holds = self.holds.get_mut(place).into_iter().flatten();
            let others = holds.filter(|hold| hold.process != process && hold.confirmed <= asked);
            others.for_each(|hold| _ = hold.superseded.get_or_insert(asked));
        }
    }

    /// A process was given a partition that it holds, as far as it knows, by the answer to what it had asked at `asked`.
    /// If another one has had it since, it was given it anew where that may be: a member that was lost comes back under
    /// its id, with what it held, where there are also members of the new protocol, or others take its place. Elsewhere
    /// it is slow, and its answer is older than what the other one was given.
    pub fn keep(&mut self, process: Process, place: &Place, asked: Instant, now: Instant) {
        let superseded = self.hold(process, place).and_then(|hold| hold.superseded);
        let Some(superseded) = superseded else {
            return self.confirmed(process, place, asked);
        };
        if !place.0.starts_with("mixed") && !self.contested.contains(&process) {
            assert!(
                asked <= superseded,
                "{place:?} was left to {process}, and another one has it since {superseded:?}"
            );
            return;
        }
        let holds = self.holds.entry(place.clone()).or_default();
        holds.retain(|hold| hold.process != process);
        self.take(process, place, asked, now);
    }

    fn hold(&mut self, process: Process, place: &Place) -> Option<&mut Hold> {
        let holds = self.holds.get_mut(place)?;
        holds.iter_mut().find(|hold| hold.process == process)
    }

    /// A process was given a partition, by the answer to what it had asked at `asked`. If that is so long ago that it may
    /// have lost its place since, it takes nothing from others.
    pub fn take(&mut self, process: Process, place: &Place, asked: Instant, now: Instant) {
        self.given += 1;
        if self
            .unsettled
            .get(&place.1)
            .is_some_and(|until| now < *until)
        {
            self.void(|it| it == place);
        }
        let own = &self
            .leases
            .get(&process)
            .expect("who is given something was answered");
        let is_late = asked + own.session.min(own.rebalance) <= now;
        let others = self.holds.get(place).into_iter().flatten();
        let others = others.filter(|hold| hold.is_valid() && !hold.is_void && !hold.is_forgotten);
        let others: Vec<Process> = others.map(|hold| hold.process).collect();
        for other in others.iter().filter(|_| !is_late) {
            assert_ne!(*other, process, "{place:?} was given twice to {process}");
            let until = self.until(*other);
            assert!(
                until <= now || self.contested.contains(other),
                "{place:?} was given to {process} at {now:?}, and {other} holds it until {until:?}"
            );
        }
        let holds = self.holds.entry(place.clone()).or_default();
        if !is_late {
            for hold in holds.iter_mut().filter(|hold| !hold.is_void) {
                hold.superseded.get_or_insert(now);
            }
        }
        holds.push(Hold {
            process,
            confirmed: asked,
            superseded: None,
            is_in_doubt: is_late && !others.is_empty(),
            is_void: false,
            is_forgotten: false,
        });
    }

    /// A group that may go over to the new protocol has begun a generation with this process.
    pub fn forget(&mut self, process: Process) {
        let holds = self.holds.values_mut().flatten();
        for hold in holds.filter(|hold| hold.process == process) {
            hold.is_forgotten = true;
        }
    }

    /// A process has let go of a partition.
    pub fn release(&mut self, process: Process, place: &Place) {
        let Some(hold) = self.hold(process, place) else {
            return;
        };
        let confirmed = hold.confirmed;
        if let Some(lease) = self.leases.get_mut(&process) {
            let until = confirmed + lease.rebalance;
            lease.released = Some(lease.released.map_or(until, |other| other.min(until)));
        }
        let holds = self.holds.entry(place.clone()).or_default();
        holds.retain(|hold| hold.process != process);
    }

    /// A process has come to its end, or has been told that it is no member any more.
    pub fn release_all(&mut self, process: Process) {
        self.leases.remove(&process);
        for holds in self.holds.values_mut() {
            holds.retain(|hold| hold.process != process);
        }
    }

    /// A topic goes: who still holds partitions of it doesn't keep others from those of its successor. By `until` all
    /// members know of the successor.
    pub fn forget_topic(&mut self, name: &str, until: Instant) {
        self.void(|(_, topic, _)| topic == name);
        self.unsettled.insert(name.to_owned(), until);
    }

    fn void(&mut self, is_meant: impl Fn(&Place) -> bool) {
        let meant = self.holds.iter_mut().filter(|(place, _)| is_meant(place));
        for hold in meant.flat_map(|(_, holds)| holds) {
            hold.is_void = true;
        }
    }

    /// Whether another one has had a partition since this process had it.
    pub fn is_superseded(&mut self, process: Process, place: &Place) -> bool {
        let hold = self.hold(process, place);
        hold.is_some_and(|hold| hold.superseded.is_some())
    }

    /// Who holds partitions of a group, if nobody has been given them since.
    pub fn of_group(&self, group: &str) -> Vec<(&Place, Process)> {
        let places = self.holds.iter().filter(|((of, _, _), _)| of == group);
        let holds = places.flat_map(|(place, holds)| holds.iter().map(move |hold| (place, hold)));
        let valid = holds.filter(|(_, hold)| hold.is_valid());
        valid.map(|(place, hold)| (place, hold.process)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(6);

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    fn place_in(group: &str) -> Place {
        (group.to_owned(), "topic".to_owned(), 0)
    }

    fn place() -> Place {
        place_in("mixed")
    }

    /// The first of two members has been silent for longer than its session, and the second has what it held.
    fn superseded(place: &Place) -> Holders {
        let mut holders = Holders::default();
        holders.begin(1, at(1), SESSION, SESSION);
        holders.take(1, place, at(1), at(2));
        holders.begin(2, at(10), SESSION, SESSION);
        holders.take(2, place, at(10), at(11));
        assert!(holders.is_superseded(1, place));
        holders
    }

    #[test]
    fn what_another_one_has_had_is_given_anew() {
        let mut holders = superseded(&place());
        holders.answered(1, at(20), SESSION, SESSION);
        holders.keep(1, &place(), at(20), at(21));
        assert!(!holders.is_superseded(1, &place()));
        assert!(holders.is_superseded(2, &place()));
        assert_eq!(holders.of_group("mixed"), [(&place(), 1)]);
    }

    #[test]
    #[should_panic(expected = "was given to 1")]
    fn not_while_the_other_one_holds_it() {
        let mut holders = superseded(&place());
        holders.answered(1, at(12), SESSION, SESSION);
        holders.keep(1, &place(), at(12), at(13));
    }

    #[test]
    #[should_panic(expected = "was left to 1")]
    fn not_where_there_are_no_members_of_the_new_protocol() {
        let place = place_in("cooperative");
        let mut holders = superseded(&place);
        holders.answered(1, at(20), SESSION, SESSION);
        holders.keep(1, &place, at(20), at(21));
    }

    #[test]
    fn what_a_slow_one_learns_of_late_stays_with_the_other_one() {
        let place = place_in("cooperative");
        let mut holders = superseded(&place);
        holders.keep(1, &place, at(3), at(21));
        assert!(holders.is_superseded(1, &place));
        assert_eq!(holders.of_group("cooperative"), [(&place, 2)]);
    }
}
