use std::collections::BTreeSet;

use super::super::testing::Cluster;
use super::*;
use crate::cluster::controller::Decision;

fn place(cluster: &mut Cluster, count: usize, factor: i16) -> Vec<Vec<i32>> {
    let placed = cluster.decide(|context| {
        let partitions = place_partitions(context, count, factor).expect("enough brokers");
        Decision::new(Vec::new(), partitions)
    });
    let replicas = placed.reply.into_iter().map(|partition| {
        assert_eq!(partition.leader, partition.isr[0]);
        partition.replicas
    });
    replicas.collect()
}

#[test]
fn leaders_are_spread_evenly() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4]);
    let placed = place(&mut cluster, 400, 3);
    for id in 1..=4 {
        let led = placed.iter().filter(|replicas| replicas[0] == id).count();
        assert_eq!(led, 100, "of broker {id}");
    }
    for replicas in placed {
        assert_eq!(BTreeSet::from_iter(&replicas).len(), 3, "{replicas:?}");
    }
}

#[test]
fn replicas_are_spread_over_racks() {
    let mut cluster = Cluster::of(&[]);
    for (id, rack) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")] {
        cluster.add_broker(id, Some(rack), false);
    }
    let rack_of = |id: &i32| (*id - 1) / 2;
    for replicas in place(&mut cluster, 100, 3) {
        let racks: BTreeSet<_> = replicas.iter().map(rack_of).collect();
        assert_eq!(racks.len(), 3, "{replicas:?}");
    }
}

#[test]
fn fenced_brokers_follow_and_never_lead() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.add_broker(3, None, true);
    let placed = place(&mut cluster, 50, 3);
    assert!(
        placed
            .iter()
            .all(|replicas| replicas[0] != 3 && replicas.contains(&3))
    );
}

#[test]
fn one_broker_gets_everything() {
    let mut cluster = Cluster::of(&[7]);
    assert_eq!(place(&mut cluster, 1000, 1), vec![vec![7]; 1000]);
}

#[test]
fn every_number_of_brokers_and_replicas_ends() {
    for brokers in 1..=7 {
        for fenced in 0..brokers {
            let mut cluster = Cluster::of(&[]);
            for id in 0..brokers {
                let rack = ["x", "y", "z"][id as usize % 3];
                cluster.add_broker(id, Some(rack), id < fenced);
            }
            for factor in 1..=brokers as i16 {
                for replicas in place(&mut cluster, 20, factor) {
                    assert_eq!(BTreeSet::from_iter(&replicas).len(), factor as usize);
                    assert!(replicas[0] >= fenced);
                }
            }
        }
    }
}
