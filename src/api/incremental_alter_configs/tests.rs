mod broker_table;
mod effects;
mod subject;
mod topic_table;

use bytes::BytesMut;
use kafka_protocol::messages::IncrementalAlterConfigsResponse;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::*;

#[test]
fn the_reply_is_that_of_the_older_request_one_version_later() {
    let name = StrBytes::from_static_str("t");
    let resource = AlterConfigsResourceResponse::default()
        .with_error_message(None)
        .with_resource_type(2)
        .with_resource_name(name.clone());
    let own = IncrementalAlterConfigsResponse::default().with_responses(vec![resource]);
    let shared = alter_configs::response([(2, name)].into_iter(), Ok(vec![Ok(())]));
    for version in 0..=1 {
        let (mut expected, mut found) = (BytesMut::new(), BytesMut::new());
        own.encode(&mut expected, version).expect("encodes");
        let version = version + LEGACY_VERSION;
        shared.encode(&mut found, version).expect("encodes");
        assert_eq!(found, expected);
    }
}
