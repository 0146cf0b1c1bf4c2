use uuid::Uuid;

use super::*;

/// Records as Apache Kafka 4.3.1 writes them: key and value, `-` for none.
const WRITTEN: &str = include_str!("../../../../tests/formats/kafka-4.3.1/group-records.hex");

/// Versions that Kafka 4.3.1 reads and no longer writes.
const OLDER: &str = include_str!("../../../../tests/formats/kafka-4.3.1/group-records-older.hex");

fn lines(hex: &str) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let bytes = |hex: &str| -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    hex.lines()
        .map(|line| {
            let (key, value) = line.split_once(' ').expect("key and value");
            (bytes(key), (value != "-").then(|| bytes(value)))
        })
        .collect()
}

fn encoded(record: &Record) -> (Vec<u8>, Option<Vec<u8>>) {
    // What is left of an earlier record is no part of the next one.
    let mut out = vec![0xaa; 3];
    let (key, value) = record.encode(&mut out).expect("no string is too long");
    (key.to_vec(), value.map(<[u8]>::to_vec))
}

fn offset_commit(value: Option<OffsetCommitValue>) -> Record {
    Record::OffsetCommit {
        group: "g".into(),
        topic: "topic-ü".into(),
        partition: 3,
        value,
    }
}

fn committed() -> OffsetCommitValue {
    OffsetCommitValue {
        offset: 1_000_000_007,
        metadata: "meta".into(),
        commit_timestamp: 1_700_000_000_001,
        ..Default::default()
    }
}

fn group_metadata(value: Option<GroupMetadataValue>) -> Record {
    let group = "g".into();
    Record::GroupMetadata { group, value }
}

fn member(id: &str) -> MemberMetadata {
    MemberMetadata {
        member_id: id.into(),
        group_instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout: 300_000,
        session_timeout: 45_000,
        subscription: Bytes::from_static(&[0, 1, 0, 0]),
        assignment: Bytes::new(),
    }
}

fn with_members() -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 9,
        protocol: Some("range".into()),
        leader: Some("m1".into()),
        current_state_timestamp: 1_700_000_000_002,
        members: vec![
            member("m1"),
            MemberMetadata {
                group_instance_id: Some("static".into()),
                assignment: Bytes::from_static(&[0, 3, 1]),
                ..member("m2")
            },
        ],
    }
}

fn member_metadata(value: Option<ConsumerGroupMemberMetadataValue>) -> Record {
    let (group, member) = ("g".into(), "m".into());
    Record::ConsumerGroupMemberMetadata {
        group,
        member,
        value,
    }
}

fn full_member_metadata() -> ConsumerGroupMemberMetadataValue {
    let protocol = |name: &str, metadata: &'static [u8]| ClassicProtocol {
        name: name.into(),
        metadata: Bytes::from_static(metadata),
    };
    ConsumerGroupMemberMetadataValue {
        instance_id: Some("static".into()),
        rack_id: Some("rack".into()),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        subscribed_topic_names: vec!["a".into(), "b".into()],
        subscribed_topic_regex: Some("t.*".into()),
        rebalance_timeout_ms: 300_000,
        server_assignor: Some("uniform".into()),
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 45_000,
            supported_protocols: vec![protocol("range", &[1, 2]), protocol("sticky", &[])],
        }),
    }
}

fn bare_member_metadata() -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        classic_member_metadata: None,
        ..Default::default()
    }
}

fn target(value: Option<Vec<TargetTopicPartitions>>) -> Record {
    Record::ConsumerGroupTargetAssignmentMember {
        group: "g".into(),
        member: "m".into(),
        value: value
            .map(|topic_partitions| ConsumerGroupTargetAssignmentMemberValue { topic_partitions }),
    }
}

fn current(epochs: Option<Vec<i32>>) -> Record {
    let partitions = |topic, partitions: &[i32]| CurrentTopicPartitions {
        topic_id: Uuid::from_u128(topic),
        partitions: partitions.to_vec(),
        assignment_epochs: epochs.clone(),
    };
    Record::ConsumerGroupCurrentMemberAssignment {
        group: "g".into(),
        member: "m".into(),
        value: Some(ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 11,
            previous_member_epoch: 10,
            state: 1,
            assigned_partitions: vec![partitions(7, &[0, 1])],
            partitions_pending_revocation: vec![partitions(8, &[5, 300])],
        }),
    }
}

