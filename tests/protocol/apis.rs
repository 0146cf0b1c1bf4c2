//! What tests know of each API that is served: which requests mean something, and whether bytes are a reply to it.

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use corelog::protocol::header;
use corelog::protocol::produce::ProduceRequest as ProduceByHand;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use uuid::Uuid;

use crate::samples::{NOBODYS, Samples, TOPIC};

/// Older versions of Produce than the codecs know; the broker refuses them in a reply.
const PRODUCE_BY_CODEC: i16 = 3;
/// Newer versions of OffsetCommit and OffsetFetch than the codecs can write: topics have ids in place of names.
const OFFSETS_BY_CODEC: i16 = 9;
/// Newer versions of DescribeLogDirs than the codecs know say which folders are cordoned.
const LOG_DIRS_BY_CODEC: i16 = 4;

pub struct Api {
    pub key: i16,
    pub header_version: fn(i16) -> i16,
    pub samples: fn(i16, Uuid) -> Vec<Bytes>,
    pub large: fn(i16) -> Option<Bytes>,
    /// Fails unless the bytes are one reply of that version.
    pub check: fn(Bytes, i16) -> Result<()>,
}

pub const fn api<T: Samples>() -> Api {
    Api {
        key: T::KEY,
        header_version: T::header_version,
        samples: |version, topic_id| {
            let mut samples = T::samples(topic_id);
            samples.push(T::default());
            // Those that the version has no room for are left out.
            let encode = |sample| encode(sample, version, topic_id);
            samples.iter().filter_map(encode).collect()
        },
        large: |version| {
            // Names of many topics could not be told from other texts.
            let is_by_name = T::KEY != ApiKey::OffsetCommit as i16 || !has_ids::<T>(version);
            let large = T::large().filter(|_| is_by_name);
            large.map(|large| encode(&large, version, Uuid::nil()).expect("it fits"))
        },
        check: check::<T>,
    }
}

/// What `$of::<T>()` makes of the request `T` of each API that is served, in the order of their keys.
macro_rules! served {
    ($of:ident) => {
        &[
            $of::<kafka_protocol::messages::ProduceRequest>(),
            $of::<kafka_protocol::messages::FetchRequest>(),
            $of::<kafka_protocol::messages::ListOffsetsRequest>(),
            $of::<kafka_protocol::messages::MetadataRequest>(),
            $of::<kafka_protocol::messages::OffsetCommitRequest>(),
            $of::<kafka_protocol::messages::OffsetFetchRequest>(),
            $of::<kafka_protocol::messages::FindCoordinatorRequest>(),
            $of::<kafka_protocol::messages::JoinGroupRequest>(),
            $of::<kafka_protocol::messages::HeartbeatRequest>(),
            $of::<kafka_protocol::messages::LeaveGroupRequest>(),
            $of::<kafka_protocol::messages::SyncGroupRequest>(),
            $of::<kafka_protocol::messages::DescribeGroupsRequest>(),
            $of::<kafka_protocol::messages::ListGroupsRequest>(),
            $of::<kafka_protocol::messages::ApiVersionsRequest>(),
            $of::<kafka_protocol::messages::CreateTopicsRequest>(),
            $of::<kafka_protocol::messages::DeleteTopicsRequest>(),
            $of::<kafka_protocol::messages::DeleteRecordsRequest>(),
            $of::<kafka_protocol::messages::InitProducerIdRequest>(),
            $of::<kafka_protocol::messages::OffsetForLeaderEpochRequest>(),
            $of::<kafka_protocol::messages::DescribeConfigsRequest>(),
            $of::<kafka_protocol::messages::AlterConfigsRequest>(),
            $of::<kafka_protocol::messages::AlterReplicaLogDirsRequest>(),
            $of::<kafka_protocol::messages::DescribeLogDirsRequest>(),
            $of::<kafka_protocol::messages::CreatePartitionsRequest>(),
            $of::<kafka_protocol::messages::DeleteGroupsRequest>(),
            $of::<kafka_protocol::messages::ElectLeadersRequest>(),
            $of::<kafka_protocol::messages::IncrementalAlterConfigsRequest>(),
            $of::<kafka_protocol::messages::AlterPartitionReassignmentsRequest>(),
            $of::<kafka_protocol::messages::ListPartitionReassignmentsRequest>(),
            $of::<kafka_protocol::messages::OffsetDeleteRequest>(),
            $of::<kafka_protocol::messages::DescribeQuorumRequest>(),
            $of::<kafka_protocol::messages::DescribeClusterRequest>(),
            $of::<kafka_protocol::messages::ConsumerGroupHeartbeatRequest>(),
            $of::<kafka_protocol::messages::ConsumerGroupDescribeRequest>(),
            $of::<kafka_protocol::messages::ListConfigResourcesRequest>(),
            $of::<kafka_protocol::messages::DescribeTopicPartitionsRequest>(),
        ]
    };
}
pub(crate) use served;

pub static APIS: &[Api] = crate::apis::served!(api);

