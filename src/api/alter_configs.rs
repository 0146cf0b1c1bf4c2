//! AlterConfigs: replaces all properties of a resource, as old clients do; the controller decides.

use std::rc::Rc;

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::{Context, Request, errors};
use crate::cluster::controller::{LegacyAlterConfigs, ResourceReplacement, legacy_alter_configs};
use crate::protocol::Malformed;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Malformed> {
    let asked: AlterConfigsRequest = request.decode()?;
    let wanted = LegacyAlterConfigs {
        resources: asked.resources.iter().map(replacement).collect(),
        validate_only: asked.validate_only,
    };
    let outcome = context
        .broker
        .control(move |context| legacy_alter_configs(context, &wanted))
        .await;
    let outcomes = errors::each(outcome, asked.resources.len());
    let responses = asked.resources.iter().zip(outcomes);
    let responses = responses.map(|(resource, (code, message))| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    let response = AlterConfigsResponse::default().with_responses(responses.collect());
    Ok(Reply::encode(&request.header, &response))
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
