use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsResponse,
};

use super::*;

/// The newest versions whose headers have no tags, as this broker serves them.
const SERVED: [(ApiKey, i16); 5] = [
    (ApiKey::ApiVersions, 2),
    (ApiKey::Metadata, 8),
    (ApiKey::CreateTopics, 4),
    (ApiKey::CreatePartitions, 1),
    (ApiKey::DescribeConfigs, 3),
];

/// Serves one connection, and tells to how many partitions its topic is created and grown. A topic `kept` is there
/// already, and keeps its records for a minute.
fn broker() -> (SocketAddr, Receiver<i32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, partitions) = channel();
    thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut count = 0;
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
            match key {
                ApiKey::ApiVersions => {
                    let served = SERVED.map(|(key, newest)| {
                        ApiVersion::default()
                            .with_api_key(key as i16)
                            .with_max_version(newest)
                    });
                    let reply = ApiVersionsResponse::default().with_api_keys(served.to_vec());
                    reply.encode(&mut body, version)?;
                }
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
                    reply.encode(&mut body, version)?;
                }
                ApiKey::CreatePartitions => {
                    let asked = CreatePartitionsRequest::decode(&mut request, version)?;
                    count = asked.topics[0].count;
                    told.send(count)?;
                    let topic = CreatePartitionsTopicResult::default();
                    let reply = CreatePartitionsResponse::default().with_results(vec![topic]);
                    reply.encode(&mut body, version)?;
                }
                ApiKey::DescribeConfigs => {
                    let config = DescribeConfigsResourceResult::default()
                        .with_name(StrBytes::from_static_str("retention.ms"))
                        .with_value(Some(StrBytes::from_static_str("60000")));
                    let found = DescribeConfigsResult::default().with_configs(vec![config]);
                    let reply = DescribeConfigsResponse::default().with_results(vec![found]);
                    reply.encode(&mut body, version)?;
                }
                _ => {
                    let one = MetadataResponsePartition::default();
                    let topic = MetadataResponseTopic::default()
                        .with_name(Some(topic_name("t")))
                        .with_partitions(vec![one; count as usize]);
                    let reply = MetadataResponse::default().with_topics(vec![topic]);
                    reply.encode(&mut body, version)?;
                }
            }
            stream.write_all(&(body.len() as u32).to_be_bytes())?;
            stream.write_all(&body)?;
        }
    });
    (address, partitions)
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
