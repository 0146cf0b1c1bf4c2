//! OffsetFetch: how far groups have read, as far as that is durable.
//!
//! There are no transactions yet, so every offset is stable. Also for the empty group, which old clients without a
//! group use.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse};

use super::groups::ask_each;
use super::{Context, Failure, Request, errors};
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

/// From here on there is an error of the whole group; before, one of each partition.
const HAS_OWN_ERROR: i16 = 2;
/// From here on many groups are asked for together.
const BATCHED: i16 = 8;
/// In place of an offset that is not told.
const NO_OFFSET: i64 = -1;

type Topics = Option<Vec<OffsetFetchRequestTopics>>;
type Answer = Result<Vec<OffsetFetchResponseTopics>, ResponseError>;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: OffsetFetchRequest = request.decode()?;
    let version = request.header.api_version;
    let groups: Vec<OffsetFetchRequestGroup> = match version >= BATCHED {
        true => asked.groups,
        false => vec![
            OffsetFetchRequestGroup::default()
                .with_group_id(asked.group_id)
                .with_topics(asked.topics.map(in_new_form)),
        ],
    };
    let questions = groups
        .iter()
        .map(|group| (group.group_id.to_string(), group.clone()));
    let answers = ask_each(&context.broker, questions.collect(), Input::Fetch).await;
    let answers = answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|refusal| Err(errors::of_refusal(refusal))));
    let mut answers = groups.into_iter().zip(answers);
    let response = match version >= BATCHED {
        true => {
            let groups = answers.map(|(group, answer)| in_batch(group.group_id, answer));
            OffsetFetchResponse::default().with_groups(groups.collect())
        }
        false => {
            let (group, answer) = answers.next().expect("one group was asked for");
            alone(version, group.topics, answer)
        }
    };
    Ok(Reply::encode(&request.header, &response)?)
}

fn in_new_form(topics: Vec<OffsetFetchRequestTopic>) -> Vec<OffsetFetchRequestTopics> {
    let topics = topics.into_iter().map(|topic| {
        OffsetFetchRequestTopics::default()
            .with_name(topic.name)
            .with_partition_indexes(topic.partition_indexes)
    });
    topics.collect()
}

fn in_batch(group: GroupId, answer: Answer) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(group);
    match answer {
        Ok(topics) => response.with_topics(topics),
        Err(error) => response.with_error_code(error.code()),
    }
}

/// The answer about a single group.
fn alone(version: i16, asked: Topics, answer: Answer) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    match answer {
        Ok(topics) => response.with_topics(in_old_form(topics)),
        Err(error) => {
            let code = error.code();
            match version >= HAS_OWN_ERROR {
                true => response.with_error_code(code),
                false => response.with_topics(refuse_each(asked.unwrap_or_default(), code)),
            }
        }
    }
}

fn in_old_form(topics: Vec<OffsetFetchResponseTopics>) -> Vec<OffsetFetchResponseTopic> {
    let partition = |partition: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    let topics = topics.into_iter().map(|topic| {
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(topic.partitions.into_iter().map(partition).collect())
    });
    topics.collect()
}

fn refuse_each(topics: Vec<OffsetFetchRequestTopics>, code: i16) -> Vec<OffsetFetchResponseTopic> {
    let refused = |index: i32| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(NO_OFFSET)
            .with_error_code(code)
    };
    let topics = topics.into_iter().map(|topic| {
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(topic.partition_indexes.into_iter().map(refused).collect())
    });
    topics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::view::topic_name;

    #[test]
    fn the_first_version_tells_errors_by_partition() {
        let asked = || {
            let topic = OffsetFetchRequestTopics::default()
                .with_name(topic_name("t"))
                .with_partition_indexes(vec![3]);
            Some(vec![topic])
        };
        let response = alone(1, asked(), Err(ResponseError::CoordinatorLoadInProgress));
        let partition = &response.topics[0].partitions[0];
        let told = (partition.partition_index, partition.error_code);
        assert_eq!((response.error_code, told), (0, (3, 14)));
        let response = alone(2, asked(), Err(ResponseError::CoordinatorLoadInProgress));
        assert_eq!((response.error_code, response.topics.len()), (14, 0));
    }
}
