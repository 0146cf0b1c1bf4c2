use super::super::testing::{Cluster, refusal};
use super::*;
use crate::cluster::controller::ControlErrorKind as Kind;

#[test]
fn blocks_follow_each_other() {
    let mut cluster = Cluster::of(&[1, 2]);
    let first_of = |cluster: &mut Cluster, id| {
        let epoch = cluster.image().brokers[&id].epoch;
        let block = cluster.run(|context| allocate_producer_ids(context, id, epoch));
        block.expect("ids are left").first
    };
    assert_eq!(first_of(&mut cluster, 1), 0);
    assert_eq!(first_of(&mut cluster, 2), 1000);
    assert_eq!(first_of(&mut cluster, 1), 2000);
}

#[test]
fn only_the_registered_process_gets_ids() {
    let mut cluster = Cluster::of(&[1]);
    let unknown = cluster.run(|context| allocate_producer_ids(context, 2, 20));
    assert_eq!(
        refusal(&unknown),
        (
            Kind::StaleBrokerEpoch,
            "No broker registration found for broker id 2"
        )
    );
    let stale = cluster.run(|context| allocate_producer_ids(context, 1, 9));
    assert_eq!(
        refusal(&stale),
        (
            Kind::StaleBrokerEpoch,
            "Expected broker epoch 10, but got broker epoch 9"
        )
    );
}

#[test]
fn ids_run_out() {
    let mut cluster = Cluster::of(&[1]);
    let record = ProducerIdsRecord {
        next_producer_id: i64::MAX - 10,
        ..Default::default()
    };
    cluster.commit(vec![record.into()]);
    let result = cluster.run(|context| allocate_producer_ids(context, 1, 10));
    assert_eq!(refusal(&result).0, Kind::UnknownServerError);
}
