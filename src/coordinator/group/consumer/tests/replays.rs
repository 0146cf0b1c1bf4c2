use super::*;
use crate::coordinator::group::records::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, CurrentTopicPartitions,
};

fn assignment(member: &str, epoch: i32, partitions: Vec<i32>, epochs: Option<Vec<i32>>) -> Record {
    Record::ConsumerGroupCurrentMemberAssignment {
        group: GROUP.to_owned(),
        member: member.to_owned(),
        value: Some(ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: epoch,
            assigned_partitions: vec![CurrentTopicPartitions {
                topic_id: Uuid::from_u128(1),
                partitions,
                assignment_epochs: epochs,
            }],
            ..Default::default()
        }),
    }
}

#[test]
fn where_epochs_of_partitions_are_not_known_the_members_stands_for_them() {
    let mut group = ConsumerGroup::new(GROUP.into());
    for epochs in [None, Some(vec![]), Some(vec![1, 2, 3])] {
        group.replay(assignment("one", 7, vec![0, 1], epochs));
        let assigned = &group.durable.members["one"].assigned[&Uuid::from_u128(1)];
        assert_eq!(
            assigned.clone().into_iter().collect::<Vec<_>>(),
            [(0, 7), (1, 7)]
        );
    }
}

/// In a log that was compacted, the record that took the partition from its last owner may come later.
#[test]
fn the_next_owner_may_come_before_the_last_one_gave_up() {
    let topic = Uuid::from_u128(1);
    let mut group = ConsumerGroup::new(GROUP.into());
    group.replay(assignment("one", 2, vec![0, 1], None));
    group.replay(assignment("two", 3, vec![1], None));
    group.replay(assignment("one", 3, vec![0], None));
    assert!(group.durable.owners.has(topic, 0) && group.durable.owners.has(topic, 1));
    group.replay(assignment("two", 4, vec![], None));
    assert!(!group.durable.owners.has(topic, 1));
}

#[test]
fn tombstones_of_what_is_not_there_do_nothing() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]).regex("b"));
    world.settle();
    world.run(|group, _, out| group.tombstones(out));
    let tombstones = world
        .log
        .iter()
        .filter(|record| format!("{record:?}").contains("value: None"));
    let group = world.replayed(tombstones.cloned());
    assert!(group.is_empty());
    assert_eq!(group.durable.members, Default::default());
}

/// A copy of a log of Apache Kafka may have members of the classic protocol.
#[test]
fn what_is_known_of_members_of_the_classic_protocol_is_kept() {
    let classic = Some(ClassicMemberMetadata {
        session_timeout_ms: 1,
        supported_protocols: Vec::new(),
    });
    let mut group = ConsumerGroup::new(GROUP.into());
    group.replay(Record::ConsumerGroupMemberMetadata {
        group: GROUP.to_owned(),
        member: "one".to_owned(),
        value: Some(ConsumerGroupMemberMetadataValue {
            classic_member_metadata: classic.clone(),
            ..Default::default()
        }),
    });
    let member = &group.durable.members["one"];
    assert!(member.uses_classic_protocol());
    let Record::ConsumerGroupMemberMetadata {
        value: Some(value), ..
    } = member.metadata_record(GROUP)
    else {
        panic!("the record of a member");
    };
    assert_eq!(value.classic_member_metadata, classic);
    let stale = group.check_commit("one", 5, 1, std::iter::empty());
    assert_eq!(stale, Err(ResponseError::IllegalGeneration));
}

#[test]
fn an_epoch_at_its_end_stays_there() {
    let mut world = World::new();
    let record = Record::ConsumerGroupMetadata {
        group: GROUP.to_owned(),
        value: Some(
            crate::coordinator::group::records::ConsumerGroupMetadataValue {
                epoch: i32::MAX,
                metadata_hash: 0,
            },
        ),
    };
    world.run(|_, _, out| out.records.push(record));
    assert_eq!(
        world.beat(Ask::join("one").names(&["a"])).member_epoch,
        i32::MAX
    );
    world.beat(Ask::leave("one"));
}
