//! The administrator of topics: makes them, and as long as nobody waits for calm, has them grow, deletes them and makes
//! them again.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, TopicName,
};
use uuid::Uuid;

use super::commits::Place;
use super::member::topics;
use super::offsets::{STEADY_PARTITIONS, STEADY_TOPIC, commit_first, read_group};
use super::plan::Feature;
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

/// Topics that groups read.
pub const TOPICS: [&str; 3] = ["t-a", "t-b", "t-c"];
const PARTITIONS_MAX: u64 = 5;
const TIMEOUT_MS: i32 = 5_000;
/// After that all members know that a topic has gone, and of its successor, as long as they can ask.
const ALL_KNOW: Duration = Duration::from_secs(40);
/// More than a shard takes for offsets of a topic that is gone, once it has loaded them.
const PAUSE_MS: u64 = 20_000;

/// Does so. `is_begun` is set once all groups have an offset that stays, without which a group is forgotten when it is
/// left, and its generations begin anew. `is_idle` is set once it has made what is missing and will do no more.
pub async fn administrate(sim: Rc<Sim>, io: Io, is_begun: Rc<Cell<bool>>, is_idle: Rc<Cell<bool>>) {
    let mut client = sim.client(io, "admin");
    make_groups(&sim, &mut client).await;
    is_begun.set(true);
    loop {
        let is_calm = sim.is_calm.get();
        let done = match is_calm {
            false => change(&sim, &mut client).await,
            true => make_all(&sim, &mut client).await,
        };
        match done {
            Ok(()) if is_calm => break,
            Ok(()) => {
                // Now and then what it has done has not come to everybody when it goes on.
                let pause = match client.below(2) {
                    0 => client.below(10),
                    _ => 500 + client.below(PAUSE_MS),
                };
                client.io().sleep(Duration::from_millis(pause)).await;
            }
            Err(Lost) => sim.settle(&client).await,
        }
    }
    is_idle.set(true);
}

async fn make_groups(sim: &Sim, client: &mut Client) {
    let mut left = sim.groups.clone();
    while let Some(group) = left.last() {
        let made = make_all(sim, client).await;
        if made.is_ok() && commit_first(sim, client, group).await == Ok(true) {
            left.pop();
        } else {
            client.back_off().await;
        }
    }
}

async fn make_all(sim: &Sim, client: &mut Client) -> Result<(), Lost> {
    let there = topics(client).await?;
    if !there.contains_key(STEADY_TOPIC) {
        create(sim, client, STEADY_TOPIC, STEADY_PARTITIONS).await?;
    }
    for topic in TOPICS {
        if !there.contains_key(topic) {
            let partitions = 1 + client.below(PARTITIONS_MAX) as i32;
            create(sim, client, topic, partitions).await?;
        }
    }
    Ok(())
}

async fn change(sim: &Sim, client: &mut Client) -> Result<(), Lost> {
    let there = topics(client).await?;
    let topic = TOPICS[client.below(TOPICS.len() as u64) as usize];
    let is_complete =
        there.contains_key(STEADY_TOPIC) && TOPICS.iter().all(|it| there.contains_key(*it));
    match (there.get(topic), client.below(3)) {
        _ if !is_complete && client.below(4) > 0 => make_all(sim, client).await,
        (None, _) => Ok(()),
        (Some((id, _)), 0) if sim.plan.has(Feature::TopicDeletion) => {
            delete(sim, client, topic, *id).await
        }
        (Some((_, count)), 1 | 2)
            if *count as u64 <= PARTITIONS_MAX && sim.plan.has(Feature::Growth) =>
        {
            grow(sim, client, topic, count + 1).await
        }
        (Some(_), _) => Ok(()),
    }
}

async fn create(sim: &Sim, client: &mut Client, topic: &str, partitions: i32) -> Result<(), Lost> {
    let request = |_| {
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(topic)))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS)
    };
    let reply = client.ask(2..=7, request).await?;
    match reply.topics[0].error_code.err() {
        None | Some(ResponseError::TopicAlreadyExists) => {}
        Some(ResponseError::KafkaStorageError) if sim.plan.has_bad_disk() => return Ok(()),
        Some(error) => panic!("CreateTopics: {error:?}"),
    }
    // What was committed for the one that had its name before is not for this one.
    let is_meant = |place: &Place| place.1 == topic;
    sim.commits
        .borrow_mut()
        .end_deletions(is_meant, sim.moment());
    for group in &sim.groups {
        read_group(sim, client, group).await?;
    }
    Ok(())
}

async fn grow(sim: &Sim, client: &mut Client, topic: &str, count: i32) -> Result<(), Lost> {
    let request = |_| {
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(text(topic)))
            .with_count(count)
            .with_assignments(None);
        CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS)
    };
    let reply = client.ask(0..=3, request).await?;
    match reply.results[0].error_code.err() {
        None => Ok(()),
        Some(ResponseError::KafkaStorageError) if sim.plan.has_bad_disk() => Ok(()),
        Some(error) => panic!("CreatePartitions: {error:?}"),
    }
}

async fn delete(sim: &Sim, client: &mut Client, topic: &str, id: Uuid) -> Result<(), Lost> {
    let is_meant = |place: &Place| place.1 == topic;
    for group in &sim.groups {
        for partition in 0..=PARTITIONS_MAX as i32 {
            let place = (group.clone(), topic.to_owned(), partition);
            sim.commits.borrow_mut().expect(place);
        }
    }
    let begin = sim.moment();
    sim.commits.borrow_mut().begin_deletion(is_meant, begin);
    forget(sim, topic);
    let request = |version: i16| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
        let name = TopicName(text(topic));
        match version {
            6.. => request.with_topics(vec![DeleteTopicState::default().with_name(Some(name))]),
            _ => request.with_topic_names(vec![name]),
        }
    };
    let reply = client.ask(1..=6, request).await;
    match reply.map(|reply| reply.responses[0].error_code.err()) {
        Ok(None) => return Ok(()),
        Err(Lost) => {}
        Ok(Some(ResponseError::KafkaStorageError)) if sim.plan.has_bad_disk() => {}
        Ok(Some(error)) => panic!("DeleteTopics: {error:?}"),
    }
    // Nobody knows what has become of it.
    sim.settle(client).await;
    forget(sim, topic);
    let is_there = loop {
        match topics(client).await {
            Ok(there) => break there.get(topic).is_some_and(|(known, _)| *known == id),
            Err(Lost) => client.back_off().await,
        }
    };
    if is_there {
        let mut commits = sim.commits.borrow_mut();
        commits.withdraw_deletions(is_meant, begin);
    }
    Ok(())
}

/// A topic is gone, from now on at the latest.
fn forget(sim: &Sim, topic: &str) {
    let until = sim.moment().now + ALL_KNOW;
    sim.holders.borrow_mut().forget_topic(topic, until);
}
