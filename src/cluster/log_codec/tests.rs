use uuid::Uuid;

use super::testing::encode_snapshot;
use super::*;
use crate::cluster::features::METADATA_VERSION;
use crate::cluster::image::{ConfigResource, Image, ResourceKind};
use crate::cluster::records::{
    BeginTransactionRecord, NoOpRecord, SnapshotFooterMessage, SnapshotHeaderMessage, TopicRecord,
};

/// Written by Apache Kafka 4.3.1: one node, started twice, with topics made, grown and deleted,
/// configurations, quotas, access control, credentials, producer ids and features changed.
const KAFKA_LOG: &[u8] = include_bytes!(
    "../../../tests/formats/kafka-4.3.1/__cluster_metadata-0/00000000000000000000.log"
);
/// What formatting that node's folder wrote.
const KAFKA_SNAPSHOT: &[u8] = include_bytes!(
    "../../../tests/formats/kafka-4.3.1/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
);
const KAFKA_BOOTSTRAP: &[u8] =
    include_bytes!("../../../tests/formats/kafka-4.3.1/bootstrap.checkpoint");

fn batches(bytes: &[u8]) -> impl Iterator<Item = Batch<'_>> {
    BatchIter::verifying(bytes).map(|batch| batch.expect("a good batch"))
}

fn place_of(batch: &Batch<'_>) -> BatchPlace {
    BatchPlace {
        base_offset: batch.base_offset(),
        leader_epoch: batch.leader_epoch(),
        timestamp_ms: batch.base_timestamp(),
    }
}

fn records_of(batch: Batch<'_>) -> Vec<Record> {
    let mut records = Vec::new();
    for_each_record(batch, |_, record| {
        records.push(record);
        Ok(())
    })
    .expect("records that decode");
    records
}

fn replayed(bytes: &[u8]) -> Replayer {
    let mut replayer = Replayer::new(Image::empty("c"));
    replay(bytes, &mut replayer).expect("a good log");
    replayer
}

fn topic(n: u128, name: &str) -> Record {
    TopicRecord {
        name: name.into(),
        topic_id: Uuid::from_u128(n),
    }
    .into()
}

const PLACE: BatchPlace = BatchPlace {
    base_offset: 10,
    leader_epoch: 3,
    timestamp_ms: 1_000,
};

#[test]
fn a_log_of_kafka_is_written_again_byte_for_byte() {
    let mut types = std::collections::BTreeSet::new();
    for bytes in [KAFKA_LOG, KAFKA_BOOTSTRAP] {
        for batch in batches(bytes).filter(|batch| !batch.is_control()) {
            let records = records_of(batch);
            types.extend(records.iter().map(Record::type_name));
            let again = encode_batch(&records, MetadataVersion::LATEST, place_of(&batch));
            assert_eq!(again, batch.bytes(), "{records:?}");
        }
    }
    assert_eq!(types.len(), 19, "{types:?}");
}

#[test]
fn control_batches_are_those_of_kafka() {
    // The first batch of the second start holds nothing but the change of leader.
    let change = batches(KAFKA_LOG)
        .find(|batch| batch.is_control() && batch.record_count() == 1)
        .expect("a change of leader");
    let again = encode_leader_change(1, &[1], place_of(&change));
    assert_eq!(again, change.bytes());

    // The header and the footer of what formatting a folder wrote.
    let controls: Vec<_> = batches(KAFKA_BOOTSTRAP)
        .filter(|batch| batch.is_control())
        .collect();
    let place = place_of(&controls[0]);
    let header = encode_control(&SnapshotHeaderMessage::default());
    let header = control_batch(ControlKind::SnapshotHeader, &header, place);
    assert_eq!(header, controls[0].bytes());
    let footer = encode_control(&SnapshotFooterMessage::default());
    let footer = control_batch(ControlKind::SnapshotFooter, &footer, place_of(&controls[1]));
    assert_eq!(footer, controls[1].bytes());
}

#[test]
fn a_snapshot_of_kafka_without_records_is_read() {
    let replayer = replayed(KAFKA_SNAPSHOT);
    assert_eq!(replayer.image().last_offset, 3);
    assert!(replayer.image().brokers.is_empty());
}

