//! The generated codec is the oracle: what it encodes we decode, what we encode it decodes.

use bytes::BytesMut;
use kafka_protocol::messages::produce_request as oracle;
use kafka_protocol::messages::produce_response as oracle_response;
use kafka_protocol::messages::{ApiKey, BrokerId, ResponseHeader, TopicName, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable};
use uuid::Uuid;

use super::*;
use crate::protocol::testing::{Random, reply_body};

const VERSION_MIN: i16 = 3;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic_id(i: usize) -> Uuid {
    Uuid::from_u128(0x1234_5678_9abc_def0_0000_0000_0000_0000 + i as u128)
}

fn topic(i: usize, version: i16) -> TopicRef {
    if version >= TOPIC_IDS {
        TopicRef::Id(topic_id(i))
    } else {
        TopicRef::Name(text(&format!("topic-{i}")))
    }
}

fn sample(version: i16, topics: usize, partitions: usize) -> ProduceRequest {
    ProduceRequest {
        transactional_id: (topics % 2 == 1).then(|| text("tx")),
        acks: -1,
        timeout_ms: 30_000,
        topics: (0..topics)
            .map(|i| TopicProduceData {
                topic: topic(i, version),
                partitions: (0..partitions)
                    .map(|p| PartitionProduceData {
                        index: p as i32,
                        records: (p % 3 != 2).then(|| Bytes::from(vec![p as u8; 100 * p])),
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn oracle_encoded(request: &ProduceRequest, version: i16, extra_tags: bool) -> Bytes {
    let tag = |n: i32| [(n, Bytes::from_static(b"later"))].into_iter();
    let tags = |n| {
        if extra_tags && version >= FLEXIBLE {
            tag(n).collect()
        } else {
            Default::default()
        }
    };
    let message = oracle::ProduceRequest::default()
        .with_transactional_id(request.transactional_id.clone().map(TransactionalId))
        .with_acks(request.acks)
        .with_timeout_ms(request.timeout_ms)
        .with_topic_data(
            request
                .topics
                .iter()
                .map(|data| {
                    let message = oracle::TopicProduceData::default()
                        .with_unknown_tagged_fields(tags(7))
                        .with_partition_data(
                            data.partitions
                                .iter()
                                .map(|partition| {
                                    oracle::PartitionProduceData::default()
                                        .with_index(partition.index)
                                        .with_records(partition.records.clone())
                                        .with_unknown_tagged_fields(tags(300))
                                })
                                .collect(),
                        );
                    match &data.topic {
                        TopicRef::Name(name) => message.with_name(TopicName(name.clone())),
                        TopicRef::Id(id) => message.with_topic_id(*id),
                    }
                })
                .collect(),
        )
        .with_unknown_tagged_fields(tags(0));
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("encodes");
    bytes.freeze()
}

#[test]
fn requests_of_every_version_read_as_the_oracle_wrote_them() {
    for version in VERSION_MIN..=VERSION_MAX {
        for (topics, partitions) in [(0, 0), (1, 0), (1, 1), (2, 7), (40, 3), (1, 300)] {
            for extra_tags in [false, true] {
                let request = sample(version, topics, partitions);
                let bytes = oracle_encoded(&request, version, extra_tags);
                assert_eq!(ProduceRequest::decode(&bytes, version), Ok(request));
            }
        }
    }
}

#[test]
fn records_are_slices_of_the_frame() {
    let request = sample(9, 1, 2);
    let bytes = oracle_encoded(&request, 9, false);
    let decoded = ProduceRequest::decode(&bytes, 9).expect("decodes");
    let records = decoded.topics[0].partitions[1]
        .records
        .as_ref()
        .expect("some");
    assert!(bytes.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn versions_before_3_are_understood_without_transactional_id() {
    let request = ProduceRequest {
        transactional_id: None,
        ..sample(3, 2, 3)
    };
    let bytes = oracle_encoded(&request, 3, false);
    for version in 0..VERSION_MIN {
        // Version 3 begins with the null transactional id.
        assert_eq!(
            ProduceRequest::decode(&bytes.slice(2..), version),
            Ok(request.clone())
        );
    }
    assert_eq!(
        ProduceRequest::decode(&bytes, VERSION_MAX + 1),
        Err(Malformed::Version(VERSION_MAX + 1))
    );
}

#[test]
fn damaged_requests_are_read_as_the_oracle_reads_them_or_refused() {
    let mut random = Random::new(2);
    for round in 0..30_000 {
        let version = VERSION_MIN + (round % 11) as i16;
        let bytes = oracle_encoded(&sample(version, 2, 3), version, round % 2 == 0);
        let damaged = random.damaged(&bytes);
        if let Ok(decoded) = ProduceRequest::decode(&damaged, version) {
            // What we accept, claims nothing that is not there: the oracle is safe to run.
            let mut rest = damaged.clone();
            let expected = oracle::ProduceRequest::decode(&mut rest, version).expect("oracle");
            assert_eq!(decoded.acks, expected.acks);
            assert_eq!(decoded.timeout_ms, expected.timeout_ms);
            assert_eq!(decoded.topics.len(), expected.topic_data.len());
            for (topic, expected) in decoded.topics.iter().zip(&expected.topic_data) {
                for (partition, expected) in topic.partitions.iter().zip(&expected.partition_data) {
                    assert_eq!(partition.index, expected.index);
                    assert_eq!(partition.records, expected.records);
                }
            }
        }
    }
}

#[test]
fn claims_of_billions_are_refused() {
    for version in 0..=VERSION_MAX {
        let mut prefix = match version {
            0..3 => vec![],
            3..FLEXIBLE => vec![0xff, 0xff],
            _ => vec![0],
        };
        prefix.extend([0, 1, 0, 0, 0, 9]);
        prefix.extend(if version >= FLEXIBLE {
            vec![0xff, 0xff, 0xff, 0xff, 0x0f]
        } else {
            vec![0x7f, 0xff, 0xff, 0xff]
        });
        assert!(ProduceRequest::decode(&Bytes::from(prefix), version).is_err());
    }
}

#[test]
fn a_request_may_not_be_all_entries() {
    // Topics with empty names and no partitions: three bytes each, sixty decoded.
    let decode = |topics: usize| {
        let mut bytes = vec![0, 0, 1, 0, 0, 0, 9];
        let mut count = BytesMut::new();
        Writer::new(&mut count, true).uvarint(topics as u32 + 1);
        bytes.extend(count);
        bytes.extend([1, 1, 0].repeat(topics));
        bytes.push(0);
        ProduceRequest::decode(&Bytes::from(bytes), 9)
    };
    let topics = |decoded: ProduceRequest| decoded.topics.len();
    assert_eq!(decode(65_536).map(topics), Ok(65_536));
    assert_eq!(decode(65_537), Err(Malformed::TooManyEntries));
}

fn sample_response(version: i16) -> ProduceResponse {
    let accepted = PartitionProduceResponse {
        index: 4,
        error: None,
        base_offset: 1 << 40,
        log_append_time_ms: 1_700_000_000_000,
        log_start_offset: 12,
        record_errors: Vec::new(),
        error_message: None,
        current_leader: None,
    };
    let refused = PartitionProduceResponse {
        record_errors: vec![
            RecordError {
                batch_index: 3,
                message: Some(text("no key")),
            },
            RecordError {
                batch_index: 9,
                message: None,
            },
        ],
        error_message: Some(text("Compacted topic cannot accept message without key")),
        current_leader: Some(LeaderIdAndEpoch {
            leader_id: 2,
            leader_epoch: 8,
        }),
        ..PartitionProduceResponse::failed(5, ResponseError::NotLeaderOrFollower)
    };
    ProduceResponse {
        topics: vec![
            TopicProduceResponse {
                topic: topic(0, version),
                partitions: vec![accepted, refused],
            },
            TopicProduceResponse {
                topic: topic(1, version),
                partitions: vec![],
            },
        ],
        throttle_time_ms: 17,
        node_endpoints: vec![
            NodeEndpoint {
                node_id: 2,
                host: text("two.example"),
                port: 9092,
                rack: None,
            },
            NodeEndpoint {
                node_id: 3,
                host: text("three.example"),
                port: 9093,
                rack: Some(text("a")),
            },
        ],
    }
}

fn header(version: i16) -> RequestHeader {
    RequestHeader {
        api_key: ApiKey::Produce,
        api_version: version,
        correlation_id: 77,
        client_id: StrBytes::new(),
    }
}

#[test]
fn responses_of_every_version_read_as_the_oracle_expects() {
    for version in VERSION_MIN..=VERSION_MAX {
        let response = sample_response(version);
        let request = header(version);
        let reply = response.encode(&request).expect("small");
        let mut body = reply_body(&request, &reply);
        let read = oracle_response::ProduceResponse::decode(&mut body, version).expect("decodes");
        assert!(body.is_empty());

        let hints = version >= LEADER_HINTS;
        assert_eq!(read.throttle_time_ms, 17);
        assert_eq!(read.node_endpoints.len(), if hints { 2 } else { 0 });
        if hints {
            assert_eq!(read.node_endpoints[1].host.as_str(), "three.example");
            assert_eq!(read.node_endpoints[1].port, 9093);
            assert_eq!(read.node_endpoints[0].rack, None);
        }
        assert_eq!(read.responses.len(), 2);
        if version >= TOPIC_IDS {
            assert_eq!(read.responses[1].topic_id, topic_id(1));
        } else {
            assert_eq!(read.responses[1].name.as_str(), "topic-1");
        }
        let [accepted, refused] = &read.responses[0].partition_responses[..] else {
            panic!("two partitions");
        };
        assert_eq!((accepted.index, accepted.error_code), (4, 0));
        assert_eq!(accepted.base_offset, 1 << 40);
        assert_eq!(accepted.log_append_time_ms, 1_700_000_000_000);
        assert_eq!(
            accepted.log_start_offset,
            if version >= 5 { 12 } else { -1 }
        );
        assert_eq!(refused.error_code, 6);
        assert_eq!(refused.base_offset, -1);
        if version >= 8 {
            assert_eq!(refused.record_errors[0].batch_index, 3);
            assert_eq!(refused.record_errors[1].batch_index_error_message, None);
            assert!(refused.error_message.is_some());
        }
        let leader = if hints { BrokerId(2) } else { BrokerId(-1) };
        assert_eq!(refused.current_leader.leader_id, leader);
        assert_eq!(accepted.current_leader.leader_id, BrokerId(-1));
    }
}

#[test]
fn old_versions_are_answered_in_their_own_layout() {
    let response = ProduceResponse {
        topics: vec![TopicProduceResponse {
            topic: topic(0, 0),
            partitions: vec![PartitionProduceResponse::failed(
                1,
                ResponseError::UnsupportedVersion,
            )],
        }],
        ..ProduceResponse::default()
    };
    let partition_bytes = 4 + 2 + 8;
    let base = 4 + (2 + 7) + 4 + partition_bytes;
    for (version, body_bytes) in [(0, base), (1, base + 4), (2, base + 4 + 8)] {
        let request = header(version);
        let reply = response.encode(&request).expect("small");
        assert_eq!(reply_body(&request, &reply).len(), body_bytes);
    }
}

#[test]
fn the_reply_header_matches_the_version() {
    for version in VERSION_MIN..=VERSION_MAX {
        let request = header(version);
        let reply = ProduceResponse::default().encode(&request);
        let frame = reply.expect("small").to_bytes();
        let mut rest = frame.slice(4..);
        let header_version = ApiKey::Produce.response_header_version(version);
        let read = ResponseHeader::decode(&mut rest, header_version).expect("decodes");
        assert_eq!(read.correlation_id, 77);
        assert_eq!(frame[..4], ((frame.len() - 4) as i32).to_be_bytes());
    }
}
