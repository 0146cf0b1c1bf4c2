use super::super::testing::Cluster;
use super::*;
use crate::cluster::controller::{
    CreatePartitions, CreateTopics, MorePartitions, NewTopic, NodeStart, create_partitions,
    create_topics, start_node,
};
use crate::cluster::records::{FeatureLevelRecord, NO_LEADER};

const A: Uuid = Uuid::from_u128(1001);
const B: Uuid = Uuid::from_u128(1002);
const C: Uuid = Uuid::from_u128(1003);

/// A node with directories A, B and C.
fn cluster() -> Cluster {
    let mut cluster = Cluster::of(&[]);
    cluster.add_broker_with(1, vec![A, B, C]);
    cluster
}

fn create(cluster: &mut Cluster, name: &str, partitions: i32) -> Uuid {
    let request = CreateTopics {
        topics: vec![NewTopic {
            partitions,
            ..NewTopic::automatic(name)
        }],
        validate_only: false,
    };
    let reply = cluster.run(|context| create_topics(context, &request));
    reply[0].1.as_ref().expect("a good topic").id
}

fn directories(cluster: &Cluster, topic: &str) -> Vec<Uuid> {
    let topic = cluster.image().topics.by_name(topic).expect("a topic");
    let partitions = topic.partitions.values();
    partitions
        .map(|partition| partition.directories[0])
        .collect()
}

fn leaders(cluster: &Cluster, topic: &str) -> Vec<(i32, i32)> {
    let leaders = cluster.leaders(topic).into_iter();
    leaders.map(|(leader, _, epoch)| (leader, epoch)).collect()
}

fn find(cluster: &mut Cluster, topic_id: Uuid, partition: i32, directory: Uuid) -> usize {
    let found = [FoundReplica {
        topic_id,
        partition,
        directory,
    }];
    let decision = cluster.decide(|context| assign_replicas(context, 1, &found));
    let records = decision.records.len();
    cluster.commit(decision.records);
    records
}

fn go_offline(cluster: &mut Cluster, offline: &[Uuid]) -> bool {
    cluster.run(|context| directories_offline(context, 1, offline))
}

fn restart(cluster: &mut Cluster, log_dirs: Vec<Uuid>) {
    let start = NodeStart {
        node_id: 1,
        incarnation_id: Uuid::from_u128(9),
        endpoints: Vec::new(),
        controller_endpoints: Vec::new(),
        rack: None,
        log_dirs,
        cordoned_log_dirs: Vec::new(),
        bump_leader_epochs: false,
    };
    let next_offset = cluster.next_offset();
    cluster.run(|context| start_node(context, &start, next_offset, false));
}

#[test]
fn new_partitions_go_where_there_are_fewest() {
    let mut cluster = cluster();
    create(&mut cluster, "first", 4);
    assert_eq!(directories(&cluster, "first"), [A, B, C, A]);
    create(&mut cluster, "second", 1);
    assert_eq!(directories(&cluster, "second"), [B]);
    let more = CreatePartitions {
        topics: vec![MorePartitions {
            name: "second".to_owned(),
            count: 3,
            assignments: Some(vec![vec![1], vec![1]]),
        }],
        validate_only: false,
    };
    cluster.run(|context| create_partitions(context, &more));
    assert_eq!(directories(&cluster, "second"), [B, C, A]);
}

#[test]
fn neither_cordoned_nor_offline_directories_get_any() {
    let mut cluster = cluster();
    cluster.run(|context| cordon_directories(context, 1, &[A]));
    create(&mut cluster, "open", 4);
    assert_eq!(directories(&cluster, "open"), [B, C, B, C]);
    let again = cluster.decide(|context| cordon_directories(context, 1, &[A]));
    assert_eq!(again.records, []);
    assert!(go_offline(&mut cluster, &[C]));
    create(&mut cluster, "left", 2);
    assert_eq!(directories(&cluster, "left"), [B, B]);
    cluster.run(|context| cordon_directories(context, 1, &[]));
    create(&mut cluster, "opened", 2);
    assert_eq!(directories(&cluster, "opened"), [A, A]);

    // With all of them cordoned nothing is placed, but where a client chose the broker.
    cluster.run(|context| cordon_directories(context, 1, &[B, A]));
    let mut topic = NewTopic::automatic("none");
    let mut try_one = |topic: &NewTopic| {
        let topics = vec![topic.clone()];
        let request = CreateTopics {
            topics,
            validate_only: false,
        };
        let reply = cluster.run(|context| create_topics(context, &request));
        reply[0].1.is_ok()
    };
    assert!(!try_one(&topic));
    topic.assignments = vec![(0, vec![1])];
    assert!(try_one(&topic));
    assert_eq!(directories(&cluster, "none"), [A]);
}

#[test]
fn a_preferred_directory_goes_before_the_emptiest() {
    let mut cluster = cluster();
    cluster.preferred.insert(("t".to_owned(), 0), C);
    cluster
        .preferred
        .insert(("t".to_owned(), 2), Uuid::from_u128(77));
    create(&mut cluster, "t", 3);
    assert_eq!(directories(&cluster, "t"), [C, A, B]);
}

