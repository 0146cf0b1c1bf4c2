//! What is asked of a group from outside.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, FindCoordinatorRequest, GroupId, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Backoff, Client, error_name, is_retriable, topic_name};

/// The last version that names topics.
const OFFSET_FETCH_VERSION: i16 = 9;
/// That the generator's members speak, too.
const FIND_COORDINATOR_VERSION: i16 = 6;
const DELETE_GROUPS_VERSION: i16 = 2;

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

impl Client {
    /// Where the coordinator of a group is; waits for one, as the first group of a cluster has to.
    pub fn coordinator(&mut self, group: &str, patience: Duration) -> Result<SocketAddr> {
        let GroupId(key) = group_id(group);
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![key]);
        let mut backoff = Backoff::within(patience);
        loop {
            let reply = self.ask(&request, FIND_COORDINATOR_VERSION)?;
            let found = reply.coordinators.first();
            let found = found.context("the broker is too old: groups need Kafka 3.0 or newer")?;
            if found.error_code == 0 {
                let host = (found.host.as_str(), found.port as u16);
                let mut addresses = host.to_socket_addrs()?;
                return addresses.next().context("a coordinator without address");
            }
            ensure!(
                is_retriable(found.error_code) && backoff.wait(),
                "coordinator of group {group}: {}",
                error_name(found.error_code)
            );
        }
    }

    /// How far a group has committed in each partition of these topics, -1 where it has not. To be asked of its
    /// coordinator.
    pub fn committed(
        &mut self,
        group: &str,
        topics: &[String],
        partitions: i32,
    ) -> Result<Vec<i64>> {
        let asked = topics.iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(topic))
                .with_partition_indexes((0..partitions).collect())
        });
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_member_epoch(-1)
            .with_topics(Some(asked.collect()));
        let request = OffsetFetchRequest::default().with_groups(vec![asked]);
        let reply = self.ask(&request, OFFSET_FETCH_VERSION)?;
        let found = reply.groups.first().context("no group in the reply")?;
        let mut committed = vec![-1; topics.len() * partitions as usize];
        let refused = |code: i16| format!("offsets of group {group}: {}", error_name(code));
        ensure!(found.error_code == 0, "{}", refused(found.error_code));
        for topic in &found.topics {
            let at = topics.iter().position(|it| *it == topic.name.as_str());
            let at = at.context("a topic that was not asked for")?;
            for partition in &topic.partitions {
                let code = partition.error_code;
                ensure!(code == 0, "{}", refused(code));
                let at = at * partitions as usize + partition.partition_index as usize;
                let offset = committed.get_mut(at);
                *offset.context("a partition that was not asked for")? = partition.committed_offset;
            }
        }
        Ok(committed)
    }

    /// Deletes a group without members. To be asked of its coordinator.
    pub fn delete_group(&mut self, group: &str) -> Result<()> {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        let reply = self.ask(&request, DELETE_GROUPS_VERSION)?;
        for result in &reply.results {
            let code = result.error_code;
            ensure!(code == 0, "deleting group {group}: {}", error_name(code));
        }
        Ok(())
    }
}
