//! JoinGroup: a member enters a group of the classic protocol, and waits until the others have done so, too.

use std::rc::Rc;

use corelog_shards::io::Landmark;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::groups::{ask_long, caller, check_texts};
use super::{Context, Failure, Request, errors};
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

/// From here on an answer may be without a protocol; before, that is one with an empty name.
const HAS_NO_PROTOCOL: i16 = 7;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: JoinGroupRequest = request.decode()?;
    let protocols = asked
        .protocols
        .iter()
        .map(|protocol| protocol.name.as_str());
    let instance = asked.group_instance_id.as_deref();
    let texts = [&*asked.group_id, &*asked.member_id, &*asked.protocol_type];
    check_texts(texts.into_iter().chain(instance).chain(protocols))?;
    let member_id = asked.member_id.clone();
    let outcome = match check(&context, &asked) {
        Ok(()) => {
            let caller = caller(&context, &request.header);
            let group = asked.group_id.clone();
            let _waiting = context.broker.shard.io().within(Landmark::Rebalancing);
            let answer = ask_long(&context, &group, move |to| Input::Join(asked, caller, to));
            answer.await.map_err(errors::of_refusal)
        }
        Err(error) => Err(error),
    };
    let mut response = outcome.unwrap_or_else(|error| {
        JoinGroupResponse::default()
            .with_error_code(error.code())
            .with_member_id(member_id)
    });
    let protocol = response.protocol_name.filter(|name| !name.is_empty());
    response.protocol_name = match request.header.api_version < HAS_NO_PROTOCOL {
        true => Some(protocol.unwrap_or_default()),
        false => protocol,
    };
    Ok(Reply::encode(&request.header, &response)?)
}

fn check(context: &Context, asked: &JoinGroupRequest) -> Result<(), ResponseError> {
    let config = context.broker.config();
    let config = &config.groups.classic;
    let (min, max) = (config.session_timeout_min, config.session_timeout_max);
    let session_ms = i128::from(asked.session_timeout_ms);
    if asked.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else if session_ms < min.as_millis() as i128 || session_ms > max.as_millis() as i128 {
        Err(ResponseError::InvalidSessionTimeout)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{ApiKey, GroupId};
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};

    #[test]
    fn unfit_session_times_are_refused() {
        const NOT_COORDINATOR: i16 = 16;
        const INVALID_SESSION_TIMEOUT: i16 = 26;
        on_a_broker(image_of(&[], &[]), async move |context| {
            let (fits, does_not) = (NOT_COORDINATOR, INVALID_SESSION_TIMEOUT);
            for (session_timeout_ms, code) in [
                (6_000, fits),
                (5_999, does_not),
                (1_800_000, fits),
                (1_800_001, does_not),
                (-1, does_not),
            ] {
                let body = JoinGroupRequest::default()
                    .with_group_id(GroupId(StrBytes::from_static_str("g")))
                    .with_member_id(StrBytes::from_static_str("anybody"))
                    .with_session_timeout_ms(session_timeout_ms);
                let api = (ApiKey::JoinGroup, 9);
                let reply: JoinGroupResponse = ask(&context, api, &body, handle).await;
                let told = (reply.error_code, reply.generation_id, &*reply.member_id);
                assert_eq!(told, (code, -1, "anybody"), "{session_timeout_ms} ms");
            }
        });
    }

    #[test]
    fn a_refusal_names_no_protocol() {
        on_a_broker(image_of(&[], &[]), async move |context| {
            for (version, protocol) in [(6, Some("")), (7, None), (9, None)] {
                let body = JoinGroupRequest::default()
                    .with_group_id(GroupId(StrBytes::from_static_str("g")))
                    .with_session_timeout_ms(6_000);
                let api = (ApiKey::JoinGroup, version);
                let reply: JoinGroupResponse = ask(&context, api, &body, handle).await;
                assert_ne!(reply.error_code, 0);
                assert_eq!(
                    reply.protocol_name.as_deref(),
                    protocol,
                    "version {version}"
                );
            }
        });
    }
}
