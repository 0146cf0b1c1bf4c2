//! What a log does differently from topic to topic: plain values, resolved by the broker from its
//! table of properties.

use std::time::Duration;

use super::batch::TimestampType;
use super::compact::Settings;
use crate::journal::Durability;

/// How a log is compacted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionConfig {
    /// When it is time.
    pub when: Settings,
    /// How long a tombstone is kept after the first pass over it.
    pub delete_retention_ms: i64,
}

/// Settings of one partition's log. Every partition of a topic shares one.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// A segment is rolled before it grows past this.
    pub segment_bytes: u32,
    /// A segment is rolled when its first record is this old.
    pub segment_ms: i64,
    /// How much earlier, at most: each segment takes its own part of it.
    pub segment_jitter_ms: i64,
    /// Room for the offset index of a segment.
    pub segment_index_bytes: u32,
    /// Bytes of log between two index entries.
    pub index_interval_bytes: u32,
    /// Age after which records are deleted; `None` keeps them.
    pub retention_ms: Option<i64>,
    /// Size of the log past which its oldest segments are deleted; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// How long the files of a deleted segment are kept.
    pub file_delete_delay: Duration,
    /// Whether old segments are deleted.
    pub cleanup_delete: bool,
    /// How it is compacted, if it is.
    pub compaction: Option<CompactionConfig>,
    /// Whose time the records carry.
    pub timestamp_type: TimestampType,
    /// When records are acknowledged.
    pub durability: Durability,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * 24 * 60 * 60 * 1000),
            retention_bytes: None,
            file_delete_delay: Duration::from_secs(60),
            cleanup_delete: true,
            compaction: None,
            timestamp_type: TimestampType::CreateTime,
            durability: Durability::Sync,
        }
    }
}
