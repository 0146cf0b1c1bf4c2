//! DescribeConfigs: what is in effect for a topic, this broker or the default of all brokers, and
//! where it comes from. What there is to tell is decided in [`crate::config`].

use std::rc::Rc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::view::text;
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::cluster::controller::{ControlError, ControlErrorKind, validate_topic_name};
use crate::cluster::image::{ConfigResource, ResourceKind};
use crate::config::{
    Described, Overrides, describe_broker, describe_cluster_default, describe_topic,
};
use crate::protocol::reply::Reply;

/// Of a property that nobody knows.
const UNKNOWN_TYPE: i8 = 0;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DescribeConfigsRequest = request.decode()?;
    let is_known = |resource: &DescribeConfigsResource| {
        ResourceKind::from_id(resource.resource_type) != ResourceKind::Unknown
    };
    // One kind that nobody knows spoils the whole request.
    let is_sound = asked.resources.iter().all(is_known);
    let io = context.broker.shard.io();
    let mut slice = io.slice();
    let mut results = Vec::with_capacity(asked.resources.len());
    for resource in &asked.resources {
        let described = match is_sound {
            true => describe(&context.broker, resource),
            false => Err(invalid(
                "This most likely occurs because of a request being malformed by the client \
                 library or the message was sent to an incompatible broker. See the broker logs \
                 for more details.",
            )),
        };
        results.push(result(&asked, resource, described));
        if slice.is_over(io) {
            io.yield_now().await;
            slice = io.slice();
        }
    }
    let response = DescribeConfigsResponse::default().with_results(results);
    Ok(Reply::encode(&request.header, &response)?)
}

fn result(
    asked: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
    described: Result<Vec<Described>, ControlError>,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone());
    match described {
        Ok(described) => {
            let wanted = described.iter().filter(|one| is_wanted(resource, one));
            result.with_configs(wanted.map(|one| tell(asked, one)).collect())
        }
        Err(error) => {
            // An error that says it all comes with an empty message here, not with none.
            let (code, message) = errors::refusal(error);
            let message = message.unwrap_or_default();
            result
                .with_error_code(code)
                .with_error_message(Some(message))
        }
    }
}

fn is_wanted(resource: &DescribeConfigsResource, described: &Described) -> bool {
    match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.is_empty() || keys.iter().any(|key| **key == *described.name),
    }
}

fn describe(
    broker: &Broker,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, ControlError> {
    let (image, nothing) = (broker.image(), Overrides::new());
    let layers = broker.layers(&image, &nothing);
    let name = resource.resource_name.as_str();
    match ResourceKind::from_id(resource.resource_type) {
        ResourceKind::Topic => {
            validate_topic_name(name)?;
            if image.topics.id_of(name).is_none() {
                return Err(ControlErrorKind::UnknownTopic.into());
            }
            let own = image.properties(&ConfigResource::topic(name));
            Ok(describe_topic(layers, own.unwrap_or(&nothing)))
        }
        ResourceKind::Broker if name.is_empty() => Ok(describe_cluster_default(layers.cluster)),
        ResourceKind::Broker => {
            let own = broker.node_id();
            match name.parse::<i32>() {
                Ok(id) if id == own => Ok(describe_broker(layers)),
                Ok(_) => Err(invalid(format!(
                    "Unexpected broker id, expected {own} or empty string, but received {name}"
                ))),
                Err(_) => Err(invalid(format!(
                    "Broker id must be an integer, but it is: {name}"
                ))),
            }
        }
        kind @ (ResourceKind::BrokerLogger
        | ResourceKind::ClientMetrics
        | ResourceKind::Group
        | ResourceKind::Unknown) => Err(invalid(format!(
            "Unsupported resource type: {}",
            kind.name()
        ))),
    }
}

fn invalid(message: impl Into<String>) -> ControlError {
    ControlError::new(ControlErrorKind::InvalidRequest, message)
}

fn tell(asked: &DescribeConfigsRequest, described: &Described) -> DescribeConfigsResourceResult {
    let synonyms = described.synonyms.iter().filter(|_| asked.include_synonyms);
    let synonyms = synonyms.map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(&synonym.name))
            .with_value(synonym.value.as_deref().map(text))
            .with_source(synonym.source.wire_id())
    });
    let documentation = described.doc.filter(|_| asked.include_documentation);
    DescribeConfigsResourceResult::default()
        .with_name(text(&described.name))
        .with_value(described.value.as_deref().map(text))
        .with_read_only(described.read_only)
        .with_config_source(described.source.wire_id())
        .with_is_sensitive(described.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(described.kind.map_or(UNKNOWN_TYPE, |kind| kind.wire_id()))
        .with_documentation(documentation.map(text))
}
