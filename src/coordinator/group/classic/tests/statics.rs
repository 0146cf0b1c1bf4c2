//! Static members.

use super::*;

/// A stable group of the static members i and j; the leader's id is the first.
fn stable(world: &mut World) -> Vec<String> {
    world.stable_of(&[Ask::new().instance("i"), Ask::new().instance("j")])
}

fn instance_of(id: &str) -> &str {
    id.split('-').next().expect("an id")
}

#[test]
fn a_static_member_joins_without_being_given_an_id_first() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let mut instances: Vec<_> = ids.iter().map(|id| instance_of(id)).collect();
    instances.sort();
    assert_eq!(instances, ["i", "j"]);
}

#[test]
fn a_static_member_that_restarts_keeps_its_assignment_without_a_rebalance() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let stored = world.log.len();
    let follower = instance_of(&ids[1]).to_string();
    let answer = joined(&mut world.join(&Ask::new().instance(&follower)));
    assert_eq!((error(answer.error_code), answer.generation_id), (None, 1));
    assert!(!answer.skip_assignment && answer.members.is_empty());
    let id = answer.member_id.to_string();
    assert_ne!(id, ids[1]);
    assert_eq!(world.group.state(), State::Stable);
    let mut reply = world.sync(&id, 1, &[]);
    assert_eq!(synced(&mut reply).assignment, "1");
    // Its new id is durable.
    assert_eq!(world.log.len(), stored + 1);
    assert!(world.restored().members.get(&id).is_some());
    // The old one is fenced.
    let fenced = Some(ResponseError::FencedInstanceId);
    let request = HeartbeatRequest::default()
        .with_member_id(text(&ids[1]))
        .with_group_instance_id(Some(text(&follower)))
        .with_generation_id(1);
    let heartbeat = world.run(|group, context, _| group.heartbeat(&request, context));
    assert_eq!(heartbeat.err(), fenced);
    assert_eq!(
        world.heartbeat(&ids[1], 1),
        Some(ResponseError::UnknownMemberId)
    );
    let sync = sync_request(&ids[1], 1, &[]).with_group_instance_id(Some(text(&follower)));
    assert_eq!(error(synced(&mut world.sync_with(sync)).error_code), fenced);
    let rejoin = Ask::of(&ids[1]).instance(&follower);
    assert_eq!(error(joined(&mut world.join(&rejoin)).error_code), fenced);
    assert_eq!(world.leave(&[(&ids[1], Some(&follower))]), [fenced]);
}

#[test]
fn a_leader_that_restarts_is_told_not_to_assign() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let leader = instance_of(&ids[0]).to_string();
    let answer = joined(&mut world.join(&Ask::new().instance(&leader)));
    assert!(answer.skip_assignment);
    assert_eq!(answer.members.len(), 2);
    assert_eq!(answer.leader, answer.member_id);

    // Before version 9 it is told that another one leads.
    let second = answer.member_id;
    let answer = joined(&mut world.join(&Ask::new().instance(&leader).version(8)));
    assert!(!answer.skip_assignment && answer.members.is_empty());
    assert_eq!(answer.leader, second);
    assert_ne!(answer.leader, answer.member_id);
    assert_eq!(world.group.leader_id(), &*answer.member_id);
}

#[test]
fn a_static_member_that_would_change_the_protocol_makes_a_rebalance() {
    let mut world = World::new();
    let both = |instance| {
        let protocols: [(_, &[u8]); 2] = [("range", b"any"), ("sticky", b"any")];
        Ask::new().knows(&protocols).instance(instance)
    };
    let ids = world.stable_of(&[both("i"), both("j")]);
    let other = instance_of(&ids[1]).to_string();
    let sticky = Ask::new().knows(&[("sticky", b"any")]).instance(&other);
    let mut reply = world.join(&sticky);
    assert!(reply.try_take().is_none());
    assert_eq!(world.group.state(), State::PreparingRebalance);
    world.join(&both(instance_of(&ids[0])).id(&ids[0]));
    assert_eq!(joined(&mut reply).protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn a_replacement_that_no_record_can_hold_is_refused_and_undone() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let other = instance_of(&ids[1]).to_string();
    world.record_bytes_max = 1000;
    let large = [b'x'; 1000];
    let answer = joined(&mut world.join(&Ask::new().knows(&[("range", &large)]).instance(&other)));
    assert_eq!(
        error(answer.error_code),
        Some(ResponseError::UnknownServerError)
    );
    assert_eq!(world.heartbeat(&ids[1], 1), None);
    assert_eq!(world.group.to_value(), world.restored().to_value());
}

#[test]
fn whoever_waits_as_a_member_that_is_replaced_is_fenced() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let [leader, other] = [0, 1].map(|place| instance_of(&ids[place]).to_string());
    let fenced = Some(ResponseError::FencedInstanceId);

    // While it waits to join ...
    let changed = Ask::of(&ids[1]).instance(&other);
    let mut old = world.join(&changed.knows(&[("range", b"other")]));
    let mut new = world.join(&Ask::new().instance(&other));
    let answer = joined(&mut old);
    assert_eq!(
        (error(answer.error_code), &*answer.member_id),
        (fenced, &*ids[1])
    );
    let mut first = world.join(&Ask::of(&ids[0]).instance(&leader));
    let generation = joined(&mut first).generation_id;
    let id = joined(&mut new).member_id.to_string();

    // ... and while it waits for its assignment, which begins the rebalance anew: the leader knows
    // the old id.
    let mut old = world.sync(&id, generation, &[]);
    let mut new = world.join(&Ask::new().instance(&other));
    assert_eq!(error(synced(&mut old).error_code), fenced);
    assert_eq!(world.group.state(), State::PreparingRebalance);
    world.join(&Ask::of(&ids[0]).instance(&leader));
    assert_eq!(joined(&mut new).generation_id, generation + 1);
}

