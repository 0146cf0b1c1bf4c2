//! Where the partitions of a broker with several folders are.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use corelog_loadgen::client::{Client, topic_name};
use kafka_protocol::messages::{DescribeLogDirsRequest, MetadataRequest, metadata_request};

use crate::ledger::Place;

/// The last version that the codecs have of each.
const DESCRIBE_VERSION: i16 = 4;
const METADATA_VERSION: i16 = 12;

/// What DescribeLogDirs tells of a folder.
pub struct Told {
    pub error: i16,
    /// Those that are there; one that is being moved is where it comes from.
    pub places: Vec<Place>,
}

/// By path.
pub fn describe(client: &mut Client) -> Result<BTreeMap<String, Told>> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let reply = client.call(&request, DESCRIBE_VERSION)?;
    let folders = reply.results.into_iter().map(|folder| {
        let places = folder.topics.iter().flat_map(|topic| {
            let current = topic.partitions.iter().filter(|p| !p.is_future_key);
            current.map(|partition| Place {
                topic: topic.name.to_string(),
                partition: partition.partition_index,
            })
        });
        let told = Told {
            error: folder.error_code,
            places: places.collect(),
        };
        (folder.log_dir.to_string(), told)
    });
    Ok(folders.collect())
}

/// The partitions in a folder.
pub fn places_in(client: &mut Client, folder: &Path) -> Vec<Place> {
    let folder = std::path::absolute(folder).expect("a path");
    let mut folders = describe(client).expect("a reply");
    let told = folders.remove(folder.to_str().expect("UTF-8"));
    let mut places = told.expect("a folder of the broker").places;
    places.sort();
    places
}

/// The leader of each partition of a topic, and the error that stands with it.
pub fn leaders(client: &mut Client, topic: &str) -> Vec<(i32, i16)> {
    let named =
        metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![named]));
    let reply = client.call(&request, METADATA_VERSION).expect("a reply");
    let mut partitions = reply.topics[0].partitions.clone();
    partitions.sort_by_key(|partition| partition.partition_index);
    let leaders = partitions.iter();
    leaders.map(|p| (p.leader_id.0, p.error_code)).collect()
}
