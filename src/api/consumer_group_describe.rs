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
use crate::turns::Turns;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: ConsumerGroupDescribeRequest = request.decode()?;
    let mut turns = Turns::on(context.broker.shard.io());
    let ids = turns.distinct(asked.group_ids).await;
    let groups: Vec<DescribedGroup> = match serves_consumer_groups(&context.broker) {
        true => {
            let questions = ids.iter();
            let questions = questions.map(|group| (group.to_string(), group.clone()));
            let questions = questions.collect();
            let answers = ask_each(&context.broker, questions, Input::ConsumerDescribe).await;
            let groups = ids.into_iter().zip(answers);
            groups.map(|(id, answer)| describe(id, answer)).collect()
        }
        false => {
            let refused = |id| refused(id, ResponseError::UnsupportedVersion);
            ids.into_iter().map(refused).collect()
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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};

    #[test]
    fn a_group_that_is_named_again_and_again_is_described_once() {
        let ids = ["g", "h", "g", "g"].map(|id| GroupId(StrBytes::from_static_str(id)));
        let asked = ConsumerGroupDescribeRequest::default().with_group_ids(ids.to_vec());
        let told = on_a_broker(image_of(&[], &[]), async move |context| {
            let api = (ApiKey::ConsumerGroupDescribe, 1);
            let response: ConsumerGroupDescribeResponse = ask(&context, api, &asked, handle).await;
            response.groups
        });
        let told: Vec<&str> = told.iter().map(|group| &**group.group_id).collect();
        assert_eq!(told, ["g", "h"]);
    }
}
