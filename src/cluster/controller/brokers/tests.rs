use super::super::testing::{Cluster, dir_of};
use super::*;
use crate::cluster::image::Replayer;
use crate::cluster::log_codec;

const KAFKA_LOG: &[u8] = include_bytes!(
    "../../../../tests/formats/kafka-4.3.1/__cluster_metadata-0/00000000000000000000.log"
);

fn start(cluster: &mut Cluster, incarnation: u128, bump_leader_epochs: bool) -> i64 {
    let start = NodeStart {
        node_id: 1,
        incarnation_id: Uuid::from_u128(incarnation),
        endpoints: vec![Endpoint {
            name: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: 0,
        }],
        controller_endpoints: Vec::new(),
        rack: None,
        log_dirs: cluster
            .image()
            .brokers
            .get(&1)
            .map_or_else(|| vec![dir_of(1)], |broker| broker.log_dirs.clone()),
        cordoned_log_dirs: Vec::new(),
        bump_leader_epochs,
    };
    let next_offset = cluster.next_offset();
    let open = cluster.replayer.open_transaction().is_some();
    let epoch = cluster.run(|context| start_node(context, &start, next_offset, open));
    assert_eq!(cluster.replayer.open_transaction(), None);
    let broker = &cluster.image().brokers[&1];
    assert_eq!(broker.epoch, epoch);
    assert_eq!(broker.incarnation_id, Uuid::from_u128(incarnation));
    assert!(broker.is_active());
    epoch
}

#[test]
fn an_empty_log_begins() {
    let mut cluster = Cluster::empty();
    // Behind the change of leader that a quorum begins with.
    cluster.replayer.pass(0, 1);
    let epoch = start(&mut cluster, 7, false);
    assert_eq!(epoch, 6);
    let image = cluster.image();
    assert_eq!(image.features.len(), 2);
    assert_eq!(image.brokers[&1].log_dirs, [dir_of(1)]);
    assert_eq!(image.brokers[&1].endpoints[0].port, 9092);
    assert!(image.controllers.contains_key(&1));

    let again = start(&mut cluster, 8, false);
    assert!(again > epoch);
    assert_eq!(cluster.image().features.len(), 2);
}

#[test]
fn leaders_stay_after_a_clean_stop_and_begin_an_epoch_after_another() {
    let mut cluster = Cluster::empty();
    start(&mut cluster, 1, false);
    cluster.add_topic("a", &[&[1], &[1]]);
    start(&mut cluster, 2, false);
    assert_eq!(cluster.leaders("a"), vec![(1, vec![1], 0); 2]);
    start(&mut cluster, 3, true);
    assert_eq!(cluster.leaders("a"), vec![(1, vec![1], 1); 2]);
}

#[test]
fn a_start_that_broke_off_while_bootstrapping_begins_again() {
    let mut cluster = Cluster::empty();
    let mut begun = bootstrap_records();
    begun.pop();
    cluster.commit(begun);
    assert!(cluster.replayer.open_transaction().is_some());
    start(&mut cluster, 1, false);
    assert_eq!(cluster.image().features.len(), 2);
}

#[test]
fn a_node_of_kafka_goes_on_where_it_stopped() {
    let mut cluster = Cluster::empty();
    cluster.replayer = Replayer::new(Image::empty("c"));
    log_codec::replay(KAFKA_LOG, &mut cluster.replayer).unwrap();
    assert!(
        cluster
            .leaders("alpha")
            .iter()
            .all(|(leader, ..)| *leader == -1)
    );
    start(&mut cluster, 1, false);
    assert_eq!(
        crate::cluster::features::first_unsupported(cluster.image()),
        None
    );
    for topic in ["alpha", "manual"] {
        for (leader, isr, _) in cluster.leaders(topic) {
            assert_eq!((leader, isr), (1, vec![1]));
        }
    }
}

#[test]
fn what_others_lead_is_left_alone() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.add_topic("a", &[&[2, 1]]);
    start(&mut cluster, 1, true);
    assert_eq!(cluster.leaders("a"), [(2, vec![2, 1], 0)]);
}

#[test]
fn a_replica_in_a_directory_that_is_gone_does_not_lead() {
    let mut cluster = Cluster::of(&[1]);
    cluster.add_topic("a", &[&[1]]);
    let start = NodeStart {
        node_id: 1,
        incarnation_id: Uuid::from_u128(1),
        endpoints: Vec::new(),
        controller_endpoints: Vec::new(),
        rack: None,
        log_dirs: vec![Uuid::from_u128(77)],
        cordoned_log_dirs: Vec::new(),
        bump_leader_epochs: false,
    };
    let next_offset = cluster.next_offset();
    cluster.run(|context| start_node(context, &start, next_offset, false));
    assert_eq!(cluster.leaders("a")[0].0, -1);
}
