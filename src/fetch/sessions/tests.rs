use super::*;
use crate::fetch::testing::{forgotten, idle, wanted};

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn begin(sessions: &mut Sessions, now: Instant, partitions: i32) -> i32 {
    let mut random = 1000 + now.as_nanos() / 1000;
    let random = || {
        random += 7;
        random
    };
    sessions.begin(now, random, partitions as usize, || {
        Session::new(
            false,
            (0..partitions).map(|index| (wanted(index, 0), idle(0))),
        )
    })
}

fn nameless(_: Uuid) -> Option<Arc<str>> {
    None
}

fn is_there(sessions: &Sessions, id: i32) -> bool {
    sessions.by_id.contains_key(&id)
}

#[test]
fn ids_name_their_shard_and_slots_are_shared_out() {
    let mut slots = 0;
    for shard in 0..3 {
        let mut sessions = Sessions::new(8, shard, 3);
        slots += sessions.slots;
        for _ in 0..sessions.slots {
            let id = begin(&mut sessions, at(1), 1);
            assert!(id > 0);
            assert_eq!(home(id, 3), shard);
        }
        assert_eq!(begin(&mut sessions, at(1), 1), NO_SESSION);
    }
    assert_eq!(slots, 8);
    assert_eq!(begin(&mut Sessions::new(0, 0, 1), at(1), 1), NO_SESSION);
    assert!(home(-7, 3) < 3, "whatever a client sends");
}

#[test]
fn a_stale_session_gives_way_to_any() {
    let mut sessions = Sessions::new(1, 0, 1);
    let old = begin(&mut sessions, at(0), 9);
    assert_eq!(begin(&mut sessions, at(120), 1), NO_SESSION);
    let new = begin(&mut sessions, at(121), 1);
    assert!(!is_there(&sessions, old) && is_there(&sessions, new));
}

#[test]
fn a_session_in_use_gives_way_to_a_larger_one_once_it_is_old() {
    let mut sessions = Sessions::new(1, 0, 1);
    let old = begin(&mut sessions, at(0), 2);
    sessions
        .update(at(100), (old, 1), false, vec![], &[], nameless)
        .unwrap();
    assert_eq!(begin(&mut sessions, at(110), 9), NO_SESSION, "too young");
    sessions
        .update(at(130), (old, 2), false, vec![], &[], nameless)
        .unwrap();
    assert_eq!(begin(&mut sessions, at(131), 2), NO_SESSION, "no larger");
    let new = begin(&mut sessions, at(131), 3);
    assert!(!is_there(&sessions, old) && is_there(&sessions, new));
}

#[test]
fn a_session_ends_when_nothing_is_left_of_it() {
    let mut sessions = Sessions::new(1, 0, 1);
    let id = begin(&mut sessions, at(0), 1);
    let left = sessions.update(at(1), (id, 1), false, vec![], &forgotten(&[0]), nameless);
    assert_eq!(left, Ok(vec![]));
    assert!(!is_there(&sessions, id) && sessions.by_use.is_empty());
    let gone = sessions.update(at(1), (id, 2), false, vec![], &[], nameless);
    assert_eq!(gone, Err(SessionError::UnknownId));
    assert_ne!(begin(&mut sessions, at(2), 1), NO_SESSION);
}

#[test]
fn what_was_answered_after_the_end_is_told_whole() {
    let mut sessions = Sessions::new(1, 0, 1);
    let id = begin(&mut sessions, at(0), 1);
    sessions.end(id);
    let one = wanted(0, 0);
    let told = sessions.answered((id, 1), &[(one.topic, 0, idle(0))]);
    assert_eq!(told, Ok(vec![true]));
}

#[test]
fn the_partitions_of_all_sessions_are_bounded() {
    let mut sessions = Sessions::new(100, 0, 1);
    let half = PARTITIONS_MAX as i32 / 2;
    let old = begin(&mut sessions, at(0), half);
    let other = begin(&mut sessions, at(100), half);
    assert_eq!(begin(&mut sessions, at(101), 1), NO_SESSION);
    let one_more = vec![wanted(half, 0)];
    let grown = sessions.update(at(102), (other, 1), false, one_more, &[], nameless);
    assert_eq!(grown, Err(SessionError::UnknownId));
    assert_eq!(sessions.partitions, half as usize);
    let new = begin(&mut sessions, at(121), half + 1);
    assert!(!is_there(&sessions, old) && is_there(&sessions, new));
    sessions.end(new);
    assert_eq!(sessions.partitions, 0);
    assert_eq!(begin(&mut sessions, at(122), 2 * half + 1), NO_SESSION);
}
