//! Bytes to types and back: what arrives on a socket, and what leaves by it.
//!
//! In the order of the data: [`frame`] cuts a byte stream into requests, [`header`] reads whose
//! request it is, then Produce and Fetch are decoded by hand ([`produce`], [`fetch`]) without copying
//! records, and every other API by the generated decoders behind a guard against lying lengths
//! ([`bounded`]). A reply is a complete frame as a few slices ([`reply`]).
//!
//! Everything here is synchronous, owns no I/O and never trusts a length: memory follows the bytes
//! that have really arrived, not what they claim. It does not know which versions are served (that
//! is the table in `api`) nor what a request means.

pub mod bounded;
pub mod fetch;
pub mod frame;
pub mod header;
pub mod log_dirs;
pub mod offsets;
pub mod produce;
pub mod reply;
pub mod wire;

#[cfg(test)]
pub(crate) mod testing;

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// Why bytes could not be read as the message they claim to be. The connection is closed for any of
/// these, as Kafka does; the text goes into the one log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before the field does, or a length claims more than there is.
    Truncated,
    /// A length below -1, or -1 where null is not allowed.
    BadLength(i64),
    /// A string that is not UTF-8, or longer than the protocol allows.
    BadString,
    /// A tagged field whose content is not as long as it says, or that this version does not have.
    BadTag(u32),
    /// More entries than any real client sends.
    TooManyEntries,
    /// A version that this decoder does not know.
    Version(i16),
    /// What the generated decoder says.
    Generated(String),
    /// A decoder panicked; its message.
    Panicked(String),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Truncated => f.write_str("it ends before its fields do"),
            Malformed::BadLength(len) => write!(f, "a length of {len} is not allowed"),
            Malformed::BadString => f.write_str("a string is not valid"),
            Malformed::BadTag(tag) => write!(f, "tagged field {tag} is not valid"),
            Malformed::TooManyEntries => f.write_str("too many entries"),
            Malformed::Version(version) => write!(f, "version {version} is not known"),
            Malformed::Generated(what) => f.write_str(what),
            Malformed::Panicked(what) => write!(f, "its decoder failed: {what}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// How a request names a topic: by name, or (in newer versions) by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    Name(StrBytes),
    Id(Uuid),
}

/// Which records a reader may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All.
    ReadUncommitted,
    /// None of an open transaction or behind it, and none of an aborted one.
    ReadCommitted,
}

impl Isolation {
    /// In the protocol's numbering; `None` for a number that stands for neither.
    pub fn of(level: i8) -> Option<Self> {
        match level {
            0 => Some(Self::ReadUncommitted),
            1 => Some(Self::ReadCommitted),
            _ => None,
        }
    }
}

/// Address of a node that a reply points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

/// The leader a client should turn to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

impl LeaderIdAndEpoch {
    fn write(self, out: &mut wire::Writer<'_>) {
        out.i32(self.leader_id);
        out.i32(self.leader_epoch);
        out.tagged_fields(0);
    }
}

impl NodeEndpoint {
    fn write_all(endpoints: &[NodeEndpoint], out: &mut wire::Writer<'_>) {
        out.len(Some(endpoints.len()));
        for endpoint in endpoints {
            out.i32(endpoint.node_id);
            out.string(&endpoint.host);
            out.i32(endpoint.port);
            out.nullable_string(endpoint.rack.as_deref());
            out.tagged_fields(0);
        }
    }
}
