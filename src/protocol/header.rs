//! The header in front of every request.
//!
//! Which of its versions a request has follows from API key and API version, so the first two
//! fields are read before the rest. A key that is not in the protocol has no header version: the
//! request cannot be answered and its connection is closed, as in Kafka.
//!
//! ApiVersions is the exception by which clients and brokers of different ages meet: a version from
//! the future is read with the newest known header, and every reply of it has the oldest one.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;

use super::Malformed;
use super::wire::Reader;

/// First request header version with tagged fields.
const FLEXIBLE_HEADER: i16 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: ApiKey,
    pub api_version: i16,
    pub correlation_id: i32,
    /// Empty when the client sent null.
    pub client_id: StrBytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderError {
    UnknownApi { api_key: i16, api_version: i16 },
    Malformed(Malformed),
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeaderError::UnknownApi {
                api_key,
                api_version,
            } => write!(
                f,
                "a request has the unknown API key {api_key} (version {api_version})"
            ),
            HeaderError::Malformed(why) => write!(f, "a request header cannot be read: {why}"),
        }
    }
}

impl std::error::Error for HeaderError {}

impl From<Malformed> for HeaderError {
    fn from(why: Malformed) -> Self {
        HeaderError::Malformed(why)
    }
}

/// Splits a frame into its header and the body that follows.
pub fn decode(mut frame: Bytes) -> Result<(RequestHeader, Bytes), HeaderError> {
    // The client id keeps its fixed-width length in flexible headers too: old brokers had to be
    // able to read it from an ApiVersions request of any version.
    let mut reader = Reader::new(&frame, false);
    let key = reader.i16()?;
    let api_version = reader.i16()?;
    let Ok(api_key) = ApiKey::try_from(key) else {
        return Err(HeaderError::UnknownApi {
            api_key: key,
            api_version,
        });
    };
    let correlation_id = reader.i32()?;
    let client_id = reader.nullable_string()?.unwrap_or_default();
    if api_key.request_header_version(api_version) >= FLEXIBLE_HEADER {
        reader.set_flexible();
        reader.skip_tagged_fields()?;
    }
    let header_bytes = frame.len() - reader.remaining();
    frame.advance(header_bytes);
    Ok((
        RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        },
        frame,
    ))
}

impl RequestHeader {
    /// Whether the reply's header carries tagged fields.
    pub fn has_flexible_reply(&self) -> bool {
        self.api_key.response_header_version(self.api_version) >= 1
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::RequestHeader as Oracle;
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::protocol::testing::Random;

    /// Every API and version of the protocol.
    fn all() -> impl Iterator<Item = (ApiKey, i16)> {
        ApiKey::iter().flat_map(|key| {
            let versions = key.valid_versions();
            (versions.min..=versions.max).map(move |version| (key, version))
        })
    }

    fn encoded(key: i16, version: i16, header_version: i16, client: Option<&str>) -> BytesMut {
        let mut bytes = BytesMut::new();
        Oracle::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(-7)
            .with_client_id(client.map(|id| StrBytes::from_string(id.to_owned())))
            .encode(&mut bytes, header_version)
            .expect("encodes");
        bytes
    }

    #[test]
    fn every_api_and_version_reads_as_the_generated_encoder_wrote_it() {
        for (key, version) in all() {
            for client in [None, Some(""), Some("sensor-ö")] {
                let header_version = key.request_header_version(version);
                let mut bytes = encoded(key as i16, version, header_version, client);
                bytes.extend_from_slice(b"body");
                let (header, body) = decode(bytes.freeze()).expect("decodes");
                assert_eq!(header.api_key, key);
                assert_eq!(header.api_version, version);
                assert_eq!(header.correlation_id, -7);
                assert_eq!(header.client_id.as_str(), client.unwrap_or(""));
                assert_eq!(&body[..], b"body");
            }
        }
    }

    #[test]
    fn api_versions_from_the_future_can_be_read_and_answered_by_anyone() {
        let (header, _) =
            decode(encoded(18, 99, FLEXIBLE_HEADER, Some("new")).freeze()).expect("decodes");
        assert_eq!(header.api_version, 99);
        assert!(!header.has_flexible_reply());
    }

    #[test]
    fn unknown_keys_are_named() {
        for key in [-1, 4, 5, 6, 7, 93, 1_000, i16::MAX] {
            assert_eq!(
                decode(encoded(key, 3, 1, None).freeze()),
                Err(HeaderError::UnknownApi {
                    api_key: key,
                    api_version: 3
                })
            );
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut random = Random::new(1);
        for _ in 0..50_000 {
            let mut bytes = random.bytes(24);
            if random.below(2) == 0 && bytes.len() > 2 {
                bytes[0] = 0;
                bytes[1] = random.below(100) as u8;
            }
            let _ = decode(Bytes::from(bytes));
        }
    }
}
