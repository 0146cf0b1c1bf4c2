//! Who may commit, what is in use, what administrators see.

use super::*;
use crate::coordinator::group::consumer_protocol;
use crate::schema::{Version, Wire};

fn commit(
    world: &mut World,
    id: &str,
    instance: Option<&str>,
    generation: i32,
) -> Option<ResponseError> {
    world.run(|group, context, _| {
        let checked = group.check_commit(id, instance, generation, context);
        checked.err()
    })
}

#[test]
fn anybody_commits_to_a_group_without_members() {
    let mut world = World::new();
    assert!(world.group.is_simple());
    assert_eq!(commit(&mut world, "", None, -1), None);
    let unknown = Some(ResponseError::UnknownMemberId);
    assert_eq!(commit(&mut world, "somebody", None, 0), unknown);

    world.stable(1);
    assert!(!world.group.is_simple());
    assert_eq!(commit(&mut world, "", None, -1), unknown);
}

#[test]
fn members_commit_in_their_generation() {
    let mut world = World::new();
    let ids = world.stable(1);
    assert_eq!(commit(&mut world, &ids[0], None, 1), None);
    let illegal = Some(ResponseError::IllegalGeneration);
    assert_eq!(commit(&mut world, &ids[0], None, 0), illegal);
    assert_eq!(commit(&mut world, &ids[0], None, -1), illegal);
    let unknown = Some(ResponseError::UnknownMemberId);
    assert_eq!(commit(&mut world, "nobody", None, 1), unknown);
    assert_eq!(commit(&mut world, &ids[0], Some("i"), 1), unknown);

    let (_, _newcomer) = world.join_as_new(&Ask::new());
    assert_eq!(commit(&mut world, &ids[0], None, 1), None);
    world.join(&Ask::of(&ids[0]));
    assert_eq!(world.group.state(), State::CompletingRebalance);
    assert_eq!(
        commit(&mut world, &ids[0], None, 2),
        Some(ResponseError::RebalanceInProgress)
    );
}

#[test]
fn static_members_are_fenced_from_committing() {
    let mut world = World::new();
    let ids = world.stable_of(&[Ask::new().instance("i")]);
    assert_eq!(commit(&mut world, &ids[0], Some("i"), 1), None);
    world.join(&Ask::new().instance("i"));
    assert_eq!(
        commit(&mut world, &ids[0], Some("i"), 1),
        Some(ResponseError::FencedInstanceId)
    );
}

#[test]
fn a_commit_keeps_a_member_in() {
    let mut world = World::new();
    let ids = world.stable(1);
    for _ in 0..3 {
        world.pass(SESSION - SECOND);
        assert_eq!(commit(&mut world, &ids[0], None, 1), None);
    }
}

fn subscription(topics: &[&str]) -> Vec<u8> {
    let version = Version::plain(0);
    let mut bytes = Vec::new();
    3i16.encode(version, &mut bytes);
    let topics: Vec<_> = topics.iter().map(|topic| topic.to_string()).collect();
    topics.encode(version, &mut bytes);
    None::<Bytes>.encode(version, &mut bytes);
    bytes.extend_from_slice(b"what later versions say");
    bytes
}

#[test]
fn the_topics_of_all_members_are_in_use() {
    let mut world = World::new();
    assert!(!world.group.is_subscribed_to("a"));
    let ids = world.stable_of(&[
        Ask::new().knows(&[("range", &subscription(&["a", "b"]))]),
        Ask::new().knows(&[("range", &subscription(&["b", "c"]))]),
    ]);
    let topics = world.group.subscribed_topics().expect("they are known");
    assert!(["a", "b", "c"].iter().all(|topic| topics.contains(topic)));
    assert!(world.group.is_subscribed_to("c") && !world.group.is_subscribed_to("d"));
    assert_eq!(world.restored().subscribed_topics(), Some(topics));
    assert_eq!(world.group.check_offset_delete(), Ok(()));

    world.leave(&[(&ids[0], None), (&ids[1], None)]);
    assert!(!world.group.is_subscribed_to("a"));
}

#[test]
fn topics_that_can_not_be_read_are_all_in_use() {
    let mut world = World::new();
    world.stable_of(&[
        Ask::new().knows(&[("range", &subscription(&["a"]))]),
        Ask::new().knows(&[("range", b"\x00\x00\x7f\xff\xff\xff")]),
    ]);
    assert_eq!(world.group.subscribed_topics(), None);
    assert!(world.group.is_subscribed_to("anything"));
}

#[test]
fn reading_topics_survives_any_bytes() {
    let good = subscription(&["topic", "another", ""]);
    let mut random = Random::new(5);
    for _ in 0..20_000 {
        let _ = consumer_protocol::topics(&random.damaged(&good));
    }
}

#[test]
fn offsets_of_other_groups_are_not_deleted_while_they_have_members() {
    let mut world = World::new();
    assert_eq!(world.group.check_offset_delete(), Ok(()));
    let connect = Ask {
        protocol_type: "connect",
        ..Ask::new()
    };
    world.stable_of(&[connect]);
    let in_use = Err(ResponseError::NonEmptyGroup);
    assert_eq!(world.group.check_offset_delete(), in_use);
    assert_eq!(world.group.check_delete(), in_use);
    assert!(!world.group.is_subscribed_to("anything"));
}

#[test]
fn a_description_tells_all_of_a_stable_group_alone() {
    let mut world = World::new();
    let group = world.group.describe();
    assert_eq!(
        (&*group.group_id.0, &*group.group_state),
        ("group", "Empty")
    );
    assert_eq!((&*group.protocol_type, &*group.protocol_data), ("", ""));

    let ids = world.stable_of(&[Ask::new().instance("i")]);
    let group = world.group.describe();
    assert_eq!(&*group.group_state, "Stable");
    assert_eq!(
        (&*group.protocol_type, &*group.protocol_data),
        ("consumer", "range")
    );
    let member = &group.members[0];
    assert_eq!(&*member.member_id, &*ids[0]);
    assert_eq!(member.group_instance_id.as_deref(), Some("i"));
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("client", "/127.0.0.1")
    );
    assert_eq!(
        (&*member.member_metadata, &*member.member_assignment),
        (&b"any"[..], &b"0"[..])
    );

    world.join(&Ask::of(&ids[0]));
    let group = world.group.describe();
    assert_eq!(&*group.group_state, "CompletingRebalance");
    assert_eq!(
        (&*group.protocol_type, &*group.protocol_data),
        ("consumer", "")
    );
    assert!(group.members[0].member_metadata.is_empty());
}
