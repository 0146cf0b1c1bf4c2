//! A hash of all that an assignment depends on: of the topics that members subscribe to, in the metadata.
//!
//! The same value as Apache Kafka's: XXH3-64 of each topic, and of these hashes in the order of the topics' names.
//! Integers are in little endian; a text is its UTF-16 units and then their number.

use twox_hash::XxHash3_64;

use crate::cluster::image::{Image, Partition, Topic};

/// The first byte of what is hashed of a topic: the version of the format.
const FORMAT: u8 = 0;

/// The hash of these topics, which come in the order of their names. Those that do not exist do not count; 0 if none
/// does.
pub(super) fn metadata_hash<'a>(topics: impl Iterator<Item = &'a String>, image: &Image) -> i64 {
    let existing = topics.filter_map(|name| image.topics.by_name(name));
    let hashes: Vec<u8> = existing
        .flat_map(|topic| topic_hash(topic, image).to_le_bytes())
        .collect();
    match hashes.is_empty() {
        true => 0,
        false => XxHash3_64::oneshot(&hashes).cast_signed(),
    }
}

fn topic_hash(topic: &Topic, image: &Image) -> u64 {
    let (high, low) = topic.id.as_u64_pair();
    let mut bytes = vec![FORMAT];
    bytes.extend(high.to_le_bytes());
    bytes.extend(low.to_le_bytes());
    put_text(&mut bytes, &topic.name);
    put_len(&mut bytes, topic.partition_count());
    for (id, partition) in &topic.partitions {
        bytes.extend(id.to_le_bytes());
        for rack in racks_of(partition, image) {
            put_len(&mut bytes, rack.encode_utf16().count());
            put_text(&mut bytes, rack);
        }
    }
    XxHash3_64::oneshot(&bytes)
}

/// In their order; a rack with two replicas is in there twice.
fn racks_of<'a>(partition: &Partition, image: &'a Image) -> Vec<&'a str> {
    let brokers = partition
        .replicas
        .iter()
        .filter_map(|id| image.brokers.get(id));
    let mut racks: Vec<_> = brokers
        .filter_map(|broker| broker.rack.as_deref())
        .collect();
    racks.sort_unstable();
    racks
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    put_len(bytes, text.encode_utf16().count());
}

fn put_len(bytes: &mut Vec<u8>, len: usize) {
    let len = i32::try_from(len).unwrap_or(i32::MAX);
    bytes.extend(len.to_le_bytes());
}
