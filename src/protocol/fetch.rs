//! Fetch: the request decoded without claims costing memory, the reply assembled without copying
//! records.
//!
//! A partition's records are the slices they were read as; [`FetchResponse::encode`] lays fields and
//! slices out for one `sendmsg`. Fetch sessions, limits and waiting are the handler's business.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::bounded::{Allowance, caught};
use super::header::RequestHeader;
use super::reply::{Reply, ReplyBuilder, Unencodable, check_body};
use super::wire::Reader;
use super::{LeaderIdAndEpoch, Malformed, NodeEndpoint, TopicRef};

pub const VERSION_MIN: i16 = 4;
pub const VERSION_MAX: i16 = 18;
const FLEXIBLE: i16 = 12;
const TOPIC_IDS: i16 = 13;
const SESSIONS: i16 = 7;
const REPLICA_STATE: i16 = 15;
const NODE_ENDPOINTS: i16 = 16;

/// Topics and partitions of one request: a consumer may well read a hundred thousand.
const ENTRIES_MAX: usize = 1 << 18;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    pub cluster_id: Option<StrBytes>,
    /// -1 for a consumer.
    pub replica_id: i32,
    pub replica_epoch: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub isolation_level: i8,
    /// 0 and epoch -1 for a fetch without session.
    pub session_id: i32,
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    pub forgotten: Vec<ForgottenTopic>,
    pub rack_id: StrBytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    pub topic: TopicRef,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    pub partition: i32,
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: i32,
    pub log_start_offset: i64,
    pub partition_max_bytes: i32,
    pub replica_directory_id: Uuid,
    /// What a follower knows as high watermark; `i64::MAX` when it does not say.
    pub high_watermark: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic {
    pub topic: TopicRef,
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    pub fn decode(body: &Bytes, version: i16) -> Result<Self, Malformed> {
        caught(|| Self::read(body, version))
    }

    fn read(body: &Bytes, version: i16) -> Result<Self, Malformed> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(Malformed::Version(version));
        }
        let mut reader = Reader::new(body, version >= FLEXIBLE);
        let mut entries = Allowance(ENTRIES_MAX);
        let mut request = Self {
            cluster_id: None,
            replica_id: if version < REPLICA_STATE {
                reader.i32()?
            } else {
                -1
            },
            replica_epoch: -1,
            max_wait_ms: reader.i32()?,
            min_bytes: reader.i32()?,
            max_bytes: reader.i32()?,
            isolation_level: reader.i8()?,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
        };
        if version >= SESSIONS {
            request.session_id = reader.i32()?;
            request.session_epoch = reader.i32()?;
        }
        request.topics = topics(&mut reader, version, &mut entries)?;
        if version >= SESSIONS {
            request.forgotten = forgotten(&mut reader, version, &mut entries)?;
        }
        if version >= 11 {
            request.rack_id = reader.string()?;
        }
        reader.tagged_fields(|tag, field| {
            match tag {
                0 => request.cluster_id = field.nullable_string()?,
                1 if version >= REPLICA_STATE => {
                    request.replica_id = field.i32()?;
                    request.replica_epoch = field.i64()?;
                    field.skip_tagged_fields()?;
                }
                1 => return Err(Malformed::BadTag(tag)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(request)
    }
}

/// Least bytes of a topic without partitions.
fn topic_bytes_min(version: i16) -> usize {
    match version {
        TOPIC_IDS.. => 18,
        FLEXIBLE.. => 3,
        _ => 6,
    }
}

fn topic_ref(reader: &mut Reader<'_>, version: i16) -> Result<TopicRef, Malformed> {
    Ok(if version >= TOPIC_IDS {
        TopicRef::Id(reader.uuid()?)
    } else {
        TopicRef::Name(reader.string()?)
    })
}

fn topics(
    reader: &mut Reader<'_>,
    version: i16,
    entries: &mut Allowance,
) -> Result<Vec<FetchTopic>, Malformed> {
    let topic_count = reader.array_len(topic_bytes_min(version))?;
    entries.take(topic_count)?;
    let mut topics = Vec::with_capacity(topic_count);
    for _ in 0..topic_count {
        let topic = topic_ref(reader, version)?;
        // Partition, offset and limit are in every version.
        let partition_count = reader.array_len(16)?;
        entries.take(partition_count)?;
        let mut partitions = Vec::with_capacity(partition_count);
        for _ in 0..partition_count {
            partitions.push(partition(reader, version)?);
        }
        reader.skip_tagged_fields()?;
        topics.push(FetchTopic { topic, partitions });
    }
    Ok(topics)
}

fn partition(reader: &mut Reader<'_>, version: i16) -> Result<FetchPartition, Malformed> {
    let mut partition = FetchPartition {
        partition: reader.i32()?,
        current_leader_epoch: if version >= 9 { reader.i32()? } else { -1 },
        fetch_offset: reader.i64()?,
        last_fetched_epoch: if version >= FLEXIBLE {
            reader.i32()?
        } else {
            -1
        },
        log_start_offset: if version >= 5 { reader.i64()? } else { -1 },
        partition_max_bytes: reader.i32()?,
        replica_directory_id: Uuid::nil(),
        high_watermark: i64::MAX,
    };
    reader.tagged_fields(|tag, field| {
        match tag {
            0 if version >= 17 => partition.replica_directory_id = field.uuid()?,
            1 if version >= 18 => partition.high_watermark = field.i64()?,
            0 | 1 => return Err(Malformed::BadTag(tag)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(partition)
}

fn forgotten(
    reader: &mut Reader<'_>,
    version: i16,
    entries: &mut Allowance,
) -> Result<Vec<ForgottenTopic>, Malformed> {
    let topic_count = reader.array_len(topic_bytes_min(version))?;
    entries.take(topic_count)?;
    let mut topics = Vec::with_capacity(topic_count);
    for _ in 0..topic_count {
        let topic = topic_ref(reader, version)?;
        let partition_count = reader.array_len(size_of::<i32>())?;
        entries.take(partition_count)?;
        let mut partitions = Vec::with_capacity(partition_count);
        for _ in 0..partition_count {
            partitions.push(reader.i32()?);
        }
        reader.skip_tagged_fields()?;
        topics.push(ForgottenTopic { topic, partitions });
    }
    Ok(topics)
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    /// Of the whole fetch; from version 7.
    pub error: Option<ResponseError>,
    pub session_id: i32,
    pub topics: Vec<FetchTopicResponse>,
    /// Where the leaders named by partitions live; from version 16.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopicResponse {
    pub topic: TopicRef,
    pub partitions: Vec<FetchPartitionResponse>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartitionResponse {
    pub partition: i32,
    pub error: Option<ResponseError>,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// None for null, which is what a read-uncommitted fetch gets.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    pub preferred_read_replica: i32,
    /// Where the log that the client has read from parted from this one; from version 12.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// Told to clients that asked the wrong node or epoch; from version 12.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// Whole batches, in order, in as many slices as they were read. None are empty records, not
    /// null, which some clients cannot read.
    pub records: Vec<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub epoch: i32,
    pub end_offset: i64,
}

impl FetchPartitionResponse {
    /// A partition that could not be read.
    pub fn failed(partition: i32, error: ResponseError) -> Self {
        Self {
            partition,
            error: Some(error),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            diverging_epoch: None,
            current_leader: None,
            records: Vec::new(),
        }
    }
}

impl FetchResponse {
    /// The reply to `request`, in its version. The topics must be named as the request named them.
    pub fn encode(self, request: &RequestHeader) -> Result<Reply, Unencodable> {
        let version = request.api_version;
        let flexible = version >= FLEXIBLE;
        let partitions: usize = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut reply = ReplyBuilder::new(request, 24 + 64 * (self.topics.len() + partitions));
        let mut out = reply.fields(flexible);
        out.i32(self.throttle_time_ms);
        if version >= SESSIONS {
            out.i16(self.error.map_or(0, |error| error.code()));
            out.i32(self.session_id);
        }
        out.len(Some(self.topics.len()));
        for topic in self.topics {
            let mut out = reply.fields(flexible);
            match &topic.topic {
                TopicRef::Name(name) if version < TOPIC_IDS => out.string(name),
                TopicRef::Id(id) if version >= TOPIC_IDS => out.uuid(id),
                other => panic!("{other:?} cannot be named in version {version}"),
            }
            out.len(Some(topic.partitions.len()));
            for partition in topic.partitions {
                partition.write(&mut reply, version)?;
            }
            reply.fields(flexible).tagged_fields(0);
        }
        let mut out = reply.fields(flexible);
        let has_endpoints = version >= NODE_ENDPOINTS && !self.node_endpoints.is_empty();
        out.tagged_fields(has_endpoints.into());
        if has_endpoints {
            out.tagged_field(0, |out| NodeEndpoint::write_all(&self.node_endpoints, out));
        }
        reply.finish()
    }
}

impl FetchPartitionResponse {
    fn write(self, reply: &mut ReplyBuilder, version: i16) -> Result<(), Unencodable> {
        let record_bytes = self.records.iter().map(Bytes::len).sum();
        check_body(record_bytes)?;
        let flexible = version >= FLEXIBLE;
        let mut out = reply.fields(flexible);
        out.i32(self.partition);
        out.i16(self.error.map_or(0, |error| error.code()));
        out.i64(self.high_watermark);
        out.i64(self.last_stable_offset);
        if version >= 5 {
            out.i64(self.log_start_offset);
        }
        out.len(self.aborted_transactions.as_ref().map(Vec::len));
        for transaction in self.aborted_transactions.iter().flatten() {
            out.i64(transaction.producer_id);
            out.i64(transaction.first_offset);
            out.tagged_fields(0);
        }
        if version >= 11 {
            out.i32(self.preferred_read_replica);
        }
        out.len(Some(record_bytes));
        for records in self.records {
            reply.records(records);
        }
        let mut out = reply.fields(flexible);
        let diverging = self.diverging_epoch.filter(|_| flexible);
        let leader = self.current_leader.filter(|_| flexible);
        out.tagged_fields(u32::from(diverging.is_some()) + u32::from(leader.is_some()));
        if let Some(diverging) = diverging {
            out.tagged_field(0, |out| {
                out.i32(diverging.epoch);
                out.i64(diverging.end_offset);
                out.tagged_fields(0);
            });
        }
        if let Some(leader) = leader {
            out.tagged_field(1, |out| leader.write(out));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
