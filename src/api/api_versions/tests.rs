use bytes::{Bytes, BytesMut};
use corelog_shards::io::Instant;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::protocol::header::RequestHeader;
use crate::protocol::testing::reply_body;

fn levels() -> FeatureLevels {
    FeatureLevels {
        supported: vec![
            SupportedFeature {
                name: "metadata.version",
                level_min: 7,
                level_max: 30,
            },
            SupportedFeature {
                name: "transaction.version",
                level_min: 0,
                level_max: 2,
            },
        ],
        finalized: vec![("metadata.version", 30)],
        epoch: 12,
    }
}

/// Asks in `version`; `answer_version` is the one the reply is written in.
fn ask(version: i16, answer_version: i16, body: Bytes) -> ApiVersionsResponse {
    let header = RequestHeader {
        api_key: ApiKey::ApiVersions,
        api_version: version,
        correlation_id: 5,
        client_id: StrBytes::new(),
    };
    let request = Request {
        header: header.clone(),
        body,
        begun: Instant::default(),
    };
    let reply = answer(&request, levels);
    let mut body = reply_body(&header, &reply.expect("decodes"));
    let response = ApiVersionsResponse::decode(&mut body, answer_version).expect("decodes");
    assert!(body.is_empty());
    response
}

fn body(name: &str, software_version: &str, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_string(name.to_owned()))
        .with_client_software_version(StrBytes::from_string(software_version.to_owned()))
        .encode(&mut bytes, version)
        .expect("encodes");
    bytes.freeze()
}

#[test]
fn the_table_is_told_in_every_version() {
    for version in 0..=4 {
        let response = ask(version, version, body("kafka-java", "4.3.0", version));
        assert_eq!(response.error_code, 0);
        assert_eq!(response.api_keys.len(), TABLE.len());
        for (told, api) in response.api_keys.iter().zip(TABLE) {
            assert_eq!(told.api_key, api.key as i16);
            assert_eq!(told.min_version, api.version_min);
            assert_eq!(told.max_version, api.version_max);
        }
    }
}

#[test]
fn features_are_told_as_far_as_the_client_can_read_them() {
    assert!(ask(2, 2, Bytes::new()).supported_features.is_empty());
    let names = |version| -> Vec<String> {
        ask(version, version, body("a", "1", version))
            .supported_features
            .iter()
            .map(|feature| feature.name.to_string())
            .collect()
    };
    assert_eq!(names(3), ["metadata.version"]);
    assert_eq!(names(4), ["metadata.version", "transaction.version"]);
    let response = ask(3, 3, body("a", "1", 3));
    assert_eq!(response.finalized_features_epoch, 12);
    assert_eq!(response.finalized_features[0].max_version_level, 30);
}

#[test]
fn a_version_from_the_future_is_answered_in_version_0() {
    for version in [-1, 5, 99, i16::MAX] {
        let response = ask(version, 0, Bytes::from_static(b"unreadable"));
        assert_eq!(response.error_code, 35);
        assert_eq!(response.api_keys.len(), 1);
        assert_eq!(response.api_keys[0].api_key, 18);
        assert_eq!(response.api_keys[0].max_version, 4);
    }
}

#[test]
fn software_must_have_a_decent_name() {
    for (name, version, error) in [
        ("librdkafka", "2.0.2", 0),
        ("a", "1", 0),
        ("confluent-kafka-python", "2.3.0-rdkafka-2.3.0", 0),
        ("", "1", 42),
        ("a", "", 42),
        ("-a", "1", 42),
        ("a.", "1", 42),
        ("a b", "1", 42),
        ("a", "1_0", 42),
        ("ä", "1", 42),
    ] {
        let response = ask(3, 3, body(name, version, 3));
        assert_eq!(response.error_code, error, "{name:?} {version:?}");
        assert_eq!(response.api_keys.is_empty(), error != 0);
    }
}
