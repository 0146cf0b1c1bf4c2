//! Joining, and the rebalances that it makes.

use super::*;

#[test]
fn a_client_joins_with_the_id_that_it_is_given() {
    let mut world = World::new();
    let answer = joined(&mut world.join(&Ask::new()));
    assert_eq!(
        error(answer.error_code),
        Some(ResponseError::MemberIdRequired)
    );
    let id = answer.member_id.to_string();
    assert!(
        id.starts_with("client-") && id.len() == "client-".len() + 36,
        "{id}"
    );
    assert_eq!(world.group.state(), State::Empty);

    let mut reply = world.join(&Ask::of(&id));
    assert_eq!(world.group.state(), State::PreparingRebalance);
    assert!(reply.try_take().is_none(), "others may join");
    world.pass(DELAY);
    let answer = joined(&mut reply);
    assert_eq!(error(answer.error_code), None);
    assert_eq!((answer.generation_id, &*answer.leader), (1, &*id));
    assert_eq!(answer.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(answer.protocol_name.as_deref(), Some("range"));
    assert_eq!(answer.members.len(), 1);
    assert_eq!(&*answer.members[0].metadata, b"any");
    assert_eq!(world.group.state(), State::CompletingRebalance);
}

#[test]
fn clients_before_version_4_join_at_once() {
    let mut world = World::new();
    let mut reply = world.join(&Ask::new().version(3));
    world.pass(DELAY);
    let answer = joined(&mut reply);
    assert_eq!(error(answer.error_code), None);
    assert_eq!(answer.member_id, answer.leader);
}

#[test]
fn version_0_has_the_session_time_for_rebalances() {
    let mut world = World::new();
    let mut ask = Ask::new().version(0);
    ask.rebalance = Duration::ZERO;
    world.join(&ask);
    assert_eq!(world.group.members.rebalance_timeout(), SESSION);
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten() {
    let mut world = World::new();
    let id = joined(&mut world.join(&Ask::new())).member_id.to_string();
    world.pass(SESSION);
    let answer = joined(&mut world.join(&Ask::of(&id)));
    assert_eq!(
        error(answer.error_code),
        Some(ResponseError::UnknownMemberId)
    );
    assert_eq!(world.group.next_deadline(), None);
}

#[test]
fn a_rebalance_waits_for_clients_that_were_given_an_id() {
    let mut world = World::new();
    let ids = world.stable(1);
    let mut pending = world.join(&Ask::new());
    let late = joined(&mut pending).member_id.to_string();
    let mut leader = world.join(&Ask::of(&ids[0]));
    assert!(leader.try_take().is_none());

    let mut reply = world.join(&Ask::of(&late));
    assert_eq!(joined(&mut leader).members.len(), 2);
    assert_eq!(joined(&mut reply).generation_id, 2);

    // If they never come, it waits no longer than their session.
    let mut reply = world.join(&Ask::of(&ids[0]).knows(&[("range", b"new")]));
    world.join(&Ask::new());
    world.join(&Ask::of(&late));
    world.pass(SESSION);
    assert_eq!(joined(&mut reply).generation_id, 3);
}

#[test]
fn only_the_leader_learns_who_is_a_member() {
    let mut world = World::new();
    let (first, mut leader) = world.join_as_new(&Ask::new());
    let (_, mut follower) = world.join_as_new(&Ask::new());
    world.pass(DELAY * 3);
    let (leader, follower) = (joined(&mut leader), joined(&mut follower));
    assert_eq!((&*leader.leader, &*follower.leader), (&*first, &*first));
    assert_eq!(leader.members.len(), 2);
    assert!(follower.members.is_empty());
}

#[test]
fn each_newcomer_extends_the_first_rebalance() {
    let mut world = World::new();
    let (_, mut first) = world.join_as_new(&Ask::new());
    world.pass(DELAY - SECOND);
    let (_, mut second) = world.join_as_new(&Ask::new());
    world.pass(DELAY);
    assert!(first.try_take().is_none(), "the second has extended it");
    world.pass(SECOND);
    let (_, mut third) = world.join_as_new(&Ask::new());
    assert_eq!(joined(&mut first).generation_id, 1);
    assert_eq!(joined(&mut second).generation_id, 1);
    assert!(third.try_take().is_none(), "too late for this generation");
}

#[test]
fn the_first_rebalance_is_extended_up_to_the_rebalance_timeout() {
    let mut world = World::new();
    let mut ask = Ask::new();
    ask.rebalance = DELAY * 2 + SECOND;
    let (_, mut first) = world.join_as_new(&ask);
    let mut waited = Duration::ZERO;
    while first.try_take().is_none() {
        world.join_as_new(&ask);
        world.pass(SECOND);
        waited += SECOND;
        assert!(waited <= ask.rebalance + DELAY);
    }
    assert!(waited > DELAY * 2);
}

#[test]
fn protocols_must_fit() {
    let mut world = World::new();
    let refused = |world: &mut World, ask: Ask| {
        let answer = joined(&mut world.join(&ask));
        let inconsistent = Some(ResponseError::InconsistentGroupProtocol);
        assert_eq!(error(answer.error_code), inconsistent);
    };
    refused(&mut world, Ask::new().knows(&[]));
    let untyped = Ask {
        protocol_type: "",
        ..Ask::new()
    };
    refused(&mut world, untyped);

    let ids = world.stable(2);
    refused(&mut world, Ask::new().knows(&[("roundrobin", b"any")]));
    let connect = Ask {
        protocol_type: "connect",
        ..Ask::new()
    };
    refused(&mut world, connect);
    refused(
        &mut world,
        Ask::of(&ids[1]).knows(&[("roundrobin", b"any")]),
    );
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn the_protocol_that_most_like_best_and_all_know_is_taken() {
    let mut world = World::new();
    world.stable_of(&[
        Ask::new().knows(&[("own", b""), ("a", b""), ("b", b"x"), ("c", b"")]),
        Ask::new().knows(&[("b", b"y"), ("a", b""), ("c", b"")]),
        Ask::new().knows(&[("c", b""), ("b", b"z"), ("a", b"")]),
        Ask::new().knows(&[("b", b""), ("a", b""), ("c", b"")]),
    ]);
    assert_eq!(world.group.protocol.as_deref(), Some("b"));
}

#[test]
fn a_protocol_said_twice_counts_once() {
    let mut world = World::new();
    let twice = Ask::new().knows(&[("range", b"first"), ("range", b"second")]);
    world.stable_of(&[twice, Ask::new()]);
    let members = &world.group.describe().members;
    assert!(
        members
            .iter()
            .any(|member| member.member_metadata == "first")
    );
}

#[test]
fn unknown_members_are_told_so() {
    let mut world = World::new();
    let unknown = Some(ResponseError::UnknownMemberId);
    let answer = joined(&mut world.join(&Ask::of("nobody")));
    assert_eq!(error(answer.error_code), unknown);
    world.stable(1);
    let answer = joined(&mut world.join(&Ask::of("nobody")));
    assert_eq!(
        (error(answer.error_code), &*answer.member_id),
        (unknown, "nobody")
    );
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn a_full_group_takes_nobody_in() {
    let mut world = World::with(&[("group.max.size", "2")]);
    let full = Some(ResponseError::GroupMaxSizeReached);
    let ids = world.stable(2);
    let answer = joined(&mut world.join(&Ask::new()));
    assert_eq!(error(answer.error_code), full);

    // In a rebalance those count who have joined, up to the last.
    let mut first = world.join(&Ask::of(&ids[0]));
    let (_, mut newcomer) = world.join_as_new(&Ask::new());
    let answer = joined(&mut world.join(&Ask::of(&ids[1])));
    assert_eq!(error(answer.error_code), full);
    world.pass(REBALANCE);
    assert_eq!(joined(&mut first).members.len(), 2);
    assert_eq!(error(joined(&mut newcomer).error_code), None);
}

#[test]
fn the_leader_may_always_ask_for_a_rebalance() {
    let mut world = World::new();
    let ids = world.stable(2);
    let mut leader = world.join(&Ask::of(&ids[0]));
    assert_eq!(world.group.state(), State::PreparingRebalance);
    assert_eq!(
        world.heartbeat(&ids[1], 1),
        Some(ResponseError::RebalanceInProgress)
    );
    let mut follower = world.join(&Ask::of(&ids[1]));
    assert_eq!(joined(&mut leader).generation_id, 2);
    assert_eq!(joined(&mut follower).generation_id, 2);
}

#[test]
fn a_follower_asks_for_a_rebalance_with_other_metadata_only() {
    let mut world = World::new();
    let ids = world.stable(2);
    let answer = joined(&mut world.join(&Ask::of(&ids[1])));
    assert_eq!((answer.generation_id, &*answer.leader), (1, &*ids[0]));
    assert!(answer.members.is_empty());
    assert_eq!(world.group.state(), State::Stable);

    world.join(&Ask::of(&ids[1]).knows(&[("range", b"other")]));
    assert_eq!(world.group.state(), State::PreparingRebalance);
}

#[test]
fn a_join_repeated_before_the_sync_is_answered_again() {
    let mut world = World::new();
    let ids = world.stable(2);
    let mut follower = world.join(&Ask::of(&ids[1]).knows(&[("range", b"other")]));
    let mut leader = world.join(&Ask::of(&ids[0]));
    assert_eq!(
        joined(&mut leader),
        joined(&mut world.join(&Ask::of(&ids[0])))
    );
    joined(&mut follower);
    let again = Ask::of(&ids[1]).knows(&[("range", b"other")]);
    assert_eq!(joined(&mut world.join(&again)).generation_id, 2);
    assert_eq!(world.group.state(), State::CompletingRebalance);

    // With other metadata the rebalance begins again, for those too who wait for their assignment.
    let mut waiting = world.sync(&ids[1], 2, &[]);
    assert!(waiting.try_take().is_none());
    world.join(&Ask::of(&ids[1]).knows(&[("range", b"newer")]));
    let answer = synced(&mut waiting);
    assert_eq!(
        error(answer.error_code),
        Some(ResponseError::RebalanceInProgress)
    );
}

#[test]
fn the_earlier_of_two_joins_of_a_member_is_answered_at_once() {
    let mut world = World::new();
    let ids = world.stable(2);
    let mut earlier = world.join(&Ask::of(&ids[0]));
    let mut later = world.join(&Ask::of(&ids[0]));
    assert_eq!(
        error(joined(&mut earlier).error_code),
        Some(ResponseError::RebalanceInProgress)
    );
    world.join(&Ask::of(&ids[1]));
    assert_eq!(joined(&mut later).generation_id, 2);
}

#[test]
fn who_does_not_join_in_time_is_out() {
    let mut world = World::new();
    let ids = world.stable(3);
    let mut reply = world.join(&Ask::of(&ids[1]).knows(&[("range", b"other")]));
    // They are alive, but don't join: neither the leader.
    for _ in 0..REBALANCE.as_secs() - 1 {
        world.pass(SECOND);
        let rebalancing = Some(ResponseError::RebalanceInProgress);
        assert_eq!(world.heartbeat(&ids[0], 1), rebalancing);
        assert_eq!(world.heartbeat(&ids[2], 1), rebalancing);
    }
    assert!(reply.try_take().is_none());
    world.pass(SECOND);
    let answer = joined(&mut reply);
    assert_eq!((&*answer.leader, answer.members.len()), (&*ids[1], 1));
    assert_eq!(
        world.heartbeat(&ids[0], 1),
        Some(ResponseError::UnknownMemberId)
    );
}

#[test]
fn generations_are_counted_as_java_does() {
    let mut world = World::new();
    world.stable(1);
    world.group.generation = i32::MAX;
    let ids = world.group.members.ids(|_| true);
    let mut reply = world.join(&Ask::of(&ids[0]));
    assert_eq!(joined(&mut reply).generation_id, i32::MIN);
}

#[test]
fn a_group_that_is_deleted_sends_its_clients_away() {
    let mut world = World::new();
    assert_eq!(world.group.check_delete(), Ok(()));
    world.run(|group, context, out| group.delete(context, out));
    assert_eq!(world.log, [None]);
    let gone = Some(ResponseError::CoordinatorNotAvailable);
    let answer = joined(&mut world.join(&Ask::new()));
    assert_eq!(error(answer.error_code), gone);
    let mut reply = world.sync("a", 1, &[]);
    assert_eq!(error(synced(&mut reply).error_code), gone);
    assert_eq!(world.heartbeat("a", 1), gone);
    assert_eq!(world.leave(&[("a", None)]), [gone]);
    let commit = world.run(|group, context, _| group.check_commit("", None, -1, context));
    assert_eq!(commit.err(), gone);
    assert_eq!(
        world.group.check_delete(),
        Err(ResponseError::GroupIdNotFound)
    );
    assert_eq!(&*world.group.describe().group_state, "Dead");
}

#[test]
fn a_group_has_no_more_metadata_than_could_ever_be_stored() {
    let mut world = World::new();
    world.record_bytes_max = 10_000;
    let ask = Ask::new().version(3).knows(&[("range", &[1; 9_000])]);
    let mut replies: Vec<_> = (0..5).map(|_| world.join(&ask)).collect();
    let refused = joined(&mut replies[4]);
    assert_eq!(
        error(refused.error_code),
        Some(ResponseError::GroupMaxSizeReached)
    );
    assert!(replies[..4].iter_mut().all(|it| it.try_take().is_none()));
    assert_eq!(world.group.members.len(), 4);
    // Others who have little to say still have room.
    let mut small = world.join(&Ask::new().version(3));
    assert!(small.try_take().is_none());
}

#[test]
fn very_many_small_protocols_are_much_metadata_too() {
    let mut world = World::new();
    let names = (0..60_000).map(|name| -> &'static str { format!("{name:x}").leak() });
    let protocols: Vec<(&str, &[u8])> = names.map(|name| (name, &b""[..])).collect();
    let ask = |protocols| Ask::new().version(3).knows(protocols);
    let refused = joined(&mut world.join(&ask(&protocols)));
    let full = Some(ResponseError::GroupMaxSizeReached);
    assert_eq!(error(refused.error_code), full);
    assert!(world.join(&ask(&protocols[..100])).try_take().is_none());
}
