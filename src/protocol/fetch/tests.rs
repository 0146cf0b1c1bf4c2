//! The generated codec is the oracle: what it encodes we decode, what we encode it decodes.

use std::collections::VecDeque;

use bytes::BytesMut;
use kafka_protocol::messages::fetch_request as oracle;
use kafka_protocol::messages::fetch_response as oracle_response;
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::protocol::testing::{Random, reply_body};

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic(i: usize, version: i16) -> TopicRef {
    if version >= TOPIC_IDS {
        TopicRef::Id(Uuid::from_u128(0x77_0000 + i as u128))
    } else {
        TopicRef::Name(text(&format!("topic-{i}")))
    }
}

/// A request that uses every field its version has.
fn sample(version: i16, topics: usize, partitions: usize) -> FetchRequest {
    let from = |since: i16, value: i64, otherwise: i64| {
        if version >= since { value } else { otherwise }
    };
    FetchRequest {
        cluster_id: (version >= FLEXIBLE && topics > 1).then(|| text("cluster")),
        replica_id: 5,
        replica_epoch: from(REPLICA_STATE, 6, -1),
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation_level: 1,
        session_id: from(SESSIONS, 99, 0) as i32,
        session_epoch: from(SESSIONS, 3, -1) as i32,
        topics: (0..topics)
            .map(|i| FetchTopic {
                topic: topic(i, version),
                partitions: (0..partitions)
                    .map(|p| FetchPartition {
                        partition: p as i32,
                        current_leader_epoch: from(9, 4, -1) as i32,
                        fetch_offset: 1 << 33,
                        last_fetched_epoch: from(FLEXIBLE, 2, -1) as i32,
                        log_start_offset: from(5, 10, -1),
                        partition_max_bytes: 1 << 20,
                        replica_directory_id: if version >= 17 && p % 2 == 0 {
                            Uuid::from_u128(11)
                        } else {
                            Uuid::nil()
                        },
                        high_watermark: if p % 2 == 1 {
                            from(18, 1 << 33, i64::MAX)
                        } else {
                            i64::MAX
                        },
                    })
                    .collect(),
            })
            .collect(),
        forgotten: (0..if version >= SESSIONS { topics } else { 0 })
            .map(|i| ForgottenTopic {
                topic: topic(i + 100, version),
                partitions: (0..partitions as i32).collect(),
            })
            .collect(),
        rack_id: if version >= 11 {
            text("rack")
        } else {
            StrBytes::new()
        },
    }
}

fn oracle_encoded(request: &FetchRequest, version: i16, extra_tags: bool) -> Bytes {
    let tags = |n| {
        if extra_tags && version >= FLEXIBLE {
            [(n, Bytes::from_static(b"later"))].into_iter().collect()
        } else {
            Default::default()
        }
    };
    let mut message = oracle::FetchRequest::default()
        .with_cluster_id(request.cluster_id.clone())
        .with_max_wait_ms(request.max_wait_ms)
        .with_min_bytes(request.min_bytes)
        .with_max_bytes(request.max_bytes)
        .with_isolation_level(request.isolation_level)
        .with_session_id(request.session_id)
        .with_session_epoch(request.session_epoch)
        .with_rack_id(request.rack_id.clone())
        .with_unknown_tagged_fields(tags(20));
    if version >= REPLICA_STATE {
        message.replica_state = oracle::ReplicaState::default()
            .with_replica_id(BrokerId(request.replica_id))
            .with_replica_epoch(request.replica_epoch);
    } else {
        message.replica_id = BrokerId(request.replica_id);
    }
    for data in &request.topics {
        let mut topic = oracle::FetchTopic::default().with_unknown_tagged_fields(tags(5));
        match &data.topic {
            TopicRef::Name(name) => topic.topic = TopicName(name.clone()),
            TopicRef::Id(id) => topic.topic_id = *id,
        }
        for partition in &data.partitions {
            topic.partitions.push(
                oracle::FetchPartition::default()
                    .with_partition(partition.partition)
                    .with_current_leader_epoch(partition.current_leader_epoch)
                    .with_fetch_offset(partition.fetch_offset)
                    .with_last_fetched_epoch(partition.last_fetched_epoch)
                    .with_log_start_offset(partition.log_start_offset)
                    .with_partition_max_bytes(partition.partition_max_bytes)
                    .with_replica_directory_id(partition.replica_directory_id)
                    .with_high_watermark(partition.high_watermark)
                    .with_unknown_tagged_fields(tags(400)),
            );
        }
        message.topics.push(topic);
    }
    for data in &request.forgotten {
        let mut topic = oracle::ForgottenTopic::default()
            .with_partitions(data.partitions.clone())
            .with_unknown_tagged_fields(tags(0));
        match &data.topic {
            TopicRef::Name(name) => topic.topic = TopicName(name.clone()),
            TopicRef::Id(id) => topic.topic_id = *id,
        }
        message.forgotten_topics_data.push(topic);
    }
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("encodes");
    bytes.freeze()
}

