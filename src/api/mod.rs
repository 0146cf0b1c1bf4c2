//! THE table of APIs: what is served, in which versions, at what cost, by whom.
//!
//! ApiVersions, version checks, memory accounting and dispatch derive from [`TABLE`]; nothing else
//! lists APIs. A handler lives in the file of its API and turns a [`Request`] into a [`Reply`].
//!
//! Effects of one connection's requests are sequential, as in Kafka; only produces overlap. So a
//! handler is one of two kinds, see [`Handler`]. What the engine and the controller answer becomes a
//! Kafka error code in one place, [`errors`].

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod errors;
pub mod fetch;
pub mod find_coordinator;
mod groups;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
mod owners;
pub mod produce;
pub mod sync_group;
mod view;
pub mod wait;

#[cfg(test)]
pub(crate) mod testing;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use corelog_shards::io::Instant;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Decodable;

use crate::broker::Broker;
use crate::protocol::header::RequestHeader;
use crate::protocol::reply::{Reply, Unencodable};
use crate::protocol::{Malformed, bounded};
use wait::{ReplyMemory, Wait};

/// One served API.
pub struct Api {
    pub key: ApiKey,
    /// Versions that are answered; the newest both Kafka 4.3 and the codecs have.
    pub version_min: i16,
    pub version_max: i16,
    /// Memory held while a request is worked on, in multiples of its bytes: what decoding makes of
    /// it, or the slices themselves where records are passed through.
    pub memory_factor: usize,
    pub handler: Handler,
}

pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// How an API is worked on.
pub enum Handler {
    /// Begins once the effects of all earlier requests of its connection are complete, and is
    /// complete with its reply.
    Sequential(fn(Rc<Context>, Request) -> LocalFuture<Result<Reply, Failure>>),
    /// In two stages. The first, which the next request waits for, puts the effects in order; the
    /// second, the future it returns, waits for them, beside those of later requests. Until it is
    /// the oldest of its connection the second stage is not polled: what it waits for must go on by
    /// itself.
    Overlapping(fn(Rc<Context>, Request) -> LocalFuture<Result<Effects, Failure>>),
}

/// The second stage of an overlapping request.
pub type Effects = LocalFuture<Answer>;

/// What becomes of an overlapping request.
pub enum Answer {
    /// And since when it could be sent.
    Reply(Reply, Instant),
    /// The client asked for none.
    Nothing,
    /// There is no reply, by the client's wish or since it cannot be written: an error can only be
    /// told by closing the connection.
    Close(String),
}

/// Why a request cannot be answered. Its connection is closed.
#[derive(Debug)]
pub enum Failure {
    Malformed(Malformed),
    Unencodable(Unencodable),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Malformed(why) => write!(f, "it cannot be read: {why}"),
            Failure::Unencodable(why) => write!(f, "its reply cannot be written: {why}"),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(why: Malformed) -> Self {
        Failure::Malformed(why)
    }
}

impl From<Unencodable> for Failure {
    fn from(why: Unencodable) -> Self {
        Failure::Unencodable(why)
    }
}

/// A request as handlers get it.
pub struct Request {
    pub header: RequestHeader,
    pub body: Bytes,
    /// When its handler was called.
    pub begun: Instant,
}

impl Request {
    /// The body by the generated decoder of its API.
    pub fn decode<T: Decodable>(&self) -> Result<T, Malformed> {
        bounded::decode(&self.body, self.header.api_version)
    }
}

/// Where a request came from, and what its handler may use.
pub struct Context {
    pub broker: Rc<Broker>,
    /// Name of the listener, upper case: decides which addresses the client is told.
    pub listener: Rc<str>,
    pub peer: SocketAddr,
    pub wait: Wait,
    pub reply_memory: ReplyMemory,
}

/// What the generated decoders make of the densest request: an element of two bytes becomes a
/// structure of up to this many times that.
const DECODED: usize = 32;
/// Of requests that are held while others are waited for, so it must not be guessed high: mostly bytes that stay as they
/// are.
const WAITING: usize = 4;

