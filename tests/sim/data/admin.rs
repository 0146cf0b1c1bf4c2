//! The administrator: makes topics, has them grow, changes their settings, deletes records from their fronts, moves them
//! between folders, deletes them and makes them again.
//!
//! What a request that was not answered has done is found out by asking again until there is an answer. It may still
//! arrive later where connections are cut, so what is asked for must then be harmless at any time.

use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::journal::Durability;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, IncrementalAlterConfigsRequest, MetadataRequest, TopicName,
};
use uuid::Uuid;

use super::cleanup::Cleanup;
use super::partition::Key;
use super::plan::{Feature, RETENTION_BYTES_MAX, RETENTION_MS_MAX};
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

const TIMEOUT_MS: i32 = 5_000;
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_US: u64 = 15_000;
const PARTITIONS_MAX: i32 = 5;
/// Kafka's number for topics among what has settings.
const TOPIC: i8 = 2;

/// A request was not answered, or refused for a reason that passes.
struct Again;

impl From<Lost> for Again {
    fn from(_: Lost) -> Again {
        Again
    }
}

struct Admin {
    sim: Rc<Sim>,
    client: Client,
}

/// Makes all topics; then, as long as nobody waits for calm, changes them.
pub async fn administrate(sim: Rc<Sim>, io: Io) {
    let mut admin = Admin {
        client: sim.client(io, "admin"),
        sim: sim.clone(),
    };
    for at in 0..admin.topics() {
        admin.make(at).await;
    }
    sim.is_begun.set(true);
    while !sim.is_calm.get() {
        let pause = admin.client.below(PAUSE_US);
        admin.client.io().sleep(Duration::from_micros(pause)).await;
        sim.opened(admin.client.io()).await;
        admin.change().await;
    }
    for at in 0..admin.topics() {
        if admin.id(at).is_none() {
            admin.make(at).await;
        }
    }
    admin.client.disconnect();
    sim.end_client();
}

impl Admin {
    fn topics(&self) -> usize {
        self.sim.model.borrow().topics.len()
    }

    fn id(&self, at: usize) -> Option<Uuid> {
        self.sim.model.borrow().topics[at].id
    }

    fn name(&self, at: usize) -> TopicName {
        TopicName(text(self.sim.model.borrow().plan.topics[at].name))
    }

    async fn pause(&self) {
        self.client.io().sleep(PAUSE).await;
        self.sim.opened(self.client.io()).await;
    }

    /// What a code means for the one who asked. With a bad disk anything may fail for a while.
    fn judge(&self, what: &str, code: i16, fine: &[ResponseError]) -> Result<(), Again> {
        match code.err() {
            None => Ok(()),
            Some(error) if fine.contains(&error) => Ok(()),
            Some(_) if self.sim.model.borrow().plan.has_bad_disk() => Err(Again),
            Some(error) => panic!("{what}: {error:?}"),
        }
    }

    async fn make(&mut self, at: usize) {
        loop {
            self.sim.opened(self.client.io()).await;
            if self.create(at).await.is_ok()
                && let Ok(Some((id, partitions))) = self.find(at).await
            {
                self.sim.model.borrow_mut().note_topic(at, id, partitions);
                return;
            }
            self.pause().await;
        }
    }

    async fn create(&mut self, at: usize) -> Result<(), Again> {
        let (name, configs) = (self.name(at), self.configs(at));
        let partitions = self.sim.model.borrow().plan.topics[at].partitions;
        let request = |_| {
            let topic = CreatableTopic::default()
                .with_name(name)
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(configs);
            CreateTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(TIMEOUT_MS)
        };
        let reply = self.client.ask(2..=7, request).await?;
        let code = reply.topics[0].error_code;
        self.judge("CreateTopics", code, &[ResponseError::TopicAlreadyExists])
    }

