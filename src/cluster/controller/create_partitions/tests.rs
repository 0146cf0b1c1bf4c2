use super::super::testing::{Cluster, refusal};
use super::*;
use crate::cluster::controller::ControlErrorKind as Kind;

fn more(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> MorePartitions {
    MorePartitions {
        name: name.into(),
        count,
        assignments: assignments.map(|of| of.iter().map(|ids| ids.to_vec()).collect()),
    }
}

fn grow(cluster: &mut Cluster, topics: &[MorePartitions]) -> CreatePartitionsReply {
    let request = CreatePartitions {
        topics: topics.to_vec(),
        validate_only: false,
    };
    cluster.run(|context| create_partitions(context, &request))
}

#[test]
fn new_partitions_are_like_the_first() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.add_topic("a", &[&[1, 2]]);
    assert!(grow(&mut cluster, &[more("a", 3, None)])[0].1.is_ok());
    let topic = cluster.image().topics.by_name("a").unwrap();
    assert_eq!(topic.partition_count(), 3);
    assert!(
        topic
            .partitions
            .values()
            .all(|partition| partition.replicas.len() == 2)
    );

    assert!(
        grow(&mut cluster, &[more("a", 4, Some(&[&[2, 1]]))])[0]
            .1
            .is_ok()
    );
    assert_eq!(cluster.leaders("a")[3], (2, vec![2, 1], 0));
}

#[test]
fn what_is_refused_and_how() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.add_broker(3, None, true);
    cluster.add_topic("a", &[&[1], &[2]]);
    let table = [
        (more("b", 3, None), Kind::UnknownTopic, ""),
        (
            more("a", 2, None),
            Kind::InvalidPartitions,
            "Topic already has 2 partition(s).",
        ),
        (
            more("a", -1, None),
            Kind::InvalidPartitions,
            "The topic a currently has 2 partition(s); -1 would not be an increase.",
        ),
        (
            more("a", 4, Some(&[&[1]])),
            Kind::InvalidReplicaAssignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (
            more("a", 3, Some(&[&[1, 2]])),
            Kind::InvalidReplicaAssignment,
            "The manual partition assignment includes a partition with 2 replica(s), but this is \
             not consistent with previous partitions, which have 1 replica(s).",
        ),
        (
            more("a", 3, Some(&[&[3]])),
            Kind::InvalidReplicaAssignment,
            "All brokers specified in the manual partition assignment for partition 2 are fenced \
             or in controlled shutdown.",
        ),
        (
            more("a", i32::MAX, None),
            Kind::PolicyViolation,
            "Unable to perform excessively large batch operation.",
        ),
    ];
    for (asked, kind, message) in table {
        let reply = grow(&mut cluster, &[asked]);
        assert_eq!(refusal(&reply[0].1), (kind, message));
    }
    assert_eq!(cluster.leaders("a").len(), 2);
    cluster.set_fenced(1, true);
    cluster.set_fenced(2, true);
    let reply = grow(&mut cluster, &[more("a", 3, None)]);
    assert_eq!(refusal(&reply[0].1).0, Kind::InvalidReplicationFactor);
}

#[test]
fn repeated_names_are_refused_once_and_others_served() {
    let mut cluster = Cluster::of(&[1]);
    cluster.add_topic("a", &[&[1]]);
    cluster.add_topic("b", &[&[1]]);
    let reply = grow(
        &mut cluster,
        &[more("a", 2, None), more("b", 2, None), more("a", 3, None)],
    );
    assert_eq!(reply.len(), 2);
    assert_eq!(
        refusal(&reply[0].1),
        (Kind::InvalidRequest, "Duplicate topic name.")
    );
    assert_eq!(reply[1], ("b".into(), Ok(())));
    assert_eq!(cluster.leaders("a").len(), 1);
}

#[test]
fn validation_alone_changes_nothing() {
    let mut cluster = Cluster::of(&[1]);
    cluster.add_topic("a", &[&[1]]);
    let request = CreatePartitions {
        topics: vec![more("a", 2, None)],
        validate_only: true,
    };
    let decision = cluster.decide(|context| create_partitions(context, &request));
    assert!(decision.reply[0].1.is_ok());
    assert!(decision.records.is_empty());
}
