use super::*;

#[test]
fn what_a_member_no_longer_subscribes_to_is_taken_from_it_at_once() {
    let mut world = World::with(&[("group.consumer.assignment.interval.ms", "15000")]);
    let (a, b) = (world.topic("a"), world.topic("b"));
    let both = [(a, vec![0, 1, 2, 3]), (b, vec![0, 1])];
    world.beat(Ask::join("one").names(&["a", "b"]));
    // The target is not computed anew yet.
    let answer = world.beat(Ask::of("one", 2).names(&["a"]).owns(&both));
    assert_eq!(
        (answer.member_epoch, assigned(&answer)),
        (2, Some(both[..1].to_vec()))
    );
    assert_eq!(world.member("one").state, MemberState::UnrevokedPartitions);
    let answer = world.beat(Ask::of("one", 2).owns(&both[..1]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, None));
    assert_eq!(world.member("one").state, MemberState::Stable);
    assert!(world.member("one").revoking.is_empty());
}

#[test]
fn what_it_does_not_own_any_more_need_not_be_given_up() {
    let mut world = World::with(&[("group.consumer.assignment.interval.ms", "15000")]);
    let a = world.topic("a");
    world.beat(Ask::join("one").names(&["a", "b"]));
    let only_a = [(a, vec![0, 1, 2, 3])];
    world.beat(Ask::of("one", 2).names(&["a"]).owns(&only_a));
    let member = world.member("one");
    assert_eq!((member.state, member.epoch), (MemberState::Stable, 2));
    assert!(member.revoking.is_empty() && member.assigned.len() == 1);
}

#[test]
fn more_may_be_taken_while_partitions_are_being_given_up() {
    let mut world = World::with(&[("group.consumer.assignment.interval.ms", "15000")]);
    world.create_topic("c", 1);
    let (a, b, c) = (world.topic("a"), world.topic("b"), world.topic("c"));
    let all = [(a, vec![0, 1, 2, 3]), (b, vec![0, 1]), (c, vec![0])];
    world.beat(Ask::join("one").names(&["a", "b", "c"]));
    world.beat(Ask::of("one", 2).names(&["a", "b"]).owns(&all));
    let answer = world.beat(Ask::of("one", 2).names(&["a"]).owns(&all));
    assert_eq!(assigned(&answer), Some(all[..1].to_vec()));
    let revoking: Vec<_> = world.member("one").revoking.keys().copied().collect();
    assert_eq!(revoking, [b, c]);
    world.beat(Ask::of("one", 2).owns(&all[..1]));
    assert_eq!(world.member("one").state, MemberState::Stable);
}

#[test]
fn a_new_target_reaches_a_member_that_waits() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    assert_eq!(world.member("two").state, MemberState::UnreleasedPartitions);
    // All that it waits for becomes free.
    world.beat(Ask::leave("one"));
    let answer = world.beat(Ask::of("two", 3));
    assert_eq!(
        (answer.member_epoch, assigned(&answer).unwrap()[0].1.len()),
        (4, 4)
    );
}

#[test]
fn a_member_may_be_given_back_what_it_is_giving_up() {
    let mut world = World::new();
    let a = world.topic("a");
    let all = [(a, vec![0, 1, 2, 3])];
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    let kept = assigned(&world.beat(Ask::of("one", 2).owns(&all))).unwrap();
    world.beat(Ask::leave("two"));
    // It still says that it owns them: first it is to give them up.
    assert_eq!(world.beat(Ask::of("one", 2).owns(&all)).assignment, None);
    let answer = world.beat(Ask::of("one", 2).owns(&kept));
    assert_eq!(
        (answer.member_epoch, assigned(&answer)),
        (4, Some(all.to_vec()))
    );
}

#[test]
fn partitions_of_a_deleted_topic_are_given_up() {
    let mut world = World::new();
    let (a, b) = (world.topic("a"), world.topic("b"));
    world.beat(Ask::join("one").names(&["a", "b"]));
    world.delete_topic("b");
    let answer = world.beat(Ask::of("one", 2));
    let left = vec![(a, vec![0, 1, 2, 3])];
    assert_eq!(assigned(&answer), Some(left.clone()));
    assert!(world.member("one").revoking.contains_key(&b));
    assert_eq!(world.beat(Ask::of("one", 2).owns(&left)).member_epoch, 3);
    assert_eq!(world.group.state(), State::Stable);
}
