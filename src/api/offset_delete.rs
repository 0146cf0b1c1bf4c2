//! OffsetDelete: a group forgets how far it has read of topics that it does not read any more.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::groups::ask;
use super::{Context, Failure, Request, errors};
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: OffsetDeleteRequest = request.decode()?;
    let outcome = match asked.group_id.is_empty() {
        true => Err(ResponseError::InvalidGroupId),
        false => {
            let group = asked.group_id.clone();
            let input = move |to| Input::DeleteOffsets(asked, to);
            let answer = ask(&context.broker, &group, input).await;
            answer.map_err(errors::of_refusal)
        }
    };
    let response = outcome
        .unwrap_or_else(|error| OffsetDeleteResponse::default().with_error_code(error.code()));
    Ok(Reply::encode(&request.header, &response)?)
}
