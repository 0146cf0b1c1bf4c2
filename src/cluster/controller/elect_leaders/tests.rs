use super::super::testing::{Cluster, refusal};
use super::*;
use crate::cluster::controller::ControlErrorKind as Kind;
use crate::cluster::records::PartitionChangeRecord;

fn elect(
    cluster: &mut Cluster,
    election: ElectionType,
    partitions: Option<&[(&str, &[i32])]>,
) -> ElectLeadersReply {
    let own = |(name, ids): &(&str, &[i32])| ((*name).to_owned(), ids.to_vec());
    let request = ElectLeaders {
        election,
        partitions: partitions.map(|all| all.iter().map(own).collect()),
    };
    cluster.run(|context| elect_leaders(context, &request))
}

/// A topic `a` of one partition on brokers 1 and 2, led by 2.
fn led_by_the_second() -> Cluster {
    let mut cluster = Cluster::of(&[1, 2]);
    let topic_id = cluster.add_topic("a", &[&[1, 2]]);
    let change = PartitionChangeRecord {
        partition_id: 0,
        topic_id,
        leader: 2,
        ..Default::default()
    };
    cluster.commit(vec![change.into()]);
    cluster
}

#[test]
fn the_preferred_leader_comes_back() {
    let mut cluster = led_by_the_second();
    let reply = elect(&mut cluster, ElectionType::Preferred, Some(&[("a", &[0])]));
    assert_eq!(reply[0].1[0].result, Ok(()));
    assert_eq!(cluster.leaders("a"), [(1, vec![1, 2], 2)]);
}

#[test]
fn what_is_refused_and_how() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.add_topic("a", &[&[1, 2]]);
    let partitions: &[(&str, &[i32])] = &[("a", &[0, 5]), ("b", &[0])];
    for election in [ElectionType::Preferred, ElectionType::Unclean] {
        let reply = elect(&mut cluster, election, Some(partitions));
        assert_eq!(
            refusal(&reply[0].1[0].result),
            (
                Kind::ElectionNotNeeded,
                "Leader election not needed for topic partition."
            )
        );
        assert_eq!(
            refusal(&reply[0].1[1].result),
            (Kind::UnknownTopic, "No such partition as a-5")
        );
        assert_eq!(
            refusal(&reply[1].1[0].result),
            (Kind::UnknownTopic, "No such topic as b")
        );
    }
    assert_eq!(
        refusal(&ElectionType::from_id(2)),
        (Kind::InvalidRequest, "Unknown election type 2")
    );
}

#[test]
fn asking_for_all_leaves_out_what_needs_none() {
    let mut cluster = led_by_the_second();
    cluster.add_topic("b", &[&[1]]);
    let reply = elect(&mut cluster, ElectionType::Preferred, None);
    let counts: Vec<_> = reply
        .iter()
        .map(|(name, of)| (name.as_str(), of.len()))
        .collect();
    assert_eq!(counts, [("a", 1), ("b", 0)]);
    assert_eq!(cluster.leaders("a")[0].0, 1);
}

#[test]
fn a_fenced_preferred_leader_is_not_available() {
    let mut cluster = led_by_the_second();
    cluster.set_fenced(1, true);
    let reply = elect(&mut cluster, ElectionType::Preferred, Some(&[("a", &[0])]));
    assert_eq!(
        refusal(&reply[0].1[0].result),
        (
            Kind::PreferredLeaderNotAvailable,
            "The preferred leader was not available."
        )
    );
}

#[test]
fn an_unclean_election_takes_whoever_serves() {
    let mut cluster = led_by_the_second();
    let topic_id = cluster.image().topics.id_of("a").unwrap();
    let orphan = PartitionChangeRecord {
        partition_id: 0,
        topic_id,
        leader: -1,
        isr: Some(vec![2]),
        ..Default::default()
    };
    cluster.commit(vec![orphan.into()]);
    cluster.set_fenced(2, true);
    let reply = elect(&mut cluster, ElectionType::Unclean, Some(&[("a", &[0])]));
    assert_eq!(reply[0].1[0].result, Ok(()));
    assert_eq!(cluster.leaders("a"), [(1, vec![1], 3)]);
    let partition = &cluster.image().topics.by_name("a").unwrap().partitions[&0];
    assert_eq!(partition.leader_recovery_state, 1);
}