#[test]
fn a_log_of_kafka_gives_its_image() {
    let replayer = replayed(KAFKA_LOG);
    let image = replayer.image();
    assert_eq!((image.last_offset, image.last_epoch), (124, 2));
    assert_eq!(replayer.open_transaction(), None);
    assert_eq!(image.features[METADATA_VERSION], 30);
    assert_eq!(image.features["transaction.version"], 2);
    assert!(image.is_elr_enabled());
    assert_eq!(image.next_producer_id, 1000);

    let names: Vec<_> = image.topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["alpha", "manual"]);
    let alpha = image.topics.by_name("alpha").unwrap();
    assert_eq!(alpha.partition_count(), 5);
    // Stopped in good order: nobody leads, and the node may lead again without loss.
    for partition in alpha.partitions.values() {
        assert_eq!(partition.replicas, [1]);
        assert!(!partition.has_leader());
        assert!(partition.isr.is_empty());
        assert_eq!(partition.elr, [1]);
    }

    let properties = image.properties(&ConfigResource::topic("alpha")).unwrap();
    let properties: Vec<_> = properties.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        properties,
        [
            ("cleanup.policy", "compact,delete"),
            ("min.insync.replicas", "2"),
            ("segment.bytes", "1048576"),
        ]
    );
    let default = ConfigResource::cluster_default();
    assert_eq!(image.property(&default, "min.insync.replicas"), Some("1"));
    assert_eq!(image.property(&default, "log.cleaner.threads"), Some("1"));
    assert_eq!(default.kind, ResourceKind::Broker);

    let broker = &image.brokers[&1];
    assert_eq!(broker.epoch, 88);
    assert_eq!(broker.rack.as_deref(), Some("rack-a"));
    assert!(broker.fenced && broker.in_controlled_shutdown);
    assert_eq!(broker.endpoints[0].port, 29392);
    assert!(alpha.partitions[&0].directories == broker.log_dirs);
    assert_eq!(image.controllers[&1].endpoints[0].name, "CONTROLLER");

    let security = &image.security;
    assert!(security.acls.is_empty());
    assert_eq!(security.scram_credentials.len(), 1);
    assert_eq!(security.quotas.len(), 1);
}

#[test]
fn a_snapshot_gives_the_image_it_was_taken_of() {
    let source = replayed(KAFKA_LOG);
    let mut image = source.image().clone();
    let snapshot = encode_snapshot(&image, 5, 6);
    let restored = replayed(&snapshot);
    image.last_offset = restored.image().last_offset;
    image.last_epoch = restored.image().last_epoch;
    assert_eq!(restored.image(), &image);
}

#[test]
fn a_large_snapshot_goes_into_several_batches() {
    let mut replayer = Replayer::new(Image::empty("c"));
    for n in 0..10_000 {
        let name = format!("topic-{n}");
        replayer.replay(n, 1, &topic(n as u128, &name)).unwrap();
    }
    let snapshot = encode_snapshot(replayer.image(), 0, 0);
    assert!(batches(&snapshot).count() > 3);
    let offsets: Vec<_> = batches(&snapshot)
        .map(|batch| (batch.base_offset(), batch.next_offset()))
        .collect();
    assert!(offsets.windows(2).all(|pair| pair[0].1 == pair[1].0));
    let restored = replayed(&snapshot);
    assert_eq!(restored.image().topics, replayer.image().topics);
}

#[test]
fn what_is_written_is_read() {
    let records = [BeginTransactionRecord::default().into(), topic(1, "a")];
    let bytes = encode_batch(&records, MetadataVersion::LATEST, PLACE);
    let replayer = replayed(&bytes);
    assert_eq!(replayer.open_transaction(), Some(10));
    assert_eq!(replayer.image().last_offset, 11);
    assert_eq!(replayer.image().last_epoch, 3);
}

#[test]
fn control_batches_move_the_end() {
    let replayer = replayed(&encode_leader_change(1, &[1], PLACE));
    assert_eq!(
        (replayer.image().last_offset, replayer.image().last_epoch),
        (10, 3)
    );
}

#[test]
fn errors_name_the_offset() {
    let fault = |bytes: &[u8]| replay(bytes, &mut Replayer::new(Image::empty("c"))).unwrap_err();
    let good = encode_batch(
        &[NoOpRecord {}.into(), topic(1, "a"), topic(1, "b")],
        MetadataVersion::LATEST,
        PLACE,
    );
    assert_eq!(
        fault(&good),
        LogError {
            offset: 12,
            fault: LogFault::Replay(ReplayError::DuplicateTopic { name: "b".into() })
        }
    );

    let mut rotten = good.clone();
    *rotten.last_mut().unwrap() ^= 1;
    assert!(matches!(
        fault(&rotten).fault,
        LogFault::Batch(BatchError::BadCrc { .. })
    ));
    assert!(matches!(
        fault(&good[..good.len() - 1]).fault,
        LogFault::Batch(BatchError::Truncated { .. })
    ));

    let mut unknown = PLACE.builder();
    append(&mut unknown, PLACE, None, &[1, 99, 0]);
    assert_eq!(
        fault(&finish(unknown)),
        LogError {
            offset: 10,
            fault: LogFault::Decode(DecodeError::UnknownKey(99))
        }
    );
    let mut empty = PLACE.builder();
    empty.append(0, None, None).unwrap();
    assert_eq!(fault(&finish(empty)).fault, LogFault::NoValue);
}
