//! DescribeLogDirs of the version that tells which folders are cordoned, which the generated codecs
//! do not have yet. Its request is that of the version before.

use kafka_protocol::messages::DescribeLogDirsResponse;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;

use super::header::RequestHeader;
use super::reply::{Reply, ReplyBuilder, Unencodable};
use super::wire::Writer;

/// The first version that says which folders are cordoned. The last there is.
pub const CORDONED: i16 = 5;

/// The reply to `request`, in its version; whether each of the folders is cordoned stands in the order
/// of the results.
pub fn encode(
    request: &RequestHeader,
    response: &DescribeLogDirsResponse,
    cordoned: &[bool],
) -> Result<Reply, Unencodable> {
    assert_eq!(response.results.len(), cordoned.len());
    if request.api_version < CORDONED {
        return Reply::encode(request, response);
    }
    let mut reply = ReplyBuilder::new(request, 0);
    let mut out = reply.fields(true);
    out.i32(response.throttle_time_ms);
    out.i16(response.error_code);
    out.len(Some(response.results.len()));
    for (result, is_cordoned) in response.results.iter().zip(cordoned) {
        write(result, *is_cordoned, &mut out);
    }
    out.tagged_fields(0);
    reply.finish()
}

fn write(result: &DescribeLogDirsResult, is_cordoned: bool, out: &mut Writer<'_>) {
    out.i16(result.error_code);
    out.string(&result.log_dir);
    out.len(Some(result.topics.len()));
    for topic in &result.topics {
        out.string(&topic.name);
        out.len(Some(topic.partitions.len()));
        for partition in &topic.partitions {
            out.i32(partition.partition_index);
            out.i64(partition.partition_size);
            out.i64(partition.offset_lag);
            out.i8(partition.is_future_key.into());
            out.tagged_fields(0);
        }
        out.tagged_fields(0);
    }
    out.i64(result.total_bytes);
    out.i64(result.usable_bytes);
    out.i8(is_cordoned.into());
    out.tagged_fields(0);
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BytesMut};
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::messages::describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsTopic,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;
    use crate::protocol::testing::reply_body;

    fn response() -> DescribeLogDirsResponse {
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(3)
            .with_partition_size(1 << 40)
            .with_offset_lag(7)
            .with_is_future_key(true);
        let topic = DescribeLogDirsTopic::default()
            .with_name(StrBytes::from_static_str("t").into())
            .with_partitions(vec![partition.clone(), partition]);
        let folder = DescribeLogDirsResult::default()
            .with_log_dir(StrBytes::from_static_str("/a"))
            .with_topics(vec![topic])
            .with_total_bytes(5)
            .with_usable_bytes(4);
        DescribeLogDirsResponse::default().with_results(vec![folder])
    }

    /// The reply's body in a version.
    fn body(version: i16) -> Vec<u8> {
        let header = RequestHeader {
            api_key: ApiKey::DescribeLogDirs,
            api_version: version,
            correlation_id: 5,
            client_id: StrBytes::new(),
        };
        let reply = encode(&header, &response(), &[true]).expect("encodes");
        reply_body(&header, &reply).to_vec()
    }

    #[test]
    fn the_newest_version_is_the_one_before_and_a_flag() {
        let mut generated = BytesMut::new();
        response()
            .encode(&mut generated, CORDONED - 1)
            .expect("encodes");
        assert_eq!(body(CORDONED - 1), generated.chunk());
        // Tagged fields of the folder and of the response stand behind the flag.
        let mut expected = generated.to_vec();
        expected.insert(expected.len() - 2, 1);
        assert_eq!(body(CORDONED), expected);
    }
}
