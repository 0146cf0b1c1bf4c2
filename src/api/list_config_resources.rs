//! ListConfigResources: the names of what can have a configuration.
//!
//! Of groups, those are listed that have settings of their own. Subscriptions of client metrics and
//! loggers of brokers can be asked for, and there are none: what is listed here can be described by
//! DescribeConfigs and altered.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::view::{View, text};
use super::{Context, Failure, Request};
use crate::cluster::image::ResourceKind;
use crate::protocol::reply::Reply;

/// The first version lists the subscriptions of client metrics only.
const METRICS_ONLY: i16 = 0;
/// Everything that may be asked for, in the order of the reply.
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
        ResourceKind::Broker => view
            .brokers()
            .map(|(broker, _)| broker.id.to_string())
            .collect(),
        ResourceKind::Group => {
            let configured = view.image.configs.keys();
            let groups = configured.filter(|resource| resource.kind == ResourceKind::Group);
            groups.map(|group| group.name.clone()).collect()
        }
        ResourceKind::ClientMetrics | ResourceKind::BrokerLogger | ResourceKind::Unknown => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::testing::image_of;
    use crate::cluster::image::{Broker, ConfigResource, Image};
    use crate::cluster::records::{Endpoint, RegisterBrokerRecord};

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

    #[test]
    fn only_what_can_be_described_is_listed() {
        let of_group = ConfigResource::new(ResourceKind::Group, "g");
        let of_metrics = ConfigResource::new(ResourceKind::ClientMetrics, "m");
        let configs = [(of_group, "x", "1"), (of_metrics, "x", "1")];
        let mut image = image_of(&[("t", 1)], &configs);
        let endpoint = Endpoint {
            name: "PLAINTEXT".to_owned(),
            ..Endpoint::default()
        };
        let broker = RegisterBrokerRecord {
            broker_id: 1,
            end_points: vec![endpoint],
            ..RegisterBrokerRecord::default()
        };
        image.brokers.insert(1, Arc::new(Broker::from(&broker)));
        let view = View {
            image: &image,
            listener: "PLAINTEXT",
        };
        let listed = |version| {
            let resources = answer(view, version, &[]).config_resources.into_iter();
            let resources = resources.map(|one| (one.resource_type, one.resource_name.to_string()));
            resources.collect::<Vec<_>>()
        };
        assert_eq!(listed(0), []);
        let expected = [(32, "g"), (4, "1"), (2, "t")];
        assert_eq!(
            listed(1),
            expected.map(|(kind, name)| (kind, name.to_owned()))
        );
    }
}
