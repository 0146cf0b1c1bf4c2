//! What is known of each committed offset from outside, and what may be read of it.
//!
//! Each place, a partition in a group, is a register. A write of it takes effect at one moment between its
//! beginning and its end: the acknowledgement, or where there is none a crash or never. A read tells a write that
//! took effect before the read's end, and behind which no other one certainly came before the read began. A write
//! that was read is as good as acknowledged. Deletions are writes of nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use corelog_shards::io::Instant;

use super::plan::is_kept_while_in_use;

/// A group, a topic's name and a partition.
pub type Place = (String, String, i32);

#[derive(Debug)]
struct Write {
    /// Zero for nothing.
    number: u64,
    offset: i64,
    begin: Instant,
    /// It has no effect later than that.
    end: Option<Instant>,
    /// It has taken effect.
    is_certain: bool,
    is_refused: bool,
    /// Whoever sent it is no member any more: it must not be acknowledged.
    is_stale: bool,
    /// The broker's clock at its beginning.
    wall_ms: i64,
}

#[derive(Default)]
pub struct Commits {
    places: BTreeMap<Place, Vec<Write>>,
    numbers: u64,
    /// `offsets.retention.minutes`; offsets may be forgotten when they are as old.
    retention_ms: i64,
    /// Jumps of the broker's clock: when, and what it showed before and behind.
    jumps: Vec<(Instant, i64, i64)>,
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// Offsets that were read and compared.
    pub read: u64,
}

/// When something happens, by the clock of the world and by that of the broker.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Instant,
    pub wall_ms: i64,
}

impl Commits {
    pub fn new(retention_ms: i64) -> Commits {
        Commits {
            retention_ms,
            ..Commits::default()
        }
    }

    /// The broker's clock has jumped to what it shows `at` that moment, by so much.
    pub fn clock_jumped(&mut self, by_ms: i64, at: Moment) {
        self.jumps.push((at.now, at.wall_ms - by_ms, at.wall_ms));
    }

    /// A commit goes out. Returns what is to be sent as its text, by which it is known again.
    pub fn begin(&mut self, place: &Place, offset: i64, is_stale: bool, at: Moment) -> u64 {
        self.numbers += 1;
        let write = Write {
            number: self.numbers,
            offset,
            begin: at.now,
            end: None,
            is_certain: false,
            is_refused: false,
            is_stale,
            wall_ms: at.wall_ms,
        };
        self.places.entry(place.clone()).or_default().push(write);
        self.numbers
    }

    fn write(&mut self, place: &Place, number: u64) -> &mut Write {
        let writes = self.places.get_mut(place).expect("it was begun");
        let mut of_number = writes.iter_mut().filter(|write| write.number == number);
        of_number.next().expect("it was begun")
    }

    pub fn acknowledge(&mut self, place: &Place, number: u64, at: Moment) {
        self.acknowledged += 1;
        let write = self.write(place, number);
        assert!(
            !write.is_stale,
            "{place:?}: a commit of somebody who is not the owner any more was taken: {write:?}"
        );
        write.is_certain = true;
        write.end = Some(write.end.map_or(at.now, |end| end.min(at.now)));
    }

    /// The broker said that it does not take a commit.
    pub fn refuse(&mut self, place: &Place, number: u64) {
        let write = self.write(place, number);
        assert!(!write.is_certain, "{place:?}: refused and read: {write:?}");
        write.is_refused = true;
    }

    /// Something may be committed there, also while it is being deleted.
    pub fn expect(&mut self, place: Place) {
        self.places.entry(place).or_default();
    }

    /// What is at a place, or at all of a topic, or of a group, is being deleted.
    pub fn begin_deletion(&mut self, is_meant: impl Fn(&Place) -> bool, at: Moment) {
        for (_, writes) in self.places.iter_mut().filter(|(place, _)| is_meant(place)) {
            writes.push(Write {
                number: 0,
                offset: -1,
                begin: at.now,
                end: None,
                is_certain: false,
                is_refused: false,
                is_stale: false,
                wall_ms: at.wall_ms,
            });
        }
    }

    /// The deletions of such places that have begun at that moment never took effect, and never will.
    pub fn withdraw_deletions(&mut self, is_meant: impl Fn(&Place) -> bool, begin: Moment) {
        let meant = self.places.iter_mut().filter(|(place, _)| is_meant(place));
        for writes in meant.map(|(_, writes)| writes) {
            writes
                .retain(|write| write.number != 0 || write.is_certain || write.begin != begin.now);
        }
    }

    /// The deletions of such places that have begun are done.
    pub fn end_deletions(&mut self, is_meant: impl Fn(&Place) -> bool, at: Moment) {
        let meant = self.places.iter_mut().filter(|(place, _)| is_meant(place));
        let writes = meant.flat_map(|(_, writes)| writes);
        for write in writes.filter(|write| write.number == 0) {
            write.is_certain = true;
            write.end.get_or_insert(at.now);
        }
    }

