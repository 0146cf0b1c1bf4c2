//! ListGroups: the groups of all partitions that are coordinated here, of all shards.

use std::collections::BTreeSet;
use std::rc::Rc;

use corelog_shards::route::PartitionKey;
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
    let (states, types) = (
        Filter::of(&asked.states_filter),
        Filter::of(&asked.types_filter),
    );
    let mut turns = Turns::on(shard.io());
    let mut groups = Vec::new();
    let mut refused = None;
    for listed in shard.run_on_all(list).await {
        match listed {
            Ok(listed) => {
                for group in listed {
                    if states.passes(&group.group_state) && types.passes(&group.group_type) {
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
        match list_partition(&broker, &key, &mut groups).await {
            // Its coordinator has just left.
            Ok(()) | Err(Refusal::NotHere) => {}
            Err(loading) => return Err(loading),
        }
    }
    Ok(groups)
}

/// The groups of one partition, some of them at a time.
async fn list_partition(
    broker: &Broker,
    key: &PartitionKey,
    groups: &mut Vec<ListedGroup>,
) -> Result<(), Refusal> {
    let mut behind = None;
    loop {
        let asked = broker.groups.ask(key, |to| Input::List(behind, to));
        let listed = asked.reply().await?;
        groups.extend(listed.groups);
        broker.shard.io().yield_now().await;
        behind = listed.behind;
        if behind.is_none() {
            return Ok(());
        }
    }
}

/// Names in lower case; without any, everything passes.
struct Filter(BTreeSet<String>);

impl Filter {
    fn of(names: &[StrBytes]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    fn passes(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.contains(&name.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_let_names_of_any_case_pass() {
        let passes = |names: &[&'static str]| {
            let names: Vec<StrBytes> = names
                .iter()
                .map(|name| StrBytes::from_static_str(name))
                .collect();
            Filter::of(&names).passes("PreparingRebalance")
        };
        assert!(passes(&[]));
        assert!(passes(&["Stable", "preparingrebalance"]));
        assert!(!passes(&["Stable", "nonsense"]));
    }
}
