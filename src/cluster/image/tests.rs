use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::cluster::records::*;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn topic(n: u128, name: &str) -> Record {
    TopicRecord {
        name: name.into(),
        topic_id: id(n),
    }
    .into()
}

fn partition(topic: u128, partition: i32) -> Record {
    Partition::new(vec![1], vec![id(99)], vec![1])
        .to_record(id(topic), partition)
        .into()
}

fn leader_change(topic: u128, partition: i32, leader: i32) -> Record {
    PartitionChangeRecord {
        partition_id: partition,
        topic_id: id(topic),
        leader,
        ..Default::default()
    }
    .into()
}

fn remove(topic: u128) -> Record {
    RemoveTopicRecord {
        topic_id: id(topic),
    }
    .into()
}

fn config(resource: &ConfigResource, name: &str, value: Option<&str>) -> Record {
    config_record(resource, name, value.map(str::to_owned)).into()
}

fn broker(epoch: i64) -> Record {
    RegisterBrokerRecord {
        broker_id: 1,
        broker_epoch: epoch,
        fenced: true,
        log_dirs: vec![id(99)],
        ..Default::default()
    }
    .into()
}

fn replay_all(replayer: &mut Replayer, records: &[Record]) -> Result<(), ReplayError> {
    for record in records {
        replayer.replay(replayer.image().last_offset + 1, 1, record)?;
    }
    Ok(())
}

fn replayed(records: &[Record]) -> Replayer {
    let mut replayer = Replayer::new(Image::empty("c"));
    replay_all(&mut replayer, records).expect("records that fit");
    replayer
}

#[test]
fn a_topic_comes_changes_and_goes() {
    let resource = ConfigResource::topic("a");
    let mut replayer = replayed(&[
        topic(1, "a"),
        config(&resource, "retention.ms", Some("1")),
        partition(1, 0),
        partition(1, 1),
    ]);
    let delta = replayer.take_delta();
    let change = &delta.topics[&id(1)];
    assert!(change.before.is_none());
    assert_eq!(change.changed_partitions().count(), 2);
    let image = replayer.image();
    assert_eq!(image.property(&resource, "retention.ms"), Some("1"));
    assert_eq!(image.last_offset, 3);

    replay_all(&mut replayer, &[leader_change(1, 1, 1), partition(1, 2)]).unwrap();
    let delta = replayer.take_delta();
    let change = &delta.topics[&id(1)];
    let before = change.before.as_ref().expect("it was there");
    assert!(before.partition(1).is_some() && before.partition(2).is_none());
    let changed: Vec<_> = change
        .changed_partitions()
        .map(|(id, partition)| (id, partition.leader_epoch, partition.partition_epoch))
        .collect();
    assert_eq!(changed, [(1, 1, 1), (2, 0, 0)]);

    replay_all(&mut replayer, &[remove(1)]).unwrap();
    let delta = replayer.take_delta();
    let deleted: Vec<_> = delta.deleted_topics().collect();
    assert_eq!(deleted[0].partition_count(), 3);
    assert!(replayer.image().topics.is_empty());
    assert!(replayer.image().configs.is_empty());
    assert!(replayer.take_delta().is_empty());
}

#[test]
fn a_topic_that_nobody_saw_is_no_change() {
    let mut replayer = replayed(&[topic(1, "a"), partition(1, 0), remove(1)]);
    let delta = replayer.take_delta();
    assert!(delta.is_empty());
    assert_eq!(delta.last_offset, 2);
}

#[test]
fn a_name_can_move_to_another_topic_within_one_delta() {
    let resource = ConfigResource::topic("a");
    let mut replayer = replayed(&[topic(1, "a"), config(&resource, "x", Some("old"))]);
    let mut copy = Image::empty("c");
    copy.apply(&replayer.take_delta());
    let again = [
        remove(1),
        topic(2, "a"),
        config(&resource, "y", Some("new")),
    ];
    replay_all(&mut replayer, &again).unwrap();
    copy.apply(&replayer.take_delta());
    assert_eq!(&copy, replayer.image());
    assert_eq!(copy.topics.id_of("a"), Some(id(2)));
    assert_eq!(copy.property(&resource, "x"), None);
    assert_eq!(copy.property(&resource, "y"), Some("new"));
}

