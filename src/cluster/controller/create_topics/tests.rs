use std::collections::BTreeSet;

use super::super::testing::{Cluster, dir_of, properties, refusal};
use super::*;
use crate::cluster::controller::ControlErrorKind as Kind;

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        partitions,
        replication_factor,
        ..NewTopic::automatic(name)
    }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    NewTopic {
        assignments: assignments
            .iter()
            .map(|(id, of)| (*id, of.to_vec()))
            .collect(),
        ..NewTopic::automatic(name)
    }
}

fn create(cluster: &mut Cluster, topics: &[NewTopic]) -> CreateTopicsReply {
    let request = CreateTopics {
        topics: topics.to_vec(),
        validate_only: false,
    };
    cluster.run(|context| create_topics(context, &request))
}

#[test]
fn a_topic_is_made_as_asked_for() {
    let mut cluster = Cluster::of(&[1]);
    let mut asked = topic("a", 2, 1);
    asked.configs = vec![("retention.ms".into(), Some("1".into()))];
    let reply = create(&mut cluster, &[asked]);
    let created = reply[0].1.as_ref().unwrap();
    assert_eq!((created.partitions, created.replication_factor), (2, 1));
    assert_eq!(created.configs, properties(&[("retention.ms", "1")]));

    let image = cluster.image();
    let made = image.topics.by_name("a").unwrap();
    assert_eq!(made.id, created.id);
    assert_eq!(made.partitions.keys().copied().collect::<Vec<_>>(), [0, 1]);
    for partition in made.partitions.values() {
        assert_eq!(partition.replicas, [1]);
        assert_eq!(partition.directories, [dir_of(1)]);
        assert_eq!((partition.leader, partition.leader_epoch), (1, 0));
    }
    let resource = ConfigResource::topic("a");
    assert_eq!(image.property(&resource, "retention.ms"), Some("1"));
}

#[test]
fn minus_one_stands_for_the_defaults() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.policy.default_replication_factor = 2;
    let reply = create(&mut cluster, &[NewTopic::automatic("a")]);
    let created = reply[0].1.as_ref().unwrap();
    assert_eq!((created.partitions, created.replication_factor), (3, 2));
}

#[test]
fn validation_alone_changes_nothing() {
    let mut cluster = Cluster::of(&[1]);
    let request = CreateTopics {
        topics: vec![topic("a", 1, 1), topic("b", 0, 1)],
        validate_only: true,
    };
    let decision = cluster.decide(|context| create_topics(context, &request));
    assert!(decision.records.is_empty());
    assert!(decision.reply[0].1.is_ok());
    assert_eq!(refusal(&decision.reply[1].1).0, Kind::InvalidPartitions);
}

#[test]
fn what_is_refused_and_how() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.add_broker(3, None, true);
    cluster.add_topic("old.name", &[&[1]]);
    let mut no_value = topic("a", 1, 1);
    no_value.configs = vec![("x".into(), None), ("y".into(), None)];
    let mut bad_value = topic("a", 1, 1);
    bad_value.configs = vec![("retention.ms".into(), Some("soon".into()))];
    let mut assigned_and_counted = assigned("a", &[(0, &[1])]);
    assigned_and_counted.partitions = 1;
    let mut assigned_and_factored = assigned("a", &[(0, &[1])]);
    assigned_and_factored.replication_factor = 1;
    let long = "x".repeat(250);
    let table: Vec<(NewTopic, Kind, String)> = vec![
        (
            topic("old.name", 1, 1),
            Kind::TopicAlreadyExists,
            "Topic 'old.name' already exists.".into(),
        ),
        (
            topic("old_name", 1, 1),
            Kind::InvalidTopic,
            "Topic 'old_name' collides with existing topic: old.name".into(),
        ),
        (
            topic("", 1, 1),
            Kind::InvalidTopic,
            "Topic name is invalid: the empty string is not allowed".into(),
        ),
        (
            topic("..", 1, 1),
            Kind::InvalidTopic,
            "Topic name is invalid: '..' is not allowed".into(),
        ),
        (
            topic("a b", 1, 1),
            Kind::InvalidTopic,
            "Topic name is invalid: 'a b' contains one or more characters other than \
             ASCII alphanumerics, '.', '_' and '-'"
                .into(),
        ),
        (
            topic(&long, 1, 1),
            Kind::InvalidTopic,
            format!(
                "Topic name is invalid: the length of '{long}' is longer than \
                 the max allowed length 249"
            ),
        ),
        (
            topic("__cluster_metadata", 1, 1),
            Kind::InvalidRequest,
            "Creation of internal topic __cluster_metadata is prohibited.".into(),
        ),
        (
            no_value,
            Kind::InvalidConfig,
            "Null value not supported for topic configs: x,y".into(),
        ),
        (
            bad_value,
            Kind::InvalidConfig,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG".into(),
        ),
        (
            topic("a", 0, 1),
            Kind::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.".into(),
        ),
        (
            topic("a", 1, 0),
            Kind::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.".into(),
        ),
        (
            topic("a", 1, 4),
            Kind::InvalidReplicationFactor,
            "Unable to replicate the partition 4 time(s): The target replication factor of 4 \
             cannot be reached because only 3 broker(s) are registered or some brokers have all \
             their log directories cordoned."
                .into(),
        ),
        (
            assigned_and_counted,
            Kind::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1."
                .into(),
        ),
        (
            assigned_and_factored,
            Kind::InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set \
             to -1."
                .into(),
        ),
        (
            assigned("a", &[(0, &[1]), (0, &[2])]),
            Kind::InvalidReplicaAssignment,
            "Found multiple manual partition assignments for partition 0".into(),
        ),
        (
            assigned("a", &[(1, &[1])]),
            Kind::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence".into(),
        ),
        (
            assigned("a", &[(0, &[])]),
            Kind::InvalidReplicaAssignment,
            "The manual partition assignment includes an empty replica list.".into(),
        ),
        (
            assigned("a", &[(0, &[9])]),
            Kind::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 9, but no such broker is registered."
                .into(),
        ),
        (
            assigned("a", &[(0, &[1, 1])]),
            Kind::InvalidReplicaAssignment,
            "The manual partition assignment includes the broker 1 more than once.".into(),
        ),
        (
            assigned("a", &[(0, &[1, 2]), (1, &[1])]),
            Kind::InvalidReplicaAssignment,
            "The manual partition assignment includes a partition with 1 replica(s), but this is \
             not consistent with previous partitions, which have 2 replica(s)."
                .into(),
        ),
        (
            assigned("a", &[(0, &[3])]),
            Kind::InvalidReplicaAssignment,
            "All brokers specified in the manual partition assignment for partition 0 are fenced \
             or in controlled shutdown."
                .into(),
        ),
    ];
    for (asked, kind, message) in table {
        let request = CreateTopics {
            topics: vec![asked],
            validate_only: false,
        };
        let decision = cluster.decide(|context| create_topics(context, &request));
        assert_eq!(refusal(&decision.reply[0].1), (kind, message.as_str()));
        assert!(decision.records.is_empty());
    }
}

