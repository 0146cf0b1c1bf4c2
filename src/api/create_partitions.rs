//! CreatePartitions: a thin way to the controller, which decides.

use std::rc::Rc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::cluster::controller::{CreatePartitions, MorePartitions, create_partitions};
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: CreatePartitionsRequest = request.decode()?;
    let failed: Vec<_> = asked
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let wanted = CreatePartitions {
        topics: asked.topics.iter().map(more_partitions).collect(),
        validate_only: asked.validate_only,
    };
    let outcome = context
        .broker
        .control(move |context| create_partitions(context, &wanted))
        .await;
    let results = match outcome {
        Ok(results) => results
            .into_iter()
            .map(|(name, result)| {
                let (code, message) = errors::outcome(result);
                CreatePartitionsTopicResult::default()
                    .with_name(topic_name(&name))
                    .with_error_code(code)
                    .with_error_message(message)
            })
            .collect(),
        Err(failure) => {
            let code = errors::of_control_failure(failure).code();
            let failed = failed.into_iter().map(|name| {
                CreatePartitionsTopicResult::default()
                    .with_name(name)
                    .with_error_code(code)
            });
            failed.collect()
        }
    };
    let response = CreatePartitionsResponse::default().with_results(results);
    Ok(Reply::encode(&request.header, &response)?)
}

fn more_partitions(asked: &CreatePartitionsTopic) -> MorePartitions {
    let assignments = asked.assignments.as_ref().map(|assignments| {
        let replicas = assignments.iter();
        let replicas = replicas.map(|one| one.broker_ids.iter().map(|id| id.0).collect());
        replicas.collect()
    });
    MorePartitions {
        name: asked.name.to_string(),
        count: asked.count,
        assignments,
    }
}
