//! IncrementalAlterConfigs: changes of single properties; the controller decides.

use std::rc::Rc;

use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::{Context, Request, errors};
use crate::cluster::controller::{
    AlterOp, ConfigAlteration, IncrementalAlterConfigs, ResourceAlteration,
    incremental_alter_configs,
};
use crate::protocol::Malformed;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Malformed> {
    let asked: IncrementalAlterConfigsRequest = request.decode()?;
    let wanted = IncrementalAlterConfigs {
        resources: asked.resources.iter().map(alteration).collect(),
        validate_only: asked.validate_only,
    };
    let outcome = context
        .broker
        .control(move |context| incremental_alter_configs(context, &wanted))
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
    let response = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
    Ok(Reply::encode(&request.header, &response))
}

fn alteration(resource: &AlterConfigsResource) -> ResourceAlteration {
    let configs = resource.configs.iter().map(|config| ConfigAlteration {
        name: config.name.to_string(),
        op: AlterOp::from_id(config.config_operation),
        value: config.value.as_ref().map(ToString::to_string),
    });
    ResourceAlteration {
        resource_type: resource.resource_type,
        name: resource.resource_name.to_string(),
        configs: configs.collect(),
    }
}