#[test]
fn nobody_to_lead_is_a_matter_of_the_replication_factor() {
    let mut cluster = Cluster::of(&[1]);
    cluster.set_fenced(1, true);
    let reply = create(&mut cluster, &[topic("a", 1, 1)]);
    assert_eq!(
        refusal(&reply[0].1),
        (
            Kind::InvalidReplicationFactor,
            "Unable to replicate the partition 1 time(s): All brokers are currently fenced, \
             or have all their log directories cordoned."
        )
    );
}

#[test]
fn one_bad_topic_does_not_spoil_the_others() {
    let mut cluster = Cluster::of(&[1]);
    let topics = [
        topic("twice", 1, 1),
        topic("good", 1, 1),
        topic("", 1, 1),
        topic("twice", 1, 1),
    ];
    let reply = create(&mut cluster, &topics);
    let names: Vec<_> = reply.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["good", "", "twice"]);
    assert!(reply[0].1.is_ok());
    assert_eq!(refusal(&reply[1].1).0, Kind::InvalidTopic);
    assert_eq!(
        refusal(&reply[2].1),
        (Kind::InvalidRequest, "Duplicate topic name.")
    );
    assert_eq!(cluster.image().topics.len(), 1);
}

#[test]
fn a_request_can_ask_for_too_much() {
    let mut cluster = Cluster::of(&[1]);
    let reply = create(&mut cluster, &[topic("a", 6_000, 1), topic("b", 6_000, 1)]);
    for (_, result) in &reply {
        assert_eq!(
            refusal(result),
            (
                Kind::PolicyViolation,
                "Excessively large number of partitions per request."
            )
        );
    }
    // Topics that are refused one by one are too many as well.
    let without_partitions: Vec<_> = (0..=RECORDS_PER_REQUEST_MAX)
        .map(|n| topic(&n.to_string(), 0, 1))
        .collect();
    let reply = create(&mut cluster, &without_partitions);
    assert_eq!(refusal(&reply[0].1).0, Kind::PolicyViolation);
    // The partitions may be few enough, and the records with them too many.
    let reply = create(&mut cluster, &[topic("a", 10_000, 1)]);
    assert_eq!(
        refusal(&reply[0].1),
        (
            Kind::PolicyViolation,
            "Unable to perform excessively large batch operation."
        )
    );
    let reply = create(&mut cluster, &[topic("a", 9_999, 1)]);
    assert!(reply[0].1.is_ok());
    let huge = [topic("b", i32::MAX, 1), topic("c", i32::MAX, 1)];
    assert!(
        create(&mut cluster, &huge)
            .iter()
            .all(|(_, result)| result.is_err())
    );
}

#[test]
fn followers_that_do_not_serve_are_not_in_sync() {
    let mut cluster = Cluster::of(&[1]);
    cluster.add_broker(2, None, true);
    create(&mut cluster, &[assigned("a", &[(0, &[2, 1])])]);
    assert_eq!(cluster.leaders("a"), [(1, vec![1], 0)]);
}

#[test]
fn ids_differ() {
    let mut cluster = Cluster::of(&[1]);
    let topics: Vec<_> = (0..100).map(|n| topic(&format!("t{n}"), 1, 1)).collect();
    let reply = create(&mut cluster, &topics);
    let ids: BTreeSet<_> = reply
        .iter()
        .map(|(_, result)| result.as_ref().unwrap().id)
        .collect();
    assert_eq!(ids.len(), 100);
}
