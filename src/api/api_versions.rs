//! ApiVersions: which APIs and versions are served, and the feature levels of the cluster.
//!
//! The one request that is answered in any version. A version from the future gets a reply of
//! version 0 with UNSUPPORTED_VERSION and the versions of ApiVersions itself, after which the client
//! asks again. A client that says nonsense about its software gets INVALID_REQUEST, and nothing
//! happens to its connection.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Api, Context, Failure, Request, TABLE};
use crate::cluster::features::FEATURES;
use crate::cluster::image::Image;
use crate::protocol::reply::Reply;

/// From here on clients can read a feature whose lowest level is 0.
const LEVEL_ZERO_READABLE: i16 = 4;
/// From here on clients tell their name and version.
const TELLS_SOFTWARE: i16 = 3;

/// Feature levels, as the cluster's metadata has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeatureLevels {
    pub supported: Vec<SupportedFeature>,
    /// Name and level of what the cluster has agreed on.
    pub finalized: Vec<(&'static str, i16)>,
    /// Offset of the metadata that this is the state of; -1 while there is none.
    pub epoch: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedFeature {
    pub name: &'static str,
    pub level_min: i16,
    pub level_max: i16,
}

impl FeatureLevels {
    fn of(image: &Image) -> Self {
        let supported = FEATURES.iter().map(|feature| SupportedFeature {
            name: feature.name,
            level_min: feature.min_level,
            level_max: feature.max_level,
        });
        let finalized = FEATURES.iter().filter_map(|feature| {
            let level = image.features.get(feature.name)?;
            Some((feature.name, *level))
        });
        Self {
            supported: supported.collect(),
            finalized: finalized.collect(),
            epoch: image.last_offset,
        }
    }
}

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    answer(&request, || FeatureLevels::of(&context.broker.image()))
}

fn answer(request: &Request, levels: impl FnOnce() -> FeatureLevels) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let own = TABLE
        .iter()
        .find(|api| api.key == ApiKey::ApiVersions)
        .expect("ApiVersions serves itself");
    if !(own.version_min..=own.version_max).contains(&version) {
        let response = failed(ResponseError::UnsupportedVersion).with_api_keys(vec![served(own)]);
        return Ok(Reply::encode_as(&request.header, 0, &response)?);
    }
    let asked: ApiVersionsRequest = request.decode()?;
    let response = if version >= TELLS_SOFTWARE
        && !(is_software_word(&asked.client_software_name)
            && is_software_word(&asked.client_software_version))
    {
        failed(ResponseError::InvalidRequest)
    } else {
        response(version, &levels())
    };
    Ok(Reply::encode(&request.header, &response)?)
}

fn failed(error: ResponseError) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_error_code(error.code())
}

/// Letters and digits, with dots and dashes between them.
fn is_software_word(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    is_end(bytes.first())
        && is_end(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

fn served(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.version_min)
        .with_max_version(api.version_max)
}

fn response(version: i16, features: &FeatureLevels) -> ApiVersionsResponse {
    let response = ApiVersionsResponse::default().with_api_keys(TABLE.iter().map(served).collect());
    if version < TELLS_SOFTWARE {
        return response;
    }
    let supported = features
        .supported
        .iter()
        .filter(|feature| feature.level_min > 0 || version >= LEVEL_ZERO_READABLE)
        .map(|feature| {
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_static_str(feature.name))
                .with_min_version(feature.level_min)
                .with_max_version(feature.level_max)
        })
        .collect();
    let finalized = features
        .finalized
        .iter()
        .map(|(name, level)| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(name))
                .with_min_version_level(*level)
                .with_max_version_level(*level)
        })
        .collect();
    response
        .with_supported_features(supported)
        .with_finalized_features(finalized)
        .with_finalized_features_epoch(features.epoch)
}

#[cfg(test)]
mod tests;