/// The APIs in the order of their keys.
pub static TABLE: &[Api] = &[
    Api {
        key: ApiKey::Produce,
        version_min: 0,
        version_max: crate::protocol::produce::VERSION_MAX,
        memory_factor: 1,
        handler: Handler::Overlapping(|context, request| {
            Box::pin(produce::begin(context, request))
        }),
    },
    Api {
        key: ApiKey::Fetch,
        version_min: crate::protocol::fetch::VERSION_MIN,
        version_max: crate::protocol::fetch::VERSION_MAX,
        // Of the decoded lists.
        memory_factor: WAITING,
        handler: Handler::Sequential(|context, request| Box::pin(fetch::handle(context, request))),
    },
    sequential(ApiKey::ListOffsets, 1, 10, |context, request| {
        Box::pin(list_offsets::handle(context, request))
    }),
    sequential(ApiKey::Metadata, 0, 13, |context, request| {
        Box::pin(metadata::handle(context, request))
    }),
    sequential(
        ApiKey::OffsetCommit,
        2,
        crate::protocol::offsets::TOPIC_IDS,
        |context, request| Box::pin(offset_commit::handle(context, request)),
    ),
    sequential(
        ApiKey::OffsetFetch,
        1,
        crate::protocol::offsets::TOPIC_IDS,
        |context, request| Box::pin(offset_fetch::handle(context, request)),
    ),
    sequential(ApiKey::FindCoordinator, 0, 6, |context, request| {
        Box::pin(find_coordinator::handle(context, request))
    }),
    Api {
        memory_factor: WAITING,
        ..sequential(ApiKey::JoinGroup, 0, 9, |context, request| {
            Box::pin(join_group::handle(context, request))
        })
    },
    sequential(ApiKey::Heartbeat, 0, 4, |context, request| {
        Box::pin(heartbeat::handle(context, request))
    }),
    sequential(ApiKey::LeaveGroup, 0, 5, |context, request| {
        Box::pin(leave_group::handle(context, request))
    }),
    Api {
        memory_factor: WAITING,
        ..sequential(ApiKey::SyncGroup, 0, 5, |context, request| {
            Box::pin(sync_group::handle(context, request))
        })
    },
    sequential(ApiKey::DescribeGroups, 0, 6, |context, request| {
        Box::pin(describe_groups::handle(context, request))
    }),
    sequential(ApiKey::ListGroups, 0, 5, |context, request| {
        Box::pin(list_groups::handle(context, request))
    }),
    sequential(ApiKey::ApiVersions, 0, 4, |context, request| {
        Box::pin(api_versions::handle(context, request))
    }),
    sequential(ApiKey::CreateTopics, 2, 7, |context, request| {
        Box::pin(create_topics::handle(context, request))
    }),
    sequential(ApiKey::DeleteTopics, 1, 6, |context, request| {
        Box::pin(delete_topics::handle(context, request))
    }),
    sequential(ApiKey::DeleteRecords, 0, 2, |context, request| {
        Box::pin(delete_records::handle(context, request))
    }),
    sequential(ApiKey::InitProducerId, 0, 5, |context, request| {
        Box::pin(init_producer_id::handle(context, request))
    }),
    sequential(ApiKey::OffsetForLeaderEpoch, 2, 4, |context, request| {
        Box::pin(offset_for_leader_epoch::handle(context, request))
    }),
    sequential(ApiKey::DescribeConfigs, 1, 4, |context, request| {
        Box::pin(describe_configs::handle(context, request))
    }),
    sequential(ApiKey::AlterConfigs, 0, 2, |context, request| {
        Box::pin(alter_configs::handle(context, request))
    }),
    sequential(ApiKey::AlterReplicaLogDirs, 1, 2, |context, request| {
        Box::pin(alter_replica_log_dirs::handle(context, request))
    }),
    sequential(
        ApiKey::DescribeLogDirs,
        1,
        crate::protocol::log_dirs::CORDONED,
        |context, request| Box::pin(describe_log_dirs::handle(context, request)),
    ),
    sequential(ApiKey::CreatePartitions, 0, 3, |context, request| {
        Box::pin(create_partitions::handle(context, request))
    }),
    sequential(ApiKey::DeleteGroups, 0, 2, |context, request| {
        Box::pin(delete_groups::handle(context, request))
    }),
    sequential(ApiKey::ElectLeaders, 0, 2, |context, request| {
        Box::pin(elect_leaders::handle(context, request))
    }),
    sequential(ApiKey::IncrementalAlterConfigs, 0, 1, |context, request| {
        Box::pin(incremental_alter_configs::handle(context, request))
    }),
    sequential(
        ApiKey::AlterPartitionReassignments,
        0,
        1,
        |context, request| Box::pin(alter_partition_reassignments::handle(context, request)),
    ),
    sequential(
        ApiKey::ListPartitionReassignments,
        0,
        0,
        |context, request| Box::pin(list_partition_reassignments::handle(context, request)),
    ),
    sequential(ApiKey::OffsetDelete, 0, 0, |context, request| {
        Box::pin(offset_delete::handle(context, request))
    }),
    sequential(ApiKey::DescribeQuorum, 0, 2, |context, request| {
        Box::pin(describe_quorum::handle(context, request))
    }),
    sequential(ApiKey::DescribeCluster, 0, 2, |context, request| {
        Box::pin(describe_cluster::handle(context, request))
    }),
    sequential(ApiKey::ConsumerGroupHeartbeat, 0, 1, |context, request| {
        Box::pin(consumer_group_heartbeat::handle(context, request))
    }),
    sequential(ApiKey::ConsumerGroupDescribe, 0, 1, |context, request| {
        Box::pin(consumer_group_describe::handle(context, request))
    }),
    sequential(ApiKey::ListConfigResources, 0, 1, |context, request| {
        Box::pin(list_config_resources::handle(context, request))
    }),
    sequential(ApiKey::DescribeTopicPartitions, 0, 0, |context, request| {
        Box::pin(describe_topic_partitions::handle(context, request))
    }),
];

