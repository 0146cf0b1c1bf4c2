//! Heartbeats, sessions that end, members that leave.

use super::*;

#[test]
fn heartbeats_keep_a_member_in() {
    let mut world = World::new();
    let ids = world.stable(2);
    for _ in 0..5 {
        world.pass(SESSION - SECOND);
        assert_eq!(world.heartbeat(&ids[0], 1), None);
        assert_eq!(world.heartbeat(&ids[1], 1), None);
    }
    // One falls silent.
    world.pass(SESSION - SECOND);
    assert_eq!(world.heartbeat(&ids[0], 1), None);
    world.pass(SECOND);
    assert_eq!(
        world.heartbeat(&ids[0], 1),
        Some(ResponseError::RebalanceInProgress)
    );
    assert_eq!(
        world.heartbeat(&ids[1], 1),
        Some(ResponseError::UnknownMemberId)
    );
    let mut reply = world.join(&Ask::of(&ids[0]));
    assert_eq!(joined(&mut reply).members.len(), 1);
}

#[test]
fn heartbeats_are_of_members_of_this_generation() {
    let mut world = World::new();
    let ids = world.stable(1);
    let illegal = Some(ResponseError::IllegalGeneration);
    assert_eq!(world.heartbeat(&ids[0], 0), illegal);
    assert_eq!(world.heartbeat(&ids[0], 2), illegal);
    let unknown = Some(ResponseError::UnknownMemberId);
    assert_eq!(world.heartbeat("nobody", 1), unknown);
    let pending = joined(&mut world.join(&Ask::new())).member_id;
    assert_eq!(world.heartbeat(&pending, 1), unknown);
}

#[test]
fn heartbeats_count_before_the_sync_too() {
    let mut world = World::new();
    let (id, _) = world.join_as_new(&Ask::new());
    world.pass(DELAY);
    assert_eq!(world.group.state(), State::CompletingRebalance);
    for _ in 0..3 {
        world.pass(SESSION - SECOND);
        assert_eq!(world.heartbeat(&id, 1), None);
    }
}

#[test]
fn a_member_that_waits_for_its_join_is_not_silent() {
    let mut world = World::new();
    let ids = world.stable(2);
    let mut reply = world.join(&Ask::of(&ids[0]));
    // The other one is there, but takes its time.
    for _ in 0..5 {
        world.pass(SESSION - SECOND);
        world.heartbeat(&ids[1], 1);
    }
    assert!(reply.try_take().is_none());
    let mut other = world.join(&Ask::of(&ids[1]));
    assert_eq!(joined(&mut reply).members.len(), 2);
    joined(&mut other);
    // From then on it has to be heard of again.
    world.pass(SESSION);
    assert_eq!(world.group.state(), State::Empty);
}

#[test]
fn a_member_that_waits_for_its_assignment_is_not_silent() {
    let mut world = World::new();
    let ids = world.stable(2);
    world.join(&Ask::of(&ids[0]));
    world.join(&Ask::of(&ids[1]));
    let mut reply = world.sync(&ids[1], 2, &[]);
    for _ in 0..5 {
        world.pass(SESSION - SECOND);
        world.heartbeat(&ids[0], 2);
    }
    assert!(reply.try_take().is_none());
    world.sync(&ids[0], 2, &[(&ids[1], "work")]);
    assert_eq!(synced(&mut reply).assignment, "work");
    world.pass(SESSION - SECOND);
    assert_eq!(world.heartbeat(&ids[1], 2), None);
}

#[test]
fn a_first_join_waits_five_minutes_at_most() {
    let mut world = World::new();
    let mut slow = Ask::new();
    slow.rebalance = SECOND * 1000;
    let ids = world.stable_of(&[slow.clone()]);
    let (id, mut reply) = world.join_as_new(&slow);
    for _ in 0..299 {
        world.pass(SECOND);
        world.heartbeat(&ids[0], 1);
    }
    assert!(reply.try_take().is_none());
    world.pass(SECOND);
    let answer = joined(&mut reply);
    assert_eq!(
        error(answer.error_code),
        Some(ResponseError::UnknownMemberId)
    );
    assert!(answer.member_id.is_empty());
    assert!(world.group.members.get(&id).is_none());
}

#[test]
fn the_last_member_to_leave_leaves_an_empty_group_behind() {
    let mut world = World::new();
    let ids = world.stable(1);
    assert_eq!(world.leave(&[(&ids[0], None)]), [None]);
    assert_eq!(world.group.state(), State::Empty);
    let value = world.log.last().cloned().flatten().expect("a record");
    assert_eq!((value.generation, value.members.len()), (2, 0));
    assert_eq!((value.protocol, value.leader), (None, None));
    assert_eq!(value.protocol_type, "consumer");
    world.pass(SESSION);
    assert_eq!(world.group.next_deadline(), None);
}

#[test]
fn a_member_that_leaves_makes_a_rebalance() {
    let mut world = World::new();
    let ids = world.stable(3);
    let unknown = Some(ResponseError::UnknownMemberId);
    assert_eq!(
        world.leave(&[(&ids[0], None), ("nobody", None)]),
        [None, unknown]
    );
    assert_eq!(world.group.state(), State::PreparingRebalance);
    world.join(&Ask::of(&ids[1]));
    // The rebalance need not wait for the other one when it leaves as well.
    let mut reply = world.join(&Ask::of(&ids[1]));
    assert_eq!(world.leave(&[(&ids[2], None)]), [None]);
    let answer = joined(&mut reply);
    assert_eq!((answer.members.len(), &*answer.leader), (1, &*ids[1]));
}

#[test]
fn what_a_leaving_member_waits_for_is_answered() {
    let mut world = World::new();
    let ids = world.stable(2);
    let unknown = Some(ResponseError::UnknownMemberId);
    let mut waiting = world.join(&Ask::of(&ids[0]));
    world.leave(&[(&ids[0], None)]);
    assert_eq!(error(joined(&mut waiting).error_code), unknown);

    let mut world = World::new();
    let ids = world.stable(2);
    world.join(&Ask::of(&ids[0]));
    world.join(&Ask::of(&ids[1]));
    let mut waiting = world.sync(&ids[1], 2, &[]);
    world.leave(&[(&ids[1], None)]);
    assert_eq!(error(synced(&mut waiting).error_code), unknown);
}

#[test]
fn a_client_that_was_given_an_id_may_leave() {
    let mut world = World::new();
    let ids = world.stable(1);
    let pending = joined(&mut world.join(&Ask::new())).member_id.to_string();
    let mut reply = world.join(&Ask::of(&ids[0]));
    assert!(reply.try_take().is_none());
    assert_eq!(world.leave(&[(&pending, None)]), [None]);
    assert_eq!(joined(&mut reply).members.len(), 1);
}

#[test]
fn members_lost_in_the_first_rebalance_end_it() {
    let mut world = World::new();
    let (first, _) = world.join_as_new(&Ask::new());
    world.leave(&[(&first, None)]);
    assert_eq!(world.group.state(), State::PreparingRebalance);
    world.pass(DELAY);
    assert_eq!(world.group.state(), State::Empty);
    assert_eq!(world.group.generation(), 1);
}
