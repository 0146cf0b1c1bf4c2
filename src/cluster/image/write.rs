//! An image as records: what a snapshot holds.

use super::{ConfigResource, Image};
use crate::cluster::features;
use crate::cluster::records::{
    ConfigRecord, FeatureLevelRecord, ProducerIdsRecord, Record, TopicRecord,
};

impl Image {
    /// The records that, replayed into an empty image, make this one (but for the offset).
    /// `metadata.version` comes first, since it says how to read the others.
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let feature = |(name, level): (&String, &i16)| {
            Record::from(FeatureLevelRecord {
                name: name.clone(),
                feature_level: *level,
            })
        };
        let (first, others): (Vec<_>, Vec<_>) = self
            .features
            .iter()
            .partition(|(name, _)| *name == features::METADATA_VERSION);
        records.extend(first.into_iter().chain(others).map(feature));
        records.extend(
            self.controllers
                .values()
                .map(|node| node.to_record().into()),
        );
        records.extend(self.brokers.values().map(|node| node.to_record().into()));
        for topic in self.topics.iter() {
            records.push(Record::from(TopicRecord {
                name: topic.name.to_string(),
                topic_id: topic.id,
            }));
            for (id, partition) in &topic.partitions {
                records.push(partition.to_record(topic.id, *id).into());
            }
        }
        for (resource, properties) in &self.configs {
            let property = |(name, value): (&String, &String)| {
                config_record(resource, name, Some(value.clone())).into()
            };
            records.extend(properties.iter().map(property));
        }
        records.extend(self.security.to_records());
        if self.next_producer_id > 0 {
            records.push(Record::from(ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
            }));
        }
        records
    }
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
