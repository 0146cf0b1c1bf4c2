//! What consumers tell their leader: `ConsumerProtocolSubscription`, as far as the broker looks into
//! it. All of its versions begin with the topics.

use bytes::Bytes;

use crate::schema::{Reader, Version, Wire, WireError};

/// The protocol type of groups of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// The topics that a consumer subscribes to.
pub(super) fn topics(metadata: &[u8]) -> Result<Vec<String>, WireError> {
    let version = Version::plain(0);
    let mut reader = Reader::new(metadata);
    i16::decode(version, &mut reader)?;
    let topics = Wire::decode(version, &mut reader)?;
    Option::<Bytes>::decode(version, &mut reader)?;
    Ok(topics)
}
