//! ListOffsets: where a log starts and ends, and the first record that is not older than some time.

use std::collections::BTreeMap;

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};

use super::batches::Tag;
use super::model::Model;
use super::partition::{Floor, Key};
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

/// Asks for an offset of some partition, and goes there.
pub async fn list_some(
    sim: &Sim,
    client: &mut Client,
    positions: &mut BTreeMap<Key, i64>,
) -> Result<(), Lost> {
    let keys = sim.model.borrow().keys();
    if keys.is_empty() {
        return Ok(());
    }
    let key = keys[client.below(keys.len() as u64) as usize];
    let timestamp = match client.below(3) {
        0 => LATEST,
        1 => EARLIEST,
        _ => sim.broker_io.wall_ms() - client.below(100) as i64,
    };
    let Some(told) = list(sim, client, key, timestamp).await? else {
        return Ok(());
    };
    // There is none so young, perhaps.
    if told.offset >= 0 {
        positions.insert(key, told.offset);
    }
    Ok(())
}

/// What is said of a partition, unless it may be none, or its disk has failed.
pub async fn list(
    sim: &Sim,
    client: &mut Client,
    key: Key,
    timestamp: i64,
) -> Result<Option<ListOffsetsPartitionResponse>, Lost> {
    let (name, floor, changes, run) = {
        let model = sim.model.borrow();
        let name = model.plan.topics[model.partitions[&key].topic].name;
        (name, model.floor(key), model.changes(key), model.run)
    };
    let request = |_| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(key.index)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(vec![partition]);
        ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic])
    };
    let reply = client.ask(1..=10, request).await?;
    let mut model = sim.model.borrow_mut();
    if run != model.run {
        return Err(Lost);
    }
    if model.is_unsure(key, changes) {
        return Ok(None);
    }
    let told = &reply.topics[0].partitions[0];
    match told.error_code.err() {
        None => {}
        Some(ResponseError::KafkaStorageError) if model.plan.has_bad_disk() => return Ok(None),
        Some(error) => panic!("ListOffsets of {key:?} at {timestamp}: {error:?}"),
    }
    let offset = told.offset;
    match timestamp {
        LATEST => {
            assert!(
                offset >= floor.end,
                "{key:?} ends at {offset}, not {}",
                floor.end
            );
            model.partition(key).note_end(offset);
        }
        EARLIEST => {
            assert!(
                offset >= floor.start,
                "{key:?} starts at {offset}, not {}",
                floor.start
            );
            model.note_start(key, offset);
        }
        _ => {
            assert!(
                offset < 0 || told.timestamp >= timestamp,
                "{key:?} at {offset}: {} is older than {timestamp}",
                told.timestamp
            );
            check_first(&mut model, key, floor, (timestamp, told));
        }
    }
    Ok(Some(told.clone()))
}

/// What was told is the first record that is not older than that: what is known to be before it and is no older must be
/// gone.
fn check_first(
    model: &mut Model,
    key: Key,
    floor: Floor,
    (timestamp, told): (i64, &ListOffsetsPartitionResponse),
) {
    let offset = told.offset;
    let partition = &model.partitions[&key];
    let time = |tag: Tag| model.sent[tag.batch as usize].timestamp;
    if let Some((_, tag)) = partition.known_in(offset..offset + 1).next() {
        assert_eq!(told.timestamp, time(tag), "{key:?} at {offset}");
    }
    // Compaction may have removed any.
    if partition.is_compacted {
        return;
    }
    let end = match offset {
        ..0 => floor.end,
        _ => floor.end.min(offset),
    };
    let mut before = partition.known_in(floor.start..end).rev();
    let passed = before.find(|(_, tag)| time(*tag) >= timestamp);
    drop(before);
    if let Some((passed, _)) = passed {
        model.note_start(key, passed + 1);
    }
}
