use super::super::testing::Cluster;
use super::*;
use crate::cluster::controller::Decision;
use crate::cluster::records::{FeatureLevelRecord, LEADER_UNCHANGED, Record};

/// A partition of replicas 1 to 3 as a table gives it.
fn partition(leader: i32, isr: &[i32], elr: &[i32], last_known: &[i32]) -> Partition {
    Partition {
        leader,
        isr: isr.to_vec(),
        elr: elr.to_vec(),
        last_known_elr: last_known.to_vec(),
        ..Partition::new(vec![1, 2, 3], vec![Uuid::nil(); 3], vec![1])
    }
}

fn update(
    partition: &Partition,
    election: Election,
    serving: &[i32],
    with_elr: bool,
) -> Option<PartitionChangeRecord> {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    if with_elr {
        let feature = FeatureLevelRecord {
            name: "eligible.leader.replicas.version".into(),
            feature_level: 1,
        };
        cluster.commit(vec![Record::from(feature)]);
    }
    cluster.add_topic("t", &[&[1, 2, 3]]);
    let topic = cluster.image().topics.by_name("t").unwrap().clone();
    let serves = |replica: i32| serving.contains(&replica);
    let decision = cluster.decide(|context| {
        let update = PartitionUpdate::new(context, &topic, (0, partition), election, &serves);
        Decision::new(Vec::new(), update.record())
    });
    decision.reply
}

/// Leader and in-sync set that a change names, if there is one.
type Outcome = Option<(i32, Option<Vec<i32>>)>;

fn outcome(change: &Option<PartitionChangeRecord>) -> Outcome {
    change
        .as_ref()
        .map(|change| (change.leader, change.isr.clone()))
}

#[test]
fn elections_choose_as_the_table_says() {
    use Election::*;
    let cases: Vec<(&str, Partition, Election, &[i32], Outcome)> = vec![
        (
            "a leader that serves stays",
            partition(2, &[1, 2, 3], &[], &[]),
            Online,
            &[1, 2, 3],
            None,
        ),
        (
            "the first replica is preferred",
            partition(2, &[1, 2, 3], &[], &[]),
            Preferred,
            &[1, 2, 3],
            Some((1, None)),
        ),
        (
            "the first replica that is in sync and serves takes over",
            partition(1, &[1, 3], &[], &[]),
            Online,
            &[2, 3],
            Some((3, None)),
        ),
        (
            "nobody in sync serves",
            partition(1, &[1], &[], &[]),
            Online,
            &[2, 3],
            Some((-1, None)),
        ),
        (
            "nobody in sync serves, and loss is accepted",
            partition(1, &[1], &[], &[]),
            Unclean,
            &[2, 3],
            Some((2, Some(vec![2]))),
        ),
        (
            "nobody serves at all",
            partition(-1, &[1], &[], &[]),
            Unclean,
            &[],
            None,
        ),
    ];
    for (what, partition, election, serving, expected) in cases {
        let change = update(&partition, election, serving, false);
        assert_eq!(outcome(&change), expected, "{what}");
    }
}

#[test]
fn an_eligible_replica_takes_over_when_nobody_is_in_sync() {
    // What Apache Kafka 4.3 wrote when a node came back after a stop in good order.
    let before = partition(-1, &[], &[1], &[1]);
    let change = update(&before, Election::Online, &[1], true).unwrap();
    assert_eq!(change.leader, 1);
    assert_eq!(change.isr, Some(vec![1]));
    assert_eq!(change.eligible_leader_replicas, Some(vec![]));
    assert_eq!(change.last_known_elr, Some(vec![]));
    assert_eq!(change.leader_recovery_state, -1);
}

#[test]
fn the_last_known_leader_comes_back_with_a_warning() {
    let before = partition(-1, &[], &[], &[2]);
    let change = update(&before, Election::Online, &[1, 2], true).unwrap();
    assert_eq!((change.leader, change.isr), (2, Some(vec![2])));
    assert_eq!(change.leader_recovery_state, 1);
    // Without the feature, nobody is known to have been last.
    assert!(update(&before, Election::Online, &[1, 2], false).is_none());
}

#[test]
fn a_leader_that_goes_is_remembered() {
    let before = partition(1, &[1], &[], &[]);
    let change = update(&before, Election::Online, &[2], true).unwrap();
    assert_eq!((change.leader, change.isr), (-1, None));
    assert_eq!(change.last_known_elr, Some(vec![1]));
}

#[test]
fn eligible_replicas_left_over_are_cleared() {
    let before = partition(1, &[1], &[2], &[]);
    let change = update(&before, Election::Online, &[1], false).unwrap();
    assert_eq!(change.leader, LEADER_UNCHANGED);
    assert_eq!(change.eligible_leader_replicas, Some(vec![]));
    assert_eq!(change.isr, None);
}
