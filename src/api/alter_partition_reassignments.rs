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
    AlterReassignments, ControlError, Reassignment, alter_reassignments,
};
use crate::protocol::reply::Reply;

/// Before, the factor may change and nobody is told so.
const SAYS_WHETHER_FACTOR_MAY_CHANGE: i16 = 1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: AlterPartitionReassignmentsRequest = request.decode()?;
    let wanted = AlterReassignments {
        topics: asked.topics.iter().map(wanted).collect(),
        may_change_replication_factor: asked.allow_replication_factor_change,
    };
    let outcome = context
        .broker
        .control(move |context| alter_reassignments(context, &wanted))
        .await;
    let response = match outcome {
        Ok(results) => {
            let topics = asked.topics.iter().zip(results);
            let topics = topics.map(|(topic, results)| tell(topic, results));
            AlterPartitionReassignmentsResponse::default().with_responses(topics.collect())
        }
        Err(failure) => AlterPartitionReassignmentsResponse::default()
            .with_error_code(errors::of_control_failure(failure).code()),
    };
    let response = match request.header.api_version >= SAYS_WHETHER_FACTOR_MAY_CHANGE {
        true => {
            response.with_allow_replication_factor_change(asked.allow_replication_factor_change)
        }
        false => response,
    };
    Ok(Reply::encode(&request.header, &response)?)
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
