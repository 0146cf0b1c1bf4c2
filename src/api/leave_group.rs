//! LeaveGroup: members leave a classic group of their own will, or are removed by an operator.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::groups::ask;
use super::{Context, Failure, Request, errors};
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;

/// From here on several members leave together, and each has an answer of its own.
const NAMES_MEMBERS: i16 = 3;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: LeaveGroupRequest = request.decode()?;
    let version = request.header.api_version;
    let members = match version >= NAMES_MEMBERS {
        true => asked.members,
        false => vec![MemberIdentity::default().with_member_id(asked.member_id)],
    };
    let outcome = match asked.group_id.is_empty() {
        true => Err(ResponseError::InvalidGroupId),
        false => {
            let group = asked.group_id.clone();
            let input = move |to| Input::Leave(asked.group_id, members, to);
            let answer = ask(&context.broker, &group, input).await;
            answer.map_err(errors::of_refusal)
        }
    };
    let response = answer(version, outcome);
    Ok(Reply::encode(&request.header, &response)?)
}

fn answer(version: i16, outcome: Result<Vec<MemberResponse>, ResponseError>) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    match outcome {
        Ok(members) if version >= NAMES_MEMBERS => response.with_members(members),
        Ok(members) => {
            let mut codes = members.iter().map(|member| member.error_code);
            response.with_error_code(codes.find(|code| *code != 0).unwrap_or(0))
        }
        Err(error) => response.with_error_code(error.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_member_is_told_by_the_error_of_the_whole() {
        let unknown = MemberResponse::default().with_error_code(25);
        let response = |version| answer(version, Ok(vec![unknown.clone()]));
        assert_eq!(response(2).error_code, 25);
        assert!(response(2).members.is_empty());
        assert_eq!(response(3).error_code, 0);
        assert_eq!(response(3).members, vec![unknown.clone()]);
    }
}
