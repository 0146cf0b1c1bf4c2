//! OffsetCommit and OffsetFetch requests that name topics by their ids, which the generated decoders do not have yet:
//! the types and the replies do.
//!
//! Bounded like what the generated decoders read: see [`bounded`](super::bounded).

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};

use super::Malformed;
use super::bounded::{Allowance, FIELDS_MAX, GENERATED_BYTES_MAX, caught};
use super::wire::Reader;

/// The version of both APIs from which on topics have ids in place of names. The last there is.
pub const TOPIC_IDS: i16 = 10;

fn read<T>(
    body: &Bytes,
    message: impl FnOnce(&mut Reader<'_>, &mut Allowance) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    if body.len() > GENERATED_BYTES_MAX {
        return Err(Malformed::TooManyEntries);
    }
    caught(|| {
        let mut reader = Reader::new(body, true);
        let message = message(&mut reader, &mut Allowance(FIELDS_MAX))?;
        reader.skip_tagged_fields()?;
        Ok(message)
    })
}

/// An OffsetCommit request of version [`TOPIC_IDS`]. Its topics have no names.
pub fn decode_commit(body: &Bytes) -> Result<OffsetCommitRequest, Malformed> {
    read(body, |reader, fields| {
        let mut request = OffsetCommitRequest::default()
            .with_group_id(GroupId(reader.string()?))
            .with_generation_id_or_member_epoch(reader.i32()?)
            .with_member_id(reader.string()?)
            .with_group_instance_id(reader.nullable_string()?);
        let topics = reader.array_len(18)?;
        fields.take(3 * topics)?;
        request.topics = (0..topics)
            .map(|_| {
                let mut topic = OffsetCommitRequestTopic::default().with_topic_id(reader.uuid()?);
                let partitions = reader.array_len(18)?;
                fields.take(5 * partitions)?;
                topic.partitions = (0..partitions)
                    .map(|_| committed(reader))
                    .collect::<Result<_, _>>()?;
                reader.skip_tagged_fields()?;
                Ok(topic)
            })
            .collect::<Result<_, Malformed>>()?;
        Ok(request)
    })
}

fn committed(reader: &mut Reader<'_>) -> Result<OffsetCommitRequestPartition, Malformed> {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(reader.i32()?)
        .with_committed_offset(reader.i64()?)
        .with_committed_leader_epoch(reader.i32()?)
        .with_committed_metadata(reader.nullable_string()?);
    reader.skip_tagged_fields()?;
    Ok(partition)
}

/// An OffsetFetch request of version [`TOPIC_IDS`]. Its topics have no names.
pub fn decode_fetch(body: &Bytes) -> Result<OffsetFetchRequest, Malformed> {
    read(body, |reader, fields| {
        let groups = reader.array_len(8)?;
        fields.take(5 * groups)?;
        let groups = (0..groups)
            .map(|_| group(reader, fields))
            .collect::<Result<_, _>>()?;
        Ok(OffsetFetchRequest::default()
            .with_groups(groups)
            .with_require_stable(reader.i8()? != 0))
    })
}

fn group(
    reader: &mut Reader<'_>,
    fields: &mut Allowance,
) -> Result<OffsetFetchRequestGroup, Malformed> {
    let mut group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(reader.string()?))
        .with_member_id(reader.nullable_string()?)
        .with_member_epoch(reader.i32()?)
        .with_topics(None);
    if let Some(topics) = reader.nullable_array_len(18)? {
        fields.take(3 * topics)?;
        let topics = (0..topics).map(|_| {
            let mut topic = OffsetFetchRequestTopics::default().with_topic_id(reader.uuid()?);
            let partitions = reader.array_len(4)?;
            fields.take(partitions)?;
            topic.partition_indexes = (0..partitions)
                .map(|_| reader.i32())
                .collect::<Result<_, _>>()?;
            reader.skip_tagged_fields()?;
            Ok(topic)
        });
        group.topics = Some(topics.collect::<Result<_, Malformed>>()?);
    }
    reader.skip_tagged_fields()?;
    Ok(group)
}

#[cfg(test)]
mod tests;
