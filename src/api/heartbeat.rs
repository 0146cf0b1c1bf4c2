//! Heartbeat: a member of a classic group is still there, and is told if there is a rebalance to join.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::groups::{ask, note_fenced};
use super::{Context, Failure, Request, errors};
use crate::coordinator::Refusal;
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: HeartbeatRequest = request.decode()?;
    let outcome = match asked.group_id.is_empty() {
        true => Some(ResponseError::InvalidGroupId),
        false => {
            let group = asked.group_id.clone();
            let input = move |to| Input::Heartbeat(asked, to);
            match ask(&context.broker, &group, input).await {
                Ok(outcome) => outcome,
                // Nobody loses its place for that: sessions begin anew after a load.
                Err(Refusal::Loading) => None,
                Err(refusal) => Some(errors::of_refusal(refusal)),
            }
        }
    };
    note_fenced(&context.broker, outcome);
    let response = HeartbeatResponse::default().with_error_code(errors::code(outcome));
    Ok(Reply::encode(&request.header, &response)?)
}
