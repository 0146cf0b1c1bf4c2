//! AlterConfigs: replaces all properties of a resource, as old clients do; the controller decides.

use std::rc::Rc;

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Context, Failure, Request, errors};
use crate::cluster::controller::{
    AlterConfigsReply, LegacyAlterConfigs, ResourceReplacement, legacy_alter_configs,
};
use crate::cluster::driver::ControlFailure;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: AlterConfigsRequest = request.decode()?;
    let wanted = LegacyAlterConfigs {
        resources: asked.resources.iter().map(replacement).collect(),
        validate_only: asked.validate_only,
    };
    let outcome = context
        .broker
        .control(move |context| legacy_alter_configs(context, &wanted))
        .await;
    let resources = asked.resources.into_iter();
    let resources = resources.map(|resource| (resource.resource_type, resource.resource_name));
    let response = response(resources, outcome);
    Ok(Reply::encode(&request.header, &response)?)
}

/// What became of each resource, given by its type and name. IncrementalAlterConfigs answers in this
/// form as well.
pub(super) fn response(
    resources: impl ExactSizeIterator<Item = (i8, StrBytes)>,
    outcome: Result<AlterConfigsReply, ControlFailure>,
) -> AlterConfigsResponse {
    let outcomes = errors::each(outcome, resources.len());
    let responses = resources.zip(outcomes);
    let responses = responses.map(|((kind, name), (code, message))| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(kind)
            .with_resource_name(name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn replacement(resource: &AlterConfigsResource) -> ResourceReplacement {
    let configs = resource.configs.iter().map(|config| {
        let value = config.value.as_ref().map(ToString::to_string);
        (config.name.to_string(), value)
    });
    ResourceReplacement {
        resource_type: resource.resource_type,
        name: resource.resource_name.to_string(),
        configs: configs.collect(),
    }
}