#[test]
fn untouched_topics_are_shared() {
    let mut replayer = replayed(&[
        topic(1, "a"),
        partition(1, 0),
        topic(2, "b"),
        partition(2, 0),
    ]);
    let mut copy = replayer.image().clone();
    replayer.take_delta();
    replay_all(&mut replayer, &[leader_change(1, 0, -1)]).unwrap();
    copy.apply(&replayer.take_delta());
    let of = |image: &Image, n| image.topics.get(id(n)).unwrap().clone();
    assert!(Arc::ptr_eq(&of(&copy, 1), &of(replayer.image(), 1)));
    assert!(Arc::ptr_eq(&of(&copy, 2), &of(replayer.image(), 2)));
}

#[test]
fn a_transaction_takes_effect_at_its_end_or_never() {
    let begin = || Record::from(BeginTransactionRecord::default());
    let mut replayer = replayed(&[begin(), topic(1, "a")]);
    assert_eq!(replayer.open_transaction(), Some(0));
    assert!(replayer.take_delta().is_empty());
    replay_all(&mut replayer, &[EndTransactionRecord {}.into()]).unwrap();
    let delta = replayer.take_delta();
    assert!(delta.topics[&id(1)].before.is_none() && delta.topics[&id(1)].after.is_some());

    let abort = AbortTransactionRecord::default().into();
    replay_all(&mut replayer, &[begin(), topic(2, "b"), abort]).unwrap();
    assert!(replayer.take_delta().is_empty());
    assert_eq!(replayer.open_transaction(), None);

    let unexpected = replay_all(&mut replayer, &[EndTransactionRecord {}.into()]);
    assert_eq!(unexpected, Err(ReplayError::NoOpenTransaction));
    let twice = replay_all(&mut replayer, &[begin(), begin()]);
    assert_eq!(twice, Err(ReplayError::TransactionAlreadyOpen));
}

#[test]
fn brokers_are_known_by_their_epoch() {
    let mut replayer = replayed(&[broker(7)]);
    assert!(!replayer.image().is_active_broker(1));
    let change = |broker_epoch, fenced, in_controlled_shutdown| {
        Record::from(BrokerRegistrationChangeRecord {
            broker_id: 1,
            broker_epoch,
            fenced,
            in_controlled_shutdown,
            ..Default::default()
        })
    };
    replay_all(&mut replayer, &[change(7, -1, 0)]).unwrap();
    assert!(replayer.image().is_active_broker(1));
    replay_all(&mut replayer, &[change(7, 0, 1)]).unwrap();
    assert!(!replayer.image().is_active_broker(1));
    assert_eq!(
        replay_all(&mut replayer, &[change(6, -1, 0)]),
        Err(ReplayError::UnknownBroker { id: 1, epoch: 6 })
    );
    let unregister = UnregisterBrokerRecord {
        broker_id: 1,
        broker_epoch: 7,
    };
    replay_all(&mut replayer, &[unregister.into()]).unwrap();
    assert!(replayer.image().brokers.is_empty());
}

#[test]
fn what_does_not_fit_is_refused() {
    let missing_directory = PartitionRecord {
        topic_id: id(1),
        replicas: vec![1, 2],
        directories: vec![id(9)],
        ..Default::default()
    };
    let cases: Vec<(Record, ReplayError)> = vec![
        (
            topic(1, "other"),
            ReplayError::DuplicateTopic {
                name: "other".into(),
            },
        ),
        (
            topic(2, "a"),
            ReplayError::DuplicateTopic { name: "a".into() },
        ),
        (remove(3), ReplayError::UnknownTopic { id: id(3) }),
        (partition(3, 0), ReplayError::UnknownTopic { id: id(3) }),
        (
            partition(1, -1),
            ReplayError::NegativePartition {
                topic_id: id(1),
                partition: -1,
            },
        ),
        (
            leader_change(1, 5, 1),
            ReplayError::UnknownPartition {
                topic_id: id(1),
                partition: 5,
            },
        ),
        (
            missing_directory.into(),
            ReplayError::DirectoriesOfReplicas {
                replicas: 2,
                directories: 1,
            },
        ),
        (
            ClearElrRecord {
                topic_name: "b".into(),
            }
            .into(),
            ReplayError::UnknownTopicName { name: "b".into() },
        ),
        (
            ProducerIdsRecord {
                next_producer_id: 999,
                ..Default::default()
            }
            .into(),
            ReplayError::ProducerIdWentBack {
                current: 1000,
                next: 999,
            },
        ),
    ];
    let ids = ProducerIdsRecord {
        next_producer_id: 1000,
        ..Default::default()
    };
    for (record, error) in cases {
        let mut replayer = replayed(&[topic(1, "a"), partition(1, 0), ids.clone().into()]);
        assert_eq!(replay_all(&mut replayer, &[record]), Err(error));
    }
    let mut replayer = replayed(&[topic(1, "a")]);
    assert_eq!(
        replayer.replay(0, 1, &NoOpRecord {}.into()),
        Err(ReplayError::OffsetWentBack { last: 0, offset: 0 })
    );
}

