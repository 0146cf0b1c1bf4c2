//! ConsumerGroupHeartbeat: all that a member of a consumer group has to say, and what it is assigned.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::groups::{ask, caller, check_texts, note_fenced, serves_consumer_groups};
use super::{Context, Failure, Request, errors};
use crate::coordinator::group::Input;
use crate::coordinator::group::consumer::Rejection;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: ConsumerGroupHeartbeatRequest = request.decode()?;
    check_texts(texts_of(&asked))?;
    let outcome = match serves_consumer_groups(&context.broker) {
        true => {
            let caller = caller(&context, &request.header);
            let group = asked.group_id.clone();
            let input = move |to| Input::ConsumerHeartbeat(asked, caller, to);
            let answer = ask(&context.broker, &group, input).await;
            answer.unwrap_or_else(|refusal| Err((errors::of_refusal(refusal), None)))
        }
        false => Err((ResponseError::UnsupportedVersion, None)),
    };
    let error = outcome.as_ref().err().map(|(error, _)| *error);
    note_fenced(&context.broker, error);
    Ok(Reply::encode(
        &request.header,
        &outcome.unwrap_or_else(refused),
    )?)
}

fn refused((error, text): Rejection) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(error.code())
        .with_error_message(text.map(errors::message))
}

fn texts_of(asked: &ConsumerGroupHeartbeatRequest) -> impl Iterator<Item = &str> {
    let optional = [
        &asked.instance_id,
        &asked.rack_id,
        &asked.subscribed_topic_regex,
        &asked.server_assignor,
    ];
    let topics = asked.subscribed_topic_names.iter().flatten();
    [&**asked.group_id, &*asked.member_id]
        .into_iter()
        .chain(optional.into_iter().flatten().map(|text| &**text))
        .chain(topics.map(|topic| &***topic))
}
