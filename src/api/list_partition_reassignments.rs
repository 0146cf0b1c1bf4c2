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
                topics.extend(ongoing(topic, topic.partitions.keys().copied()));
                turns.step().await;
            }
        }
        Some(named) => {
            for wanted in named {
                if let Some(topic) = image.topics.by_name(&wanted.name) {
                    topics.extend(ongoing(topic, wanted.partition_indexes.iter().copied()));
                }
                turns.step().await;
            }
        }
    }
    let response = ListPartitionReassignmentsResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

fn ongoing(topic: &Topic, ids: impl Iterator<Item = i32>) -> Option<OngoingTopicReassignment> {
    let partitions = ids.filter_map(|id| Some((id, topic.partition(id)?)));
    let partitions = partitions.filter(|(_, partition)| is_ongoing(partition));
    let partitions = partitions.map(|(id, partition)| {
        OngoingPartitionReassignment::default()
            .with_partition_index(id)
            .with_replicas(broker_ids(partition.replicas.iter().copied()))
            .with_adding_replicas(broker_ids(partition.adding_replicas.iter().copied()))
            .with_removing_replicas(broker_ids(partition.removing_replicas.iter().copied()))
    });
    let partitions: Vec<_> = partitions.collect();
    (!partitions.is_empty()).then(|| {
        OngoingTopicReassignment::default()
            .with_name(topic_name(&topic.name))
            .with_partitions(partitions)
    })
}

fn is_ongoing(partition: &Partition) -> bool {
    !partition.adding_replicas.is_empty() || !partition.removing_replicas.is_empty()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;

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
        let told = ongoing(&topic, [0, 1, 9].into_iter()).expect("one is moving");
        let ids = told.partitions.iter().map(|told| told.partition_index);
        assert_eq!(ids.collect::<Vec<_>>(), [1]);
        assert_eq!(ongoing(&topic, [0].into_iter()), None);
    }
}
