//! DescribeLogDirs: bytes of each partition in each data folder, gathered over all shards, and of the
//! file systems.
//!
//! A partition's bytes are those of its log, wherever they lie now: in the journal or in segments. One
//! that is being moved is in two folders, in the new one as its future.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use corelog_shards::shard::{FolderFacts, PartitionFacts};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use uuid::Uuid;

use super::view::{text, topic_name};
use super::{Context, Failure, Request};
use crate::broker::Broker;
use crate::cluster::features::MetadataVersion;
use crate::cluster::image::Image;
use crate::lines;
use crate::protocol::reply::Reply;
use crate::protocol::{bounded, log_dirs};
use crate::turns::Turns;

/// Partitions of each folder, by topic.
type Contents = BTreeMap<Uuid, BTreeMap<String, Vec<DescribeLogDirsPartition>>>;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    // The version with an answer of its own asks like the one before.
    let version = request.header.api_version.min(log_dirs::CORDONED - 1);
    let asked: DescribeLogDirsRequest = bounded::decode(&request.body, version)?;
    let broker = &context.broker;
    let facts = broker
        .shard
        .run_on_all(|shard| async move { shard.partition_facts().await });
    let facts = facts.await.into_iter().flatten();
    let image = broker.image();
    let mut turns = Turns::on(broker.shard.io());
    let wanted = wanted(&image, &asked, &mut turns).await;
    let mut contents = by_folder(&image, wanted, facts, &mut turns).await;

    let folders = broker.partition_folders();
    let mut results = Vec::with_capacity(folders.len());
    for folder in &folders {
        let topics = contents.remove(&folder.id).unwrap_or_default();
        results.push(describe(broker, folder, topics).await);
    }
    let cordoned = cordoned(broker, &image, &folders);
    let response = DescribeLogDirsResponse::default().with_results(results);
    Ok(log_dirs::encode(&request.header, &response, &cordoned)?)
}

/// Which of the folders are told to be cordoned: none before all nodes know of it.
fn cordoned(broker: &Broker, image: &Image, folders: &[FolderFacts]) -> Vec<bool> {
    let is_known = image.metadata_version() >= MetadataVersion::CORDONED_DIRECTORIES;
    let cordoned = broker.cordoned_folders();
    let is_cordoned =
        |folder: &FolderFacts| is_known && !folder.is_offline && cordoned.contains(&folder.id);
    folders.iter().map(is_cordoned).collect()
}

async fn describe(
    broker: &Broker,
    folder: &FolderFacts,
    topics: BTreeMap<String, Vec<DescribeLogDirsPartition>>,
) -> DescribeLogDirsResult {
    let path = &folder.path;
    let result = DescribeLogDirsResult::default().with_log_dir(text(&path.to_string_lossy()));
    let failed = || {
        let code = ResponseError::KafkaStorageError.code();
        result.clone().with_error_code(code)
    };
    if folder.is_offline {
        return failed();
    }
    match broker.shard.io().free_space(path).await {
        Ok(space) => {
            let topics = topics.into_iter().map(|(name, partitions)| {
                DescribeLogDirsTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions)
            });
            result
                .clone()
                .with_topics(topics.collect())
                .with_total_bytes(clamp(space.total))
                .with_usable_bytes(clamp(space.available))
        }
        Err(error) => {
            let now = broker.shard.io().now();
            lines::say!(broker.lines, now, warn, folder = %path.display(), %error, "cannot be described");
            failed()
        }
    }
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

async fn by_folder(
    image: &Image,
    wanted: Option<BTreeSet<(Uuid, i32)>>,
    facts: impl Iterator<Item = PartitionFacts>,
    turns: &mut Turns<'_>,
) -> Contents {
    let mut found = Contents::new();
    for facts in facts {
        let partition = (facts.key.topic, facts.key.partition);
        // The metadata log is none of the topics, and a topic may be on its way out.
        let topic = image.topics.get(partition.0);
        let is_wanted = wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&partition));
        if let Some(topic) = topic.filter(|_| is_wanted && !facts.is_offline) {
            let mut tell = |folder, described| {
                let topics = found.entry(folder).or_default();
                let of_topic = topics.entry(topic.name.to_string()).or_default();
                of_topic.push(described);
            };
            let described = DescribeLogDirsPartition::default().with_partition_index(partition.1);
            tell(
                facts.folder,
                described.clone().with_partition_size(clamp(facts.bytes)),
            );
            if let Some(future) = &facts.future {
                let described = described
                    .with_partition_size(clamp(future.bytes))
                    .with_offset_lag(future.offset_lag)
                    .with_is_future_key(true);
                tell(future.folder, described);
            }
        }
        turns.step().await;
    }
    found
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use corelog_shards::io::sim::{Faults, World};
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};
    use crate::broker::testing::broker_with;
    use crate::cluster::features::METADATA_VERSION;

    fn described(topics: Option<&[(&str, &[i32])]>) -> Vec<(String, Vec<i32>)> {
        let topic = |(name, partitions): &(&str, &[i32])| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions.to_vec())
        };
        let topics = topics.map(|topics| topics.iter().map(topic).collect());
        let asked = DescribeLogDirsRequest::default().with_topics(topics);
        let response = on_a_broker(image_of(&[("a", 3), ("b", 1)], &[]), async move |context| {
            let api = (ApiKey::DescribeLogDirs, 4);
            ask::<DescribeLogDirsResponse, _>(&context, api, &asked, handle).await
        });
        let [folder] = response.results.as_slice() else {
            panic!("{response:?}");
        };
        assert_eq!((folder.error_code, &*folder.log_dir), (0, "/data"));
        assert!(folder.usable_bytes <= folder.total_bytes);
        let topics = folder.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter();
            let mut ids: Vec<i32> = partitions.map(|told| told.partition_index).collect();
            ids.sort();
            (topic.name.to_string(), ids)
        });
        topics.collect()
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

    #[test]
    fn folders_are_told_to_be_cordoned_once_all_nodes_know_of_it() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let properties = [("log.dirs", "/data"), ("cordoned.log.dirs", "/data")];
            let broker = broker_with(&io, Path::new("/data"), &properties).await;
            let folders = broker.partition_folders();
            let mut image = image_of(&[], &[]);
            for (level, told) in [(29, false), (30, true)] {
                image.features.insert(METADATA_VERSION.to_owned(), level);
                assert_eq!(cordoned(&broker, &image, &folders), [told], "level {level}");
            }
        });
    }
}
