use super::*;

#[test]
fn most_members_decide_which_assignor_there_is() {
    let mut world = World::new();
    let assignors = &["uniform".to_owned(), "range".to_owned()];
    let preferred = |world: &World| {
        let subscriptions = &world.group.durable.subscriptions;
        subscriptions.preferred_assignor(assignors).name()
    };
    assert_eq!(preferred(&world), "uniform");
    world.beat(Ask::join("one").names(&["a"]).assignor("range"));
    assert_eq!(preferred(&world), "range");
    world.beat(Ask::join("two").names(&["a"]).assignor("uniform"));
    assert_eq!(preferred(&world), "uniform", "the first one of equals");
    world.beat(Ask::join("three").names(&["a"]).assignor("range"));
    assert_eq!(preferred(&world), "range");
    world.beat(Ask::leave("one"));
    world.beat(Ask::leave("three"));
    assert_eq!(preferred(&world), "uniform");
}

#[test]
fn the_target_is_made_by_the_assignor_of_the_member_that_joins() {
    let mut world = World::new();
    world.create_topic("c", 3);
    let all = ["a", "c"];
    world.beat(Ask::join("one").names(&all).assignor("range"));
    world.beat(Ask::join("two").names(&all).assignor("range"));
    let (a, c) = (world.topic("a"), world.topic("c"));
    assert_eq!(world.target("one"), [(a, vec![0, 1]), (c, vec![0, 1])]);
    assert_eq!(world.target("two"), [(a, vec![2, 3]), (c, vec![2])]);
}

#[test]
fn only_targets_that_change_are_written() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let written = world.log.len();
    world.beat(Ask::join("two").names(&["b"]));
    let targets = world.log[written..]
        .iter()
        .filter_map(|record| match record {
            Record::ConsumerGroupTargetAssignmentMember { member, .. } => Some(member.as_str()),
            _ => None,
        });
    assert_eq!(targets.collect::<Vec<_>>(), ["two"]);
}

#[test]
fn targets_are_computed_no_more_often_than_the_interval_says() {
    let mut world = World::with(&[("group.consumer.assignment.interval.ms", "1000")]);
    world.beat(Ask::join("one").names(&["a"]));
    let answer = world.beat(Ask::join("two").names(&["a"]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![])));
    assert_eq!(world.group.state(), State::Assigning);
    world.pass(SECOND - Duration::from_millis(1));
    assert_eq!(world.beat(Ask::of("one", 2)).member_epoch, 2);
    assert_eq!(world.group.durable.target_epoch, 2);
    world.pass(Duration::from_millis(1));
    assert_eq!(
        assigned(&world.beat(Ask::of("one", 2))).unwrap()[0].1.len(),
        2
    );
    assert_eq!(world.group.durable.target_epoch, 3);
}

#[test]
fn a_clock_that_goes_back_does_not_stop_assignments() {
    let mut world = World::with(&[("group.consumer.assignment.interval.ms", "1000")]);
    world.beat(Ask::join("one").names(&["a"]));
    world.wall_ahead_ms = 0;
    world.beat(Ask::join("two").names(&["a"]));
    assert_eq!(world.group.durable.target_epoch, 3);
}

#[test]
fn members_with_different_subscriptions_get_what_they_subscribe_to() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a", "b"]));
    let (a, b) = (world.topic("a"), world.topic("b"));
    assert!(world.target("one").iter().all(|(topic, _)| *topic == a));
    let of_b = world
        .target("two")
        .into_iter()
        .find(|(topic, _)| *topic == b);
    assert_eq!(of_b, Some((b, vec![0, 1])));
}