    fn configs(&self, at: usize) -> Vec<CreatableTopicConfig> {
        let model = self.sim.model.borrow();
        let plan = &model.plan;
        let mut configs = vec![
            ("corelog.durability", class_name(plan.class(at)).to_owned()),
            (
                "internal.segment.bytes",
                plan.topics[at].segment_bytes.to_string(),
            ),
            ("index.interval.bytes", "500".to_owned()),
            ("file.delete.delay.ms", "10".to_owned()),
            // Its clock jumps.
            ("message.timestamp.after.max.ms", i64::MAX.to_string()),
        ];
        configs.push(("retention.ms", limit(plan.retention_ms(at))));
        configs.push(("retention.bytes", limit(plan.retention_bytes(at))));
        if plan.is_compacted(at) {
            configs.push(("cleanup.policy", "compact".to_owned()));
        }
        if plan.has(Feature::Compaction) {
            configs.push(("min.cleanable.dirty.ratio", "0".to_owned()));
            configs.push(("delete.retention.ms", "20".to_owned()));
        }
        let config = |(name, value): (&str, String)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(&value)))
        };
        configs.into_iter().map(config).collect()
    }

    /// The topic that has the name, if there is one, and how many partitions it has.
    async fn find(&mut self, at: usize) -> Result<Option<(Uuid, i32)>, Again> {
        let name = self.name(at);
        let request = |_| {
            let topic = MetadataRequestTopic::default().with_name(Some(name));
            MetadataRequest::default()
                .with_topics(Some(vec![topic]))
                .with_allow_auto_topic_creation(false)
        };
        let reply = self.client.ask(10..=13, request).await?;
        let topic = &reply.topics[0];
        if topic.error_code.err() == Some(ResponseError::UnknownTopicOrPartition) {
            return Ok(None);
        }
        self.judge("Metadata", topic.error_code, &[])?;
        Ok(Some((topic.topic_id, topic.partitions.len() as i32)))
    }

    /// Changes something about a topic.
    async fn change(&mut self) {
        let at = self.client.below(self.topics() as u64) as usize;
        if self.id(at).is_none() {
            return self.make(at).await;
        }
        let changes = [
            Feature::Deletion,
            Feature::Growth,
            Feature::Configs,
            Feature::DeleteRecords,
            Feature::Moves,
        ];
        let change = changes[self.client.below(changes.len() as u64) as usize];
        if !self.sim.has(change) {
            return;
        }
        match change {
            Feature::Deletion => self.delete(at).await,
            Feature::Growth => self.grow(at).await,
            Feature::Configs => self.configure(at).await,
            Feature::DeleteRecords => self.delete_records(at).await,
            _ => self.move_partition(at).await,
        }
    }

    async fn delete(&mut self, at: usize) {
        self.sim.model.borrow_mut().begin_deletion(at);
        let id = self.id(at).expect("there is one");
        while self.try_delete(at, id).await.is_err() {
            self.pause().await;
        }
        self.sim.model.borrow_mut().end_deletion(at);
        let found = self.find(at).await;
        // One that was to be made before may have been made again by a request that came late.
        let is_gone = matches!(found, Ok(None) | Err(Again)) || self.may_be_late();
        assert!(is_gone, "topic {at} is there although it was deleted");
    }

    fn may_be_late(&self) -> bool {
        self.sim.model.borrow().plan.has_late_requests()
    }

    async fn try_delete(&mut self, at: usize, id: Uuid) -> Result<(), Again> {
        let name = self.name(at);
        // By name the next topic could be meant.
        let is_by_id = self.may_be_late() || self.client.below(2) == 0;
        let versions = if is_by_id { 6..=6 } else { 1..=6 };
        let request = |version: i16| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
            let topic = DeleteTopicState::default();
            match version {
                _ if is_by_id => request.with_topics(vec![topic.with_topic_id(id)]),
                6.. => request.with_topics(vec![topic.with_name(Some(name))]),
                _ => request.with_topic_names(vec![name]),
            }
        };
        let reply = self.client.ask(versions, request).await?;
        let fine = [
            ResponseError::UnknownTopicOrPartition,
            ResponseError::UnknownTopicId,
        ];
        self.judge("DeleteTopics", reply.responses[0].error_code, &fine)
    }

    async fn grow(&mut self, at: usize) {
        let id = self.id(at).expect("there is one");
        let partitions = self.sim.model.borrow().topics[at].partitions + 1;
        if partitions > PARTITIONS_MAX {
            return;
        }
        while self.try_grow(at, partitions).await.is_err() {
            self.pause().await;
        }
        self.sim.model.borrow_mut().note_topic(at, id, partitions);
    }

    async fn try_grow(&mut self, at: usize, partitions: i32) -> Result<(), Again> {
        let name = self.name(at);
        let request = |_| {
            let topic = CreatePartitionsTopic::default()
                .with_name(name)
                .with_count(partitions)
                .with_assignments(None);
            CreatePartitionsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(TIMEOUT_MS)
        };
        let reply = self.client.ask(0..=3, request).await?;
        // It may have grown so far, or further, by a request that came late.
        let fine = [ResponseError::InvalidPartitions];
        self.judge("CreatePartitions", reply.results[0].error_code, &fine)
    }

    async fn configure(&mut self, at: usize) {
        let codecs = ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];
        let (name, value) = match self.client.below(7) {
            0 => {
                let codec = codecs[self.client.below(codecs.len() as u64) as usize];
                ("compression.type", codec.to_owned())
            }
            1 if self.sim.has(Feature::Written) || self.sim.has(Feature::Memory) => {
                let class = match self.sim.has(Feature::Memory) {
                    true => Durability::Memory,
                    false => Durability::Written,
                };
                self.sim.model.borrow_mut().weaken(at, class);
                ("corelog.durability", class_name(class).to_owned())
            }
            1 => ("corelog.durability", "sync".to_owned()),
            2 if self.sim.has(Feature::Retention) => {
                let bytes = self.some_or_none(RETENTION_BYTES_MAX);
                self.loosen(
                    at,
                    Cleanup {
                        retention_bytes: bytes,
                        ..Cleanup::default()
                    },
                );
                ("retention.bytes", limit(bytes))
            }
            3 if self.sim.has(Feature::Retention) => {
                let ms = self.some_or_none(RETENTION_MS_MAX as u64);
                let ms = ms.map(|ms| 1 + ms as i64);
                self.loosen(
                    at,
                    Cleanup {
                        retention_ms: ms,
                        ..Cleanup::default()
                    },
                );
                ("retention.ms", limit(ms))
            }
            4 if self.sim.has(Feature::Compaction) => {
                let policies = ["delete", "compact", "compact,delete"];
                let policy = policies[self.client.below(policies.len() as u64) as usize];
                self.loosen(
                    at,
                    Cleanup {
                        is_compacted: policy != "delete",
                        is_deleted: policy != "compact",
                        ..Cleanup::default()
                    },
                );
                ("cleanup.policy", policy.to_owned())
            }
            _ => {
                let bytes = 3_000 + self.client.below(20_000);
                ("internal.segment.bytes", bytes.to_string())
            }
        };
        while self.try_configure(at, name, &value).await.is_err() {
            self.pause().await;
        }
    }

    fn loosen(&self, at: usize, cleanup: Cleanup) {
        self.sim.model.borrow_mut().loosen(at, &cleanup);
    }

    fn some_or_none(&self, below: u64) -> Option<u64> {
        (self.client.below(2) == 0).then(|| self.client.below(below))
    }

    async fn try_configure(&mut self, at: usize, name: &str, value: &str) -> Result<(), Again> {
        let topic = self.name(at);
        let request = |_| {
            let config = AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(0)
                .with_value(Some(text(value)));
            let resource = AlterConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(topic.0)
                .with_configs(vec![config]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
        };
        let reply = self.client.ask(0..=1, request).await?;
        self.judge(
            "IncrementalAlterConfigs",
            reply.responses[0].error_code,
            &[],
        )
    }

    /// A partition of a topic, any.
    fn key(&self, at: usize) -> Key {
        let partitions = self.sim.model.borrow().topics[at].partitions;
        Key {
            topic: self.id(at).expect("there is one"),
            index: self.client.below(partitions as u64) as i32,
        }
    }

    async fn delete_records(&mut self, at: usize) {
        if !self.sim.model.borrow().topics[at].cleanup.is_deleted {
            // Refused, as in Kafka.
            return;
        }
        let key = self.key(at);
        let offset = {
            let mut model = self.sim.model.borrow_mut();
            let floor = model.floor(key);
            let span = (floor.end - floor.start).max(0) as u64;
            let offset = floor.start + self.client.below(span + 1) as i64;
            let partition = model.partition(key);
            partition.start_asked = partition.start_asked.max(offset);
            offset
        };
        // What is lost in a crash cannot be deleted any more: it is tried once.
        let Ok(start) = self.try_delete_records(at, key.index, offset).await else {
            return;
        };
        assert!(
            start >= offset,
            "{key:?} starts at {start}, not at {offset}"
        );
        let mut model = self.sim.model.borrow_mut();
        model.partition(key).promise_start(start);
    }

    async fn try_delete_records(
        &mut self,
        at: usize,
        index: i32,
        offset: i64,
    ) -> Result<i64, Again> {
        let name = self.name(at);
        let run = self.sim.model.borrow().run;
        let request = |_| {
            let partition = DeleteRecordsPartition::default()
                .with_partition_index(index)
                .with_offset(offset);
            let topic = DeleteRecordsTopic::default()
                .with_name(name)
                .with_partitions(vec![partition]);
            DeleteRecordsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(TIMEOUT_MS)
        };
        let reply = self.client.ask(0..=2, request).await?;
        let result = &reply.topics[0].partitions[0];
        if run != self.sim.model.borrow().run {
            return Err(Again);
        }
        let cleanup = self.sim.model.borrow().topics[at].cleanup;
        if result.error_code.err() == Some(ResponseError::PolicyViolation) && cleanup.is_compacted {
            return Err(Again);
        }
        // Retention may have taken it before.
        if result.error_code.err() == Some(ResponseError::OffsetOutOfRange)
            && self.sim.has(Feature::Retention)
        {
            return Err(Again);
        }
        self.judge("DeleteRecords", result.error_code, &[])?;
        Ok(result.low_watermark)
    }

    async fn move_partition(&mut self, at: usize) {
        let key = self.key(at);
        let name = self.name(at);
        let folders = &self.sim.folders;
        let path = folders[self.client.below(folders.len() as u64) as usize].clone();
        let request = |_| {
            let topic = AlterReplicaLogDirTopic::default()
                .with_name(name)
                .with_partitions(vec![key.index]);
            let dir = AlterReplicaLogDir::default()
                .with_path(text(&path))
                .with_topics(vec![topic]);
            AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])
        };
        if let Ok(reply) = self.client.ask(1..=2, request).await {
            let code = reply.results[0].partitions[0].error_code;
            let _ = self.judge("AlterReplicaLogDirs", code, &[]);
        }
    }
}

/// How a limit is written.
fn limit(limit: Option<impl ToString>) -> String {
    limit.map_or("-1".to_owned(), |limit| limit.to_string())
}

fn class_name(class: Durability) -> &'static str {
    match class {
        Durability::Sync => "sync",
        Durability::Written => "written",
        Durability::Memory => "memory",
    }
}
