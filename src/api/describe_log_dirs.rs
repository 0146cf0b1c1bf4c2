//! DescribeLogDirs: bytes of each partition, gathered over all shards, and of the file system.
//!
//! A partition's bytes are those of its log, wherever they lie now: in the journal or in segments.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use uuid::Uuid;

use super::view::{text, topic_name};
use super::{Context, Failure, Request};
use crate::cluster::image::Image;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// Sizes of partitions by topic.
type Sizes = BTreeMap<String, BTreeMap<i32, u64>>;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DescribeLogDirsRequest = request.decode()?;
    let broker = &context.broker;
    let sizes = broker
        .shard
        .run_on_all(|shard| async move { shard.partition_facts().await });
    let sizes = sizes.await.into_iter().flatten();
    let sizes = sizes.map(|size| (size.key.topic, size.key.partition, size.bytes));
    let image = broker.image();
    let mut turns = Turns::on(broker.shard.io());
    let wanted = wanted(&image, &asked, &mut turns).await;
    let sizes = by_topic(&image, wanted, sizes, &mut turns).await;

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
    Ok(Reply::encode(&request.header, &response)?)
}

/// The partitions asked for, of those that there are; `None` is all of them.
async fn wanted(
    image: &Image,
    asked: &DescribeLogDirsRequest,
    turns: &mut Turns<'_>,
) -> Option<BTreeSet<(Uuid, i32)>> {
    let mut wanted = BTreeSet::new();
    for named in asked.topics.as_ref()? {
        if let Some(topic) = image.topics.by_name(&named.topic) {
            for partition in &named.partitions {
                if topic.partition(*partition).is_some() {
                    wanted.insert((topic.id, *partition));
                }
                turns.step().await;
            }
        }
        turns.step().await;
    }
    Some(wanted)
}

async fn by_topic(
    image: &Image,
    wanted: Option<BTreeSet<(Uuid, i32)>>,
    sizes: impl Iterator<Item = (Uuid, i32, u64)>,
    turns: &mut Turns<'_>,
) -> Sizes {
    let is_wanted = |partition| {
        let wanted = wanted.as_ref();
        wanted.is_none_or(|wanted| wanted.contains(&partition))
    };
    let mut found = Sizes::new();
    for (topic, partition, bytes) in sizes {
        // The metadata log is none of the topics, and a topic may be on its way out.
        let Some(topic) = image.topics.get(topic) else {
            continue;
        };
        if is_wanted((topic.id, partition)) {
            let of_topic = found.entry(topic.name.to_string()).or_default();
            of_topic.insert(partition, bytes);
        }
        turns.step().await;
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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

    use super::*;
    use crate::api::testing::{image_of, on_a_broker};

    fn described(topics: Option<&[(&str, &[i32])]>) -> Vec<(String, Vec<i32>)> {
        let topic = |(name, partitions): &(&str, &[i32])| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions.to_vec())
        };
        let topics = topics.map(|topics| topics.iter().map(topic).collect());
        let asked = DescribeLogDirsRequest::default().with_topics(topics);
        let found = on_a_broker(image_of(&[("a", 3), ("b", 1)], &[]), async move |context| {
            let image = context.broker.image();
            let sizes = context.broker.shard.partition_facts().await.into_iter();
            let sizes = sizes.map(|size| (size.key.topic, size.key.partition, size.bytes));
            let mut turns = Turns::on(context.broker.shard.io());
            let wanted = wanted(&image, &asked, &mut turns).await;
            by_topic(&image, wanted, sizes, &mut turns).await
        });
        let found = found.into_iter();
        found
            .map(|(name, sizes)| (name, sizes.into_keys().collect()))
            .collect()
    }

    #[test]
    fn partitions_that_are_asked_for_are_told() {
        let of = |name: &str, ids: &[i32]| (name.to_owned(), ids.to_vec());
        assert_eq!(described(None), [of("a", &[0, 1, 2]), of("b", &[0])]);
        assert_eq!(described(Some(&[])), []);
        let asked: &[(&str, &[i32])] =
            &[("a", &[2, 9]), ("nobody", &[0]), ("a", &[0, 2]), ("b", &[])];
        assert_eq!(described(Some(asked)), [of("a", &[0, 2])]);
    }
}
