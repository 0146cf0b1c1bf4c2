use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsResponse, ListOffsetsRequest,
    ListOffsetsResponse,
};

use super::*;

/// The newest versions whose headers have no tags, as this broker serves them.
const SERVED: [(ApiKey, i16); 7] = [
    (ApiKey::ApiVersions, 2),
    (ApiKey::Metadata, 8),
    (ApiKey::CreateTopics, 4),
    (ApiKey::CreatePartitions, 1),
    (ApiKey::DescribeConfigs, 3),
    (ApiKey::Produce, 8),
    (ApiKey::ListOffsets, 5),
];

/// Serves one connection: `answer` appends the body of a reply, but for ApiVersions.
fn serve(
    listener: TcpListener,
    mut answer: impl FnMut(ApiKey, i16, Bytes, &mut BytesMut) -> Result<()> + Send + 'static,
) {
    thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request)?;
            let mut body = BytesMut::from(&request[4..8]);
            let mut request = Bytes::from(request);
            let key = i16::from_be_bytes([request[0], request[1]]);
            let version = i16::from_be_bytes([request[2], request[3]]);
            let key = ApiKey::try_from(key).expect("it is known");
            RequestHeader::decode(&mut request, key.request_header_version(version))?;
            if key == ApiKey::ApiVersions {
                let served = SERVED.map(|(key, newest)| {
                    ApiVersion::default()
                        .with_api_key(key as i16)
                        .with_max_version(newest)
                });
                let reply = ApiVersionsResponse::default().with_api_keys(served.to_vec());
                reply.encode(&mut body, version)?;
            } else {
                answer(key, version, request, &mut body)?;
            }
            stream.write_all(&(body.len() as u32).to_be_bytes())?;
            stream.write_all(&body)?;
        }
    });
}

/// Tells to how many partitions its topic is created and grown. A topic `kept` is there already, and keeps its records
/// for a minute.
fn broker() -> (SocketAddr, Receiver<i32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, partitions) = channel();
    let mut count = 0;
    serve(listener, move |key, version, mut request, body| match key {
        ApiKey::CreateTopics => {
            let asked = CreateTopicsRequest::decode(&mut request, version)?;
            count = asked.topics[0].num_partitions;
            told.send(count)?;
            let code = match asked.topics[0].name.as_str() {
                "kept" => ResponseError::TopicAlreadyExists.code(),
                _ => 0,
            };
            let topic = CreatableTopicResult::default().with_error_code(code);
            let reply = CreateTopicsResponse::default().with_topics(vec![topic]);
            reply.encode(body, version)
        }
        ApiKey::CreatePartitions => {
            let asked = CreatePartitionsRequest::decode(&mut request, version)?;
            count = asked.topics[0].count;
            told.send(count)?;
            let topic = CreatePartitionsTopicResult::default();
            let reply = CreatePartitionsResponse::default().with_results(vec![topic]);
            reply.encode(body, version)
        }
        ApiKey::DescribeConfigs => {
            let config = DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str("retention.ms"))
                .with_value(Some(StrBytes::from_static_str("60000")));
            let found = DescribeConfigsResult::default().with_configs(vec![config]);
            let reply = DescribeConfigsResponse::default().with_results(vec![found]);
            reply.encode(body, version)
        }
        _ => {
            let one = MetadataResponsePartition::default();
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic_name("t")))
                .with_partitions(vec![one; count as usize]);
            let reply = MetadataResponse::default().with_topics(vec![topic]);
            reply.encode(body, version)
        }
    });
    (address, partitions)
}

/// Leads the partition of its number, and no other. Counts the records of its partition, and knows all brokers.
fn leader(
    id: i32,
    listener: TcpListener,
    all: Vec<SocketAddr>,
    records: Arc<Mutex<BTreeMap<i32, i64>>>,
) {
    let code = move |partition: i32| match partition == id {
        true => 0,
        false => ResponseError::NotLeaderOrFollower.code(),
    };
    serve(listener, move |key, version, mut request, body| match key {
        ApiKey::Produce => {
            let asked = ProduceRequest::decode(&mut request, version)?;
            let outcome = |data: &PartitionProduceData| {
                if code(data.index) == 0 {
                    *records.lock().unwrap().entry(data.index).or_default() += 1;
                }
                PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_error_code(code(data.index))
            };
            let outcomes = asked.topic_data[0].partition_data.iter().map(outcome);
            let topic =
                TopicProduceResponse::default().with_partition_responses(outcomes.collect());
            let reply = ProduceResponse::default().with_responses(vec![topic]);
            reply.encode(body, version)
        }
        ApiKey::ListOffsets => {
            let asked = ListOffsetsRequest::decode(&mut request, version)?;
            let records = records.lock().unwrap();
            let end = |index: i32| {
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(index)
                    .with_error_code(code(index))
                    .with_offset(records[&index])
            };
            let asked = asked.topics[0].partitions.iter();
            let ends = asked.map(|asked| end(asked.partition_index));
            let topic = ListOffsetsTopicResponse::default().with_partitions(ends.collect());
            let reply = ListOffsetsResponse::default().with_topics(vec![topic]);
            reply.encode(body, version)
        }
        _ => {
            let brokers = (0..).zip(&all).map(|(id, address)| {
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(id))
                    .with_host(StrBytes::from_string(address.ip().to_string()))
                    .with_port(i32::from(address.port()))
            });
            let partitions = (0..all.len() as i32).map(|index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(BrokerId(index))
            });
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic_name("t")))
                .with_partitions(partitions.collect());
            let reply = MetadataResponse::default()
                .with_brokers(brokers.collect())
                .with_topics(vec![topic]);
            reply.encode(body, version)
        }
    });
}

#[test]
fn each_leader_is_asked_for_its_partitions() {
    // The first one takes a second connection, as the leader that it is.
    let listeners: Vec<_> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let all: Vec<_> = listeners
        .iter()
        .map(|it| it.local_addr().unwrap())
        .collect();
    let records = Arc::new(Mutex::new(BTreeMap::new()));
    for (id, listener) in (0..).zip(listeners) {
        leader(id, listener, all.clone(), Arc::clone(&records));
    }
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = front.local_addr().unwrap();
    leader(-1, front, all, Arc::clone(&records));
    let mut client = Client::connect(address).unwrap();
    client.prime("t", 3, Duration::from_secs(5)).unwrap();
    assert_eq!(
        *records.lock().unwrap(),
        BTreeMap::from([(0, 1), (1, 1), (2, 1)])
    );
}

#[test]
fn thousands_of_partitions_are_asked_for_by_several_requests() {
    for (partitions, asked) in [(5_000, vec![5_000]), (12_000, vec![5_000, 10_000, 12_000])] {
        let (address, told) = broker();
        let mut client = Client::connect(address).unwrap();
        client.create_topic("t", partitions, &[]).unwrap();
        drop(client);
        assert_eq!(told.iter().collect::<Vec<_>>(), asked);
    }
}

#[test]
fn a_topic_that_exists_with_other_configs_is_refused() {
    let (address, _told) = broker();
    let mut client = Client::connect(address).unwrap();
    let mut create = |wanted| client.create_topic("kept", 6, &[("retention.ms", wanted)]);
    create("60000").unwrap();
    let refused = create("1000").unwrap_err().to_string();
    assert_eq!(
        refused,
        "topic kept exists with retention.ms=60000, 1000 wanted"
    );
}
