//! A broker with its controller and one topic in a simulated world, asked as clients ask.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Faults, World};
use corelog_shards::log::batch::compress::Codec;
use corelog_shards::log::batch::{BatchBuilder, BatchIter, Records};
use corelog_shards::log::segment_name::{FileKind, SegmentFile};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::PartitionFacts;
use corelog_shards::shard::message::ReadSpec;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::AlterConfigsResource;
use crate::api::testing::{ask, context, request};
use crate::api::{Answer, Context, create_topics, describe_configs, produce};
use crate::broker::testing::{broker, lead};
use crate::protocol::testing::reply_body;

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
const DELETE: i8 = 1;
const FOLDER: &str = "/data";
const NAME: &str = "t";
/// More than a pass of compaction waits for, and files take to be written.
pub const A_WHILE: Duration = Duration::from_secs(30);

pub struct Subject {
    pub context: Rc<Context>,
}

/// What a record was stored as.
pub struct Stored {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Has `test` a broker with an empty topic of one partition.
pub fn with_topic<F: Future<Output = ()> + 'static>(test: impl FnOnce(Subject) -> F + 'static) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let folder = Path::new(FOLDER);
        let broker = broker(&io, folder).await;
        let driver = lead(&broker, folder).await;
        broker.install(driver.image()).await;
        let subject = Subject {
            context: context(broker),
        };
        subject.create_topic().await;
        test(subject).await;
    });
}

