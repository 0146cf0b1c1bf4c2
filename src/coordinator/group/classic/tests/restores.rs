//! What the log brings back.

use super::*;
use crate::coordinator::group::records::MemberMetadata;

impl World {
    /// The broker crashes and loads the group; requests that wait are lost.
    fn restart(&mut self) {
        self.group = self.restored();
        self.run(|group, context, out| group.loaded(context, out));
    }
}

#[test]
fn a_stable_group_comes_back_as_it_was() {
    let mut world = World::new();
    let ids = world.stable_of(&[Ask::new(), Ask::new().instance("i"), Ask::new()]);
    let before = world.group.describe();
    world.restart();
    assert_eq!(world.group.describe(), before);
    assert_eq!(world.group.leader_id(), ids[0]);
    for id in &ids {
        assert_eq!(world.heartbeat(id, 1), None);
    }
    let mut reply = world.sync(&ids[1], 1, &[]);
    assert_eq!(synced(&mut reply).assignment, "1");
}

#[test]
fn sessions_begin_anew() {
    let mut world = World::new();
    let ids = world.stable(2);
    world.pass(SESSION - SECOND);
    world.restart();
    world.pass(SESSION - SECOND);
    assert_eq!(world.heartbeat(&ids[0], 1), None);
    world.pass(SECOND);
    assert_eq!(
        world.heartbeat(&ids[1], 1),
        Some(ResponseError::UnknownMemberId)
    );
}

#[test]
fn a_rebalance_under_way_is_forgotten() {
    let mut world = World::new();
    let ids = world.stable(2);
    world.join(&Ask::of(&ids[0]));
    world.join(&Ask::of(&ids[1]));
    assert_eq!(world.group.generation(), 2);
    world.restart();
    assert_eq!(world.group.state(), State::Stable);
    // Who was told of generation 2 joins again, as Kafka's clients do.
    assert_eq!(
        world.heartbeat(&ids[0], 2),
        Some(ResponseError::IllegalGeneration)
    );
}

#[test]
fn a_group_that_is_too_large_by_now_has_its_members_join_again() {
    let mut world = World::new();
    let ids = world.stable(3);
    world.config.groups.classic.members_max = 2;
    world.restart();
    assert_eq!(world.group.state(), State::PreparingRebalance);
    let mut replies: Vec<_> = ids.iter().map(|id| world.join(&Ask::of(id))).collect();
    world.pass(REBALANCE);
    let errors: Vec<_> = replies
        .iter_mut()
        .map(|reply| error(joined(reply).error_code))
        .collect();
    assert_eq!(
        errors,
        [None, None, Some(ResponseError::GroupMaxSizeReached)]
    );
}

#[test]
fn a_new_group_is_stored_although_nobody_is_in_it() {
    let mut world = World::new();
    world.join(&Ask::new());
    let value = world.log.last().cloned().flatten().expect("a record");
    assert_eq!(value.current_state_timestamp, 1000);
    assert!(value.members.is_empty() && value.protocol_type.is_empty());
    world.join(&Ask::new());
    assert_eq!(world.log.len(), 1);
    world.restart();
    assert_eq!(world.group.state(), State::Empty);
    assert!(world.group.is_simple());
}

#[test]
fn an_empty_group_keeps_its_generation_and_when_it_became_empty() {
    let mut world = World::new();
    let ids = world.stable(1);
    world.leave(&[(&ids[0], None)]);
    let emptied = world.group.state_since_ms();
    world.pass(SECOND);
    world.restart();
    assert_eq!(world.group.state_since_ms(), emptied);
    assert_eq!(
        (world.group.state(), world.group.generation()),
        (State::Empty, 2)
    );
    assert_eq!(world.group.protocol_type(), Some("consumer"));
    let (_, mut reply) = world.join_as_new(&Ask::new());
    world.pass(DELAY);
    assert_eq!(joined(&mut reply).generation_id, 3);
}

#[test]
fn a_later_record_replaces_what_an_earlier_one_said() {
    let mut world = World::new();
    let ids = world.stable(2);
    world.leave(&[(&ids[0], None), (&ids[1], None)]);
    let mut values = world
        .log
        .iter()
        .cloned()
        .map(|value| value.expect("no tombstone"));
    let first = values.next().expect("a record");
    let mut group = ClassicGroup::restore("group".into(), first);
    values.for_each(|value| group.apply(value));
    assert_eq!(group.to_value(), world.group.to_value());
}

#[test]
fn records_that_make_no_sense_do_no_harm() {
    let mut world = World::new();
    world.log.push(Some(GroupMetadataValue {
        protocol_type: "consumer".to_string(),
        generation: -7,
        leader: Some("nobody".to_string()),
        members: vec![MemberMetadata {
            member_id: "somebody".to_string(),
            session_timeout: -5,
            rebalance_timeout: i32::MIN,
            ..MemberMetadata::default()
        }],
        ..GroupMetadataValue::default()
    }));
    world.restart();
    assert_eq!(world.group.leader_id(), "somebody");
    world.pass(SECOND);
    assert_eq!(world.group.state(), State::Empty);
}
