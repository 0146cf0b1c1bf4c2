//! Rare questions about partitions, put to the shards that own them.

use std::future::Future;

use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;
use kafka_protocol::error::ResponseError;

use crate::cluster::image::Image;

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

/// Puts each question to the owner of its partition, one message for each owner; answers in the
/// order of questions.
pub async fn ask_owners<Q, A, F>(
    shard: &Shard,
    questions: Vec<(PartitionKey, Q)>,
    answer: impl Fn(Shard, PartitionKey, Q) -> F + Clone + Send + 'static,
) -> Vec<A>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: Future<Output = A> + 'static,
{
    let mut parts: Vec<Vec<(usize, PartitionKey, Q)>> = Vec::new();
    parts.resize_with(shard.count(), Vec::new);
    let mut answers: Vec<Option<A>> = Vec::new();
    answers.resize_with(questions.len(), || None);
    for (place, (key, question)) in questions.into_iter().enumerate() {
        parts[shard.owner(&key)].push((place, key, question));
    }
    for (owner, part) in parts.into_iter().enumerate() {
        if part.is_empty() {
            continue;
        }
        let answer = answer.clone();
        let job = move |shard: Shard| answer_all(answer, shard, part);
        for (place, answer) in shard.run_on(owner, job).await {
            answers[place] = Some(answer);
        }
    }
    let answers = answers.into_iter().collect::<Option<_>>();
    answers.expect("every partition has an owner")
}

async fn answer_all<Q, A, F: Future<Output = A>>(
    answer: impl Fn(Shard, PartitionKey, Q) -> F,
    shard: Shard,
    part: Vec<(usize, PartitionKey, Q)>,
) -> Vec<(usize, A)> {
    let mut answers = Vec::with_capacity(part.len());
    let mut slice = shard.io().slice();
    for (place, key, question) in part {
        answers.push((place, answer(shard.clone(), key, question).await));
        if slice.is_over(shard.io()) {
            shard.io().yield_now().await;
            slice = shard.io().slice();
        }
    }
    answers
}
