use super::*;

#[test]
fn the_first_member_gets_all_partitions_at_once() {
    let mut world = World::new();
    let answer = world.beat(Ask::join("one").names(&["a", "b"]));
    let (a, b) = (world.topic("a"), world.topic("b"));
    assert_eq!(answer.member_id, Some(text("one")));
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(answer.heartbeat_interval_ms, 5000);
    let all = vec![(a, vec![0, 1, 2, 3]), (b, vec![0, 1])];
    assert_eq!(assigned(&answer), Some(all));
    assert_eq!(world.group.state(), State::Stable);
    assert!(world.group.is_subscribed_to("a") && !world.group.is_subscribed_to("c"));
}

/// The kinds of records, in the order in which Kafka writes them.
#[test]
fn a_join_writes_member_group_target_and_assignment() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["b"]));
    let [
        Record::ConsumerGroupMemberMetadata {
            value: Some(member),
            ..
        },
        Record::ConsumerGroupMetadata {
            value: Some(group), ..
        },
        Record::ConsumerGroupTargetAssignmentMember {
            value: Some(target),
            ..
        },
        Record::ConsumerGroupTargetAssignmentMetadata {
            value: Some(targets),
            ..
        },
        Record::ConsumerGroupCurrentMemberAssignment {
            value: Some(current),
            ..
        },
    ] = &world.log[..]
    else {
        panic!("other records: {:?}", world.log);
    };
    assert_eq!(member.client_id, "client");
    assert_eq!(member.client_host, "/127.0.0.1");
    assert_eq!(member.subscribed_topic_names, ["b"]);
    assert_eq!(member.subscribed_topic_regex.as_deref(), Some(""));
    assert_eq!(member.rebalance_timeout_ms, 60_000);
    assert_eq!(member.classic_member_metadata, None);
    assert_eq!(group.epoch, 2);
    assert_ne!(group.metadata_hash, 0);
    assert_eq!(target.topic_partitions[0].partitions, [0, 1]);
    assert_eq!(targets.assignment_epoch, 2);
    assert_eq!(targets.assignment_timestamp, 1_001_000);
    assert_eq!(
        (current.member_epoch, current.previous_member_epoch),
        (2, 0)
    );
    assert_eq!(
        current.assigned_partitions[0].assignment_epochs,
        Some(vec![2, 2])
    );
}

#[test]
fn a_heartbeat_that_says_nothing_new_writes_nothing_and_shows_no_assignment() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let written = world.log.len();
    let answer = world.beat(Ask::of("one", 2));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, None));
    assert_eq!(world.log.len(), written);
}

#[test]
fn a_full_heartbeat_is_shown_its_assignment_again() {
    let mut world = World::new();
    let joined = world.beat(Ask::join("one").names(&["b"]));
    let has = assigned(&joined).unwrap();
    let written = world.log.len();
    let full = Ask::of("one", 2)
        .names(&["b"])
        .rebalance(REBALANCE)
        .owns(&has);
    assert_eq!(assigned(&world.beat(full)), Some(has));
    assert_eq!(world.log.len(), written);
}

#[test]
fn old_clients_are_given_an_id() {
    let mut world = World::new();
    let answer = world.heartbeat_at(Ask::join("").names(&["a"]), 0).unwrap();
    let first = answer.member_id.unwrap();
    assert!(world.group.durable.members.contains_key(&*first));
    let answer = world.heartbeat_at(Ask::join("").names(&["a"]), 0).unwrap();
    assert_ne!(answer.member_id, Some(first));
}

