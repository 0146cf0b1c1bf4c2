use super::*;
use crate::fetch::testing::{forgotten, idle, topic, wanted};

/// Of partitions 0 to 2, at high watermark 5.
fn session() -> Session {
    Session::new(false, (0..3).map(|index| (wanted(index, 0), idle(5))))
}

fn order(session: &Session) -> Vec<i32> {
    let wanted = session.wanted();
    wanted.iter().map(|one| one.params.partition).collect()
}

fn outcomes(all: &[(i32, Outcome)]) -> Vec<(TopicRef, i32, Outcome)> {
    let one = |(partition, outcome): &(i32, Outcome)| (topic(), *partition, *outcome);
    all.iter().map(one).collect()
}

#[test]
fn partitions_are_added_changed_and_forgotten() {
    let mut session = session();
    let changed = vec![wanted(1, 77), wanted(9, 3)];
    let updated = session.update(1, false, changed, &forgotten(&[0, 8]));
    assert_eq!(updated, Ok(()));
    assert_eq!(order(&session), [1, 2, 9]);
    assert_eq!(session.wanted()[0].params.fetch_offset, 77);
}

#[test]
fn a_wrong_epoch_or_way_of_naming_changes_nothing() {
    let mut session = session();
    for epoch in [0, 2, -2] {
        let updated = session.update(epoch, false, vec![wanted(9, 0)], &[]);
        assert_eq!(updated, Err(SessionError::WrongEpoch));
    }
    let updated = session.update(1, true, vec![wanted(9, 0)], &[]);
    assert_eq!(updated, Err(SessionError::TopicIds));
    assert_eq!(order(&session), [0, 1, 2]);
    assert_eq!(session.update(1, false, vec![], &[]), Ok(()));
    assert_eq!(
        session.update(1, false, vec![], &[]),
        Err(SessionError::WrongEpoch)
    );
}

#[test]
fn epochs_go_round_without_those_of_full_fetches() {
    assert_eq!(next_epoch(1), 2);
    assert_eq!(next_epoch(i32::MAX), 1);
}

#[test]
fn only_what_is_news_is_told() {
    let mut session = session();
    session.update(1, false, vec![], &[]).unwrap();
    let moved = Outcome {
        log_start_offset: 2,
        ..idle(5)
    };
    let told = session.answered(
        1,
        outcomes(&[(0, idle(5)), (1, idle(6)), (2, moved)]).iter(),
    );
    assert_eq!(told, Ok(vec![false, true, true]));
    session.update(2, false, vec![], &[]).unwrap();
    let told = session.answered(
        2,
        outcomes(&[(0, idle(5)), (1, idle(6)), (2, moved)]).iter(),
    );
    assert_eq!(told, Ok(vec![false, false, false]));
}

#[test]
fn a_topic_keeps_the_name_it_was_first_known_by() {
    let [known, unknown] = [1, 2].map(Uuid::from_u128);
    let by_id = |id| Wanted {
        topic: TopicRef::Id(id),
        ..wanted(0, 0)
    };
    let mut session = Session::new(
        true,
        [known, unknown].map(|id| (by_id(id), idle(5))).into_iter(),
    );
    let names = |session: &Session| -> Vec<_> {
        let wanted = session.wanted().into_iter();
        wanted.map(|wanted| wanted.name).collect()
    };
    session.note_names(|id| (id == known).then(|| "a".into()));
    assert_eq!(names(&session), [Some("a".into()), None]);
    session.note_names(|_| Some("b".into()));
    assert_eq!(names(&session), [Some("a".into()), Some("b".into())]);
    let again = session.update(1, true, vec![by_id(known)], &[]);
    assert_eq!(again, Ok(()));
    assert_eq!(names(&session), [Some("a".into()), Some("b".into())]);
}

#[test]
fn the_end_of_an_error_is_news() {
    let mut session = session();
    let error = Outcome {
        is_error: true,
        ..idle(-1)
    };
    for (epoch, outcome, is_told) in [
        (1, error, true),
        (2, error, true),
        (3, idle(5), true),
        (4, idle(5), false),
    ] {
        session.update(epoch, false, vec![], &[]).unwrap();
        let told = session.answered(epoch, outcomes(&[(0, outcome)]).iter());
        assert_eq!(told, Ok(vec![is_told]), "epoch {epoch}");
    }
}

#[test]
fn partitions_that_sent_records_go_to_the_back() {
    let mut session = session();
    session.update(1, false, vec![], &[]).unwrap();
    let sent = Outcome {
        has_records: true,
        ..idle(5)
    };
    let told = session.answered(1, outcomes(&[(0, sent), (1, idle(7)), (2, idle(5))]).iter());
    assert_eq!(told, Ok(vec![true, true, false]));
    assert_eq!(order(&session), [1, 2, 0]);
}

#[test]
fn an_answer_to_an_epoch_that_is_over_is_refused() {
    let mut session = session();
    session.update(1, false, vec![], &[]).unwrap();
    session.update(2, false, vec![], &[]).unwrap();
    let told = session.answered(1, outcomes(&[(0, idle(5))]).iter());
    assert_eq!(told, Err(SessionError::WrongEpoch));
}
