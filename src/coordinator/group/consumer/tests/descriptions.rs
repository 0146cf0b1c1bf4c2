use super::*;

fn describe(
    world: &mut World,
) -> kafka_protocol::messages::consumer_group_describe_response::DescribedGroup {
    world.run(|group, context, _| group.describe(context)).0
}

#[test]
fn a_group_is_described_with_its_members() {
    let mut world = World::new();
    let group = describe(&mut world);
    assert_eq!(
        (
            &*group.group_state,
            group.group_epoch,
            group.assignment_epoch
        ),
        ("Empty", 1, 1)
    );
    assert_eq!(&*group.assignor_name, "uniform");

    world.beat(
        Ask::join("one")
            .names(&["a"])
            .instance("i")
            .assignor("range"),
    );
    world.beat(Ask::join("two").names(&["a"]).assignor("range"));
    world.beat(Ask::of("one", 2).instance("i"));
    let group = describe(&mut world);
    assert_eq!(&*group.group_id, "group");
    assert_eq!(
        (
            &*group.group_state,
            group.group_epoch,
            group.assignment_epoch
        ),
        ("Reconciling", 3, 3)
    );
    assert_eq!(&*group.assignor_name, "range");
    let [one, two] = &group.members[..] else {
        panic!("two members");
    };
    assert_eq!((&*one.member_id, one.member_epoch), ("one", 2));
    assert_eq!(one.instance_id, Some(text("i")));
    assert_eq!(
        (&*one.client_id, &*one.client_host),
        ("client", "/127.0.0.1")
    );
    assert_eq!(one.subscribed_topic_names, [TopicName(text("a"))]);
    assert_eq!(one.subscribed_topic_regex, Some(text("")));
    assert_eq!(one.member_type, 1);
    let [has] = &one.assignment.topic_partitions[..] else {
        panic!("one topic");
    };
    assert_eq!(&*has.topic_name.0, "a");
    assert_eq!(
        has.partitions,
        [0, 1, 2, 3],
        "with what it has yet to give up"
    );
    assert_eq!(one.target_assignment.topic_partitions[0].partitions, [0, 1]);
    assert!(two.assignment.topic_partitions.is_empty());
    assert_eq!(two.target_assignment.topic_partitions[0].partitions, [2, 3]);
}

#[test]
fn deleted_topics_are_left_out() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["b"]));
    world.delete_topic("b");
    let group = describe(&mut world);
    assert!(group.members[0].assignment.topic_partitions.is_empty());
    assert!(
        group.members[0]
            .target_assignment
            .topic_partitions
            .is_empty()
    );
}
