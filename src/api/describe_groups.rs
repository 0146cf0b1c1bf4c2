//! DescribeGroups: state, members and their assignments of groups of the classic protocol.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::groups::ask_each;
use super::view::GROUP_OPERATIONS;
use super::{Context, Failure, Request, errors};
use crate::coordinator::Refusal;
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// From here on clients want to know what they may do.
const TELLS_OPERATIONS: i16 = 3;
/// From here on it is an error to ask for a group that is not there; before, it is dead.
const MISSES_GROUPS: i16 = 6;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DescribeGroupsRequest = request.decode()?;
    let version = request.header.api_version;
    let mut turns = Turns::on(context.broker.shard.io());
    let groups = turns.distinct(asked.groups).await;
    let questions = groups.iter();
    let questions = questions.map(|group| (group.to_string(), group.clone()));
    let answers = ask_each(&context.broker, questions.collect(), Input::Describe).await;
    let groups = groups.into_iter().zip(answers);
    let groups = groups.map(|(id, answer)| {
        let group = describe(version, id, answer);
        let is_told = version >= TELLS_OPERATIONS && asked.include_authorized_operations;
        match is_told && group.error_code == 0 {
            true => group.with_authorized_operations(GROUP_OPERATIONS),
            false => group,
        }
    });
    let response = DescribeGroupsResponse::default().with_groups(groups.collect());
    Ok(Reply::encode(&request.header, &response)?)
}

fn describe(
    version: i16,
    id: GroupId,
    answer: Result<Result<DescribedGroup, String>, Refusal>,
) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead"));
    match answer {
        Ok(Ok(group)) => group.with_group_id(id),
        Ok(Err(text)) if version >= MISSES_GROUPS => dead
            .with_error_code(ResponseError::GroupIdNotFound.code())
            .with_error_message(Some(errors::message(text)))
            .with_group_id(id),
        Ok(Err(_)) => dead.with_group_id(id),
        Err(refusal) => DescribedGroup::default()
            .with_error_code(errors::of_refusal(refusal).code())
            .with_group_id(id),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};

    #[test]
    fn a_group_that_is_not_there_is_dead_and_later_on_an_error() {
        let missing = |version| {
            let answer = Ok(Err("Group g not found.".to_owned()));
            let group = describe(version, GroupId(StrBytes::from_static_str("g")), answer);
            (group.error_code, group.group_state.to_string())
        };
        assert_eq!(missing(5), (0, "Dead".to_owned()));
        assert_eq!(missing(6), (69, "Dead".to_owned()));
    }

    #[test]
    fn a_group_that_is_named_again_and_again_is_described_once() {
        let ids = ["g", "h", "g", "g"].map(|id| GroupId(StrBytes::from_static_str(id)));
        let asked = DescribeGroupsRequest::default().with_groups(ids.to_vec());
        let told = on_a_broker(image_of(&[], &[]), async move |context| {
            let api = (ApiKey::DescribeGroups, 6);
            let response: DescribeGroupsResponse = ask(&context, api, &asked, handle).await;
            response.groups
        });
        let told: Vec<&str> = told.iter().map(|group| &**group.group_id).collect();
        assert_eq!(told, ["g", "h"]);
    }
}
