//! CreateTopics: a thin way to the controller, which decides.
//!
//! The reply leaves when every shard knows the topics, so `timeout_ms` never runs out.

use std::rc::Rc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::view::{text, topic_name};
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::cluster::controller::{
    CreateTopics, CreateTopicsReply, CreatedTopic, NewTopic, create_topics,
};
use crate::cluster::image::Properties;
use crate::config::{Overrides, describe_topic};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// From here on the reply tells what the topic came out as.
const TELLS_CONFIGS: i16 = 5;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let asked: CreateTopicsRequest = request.decode()?;
    let names: Vec<String> = asked
        .topics
        .iter()
        .map(|topic| topic.name.to_string())
        .collect();
    let wanted = CreateTopics {
        topics: asked.topics.into_iter().map(new_topic).collect(),
        validate_only: asked.validate_only,
    };
    let broker = &context.broker;
    let topics = match broker
        .control(move |context| create_topics(context, &wanted))
        .await
    {
        Ok(results) => tell_all(broker, version, results).await,
        Err(failure) => {
            let (code, message) = errors::not_carried_out(failure);
            let failed = names.iter().map(|name| {
                CreatableTopicResult::default()
                    .with_name(topic_name(name))
                    .with_error_code(code)
                    .with_error_message(message.clone())
            });
            failed.collect()
        }
    };
    let response = CreateTopicsResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

fn new_topic(asked: CreatableTopic) -> NewTopic {
    let assignments = asked.assignments.iter().map(|assignment| {
        let replicas = assignment.broker_ids.iter().map(|id| id.0);
        (assignment.partition_index, replicas.collect())
    });
    let configs = asked.configs.iter().map(|config| {
        let value = config.value.as_ref().map(ToString::to_string);
        (config.name.to_string(), value)
    });
    NewTopic {
        name: asked.name.to_string(),
        partitions: asked.num_partitions,
        replication_factor: asked.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

async fn tell_all(
    broker: &Broker,
    version: i16,
    results: CreateTopicsReply,
) -> Vec<CreatableTopicResult> {
    let mut turns = Turns::on(broker.shard.io());
    let mut topics = Vec::with_capacity(results.len());
    for (name, result) in results {
        let topic = CreatableTopicResult::default()
            .with_name(topic_name(&name))
            .with_error_message(None);
        topics.push(match result {
            Ok(created) if version >= TELLS_CONFIGS => tell(broker, topic, &created),
            Ok(created) => topic.with_topic_id(created.id),
            Err(error) => {
                let (code, message) = errors::refusal(error);
                topic.with_error_code(code).with_error_message(message)
            }
        });
        turns.step().await;
    }
    topics
}

fn tell(
    broker: &Broker,
    topic: CreatableTopicResult,
    created: &CreatedTopic,
) -> CreatableTopicResult {
    topic
        .with_topic_id(created.id)
        .with_num_partitions(created.partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs(broker, &created.configs)))
}

/// Everything in effect for a topic that sets `own`, by name.
fn configs(broker: &Broker, own: &Properties) -> Vec<CreatableTopicConfigs> {
    let (image, nothing) = (broker.image(), Overrides::new());
    let mut described = describe_topic(broker.layers(&image, &nothing), own);
    described.sort_by(|a, b| a.name.cmp(&b.name));
    let configs = described.into_iter().map(|described| {
        CreatableTopicConfigs::default()
            .with_name(text(&described.name))
            .with_value(described.value.as_deref().map(text))
            .with_read_only(described.read_only)
            .with_config_source(described.source.wire_id())
            .with_is_sensitive(described.sensitive)
    });
    configs.collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use uuid::Uuid;

    use super::*;
    use crate::api::testing::{image_of, on_a_broker};

    #[test]
    fn very_many_topics_are_told_of_in_turns() {
        on_a_broker(image_of(&[], &[]), async |context| {
            let created = |n: u128| CreatedTopic {
                id: Uuid::from_u128(n),
                partitions: 1,
                replication_factor: 1,
                configs: Properties::new(),
            };
            let results = (0..200).map(|n| (format!("t{n}"), Ok(created(n))));
            let (results, io) = (results.collect(), context.broker.shard.io());
            let turns = Rc::new(Cell::new(0));
            let (counted, neighbour) = (Rc::clone(&turns), io.clone());
            let task = io.spawn("neighbour", async move {
                loop {
                    counted.set(counted.get() + 1);
                    neighbour.yield_now().await;
                }
            });
            let told = tell_all(&context.broker, TELLS_CONFIGS, results).await;
            task.cancel();
            assert!(turns.get() > 2, "{} turns", turns.get());
            assert_eq!(told.len(), 200);
            let has_configs = |topic: &CreatableTopicResult| topic.configs.is_some();
            assert!(told.iter().all(has_configs));
        });
    }
}
