//! OffsetCommit: a group notes how far it has read. Answered when that is durable.
//!
//! Also for the empty group, which old clients without a group use.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::groups::{ask, check_texts};
use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::cluster::image::Image;
use crate::coordinator::group::Input;
use crate::protocol::offsets::{TOPIC_IDS, decode_commit};
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let mut unknown = Vec::new();
    let mut asked: OffsetCommitRequest = match version >= TOPIC_IDS {
        true => decode_commit(&request.body)?,
        false => request.decode()?,
    };
    check_texts([asked.group_id.as_str()])?;
    if version >= TOPIC_IDS {
        unknown = name_topics(&mut asked, &context.broker.image());
    }
    let group = asked.group_id.clone();
    let places: Vec<OffsetCommitResponseTopic> = asked.topics.iter().map(place_of).collect();
    let input = move |to| Input::Commit(asked, version, to);
    let topics = match ask(&context.broker, &group, input).await {
        Ok(topics) => topics,
        Err(refusal) => {
            let code = errors::of_refusal(refusal).code();
            let refused = |mut topic: OffsetCommitResponseTopic| {
                for partition in &mut topic.partitions {
                    partition.error_code = code;
                }
                topic
            };
            places.into_iter().map(refused).collect()
        }
    };
    let topics = topics.into_iter().chain(unknown).collect();
    let response = OffsetCommitResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

/// Gives topics their names. Returns what is answered for those whose ids nobody has, which the request loses.
fn name_topics(asked: &mut OffsetCommitRequest, image: &Image) -> Vec<OffsetCommitResponseTopic> {
    let mut unknown = Vec::new();
    asked
        .topics
        .retain_mut(|topic| match image.topics.get(topic.topic_id) {
            Some(known) => {
                topic.name = topic_name(&known.name);
                true
            }
            None => {
                let mut answer = place_of(topic);
                for partition in &mut answer.partitions {
                    partition.error_code = ResponseError::UnknownTopicId.code();
                }
                unknown.push(answer);
                false
            }
        });
    unknown
}

/// A topic of the answer, for the case that the coordinator has none.
fn place_of(topic: &OffsetCommitRequestTopic) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index)
    });
    OffsetCommitResponseTopic::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id)
        .with_partitions(partitions.collect())
}
