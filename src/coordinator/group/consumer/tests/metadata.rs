use super::super::metadata_hash::metadata_hash;
use super::*;

fn register(world: &mut World, id: i32, rack: &str) {
    let broker = RegisterBrokerRecord {
        broker_id: id,
        broker_epoch: i64::from(id),
        rack: Some(rack.to_owned()),
        ..Default::default()
    };
    world.change_metadata(vec![broker.into()]);
}

fn topic(world: &mut World, name: &str, id: Uuid, replicas: &[&[i32]]) {
    let record = TopicRecord {
        name: name.to_owned(),
        topic_id: id,
    };
    let dir = Uuid::from_u128(99);
    let partitions = replicas.iter().zip(0..).map(|(replicas, partition)| {
        let dirs = vec![dir; replicas.len()];
        let replicas = Partition::new(replicas.to_vec(), dirs, replicas.to_vec());
        replicas.to_record(id, partition).into()
    });
    let records = std::iter::once(record.into()).chain(partitions);
    world.change_metadata(records.collect());
}

/// Values of Apache Kafka 4.3's `Utils.computeGroupHash`.
#[test]
fn the_hash_is_that_of_apache_kafka() {
    let mut world = World::new();
    register(&mut world, 1, "b");
    register(&mut world, 2, "a");
    register(&mut world, 3, "eu-west-1a");
    topic(
        &mut world,
        "orders",
        Uuid::from_u64_pair(1, 2),
        &[&[9], &[9], &[9]],
    );
    let id = Uuid::from_u64_pair(0x0123456789abcdef, 0xfedcba9876543210);
    topic(&mut world, "payments", id, &[&[1, 2], &[2]]);
    topic(
        &mut world,
        "big",
        Uuid::from_u64_pair(7, 8),
        &[&[3][..]; 100],
    );
    let hash = |names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|name| name.to_string()).collect();
        metadata_hash(names.iter(), world.metadata.image())
    };
    assert_eq!(hash(&[]), 0);
    assert_eq!(hash(&["missing"]), 0);
    assert_eq!(hash(&["orders"]), -4373262523051953005);
    assert_eq!(
        hash(&["payments", "missing", "orders", "big"]),
        -3435183393570607282
    );
}

#[test]
fn new_partitions_are_noticed_at_the_next_heartbeat() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.add_partitions("a", 4..6);
    let answer = world.beat(Ask::of("one", 2));
    assert_eq!(
        (answer.member_epoch, assigned(&answer).unwrap()[0].1.len()),
        (3, 6)
    );
}

#[test]
fn what_happens_to_other_topics_changes_nothing() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let written = world.log.len();
    world.add_partitions("b", 2..3);
    world.delete_topic("b");
    assert_eq!(world.beat(Ask::of("one", 2)).member_epoch, 2);
    assert_eq!(world.log.len(), written);
}

#[test]
fn a_topic_made_again_under_its_name_is_another_one() {
    let mut world = World::new();
    let old = world.topic("b");
    world.beat(Ask::join("one").names(&["b"]));
    world.delete_topic("b");
    world.create_topic("b", 2);
    let new = world.topic("b");
    assert_ne!(old, new);
    assert_eq!(assigned(&world.beat(Ask::of("one", 2))), Some(vec![]));
    let answer = world.beat(Ask::of("one", 2).owns(&[]));
    assert_eq!(assigned(&answer), Some(vec![(new, vec![0, 1])]));
}

#[test]
fn what_changed_while_nobody_led_the_group_is_noticed_after_a_restart() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    world.group = ConsumerGroup::new("elsewhere".into());
    world.add_partitions("a", 4..5);
    world.restart();
    assert_eq!(world.beat(Ask::of("one", 2)).member_epoch, 3);
}

/// Kafka before 4.1 wrote what a group knew of its topics.
#[test]
fn a_record_of_old_brokers_goes_with_the_next_change() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let record = |value| Record::ConsumerGroupPartitionMetadata {
        group: GROUP.to_owned(),
        value,
    };
    world.run(|_, _, out| out.records.push(record(Some(Default::default()))));
    world.add_partitions("a", 4..5);
    world.beat(Ask::of("one", 2));
    assert!(world.log.contains(&record(None)));
    let written = world.log.len();
    world.add_partitions("a", 5..6);
    world.beat(Ask::of("one", 3));
    assert!(!world.log[written..].contains(&record(None)));
}
