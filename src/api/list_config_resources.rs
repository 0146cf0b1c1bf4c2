//! ListConfigResources: the names of what can have a configuration.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::view::{View, text};
use super::{Context, Failure, Request};
use crate::cluster::image::{Image, ResourceKind};
use crate::protocol::reply::Reply;

/// The first version lists the subscriptions of client metrics only.
const METRICS_ONLY: i16 = 0;
/// Everything listed, in the order of the reply.
const KINDS: [ResourceKind; 5] = [
    ResourceKind::Group,
    ResourceKind::ClientMetrics,
    ResourceKind::BrokerLogger,
    ResourceKind::Broker,
    ResourceKind::Topic,
];

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: ListConfigResourcesRequest = request.decode()?;
    let image = context.broker.image();
    let view = View {
        image: &image,
        listener: &context.listener,
    };
    let response = answer(view, request.header.api_version, &asked.resource_types);
    Ok(Reply::encode(&request.header, &response)?)
}

fn answer(view: View<'_>, version: i16, asked: &[i8]) -> ListConfigResourcesResponse {
    let served: &[ResourceKind] = match version {
        METRICS_ONLY => &[ResourceKind::ClientMetrics],
        _ => &KINDS,
    };
    let asked: BTreeSet<i8> = asked.iter().copied().collect();
    if !asked
        .iter()
        .all(|id| served.iter().any(|kind| kind.id() == *id))
    {
        let error = ResponseError::UnsupportedVersion;
        return ListConfigResourcesResponse::default().with_error_code(error.code());
    }
    let wanted = served.iter();
    let wanted = wanted.filter(|kind| asked.is_empty() || asked.contains(&kind.id()));
    let resources = wanted.flat_map(|kind| {
        names(view, *kind).into_iter().map(|name| {
            ConfigResource::default()
                .with_resource_name(text(&name))
                .with_resource_type(kind.id())
        })
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}

fn names(view: View<'_>, kind: ResourceKind) -> Vec<String> {
    match kind {
        ResourceKind::Topic => {
            let topics = view.image.topics.iter();
            topics.map(|topic| topic.name.to_string()).collect()
        }
        ResourceKind::Broker | ResourceKind::BrokerLogger => view
            .brokers()
            .map(|(broker, _)| broker.id.to_string())
            .collect(),
        ResourceKind::Group | ResourceKind::ClientMetrics | ResourceKind::Unknown => {
            configured(view.image, kind)
        }
    }
}

/// Those that have a configuration; without one they cannot be told of here.
fn configured(image: &Image, kind: ResourceKind) -> Vec<String> {
    let of_kind = image
        .configs
        .keys()
        .filter(|resource| resource.kind == kind);
    of_kind.map(|resource| resource.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_a_version_does_not_have_are_refused() {
        let image = Image::empty("cluster");
        let view = View {
            image: &image,
            listener: "PLAINTEXT",
        };
        assert_eq!(answer(view, 0, &[]).error_code, 0);
        assert_eq!(answer(view, 1, &[2, 4, 8, 16, 32]).error_code, 0);
        assert_eq!(answer(view, 1, &[2, 3]).error_code, 35);
    }
}
