//! What the APIs of groups have in common: the way to the coordinator of a group, and back.
//!
//! A group is coordinated by the shard that owns its partition of `__consumer_offsets`. What this shard's metadata says
//! of that topic decides; without the topic there is no coordinator.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use corelog_shards::io::Landmark;
use corelog_shards::io::futures::join_all;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;
use kafka_protocol::error::ResponseError;

use super::Context;
use crate::broker::Broker;
use crate::cluster::features::GROUP_VERSION;
use crate::cluster::image::Image;
use crate::coordinator::answers::answer_of;
use crate::coordinator::group::{Caller, Input, OFFSETS_TOPIC, partition_of};
use crate::coordinator::{Refusal, Replier};
use crate::protocol::Malformed;
use crate::protocol::header::RequestHeader;
use crate::turns::Turns;

/// The longest text of Kafka's protocol and of its records, in bytes.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// The level of [`GROUP_VERSION`] from which on there are groups of the consumer protocol.
const CONSUMER_GROUPS: i16 = 1;

/// The partition that has a group.
pub fn coordinator_of(image: &Image, group: &str) -> Result<PartitionKey, Refusal> {
    let topic = image.topics.by_name(OFFSETS_TOPIC);
    let topic = topic.ok_or(Refusal::NotHere)?;
    Ok(PartitionKey {
        topic: topic.id,
        partition: partition_of(group, topic.partition_count()),
    })
}

/// Whether the cluster has agreed to have groups of the consumer protocol, and this broker serves them.
pub fn serves_consumer_groups(broker: &Broker) -> bool {
    let image = broker.image();
    let level = image.features.get(GROUP_VERSION);
    level.is_some_and(|level| *level >= CONSUMER_GROUPS)
        && broker.config().groups.consumer.is_enabled
}

/// Puts a question about a group to its coordinator.
pub async fn ask<T: Send + 'static>(
    broker: &Broker,
    group: &str,
    input: impl FnOnce(Replier<T>) -> Input + Send + 'static,
) -> Result<T, Refusal> {
    let key = coordinator_of(&broker.image(), group)?;
    let job =
        move |shard: Shard| async move { Broker::of(&shard).groups.ask(&key, input).reply().await };
    broker.shard.run_on_owner(&key, job).await
}

/// Puts a question to the coordinator that may be answered in minutes. Ends early when the client has gone or the broker
/// stops.
pub async fn ask_long<T: Send + 'static>(
    context: &Context,
    group: &str,
    input: impl FnOnce(Replier<T>) -> Input + Send + 'static,
) -> Result<T, Refusal> {
    let broker = &context.broker;
    let key = coordinator_of(&broker.image(), group)?;
    let job =
        move |shard: Shard| async move { Broker::of(&shard).groups.ask(&key, input).reply().await };
    let owner = broker.shard.owner(&key);
    let answer = answer_of(Rc::clone(broker), owner, job);
    let answered = context.wait.unless_over(answer).await;
    answered.unwrap_or(Err(Refusal::NotHere))
}

/// Puts a question about each of several groups to their coordinators, all at the same time. The answers are in the
/// order of the questions.
pub async fn ask_each<Q, T>(
    broker: &Broker,
    questions: Vec<(String, Q)>,
    input: impl Fn(Q, Replier<T>) -> Input + Clone + Send + 'static,
) -> Vec<Result<T, Refusal>>
where
    Q: Send + 'static,
    T: Send + 'static,
{
    let (shard, image) = (&broker.shard, broker.image());
    let mut answers: Vec<Result<T, Refusal>> = Vec::with_capacity(questions.len());
    let mut parts: Vec<Vec<(usize, PartitionKey, Q)>> = Vec::new();
    parts.resize_with(shard.count(), Vec::new);
    let mut turns = Turns::on(shard.io());
    for (place, (group, question)) in questions.into_iter().enumerate() {
        answers.push(Err(Refusal::NotHere));
        if let Ok(key) = coordinator_of(&image, &group) {
            parts[shard.owner(&key)].push((place, key, question));
        }
        turns.step().await;
    }
    drop(image);
    let parts = parts.into_iter().enumerate();
    let asked = parts
        .filter(|(_, part)| !part.is_empty())
        .map(|(owner, part)| {
            let input = input.clone();
            shard.run_on(owner, move |shard| answer_all(shard, part, input))
        });
    for (place, answer) in join_all(asked).await.into_iter().flatten() {
        answers[place] = answer;
    }
    answers
}

/// The owner's half of [`ask_each`].
async fn answer_all<Q, T: 'static>(
    shard: Shard,
    part: Vec<(usize, PartitionKey, Q)>,
    input: impl Fn(Q, Replier<T>) -> Input,
) -> Vec<(usize, Result<T, Refusal>)> {
    let broker = Broker::of(&shard);
    let mut turns = Turns::on(shard.io());
    let mut asked = Vec::with_capacity(part.len());
    for (place, key, question) in part {
        let answer = broker.groups.ask(&key, |to| input(question, to));
        asked.push((place, answer));
        turns.step().await;
    }
    let mut answers = Vec::with_capacity(asked.len());
    for (place, answer) in asked {
        answers.push((place, answer.reply().await));
    }
    answers
}

/// Tells a simulated world of a member that was fenced.
pub fn note_fenced(broker: &Broker, outcome: Option<ResponseError>) {
    if let Some(ResponseError::FencedInstanceId | ResponseError::FencedMemberEpoch) = outcome {
        broker.shard.io().reached(Landmark::MemberFenced);
    }
}

/// Who sent a request, as groups note it.
pub fn caller(context: &Context, header: &RequestHeader) -> Caller {
    Caller {
        client_id: header.client_id.to_string(),
        client_host: host(context.peer),
        version: header.api_version,
    }
}

/// An address as Java writes one without a name.
fn host(peer: SocketAddr) -> String {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}"),
        IpAddr::V6(ip) => {
            let segments = ip.segments().map(|segment| format!("{segment:x}"));
            format!("/{}", segments.join(":"))
        }
    }
}

/// Whether texts have lengths that the protocol allows, which newer encodings don't tell by themselves.
pub fn check_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), Malformed> {
    let mut texts = texts.into_iter();
    match texts.all(|text| text.len() <= TEXT_BYTES_MAX) {
        true => Ok(()),
        false => Err(Malformed::BadString),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_java_does() {
        let host = |ip: &str| host(SocketAddr::new(ip.parse().expect("an address"), 9092));
        assert_eq!(host("127.0.0.1"), "/127.0.0.1");
        assert_eq!(host("::ffff:127.0.0.1"), "/127.0.0.1");
        assert_eq!(host("::1"), "/0:0:0:0:0:0:0:1");
        assert_eq!(host("fe80::1:abcd"), "/fe80:0:0:0:0:0:1:abcd");
    }

    #[test]
    fn texts_are_no_longer_than_older_encodings_can_say() {
        let longest = "a".repeat(TEXT_BYTES_MAX);
        assert!(check_texts(["", &longest]).is_ok());
        assert!(check_texts([&*format!("{longest}a")]).is_err());
    }
}
