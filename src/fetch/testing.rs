//! Partitions and outcomes for tests of sessions.

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Outcome, Wanted};
use crate::protocol::TopicRef;
use crate::protocol::fetch::{FetchPartition, ForgottenTopic};

pub fn topic() -> TopicRef {
    TopicRef::Name(StrBytes::from_static_str("t"))
}

pub fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
    Wanted {
        topic: topic(),
        name: None,
        params: FetchPartition {
            partition,
            current_leader_epoch: -1,
            fetch_offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 1 << 20,
            replica_directory_id: Uuid::nil(),
            high_watermark: i64::MAX,
        },
    }
}

pub fn forgotten(partitions: &[i32]) -> Vec<ForgottenTopic> {
    vec![ForgottenTopic {
        topic: topic(),
        partitions: partitions.to_vec(),
    }]
}

/// Nothing to send, at this high watermark.
pub fn idle(high_watermark: i64) -> Outcome {
    Outcome {
        high_watermark,
        log_start_offset: 0,
        has_records: false,
        is_error: false,
        is_diverging: false,
    }
}
