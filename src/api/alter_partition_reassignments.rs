//! AlterPartitionReassignments: other replicas for partitions; the controller decides.

use std::rc::Rc;

use kafka_protocol::messages::alter_partition_reassignments_request::ReassignableTopic;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use super::{Context, Failure, Request, errors};
use crate::cluster::controller::{
    AlterReassignments, ControlError, Reassignment, alter_reassignments, check_count,
};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// Before, the factor may change and nobody is told so.
const SAYS_WHETHER_FACTOR_MAY_CHANGE: i16 = 1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: AlterPartitionReassignmentsRequest = request.decode()?;
    let response = match check(&asked) {
        Ok(()) => alter(&context, &asked).await,
        Err(error) => {
            let (code, message) = errors::refusal(error);
            AlterPartitionReassignmentsResponse::default()
                .with_error_code(code)
                .with_error_message(message)
        }
    };
    let response = match request.header.api_version >= SAYS_WHETHER_FACTOR_MAY_CHANGE {
        true => {
            response.with_allow_replication_factor_change(asked.allow_replication_factor_change)
        }
        false => response,
    };
    Ok(Reply::encode(&request.header, &response)?)
}

/// What is refused as a whole needs no answer for each partition.
fn check(asked: &AlterPartitionReassignmentsRequest) -> Result<(), ControlError> {
    check_count(asked.topics.len())?;
    let partitions = asked.topics.iter().map(|topic| topic.partitions.len());
    check_count(partitions.sum())
}

async fn alter(
    context: &Context,
    asked: &AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let mut turns = Turns::on(context.broker.shard.io());
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        topics.push(wanted(topic));
        turns.step().await;
    }
    let wanted = AlterReassignments {
        topics,
        may_change_replication_factor: asked.allow_replication_factor_change,
    };
    let outcome = context
        .broker
        .control(move |context| alter_reassignments(context, &wanted))
        .await;
    match outcome {
        Ok(results) => {
            let mut told = Vec::with_capacity(results.len());
            for (topic, results) in asked.topics.iter().zip(results) {
                told.push(tell(topic, results));
                turns.step().await;
            }
            AlterPartitionReassignmentsResponse::default().with_responses(told)
        }
        Err(failure) => {
            let (code, message) = errors::not_carried_out(failure);
            AlterPartitionReassignmentsResponse::default()
                .with_error_code(code)
                .with_error_message(message)
        }
    }
}

fn wanted(topic: &ReassignableTopic) -> (String, Vec<Reassignment>) {
    let partitions = topic.partitions.iter().map(|partition| Reassignment {
        partition: partition.partition_index,
        replicas: partition
            .replicas
            .as_ref()
            .map(|replicas| replicas.iter().map(|id| id.0).collect()),
    });
    (topic.name.to_string(), partitions.collect())
}

fn tell(
    topic: &ReassignableTopic,
    results: Vec<Result<(), ControlError>>,
) -> ReassignableTopicResponse {
    let partitions = topic.partitions.iter().zip(results);
    let partitions = partitions.map(|(partition, result)| {
        let (code, message) = errors::outcome(result);
        ReassignablePartitionResponse::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(code)
            .with_error_message(message)
    });
    ReassignableTopicResponse::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};
    use crate::api::view::topic_name;

    #[test]
    fn more_partitions_than_can_change_at_once_are_refused_without_a_look() {
        const POLICY_VIOLATION: i16 = 44;
        on_a_broker(image_of(&[("t", 1)], &[]), async move |context| {
            let partitions = vec![ReassignablePartition::default(); 5_001];
            let topic = ReassignableTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(partitions);
            let body = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic; 2]);
            let api = (ApiKey::AlterPartitionReassignments, 0);
            let reply: AlterPartitionReassignmentsResponse =
                ask(&context, api, &body, handle).await;
            assert_eq!(reply.error_code, POLICY_VIOLATION);
            assert_eq!(
                reply.error_message.as_deref(),
                Some("Unable to perform excessively large batch operation.")
            );
            assert!(reply.responses.is_empty());
        });
    }
}
