//! DescribeLogDirs: bytes of each partition, gathered over all shards, and of the file system.
//!
//! A partition's bytes are those of its log, wherever they lie now: in the journal or in segments.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::view::{text, topic_name};
use super::{Context, Request};
use crate::cluster::image::Image;
use crate::protocol::Malformed;
use crate::protocol::reply::Reply;

/// Sizes of partitions by topic.
type Sizes = BTreeMap<String, BTreeMap<i32, u64>>;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Malformed> {
    let asked: DescribeLogDirsRequest = request.decode()?;
    let broker = &context.broker;
    let sizes = broker
        .shard
        .run_on_all(|shard| async move { shard.sizes() });
    let sizes = sizes.await.into_iter().flatten();
    let sizes = sizes.map(|size| (size.key.topic, size.key.partition, size.bytes));
    let sizes = by_topic(&broker.image(), &asked, sizes);

    let config = broker.config();
    let folder = &config.storage.log_dir;
    let result = DescribeLogDirsResult::default().with_log_dir(text(&folder.to_string_lossy()));
    let result = match broker.shard.io().free_space(folder).await {
        Ok(space) => result
            .with_topics(sizes.iter().map(tell).collect())
            .with_total_bytes(clamp(space.total))
            .with_usable_bytes(clamp(space.available)),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "cannot be described");
            result.with_error_code(ResponseError::KafkaStorageError.code())
        }
    };
    let response = DescribeLogDirsResponse::default().with_results(vec![result]);
    Ok(Reply::encode(&request.header, &response))
}

fn by_topic(
    image: &Image,
    asked: &DescribeLogDirsRequest,
    sizes: impl Iterator<Item = (uuid::Uuid, i32, u64)>,
) -> Sizes {
    let is_asked = |topic: &str, partition: i32| {
        let Some(topics) = &asked.topics else {
            return true;
        };
        let mut named = topics.iter().filter(|named| **named.topic == *topic);
        named.any(|named| named.partitions.contains(&partition))
    };
    let mut found = Sizes::new();
    for (topic, partition, bytes) in sizes {
        // The metadata log is none of the topics, and a topic may be on its way out.
        let Some(topic) = image.topics.get(topic) else {
            continue;
        };
        if is_asked(&topic.name, partition) {
            let of_topic = found.entry(topic.name.to_string()).or_default();
            of_topic.insert(partition, bytes);
        }
    }
    found
}

fn tell((name, partitions): (&String, &BTreeMap<i32, u64>)) -> DescribeLogDirsTopic {
    let partitions = partitions.iter().map(|(id, bytes)| {
        DescribeLogDirsPartition::default()
            .with_partition_index(*id)
            .with_partition_size(clamp(*bytes))
    });
    DescribeLogDirsTopic::default()
        .with_name(topic_name(name))
        .with_partitions(partitions.collect())
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
