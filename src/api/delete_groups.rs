//! DeleteGroups: groups without members go, with all they have committed.

use std::rc::Rc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::groups::ask_each;
use super::{Context, Failure, Request, errors};
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: DeleteGroupsRequest = request.decode()?;
    let mut turns = Turns::on(context.broker.shard.io());
    let groups = turns.distinct(asked.groups_names).await;
    let questions = groups.iter();
    let questions = questions.map(|group| (group.to_string(), group.clone()));
    let answers = ask_each(&context.broker, questions.collect(), Input::Delete).await;
    let results = groups.into_iter().zip(answers);
    let results = results.map(|(group, answer)| {
        answer.unwrap_or_else(|refusal| {
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(errors::of_refusal(refusal).code())
        })
    });
    let response = DeleteGroupsResponse::default().with_results(results.collect());
    Ok(Reply::encode(&request.header, &response)?)
}
