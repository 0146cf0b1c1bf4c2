//! The settings of group coordinators.

use std::time::Duration;

use super::error::ConfigError;
use super::layers::Reader;

/// Groups, and the topic they are kept in.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupsConfig {
    pub classic: ClassicGroupsConfig,
    pub consumer: ConsumerGroupsConfig,
    pub offsets: OffsetsConfig,
    /// That groups and offsets of one core may take, `corelog.group.memory.bytes`.
    pub memory_bytes: usize,
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
    /// Whether there are such groups. Those that are there already are kept, and served no more.
    pub is_enabled: bool,
    /// Names; the first is that of groups that ask for none.
    pub assignors: Vec<String>,
    pub migration: MigrationPolicy,
    /// How old what a regular expression stands for may become.
    pub regex_refresh_interval: Duration,
}

/// How groups with members may go over between the classic and the consumer protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// From the classic protocol, when a first member of the consumer protocol comes.
    pub upgrade: bool,
    /// To the classic protocol, when the last member of the consumer protocol goes.
    pub downgrade: bool,
}

impl MigrationPolicy {
    /// Whether members of both protocols may be in one group.
    pub fn mixes(self) -> bool {
        self.upgrade || self.downgrade
    }
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
    /// Resolves and checks, as Kafka does when it starts.
    pub(super) fn resolve(read: &Reader<'_>) -> Result<Self, ConfigError> {
        let protocols = read.items("group.coordinator.rebalance.protocols");
        let serves = |protocol: &str| protocols.iter().any(|name| name == protocol);
        if !serves("classic") {
            let why = "Disabling the 'CLASSIC' protocol is not supported.";
            return Err(ConfigError::Refused(why.to_owned()));
        }
        for kind in KINDS_WITH_BOUNDS {
            check_bounds(read, kind)?;
        }
        let migration = read.text("group.consumer.migration.policy");
        let migrates = |to: &str| {
            migration.eq_ignore_ascii_case(to) || migration.eq_ignore_ascii_case("bidirectional")
        };
        Ok(Self {
            classic: ClassicGroupsConfig {
                session_timeout_min: read.ms_or_none("group.min.session.timeout.ms"),
                session_timeout_max: read.ms_or_none("group.max.session.timeout.ms"),
                initial_rebalance_delay: read.ms_or_none("group.initial.rebalance.delay.ms"),
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
                is_enabled: serves("consumer"),
                assignors: assignors(&read.items("group.consumer.assignors"))?,
                migration: MigrationPolicy {
                    upgrade: migrates("upgrade"),
                    downgrade: migrates("downgrade"),
                },
                regex_refresh_interval: read.ms("group.consumer.regex.refresh.interval.ms"),
            },
            memory_bytes: read.count("corelog.group.memory.bytes"),
            offsets: OffsetsConfig {
                metadata_bytes_max: read
                    .count_unless_negative("offset.metadata.max.bytes")
                    .map_or(0, |bytes| bytes as usize),
                retention: Duration::from_secs(
                    MINUTE * read.count::<u64>("offsets.retention.minutes"),
                ),
                retention_check_interval: read.ms("offsets.retention.check.interval.ms"),
                commit_timeout: read.ms("offsets.commit.timeout.ms"),
                topic_partitions: read.count("offsets.topic.num.partitions"),
                topic_replication_factor: read.count("offsets.topic.replication.factor"),
                topic_segment_bytes: read.count("offsets.topic.segment.bytes"),
            },
        })
    }
}

/// Kinds of groups, in the names of properties, whose settings have bounds that are settings, too.
const KINDS_WITH_BOUNDS: [&str; 3] = ["consumer", "share", "streams"];

fn check_bounds(read: &Reader<'_>, kind: &str) -> Result<(), ConfigError> {
    let name = |what: &str| format!("group.{kind}.{what}.ms");
    for what in [
        "heartbeat.interval",
        "session.timeout",
        "assignment.interval",
    ] {
        let (value, min, max) = (
            name(what),
            name(&format!("min.{what}")),
            name(&format!("max.{what}")),
        );
        let require = |holds: bool, one: &str, relation: &str, other: &str| {
            let why = || format!("{one} must be {relation} {other}");
            holds
                .then_some(())
                .ok_or_else(|| ConfigError::Refused(why()))
        };
        let at_least = |one: &str, other: &str| {
            let holds = read.number(one) >= read.number(other);
            require(holds, one, "greater than or equal to", other)
        };
        at_least(&max, &min)?;
        at_least(&value, &min)?;
        let holds = read.number(&value) <= read.number(&max);
        require(holds, &value, "less than or equal to", &max)?;
        if what == "session.timeout" {
            let interval = name("heartbeat.interval");
            let holds = read.number(&interval) < read.number(&value);
            require(holds, &interval, "less than", &value)?;
        }
    }
    Ok(())
}

/// The assignors there are: their names, and the classes that they are in Kafka.
const ASSIGNORS: [(&str, &str); 2] = [
    (
        "uniform",
        "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
    ),
    (
        "range",
        "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
    ),
];

/// The names of assignors that are given by name or class.
fn assignors(given: &[String]) -> Result<Vec<String>, ConfigError> {
    let name_of = |given: &String| {
        let known = ASSIGNORS
            .iter()
            .find(|(name, class)| given == name || given == class);
        known
            .map(|(name, _)| (*name).to_owned())
            .ok_or_else(|| ConfigError::Refused(format!("Class {given} cannot be found")))
    };
    given.iter().map(name_of).collect()
}
