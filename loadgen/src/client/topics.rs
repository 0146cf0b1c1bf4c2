//! Topics: made, found, compared with what is wanted of them, changed, and deleted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, IncrementalAlterConfigsRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Backoff, Client, UNKNOWN_TOPIC, error_name, is_retriable, topic_name};

/// The last one that takes a topic's name beside its id.
const DELETE_TOPICS_VERSION: i16 = 6;
/// Partitions of a topic that are asked for at once: Kafka's controller makes no more than 10,000 records of a request.
const CREATED_AT_ONCE: i32 = 5_000;
const CREATE_PARTITIONS_VERSION: i16 = 3;
/// The newest that asks for nothing but what is used here.
const CREATE_TOPICS_VERSION: i16 = 7;
const DESCRIBE_CONFIGS_VERSION: i16 = 4;
const DESCRIBE_LOG_DIRS_VERSION: i16 = 4;
const ALTER_CONFIGS_VERSION: i16 = 1;
/// Kafka's number for a topic among the resources that have configs.
const TOPIC_RESOURCE: i8 = 2;
/// How long partitions that were created may be without a leader.
const LEADERS_MAX: Duration = Duration::from_secs(120);

impl Client {
    /// Creates a topic, or finds that it exists already, and waits until each partition has a leader. Thousands of
    /// partitions are asked for by several requests, as brokers have a limit of what one may create.
    ///
    /// # Errors
    /// At once if it exists with another number of partitions, or with other values of these configs.
    pub fn create_topic(
        &mut self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        self.create_topic_with(topic, partitions, 1, configs)
    }

    /// The same with this many replicas; -1 leaves it to the broker.
    pub fn create_topic_with(
        &mut self,
        topic: &str,
        partitions: i32,
        replication_factor: i16,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let wanted_configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let wanted = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(partitions.min(CREATED_AT_ONCE))
            .with_replication_factor(replication_factor)
            .with_configs(wanted_configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(60_000);
        let reply = self.ask(&request, CREATE_TOPICS_VERSION)?;
        let mut created = partitions.min(CREATED_AT_ONCE);
        for result in &reply.topics {
            if result.error_code == ResponseError::TopicAlreadyExists.code() {
                let found = self.metadata(&[topic.to_owned()])?;
                let found = found
                    .topics
                    .first()
                    .map_or(0, |topic| topic.partitions.len());
                ensure!(
                    // None as long as the broker that is asked has not heard of it.
                    [0, partitions as usize].contains(&found),
                    "topic {topic} exists with {found} partitions, {partitions} wanted"
                );
                if found > 0 {
                    self.compare_configs(topic, configs)?;
                }
                created = partitions;
                continue;
            }
            ensure!(
                result.error_code == 0,
                "creating topic {topic}: {} {}",
                error_name(result.error_code),
                result.error_message.as_deref().unwrap_or_default()
            );
        }
        while created < partitions {
            created = partitions.min(created + CREATED_AT_ONCE);
            self.grow_topic(topic, created)?;
        }
        self.wait_for_leaders(topic, partitions)
    }

    /// Refuses a topic one of whose configs has another value than it is to have.
    fn compare_configs(&mut self, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
        if configs.is_empty() {
            return Ok(());
        }
        let names = configs.iter().map(|(name, _)| *name);
        let names = names.map(|name| StrBytes::from_string(name.to_owned()));
        let asked = DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configuration_keys(Some(names.collect()));
        let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
        let reply = self.ask(&request, DESCRIBE_CONFIGS_VERSION)?;
        let found = reply.results.first().context("no configs in the reply")?;
        ensure!(
            found.error_code == 0,
            "configs of topic {topic}: {}",
            error_name(found.error_code)
        );
        for (name, wanted) in configs {
            let found = found.configs.iter().find(|config| *config.name == **name);
            let found = found.and_then(|config| config.value.as_deref());
            ensure!(
                found == Some(*wanted),
                "topic {topic} exists with {name}={}, {wanted} wanted",
                found.unwrap_or_default()
            );
        }
        Ok(())
    }

    fn grow_topic(&mut self, topic: &str, partitions: i32) -> Result<()> {
        let grown = CreatePartitionsTopic::default()
            .with_name(topic_name(topic))
            .with_count(partitions)
            // An empty list would be one that is too short.
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![grown])
            .with_timeout_ms(60_000);
        let mut backoff = Backoff::within(LEADERS_MAX);
        loop {
            let reply = self.ask(&request, CREATE_PARTITIONS_VERSION)?;
            let codes = reply.results.iter().map(|result| result.error_code);
            let Some(code) = codes.into_iter().find(|code| *code != 0) else {
                return Ok(());
            };
            ensure!(
                // The broker that is asked may not have heard of it yet.
                is_retriable(code) && backoff.wait(),
                "growing topic {topic} to {partitions} partitions: {}",
                error_name(code)
            );
        }
    }

