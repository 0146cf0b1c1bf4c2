//! ElectLeaders: elections that an operator asks for; the controller decides.

use std::rc::Rc;

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::cluster::controller::{ElectLeaders, ElectedPartition, ElectionType, elect_leaders};
use crate::protocol::reply::Reply;

/// Before, there is no error of the whole request.
const HAS_OWN_ERROR: i16 = 1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: ElectLeadersRequest = request.decode()?;
    let version = request.header.api_version;
    let response = match ElectionType::from_id(asked.election_type) {
        Ok(election) => elect(&context, version, &asked, election).await,
        Err(error) => refuse(version, &asked, errors::refusal(error)),
    };
    Ok(Reply::encode(&request.header, &response)?)
}

async fn elect(
    context: &Context,
    version: i16,
    asked: &ElectLeadersRequest,
    election: ElectionType,
) -> ElectLeadersResponse {
    let partitions = asked.topic_partitions.as_ref().map(|topics| {
        let topics = topics.iter();
        let topics = topics.map(|topic| (topic.topic.to_string(), topic.partitions.clone()));
        topics.collect()
    });
    let wanted = ElectLeaders {
        election,
        partitions,
    };
    let outcome = context
        .broker
        .control(move |context| elect_leaders(context, &wanted))
        .await;
    match outcome {
        Ok(topics) => {
            let results = topics
                .into_iter()
                .map(|(name, partitions)| tell(topic_name(&name), partitions));
            ElectLeadersResponse::default().with_replica_election_results(results.collect())
        }
        Err(failure) => refuse(version, asked, errors::not_carried_out(failure)),
    }
}

/// One answer for the whole request, which old clients look for at each partition.
fn refuse(
    version: i16,
    asked: &ElectLeadersRequest,
    (code, message): (i16, Option<StrBytes>),
) -> ElectLeadersResponse {
    let topics = asked.topic_partitions.iter().flatten().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|id| result(*id, code).with_error_message(message.clone()));
        ReplicaElectionResult::default()
            .with_topic(topic.topic.clone())
            .with_partition_result(partitions.collect())
    });
    let response = ElectLeadersResponse::default().with_replica_election_results(topics.collect());
    match version >= HAS_OWN_ERROR {
        true => response.with_error_code(code),
        false => response,
    }
}

fn tell(topic: TopicName, partitions: Vec<ElectedPartition>) -> ReplicaElectionResult {
    let results = partitions.into_iter().map(|elected| {
        let (code, message) = errors::outcome(elected.result);
        result(elected.partition, code).with_error_message(message)
    });
    ReplicaElectionResult::default()
        .with_topic(topic)
        .with_partition_result(results.collect())
}

fn result(partition: i32, code: i16) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(partition)
        .with_error_code(code)
}
