//! DescribeTopicPartitions: topics and partitions in pages. A page holds a limited number of
//! partitions and ends with a cursor, which the next request begins from.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::view::{NOBODY, TOPIC_OPERATIONS, View, broker_ids, is_internal, topic_name};
use super::{Context, Failure, Request, errors};
use crate::cluster::controller::validate_topic_name;
use crate::cluster::image::{Partition, Topic};
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DescribeTopicPartitionsRequest = request.decode()?;
    let image = context.broker.image();
    let view = View {
        image: &image,
        listener: &context.listener,
    };
    let partitions_max = context.broker.config().topics.described_partitions_max;
    let response = match answer(view, &asked, partitions_max as usize) {
        Ok(response) => response,
        Err(error) => refuse(&asked, error),
    };
    Ok(Reply::encode(&request.header, &response)?)
}

fn refuse(
    asked: &DescribeTopicPartitionsRequest,
    error: ResponseError,
) -> DescribeTopicPartitionsResponse {
    let refused = asked.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(topic.name.clone()))
    });
    DescribeTopicPartitionsResponse::default().with_topics(refused.collect())
}

fn answer(
    view: View<'_>,
    asked: &DescribeTopicPartitionsRequest,
    partitions_max: usize,
) -> Result<DescribeTopicPartitionsResponse, ResponseError> {
    let (from, from_partition) = match &asked.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
        None => ("", 0),
    };
    let named = asked.topics.iter().map(|topic| topic.name.as_str());
    let named: BTreeSet<&str> = named.filter(|name| *name >= from).collect();
    let wants_all = asked.topics.is_empty();
    if !wants_all && asked.cursor.is_some() && !named.contains(from) {
        return Err(ResponseError::InvalidRequest);
    }
    let from_partition = usize::try_from(from_partition);
    let from_partition = from_partition.map_err(|_| ResponseError::InvalidRequest)?;

    let asked_max = usize::try_from(asked.response_partition_limit).unwrap_or(0);
    let mut room = partitions_max.min(asked_max).max(1);
    let all: Box<dyn Iterator<Item = &str>> = match wants_all {
        true => Box::new(view.image.topics.iter_from(from).map(|topic| &*topic.name)),
        false => Box::new(named.into_iter()),
    };
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in all {
        if room == 0 {
            response.next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = view.image.topics.by_name(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let begin = if name == from { from_partition } else { 0 };
        let end = topic.partition_count().min(begin.saturating_add(room));
        let described = describe(view, topic, begin..end);
        room -= described.partitions.len();
        response.topics.push(described);
        if end < topic.partition_count() {
            response.next_cursor = Some(cursor(name, end as i32));
            break;
        }
    }
    Ok(response)
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(topic_name(topic))
        .with_partition_index(partition)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match validate_topic_name(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(invalid) => errors::of_control(invalid.kind),
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(topic_name(name)))
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn describe(
    view: View<'_>,
    topic: &Topic,
    ids: std::ops::Range<usize>,
) -> DescribeTopicPartitionsResponseTopic {
    let ids = ids.map(|id| id as i32);
    let partitions = ids.filter_map(|id| Some(partition_of(view, id, topic.partition(id)?)));
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_is_internal(is_internal(&topic.name))
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn partition_of(
    view: View<'_>,
    id: i32,
    partition: &Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let ids = |ids: &[i32]| broker_ids(ids.iter().copied());
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(id)
        .with_leader_id(view.leader(partition).unwrap_or(NOBODY))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr))
        .with_eligible_leader_replicas(Some(ids(&partition.elr)))
        .with_last_known_elr(Some(ids(&partition.last_known_elr)))
        .with_offline_replicas(view.offline_replicas(partition))
}

#[cfg(test)]
mod tests;
