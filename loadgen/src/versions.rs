//! Which version of each API a connection speaks: the newest that the broker and this generator both know, by
//! ApiVersions at the beginning of the connection.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Decodable, Message, Request, StrBytes};

use crate::client::error_name;

/// ApiVersions as it is asked first. A broker that does not know it answers in version 0, which all know.
pub const ASKED_FIRST: i16 = 3;

/// The versions that a broker serves, from the first to the last, by API key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(BTreeMap<i16, (i16, i16)>);

/// What a broker said when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These it serves.
    Served(Versions),
    /// It is too old for the question, which is to be asked again in version 0.
    AskOlder,
}

/// The question.
pub fn request() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("corelog-loadgen"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")))
}

/// Reads the answer to the question of that version, without its header.
pub fn answer(mut body: Bytes, version: i16) -> Result<Answer> {
    let unsupported = ResponseError::UnsupportedVersion.code();
    if version > 0 && body.starts_with(&unsupported.to_be_bytes()) {
        return Ok(Answer::AskOlder);
    }
    let reply = ApiVersionsResponse::decode(&mut body, version).context("ApiVersions")?;
    ensure!(
        reply.error_code == 0,
        "ApiVersions: {}",
        error_name(reply.error_code)
    );
    let served = reply.api_keys.iter();
    Ok(Answer::Served(Versions(
        served
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect(),
    )))
}

impl Versions {
    /// The newest version of an API that both sides know, and none above `bound`. An error names both ranges.
    pub fn newest<R: Request>(&self, bound: i16) -> Result<i16> {
        self.within::<R>(i16::MIN, bound)
    }

    /// The same, and none below `least`.
    pub fn within<R: Request>(&self, least: i16, bound: i16) -> Result<i16> {
        let own = <R as Message>::VERSIONS;
        let least = least.max(own.min);
        let name =
            ApiKey::try_from(R::KEY).map_or(format!("API {}", R::KEY), |key| format!("{key:?}"));
        let Some(&(first, last)) = self.0.get(&R::KEY) else {
            bail!("the broker does not serve {name}");
        };
        let bound = bound.min(own.max);
        let newest = bound.min(last);
        ensure!(
            newest >= least.max(first),
            "the broker serves versions {first} to {last} of {name}, the generator speaks {least} to {bound}"
        );
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{FetchRequest, ProduceRequest};
    use kafka_protocol::protocol::Encodable;

    use super::*;

    fn served(all: &[(i16, i16, i16)]) -> Versions {
        let api_keys = all.iter().map(|(key, least, most)| {
            ApiVersion::default()
                .with_api_key(*key)
                .with_min_version(*least)
                .with_max_version(*most)
        });
        let reply = ApiVersionsResponse::default().with_api_keys(api_keys.collect());
        let mut body = BytesMut::new();
        reply.encode(&mut body, ASKED_FIRST).unwrap();
        match answer(body.freeze(), ASKED_FIRST).unwrap() {
            Answer::Served(versions) => versions,
            Answer::AskOlder => panic!("it is not too old"),
        }
    }

    #[test]
    fn the_newest_common_version_is_taken() {
        let versions = served(&[(0, 3, 9), (1, 4, 99)]);
        assert_eq!(versions.newest::<ProduceRequest>(i16::MAX).unwrap(), 9);
        assert_eq!(versions.newest::<ProduceRequest>(7).unwrap(), 7);
        let newest = <FetchRequest as Message>::VERSIONS.max;
        assert_eq!(versions.newest::<FetchRequest>(i16::MAX).unwrap(), newest);
    }

    #[test]
    fn without_a_common_version_both_ranges_are_named() {
        let versions = served(&[(0, 0, 2)]);
        let error = versions
            .newest::<ProduceRequest>(12)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the broker serves versions 0 to 2 of Produce, the generator speaks 3 to 12"
        );
        let error = versions.newest::<FetchRequest>(12).unwrap_err().to_string();
        assert_eq!(error, "the broker does not serve Fetch");
    }

    #[test]
    fn a_broker_that_is_too_old_for_the_question_is_asked_an_older_one() {
        let body = Bytes::from_static(&[0, 35, 0, 0, 0, 0]);
        assert_eq!(answer(body, ASKED_FIRST).unwrap(), Answer::AskOlder);
        assert!(answer(Bytes::from_static(&[0, 35, 0, 0, 0, 0]), 0).is_err());
        assert!(answer(Bytes::from_static(&[0]), ASKED_FIRST).is_err());
    }
}
