//! OffsetCommit: a group notes how far it has read. Answered when that is durable.
//!
//! Also for the empty group, which old clients without a group use. A commit of very many partitions reaches the
//! coordinator in parts, which others may come between; each part is checked by itself.

use std::mem;
use std::rc::Rc;

use corelog_shards::shard::Shard;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::groups::{check_texts, coordinator_of};
use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::cluster::image::Image;
use crate::coordinator::Refusal;
use crate::coordinator::group::Input;
use crate::protocol::offsets::{TOPIC_IDS, decode_commit};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// Partitions that a coordinator takes in one turn: some hundred microseconds of work.
const PARTITIONS_PER_PART: usize = 200;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let mut asked: OffsetCommitRequest = match version >= TOPIC_IDS {
        true => decode_commit(&request.body)?,
        false => request.decode()?,
    };
    check_texts([asked.group_id.as_str()])?;
    let unknown = match version >= TOPIC_IDS {
        true => name_topics(&mut asked, &context.broker.image()),
        false => Vec::new(),
    };
    let shard = &context.broker.shard;
    let topics = match coordinator_of(&context.broker.image(), &asked.group_id) {
        Ok(key) => {
            let job = move |shard: Shard| async move {
                let ask = |part| {
                    let input = |to| Input::Commit(part, version, to);
                    Broker::of(&shard).groups.ask(&key, input)
                };
                let mut turns = Turns::on(shard.io());
                let mut parts = Vec::new();
                for part in parts_of(asked) {
                    let places = part.topics.iter().map(place_of).collect();
                    parts.push((places, ask(part)));
                    turns.step().await;
                }
                let mut topics = Vec::new();
                for (places, asked) in parts {
                    let answer = asked.reply().await;
                    put(
                        &mut topics,
                        answer.unwrap_or_else(|why| refused(places, why)),
                    );
                }
                topics
            };
            shard.run_on_owner(&key, job).await
        }
        Err(why) => refused(asked.topics.iter().map(place_of).collect(), why),
    };
    let topics = topics.into_iter().chain(unknown).collect();
    let response = OffsetCommitResponse::default().with_topics(topics);
    Ok(Reply::encode(&request.header, &response)?)
}

/// Gives topics their names. Returns what is answered for those whose ids nobody has, which the request loses.
fn name_topics(asked: &mut OffsetCommitRequest, image: &Image) -> Vec<OffsetCommitResponseTopic> {
    let mut unknown = Vec::new();
    asked
        .topics
        .retain_mut(|topic| match image.topics.get(topic.topic_id) {
            Some(known) => {
                topic.name = topic_name(&known.name);
                true
            }
            None => {
                let mut answer = place_of(topic);
                for partition in &mut answer.partitions {
                    partition.error_code = ResponseError::UnknownTopicId.code();
                }
                unknown.push(answer);
                false
            }
        });
    unknown
}

/// A commit in parts that are not too large, at least one of them.
fn parts_of(mut whole: OffsetCommitRequest) -> impl Iterator<Item = OffsetCommitRequest> {
    let topics = mem::take(&mut whole.topics).into_iter();
    let mut topics = topics.map(|mut topic| {
        let partitions = mem::take(&mut topic.partitions).into_iter();
        (topic, partitions)
    });
    let mut rest = topics.next();
    let mut is_first = true;
    std::iter::from_fn(move || {
        if rest.is_none() && !is_first {
            return None;
        }
        is_first = false;
        let mut part = whole.clone();
        let mut room = PARTITIONS_PER_PART;
        while room > 0
            && let Some((topic, partitions)) = &mut rest
        {
            let taken: Vec<_> = partitions.by_ref().take(room).collect();
            // A topic without partitions takes its room, too.
            room -= taken.len().max(1);
            part.topics.push(topic.clone().with_partitions(taken));
            if partitions.len() == 0 {
                rest = topics.next();
            }
        }
        Some(part)
    })
}

/// Puts the answer of a part behind those before it. A topic that was cut in two is one again.
fn put(topics: &mut Vec<OffsetCommitResponseTopic>, part: Vec<OffsetCommitResponseTopic>) {
    for topic in part {
        match topics.last_mut() {
            Some(last) if last.name == topic.name => last.partitions.extend(topic.partitions),
            _ => topics.push(topic),
        }
    }
}

/// What is answered in place of a coordinator that has no answer.
fn refused(
    mut places: Vec<OffsetCommitResponseTopic>,
    why: Refusal,
) -> Vec<OffsetCommitResponseTopic> {
    let code = errors::of_refusal(why).code();
    let partitions = places.iter_mut().flat_map(|topic| &mut topic.partitions);
    partitions.for_each(|partition| partition.error_code = code);
    places
}

/// A topic of the answer, for the case that the coordinator has none.
fn place_of(topic: &OffsetCommitRequestTopic) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index)
    });
    OffsetCommitResponseTopic::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id)
        .with_partitions(partitions.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn request(topics: &[(&'static str, i32)]) -> OffsetCommitRequest {
        let topics = topics.iter().map(|(name, partitions)| {
            let partitions = (0..*partitions)
                .map(|index| OffsetCommitRequestPartition::default().with_partition_index(index));
            OffsetCommitRequestTopic::default()
                .with_name(StrBytes::from_static_str(name).into())
                .with_partitions(partitions.collect())
        });
        OffsetCommitRequest::default()
            .with_generation_id_or_member_epoch(7)
            .with_topics(topics.collect())
    }

    #[test]
    fn a_large_commit_is_cut_and_its_answers_are_put_together() {
        for topics in [
            &[("a", 450), ("b", 100), ("c", 0), ("d", 50), ("e", 1)][..],
            &[("a", 200), ("b", 200)],
            &[("a", 1)],
            &[],
        ] {
            let whole = request(topics);
            let parts: Vec<_> = parts_of(whole.clone()).collect();
            let mut answers = Vec::new();
            for part in &parts {
                let partitions = part.topics.iter().map(|topic| topic.partitions.len());
                assert!(partitions.sum::<usize>() <= PARTITIONS_PER_PART);
                assert_eq!(part.generation_id_or_member_epoch, 7);
                put(&mut answers, part.topics.iter().map(place_of).collect());
            }
            let places: Vec<_> = whole.topics.iter().map(place_of).collect();
            assert_eq!(answers, places);
            let count = places
                .iter()
                .map(|topic| topic.partitions.len())
                .sum::<usize>();
            assert!(!parts.is_empty() && parts.len() <= 1 + count / PARTITIONS_PER_PART);
        }
    }
}
