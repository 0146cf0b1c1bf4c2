//! Clients of offsets that are no members: one that commits to a group of its own, as tools and frameworks with an
//! assignment of their own do, and one that reads what all groups have committed.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, TopicName,
};

use super::commits::Place;
use super::plan::Feature;
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

/// The group that nobody is a member of, and the topic it commits to, which stays as it is.
pub const SIMPLE_GROUP: &str = "simple";
pub const STEADY_TOPIC: &str = "steady";
pub const STEADY_PARTITIONS: i32 = 6;

/// Commits, and now and then deletes what it has committed.
pub async fn commit_alone(sim: Rc<Sim>, io: Io) {
    let mut client = sim.client(io, "simple");
    let mut offset = 0;
    loop {
        let pause = 20 + client.below(600);
        client.io().sleep(Duration::from_millis(pause)).await;
        offset += 1;
        let deletes = sim.plan.has(Feature::OffsetDeletion);
        let done = match client.below(60) {
            what @ 0..2 if deletes => {
                let deleted = match what {
                    0 => delete_some(&sim, &mut client).await,
                    _ => delete_group(&sim, &mut client).await,
                };
                if deleted.is_err() {
                    sim.settle(&client).await;
                }
                deleted
            }
            _ => commit_some(&sim, &mut client, offset).await,
        };
        if done.is_err() {
            client.back_off().await;
        }
    }
}

fn place(group: &str, partition: i32) -> Place {
    (group.to_owned(), STEADY_TOPIC.to_owned(), partition)
}

async fn commit_some(sim: &Sim, client: &mut Client, offset: i64) -> Result<(), Lost> {
    let first = client.below(STEADY_PARTITIONS as u64) as i32;
    let count = 1 + client.below((STEADY_PARTITIONS - first) as u64) as i32;
    let partitions = first..first + count;
    commit(sim, client, SIMPLE_GROUP, partitions, offset).await?;
    Ok(())
}

/// Commits an offset to a group that has none, and no members; whether that is done.
pub async fn commit_first(sim: &Sim, client: &mut Client, group: &str) -> Result<bool, Lost> {
    client
        .ask(1..=1, |_| {
            FindCoordinatorRequest::default().with_key(text(group))
        })
        .await?;
    commit(sim, client, group, 0..1, 1).await
}

/// Commits an offset as no member; whether it was taken for all of these partitions.
async fn commit(
    sim: &Sim,
    client: &mut Client,
    group: &str,
    partitions: Range<i32>,
    offset: i64,
) -> Result<bool, Lost> {
    let mut numbers = Vec::new();
    for partition in partitions {
        let at = sim.moment();
        let place = place(group, partition);
        let number = sim.commits.borrow_mut().begin(&place, offset, false, at);
        numbers.push((partition, number));
    }
    let request = |_| {
        let partitions = numbers.iter().map(|(partition, number)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(text(&number.to_string())))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(STEADY_TOPIC)))
            .with_partitions(partitions.collect());
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    };
    let reply = client.ask(2..=9, request).await?;
    let partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
    let mut is_done = true;
    for partition in partitions {
        let meant = numbers
            .iter()
            .find(|(it, _)| *it == partition.partition_index);
        let (_, number) = meant.expect("an answer to what was asked");
        let place = place(group, partition.partition_index);
        let mut commits = sim.commits.borrow_mut();
        is_done &= partition.error_code == 0;
        use ResponseError::*;
        match partition.error_code.err() {
            None => commits.acknowledge(&place, *number, sim.moment()),
            Some(CoordinatorLoadInProgress) => commits.refuse(&place, *number),
            Some(CoordinatorNotAvailable | NotCoordinator) => {}
            // Until the topic is made.
            Some(UnknownTopicOrPartition) => commits.refuse(&place, *number),
            Some(error) => panic!("OffsetCommit of no member: {error:?}"),
        }
    }
    Ok(is_done)
}

