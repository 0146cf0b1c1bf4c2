//! Committed offsets.

use uuid::Uuid;

use crate::schema::structures;

/// In place of a time that is not known or not set.
pub const NO_TIMESTAMP: i64 = -1;

/// In place of a leader epoch that is not known.
pub const NO_LEADER_EPOCH: i32 = -1;

structures! {
    /// Timestamps are milliseconds since 1970. One with `expire_timestamp`, which clients before
    /// Kafka 2.1 set, is written without leader epoch and topic id. The topic id is nil if it was
    /// not known.
    OffsetCommitValue {
        offset: i64,
        leader_epoch: i32 [since 3 default NO_LEADER_EPOCH],
        metadata: String,
        commit_timestamp: i64,
        expire_timestamp: i64 [only 1 default NO_TIMESTAMP],
        topic_id: Uuid [tag 0 since 4 default Uuid::nil()],
    }
}
