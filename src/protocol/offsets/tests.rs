use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

use super::*;
use crate::protocol::testing::Random;

const NAME: &str = "a-name-as-long-";

fn id() -> Uuid {
    Uuid::from_u128(7 << 64 | 9)
}

/// What the version before has, with the id in place of the name, which is as long as that, with its length.
fn by_id(message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, TOPIC_IDS - 1).expect("encodes");
    let mut named = vec![NAME.len() as u8 + 1];
    named.extend_from_slice(NAME.as_bytes());
    while let Some(at) = bytes.windows(16).position(|found| found == named) {
        bytes[at..at + 16].copy_from_slice(id().as_bytes());
    }
    bytes.freeze()
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn commit() -> OffsetCommitRequest {
    let partition = |index: i32| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(1 << 40)
            .with_committed_leader_epoch(5)
            .with_committed_metadata((index > 0).then(|| text("note")))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(NAME)))
        .with_partitions(vec![partition(0), partition(3)]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text("group")))
        .with_generation_id_or_member_epoch(4)
        .with_member_id(text("member"))
        .with_group_instance_id(Some(text("instance")))
        .with_topics(vec![topic.clone(), topic])
}

fn fetch() -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(text(NAME)))
        .with_partition_indexes(vec![0, 7]);
    let some = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("group")))
        .with_member_id(Some(text("member")))
        .with_member_epoch(4)
        .with_topics(Some(vec![topic.clone(), topic]));
    let all = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("other")))
        .with_topics(None);
    OffsetFetchRequest::default()
        .with_groups(vec![some, all])
        .with_require_stable(true)
}

#[test]
fn requests_are_read_as_the_version_before_with_ids_for_names() {
    let mut wanted = commit();
    for topic in &mut wanted.topics {
        (topic.name, topic.topic_id) = (TopicName::default(), id());
    }
    assert_eq!(decode_commit(&by_id(&commit())), Ok(wanted));
    let mut wanted = fetch();
    for topic in wanted.groups[0].topics.iter_mut().flatten() {
        (topic.name, topic.topic_id) = (TopicName::default(), id());
    }
    assert_eq!(decode_fetch(&by_id(&fetch())), Ok(wanted));
}

#[test]
fn what_is_cut_off_damaged_or_boasts_is_refused_at_no_cost() {
    let (commit, fetch) = (by_id(&commit()), by_id(&fetch()));
    for at in 0..commit.len() {
        assert!(decode_commit(&commit.slice(..at)).is_err());
    }
    for at in 0..fetch.len() {
        assert!(decode_fetch(&fetch.slice(..at)).is_err());
    }
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        // Whatever comes of it: neither memory nor a panic.
        let _ = decode_commit(&random.damaged(&commit));
        let _ = decode_fetch(&random.damaged(&fetch));
    }
}

#[test]
fn more_fields_than_any_client_sends_are_refused() {
    let with_partitions = |count: usize| {
        let mut body = BytesMut::new();
        // One group without a member, one topic.
        body.put_slice(&[2, 2, b'g', 0, 0, 0, 0, 0, 2]);
        body.put_slice(id().as_bytes());
        let mut claim = count as u32 + 1;
        while claim >= 0x80 {
            body.put_u8(claim as u8 | 0x80);
            claim >>= 7;
        }
        body.put_u8(claim as u8);
        body.put_bytes(0, 4 * count);
        // Tagged fields of topic, group and request, and the flag between them.
        body.put_slice(&[0, 0, 1, 0]);
        decode_fetch(&body.freeze())
    };
    assert!(with_partitions(FIELDS_MAX - 8).is_ok());
    assert_eq!(
        with_partitions(FIELDS_MAX - 7),
        Err(Malformed::TooManyEntries)
    );
}
