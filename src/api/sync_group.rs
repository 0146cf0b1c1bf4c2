//! SyncGroup: the leader of a group brings the assignments, and every member waits for its own.

use std::rc::Rc;

use corelog_shards::io::Landmark;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::groups::{ask_long, check_texts};
use super::{Context, Failure, Request, errors};
use crate::coordinator::Refusal;
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

/// From here on the protocol has to be named.
const NAMES_PROTOCOL: i16 = 5;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: SyncGroupRequest = request.decode()?;
    let instance = asked.group_instance_id.as_deref();
    let texts = [&*asked.group_id, &*asked.member_id];
    check_texts(texts.into_iter().chain(instance))?;
    let outcome = match check(request.header.api_version, &asked) {
        Ok(()) => {
            let group = asked.group_id.clone();
            let _waiting = context.broker.shard.io().within(Landmark::Rebalancing);
            let answer = ask_long(&context, &group, move |to| Input::Sync(asked, to));
            answer.await.map_err(code_of)
        }
        Err(error) => Err(error),
    };
    let response =
        outcome.unwrap_or_else(|error| SyncGroupResponse::default().with_error_code(error.code()));
    Ok(Reply::encode(&request.header, &response)?)
}

/// Members expect no word of a load here: Java's would give up. The rebalance that they are in is gone with what was in
/// memory, so that they have to join again.
fn code_of(refusal: Refusal) -> ResponseError {
    match refusal {
        Refusal::Loading => ResponseError::RebalanceInProgress,
        refusal => errors::of_refusal(refusal),
    }
}

fn check(version: i16, asked: &SyncGroupRequest) -> Result<(), ResponseError> {
    let is_named = asked.protocol_type.is_some() && asked.protocol_name.is_some();
    if version >= NAMES_PROTOCOL && !is_named {
        Err(ResponseError::InconsistentGroupProtocol)
    } else if asked.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn a_load_is_told_as_a_rebalance() {
        assert_eq!(
            code_of(Refusal::Loading),
            ResponseError::RebalanceInProgress
        );
        assert_eq!(code_of(Refusal::NotHere), ResponseError::NotCoordinator);
    }

    #[test]
    fn newer_members_name_their_protocol() {
        let text = StrBytes::from_static_str;
        let nameless = SyncGroupRequest::default().with_group_id(GroupId(text("g")));
        assert_eq!(check(4, &nameless), Ok(()));
        let inconsistent = Err(ResponseError::InconsistentGroupProtocol);
        assert_eq!(check(5, &nameless), inconsistent);
        let half = nameless.with_protocol_type(Some(text("consumer")));
        assert_eq!(check(5, &half), inconsistent);
        let named = half.with_protocol_name(Some(text("range")));
        assert_eq!(check(5, &named), Ok(()));
        let groupless = named.with_group_id(GroupId::default());
        assert_eq!(check(5, &groupless), Err(ResponseError::InvalidGroupId));
    }
}