/// The records of [`WRITTEN`] in their order.
fn written() -> Vec<Record> {
    let group = || "g".to_owned();
    let epoch = |metadata_hash| Record::ConsumerGroupMetadata {
        group: group(),
        value: Some(ConsumerGroupMetadataValue {
            epoch: 5,
            metadata_hash,
        }),
    };
    let target_epoch = |assignment_timestamp| Record::ConsumerGroupTargetAssignmentMetadata {
        group: group(),
        value: Some(ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: 6,
            assignment_timestamp,
        }),
    };
    let target_partitions = |topic, partitions: &[i32]| TargetTopicPartitions {
        topic_id: Uuid::from_u128(topic),
        partitions: partitions.to_vec(),
    };
    let topics = ConsumerGroupPartitionMetadataValue {
        topics: vec![TopicMetadata {
            topic_id: Uuid::from_u128(7),
            topic_name: "a".into(),
            num_partitions: 2,
            partition_metadata: vec![PartitionMetadata {
                partition: 1,
                racks: vec!["r1".into(), "r2".into()],
            }],
        }],
    };
    let regular_expression = |value| Record::ConsumerGroupRegularExpression {
        group: group(),
        regular_expression: "t.*".into(),
        value,
    };
    vec![
        offset_commit(Some(OffsetCommitValue {
            leader_epoch: 7,
            topic_id: Uuid::from_u128(7),
            ..committed()
        })),
        offset_commit(Some(OffsetCommitValue {
            metadata: String::new(),
            ..committed()
        })),
        offset_commit(Some(OffsetCommitValue {
            expire_timestamp: 1_700_000_000_003,
            ..committed()
        })),
        offset_commit(None),
        group_metadata(Some(with_members())),
        group_metadata(Some(GroupMetadataValue {
            current_state_timestamp: 1_700_000_000_002,
            ..Default::default()
        })),
        group_metadata(None),
        epoch(0x0102_0304_0506_0708),
        epoch(0),
        Record::ConsumerGroupMetadata {
            group: group(),
            value: None,
        },
        Record::ConsumerGroupPartitionMetadata {
            group: group(),
            value: Some(topics),
        },
        Record::ConsumerGroupPartitionMetadata {
            group: group(),
            value: None,
        },
        member_metadata(Some(full_member_metadata())),
        member_metadata(Some(bare_member_metadata())),
        member_metadata(Some(ConsumerGroupMemberMetadataValue {
            classic_member_metadata: Some(ClassicMemberMetadata::default()),
            ..bare_member_metadata()
        })),
        member_metadata(None),
        target_epoch(1_700_000_000_004),
        target_epoch(0),
        Record::ConsumerGroupTargetAssignmentMetadata {
            group: group(),
            value: None,
        },
        target(Some(vec![
            target_partitions(7, &[0, 1]),
            target_partitions(8, &[70_000]),
        ])),
        target(Some(vec![])),
        target(None),
        current(Some(vec![3, 4])),
        current(Some(vec![])),
        current(None),
        Record::ConsumerGroupCurrentMemberAssignment {
            group: group(),
            member: "m".into(),
            value: None,
        },
        regular_expression(Some(ConsumerGroupRegularExpressionValue {
            topics: vec!["ta".into(), "tb".into()],
            version: 12,
            timestamp: 1_700_000_000_005,
        })),
        regular_expression(None),
    ]
}

/// The records of [`OLDER`] in their order.
fn older() -> Vec<Record> {
    let since = |version: i16| {
        let mut value = with_members();
        for member in &mut value.members {
            if version < 1 {
                member.rebalance_timeout = -1;
            }
            if version < 3 {
                member.group_instance_id = None;
            }
        }
        if version < 2 {
            value.current_state_timestamp = NO_TIMESTAMP;
        }
        group_metadata(Some(value))
    };
    vec![
        offset_commit(Some(committed())),
        offset_commit(Some(committed())),
        offset_commit(Some(committed())),
        offset_commit(Some(OffsetCommitValue {
            leader_epoch: 7,
            ..committed()
        })),
        // Of type 0, and its tombstone.
        offset_commit(Some(committed())),
        offset_commit(None),
        since(0),
        since(1),
        since(2),
        since(4),
    ]
}

#[test]
fn every_type_is_written_as_kafka_writes_it() {
    let (records, lines) = (written(), lines(WRITTEN));
    assert_eq!(records.len(), lines.len());
    for (record, line) in records.iter().zip(lines) {
        assert_eq!(encoded(record), line, "{record:?}");
    }
}

#[test]
fn what_kafka_wrote_is_read() {
    for (records, hex) in [(written(), WRITTEN), (older(), OLDER)] {
        let lines = lines(hex);
        assert_eq!(records.len(), lines.len());
        for (record, (key, value)) in records.into_iter().zip(lines) {
            assert_eq!(Record::decode(&key, value.as_deref()), Ok(record));
        }
    }
}

#[test]
fn a_commit_with_an_expiry_is_written_without_what_its_version_lacks() {
    let commit = OffsetCommitValue {
        expire_timestamp: 1,
        ..committed()
    };
    let with_more = OffsetCommitValue {
        leader_epoch: 7,
        topic_id: Uuid::from_u128(7),
        ..commit.clone()
    };
    assert_eq!(
        encoded(&offset_commit(Some(with_more))),
        encoded(&offset_commit(Some(commit)))
    );
}

