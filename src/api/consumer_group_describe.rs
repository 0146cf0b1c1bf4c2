//! ConsumerGroupDescribe: state, members, what they have and what they are to have, of groups of the consumer protocol.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId,
};

use super::groups::{ask_each, serves_consumer_groups};
use super::view::GROUP_OPERATIONS;
use super::{Context, Failure, Request, errors};
use crate::coordinator::Refusal;
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: ConsumerGroupDescribeRequest = request.decode()?;
    let groups: Vec<DescribedGroup> = match serves_consumer_groups(&context.broker) {
        true => {
            let questions = asked.group_ids.iter();
            let questions = questions.map(|group| (group.to_string(), group.clone()));
            let questions = questions.collect();
            let answers = ask_each(&context.broker, questions, Input::ConsumerDescribe).await;
            let groups = asked.group_ids.into_iter().zip(answers);
            groups.map(|(id, answer)| describe(id, answer)).collect()
        }
        false => {
            let refused = |id| refused(id, ResponseError::UnsupportedVersion);
            asked.group_ids.into_iter().map(refused).collect()
        }
    };
    let groups = groups.into_iter().map(|group| {
        match asked.include_authorized_operations && group.error_code == 0 {
            true => group.with_authorized_operations(GROUP_OPERATIONS),
            false => group,
        }
    });
    let response = ConsumerGroupDescribeResponse::default().with_groups(groups.collect());
    Ok(Reply::encode(&request.header, &response)?)
}

fn describe(
    id: GroupId,
    answer: Result<Result<DescribedGroup, String>, Refusal>,
) -> DescribedGroup {
    match answer {
        _ if id.is_empty() => refused(id, ResponseError::InvalidGroupId),
        Ok(Ok(group)) => group,
        Ok(Err(text)) => refused(id, ResponseError::GroupIdNotFound)
            .with_error_message(Some(errors::message(text))),
        Err(refusal) => refused(id, errors::of_refusal(refusal)),
    }
}

fn refused(id: GroupId, error: ResponseError) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_error_code(error.code())
}
