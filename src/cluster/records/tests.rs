use bytes::Bytes;
use uuid::Uuid;

use super::*;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn endpoint() -> Endpoint {
    Endpoint {
        name: "PLAINTEXT".into(),
        host: "localhost".into(),
        port: 65_535,
        security_protocol: 0,
    }
}

fn feature_range() -> FeatureRange {
    FeatureRange {
        name: "metadata.version".into(),
        min_supported_version: 7,
        max_supported_version: 30,
    }
}

/// One record of every type, with every field set to something that is not its default.
fn one_of_each() -> Vec<Record> {
    vec![
        RegisterBrokerRecord {
            broker_id: 1,
            is_migrating_zk_broker: true,
            incarnation_id: id(5),
            broker_epoch: 14,
            end_points: vec![endpoint(), endpoint()],
            features: vec![feature_range()],
            rack: Some("a".into()),
            fenced: true,
            in_controlled_shutdown: true,
            log_dirs: vec![id(6)],
            cordoned_log_dirs: Some(vec![]),
        }
        .into(),
        UnregisterBrokerRecord {
            broker_id: 1,
            broker_epoch: 14,
        }
        .into(),
        TopicRecord {
            name: "t".into(),
            topic_id: id(7),
        }
        .into(),
        PartitionRecord {
            partition_id: 3,
            topic_id: id(7),
            replicas: vec![1, 2],
            isr: vec![2],
            removing_replicas: vec![1],
            adding_replicas: vec![2],
            leader: 2,
            leader_recovery_state: 1,
            leader_epoch: 4,
            partition_epoch: 5,
            directories: vec![id(8), id(9)],
            eligible_leader_replicas: Some(vec![1]),
            last_known_elr: Some(vec![]),
        }
        .into(),
        ConfigRecord {
            resource_type: 2,
            resource_name: "t".into(),
            name: "retention.ms".into(),
            value: None,
        }
        .into(),
        PartitionChangeRecord {
            partition_id: 3,
            topic_id: id(7),
            isr: Some(vec![]),
            leader: -1,
            replicas: Some(vec![1]),
            removing_replicas: Some(vec![2]),
            adding_replicas: Some(vec![3]),
            leader_recovery_state: 0,
            eligible_leader_replicas: Some(vec![4]),
            last_known_elr: Some(vec![5]),
            directories: Some(vec![id(6)]),
        }
        .into(),
        FenceBrokerRecord { id: 1, epoch: 14 }.into(),
        UnfenceBrokerRecord { id: 1, epoch: 14 }.into(),
        RemoveTopicRecord { topic_id: id(7) }.into(),
        DelegationTokenRecord {
            owner: "User:a".into(),
            requester: "User:b".into(),
            renewers: vec!["User:c".into()],
            issue_timestamp: 1,
            max_timestamp: 2,
            expiration_timestamp: 3,
            token_id: "token".into(),
        }
        .into(),
        UserScramCredentialRecord {
            name: "bob".into(),
            mechanism: 1,
            salt: Bytes::from_static(b"salt"),
            stored_key: Bytes::from_static(b"stored"),
            server_key: Bytes::new(),
            iterations: 4096,
        }
        .into(),
        FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: 30,
        }
        .into(),
        ClientQuotaRecord {
            entity: vec![QuotaEntity {
                entity_type: "user".into(),
                entity_name: None,
            }],
            key: "producer_byte_rate".into(),
            value: 1024.5,
            remove: true,
        }
        .into(),
        ProducerIdsRecord {
            broker_id: 1,
            broker_epoch: 14,
            next_producer_id: 1000,
        }
        .into(),
        BrokerRegistrationChangeRecord {
            broker_id: 1,
            broker_epoch: 14,
            fenced: -1,
            in_controlled_shutdown: 1,
            log_dirs: vec![id(6)],
            cordoned_log_dirs: Some(vec![id(6)]),
        }
        .into(),
        AccessControlEntryRecord {
            id: id(1),
            resource_type: 2,
            resource_name: "t".into(),
            pattern_type: 4,
            principal: "User:bob".into(),
            host: "*".into(),
            operation: 3,
            permission_type: 3,
        }
        .into(),
        RemoveAccessControlEntryRecord { id: id(1) }.into(),
        NoOpRecord {}.into(),
        ZkMigrationStateRecord {
            zk_migration_state: 2,
        }
        .into(),
        RemoveUserScramCredentialRecord {
            name: "bob".into(),
            mechanism: 1,
        }
        .into(),
        BeginTransactionRecord {
            name: Some("Bootstrap records".into()),
        }
        .into(),
        EndTransactionRecord {}.into(),
        AbortTransactionRecord {
            reason: Some("Controller failover".into()),
        }
        .into(),
        RemoveDelegationTokenRecord {
            token_id: "token".into(),
        }
        .into(),
        RegisterControllerRecord {
            controller_id: 1,
            incarnation_id: id(5),
            zk_migration_ready: true,
            end_points: vec![endpoint()],
            features: vec![feature_range()],
        }
        .into(),
        ClearElrRecord {
            topic_name: "t".into(),
        }
        .into(),
    ]
}

