//! The administrator of topics.

use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::journal::Durability;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest, TopicName};
use uuid::Uuid;

use super::plan::TopicPlan;
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

const TIMEOUT_MS: i32 = 5_000;
const PAUSE: Duration = Duration::from_millis(5);

/// Makes all topics.
pub async fn make_all(sim: Rc<Sim>, io: Io) {
    let mut client = sim.client(io, "admin");
    let count = sim.model.borrow().topics.len();
    for at in 0..count {
        make(&sim, &mut client, at).await;
    }
    sim.end_client();
}

async fn make(sim: &Sim, client: &mut Client, at: usize) {
    loop {
        sim.opened(client.io()).await;
        if create(sim, client, at).await.is_ok()
            && let Ok(Some((id, partitions))) = find(sim, client, at).await
        {
            sim.model.borrow_mut().note_topic(at, id, partitions);
            return;
        }
        client.io().sleep(PAUSE).await;
    }
}

fn configs(class: Durability, topic: &TopicPlan) -> Vec<CreatableTopicConfig> {
    let class = match class {
        Durability::Sync => "sync",
        Durability::Written => "written",
        Durability::Memory => "memory",
    };
    let configs = [
        ("corelog.durability", class.to_owned()),
        ("internal.segment.bytes", topic.segment_bytes.to_string()),
        ("index.interval.bytes", "500".to_owned()),
        ("file.delete.delay.ms", "10".to_owned()),
        // Its clock jumps.
        ("message.timestamp.after.max.ms", i64::MAX.to_string()),
    ];
    let config = |(name, value): (&str, String)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(&value)))
    };
    configs.into_iter().map(config).collect()
}

async fn create(sim: &Sim, client: &mut Client, at: usize) -> Result<(), Lost> {
    let (plan, class) = {
        let model = sim.model.borrow();
        (model.plan.topics[at].clone(), model.plan.class(at))
    };
    let request = |_| {
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(plan.name)))
            .with_num_partitions(plan.partitions)
            .with_replication_factor(1)
            .with_configs(configs(class, &plan));
        CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS)
    };
    let reply = client.ask(2..=7, request).await?;
    match reply.topics[0].error_code.err() {
        None | Some(ResponseError::TopicAlreadyExists) => Ok(()),
        Some(error) => panic!("CreateTopics: {error:?}"),
    }
}

/// The topic that has the name, if there is one, and how many partitions it has.
async fn find(sim: &Sim, client: &mut Client, at: usize) -> Result<Option<(Uuid, i32)>, Lost> {
    let name = sim.model.borrow().plan.topics[at].name;
    let request = |_| {
        let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
        MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false)
    };
    let reply = client.ask(10..=13, request).await?;
    let topic = &reply.topics[0];
    match topic.error_code.err() {
        None => Ok(Some((topic.topic_id, topic.partitions.len() as i32))),
        Some(ResponseError::UnknownTopicOrPartition) => Ok(None),
        Some(error) => panic!("Metadata: {error:?}"),
    }
}
