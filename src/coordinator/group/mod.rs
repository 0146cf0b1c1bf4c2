//! The coordinator of consumer groups, of both protocols, and of committed offsets.

pub mod assignor;
pub mod classic;
pub mod consumer;
pub mod records;

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Empty if the client gives none.
    pub client_id: String,
    /// As Kafka writes it, like `/127.0.0.1`.
    pub client_host: String,
    /// Of the request.
    pub version: i16,
}
