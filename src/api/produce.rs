//! Produce: batches are checked where they came in, placed where their partitions live, and answered
//! when they are as durable as their topics ask for.
//!
//! With acks=0 nobody is answered, and an error can only be told by closing the connection. acks=1
//! and acks=all are the same with one replica.
//!
//! There are no transactions yet: no transactional id was ever given out, so a batch that belongs to
//! one belongs to nobody's.

use std::rc::Rc;

use bytes::Bytes;
use corelog_shards::log::batch::recompress::{RecompressError, Recompressor};
use corelog_shards::log::batch::{
    Batch, BatchHeader, Budget, Codec, Compression, Progress, Rejection, Rules,
    TimestampType as Time, Validated, Validator,
};
use corelog_shards::mutation::{Mutation, is_on};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::message::{Append, AppendError, Appended};
use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

use super::view::is_internal;
use super::{Answer, Context, Effects, Failure, Request, errors};
use crate::broker::Broker;
use crate::cluster::image::Topic;
use crate::config::{StoredCompression, TimestampType, TopicSettings};
use crate::protocol::TopicRef;
use crate::protocol::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, RecordError,
    TopicProduceResponse,
};

/// Versions below are answered with an error: Kafka 4 advertises them for librdkafka's sake only.
const OLDEST_SERVED: i16 = 3;

/// Older clients cannot read what is compressed this way, nor say that they do.
const ZSTD: i16 = 7;
/// Who says so may write to the topics that the broker keeps for itself.
const ADMIN_CLIENT: &str = "__admin_client";
/// Of a topic's name in the log: as long as a valid one.
const TOPIC_CHARS_TOLD: usize = 249;

/// What holds for all partitions of a request.
#[derive(Clone, Copy)]
struct Terms {
    version: i16,
    internal_topics_allowed: bool,
}

/// One partition of the request on its way.
struct Item {
    topic: usize,
    response: PartitionProduceResponse,
    append: Option<Append>,
}

/// The first stage: everything is checked and placed in the order of requests.
pub async fn begin(context: Rc<Context>, request: Request) -> Result<Effects, Failure> {
    let version = request.header.api_version;
    let produce = ProduceRequest::decode(&request.body, version)?;
    let terms = Terms {
        version,
        internal_topics_allowed: *request.header.client_id == *ADMIN_CLIENT,
    };
    let acks = produce.acks;
    let topics: Vec<TopicRef> = produce
        .topics
        .iter()
        .map(|topic| topic.topic.clone())
        .collect();
    let broker = &context.broker;
    let mut items = check_all(broker, produce, terms).await;
    let appends: Vec<Append> = items
        .iter_mut()
        .filter_map(|item| item.append.take())
        .collect();
    let placed: Vec<bool> = items
        .iter()
        .map(|item| item.response.error.is_none())
        .collect();
    let checked = broker.shard.io().now();
    broker.metrics.produce_check.record(checked - request.begun);
    let pending = broker.shard.append(appends, checked).await;
    let header = request.header;
    Ok(Box::pin(async move {
        let acknowledged = pending.wait().await;
        let ready = acknowledged.at.max(checked);
        let mut results = acknowledged.results;
        if is_on(Mutation::MixUpResults) && results.len() > 1 {
            results.swap(0, 1);
        }
        let mut results = results.into_iter();
        for (item, placed) in items.iter_mut().zip(placed) {
            if placed {
                let result = results.next().expect("a result for each batch");
                note_result(&mut item.response, result);
            }
        }
        for error in items.iter().filter_map(|item| item.response.error) {
            context.broker.metrics.produce_errors.add(error);
        }
        if acks == 0 && !is_on(Mutation::AnswerWithoutAcks) {
            let failure = items.iter().find_map(|item| untold(&topics, item));
            return failure.map_or(Answer::Nothing, Answer::Close);
        }
        let mut response = ProduceResponse {
            topics: topics
                .into_iter()
                .map(|topic| TopicProduceResponse {
                    topic,
                    partitions: Vec::new(),
                })
                .collect(),
            ..ProduceResponse::default()
        };
        for item in items {
            response.topics[item.topic].partitions.push(item.response);
        }
        match response.encode(&header) {
            Ok(reply) => Answer::Reply(reply, ready),
            Err(why) => Answer::Close(Failure::from(why).to_string()),
        }
    }))
}

