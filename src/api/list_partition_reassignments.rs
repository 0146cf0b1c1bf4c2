//! ListPartitionReassignments: the partitions whose replicas change right now.

use std::rc::Rc;

use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::view::{broker_ids, topic_name};
use super::{Context, Failure, Request};
use crate::cluster::image::{Partition, Topic};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: ListPartitionReassignmentsRequest = request.decode()?;
    let image = context.broker.image();
    let mut turns = Turns::on(context.broker.shard.io());
    let mut topics = Vec::new();
    match &asked.topics {
        None => {
            for topic in image.topics.iter() {
                let ids = topic.partitions.keys().copied();
                topics.extend(ongoing(topic, ids, &mut turns).await);
            }
        }
        Some(named) => {
            for wanted in named {
                if let Some(topic) = image.topics.by_name(&wanted.name) {
                    let ids = wanted.partition_indexes.iter().copied();
                    topics.extend(ongoing(topic, ids, &mut turns).await);
                }
                turns.step().await;
            }
        }
    }
    let response = ListPartitionReassignmentsResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

async fn ongoing(
    topic: &Topic,
    ids: impl Iterator<Item = i32>,
    turns: &mut Turns<'_>,
) -> Option<OngoingTopicReassignment> {
    let mut partitions = Vec::new();
    for id in ids {
        let partition = topic.partition(id).filter(|it| is_ongoing(it));
        partitions.extend(partition.map(|it| tell(id, it)));
        turns.step().await;
    }
    (!partitions.is_empty()).then(|| {
        OngoingTopicReassignment::default()
            .with_name(topic_name(&topic.name))
            .with_partitions(partitions)
    })
}

fn tell(id: i32, partition: &Partition) -> OngoingPartitionReassignment {
    OngoingPartitionReassignment::default()
        .with_partition_index(id)
        .with_replicas(broker_ids(partition.replicas.iter().copied()))
        .with_adding_replicas(broker_ids(partition.adding_replicas.iter().copied()))
        .with_removing_replicas(broker_ids(partition.removing_replicas.iter().copied()))
}

fn is_ongoing(partition: &Partition) -> bool {
    !partition.adding_replicas.is_empty() || !partition.removing_replicas.is_empty()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
    use uuid::Uuid;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};

    #[test]
    fn only_partitions_on_their_way_are_told() {
        let mut moving = Partition::new(vec![1, 2], vec![Uuid::nil(); 2], vec![1]);
        moving.adding_replicas = vec![2];
        let resting = Partition::new(vec![1], vec![Uuid::nil()], vec![1]);
        let topic = Topic {
            id: Uuid::from_u128(1),
            name: "t".into(),
            partitions: BTreeMap::from([(0, Arc::new(resting)), (1, Arc::new(moving))]),
        };
        on_a_broker(image_of(&[], &[]), async move |context| {
            let mut turns = Turns::on(context.broker.shard.io());
            let told = ongoing(&topic, [0, 1, 9].into_iter(), &mut turns).await;
            let told = told.expect("one is moving").partitions;
            let ids = told.iter().map(|told| told.partition_index);
            assert_eq!(ids.collect::<Vec<_>>(), [1]);
            let resting = ongoing(&topic, [0].into_iter(), &mut turns).await;
            assert_eq!(resting, None);
        });
    }

    #[test]
    fn one_topic_with_many_partitions_leaves_the_core_to_others() {
        const PARTITIONS: i32 = 500;
        on_a_broker(
            image_of(&[("large", PARTITIONS)], &[]),
            async move |context| {
                let io = context.broker.shard.io();
                let turns_of_neighbour = Rc::new(Cell::new(0));
                let (counted, neighbour) = (turns_of_neighbour.clone(), io.clone());
                let task = io.spawn("neighbour", async move {
                    loop {
                        counted.set(counted.get() + 1);
                        neighbour.yield_now().await;
                    }
                });
                let wanted = ListPartitionReassignmentsTopics::default()
                    .with_name(topic_name("large"))
                    .with_partition_indexes((0..PARTITIONS).collect());
                let body =
                    ListPartitionReassignmentsRequest::default().with_topics(Some(vec![wanted]));
                let api = (ApiKey::ListPartitionReassignments, 0);
                let told: ListPartitionReassignmentsResponse =
                    ask(&context, api, &body, handle).await;
                assert!(told.topics.is_empty());
                assert!(turns_of_neighbour.get() > 0);
                task.cancel();
            },
        );
    }
}
