//! DescribeConfigs: what is in effect for a topic, a group, this broker or the default of all brokers,
//! and where it comes from. What there is to tell is decided in [`crate::config`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::view::text;
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::cluster::controller::{ControlError, ControlErrorKind, validate_topic_name};
use crate::cluster::image::{ConfigResource, ResourceKind};
use crate::config::{
    Described, Overrides, describe_broker, describe_cluster_default, describe_group, describe_topic,
};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// Of a property that nobody knows.
const UNKNOWN_TYPE: i8 = 0;

/// From here on a text may be longer than 16 bits can say.
const LONG_TEXTS: i16 = 4;
const SHORT_TEXT_BYTES_MAX: usize = i16::MAX as usize;
/// The longest reply, but for names that the client sent itself. A resource has tens of kilobytes
/// with all that can be told of it, and a request has room for very many.
const REPLY_BYTES_MAX: usize = 64 << 20;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DescribeConfigsRequest = request.decode()?;
    let version = request.header.api_version;
    let results = answer(&context.broker, &asked, version, REPLY_BYTES_MAX).await;
    let response = DescribeConfigsResponse::default().with_results(results);
    Ok(Reply::encode(&request.header, &response)?)
}

async fn answer(
    broker: &Broker,
    asked: &DescribeConfigsRequest,
    version: i16,
    mut room_bytes: usize,
) -> Vec<DescribeConfigsResult> {
    let is_known = |resource: &DescribeConfigsResource| {
        ResourceKind::from_id(resource.resource_type) != ResourceKind::Unknown
    };
    // One kind that nobody knows spoils the whole request.
    let is_sound = asked.resources.iter().all(is_known);
    let mut turns = Turns::on(broker.shard.io());
    let wanted = distinct(asked, &mut turns).await;
    let mut results = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let described = match is_sound {
            true => describe(broker, wanted.resource),
            false => Err(invalid(
                "This most likely occurs because of a request being malformed by the client \
                 library or the message was sent to an incompatible broker. See the broker logs \
                 for more details.",
            )),
        };
        let complete = result(asked, version, &wanted, described);
        results.push(fitting(complete, version, &mut room_bytes));
        turns.step().await;
    }
    results
}

/// A resource that is asked for.
struct Wanted<'a> {
    resource: &'a DescribeConfigsResource,
    /// Which of its properties; `None` is all.
    names: Option<BTreeSet<&'a str>>,
}

/// Each resource once, with the properties that are asked for anywhere. Kafka describes a resource
/// as often as it is named, whatever that costs.
async fn distinct<'a>(asked: &'a DescribeConfigsRequest, turns: &mut Turns<'_>) -> Vec<Wanted<'a>> {
    let mut wanted: Vec<Wanted<'a>> = Vec::new();
    let mut places = BTreeMap::new();
    for resource in &asked.resources {
        let keys = resource.configuration_keys.as_ref();
        let keys = keys.filter(|keys| !keys.is_empty());
        let names = keys.map(|keys| keys.iter().map(|key| key.as_str()).collect());
        let place = places.entry((resource.resource_type, resource.resource_name.as_str()));
        match place {
            Entry::Vacant(place) => {
                place.insert(wanted.len());
                wanted.push(Wanted { resource, names });
            }
            Entry::Occupied(place) => {
                let known = &mut wanted[*place.get()].names;
                *known = known
                    .take()
                    .zip(names)
                    .map(|(known, more)| known.union(&more).copied().collect());
            }
        }
        turns.step().await;
    }
    wanted
}

/// The result, or what can be said in its place where it has no room.
fn fitting(
    result: DescribeConfigsResult,
    version: i16,
    room_bytes: &mut usize,
) -> DescribeConfigsResult {
    let mut fits = |result: &DescribeConfigsResult| {
        // What has no size cannot be encoded, which its reply will say.
        let bytes = result.compute_size(version).unwrap_or(0);
        let rest = room_bytes.checked_sub(bytes);
        *room_bytes = rest.unwrap_or(*room_bytes);
        rest.is_some()
    };
    if fits(&result) {
        return result;
    }
    let refused = DescribeConfigsResult::default()
        .with_resource_type(result.resource_type)
        .with_resource_name(result.resource_name)
        .with_error_code(ResponseError::InvalidRequest.code());
    let message = "The reply would be too large: describe fewer resources at once.";
    let explained = refused.clone();
    let explained = explained.with_error_message(Some(StrBytes::from_static_str(message)));
    match fits(&explained) {
        true => explained,
        false => refused.with_error_message(Some(StrBytes::default())),
    }
}