async fn delete_some(sim: &Sim, client: &mut Client) -> Result<(), Lost> {
    let partition = client.below(STEADY_PARTITIONS as u64) as i32;
    let place = place(SIMPLE_GROUP, partition);
    let is_meant = |it: &Place| *it == place;
    sim.commits
        .borrow_mut()
        .begin_deletion(is_meant, sim.moment());
    let request = |_| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(STEADY_TOPIC)))
            .with_partitions(vec![partition]);
        OffsetDeleteRequest::default()
            .with_group_id(GroupId(text(SIMPLE_GROUP)))
            .with_topics(vec![topic])
    };
    let reply = client.ask(0..=0, request).await?;
    use ResponseError::*;
    match reply.error_code.err() {
        None => {
            let mut partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
            if partitions.all(|partition| partition.error_code == 0) {
                sim.commits
                    .borrow_mut()
                    .end_deletions(is_meant, sim.moment());
            }
        }
        Some(GroupIdNotFound | CoordinatorLoadInProgress) => {}
        Some(CoordinatorNotAvailable | NotCoordinator) => {}
        Some(error) => panic!("OffsetDelete: {error:?}"),
    }
    Ok(())
}

async fn delete_group(sim: &Sim, client: &mut Client) -> Result<(), Lost> {
    let is_meant = |place: &Place| place.0 == SIMPLE_GROUP;
    sim.commits
        .borrow_mut()
        .begin_deletion(is_meant, sim.moment());
    let request =
        |_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(SIMPLE_GROUP))]);
    let reply = client.ask(0..=2, request).await?;
    use ResponseError::*;
    match reply.results[0].error_code.err() {
        None => sim
            .commits
            .borrow_mut()
            .end_deletions(is_meant, sim.moment()),
        Some(GroupIdNotFound | CoordinatorLoadInProgress) => {}
        Some(CoordinatorNotAvailable | NotCoordinator) => {}
        Some(error) => panic!("DeleteGroups: {error:?}"),
    }
    Ok(())
}

/// Reads all offsets of all groups, again and again.
pub async fn read_all(sim: Rc<Sim>, io: Io) {
    let mut client = sim.client(io, "reader");
    loop {
        let pause = 50 + client.below(1_500);
        client.io().sleep(Duration::from_millis(pause)).await;
        for group in &sim.groups {
            if read_group(&sim, &mut client, group).await.is_err() {
                client.back_off().await;
            }
        }
    }
}

/// Reads all offsets of a group, and compares them; whether the coordinator answered.
pub async fn read_group(sim: &Sim, client: &mut Client, group: &str) -> Result<bool, Lost> {
    let begin = client.io().now();
    let known = sim.commits.borrow().places_of(group);
    let request = |_| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(None);
        OffsetFetchRequest::default().with_groups(vec![group])
    };
    let reply = client.ask(8..=9, request).await?;
    let found = reply.groups.first().expect("the group asked for");
    use ResponseError::*;
    match found.error_code.err() {
        None => {}
        Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator) => {
            return Ok(false);
        }
        Some(error) => panic!("OffsetFetch of no member: {error:?}"),
    }
    sim.note_loaded(group, begin);
    let at = sim.moment();
    let mut missing = known;
    for topic in &found.topics {
        for partition in &topic.partitions {
            assert_eq!(partition.error_code, 0, "OffsetFetch of a partition");
            let place = (
                group.to_owned(),
                topic.name.to_string(),
                partition.partition_index,
            );
            missing.retain(|it| *it != place);
            let metadata = partition.metadata.as_deref().unwrap_or_default();
            let committed = (partition.committed_offset, metadata);
            sim.commits
                .borrow_mut()
                .check_read(&place, Some(committed), begin, at);
        }
    }
    for place in missing {
        sim.commits.borrow_mut().check_read(&place, None, begin, at);
    }
    Ok(true)
}
