//! The values of control records in the metadata log and in its snapshots. They are no metadata
//! records: they have no frame, and a version field of their own.

use crate::schema::{Reader, Version, Wire, structures};

structures! {
    LeaderChangeMessage {
        version: i16,
        leader_id: i32,
        voters: Vec<Voter>,
        granting_voters: Vec<Voter>,
    }

    Voter {
        voter_id: i32,
    }

    SnapshotHeaderMessage {
        version: i16,
        last_contained_log_timestamp: i64,
    }

    SnapshotFooterMessage {
        version: i16,
    }
}

/// The bytes of a control record's value, at version 0 as all of them are here.
#[expect(private_bounds, reason = "only the messages above are meant")]
pub fn encode_control(message: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(Version::flexible(0), &mut out);
    out
}

/// What a snapshot's header says, at any of its versions. None for what is no such message.
pub fn decode_header(value: &[u8]) -> Option<SnapshotHeaderMessage> {
    let mut reader = Reader::new(value);
    SnapshotHeaderMessage::decode(Version::flexible(0), &mut reader).ok()
}
