//! What goes through many groups does so in steps, while groups and topics come and go.

use super::*;

/// More than a step has of anything.
const MANY: usize = 1_200;
const STEPS_MAX: usize = 100;

fn name(at: usize) -> &'static str {
    format!("g{at:05}").leak()
}

/// A world of many groups that have committed an offset of topic `u`.
fn crowded() -> World {
    let mut world = World::new();
    for at in 0..MANY {
        world.commit(name(at), &[("u", 0, 1)]);
    }
    world
}

#[test]
fn lists_have_every_group_that_stays_once() {
    let mut world = crowded();
    let mut names = Vec::new();
    let mut behind = None;
    loop {
        let listed = world.ask(|to| Input::List(behind, to));
        assert!(listed.groups.len() < MANY);
        let page = listed.groups.iter().map(|group| group.group_id.to_string());
        names.extend(page);
        behind = listed.behind;
        let Some(last) = behind.as_deref() else {
            break;
        };
        // The one where the list goes on goes, and one comes that the list is past.
        let last = last.to_owned().leak();
        world.ask(|to| Input::Delete(group_id(last), to));
        world.commit("a", &[("u", 0, 1)]);
    }
    assert_eq!(names, (0..MANY).map(name).collect::<Vec<_>>());
}

#[test]
fn all_members_have_sessions_after_a_load_of_many_groups() {
    let mut world = World::new();
    for at in 0..MANY {
        let member = records::MemberMetadata {
            member_id: "m".to_owned(),
            group_instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout: 10_000,
            session_timeout: 10_000,
            subscription: bytes::Bytes::new(),
            assignment: bytes::Bytes::new(),
        };
        let value = GroupMetadataValue {
            protocol_type: "consumer".to_owned(),
            generation: 1,
            protocol: Some("range".to_owned()),
            leader: Some("m".to_owned()),
            current_state_timestamp: world.wall_ms,
            members: vec![member],
        };
        world.log.push(Record::GroupMetadata {
            group: name(at).to_owned(),
            value: Some(value),
        });
    }
    world.reload();
    let count = |world: &mut World, state| {
        let groups = world.groups();
        groups.iter().filter(|(_, is)| is == state).count()
    };
    assert_eq!(count(&mut world, "Stable"), MANY);
    world.pass(9_000);
    assert_eq!(count(&mut world, "Stable"), MANY);
    world.pass(2_000);
    assert_eq!(count(&mut world, "Empty"), MANY);
}

#[test]
fn regular_sweeps_come_although_topics_are_deleted_all_the_time() {
    let mut world = World::new();
    left_group(&mut world, "idle", 0);
    world.commit("g", &[("t", 0, 1)]);
    world.reload();
    let image = world.image.clone();
    for _ in 0..15 {
        world.image = image.clone();
        world.delete_topic("u");
        world.pass(MINUTE_MS);
    }
    assert_eq!(world.groups(), [("g".to_owned(), "Empty".to_owned())]);
}

#[test]
fn a_sweep_comes_to_its_end_although_topics_are_deleted_all_the_time() {
    let mut world = crowded();
    world.commit("a", &[("t", 0, 1), ("u", 0, 1)]);
    world.commit("z", &[("t", 0, 1), ("u", 0, 1)]);
    world.delete_topic("t");
    let image = world.image.clone();
    let kept = [offset("u", 0, 1)];
    let mut steps = 0;
    while world.fetch("a") != kept || world.fetch("z") != kept {
        steps += 1;
        assert!(steps < STEPS_MAX, "some are never looked at");
        world.image = image_of(&[("t", 2), ("u", 1), ("w", 1)], &[]);
        world.delete_topic("w");
        world.image = image.clone();
        world.step();
    }
}

#[test]
fn offsets_of_topics_that_go_behind_a_sweep_go_with_the_next() {
    let mut world = crowded();
    world.commit("a", &[("t", 0, 1), ("u", 0, 1)]);
    world.reload();
    // Under way, and past the first group.
    left_group(&mut world, "b", 0);
    world.delete_topic("u");
    world.step();
    world.delete_topic("t");
    world.pass(0);
    assert_eq!(world.fetch("a"), []);
    assert_eq!(world.groups(), [("b".to_owned(), "Empty".to_owned())]);
}

#[test]
fn a_group_with_many_offsets_is_swept_in_steps() {
    let mut world = World::new();
    let topics: Vec<&'static str> = (0..MANY).map(name).collect();
    let shapes: Vec<_> = topics.iter().map(|name| (*name, 1)).collect();
    world.image = image_of(&shapes, &[]);
    for topic in &topics {
        world.commit("g", &[(topic, 0, 1)]);
    }
    world.commit("h", &[(topics[0], 0, 1)]);
    world.image = image_of(&[], &[]);
    world.reload_without_steps();
    let before = world.log.len();
    world.step();
    let forgotten = world.log.len() - before;
    assert!((1..MANY).contains(&forgotten), "{forgotten} at once");
    world.pass(0);
    assert_eq!(world.groups(), []);
}