/// What the log says of a failure that the client wants no reply to.
fn untold(topics: &[TopicRef], item: &Item) -> Option<String> {
    let error = item.response.error?;
    let topic = match &topics[item.topic] {
        // There may be no such topic, and anything in its name.
        TopicRef::Name(name) => name.escape_debug().take(TOPIC_CHARS_TOLD).collect(),
        TopicRef::Id(id) => id.to_string(),
    };
    let index = item.response.index;
    let why = item.response.error_message.as_deref().unwrap_or_default();
    let colon = if why.is_empty() { "" } else { ": " };
    Some(format!(
        "a produce with acks=0 to {topic}-{index} failed: {error}{colon}{why}"
    ))
}

async fn check_all(broker: &Broker, produce: ProduceRequest, terms: Terms) -> Vec<Item> {
    let image = broker.image();
    let refusal = refusal_of_all(&produce, terms.version);
    let mut items = Vec::new();
    for (place, data) in produce.topics.into_iter().enumerate() {
        let topic = match (refusal, &data.topic) {
            (Some(error), _) => Err(error),
            (None, TopicRef::Name(name)) => image
                .topics
                .by_name(name)
                .ok_or(ResponseError::UnknownTopicOrPartition),
            (None, TopicRef::Id(id)) => image.topics.get(*id).ok_or(ResponseError::UnknownTopicId),
        };
        let topic = topic.map(|topic| (topic, broker.topic_settings(topic)));
        for partition in data.partitions {
            let index = partition.index;
            let checked = match &topic {
                Ok((topic, settings)) => {
                    check_partition(broker, topic, settings, partition, terms).await
                }
                Err(error) => Err(PartitionProduceResponse::failed(index, *error)),
            };
            items.push(match checked {
                Ok(append) => Item {
                    topic: place,
                    response: PartitionProduceResponse::taken(index),
                    append: Some(append),
                },
                Err(response) => Item {
                    topic: place,
                    response,
                    append: None,
                },
            });
        }
    }
    items
}

/// What is wrong with the request as a whole.
fn refusal_of_all(produce: &ProduceRequest, version: i16) -> Option<ResponseError> {
    if version < OLDEST_SERVED {
        Some(ResponseError::UnsupportedVersion)
    } else if !(-1..=1).contains(&produce.acks) {
        Some(ResponseError::InvalidRequiredAcks)
    } else if produce.transactional_id.is_none() && has_transactional_batch(produce) {
        Some(ResponseError::TransactionalIdAuthorizationFailed)
    } else {
        None
    }
}

/// Whether a batch claims to belong to a transaction. What isn't a batch is judged later.
fn has_transactional_batch(produce: &ProduceRequest) -> bool {
    let partitions = produce.topics.iter().flat_map(|topic| &topic.partitions);
    let mut batches = partitions.filter_map(|partition| partition.records.as_deref());
    batches.any(is_transactional)
}

fn is_transactional(records: &[u8]) -> bool {
    BatchHeader::parse(records).is_ok_and(|header| header.is_transactional())
}

fn is_zstd(records: &[u8]) -> bool {
    Batch::first(records).is_ok_and(|batch| batch.compression() == Some(Compression::Zstd))
}

async fn check_partition(
    broker: &Broker,
    topic: &Topic,
    settings: &TopicSettings,
    data: PartitionProduceData,
    terms: Terms,
) -> Result<Append, PartitionProduceResponse> {
    let failed = |error| PartitionProduceResponse::failed(data.index, error);
    if topic.partition(data.index).is_none() {
        return Err(failed(ResponseError::UnknownTopicOrPartition));
    }
    let records = data.records.unwrap_or_default();
    if terms.version < ZSTD && is_zstd(&records) {
        return Err(failed(ResponseError::UnsupportedCompressionType));
    }
    if is_internal(&topic.name) && !terms.internal_topics_allowed {
        let why = format!("Cannot append to internal topic {}", topic.name);
        return Err(with_message(
            failed(ResponseError::InvalidTopicException),
            &why,
        ));
    }
    if is_transactional(&records) {
        return Err(failed(ResponseError::InvalidProducerIdMapping));
    }
    let validated = validate(broker, &records, rules(settings)).await;
    let validated = validated.map_err(|rejection| rejected(data.index, &rejection))?;
    let records = records.slice(..validated.size_bytes);
    let batch = match stored_codec(settings.compression) {
        Some(codec) if codec.compression() != validated.compression => {
            let bytes_max = settings.max_message_bytes as usize;
            let recompressed = recompress(broker, &records, codec, bytes_max).await;
            recompressed
                .map_err(|error| with_message(failed(errors::of_recompress(&error)), &error))?
        }
        _ => records,
    };
    if batch.len() > settings.segment_bytes as usize {
        let why = format!(
            "The record batch has {} bytes, more than the {} of a segment",
            batch.len(),
            settings.segment_bytes
        );
        return Err(with_message(
            failed(ResponseError::RecordListTooLarge),
            &why,
        ));
    }
    let key = PartitionKey {
        topic: topic.id,
        partition: data.index,
    };
    Ok(Append {
        key,
        batch,
        max_timestamp_ms: validated.max_timestamp,
    })
}

