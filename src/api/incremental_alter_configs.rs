//! IncrementalAlterConfigs: changes of single properties; the controller decides.

use std::rc::Rc;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;

use super::{Context, Failure, Request, alter_configs};
use crate::cluster::controller::{
    AlterOp, ConfigAlteration, IncrementalAlterConfigs, ResourceAlteration,
    incremental_alter_configs,
};
use crate::protocol::reply::Reply;

/// The version of AlterConfigs whose reply looks like that of version 0; so on from there.
const LEGACY_VERSION: i16 = 1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: IncrementalAlterConfigsRequest = request.decode()?;
    let wanted = IncrementalAlterConfigs {
        resources: asked.resources.iter().map(alteration).collect(),
        validate_only: asked.validate_only,
    };
    let outcome = context
        .broker
        .control(move |context| incremental_alter_configs(context, &wanted))
        .await;
    let resources = asked.resources.into_iter();
    let resources = resources.map(|resource| (resource.resource_type, resource.resource_name));
    let version = request.header.api_version + LEGACY_VERSION;
    let response = alter_configs::response(resources, outcome);
    Ok(Reply::encode_as(&request.header, version, &response)?)
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

#[cfg(test)]
mod tests;
