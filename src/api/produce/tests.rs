use corelog_shards::log::batch::BatchBuilder;

use super::*;
use crate::api::testing::{image_of, on_a_broker};
use crate::cluster::image::ConfigResource;
use crate::protocol::produce::TopicProduceData;

const CLIENT: Terms = Terms {
    version: 12,
    internal_topics_allowed: false,
};
const OFFSETS: &str = "__consumer_offsets";

fn batch(codec: Codec, value: &[u8]) -> BatchBuilder {
    let mut batch = BatchBuilder::new(codec).expect("a known codec");
    let timestamp_ms = -1;
    batch
        .append(timestamp_ms, None, Some(value))
        .expect("it can be compressed");
    batch
}

fn plain() -> Vec<u8> {
    batch(Codec::None, b"a").finish().expect("whole")
}

fn transactional() -> Vec<u8> {
    let batch = batch(Codec::None, b"a").producer(1, 0, 0).transactional();
    batch.finish().expect("whole")
}

/// Codes of the partitions of a request with these records of topics.
fn codes(
    terms: Terms,
    transactional_id: Option<&'static str>,
    records: &[(&'static str, &[u8])],
) -> Vec<i16> {
    let topic = |(name, records): &(&'static str, &[u8])| TopicProduceData {
        topic: TopicRef::Name(StrBytes::from_static_str(name)),
        partitions: vec![PartitionProduceData {
            index: 0,
            records: Some(Bytes::copy_from_slice(records)),
        }],
    };
    let produce = ProduceRequest {
        transactional_id: transactional_id.map(StrBytes::from_static_str),
        acks: -1,
        timeout_ms: 1_000,
        topics: records.iter().map(topic).collect(),
    };
    let small = |topic, compression| {
        [
            ("segment.bytes", "1048576"),
            ("max.message.bytes", "4000000"),
            ("compression.type", compression),
        ]
        .map(|(name, value)| (ConfigResource::topic(topic), name, value))
    };
    let configs = [
        small("small", "producer"),
        small("unpacked", "uncompressed"),
    ]
    .concat();
    let topics = [("t", 1), ("small", 1), ("unpacked", 1), (OFFSETS, 1)];
    let image = image_of(&topics, &configs);
    on_a_broker(image, async move |context| {
        let items = check_all(&context.broker, produce, terms).await;
        let error = items.iter().map(|item| item.response.error);
        error.map(errors::code).collect()
    })
}

#[test]
fn zstd_came_with_version_7() {
    let zstd = batch(Codec::Zstd { level: 3 }, b"a")
        .finish()
        .expect("whole");
    for (version, code) in [(6, 76), (7, 0)] {
        let terms = Terms { version, ..CLIENT };
        assert_eq!(codes(terms, None, &[("t", &zstd)]), [code]);
    }
}

#[test]
fn a_batch_fits_in_a_segment_as_it_is_stored() {
    let value = vec![7; 2 << 20];
    let large = batch(Codec::None, &value).finish().expect("whole");
    assert_eq!(codes(CLIENT, None, &[("small", &large)]), [18]);
    let compressed = batch(Codec::Lz4 { level: 1 }, &value)
        .finish()
        .expect("whole");
    let topics: &[(&str, &[u8])] = &[("small", &compressed), ("unpacked", &compressed)];
    assert_eq!(codes(CLIENT, None, topics), [0, 18]);
}

#[test]
fn internal_topics_are_for_the_admin_client() {
    assert_eq!(codes(CLIENT, None, &[(OFFSETS, &plain())]), [17]);
    let admin = Terms {
        internal_topics_allowed: true,
        ..CLIENT
    };
    assert_eq!(codes(admin, None, &[(OFFSETS, &plain())]), [0]);
}

#[test]
fn zeros_behind_a_batch_are_a_corrupt_batch() {
    for (zeros, code) in [(11, 0), (12, 2), (30, 2)] {
        let records = [plain(), vec![0; zeros]].concat();
        assert_eq!(codes(CLIENT, None, &[("t", &records)]), [code], "{zeros}");
    }
}

#[test]
fn a_transactional_id_matters_to_transactional_batches_only() {
    let records: &[(&str, &[u8])] = &[("t", &plain()), ("small", &transactional())];
    assert_eq!(codes(CLIENT, Some("id"), &records[..1]), [0]);
    assert_eq!(codes(CLIENT, Some("id"), records), [0, 49]);
    assert_eq!(codes(CLIENT, None, records), [53, 53]);
}