#[test]
fn requests_of_every_version_read_as_the_oracle_wrote_them() {
    for version in VERSION_MIN..=VERSION_MAX {
        for (topics, partitions) in [(0, 0), (1, 0), (1, 1), (3, 4), (40, 3), (1, 300)] {
            for extra_tags in [false, true] {
                let request = sample(version, topics, partitions);
                let bytes = oracle_encoded(&request, version, extra_tags);
                assert_eq!(FetchRequest::decode(&bytes, version), Ok(request));
            }
        }
    }
}

#[test]
fn damaged_requests_are_read_as_the_oracle_reads_them_or_refused() {
    let mut random = Random::new(3);
    for round in 0..30_000 {
        let version = VERSION_MIN + (round % 15) as i16;
        let bytes = oracle_encoded(&sample(version, 2, 3), version, round % 2 == 0);
        let damaged = random.damaged(&bytes);
        if let Ok(decoded) = FetchRequest::decode(&damaged, version) {
            let mut rest = damaged.clone();
            let expected = oracle::FetchRequest::decode(&mut rest, version).expect("oracle");
            assert_eq!(decoded.session_epoch, expected.session_epoch);
            assert_eq!(decoded.cluster_id, expected.cluster_id);
            assert_eq!(decoded.rack_id, expected.rack_id);
            assert_eq!(decoded.topics.len(), expected.topics.len());
            for (topic, expected) in decoded.topics.iter().zip(&expected.topics) {
                for (partition, expected) in topic.partitions.iter().zip(&expected.partitions) {
                    assert_eq!(partition.fetch_offset, expected.fetch_offset);
                    assert_eq!(partition.high_watermark, expected.high_watermark);
                }
            }
            for (topic, expected) in decoded
                .forgotten
                .iter()
                .zip(&expected.forgotten_topics_data)
            {
                assert_eq!(topic.partitions, expected.partitions);
            }
        }
    }
}

fn header(version: i16) -> RequestHeader {
    RequestHeader {
        api_key: ApiKey::Fetch,
        api_version: version,
        correlation_id: 1,
        client_id: StrBytes::new(),
    }
}

fn sample_response(version: i16) -> FetchResponse {
    let read = FetchPartitionResponse {
        partition: 0,
        error: None,
        high_watermark: 1_000,
        last_stable_offset: 900,
        log_start_offset: 5,
        aborted_transactions: Some(vec![AbortedTransaction {
            producer_id: 7,
            first_offset: 800,
        }]),
        preferred_read_replica: -1,
        diverging_epoch: None,
        current_leader: None,
        // Below and above what is copied, in one partition.
        records: vec![
            Bytes::from(vec![1; 100]),
            Bytes::from(vec![2; 100_000]),
            Bytes::from(vec![3; 5_000]),
            Bytes::from(vec![4; 10]),
        ],
    };
    let diverged = FetchPartitionResponse {
        diverging_epoch: Some(EpochEndOffset {
            epoch: 3,
            end_offset: 44,
        }),
        ..FetchPartitionResponse::failed(1, ResponseError::OffsetOutOfRange)
    };
    let moved = FetchPartitionResponse {
        current_leader: Some(LeaderIdAndEpoch {
            leader_id: 9,
            leader_epoch: 10,
        }),
        ..FetchPartitionResponse::failed(2, ResponseError::NotLeaderOrFollower)
    };
    FetchResponse {
        throttle_time_ms: 2,
        error: None,
        session_id: 33,
        topics: vec![
            FetchTopicResponse {
                topic: topic(0, version),
                partitions: vec![read.clone(), diverged, moved],
            },
            FetchTopicResponse {
                topic: topic(1, version),
                partitions: vec![read],
            },
        ],
        node_endpoints: vec![NodeEndpoint {
            node_id: 9,
            host: text("nine"),
            port: 1,
            rack: None,
        }],
    }
}

