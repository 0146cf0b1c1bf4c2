use super::*;

#[test]
fn the_partitions_of_one_who_leaves_go_to_the_others() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    let answer = world.beat(Ask::leave("one"));
    assert_eq!(answer.member_id, Some(text("one")));
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms), (-1, 0));
    assert_eq!(world.group.durable.epoch, 4);
    assert_eq!(world.group.state(), State::Assigning);
    let answer = world.beat(Ask::of("two", 3));
    assert_eq!(
        (answer.member_epoch, assigned(&answer).unwrap()[0].1.len()),
        (4, 4)
    );
    assert_eq!(
        world.refused(Ask::of("one", 2)),
        ResponseError::UnknownMemberId
    );
}

#[test]
fn a_leave_writes_tombstones_and_a_group_epoch() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.log.clear();
    world.beat(Ask::leave("one"));
    let [
        Record::ConsumerGroupCurrentMemberAssignment { value: None, .. },
        Record::ConsumerGroupTargetAssignmentMember { value: None, .. },
        Record::ConsumerGroupMemberMetadata { value: None, .. },
        Record::ConsumerGroupMetadata {
            value: Some(group), ..
        },
    ] = &world.log[..]
    else {
        panic!("other records: {:?}", world.log);
    };
    assert_eq!((group.epoch, group.metadata_hash), (3, 0));
    assert_eq!(world.group.state(), State::Empty);
    assert_eq!(
        world.group.next_deadline().map(|due| due <= world.now),
        Some(false)
    );
}

#[test]
fn who_goes_silent_is_fenced_when_its_session_ends() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    world.pass(SESSION - SECOND);
    world.beat(Ask::of("two", 3));
    assert_eq!(world.group.durable.members.len(), 2);
    world.pass(SECOND);
    assert_eq!(world.group.durable.members.len(), 1);
    assert_eq!(world.beat(Ask::of("two", 3)).member_epoch, 4);
    assert_eq!(
        world.refused(Ask::of("one", 2)),
        ResponseError::UnknownMemberId
    );
}

#[test]
fn all_who_go_silent_together_are_one_change() {
    let mut world = World::new();
    for id in ["one", "two", "three"] {
        world.beat(Ask::join(id).names(&["a"]));
    }
    assert_eq!(world.group.durable.epoch, 4);
    world.pass(SESSION);
    assert!(world.group.is_empty());
    assert_eq!(world.group.durable.epoch, 5);
    assert_eq!(world.group.next_deadline(), None);
}

#[test]
fn who_does_not_give_up_partitions_in_time_is_fenced() {
    let mut world = World::new();
    let a = world.topic("a");
    let all = [(a, vec![0, 1, 2, 3])];
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    world.beat(Ask::of("one", 2).owns(&all));
    for _ in 0..59 {
        world.pass(SECOND);
        world.beat(Ask::of("one", 2).owns(&all));
        world.beat(Ask::of("two", 3));
    }
    world.pass(SECOND);
    assert_eq!(
        world.refused(Ask::of("one", 2).owns(&all)),
        ResponseError::UnknownMemberId
    );
    let answer = world.beat(Ask::of("two", 3));
    assert_eq!(assigned(&answer), Some(all.to_vec()));
}

#[test]
fn who_gave_up_its_partitions_is_not_fenced() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    let kept = assigned(&world.beat(Ask::of("one", 2))).unwrap();
    world.pass(SECOND * 30);
    world.beat(Ask::of("one", 2).owns(&kept));
    for _ in 0..10 {
        world.pass(SECOND * 10);
        world.beat(Ask::of("one", 3));
        world.beat(Ask::of("two", 3));
    }
}

#[test]
fn a_negative_time_for_giving_up_is_none() {
    let mut world = World::new();
    let mut ask = Ask::join("one").names(&["a"]);
    ask.0.rebalance_timeout_ms = i32::MIN;
    world.beat(ask);
    world.beat(Ask::join("two").names(&["a"]));
    world.beat(Ask::of("one", 2));
    world.settle();
    assert!(!world.group.durable.members.contains_key("one"));
}

#[test]
fn sessions_and_times_for_giving_up_begin_anew_after_a_restart() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]).rebalance(SECOND * 20));
    world.beat(Ask::join("two").names(&["a"]));
    world.beat(Ask::of("one", 2));
    world.pass(SECOND * 19);
    world.restart();
    world.pass(SECOND * 19);
    assert!(world.group.durable.members.contains_key("one"));
    world.pass(SECOND);
    assert!(!world.group.durable.members.contains_key("one"));
    world.pass(SECOND * 24);
    assert!(world.group.durable.members.contains_key("two"));
    world.pass(SECOND);
    assert!(world.group.is_empty());
}

#[test]
fn a_deleted_group_leaves_nothing() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]).regex("b.*"));
    world.settle();
    world.run(|group, _, out| group.tombstones(out));
    let group = world.replayed(world.log.iter().cloned());
    assert!(group.is_empty() && group.durable.targets.is_empty());
    let live: BTreeMap<_, _> = world
        .compacted()
        .into_iter()
        .map(|r| (format!("{r:?}"), r))
        .collect();
    assert!(
        live.keys().all(|record| record.contains("value: None")),
        "{live:?}"
    );
}