    /// The broker's process has ended: what had no effect until now has none. What a deletion of a topic leaves to be
    /// done is done later.
    pub fn crash(&mut self, at: Moment) {
        for write in self.places.values_mut().flatten() {
            if write.number != 0 {
                write.end.get_or_insert(at.now);
            }
        }
    }

    /// The places of a group that were ever written to.
    pub fn places_of(&self, group: &str) -> Vec<Place> {
        let places = self.places.keys();
        places.filter(|(of, _, _)| of == group).cloned().collect()
    }

    /// Holds the broker to what a read that began at `begin` and has ended just now found at a place: offset and text.
    pub fn check_read(
        &mut self,
        place: &Place,
        found: Option<(i64, &str)>,
        begin: Instant,
        at: Moment,
    ) {
        self.read += 1;
        let retention_ms = self.retention_ms;
        let writes = self.places.entry(place.clone()).or_default();
        let over = writes
            .iter()
            .filter(|write| write.is_certain && write.end.is_some_and(|end| end < begin));
        let newest = over.map(|write| (write.begin, write.wall_ms)).max();
        // Behind which begin no earlier write can be read: of writes that are certain and were over.
        let horizon = newest.map(|(begin, _)| begin);
        let is_covered = |write: &Write| {
            horizon.is_some_and(|horizon| write.end.is_some_and(|end| end < horizon))
        };
        match found {
            Some((offset, text)) => {
                let number: u64 = text.parse().expect("the text of a commit");
                let write = writes.iter_mut().find(|write| write.number == number);
                let write =
                    write.unwrap_or_else(|| panic!("{place:?}: {number} is not its commit"));
                assert_eq!(write.offset, offset, "{place:?}: commit {number}");
                assert!(!write.is_refused, "{place:?}: was refused: {write:?}");
                assert!(!write.is_stale, "{place:?}: must be refused: {write:?}");
                if is_covered(write) {
                    let write = format!("{write:?}");
                    panic!("{place:?}: went back to {write}, of {:#?}", last_of(writes));
                }
                write.is_certain = true;
                write.end = Some(write.end.map_or(at.now, |end| end.min(at.now)));
            }
            None => {
                let nothings = writes.iter().filter(|write| write.number == 0);
                let Some((newest, wall_ms)) = newest else {
                    return;
                };
                if nothings.into_iter().any(|write| !is_covered(write)) {
                    return;
                }
                let may_be_last = writes
                    .iter()
                    .filter(|write| write.number != 0 && !write.is_refused && !is_covered(write));
                let latest = may_be_last.map(|write| write.end.unwrap_or(at.now));
                // Since when it counts.
                let until = match is_kept_while_in_use(&place.0) {
                    true => at.now,
                    false => latest.max().unwrap_or(newest),
                };
                let age_ms = age_ms(&self.jumps, newest..=until, wall_ms, at);
                assert!(
                    age_ms >= retention_ms,
                    "{place:?}: lost, {age_ms} ms after one of {newest:?}, of {:#?}",
                    last_of(writes)
                );
                let expired = Write {
                    number: 0,
                    offset: -1,
                    begin: newest,
                    end: Some(at.now),
                    is_certain: true,
                    is_refused: false,
                    is_stale: false,
                    wall_ms,
                };
                writes.push(expired);
            }
        }
    }
}

/// How old an offset may have been at some time until now, by the broker's clock. Its age counts from a moment `since`,
/// at whose beginning the clock showed `wall_ms`.
fn age_ms(
    jumps: &[(Instant, i64, i64)],
    since: RangeInclusive<Instant>,
    wall_ms: i64,
    at: Moment,
) -> i64 {
    let (mut least, mut oldest) = (wall_ms, 0);
    for (when, before, behind) in jumps.iter().filter(|(when, ..)| when >= since.start()) {
        oldest = oldest.max(before - least);
        if when <= since.end() {
            least = least.min(*behind);
        }
        oldest = oldest.max(behind - least);
    }
    oldest.max(at.wall_ms - least)
}