impl Subject {
    async fn create_topic(&self) {
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(NAME)))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let body = CreateTopicsRequest::default().with_topics(vec![topic]);
        let api = (ApiKey::CreateTopics, 5);
        let created: CreateTopicsResponse =
            ask(&self.context, api, &body, create_topics::handle).await;
        assert_eq!(created.topics[0].error_code, 0);
    }

    /// Sets properties of a resource; the code and the text of the answer.
    pub async fn alter(
        &self,
        resource: (i8, &str),
        changes: &[(&str, &str)],
    ) -> (i16, Option<String>) {
        let change = |(name, value): &(&str, &str)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        };
        self.ask_for(resource, changes.iter().map(change).collect())
            .await
    }

    /// Has a property of a resource be what it is by default.
    pub async fn remove(&self, resource: (i8, &str), name: &str) {
        let change = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(DELETE)
            .with_value(None);
        assert_eq!(self.ask_for(resource, vec![change]).await.0, 0, "{name}");
    }

    async fn ask_for(
        &self,
        (kind, name): (i8, &str),
        changes: Vec<AlterableConfig>,
    ) -> (i16, Option<String>) {
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(changes);
        let body = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let api = (ApiKey::IncrementalAlterConfigs, 0);
        let answer: IncrementalAlterConfigsResponse =
            ask(&self.context, api, &body, super::super::handle).await;
        let answer = &answer.responses[0];
        let why = answer.error_message.as_ref().map(ToString::to_string);
        (answer.error_code, why)
    }

    /// Sets properties of the topic.
    pub async fn set(&self, changes: &[(&str, &str)]) {
        let altered = self.alter((TOPIC, NAME), changes).await;
        assert_eq!(altered.0, 0, "{changes:?}: {:?}", altered.1);
    }

    /// The text with which a value of a property of the topic is refused.
    pub async fn refusal(&self, name: &str, value: &str) -> String {
        let (code, why) = self.alter((TOPIC, NAME), &[(name, value)]).await;
        assert_eq!(code, 40, "{name}={value}");
        why.expect("a text")
    }

    pub async fn described(&self, name: &str) -> DescribeConfigsResourceResult {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(NAME))
            .with_configuration_keys(Some(vec![text(name)]));
        let body = DescribeConfigsRequest::default()
            .with_include_documentation(true)
            .with_resources(vec![resource]);
        let api = (ApiKey::DescribeConfigs, 4);
        let mut told: DescribeConfigsResponse =
            ask(&self.context, api, &body, describe_configs::handle).await;
        let mut configs = told.results.remove(0).configs;
        assert_eq!(configs.len(), 1, "{name}");
        configs.remove(0)
    }

    /// Sends a batch with acks=all.
    pub async fn send(&self, batch: BatchBuilder) -> PartitionProduceResponse {
        let batch = batch.finish().expect("whole");
        let data = PartitionProduceData::default()
            .with_index(0)
            .with_records(Some(batch.into()));
        let topic = TopicProduceData::default()
            .with_name(TopicName(text(NAME)))
            .with_partition_data(vec![data]);
        let body = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![topic]);
        let request = request((ApiKey::Produce, 9), &body);
        let header = request.header.clone();
        let begun = produce::begin(self.context.clone(), request).await;
        let Answer::Reply(reply, _) = begun.expect("it can be read").await else {
            panic!("no reply");
        };
        let mut body = reply_body(&header, &reply);
        let mut answer = ProduceResponse::decode(&mut body, 9).expect("a valid reply");
        answer.responses.remove(0).partition_responses.remove(0)
    }

    /// Sends one record, which must be taken.
    pub async fn put(&self, timestamp: i64, key: &[u8], value: Option<&[u8]>) {
        assert_eq!(self.try_put(timestamp, key, value).await, 0);
    }

    /// The code of the answer to one record.
    pub async fn try_put(&self, timestamp: i64, key: &[u8], value: Option<&[u8]>) -> i16 {
        let mut batch = BatchBuilder::uncompressed();
        let appended = batch.append(timestamp, Some(key), value);
        appended.expect("it has room");
        self.send(batch).await.error_code
    }

    /// Sends so many records of so many bytes, one in a batch, as of now.
    pub async fn fill(&self, records: usize, bytes: usize) {
        let value = vec![7; bytes];
        for _ in 0..records {
            self.put(self.now_ms(), b"k", Some(&value)).await;
        }
    }

    pub fn now_ms(&self) -> i64 {
        self.context.broker.shard.io().wall_ms()
    }

    pub async fn wait(&self, duration: Duration) {
        self.context.broker.shard.io().sleep(duration).await;
    }

    fn key(&self) -> PartitionKey {
        let image = self.context.broker.image();
        let topic = image.topics.by_name(NAME).expect("the topic").id;
        PartitionKey {
            topic,
            partition: 0,
        }
    }

    pub async fn facts(&self) -> PartitionFacts {
        let facts = self.context.broker.shard.partition_facts().await;
        let key = self.key();
        let found = facts.into_iter().find(|facts| facts.key == key);
        found.expect("the partition")
    }

    /// Where the log starts once what is too old or too much was looked for.
    pub async fn start_after_a_check(&self) -> i64 {
        self.context.broker.shard.enforce_retention().await;
        self.facts().await.start_offset
    }

    /// The log's bytes from the offset on.
    pub async fn bytes_from(&self, offset: i64) -> Vec<u8> {
        let (mut all, mut next) = (Vec::new(), offset);
        loop {
            let spec = ReadSpec {
                key: self.key(),
                offset: next,
                bytes_max: 1 << 20,
                at_least_one: true,
                current_leader_epoch: None,
                last_fetched_epoch: None,
                committed: false,
            };
            let read = self.context.broker.shard.read(&[spec]).await.remove(0);
            let bytes = read.expect("a log").batches.concat();
            let last = BatchIter::new(&bytes).last();
            let Some(last) = last else {
                return all;
            };
            next = last.expect("a sound batch").next_offset();
            all.extend(bytes);
        }
    }

    /// All records of the log.
    pub async fn stored(&self) -> Vec<Stored> {
        let bytes = self.bytes_from(self.facts().await.start_offset).await;
        let mut stored = Vec::new();
        for batch in BatchIter::new(&bytes) {
            let mut records = Records::new(batch.expect("a sound batch")).expect("records");
            while let Some(record) = records.next().expect("a sound record") {
                stored.push(Stored {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                });
            }
        }
        stored
    }

    /// Offsets of the records of the log.
    pub async fn offsets(&self) -> Vec<i64> {
        let stored = self.stored().await;
        stored.iter().map(|record| record.offset).collect()
    }

    /// The files of segments in the partition's folder, with their lengths.
    pub async fn files(&self) -> Vec<(SegmentFile, u64)> {
        let io = self.context.broker.shard.io();
        let dir = Path::new(FOLDER).join(format!("{NAME}-0"));
        let entries = io.list_dir(&dir).await.unwrap_or_default().into_iter();
        let files = entries.filter_map(|entry| Some((SegmentFile::parse(&entry.name)?, entry.len)));
        files.collect()
    }

    /// The length of a segment's file.
    pub async fn file_bytes(&self, base_offset: i64, kind: FileKind) -> Option<u64> {
        let wanted = SegmentFile::new(base_offset, kind);
        let files = self.files().await;
        let found = files.into_iter().find(|(file, _)| *file == wanted);
        found.map(|(_, bytes)| bytes)
    }

    /// Bytes of a batch of words as it is stored.
    pub async fn stored_bytes_of_words(&self) -> usize {
        let mut batch = BatchBuilder::new(Codec::None).expect("no codec");
        let mut words = String::new();
        for number in 0..4_000_u32 {
            words += &format!("{} ", number.wrapping_mul(2_654_435_761) >> 20);
        }
        let appended = batch.append(self.now_ms(), Some(b"k"), Some(words.as_bytes()));
        appended.expect("it has room");
        let sent = self.send(batch).await;
        assert_eq!(sent.error_code, 0);
        self.bytes_from(sent.base_offset).await.len()
    }
}
