//! The settings of group coordinators.

use std::time::Duration;

use super::layers::Reader;

/// Groups, and the topic they are kept in.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupsConfig {
    pub classic: ClassicGroupsConfig,
    pub consumer: ConsumerGroupsConfig,
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

/// Groups of the consumer protocol (KIP-848).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupsConfig {
    pub session_timeout: Duration,
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    pub heartbeat_interval: Duration,
    pub heartbeat_interval_min: Duration,
    pub heartbeat_interval_max: Duration,
    /// The least time between two assignments of a group.
    pub assignment_interval: Duration,
    pub assignment_interval_min: Duration,
    pub assignment_interval_max: Duration,
    pub members_max: usize,
    /// Names; the first is that of groups that ask for none.
    pub assignors: Vec<String>,
    /// Whether groups may go over from the classic protocol, and back to it.
    pub upgrade: bool,
    pub downgrade: bool,
    /// How old what a regular expression stands for may become.
    pub regex_refresh_interval: Duration,
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
        let migration = read.text("group.consumer.migration.policy");
        let migrates = |to: &str| {
            migration.eq_ignore_ascii_case(to) || migration.eq_ignore_ascii_case("bidirectional")
        };
        Self {
            classic: ClassicGroupsConfig {
                session_timeout_min: read.ms("group.min.session.timeout.ms"),
                session_timeout_max: read.ms("group.max.session.timeout.ms"),
                initial_rebalance_delay: read.ms("group.initial.rebalance.delay.ms"),
                members_max: read.count("group.max.size"),
            },
            consumer: ConsumerGroupsConfig {
                session_timeout: read.ms("group.consumer.session.timeout.ms"),
                session_timeout_min: read.ms("group.consumer.min.session.timeout.ms"),
                session_timeout_max: read.ms("group.consumer.max.session.timeout.ms"),
                heartbeat_interval: read.ms("group.consumer.heartbeat.interval.ms"),
                heartbeat_interval_min: read.ms("group.consumer.min.heartbeat.interval.ms"),
                heartbeat_interval_max: read.ms("group.consumer.max.heartbeat.interval.ms"),
                assignment_interval: read.ms("group.consumer.assignment.interval.ms"),
                assignment_interval_min: read.ms("group.consumer.min.assignment.interval.ms"),
                assignment_interval_max: read.ms("group.consumer.max.assignment.interval.ms"),
                members_max: read.count("group.consumer.max.size"),
                assignors: read.items("group.consumer.assignors"),
                upgrade: migrates("upgrade"),
                downgrade: migrates("downgrade"),
                regex_refresh_interval: read.ms("group.consumer.regex.refresh.interval.ms"),
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
