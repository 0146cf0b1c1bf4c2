use super::*;

fn invalid(text: &str) -> Rejection {
    (ResponseError::InvalidRequest, Some(text.to_owned()))
}

fn changed(ask: Ask, change: impl FnOnce(&mut ConsumerGroupHeartbeatRequest)) -> Ask {
    let mut request = ask.0;
    change(&mut request);
    Ask(request)
}

#[test]
fn what_no_heartbeat_may_be() {
    let join = || Ask::join("one").names(&["a"]);
    let cases = [
        (Ask::join(" "), "MemberId can't be empty."),
        (
            changed(join(), |r| r.group_id = GroupId(text(""))),
            "GroupId can't be empty.",
        ),
        (join().instance("\t"), "InstanceId can't be empty."),
        (
            changed(join(), |r| r.rack_id = Some(text(""))),
            "RackId can't be empty.",
        ),
        (
            changed(join(), |r| r.rebalance_timeout_ms = -1),
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (
            changed(join(), |r| r.topic_partitions = None),
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            join().owns(&[(Uuid::from_u128(1), vec![0])]),
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            changed(join(), |r| r.subscribed_topic_names = None),
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        (Ask::of("one", LEAVE_STATIC), "InstanceId can't be null."),
        (Ask::of("one", -3), "MemberEpoch is invalid."),
    ];
    let mut world = World::new();
    for (ask, text) in cases {
        assert_eq!(world.heartbeat(ask), Err(invalid(text)));
    }
    let refused = world.heartbeat(join().assignor("round")).unwrap_err();
    let text = "ServerAssignor round is not supported. Supported assignors: uniform, range.";
    assert_eq!(
        refused,
        (ResponseError::UnsupportedAssignor, Some(text.to_owned()))
    );
}

#[test]
fn old_clients_need_an_id_only_once_they_have_one() {
    let mut world = World::new();
    for epoch in [1, LEAVE] {
        let refused = world.heartbeat_at(Ask::of("", epoch), 0);
        assert_eq!(refused, Err(invalid("MemberId can't be empty.")));
    }
    assert!(world.heartbeat_at(Ask::join(""), 0).is_ok());
    assert_eq!(world.refused(Ask::join("")), ResponseError::InvalidRequest);
}

#[test]
fn who_is_no_member_is_told_so() {
    let mut world = World::new();
    let text = "Member one is not a member of group group.";
    let unknown = (ResponseError::UnknownMemberId, Some(text.to_owned()));
    assert_eq!(world.heartbeat(Ask::of("one", 1)), Err(unknown.clone()));
    assert_eq!(world.heartbeat(Ask::leave("one")), Err(unknown));
}

#[test]
fn an_epoch_that_the_member_never_had_is_fenced() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let refused = world.heartbeat(Ask::of("one", 3)).unwrap_err();
    assert_eq!(refused.0, ResponseError::FencedMemberEpoch);
    let text = "The consumer group member has a greater member epoch (3) than the one known by the group coordinator \
                (2). The member must abandon all its partitions and rejoin.";
    assert_eq!(refused.1.unwrap(), text);
    let text = "The consumer group member has a smaller member epoch (1) than the one known by the group coordinator \
                (2). The member must abandon all its partitions and rejoin.";
    assert_eq!(
        world.heartbeat(Ask::of("one", 1)).unwrap_err().1.unwrap(),
        text
    );
}

/// The reply that told of the new epoch was lost: the member knows only the one before.
#[test]
fn the_epoch_before_will_do_for_who_owns_no_more_than_it_was_assigned() {
    let mut world = World::new();
    let a = world.topic("a");
    world.beat(Ask::join("one").names(&["b"]));
    world.beat(Ask::of("one", 2).names(&["a", "b"]));
    let b = world.topic("b");
    let has = [(b, vec![0, 1])];
    assert_eq!(
        world.refused(Ask::of("one", 2)),
        ResponseError::FencedMemberEpoch
    );
    let too_much = [(a, vec![0, 9])];
    assert_eq!(
        world.refused(Ask::of("one", 2).owns(&too_much)),
        ResponseError::FencedMemberEpoch
    );
    let answer = world.beat(
        Ask::of("one", 2)
            .names(&["a", "b"])
            .rebalance(REBALANCE)
            .owns(&has),
    );
    assert_eq!(answer.member_epoch, 3);
    assert_eq!(
        assigned(&answer),
        Some(vec![(a, vec![0, 1, 2, 3]), (b, vec![0, 1])])
    );
}

/// A later version may write a state that is not known here.
#[test]
fn a_member_in_an_unknown_state_must_begin_anew() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let mut strange = world.member("one").clone();
    strange.state = MemberState::Unknown;
    let record = strange.assignment_record(GROUP);
    world.run(|_, _, out| out.records.push(record));
    let has = [(world.topic("a"), vec![0])];
    assert_eq!(
        world.refused(Ask::of("one", 2)),
        ResponseError::FencedMemberEpoch
    );
    assert_eq!(
        world.refused(Ask::of("one", 2).owns(&has)),
        ResponseError::FencedMemberEpoch
    );
    world.beat(Ask::of("one", 2).owns(&[]));
    assert_eq!(world.member("one").state, MemberState::Stable);
}