/// Whether topics have ids, and the codecs do not know it yet.
pub fn has_ids<T: Request>(version: i16) -> bool {
    let is_of_offsets = [ApiKey::OffsetCommit, ApiKey::OffsetFetch].map(|key| key as i16);
    is_of_offsets.contains(&T::KEY) && version > OFFSETS_BY_CODEC
}

/// Whether a reply says of each folder whether it is cordoned, and the codecs do not know it yet.
fn has_cordoned_flag<T: Request>(version: i16) -> bool {
    T::KEY == ApiKey::DescribeLogDirs as i16 && version > LOG_DIRS_BY_CODEC
}

/// Whether it is a Produce that the codecs do not know any more.
pub fn is_read_by_hand<T: Request>(version: i16) -> bool {
    T::KEY == ApiKey::Produce as i16 && version < PRODUCE_BY_CODEC
}

/// The version whose codec comes closest.
pub fn codec_version<T: Request>(version: i16) -> i16 {
    if is_read_by_hand::<T>(version) {
        PRODUCE_BY_CODEC
    } else if has_ids::<T>(version) {
        OFFSETS_BY_CODEC
    } else if has_cordoned_flag::<T>(version) {
        LOG_DIRS_BY_CODEC
    } else {
        version
    }
}

/// Takes the flag of the one folder out: only tagged fields, none of them, are behind it.
fn without_cordoned_flag(body: Bytes) -> Result<Bytes> {
    let mut body = body.to_vec();
    ensure!(body.len() > 3, "{} bytes", body.len());
    ensure!(body.remove(body.len() - 3) == 0, "nothing is cordoned");
    Ok(body.into())
}

/// Puts ids in the places of names.
pub fn with_ids(body: &[u8], topic_id: Uuid) -> Bytes {
    let mut body = body.to_vec();
    for (name, id) in [(TOPIC, topic_id), (NOBODYS, Uuid::max())] {
        let named = [&[name.len() as u8 + 1], name.as_bytes()].concat();
        let place = |body: &[u8]| body.windows(named.len()).position(|found| found == named);
        while let Some(at) = place(&body) {
            body.splice(at..at + named.len(), *id.as_bytes());
        }
    }
    body.into()
}

fn encode<T: Request>(sample: &T, version: i16, topic_id: Uuid) -> Option<Bytes> {
    let is_by_hand = is_read_by_hand::<T>(version);
    let mut body = BytesMut::new();
    sample.encode(&mut body, codec_version::<T>(version)).ok()?;
    if is_by_hand {
        // What they have not: the transactional id.
        body.advance(2);
    }
    if has_ids::<T>(version) {
        return Some(with_ids(&body, topic_id));
    }
    Some(body.freeze())
}

/// Fails unless the bytes are one reply of that version.
fn check<T: Request>(mut frame: Bytes, version: i16) -> Result<()> {
    if is_read_by_hand::<T>(version) {
        return check_old_produce(frame, version);
    }
    let header = T::Response::header_version(version);
    ResponseHeader::decode(&mut frame, header).context("its header")?;
    let version = match has_cordoned_flag::<T>(version) {
        false => version,
        true => {
            frame = without_cordoned_flag(frame)?;
            LOG_DIRS_BY_CODEC
        }
    };
    T::Response::decode(&mut frame, version).context("its body")?;
    ensure!(frame.is_empty(), "{} bytes after it", frame.len());
    Ok(())
}

fn check_old_produce(mut frame: Bytes, version: i16) -> Result<()> {
    let partition_bytes = if version < 2 { 14 } else { 22 };
    frame.try_get_i32()?;
    for _ in 0..frame.try_get_i32()? {
        let name = frame.try_get_i16()? as usize;
        ensure!(frame.len() > name, "a name of {name} bytes");
        frame.advance(name);
        let partitions = frame.try_get_i32()? as usize;
        ensure!(
            frame.len() >= partitions * partition_bytes,
            "{partitions} partitions"
        );
        frame.advance(partitions * partition_bytes);
    }
    let throttle_bytes = if version < 1 { 0 } else { 4 };
    ensure!(
        frame.len() == throttle_bytes,
        "{} bytes at its end",
        frame.len()
    );
    Ok(())
}

/// Bytes of a header up to where the client's name begins.
pub const AFTER_CORRELATION: usize = 8;

/// Header and body, without the length in front.
pub fn request(
    key: i16,
    version: i16,
    header_version: i16,
    correlation: i32,
    body: &[u8],
) -> Vec<u8> {
    let mut request = BytesMut::with_capacity(body.len() + 32);
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("hostile")))
        .encode(&mut request, header_version)
        .expect("a header");
    request.put_slice(body);
    request.into()
}

/// Whether it is a Produce without acknowledgement.
pub fn wants_no_reply(request: &Bytes) -> bool {
    let Ok((header, body)) = header::decode(request.clone()) else {
        return false;
    };
    header.api_key == ApiKey::Produce
        && ProduceByHand::decode(&body, header.api_version).is_ok_and(|request| request.acks == 0)
}
