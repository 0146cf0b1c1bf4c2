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
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::IncrementalAlterConfigsResponse;
    use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    #[test]
    fn the_reply_is_that_of_the_older_request_one_version_later() {
        let name = StrBytes::from_static_str("t");
        let resource = AlterConfigsResourceResponse::default()
            .with_error_message(None)
            .with_resource_type(2)
            .with_resource_name(name.clone());
        let own = IncrementalAlterConfigsResponse::default().with_responses(vec![resource]);
        let shared = alter_configs::response([(2, name)].into_iter(), Ok(vec![Ok(())]));
        for version in 0..=1 {
            let (mut expected, mut found) = (BytesMut::new(), BytesMut::new());
            own.encode(&mut expected, version).expect("encodes");
            let version = version + LEGACY_VERSION;
            shared.encode(&mut found, version).expect("encodes");
            assert_eq!(found, expected);
        }
    }
}
