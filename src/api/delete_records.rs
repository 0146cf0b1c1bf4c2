//! DeleteRecords: moves the start of logs, and answers once that is durable.

use std::rc::Rc;

use corelog_shards::route::PartitionKey;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::owners::{Question, ask_owners, partition_key};
use super::view::is_internal;
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DeleteRecordsRequest = request.decode()?;
    let shard = &context.broker.shard;
    let mut turns = Turns::on(shard.io());
    let mut questions = Vec::new();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut responses = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let untouched = DeleteRecordsPartitionResult::default()
                .with_partition_index(index)
                .with_low_watermark(-1);
            let place = (topics.len(), responses.len());
            responses.push(match deletable(&context.broker, &topic.name, index) {
                Ok(key) => {
                    let offset = partition.offset;
                    let asked = (offset != HIGH_WATERMARK).then_some(offset);
                    questions.push(Question { place, key, asked });
                    untouched
                }
                Err(error) => untouched.with_error_code(error.code()),
            });
            turns.step().await;
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(responses),
        );
    }
    let answers = ask_owners(shard, questions, |shard, key, offset| async move {
        shard.delete_records(&key, offset).await
    })
    .await;
    for ((topic, partition), answer) in answers {
        let response = &mut topics[topic].partitions[partition];
        match answer {
            Ok(start_offset) => response.low_watermark = start_offset,
            Err(error) => response.error_code = errors::of_read(error).code(),
        }
        turns.step().await;
    }
    let response = DeleteRecordsResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

/// The partition, unless its topic is the broker's own or keeps the newest record of every key.
fn deletable(broker: &Broker, topic: &str, index: i32) -> Result<PartitionKey, ResponseError> {
    let image = broker.image();
    let key = partition_key(&image, topic, index)?;
    let topic = image.topics.get(key.topic).expect("it was found just now");
    if is_internal(&topic.name) {
        return Err(ResponseError::InvalidTopicException);
    }
    let settings = broker.topic_settings(topic);
    match settings.cleanup_compact && !settings.cleanup_delete {
        true => Err(ResponseError::PolicyViolation),
        false => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{image_of, on_a_broker};
    use crate::cluster::image::ConfigResource;

    #[test]
    fn only_topics_that_lose_records_with_time_lose_them_at_once() {
        let compacted = (ConfigResource::topic("c"), "cleanup.policy", "compact");
        let topics = [("t", 1), ("c", 1), ("__consumer_offsets", 1)];
        let codes = on_a_broker(image_of(&topics, &[compacted]), async |context| {
            let code = |topic| deletable(&context.broker, topic, 0).err();
            ["t", "c", "__consumer_offsets", "nobody"].map(code)
        });
        let expected = [
            None,
            Some(ResponseError::PolicyViolation),
            Some(ResponseError::InvalidTopicException),
            Some(ResponseError::UnknownTopicOrPartition),
        ];
        assert_eq!(codes, expected);
    }
}
