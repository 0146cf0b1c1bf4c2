//! Groups of the classic protocol.

use bytes::Bytes;

use super::NO_TIMESTAMP;
use crate::schema::structures;

structures! {
    /// `current_state_timestamp`: milliseconds since 1970 at which the group entered its state.
    GroupMetadataValue {
        protocol_type: String,
        generation: i32,
        protocol: Option<String>,
        leader: Option<String>,
        current_state_timestamp: i64 [since 2 default NO_TIMESTAMP],
        members: Vec<MemberMetadata>,
    }

    /// Time-outs are in milliseconds; a rebalance time-out of -1, as records of version 0 have it,
    /// is that of the session.
    MemberMetadata {
        member_id: String,
        group_instance_id: Option<String> [since 3],
        client_id: String,
        client_host: String,
        rebalance_timeout: i32 [since 1 default -1],
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }
}
