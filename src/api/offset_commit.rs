//! OffsetCommit: a group notes how far it has read. Answered when that is durable.
//!
//! Also for the empty group, which old clients without a group use.

use std::rc::Rc;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::groups::{ask, check_texts};
use super::{Context, Failure, Request, errors};
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: OffsetCommitRequest = request.decode()?;
    check_texts([asked.group_id.as_str()])?;
    let version = request.header.api_version;
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
    let response = OffsetCommitResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

/// A topic of the answer, for the case that the coordinator has none.
fn place_of(topic: &OffsetCommitRequestTopic) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index)
    });
    OffsetCommitResponseTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect())
}