#[test]
fn a_second_member_waits_for_what_the_first_gives_up() {
    let mut world = World::new();
    let a = world.topic("a");
    world.beat(Ask::join("one").names(&["a"]));
    let answer = world.beat(Ask::join("two").names(&["a"]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, Some(vec![])));
    assert_eq!(world.member("two").state, MemberState::UnreleasedPartitions);
    assert_eq!(world.group.state(), State::Reconciling);

    // The first is told to keep two, and stays at its epoch while it still has four.
    let answer = world.beat(Ask::of("one", 2));
    let kept = assigned(&answer).unwrap();
    assert_eq!(kept[0].1.len(), 2);
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(world.member("one").state, MemberState::UnrevokedPartitions);
    assert_eq!(world.beat(Ask::of("two", 3)).assignment, None);
    let answer = world.beat(Ask::of("one", 2).owns(&[(a, vec![0, 1, 2, 3])]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, None));

    let answer = world.beat(Ask::of("one", 2).owns(&kept));
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, None));
    let answer = world.beat(Ask::of("two", 3));
    let gained = assigned(&answer).unwrap();
    let all: BTreeSet<i32> = kept[0].1.iter().chain(&gained[0].1).copied().collect();
    assert_eq!(all, (0..4).collect());
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn a_member_that_joins_again_keeps_its_place() {
    let mut world = World::new();
    let has = assigned(&world.beat(Ask::join("one").names(&["a"])));
    let answer = world.beat(Ask::join("one").names(&["a"]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, has));
    assert_eq!(world.group.durable.epoch, 2);
}

#[test]
fn a_topic_that_does_not_exist_may_be_subscribed_to() {
    let mut world = World::new();
    let answer = world.beat(Ask::join("one").names(&["later"]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![])));
    world.create_topic("later", 3);
    let later = world.topic("later");
    let answer = world.beat(Ask::of("one", 2));
    assert_eq!(answer.member_epoch, 3);
    assert_eq!(assigned(&answer), Some(vec![(later, vec![0, 1, 2])]));
}

#[test]
fn a_full_group_takes_no_more_members() {
    let mut world = World::with(&[("group.consumer.max.size", "2")]);
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    let refused = world
        .heartbeat(Ask::join("three").names(&["a"]))
        .unwrap_err();
    let text = "The consumer group has reached its maximum capacity of 2 members.";
    assert_eq!(
        refused,
        (ResponseError::GroupMaxSizeReached, Some(text.to_owned()))
    );
    world.beat(Ask::join("two").names(&["a"]));
    world.beat(Ask::leave("one"));
    world.beat(Ask::join("three").names(&["a"]));
}

#[test]
fn what_is_too_large_for_the_log_is_refused() {
    let mut world = World::new();
    world.record_bytes_max = 150;
    let long = "x".repeat(150);
    assert_eq!(
        world.refused(Ask::join("one").names(&[&long])),
        ResponseError::UnknownServerError
    );
    // Kafka's strings end here, whatever the log takes.
    world.record_bytes_max = 1 << 20;
    let long = "x".repeat(40_000);
    assert_eq!(
        world.refused(Ask::join(&long)),
        ResponseError::UnknownServerError
    );
    assert!(world.group.is_empty() && world.group.next_deadline().is_none());
}

#[test]
fn a_group_has_settings_of_its_own_within_the_brokers_bounds() {
    let mut world = World::new();
    world.configure("consumer.heartbeat.interval.ms", "7000");
    world.configure("consumer.session.timeout.ms", "50000");
    let answer = world.beat(Ask::join("m").names(&["a"]));
    assert_eq!(answer.heartbeat_interval_ms, 7_000);
    world.pass(SESSION + 4 * SECOND);
    assert_eq!(world.group.state(), State::Stable);
    // The broker has other bounds by now.
    world.config = config(&[
        ("group.consumer.max.session.timeout.ms", "46000"),
        ("group.consumer.max.heartbeat.interval.ms", "6000"),
    ]);
    let answer = world.beat(Ask::of("m", answer.member_epoch));
    assert_eq!(answer.heartbeat_interval_ms, 6_000);
    world.pass(SESSION + SECOND);
    assert_eq!(world.group.state(), State::Empty);
}
