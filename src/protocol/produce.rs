//! Produce, the request that matters most, decoded without copying a record.
//!
//! The records of each partition are a slice of the frame. Lists are allocated by what the frame can
//! really hold, and their entries are bounded, since an entry takes more room decoded than sent.
//!
//! Versions 0 to 2 are understood only as far as needed to answer them with UNSUPPORTED_VERSION
//! (see the table in `api`). What the records contain is not looked at here.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

use super::bounded::{Allowance, caught};
use super::header::RequestHeader;
use super::reply::{Reply, ReplyBuilder, Unencodable};
use super::wire::{Reader, Writer};
use super::{LeaderIdAndEpoch, Malformed, NodeEndpoint, TopicRef};

pub const VERSION_MAX: i16 = 13;
const FLEXIBLE: i16 = 9;
const TOPIC_IDS: i16 = 13;
const LEADER_HINTS: i16 = 10;

/// Topics and partitions of one request. A batch has more than seventy bytes, and who sends megabytes of small ones to
/// as many partitions sends several requests; but without batches an entry takes six bytes, and many times that when it
/// is worked on, at one stretch.
const ENTRIES_MAX: usize = 1 << 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<TopicProduceData>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicProduceData {
    pub topic: TopicRef,
    pub partitions: Vec<PartitionProduceData>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProduceData {
    pub index: i32,
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    pub fn decode(body: &Bytes, version: i16) -> Result<Self, Malformed> {
        caught(|| Self::read(body, version))
    }

    fn read(body: &Bytes, version: i16) -> Result<Self, Malformed> {
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(Malformed::Version(version));
        }
        let flexible = version >= FLEXIBLE;
        let mut reader = Reader::new(body, flexible);
        let transactional_id = if version >= 3 {
            reader.nullable_string()?
        } else {
            None
        };
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let topic_bytes_min = match version {
            TOPIC_IDS.. => 18,
            FLEXIBLE.. => 3,
            _ => 6,
        };
        let topic_count = reader.array_len(topic_bytes_min)?;
        let mut entries = Allowance(ENTRIES_MAX);
        entries.take(topic_count)?;
        let mut topics = Vec::with_capacity(topic_count);
        for _ in 0..topic_count {
            let topic = if version >= TOPIC_IDS {
                TopicRef::Id(reader.uuid()?)
            } else {
                TopicRef::Name(reader.string()?)
            };
            let partition_count = reader.array_len(if flexible { 6 } else { 8 })?;
            entries.take(partition_count)?;
            let mut partitions = Vec::with_capacity(partition_count);
            for _ in 0..partition_count {
                partitions.push(PartitionProduceData {
                    index: reader.i32()?,
                    records: reader.nullable_bytes()?,
                });
                reader.skip_tagged_fields()?;
            }
            reader.skip_tagged_fields()?;
            topics.push(TopicProduceData { topic, partitions });
        }
        reader.skip_tagged_fields()?;
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProduceResponse {
    pub topics: Vec<TopicProduceResponse>,
    pub throttle_time_ms: i32,
    /// Where the leaders named by partitions live; from version 10.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicProduceResponse {
    pub topic: TopicRef,
    pub partitions: Vec<PartitionProduceResponse>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProduceResponse {
    pub index: i32,
    pub error: Option<ResponseError>,
    pub base_offset: i64,
    /// -1 unless the topic stamps records when they are appended.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    pub record_errors: Vec<RecordError>,
    pub error_message: Option<StrBytes>,
    /// Told to clients that asked the wrong node; from version 10.
    pub current_leader: Option<LeaderIdAndEpoch>,
}

/// A record that made its batch be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    pub batch_index: i32,
    pub message: Option<StrBytes>,
}

impl PartitionProduceResponse {
    /// A partition whose records were taken; where they are follows.
    pub fn taken(index: i32) -> Self {
        Self {
            index,
            error: None,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }

    /// A partition whose records were not appended.
    pub fn failed(index: i32, error: ResponseError) -> Self {
        Self {
            index,
            error: Some(error),
            ..Self::taken(index)
        }
    }
}

impl ProduceResponse {
    /// The reply to `request`, in its version. The topics must be named as the request named them.
    pub fn encode(&self, request: &RequestHeader) -> Result<Reply, Unencodable> {
        let version = request.api_version;
        let partitions: usize = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut reply = ReplyBuilder::new(request, 16 + 48 * (self.topics.len() + partitions));
        let mut out = reply.fields(version >= FLEXIBLE);
        out.len(Some(self.topics.len()));
        for topic in &self.topics {
            match &topic.topic {
                TopicRef::Name(name) if version < TOPIC_IDS => out.string(name),
                TopicRef::Id(id) if version >= TOPIC_IDS => out.uuid(id),
                other => panic!("{other:?} cannot be named in version {version}"),
            }
            out.len(Some(topic.partitions.len()));
            for partition in &topic.partitions {
                partition.write(&mut out, version);
            }
            out.tagged_fields(0);
        }
        if version >= 1 {
            out.i32(self.throttle_time_ms);
        }
        let has_endpoints = version >= LEADER_HINTS && !self.node_endpoints.is_empty();
        out.tagged_fields(has_endpoints.into());
        if has_endpoints {
            out.tagged_field(0, |out| NodeEndpoint::write_all(&self.node_endpoints, out));
        }
        reply.finish()
    }
}

impl PartitionProduceResponse {
    fn write(&self, out: &mut Writer<'_>, version: i16) {
        out.i32(self.index);
        out.i16(self.error.map_or(0, |error| error.code()));
        out.i64(self.base_offset);
        if version >= 2 {
            out.i64(self.log_append_time_ms);
        }
        if version >= 5 {
            out.i64(self.log_start_offset);
        }
        if version >= 8 {
            out.len(Some(self.record_errors.len()));
            for record in &self.record_errors {
                out.i32(record.batch_index);
                out.nullable_string(record.message.as_deref());
                out.tagged_fields(0);
            }
            out.nullable_string(self.error_message.as_deref());
        }
        let leader = self.current_leader.filter(|_| version >= LEADER_HINTS);
        out.tagged_fields(leader.is_some().into());
        if let Some(leader) = leader {
            out.tagged_field(0, |out| leader.write(out));
        }
    }
}

#[cfg(test)]
mod tests;