#[test]
fn static_members_stay_when_they_do_not_join() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let leader = instance_of(&ids[0]).to_string();
    let other = instance_of(&ids[1]).to_string();
    let mut reply = world.join(&Ask::of(&ids[0]).instance(&leader));
    for _ in 0..REBALANCE.as_secs() {
        world.pass(SECOND);
        world.heartbeat(&ids[1], 1);
    }
    let answer = joined(&mut reply);
    assert_eq!(answer.members.len(), 2);
    let instances = answer.members.iter();
    let mut instances: Vec<_> = instances
        .map(|member| member.group_instance_id.clone())
        .collect();
    instances.sort();
    assert_eq!(instances, [Some(text("i")), Some(text("j"))]);
    // It finds the generation that it has missed.
    let mut late = world.join(&Ask::of(&ids[1]).instance(&other));
    assert_eq!(joined(&mut late).generation_id, 2);
}

#[test]
fn a_rebalance_that_no_static_member_joins_ends_with_their_sessions() {
    let mut world = World::new();
    let mut first = Ask::new().instance("i");
    first.session = SECOND * 200;
    let ids = world.stable_of(&[first, Ask::new()]);
    // The only one who joins leaves again; the static member is silent.
    let dynamic = (ids.iter()).find(|id| instance_of(id) != "i").expect("one");
    world.join(&Ask::of(dynamic).knows(&[("range", b"other")]));
    world.leave(&[(dynamic, None)]);
    world.pass(REBALANCE * 2);
    assert_eq!(world.group.state(), State::PreparingRebalance);
    assert_eq!(world.group.generation(), 1);
    world.pass(SECOND * 200);
    assert_eq!(world.group.state(), State::Empty);
    assert_eq!(world.group.next_deadline(), None);
}

#[test]
fn an_instance_that_nobody_has_is_unknown() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let unknown = Some(ResponseError::UnknownMemberId);
    let answer = joined(&mut world.join(&Ask::of(&ids[0]).instance("k")));
    assert_eq!(error(answer.error_code), unknown);
    let errors = world.leave(&[("", Some("k")), ("", None), (&ids[0], Some("k"))]);
    assert_eq!(errors, [unknown; 3]);
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn administrators_remove_static_members_by_instance() {
    let mut world = World::new();
    let ids = stable(&mut world);
    assert_eq!(world.leave(&[("", Some("i")), ("", Some("j"))]), [None; 2]);
    assert_eq!(world.group.state(), State::Empty);
    assert_eq!(
        world.heartbeat(&ids[0], 1),
        Some(ResponseError::UnknownMemberId)
    );
}

#[test]
fn an_id_that_was_given_to_a_dynamic_member_is_not_for_static_ones() {
    let mut world = World::new();
    let id = joined(&mut world.join(&Ask::new())).member_id.to_string();
    let answer = joined(&mut world.join(&Ask::of(&id).instance("i")));
    assert_eq!(
        error(answer.error_code),
        Some(ResponseError::UnknownServerError)
    );
}

#[test]
fn silent_static_members_that_allow_no_time_do_not_keep_the_broker_busy() {
    let mut world = World::new();
    let mut hasty = Ask::new().instance("i");
    hasty.rebalance = Duration::ZERO;
    let ids = world.stable_of(&[hasty, Ask::new().instance("j")]);
    let leaving = if instance_of(&ids[0]) == "j" { 0 } else { 1 };
    world.leave(&[(&ids[leaving], None)]);
    world.run(|group, context, out| group.expire(context, out));
    assert_eq!(world.group.state(), State::PreparingRebalance);
    assert!(world.group.next_deadline() > Some(world.now));
}
