//! An image as records: what a snapshot holds.

use std::sync::Arc;

use super::{ConfigResource, Image, Properties, Topic};
use crate::cluster::features;
use crate::cluster::records::{
    ConfigRecord, FeatureLevelRecord, ProducerIdsRecord, Record, TopicRecord,
};

impl Image {
    /// The records that, replayed into an empty image, make this one (but for the offset).
    /// `metadata.version` comes first, since it says how to read the others.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let is_version = |(name, _): &(&String, &i16)| *name == features::METADATA_VERSION;
        let feature = |(name, level): (&String, &i16)| {
            Record::from(FeatureLevelRecord {
                name: name.clone(),
                feature_level: *level,
            })
        };
        let version = self.features.iter().filter(is_version);
        let others = self.features.iter().filter(move |it| !is_version(it));
        let controllers = self.controllers.values();
        let producer_ids = (self.next_producer_id > 0).then(|| {
            Record::from(ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
            })
        });
        version
            .chain(others)
            .map(feature)
            .chain(controllers.map(|node| node.to_record().into()))
            .chain(self.brokers.values().map(|node| node.to_record().into()))
            .chain(self.topics.iter().flat_map(|topic| records_of(topic)))
            .chain(self.configs.iter().flat_map(properties_of))
            .chain(self.security.records())
            .chain(producer_ids)
    }
}

fn records_of(topic: &Topic) -> impl Iterator<Item = Record> {
    let made = Record::from(TopicRecord {
        name: topic.name.to_string(),
        topic_id: topic.id,
    });
    let partitions = topic.partitions.iter();
    let partitions = partitions.map(|(id, partition)| partition.to_record(topic.id, *id).into());
    std::iter::once(made).chain(partitions)
}

fn properties_of<'a>(
    (resource, properties): (&'a ConfigResource, &'a Arc<Properties>),
) -> impl Iterator<Item = Record> + 'a {
    let property = move |(name, value): (&String, &String)| {
        config_record(resource, name, Some(value.clone())).into()
    };
    properties.iter().map(property)
}

/// The record that sets a property, or removes it when there is no value.
pub fn config_record(resource: &ConfigResource, name: &str, value: Option<String>) -> ConfigRecord {
    ConfigRecord {
        resource_type: resource.kind.id(),
        resource_name: resource.name.clone(),
        name: name.to_owned(),
        value,
    }
}
