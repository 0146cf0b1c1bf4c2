//! What a consumer asks of brokers beside its group: records, and where a log starts whose records were deleted before it
//! had read them.
//!
//! | reply to a fetch | then | it goes on |
//! |---|---|---|
//! | OFFSET_OUT_OF_RANGE | ListOffsets of the earliest offset | |
//! | the log starts behind its offset | the records between are skipped, which is told | at the start |
//! | it starts before, so that it ends before its offset | an error: the broker has lost what it had given | where it is, until the log has come there again |

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Request};
use uuid::Uuid;

use super::Shared;
use super::consumer::{Consumer, Position};
use super::session::Asked;
use crate::client::{EARLIEST, FETCH_VERSION, LIST_OFFSETS_VERSION, topic_name};
use crate::connection::Connection;
use crate::measure::Recorder;

/// What a fetch asks for, as Kafka's consumers do by default.
const PARTITION_BYTES: i32 = 1 << 20;
const REPLY_BYTES: i32 = 50 << 20;
const WAIT_MS: i32 = 500;

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub query: Query,
    /// Which state of the membership it was made of.
    pub share: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    Fetch,
    LogStarts,
}

pub(super) enum Reply {
    Fetch(FetchResponse),
    LogStarts(ListOffsetsResponse),
}

impl Query {
    /// Reads the body of the reply.
    pub(super) fn decode(self, version: i16, body: &mut Bytes) -> Result<Reply> {
        match self {
            Self::Fetch => FetchResponse::decode(body, version).map(Reply::Fetch),
            Self::LogStarts => ListOffsetsResponse::decode(body, version).map(Reply::LogStarts),
        }
    }
}

impl Consumer {
    pub(super) fn fetch(&mut self, link_at: usize, now_ns: u64, shared: &Shared<'_>) -> Result<()> {
        let bound = match self.cluster.has_ids() {
            true => i16::MAX,
            false => FETCH_VERSION,
        };
        let version = self.connection(link_at).newest::<FetchRequest>(bound)?;
        let request = self.request(link_at, version, shared);
        self.send(link_at, Query::Fetch, &request, version, now_ns)
    }

    /// Sends a request over an open link.
    fn send<R: Request>(
        &mut self,
        link_at: usize,
        query: Query,
        request: &R,
        version: i16,
        now_ns: u64,
    ) -> Result<()> {
        let share = self.share;
        let connection = self.connection(link_at);
        connection.queue(request, version, Some(Ask { query, share }), now_ns)?;
        connection.flush()
    }

    /// Of a link that is open.
    fn connection(&mut self, link_at: usize) -> &mut Connection<Ask> {
        let connection = self.links[link_at].connection.as_mut();
        connection.expect("it is open")
    }

    fn request(&mut self, link_at: usize, version: i16, shared: &Shared<'_>) -> FetchRequest {
        let (id, epoch, asked) = self.readings[link_at].session.next_request(version);
        let mut numbers = match asked {
            Asked::All => (0..self.positions.len()).collect(),
            Asked::Changed(changed) => changed,
        };
        numbers.retain(|number| self.positions[*number].link == Some(link_at));
        let by_id = version > FETCH_VERSION;
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut last = None;
        for number in numbers {
            let Position { at, offset, .. } = self.positions[number];
            let place = &shared.places[at];
            if last != Some(place.topic_number) {
                last = Some(place.topic_number);
                let topic = FetchTopic::default();
                topics.push(match by_id {
                    true => topic.with_topic_id(self.cluster.topics[place.topic_number].id),
                    false => topic.with_topic(topic_name(&place.topic)),
                });
            }
            let partition = FetchPartition::default()
                .with_partition(place.partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(PARTITION_BYTES);
            let topic = topics.last_mut().expect("there is one now");
            topic.partitions.push(partition);
        }
        FetchRequest::default()
            .with_max_wait_ms(WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(REPLY_BYTES)
            .with_session_id(id)
            .with_session_epoch(epoch)
            .with_topics(topics)
    }

    /// Of the partitions whose offset was refused.
    pub(super) fn ask_for_log_starts(
        &mut self,
        link_at: usize,
        now_ns: u64,
        shared: &Shared<'_>,
    ) -> Result<()> {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for number in &self.readings[link_at].out_of_range {
            let place = &shared.places[self.positions[*number].at];
            let name = topic_name(&place.topic);
            if topics.last().is_none_or(|topic| topic.name != name) {
                topics.push(ListOffsetsTopic::default().with_name(name));
            }
            let partition = ListOffsetsPartition::default()
                .with_partition_index(place.partition)
                .with_timestamp(EARLIEST);
            let topic = topics.last_mut().expect("there is one now");
            topic.partitions.push(partition);
        }
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(topics);
        let version = self
            .connection(link_at)
            .newest::<ListOffsetsRequest>(LIST_OFFSETS_VERSION)?;
        self.send(link_at, Query::LogStarts, &request, version, now_ns)
    }

    pub(super) fn take_log_starts(
        &mut self,
        link_at: usize,
        reply: &ListOffsetsResponse,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let now_ns = shared.clock.now_ns();
        // Whatever is not settled here is refused again.
        self.readings[link_at].out_of_range.clear();
        for topic in &reply.topics {
            let TopicName(name) = &topic.name;
            let Some(number) = self.cluster.topic_number(name, Uuid::nil(), 0) else {
                continue;
            };
            for partition in &topic.partitions {
                let position = self.position(number, partition.partition_index, shared);
                let Some(position) = position else {
                    continue;
                };
                let code = match (partition.error_code, partition.offset) {
                    (0, start) if start > self.positions[position].offset => {
                        recorder.skipped(now_ns, self.skip_to(position, start));
                        self.readings[link_at].session.moved(position);
                        continue;
                    }
                    (0, _) => ResponseError::OffsetOutOfRange.code(),
                    (code, _) => code,
                };
                self.refused(link_at, code, now_ns, shared, recorder);
            }
        }
    }
}
