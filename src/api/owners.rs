//! Rare questions about partitions, put to the shards that own them.

use std::future::Future;

use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;
use kafka_protocol::error::ResponseError;

use crate::cluster::image::Image;
use crate::turns::Turns;

/// The partition of a topic that a client names.
pub fn partition_key(
    image: &Image,
    topic: &str,
    index: i32,
) -> Result<PartitionKey, ResponseError> {
    let topic = image.topics.by_name(topic);
    let topic = topic.filter(|topic| topic.partition(index).is_some());
    Ok(PartitionKey {
        topic: topic.ok_or(ResponseError::UnknownTopicOrPartition)?.id,
        partition: index,
    })
}

/// Where in a response an answer belongs: the places of the topic and of the partition within it.
pub type Place = (usize, usize);

/// What a request wants of one partition.
pub struct Question<Q> {
    pub place: Place,
    pub key: PartitionKey,
    pub asked: Q,
}

/// Puts each question to the owner of its partition, one message for each owner. There is an answer
/// to each, with the place where it belongs, in no particular order.
pub async fn ask_owners<Q, A, F>(
    shard: &Shard,
    questions: Vec<Question<Q>>,
    answer: impl Fn(Shard, PartitionKey, Q) -> F + Clone + Send + 'static,
) -> Vec<(Place, A)>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: Future<Output = A> + 'static,
{
    let mut answers = Vec::with_capacity(questions.len());
    let mut parts: Vec<Vec<Question<Q>>> = Vec::new();
    parts.resize_with(shard.count(), Vec::new);
    let mut turns = Turns::on(shard.io());
    for question in questions {
        parts[shard.owner(&question.key)].push(question);
        turns.step().await;
    }
    for (owner, part) in parts.into_iter().enumerate() {
        if part.is_empty() {
            continue;
        }
        let answer = answer.clone();
        let job = move |shard: Shard| answer_all(answer, shard, part);
        answers.extend(shard.run_on(owner, job).await);
    }
    answers
}

async fn answer_all<Q, A, F: Future<Output = A>>(
    answer: impl Fn(Shard, PartitionKey, Q) -> F,
    shard: Shard,
    part: Vec<Question<Q>>,
) -> Vec<(Place, A)> {
    let mut answers = Vec::with_capacity(part.len());
    let mut turns = Turns::on(shard.io());
    for Question { place, key, asked } in part {
        answers.push((place, answer(shard.clone(), key, asked).await));
        turns.step().await;
    }
    answers
}
