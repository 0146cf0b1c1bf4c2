//! Assignments: brought by the leader, stored, fetched.

use super::*;

/// A group of two whose leader has not synced; the leader is the first.
fn completing(world: &mut World) -> Vec<String> {
    let ids = world.stable(2);
    let mut leader = world.join(&Ask::of(&ids[0]));
    let mut follower = world.join(&Ask::of(&ids[1]));
    joined(&mut leader);
    joined(&mut follower);
    assert_eq!(world.group.state(), State::CompletingRebalance);
    ids
}

#[test]
fn assignments_are_stored_and_go_to_all_who_wait() {
    let mut world = World::new();
    let ids = completing(&mut world);
    let mut follower = world.sync(&ids[1], 2, &[]);
    assert!(follower.try_take().is_none(), "the leader has not assigned");
    let stored = world.log.len();
    let assignments = [(&*ids[0], "for the leader"), (&*ids[1], "for the follower")];
    let mut leader = world.sync(&ids[0], 2, &assignments);
    assert_eq!(synced(&mut leader).assignment, "for the leader");
    let answer = synced(&mut follower);
    assert_eq!(answer.assignment, "for the follower");
    assert_eq!(answer.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(answer.protocol_name.as_deref(), Some("range"));
    assert_eq!(world.log.len(), stored + 1);

    // Whoever asks later is told the same.
    let mut again = world.sync(&ids[1], 2, &[]);
    assert_eq!(synced(&mut again).assignment, "for the follower");
    assert_eq!(world.log.len(), stored + 1);
}

#[test]
fn members_the_leader_forgets_get_nothing() {
    let mut world = World::new();
    let ids = completing(&mut world);
    let mut follower = world.sync(&ids[1], 2, &[]);
    world.sync(&ids[0], 2, &[("nobody", "lost"), (&*ids[0], "all")]);
    let answer = synced(&mut follower);
    assert_eq!(
        (error(answer.error_code), answer.assignment.len()),
        (None, 0)
    );
}

#[test]
fn a_sync_must_be_of_a_member_of_this_generation() {
    let mut world = World::new();
    let refused = |world: &mut World, request, expected| {
        let mut reply = world.sync_with(request);
        assert_eq!(error(synced(&mut reply).error_code), Some(expected));
    };
    let unknown = ResponseError::UnknownMemberId;
    refused(&mut world, sync_request("nobody", 0, &[]), unknown);

    let ids = completing(&mut world);
    let sync = |generation| sync_request(&ids[0], generation, &[]);
    let illegal = ResponseError::IllegalGeneration;
    refused(&mut world, sync_request("nobody", 2, &[]), unknown);
    refused(&mut world, sync(1), illegal);
    let inconsistent = ResponseError::InconsistentGroupProtocol;
    let other_type = sync(2).with_protocol_type(Some(text("connect")));
    refused(&mut world, other_type, inconsistent);
    let other_name = sync(2).with_protocol_name(Some(text("sticky")));
    refused(&mut world, other_name, inconsistent);
    let unknown_instance = sync(2).with_group_instance_id(Some(text("i")));
    refused(&mut world, unknown_instance, unknown);
    assert_eq!(world.group.state(), State::CompletingRebalance);

    world.sync_all(&ids, 2);
    world.join(&Ask::of(&ids[0]));
    refused(&mut world, sync(2), ResponseError::RebalanceInProgress);
    refused(&mut world, sync(1), illegal);
}

#[test]
fn the_right_protocol_may_be_said() {
    let mut world = World::new();
    let ids = completing(&mut world);
    let request = sync_request(&ids[0], 2, &[])
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")));
    assert_eq!(
        error(synced(&mut world.sync_with(request)).error_code),
        None
    );
}

#[test]
fn the_earlier_of_two_syncs_of_a_member_is_answered_at_once() {
    let mut world = World::new();
    let ids = completing(&mut world);
    let mut earlier = world.sync(&ids[1], 2, &[]);
    let mut later = world.sync(&ids[1], 2, &[]);
    assert_eq!(
        error(synced(&mut earlier).error_code),
        Some(ResponseError::RebalanceInProgress)
    );
    world.sync(&ids[0], 2, &[(&ids[1], "work")]);
    assert_eq!(synced(&mut later).assignment, "work");
}

#[test]
fn a_leader_that_never_syncs_is_out() {
    let mut world = World::new();
    let ids = completing(&mut world);
    let mut follower = world.sync(&ids[1], 2, &[]);
    for _ in 0..REBALANCE.as_secs() - 1 {
        world.pass(SECOND);
        assert_eq!(world.heartbeat(&ids[0], 2), None);
    }
    assert!(follower.try_take().is_none());
    world.pass(SECOND);
    assert_eq!(
        error(synced(&mut follower).error_code),
        Some(ResponseError::RebalanceInProgress)
    );
    let mut reply = world.join(&Ask::of(&ids[1]));
    let answer = joined(&mut reply);
    assert_eq!((answer.generation_id, answer.members.len()), (3, 1));
}

#[test]
fn a_follower_that_never_syncs_is_out_of_the_stable_group() {
    let mut world = World::new();
    let ids = completing(&mut world);
    world.sync(&ids[0], 2, &[]);
    assert_eq!(world.group.state(), State::Stable);
    for _ in 0..REBALANCE.as_secs() {
        world.pass(SECOND);
        world.heartbeat(&ids[0], 2);
        world.heartbeat(&ids[1], 2);
    }
    assert_eq!(world.group.state(), State::PreparingRebalance);
    assert_eq!(
        world.heartbeat(&ids[1], 2),
        Some(ResponseError::UnknownMemberId)
    );
}

#[test]
fn a_group_where_all_sync_stays_stable() {
    let mut world = World::new();
    let ids = world.stable(2);
    for _ in 0..REBALANCE.as_secs() * 2 {
        world.pass(SECOND);
        assert_eq!(world.heartbeat(&ids[0], 1), None);
        assert_eq!(world.heartbeat(&ids[1], 1), None);
    }
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn assignments_that_no_record_can_hold_are_refused() {
    let mut world = World::new();
    let ids = completing(&mut world);
    let before = world.log.clone();
    let mut follower = world.sync(&ids[1], 2, &[]);
    world.record_bytes_max = 1000;
    let much = "x".repeat(1000);
    let mut leader = world.sync(&ids[0], 2, &[(&*ids[0], &*much)]);
    let too_large = Some(ResponseError::UnknownServerError);
    assert_eq!(error(synced(&mut leader).error_code), too_large);
    assert_eq!(error(synced(&mut follower).error_code), too_large);
    assert_eq!(world.log, before);
    // The next generation may fit.
    assert_eq!(world.group.state(), State::PreparingRebalance);
    world.join(&Ask::of(&ids[0]));
    world.join(&Ask::of(&ids[1]));
    world.sync_all(&ids, 3);
}

#[test]
fn a_member_id_that_no_record_can_hold_never_gets_an_assignment() {
    let mut world = World::new();
    let instance = "i".repeat(i16::MAX as usize);
    let mut reply = world.join(&Ask::new().instance(&instance));
    world.pass(DELAY);
    let id = joined(&mut reply).member_id.to_string();
    let mut reply = world.sync(&id, 1, &[]);
    assert_eq!(
        error(synced(&mut reply).error_code),
        Some(ResponseError::UnknownServerError)
    );
}

#[test]
fn what_is_kept_does_not_hold_on_to_requests() {
    let mut world = World::new();
    let request = Bytes::from(vec![b'x'; 1 << 20]);
    let mut ask = Ask::new();
    ask.protocols = vec![("range", request.slice(..4))];
    let (id, _) = world.join_as_new(&ask);
    world.pass(DELAY);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(text(&id))
        .with_assignment(request.slice(..8));
    let sync = sync_request(&id, 1, &[]).with_assignments(vec![assignment]);
    assert_eq!(synced(&mut world.sync_with(sync)).assignment.len(), 8);
    drop(ask);
    assert!(request.is_unique());
}