fn last_of(writes: &[Write]) -> &[Write] {
    &writes[writes.len().saturating_sub(6)..]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RETENTION_MS: i64 = 60_000;
    /// A group without members: its offsets are as old as their commits.
    const SIMPLE: &str = "simple";

    /// A broker with one offset in a group.
    struct World {
        commits: Commits,
        place: Place,
        at: Moment,
    }

    impl World {
        fn new(group: &str) -> World {
            World {
                commits: Commits::new(RETENTION_MS),
                place: (group.to_owned(), "topic".to_owned(), 0),
                at: Moment {
                    now: Instant::default() + Duration::from_secs(1),
                    wall_ms: 1_000_000,
                },
            }
        }

        fn pass_a_second(&mut self) {
            self.at.now += Duration::from_secs(1);
            self.at.wall_ms += 1_000;
        }

        /// The broker's clock jumps by so much, a second after each other.
        fn jump(&mut self, jumps_ms: &[i64]) {
            for by_ms in jumps_ms {
                self.pass_a_second();
                self.at.wall_ms += by_ms;
                self.commits.clock_jumped(*by_ms, self.at);
            }
        }

        fn begin(&mut self) -> u64 {
            self.commits.begin(&self.place, 7, false, self.at)
        }

        fn acknowledge(&mut self, number: u64) {
            self.pass_a_second();
            self.commits.acknowledge(&self.place, number, self.at);
        }

        /// Somebody reads, and finds nothing.
        fn forget(&mut self) {
            self.pass_a_second();
            let begin = self.at.now;
            self.pass_a_second();
            self.commits.check_read(&self.place, None, begin, self.at);
        }
    }

    /// A broker's clock that jumps so behind a commit in a group, and then nothing is there.
    fn forget_after(group: &str, jumps_ms: &[i64]) {
        let mut world = World::new(group);
        let number = world.begin();
        world.acknowledge(number);
        world.jump(jumps_ms);
        world.forget();
    }

    #[test]
    fn offsets_may_be_forgotten_as_soon_as_the_clock_shows_their_age() {
        forget_after(SIMPLE, &[RETENTION_MS]);
        forget_after(SIMPLE, &[RETENTION_MS, -RETENTION_MS]);
    }

    #[test]
    #[should_panic(expected = "lost, 3000 ms after")]
    fn not_earlier() {
        forget_after(SIMPLE, &[]);
    }

    #[test]
    #[should_panic(expected = "lost, 5000 ms after")]
    fn nor_because_the_clock_goes_back_and_comes_forward_again() {
        forget_after(SIMPLE, &[-RETENTION_MS, RETENTION_MS]);
    }

    #[test]
    #[should_panic(expected = "lost, 5000 ms after")]
    fn nor_where_members_of_the_new_protocol_have_committed() {
        forget_after("modern", &[-RETENTION_MS, RETENTION_MS]);
    }

    /// Its members may have gone between the jumps.
    #[test]
    fn what_members_of_the_classic_protocol_have_committed_ages_when_they_have_gone() {
        for group in ["eager", "cooperative", "mixed"] {
            forget_after(group, &[-RETENTION_MS, RETENTION_MS]);
        }
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn not_because_the_clock_goes_back() {
        forget_after(
            "eager",
            &[-RETENTION_MS, RETENTION_MS - 10_000, -RETENTION_MS],
        );
    }

    #[test]
    fn a_commit_may_be_of_any_time_until_it_was_acknowledged() {
        let mut world = World::new(SIMPLE);
        let number = world.begin();
        world.jump(&[-RETENTION_MS]);
        world.acknowledge(number);
        world.jump(&[RETENTION_MS]);
        world.forget();
    }

    /// One that was begun between the jumps and is not answered, or is refused.
    fn forget_after_another(is_refused: bool) {
        let mut world = World::new(SIMPLE);
        let number = world.begin();
        world.acknowledge(number);
        world.jump(&[-RETENTION_MS]);
        let another = world.begin();
        if is_refused {
            world.commits.refuse(&world.place, another);
        }
        world.jump(&[RETENTION_MS]);
        world.forget();
    }

    #[test]
    fn one_that_was_not_answered_may_have_come_later() {
        forget_after_another(false);
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn not_one_that_was_refused() {
        forget_after_another(true);
    }

    /// One of a topic that goes, as far as its client knows, and is still there.
    fn delete_in_vain() -> (World, u64) {
        let mut world = World::new(SIMPLE);
        let number = world.begin();
        world.acknowledge(number);
        world.pass_a_second();
        let begin = world.at;
        world.commits.begin_deletion(|_| true, begin);
        world.pass_a_second();
        world.commits.withdraw_deletions(|_| true, begin);
        world.commits.end_deletions(|_| true, world.at);
        world.pass_a_second();
        (world, number)
    }

    #[test]
    fn what_was_deleted_in_vain_is_there() {
        let (mut world, number) = delete_in_vain();
        let (begin, text) = (world.at.now, number.to_string());
        let found = Some((7, text.as_str()));
        world.pass_a_second();
        let (place, at) = (world.place.clone(), world.at);
        world.commits.check_read(&place, found, begin, at);
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn and_must_be() {
        let (mut world, _) = delete_in_vain();
        world.forget();
    }
}
