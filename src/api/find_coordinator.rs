//! FindCoordinator: nobody coordinates yet, which clients are told in the words of a Kafka whose
//! coordinators are still starting.

use std::rc::Rc;

use corelog_shards::log::uuid_text;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::view::{NOBODY, text};
use super::{Context, Failure, Request};
use crate::protocol::reply::Reply;

/// From here on many keys are asked for together.
const BATCHED: i16 = 4;
/// From here on there are coordinators of share groups.
const KNOWS_SHARE: i16 = 6;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
const UNKNOWN_KIND: &str = "This most likely occurs because of a request being malformed by the \
                            client library or the message was sent to an incompatible broker. See \
                            the broker logs for more details.";
/// Port of nobody.
const NO_PORT: i32 = -1;

pub async fn handle(_: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: FindCoordinatorRequest = request.decode()?;
    let response = answer(request.header.api_version, asked);
    Ok(Reply::encode(&request.header, &response)?)
}

fn answer(version: i16, asked: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let is_known = match asked.key_type {
        GROUP | TRANSACTION => true,
        SHARE => version >= KNOWS_SHARE,
        _ => false,
    };
    if version < BATCHED {
        let (error, message) = match is_known {
            true => (
                ResponseError::CoordinatorNotAvailable,
                "The coordinator is not available.",
            ),
            false => (ResponseError::InvalidRequest, UNKNOWN_KIND),
        };
        return FindCoordinatorResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
            .with_node_id(NOBODY)
            .with_port(NO_PORT);
    }
    let coordinators = asked.coordinator_keys.into_iter().map(|key| {
        // Here the message of an ordinary answer stays empty.
        let (error, message) = match is_known {
            false => (ResponseError::InvalidRequest, UNKNOWN_KIND),
            true if asked.key_type == SHARE && !is_share_key(&key) => {
                (ResponseError::InvalidRequest, "")
            }
            true => (ResponseError::CoordinatorNotAvailable, ""),
        };
        Coordinator::default()
            .with_key(key)
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
            .with_node_id(NOBODY)
            .with_port(NO_PORT)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

/// Whether it is `group:topic id:partition`.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.split(':');
    let (Some(group), Some(topic), Some(partition), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    !group.trim().is_empty()
        && uuid_text::parse(topic).is_some()
        && partition.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_answered() {
        let asked = FindCoordinatorRequest::default().with_key(text("group"));
        assert_eq!(answer(3, asked).error_code, 15);
        let keys = vec![text("a"), text("b")];
        let asked = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        let response = answer(4, asked.clone().with_key_type(TRANSACTION));
        let codes: Vec<i16> = response.coordinators.iter().map(|c| c.error_code).collect();
        assert_eq!((response.error_code, codes), (0, vec![15, 15]));
        let keys = [
            "g:AAAAAAAAAAAAAAAAAAAAAQ:0",
            "g",
            "g:b:0",
            " :AAAAAAAAAAAAAAAAAAAAAQ:0",
        ];
        let keys = keys.into_iter().map(text).collect();
        let share = asked.with_coordinator_keys(keys).with_key_type(SHARE);
        let codes = |version| -> Vec<i16> {
            let coordinators = answer(version, share.clone()).coordinators;
            coordinators.iter().map(|one| one.error_code).collect()
        };
        assert_eq!(codes(5), [42; 4]);
        assert_eq!(codes(6), [15, 42, 42, 42]);
    }
}