#[test]
fn clearing_eligible_replicas_touches_only_those_who_have_some() {
    let elr = PartitionChangeRecord {
        partition_id: 1,
        topic_id: id(1),
        eligible_leader_replicas: Some(vec![1]),
        ..Default::default()
    };
    let mut replayer = replayed(&[topic(1, "a"), partition(1, 0), partition(1, 1), elr.into()]);
    replayer.take_delta();
    replay_all(&mut replayer, &[ClearElrRecord::default().into()]).unwrap();
    let delta = replayer.take_delta();
    assert_eq!(Vec::from_iter(&delta.topics[&id(1)].partitions), [&1]);
    assert!(
        delta.topics[&id(1)]
            .changed_partitions()
            .all(|(_, p)| p.elr.is_empty())
    );
}

/// A small generator, so that a failing case can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

/// A record that fits `image`, whatever it is.
fn any_record(random: &mut Random, image: &Image, offset: i64) -> Record {
    let name = format!("t{}", random.below(6));
    let existing = image.topics.by_name(&name);
    let resource = match random.below(3) {
        0 => ConfigResource::cluster_default(),
        1 => ConfigResource::broker(1),
        _ => ConfigResource::topic(name.as_str()),
    };
    match (random.below(12), existing) {
        (0, Some(topic)) => remove(topic.id.as_u128()),
        (0..=3, None) => topic(1000 + offset as u128, &name),
        (1..=3, Some(topic)) => partition(topic.id.as_u128(), topic.partition_count() as i32),
        (4..=5, Some(topic)) if topic.partition_count() > 0 => {
            let of = random.below(topic.partition_count() as u64) as i32;
            leader_change(topic.id.as_u128(), of, random.below(3) as i32 - 1)
        }
        (6, _) => config(&resource, &format!("k{}", random.below(3)), None),
        (7..=8, _) => config(&resource, &format!("k{}", random.below(3)), Some("v")),
        (9, _) => FeatureLevelRecord {
            name: format!("f{}", random.below(3)),
            feature_level: random.below(3) as i16,
        }
        .into(),
        (10, _) => broker(offset),
        (11, _) => ClientQuotaRecord {
            entity: vec![QuotaEntity {
                entity_type: "user".into(),
                entity_name: None,
            }],
            key: "k".into(),
            value: 1.0,
            remove: random.below(2) == 0,
        }
        .into(),
        _ => ProducerIdsRecord {
            next_producer_id: image.next_producer_id + 1000,
            ..Default::default()
        }
        .into(),
    }
}

#[test]
fn copies_that_apply_deltas_equal_the_source() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let mut replayer = Replayer::new(Image::empty("c"));
        let mut copy = Image::empty("c");
        for _ in 0..40 {
            for _ in 0..random.below(8) {
                let offset = replayer.image().last_offset + 1;
                let record = any_record(&mut random, replayer.image(), offset);
                replayer
                    .replay(offset, 1, &record)
                    .expect("a record that fits");
            }
            copy.apply(&replayer.take_delta());
            assert_eq!(&copy, replayer.image(), "seed {seed}");
            let counted = DirectoryCounts::of(&copy);
            assert_eq!(&counted, replayer.directories(), "seed {seed}");
        }

        let snapshot = copy.records().collect::<Vec<_>>();
        let mut restored = Replayer::new(Image::empty("c"));
        replay_all(&mut restored, &snapshot).expect("a snapshot fits an empty image");
        restored.pass(copy.last_offset.max(restored.image().last_offset), 1);
        copy.last_offset = restored.image().last_offset;
        copy.last_epoch = 1;
        assert_eq!(&copy, restored.image(), "snapshot of seed {seed}");
    }
}

#[test]
fn images_and_deltas_go_between_cores() {
    fn is_send<T: Send>() {}
    is_send::<Image>();
    is_send::<Delta>();
}

#[test]
fn whoever_holds_the_image_has_it_as_it_was() {
    let mut replayer = replayed(&[topic(1, "a"), partition(1, 0)]);
    let held = replayer.shared_image();
    assert!(std::ptr::eq(&*held, replayer.image()));
    let before = Image::clone(&held);
    replay_all(&mut replayer, &[topic(2, "b")]).expect("records that fit");
    assert_eq!(*held, before);
    assert_eq!(replayer.image().topics.len(), 2);
}