fn rules(settings: &TopicSettings) -> Rules {
    Rules {
        batch_bytes_max: settings.max_message_bytes as usize,
        timestamp_type: match settings.timestamp_type {
            TimestampType::CreateTime => Time::CreateTime,
            TimestampType::LogAppendTime => Time::LogAppendTime,
        },
        timestamp_before_max_ms: settings.timestamp_before_max_ms,
        timestamp_after_max_ms: settings.timestamp_after_max_ms,
        compacted: settings.cleanup_compact,
    }
}

/// Checks every record, in slices that let others have the core.
async fn validate(broker: &Broker, records: &Bytes, rules: Rules) -> Result<Validated, Rejection> {
    let io = broker.shard.io();
    let mut validator = Validator::new(records, rules, io.wall_ms(), &broker.decoders)?;
    loop {
        match validator.step(Budget::SLICE) {
            Progress::Pending => io.yield_now().await,
            Progress::Done(verdict) => return verdict,
        }
    }
}

/// The codec that a topic stores, unless that is the producer's.
fn stored_codec(compression: StoredCompression) -> Option<Codec> {
    Some(match compression {
        StoredCompression::Producer => return None,
        StoredCompression::Uncompressed => Codec::None,
        StoredCompression::Gzip { level } => Codec::Gzip {
            level: level.unwrap_or(-1),
        },
        StoredCompression::Snappy => Codec::Snappy,
        StoredCompression::Lz4 { level } => Codec::Lz4 { level },
        StoredCompression::Zstd { level } => Codec::Zstd { level },
    })
}

async fn recompress(
    broker: &Broker,
    records: &Bytes,
    codec: Codec,
    bytes_max: usize,
) -> Result<Bytes, RecompressError> {
    let batch = Batch::first(records).expect("it was checked just now");
    let mut recompressor = Recompressor::new(batch, codec, bytes_max, &broker.decoders)?;
    loop {
        match recompressor.step(Budget::SLICE) {
            Progress::Pending => broker.shard.io().yield_now().await,
            Progress::Done(made) => return made.map(Bytes::from),
        }
    }
}

fn rejected(index: i32, rejection: &Rejection) -> PartitionProduceResponse {
    let error = errors::of_rejection(rejection.kind());
    let mut response = with_message(PartitionProduceResponse::failed(index, error), rejection);
    if let Rejection::Records(records) = rejection {
        response.record_errors = records
            .errors()
            .iter()
            .map(|error| RecordError {
                batch_index: error.index,
                message: Some(StrBytes::from_string(error.problem.to_string())),
            })
            .collect();
    }
    response
}

fn with_message(
    mut response: PartitionProduceResponse,
    why: &impl std::fmt::Display,
) -> PartitionProduceResponse {
    response.error_message = Some(StrBytes::from_string(why.to_string()));
    response
}

fn note_result(response: &mut PartitionProduceResponse, result: Result<Appended, AppendError>) {
    match result {
        Ok(appended) => {
            response.base_offset = appended.base_offset;
            response.log_append_time_ms = appended.log_append_time_ms.unwrap_or(-1);
            response.log_start_offset = appended.log_start_offset;
        }
        Err(error) => {
            *response = PartitionProduceResponse::failed(response.index, errors::of_append(&error))
        }
    }
}

#[cfg(test)]
mod tests;