fn result(
    asked: &DescribeConfigsRequest,
    version: i16,
    wanted: &Wanted<'_>,
    described: Result<Vec<Described>, ControlError>,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(wanted.resource.resource_type)
        .with_resource_name(wanted.resource.resource_name.clone());
    match described {
        Ok(described) => {
            let is_wanted = |name: &str| match &wanted.names {
                None => true,
                Some(names) => names.contains(name),
            };
            let told = described
                .iter()
                .filter(|one| is_wanted(&one.name) && is_tellable(version, &one.name));
            result.with_configs(told.map(|one| tell(asked, version, one)).collect())
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

/// Whether a text can be in a reply. A file or an old log may have any.
fn is_tellable(version: i16, text: &str) -> bool {
    version >= LONG_TEXTS || text.len() <= SHORT_TEXT_BYTES_MAX
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
        ResourceKind::Group if name.is_empty() => Err(invalid("Group name must not be empty")),
        // There need not be such a group.
        ResourceKind::Group => {
            let own = image.properties(&ConfigResource::group(name));
            Ok(describe_group(layers, own.unwrap_or(&nothing)))
        }
        kind @ (ResourceKind::BrokerLogger
        | ResourceKind::ClientMetrics
        | ResourceKind::Unknown) => Err(invalid(format!(
            "Unsupported resource type: {}",
            kind.name()
        ))),
    }
}

fn invalid(message: impl Into<String>) -> ControlError {
    ControlError::new(ControlErrorKind::InvalidRequest, message)
}

fn tell(
    asked: &DescribeConfigsRequest,
    version: i16,
    described: &Described,
) -> DescribeConfigsResourceResult {
    let value_of = |value: &Option<String>| {
        let value = value.as_deref().filter(|value| is_tellable(version, value));
        value.map(text)
    };
    let synonyms = described
        .synonyms
        .iter()
        .filter(|synonym| asked.include_synonyms && is_tellable(version, &synonym.name));
    let synonyms = synonyms.map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(&synonym.name))
            .with_value(value_of(&synonym.value))
            .with_source(synonym.source.wire_id())
    });
    let documentation = described.doc.as_deref();
    let documentation = documentation.filter(|_| asked.include_documentation);
    DescribeConfigsResourceResult::default()
        .with_name(text(&described.name))
        .with_value(value_of(&described.value))
        .with_read_only(described.read_only)
        .with_config_source(described.source.wire_id())
        .with_is_sensitive(described.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(described.kind.map_or(UNKNOWN_TYPE, |kind| kind.wire_id()))
        .with_documentation(documentation.map(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{image_of, on_a_broker};
    use crate::cluster::image::Image;

    const TOPIC: i8 = 2;

    fn asked(resources: &[(&str, Option<&[&'static str]>)]) -> DescribeConfigsRequest {
        let resource = |(name, keys): &(&str, Option<&[&'static str]>)| {
            let keys = keys.map(|keys| keys.iter().copied().map(StrBytes::from_static_str));
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(name))
                .with_configuration_keys(keys.map(Iterator::collect))
        };
        let resources = resources.iter().map(resource).collect();
        DescribeConfigsRequest::default()
            .with_resources(resources)
            .with_include_documentation(true)
    }

    fn ask(
        image: Image,
        asked: DescribeConfigsRequest,
        version: i16,
        room_bytes: usize,
    ) -> Vec<DescribeConfigsResult> {
        on_a_broker(image, async move |context| {
            answer(&context.broker, &asked, version, room_bytes).await
        })
    }

    #[test]
    fn a_resource_is_described_once_however_often_it_is_named() {
        let image = image_of(&[("t", 1), ("u", 1)], &[]);
        let retention: &[&str] = &["retention.ms"];
        let request = asked(&[
            ("t", Some(retention)),
            ("u", Some(retention)),
            ("t", Some(&["retention.bytes"])),
            ("u", None),
        ]);
        let results = ask(image, request, 4, REPLY_BYTES_MAX);
        let names: Vec<&str> = results.iter().map(|one| &*one.resource_name).collect();
        assert_eq!(names, ["t", "u"]);
        let of_t = results[0].configs.iter().map(|config| &*config.name);
        assert_eq!(
            of_t.collect::<Vec<_>>(),
            ["retention.bytes", "retention.ms"]
        );
        assert!(results[1].configs.len() > 10);
    }

    #[test]
    fn a_reply_does_not_grow_beyond_its_bounds() {
        let image = image_of(&[("t", 1), ("u", 1), ("v", 1)], &[]);
        let request = asked(&[("t", None), ("u", None), ("v", None)]);
        let whole = ask(image.clone(), request.clone(), 4, REPLY_BYTES_MAX);
        let one_bytes = whole[0].compute_size(4).expect("a size");
        let results = ask(image, request, 4, one_bytes + 100);
        let codes: Vec<i16> = results.iter().map(|one| one.error_code).collect();
        assert_eq!(codes, [0, 42, 42]);
        let lengths = results[1..].iter();
        let lengths = lengths.map(|one| one.error_message.as_ref().map_or(0, |why| why.len()));
        assert_eq!(lengths.collect::<Vec<_>>(), [63, 0]);
        assert_eq!(&*results[2].resource_name, "v");
    }

    #[test]
    fn what_a_version_cannot_hold_is_left_out() {
        let long = "n".repeat(SHORT_TEXT_BYTES_MAX + 1);
        let default = ConfigResource::cluster_default();
        let configs = [(default, long.as_str(), "1")];
        let resource = DescribeConfigsResource::default().with_resource_type(4);
        let resource = resource.with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        for (version, count) in [(3, 0), (4, 1)] {
            let image = image_of(&[], &configs);
            let results = ask(image, request.clone(), version, REPLY_BYTES_MAX);
            assert_eq!(results[0].error_code, 0);
            assert_eq!(results[0].configs.len(), count);
            assert!(results[0].compute_size(version).is_ok());
        }
    }
}