#[test]
fn responses_of_every_version_read_as_the_oracle_expects() {
    let records: Vec<u8> = sample_response(4).topics[0].partitions[0].records.concat();
    for version in VERSION_MIN..=VERSION_MAX {
        let request = header(version);
        let reply = sample_response(version).encode(&request).expect("small");
        let mut body = reply_body(&request, &reply);
        let read = oracle_response::FetchResponse::decode(&mut body, version).expect("decodes");
        assert!(body.is_empty());
        assert_eq!(read.throttle_time_ms, 2);
        assert_eq!(read.session_id, if version >= SESSIONS { 33 } else { 0 });
        let endpoints = usize::from(version >= NODE_ENDPOINTS);
        assert_eq!(read.node_endpoints.len(), endpoints);
        assert_eq!(read.responses.len(), 2);
        if version >= TOPIC_IDS {
            assert_eq!(TopicRef::Id(read.responses[1].topic_id), topic(1, version));
        } else {
            assert_eq!(read.responses[1].topic.as_str(), "topic-1");
        }
        let [first, diverged, moved] = &read.responses[0].partitions[..] else {
            panic!("three partitions");
        };
        assert_eq!(first.records.as_deref(), Some(&records[..]));
        assert_eq!(first.high_watermark, 1_000);
        assert_eq!(first.last_stable_offset, 900);
        assert_eq!(first.log_start_offset, if version >= 5 { 5 } else { -1 });
        let aborted = first.aborted_transactions.as_ref().expect("listed");
        assert_eq!(aborted[0].first_offset, 800);
        assert_eq!(diverged.error_code, 1);
        assert_eq!(diverged.aborted_transactions, None);
        assert_eq!(diverged.records.as_deref(), Some(&[][..]));
        let flexible = version >= FLEXIBLE;
        let end_offset = if flexible { 44 } else { -1 };
        assert_eq!(diverged.diverging_epoch.end_offset, end_offset);
        let leader = if flexible { BrokerId(9) } else { BrokerId(-1) };
        assert_eq!(moved.current_leader.leader_id, leader);
    }
}

#[test]
fn large_records_are_passed_by_reference_and_small_ones_join_the_fields() {
    let response = sample_response(12);
    let large = response.topics[0].partitions[0].records[1].clone();
    let mut slices = VecDeque::new();
    let reply = response.encode(&header(12)).expect("small");
    reply.drain_into(&mut slices);
    assert!(slices.iter().any(|slice| slice.as_ptr() == large.as_ptr()));
    // Fields, two large slices, fields; twice, and the fields in the middle are one.
    assert_eq!(slices.len(), 7);
    assert!(slices.iter().all(|slice| !slice.is_empty()));
}

#[test]
fn an_empty_fetch_is_a_single_small_slice() {
    let mut slices = VecDeque::new();
    let reply = FetchResponse::default().encode(&header(17));
    reply.expect("small").drain_into(&mut slices);
    assert_eq!(slices.len(), 1);
    assert!(slices[0].len() < 32);
}

#[test]
fn records_that_no_reply_can_hold_are_an_error() {
    // Many times the same memory.
    let mut response = sample_response(12);
    response.topics[0].partitions[0].records = vec![Bytes::from(vec![0; 1 << 20]); 2_048];
    assert!(response.encode(&header(12)).is_err());
    let mut response = sample_response(12);
    for partition in &mut response.topics[0].partitions {
        partition.records = vec![Bytes::from(vec![0; 1 << 20]); 1_000];
    }
    assert!(response.encode(&header(12)).is_err());
}

#[test]
fn a_request_may_not_be_all_entries() {
    // Topics without partitions: eighteen bytes each.
    let decode = |topics: u32| {
        let mut bytes = [0; 12].to_vec();
        // Isolation level, session and its epoch.
        bytes.extend([0; 9]);
        let mut count = BytesMut::new();
        crate::protocol::wire::Writer::new(&mut count, true).uvarint(topics + 1);
        bytes.extend(count);
        bytes.extend(
            [[0; 16].as_slice(), &[1, 0]]
                .concat()
                .repeat(topics as usize),
        );
        // Nothing forgotten, no rack.
        bytes.extend([1, 1, 0]);
        FetchRequest::decode(&Bytes::from(bytes), 15)
    };
    let topics = |decoded: FetchRequest| decoded.topics.len();
    assert_eq!(decode(200_000).map(topics), Ok(200_000));
    assert_eq!(decode(300_000), Err(Malformed::TooManyEntries));
}
