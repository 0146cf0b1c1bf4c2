//! DescribeQuorum: the voters of the metadata log. A single node is a quorum of one, so it is its
//! own leader, and what it has written is what all have agreed on.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};

use super::view::{text, topic_name};
use super::{Context, Failure, Request};
use crate::broker::Broker;
use crate::cluster::driver::METADATA_NAME;
use crate::cluster::image::Image;
use crate::protocol::reply::Reply;

const METADATA_PARTITION: i32 = 0;
/// From here on voters have directories and addresses.
const TELLS_NODES: i16 = 2;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DescribeQuorumRequest = request.decode()?;
    let response = match is_metadata_log(&asked) {
        true => describe(&context.broker, request.header.api_version),
        false => unknown(&asked),
    };
    Ok(Reply::encode(&request.header, &response)?)
}

fn is_metadata_log(asked: &DescribeQuorumRequest) -> bool {
    let [topic] = asked.topics.as_slice() else {
        return false;
    };
    let [partition] = topic.partitions.as_slice() else {
        return false;
    };
    topic.topic_name.as_str() == METADATA_NAME && partition.partition_index == METADATA_PARTITION
}

fn unknown(asked: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(ResponseError::UnknownTopicOrPartition.code())
                .with_error_message(Some(text(
                    "This server does not host this topic-partition.",
                )))
        });
        TopicData::default()
            .with_topic_name(topic.topic_name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}

fn describe(broker: &Broker, version: i16) -> DescribeQuorumResponse {
    let image = broker.image();
    let node_id = BrokerId(broker.node_id());
    let log_end_offset = image.last_offset + 1;
    let now_ms = broker.shard.io().wall_ms();
    let voter = ReplicaState::default()
        .with_replica_id(node_id)
        .with_log_end_offset(log_end_offset)
        .with_last_fetch_timestamp(now_ms)
        .with_last_caught_up_timestamp(now_ms);
    let (voter, nodes) = match version >= TELLS_NODES {
        true => (
            voter.with_replica_directory_id(broker.node.directory_id),
            vec![node(&image, node_id)],
        ),
        false => (voter, Vec::new()),
    };
    let partition = PartitionData::default()
        .with_partition_index(METADATA_PARTITION)
        .with_leader_id(node_id)
        .with_leader_epoch(image.last_epoch)
        .with_high_watermark(log_end_offset)
        .with_current_voters(vec![voter]);
    let topic = TopicData::default()
        .with_topic_name(topic_name(METADATA_NAME))
        .with_partitions(vec![partition]);
    DescribeQuorumResponse::default()
        .with_topics(vec![topic])
        .with_nodes(nodes)
}

fn node(image: &Image, id: BrokerId) -> Node {
    let controller = image.controllers.get(&id.0);
    let endpoints = controller.into_iter().flat_map(|node| &node.endpoints);
    let listeners = endpoints.map(|endpoint| {
        Listener::default()
            .with_name(text(&endpoint.name))
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port)
    });
    Node::default()
        .with_node_id(id)
        .with_listeners(listeners.collect())
}
