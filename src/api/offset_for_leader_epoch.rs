//! OffsetForLeaderEpoch: where an epoch ended, for readers who want to know whether what they have
//! read is still there.

use std::rc::Rc;

use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::owners::{Question, ask_owners, partition_key};
use super::{Context, Failure, Request, errors};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: OffsetForLeaderEpochRequest = request.decode()?;
    let image = context.broker.image();
    let shard = &context.broker.shard;
    let mut turns = Turns::on(shard.io());
    let mut questions = Vec::new();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut responses = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let unknown = EpochEndOffset::default()
                .with_partition(partition.partition)
                .with_leader_epoch(-1)
                .with_end_offset(-1);
            let believed = partition.current_leader_epoch;
            let believed = (believed >= 0).then_some(believed);
            let asked = (believed, partition.leader_epoch);
            let place = (topics.len(), responses.len());
            responses.push(
                match partition_key(&image, &topic.topic, partition.partition) {
                    Ok(key) => {
                        questions.push(Question { place, key, asked });
                        unknown
                    }
                    Err(error) => unknown.with_error_code(error.code()),
                },
            );
            turns.step().await;
        }
        topics.push(
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(responses),
        );
    }
    let answers = ask_owners(
        shard,
        questions,
        |shard, key, (believed, epoch)| async move { shard.epoch_end(&key, believed, epoch) },
    )
    .await;
    for ((topic, partition), answer) in answers {
        let response = &mut topics[topic].partitions[partition];
        match answer {
            Ok(Some(end)) => {
                response.leader_epoch = end.epoch;
                response.end_offset = end.end_offset;
            }
            // An epoch that nobody has led in.
            Ok(None) => {}
            Err(error) => response.error_code = errors::of_read(error).code(),
        }
        turns.step().await;
    }
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}
