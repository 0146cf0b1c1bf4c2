//! The settings of one topic, resolved: what modules are handed instead of names and texts.

use std::time::Duration;

use super::layers::{Layers, Overrides, Reader};

/// What must have happened before a record is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    #[default]
    Sync,
    Written,
    Memory,
}

/// Whose time a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// How batches are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredCompression {
    /// As the producer compressed them.
    Producer,
    Uncompressed,
    /// `None` is the library's own level.
    Gzip {
        level: Option<i32>,
    },
    Snappy,
    Lz4 {
        level: i32,
    },
    Zstd {
        level: i32,
    },
}

/// Topic properties, resolved over all layers: those that have an effect, and some that have none
/// yet (the table says which).
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSettings {
    pub durability: Durability,
    pub min_insync_replicas: u32,
    pub cleanup_delete: bool,
    pub cleanup_compact: bool,
    pub dirty_ratio_min: f64,
    pub delete_retention_ms: i64,
    pub compaction_lag_min_ms: i64,
    pub compaction_lag_max_ms: i64,
    /// `None` keeps records for ever.
    pub retention_ms: Option<i64>,
    /// `None` has no limit.
    pub retention_bytes: Option<u64>,
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    pub file_delete_delay: Duration,
    pub max_message_bytes: u32,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub compression: StoredCompression,
}

impl TopicSettings {
    /// Settings of a topic that sets `topic` itself, on a broker with these layers.
    pub fn resolve(layers: Layers<'_>, topic: &Overrides) -> TopicSettings {
        let read = Reader {
            layers,
            topic: Some(topic),
        };
        let cleanup = read.items("cleanup.policy");
        let segment_bytes: u32 = match read.number_if_set("internal.segment.bytes") {
            Some(bytes) => u32::try_from(bytes.max(1)).unwrap_or(u32::MAX),
            None => read.count("segment.bytes"),
        };
        TopicSettings {
            durability: durability(&read.text("corelog.durability")),
            min_insync_replicas: read.count("min.insync.replicas"),
            cleanup_delete: cleanup.iter().any(|policy| policy == "delete"),
            cleanup_compact: cleanup.iter().any(|policy| policy == "compact"),
            dirty_ratio_min: read.ratio("min.cleanable.dirty.ratio"),
            delete_retention_ms: read.number("delete.retention.ms"),
            compaction_lag_min_ms: read.number("min.compaction.lag.ms"),
            compaction_lag_max_ms: read.number("max.compaction.lag.ms"),
            retention_ms: Some(read.number("retention.ms")).filter(|&ms| ms >= 0),
            retention_bytes: read.count_unless_negative("retention.bytes"),
            segment_bytes,
            segment_ms: read.number("segment.ms"),
            segment_jitter_ms: read.number("segment.jitter.ms"),
            segment_index_bytes: read.count("segment.index.bytes"),
            index_interval_bytes: read.count("index.interval.bytes"),
            file_delete_delay: read.ms("file.delete.delay.ms"),
            max_message_bytes: read.count("max.message.bytes"),
            timestamp_type: match read.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: read.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: read.number("message.timestamp.after.max.ms"),
            compression: stored_compression(&read),
        }
    }
}

fn durability(text: &str) -> Durability {
    match text {
        "written" => Durability::Written,
        "memory" => Durability::Memory,
        _ => Durability::Sync,
    }
}

fn stored_compression(read: &Reader<'_>) -> StoredCompression {
    match read.text("compression.type").as_str() {
        "uncompressed" => StoredCompression::Uncompressed,
        "gzip" => StoredCompression::Gzip {
            level: Some(read.count("compression.gzip.level")).filter(|&level: &i32| level >= 0),
        },
        "snappy" => StoredCompression::Snappy,
        "lz4" => StoredCompression::Lz4 {
            level: read.count("compression.lz4.level"),
        },
        "zstd" => StoredCompression::Zstd {
            level: read.count("compression.zstd.level"),
        },
        _ => StoredCompression::Producer,
    }
}