#[test]
fn partitions_of_an_offline_directory_have_no_leader_until_it_is_back() {
    let mut cluster = cluster();
    create(&mut cluster, "t", 3);
    assert!(go_offline(&mut cluster, &[B]));
    let image = cluster.image();
    assert_eq!(image.brokers[&1].log_dirs, [A, C]);
    assert_eq!(leaders(&cluster, "t"), [(1, 0), (NO_LEADER, 1), (1, 0)]);
    // Who has the records is still known.
    assert_eq!(cluster.leaders("t")[1].1, [1]);
    let again = cluster.decide(|context| directories_offline(context, 1, &[B]));
    assert_eq!(again.records, []);

    restart(&mut cluster, vec![A, C]);
    assert_eq!(leaders(&cluster, "t")[1], (NO_LEADER, 1));
    restart(&mut cluster, vec![A, B, C]);
    assert_eq!(leaders(&cluster, "t"), [(1, 0), (1, 2), (1, 0)]);

    // One that is not there any more at a start.
    restart(&mut cluster, vec![B, C]);
    assert_eq!(leaders(&cluster, "t")[0], (NO_LEADER, 1));
}

#[test]
fn eligible_replicas_keep_who_had_the_records() {
    let mut cluster = cluster();
    let feature = FeatureLevelRecord {
        name: "eligible.leader.replicas.version".into(),
        feature_level: 1,
    };
    cluster.commit(vec![feature.into()]);
    create(&mut cluster, "t", 1);
    go_offline(&mut cluster, &[A]);
    let partition = |cluster: &Cluster| {
        let topic = cluster.image().topics.by_name("t").expect("a topic");
        let partition = topic.partition(0).expect("a partition").clone();
        (
            partition.leader,
            partition.isr.clone(),
            partition.elr.clone(),
        )
    };
    assert_eq!(partition(&cluster), (NO_LEADER, vec![], vec![1]));
    restart(&mut cluster, vec![A, B, C]);
    assert_eq!(partition(&cluster), (1, vec![1], vec![]));
}

#[test]
fn more_partitions_than_a_request_may_change_go_offline_in_parts() {
    let mut cluster = cluster();
    let topics = 4;
    for at in 0..topics {
        create(&mut cluster, &format!("t{at}"), 9_000);
    }
    assert!(!go_offline(&mut cluster, &[A]));
    assert!(go_offline(&mut cluster, &[A]));
    let lost = (0..topics).flat_map(|at| leaders(&cluster, &format!("t{at}")));
    let lost = lost.filter(|(leader, _)| *leader == NO_LEADER).count();
    assert_eq!(lost, 12_000);
}

#[test]
fn where_a_replica_was_found_is_recorded() {
    let mut cluster = cluster();
    let topic = create(&mut cluster, "t", 2);
    assert_eq!(find(&mut cluster, topic, 0, C), 1);
    assert_eq!(directories(&cluster, "t"), [C, B]);
    assert_eq!(leaders(&cluster, "t")[0], (1, 0), "nobody need be told");
    assert_eq!(find(&mut cluster, topic, 0, C), 0);
    assert_eq!(find(&mut cluster, topic, 9, C), 0);
    assert_eq!(find(&mut cluster, Uuid::from_u128(5), 0, C), 0);
    // The next ones know of it.
    create(&mut cluster, "next", 2);
    assert_eq!(directories(&cluster, "next"), [A, A]);

    // It moved before the directory failed, and that was not recorded.
    go_offline(&mut cluster, &[B]);
    assert_eq!(leaders(&cluster, "t")[1], (NO_LEADER, 1));
    assert_eq!(find(&mut cluster, topic, 1, A), 1);
    assert_eq!(leaders(&cluster, "t")[1], (1, 2));
}

#[test]
fn an_older_cluster_has_no_directories_to_record() {
    let mut cluster = cluster();
    let level = FeatureLevelRecord {
        name: "metadata.version".into(),
        feature_level: MetadataVersion::DIRECTORY_ASSIGNMENT.0 - 1,
    };
    let topic = create(&mut cluster, "t", 1);
    cluster.commit(vec![level.into()]);
    assert_eq!(find(&mut cluster, topic, 0, C), 0);
    let cordoned = cluster.decide(|context| cordon_directories(context, 1, &[A]));
    assert_eq!(cordoned.records, []);
}

#[test]
fn what_is_cordoned_on_this_node_need_not_be_registered() {
    let mut cluster = cluster();
    cluster.cordoned = vec![A];
    create(&mut cluster, "open", 3);
    assert_eq!(directories(&cluster, "open"), [B, C, B]);
    cluster.cordoned = vec![A, B, C];
    create(&mut cluster, "none", 2);
    assert_eq!(directories(&cluster, "none"), [A, A]);
}
