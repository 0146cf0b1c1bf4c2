use std::panic::resume_unwind;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, ApiVersionsRequest, TopicName};
use kafka_protocol::protocol::{Encodable, Message, StrBytes};

use super::*;

fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("encodes");
    bytes.freeze()
}

fn name(i: usize) -> TopicName {
    TopicName(StrBytes::from_string(format!("topic-{i}")))
}

/// Plain values far above the number of bytes that follow, and arrays of thousands of elements.
#[test]
fn honest_messages_pass_unchanged_in_every_version() {
    let create = CreateTopicsRequest::default()
        .with_timeout_ms(i32::MAX)
        .with_topics(
            (0..3_000)
                .map(|i| {
                    CreatableTopic::default()
                        .with_name(name(i))
                        .with_num_partitions(1_000_000_000)
                })
                .collect(),
        );
    for version in CreateTopicsRequest::VERSIONS.min..=CreateTopicsRequest::VERSIONS.max {
        assert_eq!(
            decode::<CreateTopicsRequest>(&encoded(&create, version), version),
            Ok(create.clone())
        );
    }
    let metadata = MetadataRequest::default()
        .with_allow_auto_topic_creation(true)
        .with_topics(Some(
            (0..3_000)
                .map(|i| MetadataRequestTopic::default().with_name(Some(name(i))))
                .collect(),
        ));
    for version in MetadataRequest::VERSIONS.min..=MetadataRequest::VERSIONS.max {
        assert_eq!(
            decode::<MetadataRequest>(&encoded(&metadata, version), version),
            Ok(metadata.clone())
        );
    }
    let long_name = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_string("x".repeat(30_000)));
    assert_eq!(
        decode::<ApiVersionsRequest>(&encoded(&long_name, 4), 4),
        Ok(long_name.clone())
    );
}

#[test]
fn an_array_that_claims_more_than_the_frame_holds_is_refused() {
    for claim in [1_000, 1 << 20, i32::MAX] {
        let mut fixed = BytesMut::new();
        fixed.put_i32(claim);
        fixed.put_slice(&[0; 100]);
        assert!(decode::<MetadataRequest>(&fixed.freeze(), 1).is_err());

        let mut compact = BytesMut::new();
        super::super::wire::Writer::new(&mut compact, true).uvarint(claim as u32 + 1);
        compact.put_slice(&[1; 100]);
        assert!(decode::<MetadataRequest>(&compact.freeze(), 9).is_err());
    }
}

/// The boolean could be the first byte of a varint, whose value is harmless.
#[test]
fn an_array_behind_a_boolean_that_is_none_is_refused_for_what_it_claims() {
    for boolean in [0x80, 0x81, 0xff] {
        let mut body = BytesMut::new();
        // The time-out.
        body.put_i32(1_000);
        body.put_u8(boolean);
        // As a varint: 14 times 2 to the 28th.
        body.put_slice(&[0x80, 0x80, 0x80, 0x80, 0x0e]);
        body.put_slice(&[1; 100]);
        let body = body.freeze();
        let decoded = decode::<AlterPartitionReassignmentsRequest>(&body, 1);
        assert!(
            matches!(&decoded, Err(Malformed::Generated(why)) if why.contains("Not enough")),
            "{decoded:?}"
        );
    }
}

/// One element more than there is room for, when each takes a single byte at least.
#[test]
fn a_cut_length_never_makes_a_short_array_pass() {
    for claim in 0..64 {
        for rest in 0..64 {
            let mut bytes = BytesMut::new();
            bytes.put_i32(claim);
            bytes.put_slice(&vec![0; rest]);
            let bytes = bytes.freeze();
            let guarded = decode::<MetadataRequest>(&bytes, 0);
            // Every name takes two bytes of length here.
            assert_eq!(
                guarded.is_ok(),
                claim as usize * 2 <= rest,
                "{claim} {rest}"
            );
        }
    }
}

#[test]
fn a_panic_of_a_decoder_is_a_malformed_message() {
    let outcome = caught(|| -> Result<(), Malformed> { resume_unwind(Box::new("odd byte")) });
    assert_eq!(outcome, Err(Malformed::Panicked("odd byte".to_owned())));
}

#[test]
fn a_body_over_the_cap_is_refused_before_it_is_read() {
    let body = Bytes::from(vec![0; GENERATED_BYTES_MAX + 1]);
    assert_eq!(
        decode::<MetadataRequest>(&body, 1),
        Err(Malformed::TooManyEntries)
    );
}

#[test]
fn a_body_of_too_many_fields_is_refused_whatever_their_encoding() {
    for version in [1, 9] {
        // The array's length is a field, and in the newer version each name has tagged fields.
        let per_name = if version == 9 { 2 } else { 1 };
        let around = encoded(
            &MetadataRequest::default().with_topics(Some(vec![])),
            version,
        );
        let names = (FIELDS_MAX - around.len()) / per_name;
        let with = |names| {
            let topic = MetadataRequestTopic::default().with_name(Some(TopicName::default()));
            let asked = MetadataRequest::default().with_topics(Some(vec![topic; names]));
            decode::<MetadataRequest>(&encoded(&asked, version), version)
        };
        let read = with(names).expect("not too many");
        assert_eq!(read.topics.map(|topics| topics.len()), Some(names));
        assert_eq!(with(FIELDS_MAX / per_name), Err(Malformed::TooManyEntries));
    }
}