fn encoded(record: &Record, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(version, &mut bytes);
    bytes
}

/// The same records, as Apache Kafka 4.3.1 writes them.
const KAFKA_RECORDS: &str = include_str!("../../../tests/formats/kafka-4.3.1/metadata-records.hex");

#[test]
fn every_type_is_written_as_kafka_writes_it() {
    let hex =
        |bytes: Vec<u8>| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let records = one_of_each();
    assert_eq!(records.len(), KAFKA_RECORDS.lines().count());
    for (record, expected) in records.iter().zip(KAFKA_RECORDS.lines()) {
        let bytes = encoded(record, record.highest_version());
        assert_eq!(hex(bytes), expected, "{record:?}");
    }
}

#[test]
fn every_type_survives_its_encoding() {
    for record in one_of_each() {
        let bytes = encoded(&record, record.highest_version());
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record));
    }
}

#[test]
fn an_older_version_loses_only_what_it_does_not_have() {
    for record in one_of_each() {
        for version in 0..=record.highest_version() {
            let bytes = encoded(&record, version);
            let decoded = Record::decode(&bytes).expect("an own encoding");
            assert_eq!(encoded(&decoded, version), bytes, "{record:?} at {version}");
        }
    }
}

#[test]
fn defaults_of_tagged_fields_take_no_room() {
    let change = PartitionChangeRecord {
        partition_id: 1,
        topic_id: id(2),
        ..Default::default()
    };
    // frame, key and version, partition, topic, number of tagged fields
    assert_eq!(
        encoded(&change.into(), 2),
        [&[1, 5, 2, 0, 0, 0, 1][..], id(2).as_bytes(), &[0]].concat()
    );
}

#[test]
fn a_cut_record_is_an_error_at_every_length() {
    for record in one_of_each() {
        let bytes = encoded(&record, record.highest_version());
        for len in 0..bytes.len() {
            assert!(
                Record::decode(&bytes[..len]).is_err(),
                "{record:?} at {len}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            Record::decode(&longer),
            Err(DecodeError::Garbage {
                record: record.type_name(),
                len: 1
            })
        );
    }
}

#[test]
fn changed_bytes_never_panic() {
    for record in one_of_each() {
        let bytes = encoded(&record, record.highest_version());
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = Record::decode(&changed);
            }
        }
    }
}

#[test]
fn a_claimed_length_is_not_believed() {
    // A partition record whose list of replicas claims 2^32 - 2 elements.
    let head = [&[1, 3, 0, 0, 0, 0, 0][..], id(1).as_bytes()].concat();
    let bytes = [&head[..], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]].concat();
    assert_eq!(
        Record::decode(&bytes),
        Err(DecodeError::Wire(WireError::Truncated {
            wanted: u32::MAX as usize - 1,
            remaining: 2
        }))
    );
    let too_large = [&head[..], &[0xff, 0xff, 0xff, 0xff, 0x1f]].concat();
    assert_eq!(
        Record::decode(&too_large),
        Err(DecodeError::Wire(WireError::Varint))
    );
}

#[test]
fn what_is_not_known_is_named() {
    assert_eq!(
        Record::decode(&[2, 0, 0]),
        Err(DecodeError::FrameVersion(2))
    );
    assert_eq!(
        Record::decode(&[1, 13, 0]),
        Err(DecodeError::UnknownKey(13))
    );
    assert_eq!(
        Record::decode(&[1, 2, 1]),
        Err(DecodeError::UnknownVersion {
            record: "TopicRecord",
            version: 1
        })
    );
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    // NoOp with one field of tag 9 that is three bytes long.
    assert_eq!(
        Record::decode(&[1, 20, 0, 1, 9, 3, 1, 2, 3]),
        Ok(NoOpRecord {}.into())
    );
}

#[test]
fn versions_follow_the_metadata_version() {
    let [mut at_7, mut at_17, mut at_23, mut at_30] = [const { Vec::new() }; 4];
    for record in one_of_each() {
        let note = |versions: &mut Vec<(u32, i16)>, level| {
            let version = record.version_at(MetadataVersion(level));
            if version > 0 && record.key() != 17 {
                versions.push((record.key(), version));
            }
        };
        note(&mut at_7, 7);
        note(&mut at_17, 17);
        note(&mut at_23, 23);
        note(&mut at_30, 30);
    }
    assert_eq!(at_7, [(0, 1)]);
    assert_eq!(at_17, [(0, 3), (3, 1), (5, 1)]);
    assert_eq!(at_23, [(0, 3), (3, 2), (5, 2)]);
    assert_eq!(at_30, [(0, 4), (3, 2), (5, 2)]);
}
