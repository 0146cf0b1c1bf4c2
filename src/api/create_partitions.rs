//! CreatePartitions: a thin way to the controller, which decides.

use std::rc::Rc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};

use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::cluster::controller::{
    CreatePartitions, MorePartitions, check_count, create_partitions,
};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: CreatePartitionsRequest = request.decode()?;
    let results = match check_count(asked.topics.len()) {
        Ok(()) => create(&context, asked).await,
        Err(error) => {
            let (code, message) = errors::refusal(error);
            let mut turns = Turns::on(context.broker.shard.io());
            let mut results = Vec::with_capacity(asked.topics.len());
            for topic in asked.topics {
                results.push(outcome_of(topic.name, code).with_error_message(message.clone()));
                turns.step().await;
            }
            results
        }
    };
    let response = CreatePartitionsResponse::default().with_results(results);
    Ok(Reply::encode(&request.header, &response)?)
}

async fn create(
    context: &Context,
    asked: CreatePartitionsRequest,
) -> Vec<CreatePartitionsTopicResult> {
    let wanted = CreatePartitions {
        topics: asked.topics.iter().map(more_partitions).collect(),
        validate_only: asked.validate_only,
    };
    let outcome = context
        .broker
        .control(move |context| create_partitions(context, &wanted))
        .await;
    match outcome {
        Ok(results) => results
            .into_iter()
            .map(|(name, result)| {
                let (code, message) = errors::outcome(result);
                outcome_of(topic_name(&name), code).with_error_message(message)
            })
            .collect(),
        Err(failure) => {
            let (code, message) = errors::not_carried_out(failure);
            let failed = |name| outcome_of(name, code).with_error_message(message.clone());
            asked
                .topics
                .into_iter()
                .map(|topic| failed(topic.name))
                .collect()
        }
    }
}

fn outcome_of(name: TopicName, code: i16) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult::default()
        .with_name(name)
        .with_error_code(code)
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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};

    #[test]
    fn more_topics_than_can_grow_at_once_are_refused_without_a_look() {
        on_a_broker(image_of(&[("t", 1)], &[]), async move |context| {
            let topic = CreatePartitionsTopic::default()
                .with_name(topic_name("t"))
                .with_count(2);
            let body = CreatePartitionsRequest::default().with_topics(vec![topic; 10_001]);
            let request = (ApiKey::CreatePartitions, 1);
            let reply: CreatePartitionsResponse = ask(&context, request, &body, handle).await;
            assert_eq!(reply.results.len(), 10_001);
            let policy_violation = |result: &CreatePartitionsTopicResult| result.error_code == 44;
            assert!(reply.results.iter().all(policy_violation));
        });
    }
}
