//! DescribeCluster: brokers and controller, as clients of the listener see them.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::view::{CLUSTER_OPERATIONS, NOBODY, View, text};
use super::{Context, Failure, Request};
use crate::protocol::reply::Reply;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
/// Before, clients know no error about endpoints.
const KNOWS_ENDPOINT_TYPES: i16 = 1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DescribeClusterRequest = request.decode()?;
    let image = context.broker.image();
    let view = View {
        image: &image,
        listener: &context.listener,
    };
    let response = answer(view, request.header.api_version, &asked);
    Ok(Reply::encode(&request.header, &response)?)
}

fn answer(view: View<'_>, version: i16, asked: &DescribeClusterRequest) -> DescribeClusterResponse {
    let refuse = |error: ResponseError, message: &str| {
        let error = match version >= KNOWS_ENDPOINT_TYPES {
            true => error,
            false => ResponseError::InvalidRequest,
        };
        DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
    };
    match asked.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            return refuse(
                ResponseError::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
                 type CONTROLLER",
            );
        }
        other => {
            return refuse(
                ResponseError::UnsupportedEndpointType,
                &format!("Unsupported endpoint type {other}"),
            );
        }
    }
    let shown = view
        .brokers()
        .filter(|(broker, _)| !broker.fenced || asked.include_fenced_brokers);
    let brokers: Vec<DescribeClusterBroker> = shown
        .map(|(broker, endpoint)| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.id))
                .with_host(text(&endpoint.host))
                .with_port(endpoint.port.into())
                .with_rack(broker.rack.as_deref().map(text))
                .with_is_fenced(broker.fenced)
        })
        .collect();
    let controller = view.controller();
    let is_shown = brokers.iter().any(|broker| broker.broker_id == controller);
    let operations = match asked.include_cluster_authorized_operations {
        true => CLUSTER_OPERATIONS,
        false => i32::MIN,
    };
    DescribeClusterResponse::default()
        .with_error_message(None)
        .with_cluster_id(text(&view.image.cluster_id))
        .with_controller_id(if is_shown { controller } else { NOBODY })
        .with_brokers(brokers)
        .with_cluster_authorized_operations(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::image::Image;

    #[test]
    fn controllers_are_not_described_here() {
        let image = Image::empty("cluster");
        let view = View {
            image: &image,
            listener: "PLAINTEXT",
        };
        let ask = |version, kind| {
            let asked = DescribeClusterRequest::default().with_endpoint_type(kind);
            answer(view, version, &asked).error_code
        };
        assert_eq!(ask(1, BROKERS), 0);
        assert_eq!(ask(1, CONTROLLERS), 114);
        assert_eq!(ask(2, 9), 115);
        assert_eq!(ask(0, 9), 42);
    }
}
