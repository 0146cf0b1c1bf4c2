//! ListOffsets: the offset at an end of a log, by time, or of the newest record.
//!
//! There is no tiered storage: what is earliest locally is earliest, and nothing is in a tier.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use corelog_shards::route::PartitionKey;
use corelog_shards::shard::message::ReadError;
use corelog_shards::shard::{ListedOffset, OffsetQuery};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::owners::{Question, ask_owners, partition_key};
use super::{Context, Failure, Request, errors};
use crate::protocol::Isolation;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// From this version on the reply has the leader epoch of the record.
const LEADER_EPOCH: i16 = 4;

/// What a timestamp in a request stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Offset(OffsetQuery),
    /// The last offset in a tier, of which there are none.
    LatestTiered,
}

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let asked: ListOffsetsRequest = request.decode()?;
    let isolation = Isolation::of(asked.isolation_level);
    let image = context.broker.image();
    let shard = &context.broker.shard;
    let mut turns = Turns::on(shard.io());
    let mut seen = BTreeSet::new();
    // Those that were asked for more than once, and whether they were answered.
    let mut repeated = BTreeMap::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            if !seen.insert((&topic.name, partition.partition_index)) {
                repeated.insert((&topic.name, partition.partition_index), false);
            }
            turns.step().await;
        }
    }
    let mut questions = Vec::new();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut responses = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let place = (topics.len(), responses.len());
            let repeated = repeated.get_mut(&(&topic.name, index));
            let is_repeated = repeated.is_some();
            if repeated.is_some_and(|is_answered| std::mem::replace(is_answered, true)) {
                continue;
            }
            let question = match isolation {
                None => Err(ResponseError::UnknownServerError),
                Some(_) if is_repeated => Err(ResponseError::InvalidRequest),
                Some(isolation) => {
                    let committed = isolation == Isolation::ReadCommitted;
                    wanted(partition.timestamp, version, committed).and_then(|wanted| {
                        let key = partition_key(&image, &topic.name, index)?;
                        let asked = detail(partition, wanted);
                        Ok(Question { place, key, asked })
                    })
                }
            };
            responses.push(match question {
                Ok(question) => {
                    questions.push(question);
                    unanswered(index)
                }
                Err(error) => unanswered(index).with_error_code(error.code()),
            });
            turns.step().await;
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(responses),
        );
    }
    for ((topic, partition), answer) in ask_owners(shard, questions, answer).await {
        tell(&mut topics[topic].partitions[partition], answer, version);
        turns.step().await;
    }
    let response = ListOffsetsResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

/// Kafka's numbers for what is not a time, and the versions that have them.
fn wanted(timestamp: i64, version: i16, committed: bool) -> Result<Wanted, ResponseError> {
    let (wanted, since) = match timestamp {
        0.. => (Wanted::Offset(OffsetQuery::AtTime(timestamp)), 1),
        -1 => (Wanted::Offset(OffsetQuery::Latest { committed }), 1),
        -2 => (Wanted::Offset(OffsetQuery::Earliest), 1),
        -3 => (Wanted::Offset(OffsetQuery::MaxTimestamp), 7),
        -4 => (Wanted::Offset(OffsetQuery::Earliest), 8),
        -5 => (Wanted::LatestTiered, 9),
        _ => return Err(ResponseError::UnsupportedVersion),
    };
    match version >= since {
        true => Ok(wanted),
        false => Err(ResponseError::UnsupportedVersion),
    }
}

/// With the leader epoch that the client believes in.
type Detail = (Option<i32>, Wanted);

fn detail(partition: &ListOffsetsPartition, wanted: Wanted) -> Detail {
    let epoch = partition.current_leader_epoch;
    ((epoch >= 0).then_some(epoch), wanted)
}

async fn answer(
    shard: corelog_shards::shard::Shard,
    key: PartitionKey,
    (leader_epoch, wanted): Detail,
) -> Result<ListedOffset, ReadError> {
    let (query, is_tiered) = match wanted {
        Wanted::Offset(query) => (query, false),
        Wanted::LatestTiered => (OffsetQuery::Earliest, true),
    };
    let found = shard.offset_for(&key, leader_epoch, query).await?;
    Ok(match is_tiered {
        false => found,
        true => ListedOffset {
            offset: -1,
            timestamp_ms: -1,
            leader_epoch: None,
        },
    })
}

fn unanswered(index: i32) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_offset(-1)
        .with_timestamp(-1)
        .with_leader_epoch(-1)
}

fn tell(
    response: &mut ListOffsetsPartitionResponse,
    answer: Result<ListedOffset, ReadError>,
    version: i16,
) {
    match answer {
        Ok(found) => {
            response.offset = found.offset;
            response.timestamp = found.timestamp_ms;
            if version >= LEADER_EPOCH {
                response.leader_epoch = found.leader_epoch.unwrap_or(-1);
            }
        }
        Err(error) => response.error_code = errors::of_read(error).code(),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;
    use kafka_protocol::messages::{ApiKey, TopicName};

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};
    use crate::api::view::text;

    /// Partition and error of each answer, with this isolation level.
    fn answers(level: i8, indexes: &'static [i32]) -> Vec<(i32, i16)> {
        on_a_broker(image_of(&[("t", 2)], &[]), async move |context| {
            let partition = |index: &i32| {
                ListOffsetsPartition::default()
                    .with_partition_index(*index)
                    .with_timestamp(-1)
            };
            let topic = ListOffsetsTopic::default()
                .with_name(TopicName(text("t")))
                .with_partitions(indexes.iter().map(partition).collect());
            let body = ListOffsetsRequest::default()
                .with_isolation_level(level)
                .with_topics(vec![topic]);
            let api = (ApiKey::ListOffsets, 10);
            let reply: ListOffsetsResponse = ask(&context, api, &body, handle).await;
            let answers = reply.topics[0].partitions.iter();
            answers
                .map(|answer| (answer.partition_index, answer.error_code))
                .collect()
        })
    }

    #[test]
    fn a_partition_that_is_asked_for_twice_is_refused_once() {
        const INVALID_REQUEST: i16 = 42;
        assert_eq!(answers(0, &[0, 1, 0, 0]), [(0, INVALID_REQUEST), (1, 0)]);
    }

    #[test]
    fn an_isolation_level_that_is_none_is_refused() {
        const UNKNOWN_SERVER_ERROR: i16 = -1;
        for level in [2, -1] {
            assert_eq!(answers(level, &[0]), [(0, UNKNOWN_SERVER_ERROR)]);
        }
        assert_eq!(answers(1, &[0]), [(0, 0)]);
    }

    #[test]
    fn each_number_is_known_from_its_version_on() {
        let table = [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (0, 1), (77, 1)];
        for (timestamp, since) in table {
            assert!(wanted(timestamp, since, false).is_ok(), "{timestamp}");
            assert_eq!(
                wanted(timestamp, since - 1, false),
                Err(ResponseError::UnsupportedVersion)
            );
        }
        assert!(wanted(-6, 10, false).is_err());
    }

    #[test]
    fn the_latest_is_that_of_the_isolation_level() {
        for committed in [false, true] {
            assert_eq!(
                wanted(-1, 10, committed),
                Ok(Wanted::Offset(OffsetQuery::Latest { committed }))
            );
        }
    }
}