const fn sequential(
    key: ApiKey,
    version_min: i16,
    version_max: i16,
    handler: fn(Rc<Context>, Request) -> LocalFuture<Result<Reply, Failure>>,
) -> Api {
    Api {
        key,
        version_min,
        version_max,
        memory_factor: DECODED,
        handler: Handler::Sequential(handler),
    }
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unserved {
    Api(ApiKey),
    Version { key: ApiKey, version: i16 },
}

impl std::fmt::Display for Unserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unserved::Api(key) => write!(f, "{key:?} is not served here"),
            Unserved::Version { key, version } => {
                write!(f, "version {version} of {key:?} is not served here")
            }
        }
    }
}

/// Finds who answers a request. ApiVersions is answered in any version, so that a client of any
/// age can learn which to speak.
pub fn find(key: ApiKey, version: i16) -> Result<&'static Api, Unserved> {
    let api = TABLE
        .iter()
        .find(|api| api.key == key)
        .ok_or(Unserved::Api(key))?;
    if (api.version_min..=api.version_max).contains(&version) || key == ApiKey::ApiVersions {
        Ok(api)
    } else {
        Err(Unserved::Version { key, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_within_what_the_codecs_have() {
        assert!(TABLE.is_sorted_by_key(|api| api.key as i16));
        for api in TABLE {
            let codec = api.key.valid_versions();
            assert!(api.version_min <= api.version_max);
            // The newest of these are read by hand.
            let is_newer = matches!(
                api.key,
                ApiKey::OffsetCommit | ApiKey::OffsetFetch | ApiKey::DescribeLogDirs
            );
            let newest = codec.max + i16::from(is_newer);
            assert!(api.version_max <= newest, "{:?}", api.key);
            // Produce is read by hand further back, to be refused politely.
            assert!(api.version_min >= codec.min || api.key == ApiKey::Produce);
        }
    }

    #[test]
    fn versions_outside_the_table_are_not_found_except_of_api_versions() {
        for api in TABLE {
            for version in [api.version_min, api.version_max] {
                assert!(find(api.key, version).is_ok());
            }
            for version in [api.version_min - 1, api.version_max + 1, i16::MIN, i16::MAX] {
                let served = find(api.key, version).is_ok();
                assert_eq!(served, api.key == ApiKey::ApiVersions);
            }
        }
        assert_eq!(
            find(ApiKey::Envelope, 0).err(),
            Some(Unserved::Api(ApiKey::Envelope))
        );
    }
}