    /// Waits until a topic has so many partitions, each with a leader.
    fn wait_for_leaders(&mut self, topic: &str, partitions: i32) -> Result<()> {
        let asked = [topic.to_owned()];
        let mut backoff = Backoff::within(LEADERS_MAX);
        loop {
            let reply = self.metadata(&asked)?;
            let found = reply
                .topics
                .first()
                .context("metadata without the topic that was asked for")?;
            let led = found
                .partitions
                .iter()
                .filter(|partition| partition.error_code == 0)
                .count();
            if found.error_code == 0 && led == partitions as usize {
                return Ok(());
            }
            ensure!(
                backoff.wait(),
                "topic {topic}: {led} of {partitions} partitions have a leader; {}",
                error_name(found.error_code)
            );
        }
    }

    /// Which of these topics exist.
    pub fn existing(&mut self, topics: &[String]) -> Result<Vec<String>> {
        let reply = self.metadata(topics)?;
        let there = reply
            .topics
            .iter()
            .filter(|topic| topic.error_code != UNKNOWN_TOPIC);
        let names = there.filter_map(|topic| topic.name.as_ref());
        Ok(names.map(|name| name.to_string()).collect())
    }

    pub fn delete_topic(&mut self, topic: &str) -> Result<()> {
        let state = DeleteTopicState::default().with_name(Some(topic_name(topic)));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![state])
            .with_timeout_ms(60_000);
        let reply = self.ask(&request, DELETE_TOPICS_VERSION)?;
        for result in &reply.responses {
            ensure!(
                result.error_code == 0,
                "deleting topic {topic}: {}",
                error_name(result.error_code)
            );
        }
        Ok(())
    }

    /// Gives configs of a topic new values.
    pub fn alter_topic(&mut self, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
        let altered = configs.iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configs(altered.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let reply = self.ask(&request, ALTER_CONFIGS_VERSION)?;
        for result in &reply.responses {
            ensure!(
                result.error_code == 0,
                "configs of topic {topic}: {} {}",
                error_name(result.error_code),
                result.error_message.as_deref().unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Bytes of the segments of a topic's partitions from 0 up, on the broker that is asked.
    pub fn topic_bytes(&mut self, topic: &str, partitions: i32) -> Result<u64> {
        let asked = DescribableLogDirTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions((0..partitions).collect());
        let request = DescribeLogDirsRequest::default().with_topics(Some(vec![asked]));
        let reply = self.ask(&request, DESCRIBE_LOG_DIRS_VERSION)?;
        let mut bytes = 0;
        for folder in &reply.results {
            ensure!(
                folder.error_code == 0,
                "sizes in {}: {}",
                folder.log_dir.as_str(),
                error_name(folder.error_code)
            );
            let partitions = folder.topics.iter().flat_map(|topic| &topic.partitions);
            bytes += partitions
                .map(|partition| partition.partition_size as u64)
                .sum::<u64>();
        }
        Ok(bytes)
    }
}