#[test]
fn a_type_that_is_not_known_is_kept_as_it_is() {
    // ShareGroupMetadata, as Kafka 4.3.1 writes it, and its tombstone.
    let (key, value): (&[u8], &[u8]) = (
        &[0, 11, 0, 1, b'g'],
        &[0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    for value in [Some(value), None] {
        let record = Record::decode(key, value).unwrap();
        assert!(matches!(record, Record::Unknown { .. }), "{record:?}");
        assert_eq!(encoded(&record), (key.to_vec(), value.map(<[u8]>::to_vec)));
    }
}

#[test]
fn a_version_that_is_not_known_is_named() {
    let (key, value) = encoded(&offset_commit(Some(committed())));
    for version in [5_i16, -1] {
        let mut value = value.clone().unwrap();
        value[..2].copy_from_slice(&version.to_be_bytes());
        assert_eq!(
            Record::decode(&key, Some(&value)),
            Err(Malformed::UnknownVersion {
                record: "OffsetCommitValue",
                version
            })
        );
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let record = target(Some(vec![]));
    let (key, value) = encoded(&record);
    let value = value.unwrap();
    let (count, fields) = value.split_last().unwrap();
    assert_eq!(*count, 0);
    let value = [fields, &[1, 9, 3, 1, 2, 3]].concat();
    assert_eq!(Record::decode(&key, Some(&value)), Ok(record));
}

#[test]
fn a_cut_record_is_an_error_at_every_length() {
    for (key, value) in lines(WRITTEN).into_iter().chain(lines(OLDER)) {
        let value = value.as_deref();
        for len in 0..key.len() {
            assert!(Record::decode(&key[..len], value).is_err(), "{key:?}");
        }
        for len in 0..value.map_or(0, <[u8]>::len) {
            let cut = value.map(|value| &value[..len]);
            assert!(Record::decode(&key, cut).is_err(), "{key:?} {cut:?}");
        }
    }
}

#[test]
fn bytes_behind_the_last_field_are_an_error() {
    for (key, value) in lines(WRITTEN).into_iter().chain(lines(OLDER)) {
        let garbage = |result| matches!(result, Err(Malformed::Garbage { len: 1, .. }));
        let longer = [&key[..], &[0]].concat();
        assert!(garbage(Record::decode(&longer, value.as_deref())));
        if let Some(value) = value {
            let longer = [&value[..], &[0]].concat();
            assert!(garbage(Record::decode(&key, Some(&longer))), "{key:?}");
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let mut out = Vec::new();
    let mut decode = |key: &[u8], value: Option<&[u8]>| {
        if let Ok(record) = Record::decode(key, value) {
            let _ = record.encode(&mut out);
        }
    };
    for (key, value) in lines(WRITTEN).into_iter().chain(lines(OLDER)) {
        for at in 0..key.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = key.clone();
                changed[at] = byte;
                decode(&changed, value.as_deref());
            }
        }
        for at in 0..value.as_ref().map_or(0, Vec::len) {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = value.clone().unwrap();
                changed[at] = byte;
                decode(&key, Some(&changed));
            }
        }
    }
}

#[test]
fn a_claimed_length_is_not_believed() {
    let wire = |wanted, remaining| Err(Malformed::Wire(WireError::Truncated { wanted, remaining }));
    // A group id of 32,767 bytes, of which there is one.
    assert_eq!(
        Record::decode(&[0, 2, 0x7f, 0xff, b'g'], None),
        wire(32_767, 1)
    );
    assert_eq!(
        Record::decode(&[0, 2, 0xff, 0xfe, b'g'], None),
        Err(Malformed::Wire(WireError::NegativeLength(-2)))
    );
    assert_eq!(
        Record::decode(&[0, 2, 0xff, 0xff, b'g'], None),
        Err(Malformed::Wire(WireError::UnexpectedNull))
    );

    // A group of version 3 with 2,147,483,647 members.
    let (key, value) = encoded(&group_metadata(Some(GroupMetadataValue::default())));
    let mut value = value.unwrap();
    let count_at = value.len() - 4;
    value[count_at..].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(
        Record::decode(&key, Some(&value)),
        wire(i32::MAX as usize, 0)
    );

    // A target assignment with 4,294,967,294 topics.
    let (key, _) = encoded(&target(None));
    let value = [0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    assert_eq!(
        Record::decode(&key, Some(&value)),
        wire(u32::MAX as usize - 1, 1)
    );
}

#[test]
fn a_string_that_kafka_could_not_read_is_refused() {
    let mut out = Vec::new();
    let longest = "x".repeat(32_767);
    let too_long = "x".repeat(32_768);
    let commit = |metadata: &String| {
        offset_commit(Some(OffsetCommitValue {
            metadata: metadata.clone(),
            ..committed()
        }))
    };
    let tombstone = |group: &String| Record::GroupMetadata {
        group: group.clone(),
        value: None,
    };
    let of_member = |client_id: &String| {
        let client_id = client_id.clone();
        group_metadata(Some(GroupMetadataValue {
            members: vec![MemberMetadata {
                client_id,
                ..member("m")
            }],
            ..Default::default()
        }))
    };
    for make in [
        &commit as &dyn Fn(&String) -> Record,
        &tombstone,
        &of_member,
    ] {
        let record = make(&longest);
        let (key, value) = record.encode(&mut out).unwrap();
        assert_eq!(Record::decode(key, value), Ok(record));
        assert_eq!(make(&too_long).encode(&mut out), Err(TooLong));
    }
}
