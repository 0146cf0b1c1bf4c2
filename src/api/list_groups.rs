//! ListGroups: the groups of all partitions that are coordinated here, of all shards.

use std::rc::Rc;

use corelog_shards::shard::Shard;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::coordinator::Refusal;
use crate::coordinator::group::Input;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: ListGroupsRequest = request.decode()?;
    let shard = &context.broker.shard;
    let mut turns = Turns::on(shard.io());
    let mut groups = Vec::new();
    let mut refused = None;
    for listed in shard.run_on_all(list).await {
        match listed {
            Ok(listed) => {
                for group in listed {
                    if is_wanted(&asked, &group) {
                        groups.push(group);
                    }
                    turns.step().await;
                }
            }
            Err(refusal) => refused = Some(refusal),
        }
    }
    let response = match refused {
        None => ListGroupsResponse::default().with_groups(groups),
        Some(refusal) => {
            let error = errors::of_refusal(refusal);
            ListGroupsResponse::default().with_error_code(error.code())
        }
    };
    Ok(Reply::encode(&request.header, &response)?)
}

/// The groups of one shard.
async fn list(shard: Shard) -> Result<Vec<ListedGroup>, Refusal> {
    let broker = Broker::of(&shard);
    let mut groups = Vec::new();
    for key in broker.groups.partitions() {
        match broker.groups.ask(&key, Input::List).reply().await {
            Ok(listed) => groups.extend(listed),
            // Its coordinator has just left.
            Err(Refusal::NotHere) => {}
            Err(loading) => return Err(loading),
        }
        shard.io().yield_now().await;
    }
    Ok(groups)
}

/// Whether the filters let a group pass; no filter lets all pass.
fn is_wanted(asked: &ListGroupsRequest, group: &ListedGroup) -> bool {
    let passes = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(value))
    };
    passes(&asked.states_filter, &group.group_state)
        && passes(&asked.types_filter, &group.group_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_about_states_and_types_in_any_case() {
        let text = StrBytes::from_static_str;
        let group = ListedGroup::default()
            .with_group_state(text("PreparingRebalance"))
            .with_group_type(text("classic"));
        let is_wanted = |states: &[&'static str], types: &[&'static str]| {
            let texts = |names: &[&'static str]| names.iter().map(|name| text(name)).collect();
            let asked = ListGroupsRequest::default()
                .with_states_filter(texts(states))
                .with_types_filter(texts(types));
            is_wanted(&asked, &group)
        };
        assert!(is_wanted(&[], &[]));
        assert!(is_wanted(&["Stable", "preparingrebalance"], &["CLASSIC"]));
        assert!(!is_wanted(&["Stable"], &[]));
        assert!(!is_wanted(&[], &["consumer"]));
        assert!(!is_wanted(&[], &["nonsense"]));
    }
}
