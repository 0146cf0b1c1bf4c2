//! The settings of group coordinators.

use std::time::Duration;

use super::layers::Reader;

/// Groups, and the topic they are kept in.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupsConfig {
    pub classic: ClassicGroupsConfig,
    pub offsets: OffsetsConfig,
}

/// Groups of the classic protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicGroupsConfig {
    /// What members may ask for, both bounds included.
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    /// How long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    pub members_max: usize,
}

/// Committed offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsConfig {
    /// Of what a client notes beside an offset.
    pub metadata_bytes_max: usize,
    /// From when the group has no members, or, if it never had any, from the commit on.
    pub retention: Duration,
    pub retention_check_interval: Duration,
    /// Of an append to the offsets topic.
    pub commit_timeout: Duration,
    pub topic_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_segment_bytes: u32,
}

const MINUTE: u64 = 60;

impl GroupsConfig {
    pub(super) fn resolve(read: &Reader<'_>) -> Self {
        Self {
            classic: ClassicGroupsConfig {
                session_timeout_min: read.ms("group.min.session.timeout.ms"),
                session_timeout_max: read.ms("group.max.session.timeout.ms"),
                initial_rebalance_delay: read.ms("group.initial.rebalance.delay.ms"),
                members_max: read.count("group.max.size"),
            },
            offsets: OffsetsConfig {
                metadata_bytes_max: read.count("offset.metadata.max.bytes"),
                retention: Duration::from_secs(
                    MINUTE * read.count::<u64>("offsets.retention.minutes"),
                ),
                retention_check_interval: read.ms("offsets.retention.check.interval.ms"),
                commit_timeout: read.ms("offsets.commit.timeout.ms"),
                topic_partitions: read.count("offsets.topic.num.partitions"),
                topic_replication_factor: read.count("offsets.topic.replication.factor"),
                topic_segment_bytes: read.count("offsets.topic.segment.bytes"),
            },
        }
    }
}
