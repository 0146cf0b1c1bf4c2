//! OffsetFetch: how far groups have read, as far as that is durable.
//!
//! There are no transactions yet, so every offset is stable. Also for the empty group, which old clients without a
//! group use.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse};

use super::groups::ask_each;
use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::cluster::image::Image;
use crate::coordinator::group::Input;
use crate::protocol::offsets::{TOPIC_IDS, decode_fetch};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// From here on there is an error of the whole group; before, one of each partition.
const HAS_OWN_ERROR: i16 = 2;
/// From here on many groups are asked for together.
const BATCHED: i16 = 8;
/// In place of an offset that is not told.
const NO_OFFSET: i64 = -1;

type Topics = Option<Vec<OffsetFetchRequestTopics>>;
type Answer = Result<Vec<OffsetFetchResponseTopics>, ResponseError>;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let asked: OffsetFetchRequest = match version >= TOPIC_IDS {
        true => decode_fetch(&request.body)?,
        false => request.decode()?,
    };
    let mut groups: Vec<OffsetFetchRequestGroup> = match version >= BATCHED {
        true => asked.groups,
        false => vec![
            OffsetFetchRequestGroup::default()
                .with_group_id(asked.group_id)
                .with_topics(asked.topics.map(in_new_form)),
        ],
    };
    let mut turns = Turns::on(context.broker.shard.io());
    groups = each_once(groups, &mut turns).await;
    let mut unknown = Vec::new();
    if version >= TOPIC_IDS {
        let image = context.broker.image();
        let asked = groups.iter_mut();
        unknown.extend(asked.map(|group| name_topics(group, &image)));
    }
    let questions = groups
        .iter()
        .map(|group| (group.group_id.to_string(), group.clone()));
    let answers = ask_each(&context.broker, questions.collect(), Input::Fetch).await;
    let answers = answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|refusal| Err(errors::of_refusal(refusal))));
    let mut answers = groups.into_iter().zip(answers);
    let response = match version >= BATCHED {
        true => {
            let groups = answers.map(|(group, answer)| in_batch(group.group_id, answer));
            let mut groups: Vec<_> = groups.collect();
            // Only the last version has any.
            for (group, unknown) in groups.iter_mut().zip(unknown) {
                add_unknown(group, unknown);
            }
            OffsetFetchResponse::default().with_groups(groups)
        }
        false => {
            let (group, answer) = answers.next().expect("one group was asked for");
            alone(version, group.topics, answer)
        }
    };
    Ok(Reply::encode(&request.header, &response)?)
}

/// Each group, each of its topics and each partition once. There may be much to tell of one, and a request has room to
/// name it very often: Kafka answers as often, whatever that costs.
async fn each_once(
    groups: Vec<OffsetFetchRequestGroup>,
    turns: &mut Turns<'_>,
) -> Vec<OffsetFetchRequestGroup> {
    let add_group = |known: &mut OffsetFetchRequestGroup, again: OffsetFetchRequestGroup| {
        // Without topics, all are asked for.
        let both = known.topics.take().zip(again.topics);
        known.topics = both.map(|(mut known, more)| {
            known.extend(more);
            known
        });
    };
    let add_topic = |known: &mut OffsetFetchRequestTopics, again: OffsetFetchRequestTopics| {
        known.partition_indexes.extend(again.partition_indexes);
    };
    let mut groups = merged(groups, |group| group.group_id.clone(), add_group, turns).await;
    for group in &mut groups {
        let Some(topics) = group.topics.take() else {
            continue;
        };
        let key = |topic: &OffsetFetchRequestTopics| (topic.topic_id, topic.name.clone());
        let mut topics = merged(topics, key, add_topic, turns).await;
        for topic in &mut topics {
            let indexes = mem::take(&mut topic.partition_indexes);
            topic.partition_indexes = turns.distinct(indexes).await;
        }
        group.topics = Some(topics);
    }
    groups
}

/// The first of each key, with the others of that key added to it.
async fn merged<T, K: Ord>(
    items: Vec<T>,
    key: impl Fn(&T) -> K,
    add: impl Fn(&mut T, T),
    turns: &mut Turns<'_>,
) -> Vec<T> {
    let mut places = BTreeMap::new();
    let mut first: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        match places.entry(key(&item)) {
            Entry::Vacant(place) => {
                place.insert(first.len());
                first.push(item);
            }
            Entry::Occupied(place) => add(&mut first[*place.get()], item),
        }
        turns.step().await;
    }
    first
}

/// Gives topics their names. Returns what is answered for those whose ids nobody has, which the request loses.
fn name_topics(
    group: &mut OffsetFetchRequestGroup,
    image: &Image,
) -> Vec<OffsetFetchResponseTopics> {
    let mut unknown = Vec::new();
    let Some(topics) = &mut group.topics else {
        return unknown;
    };
    topics.retain_mut(|topic| match image.topics.get(topic.topic_id) {
        Some(known) => {
            topic.name = topic_name(&known.name);
            true
        }
        None => {
            let refused = |index: &i32| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(*index)
                    .with_committed_offset(NO_OFFSET)
                    .with_error_code(ResponseError::UnknownTopicId.code())
            };
            let partitions = topic.partition_indexes.iter().map(refused).collect();
            let answer = OffsetFetchResponseTopics::default()
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions);
            unknown.push(answer);
            false
        }
    });
    unknown
}

/// Completes an answer that names topics by their ids: offsets of topics that are gone cannot be told in it.
fn add_unknown(group: &mut OffsetFetchResponseGroup, unknown: Vec<OffsetFetchResponseTopics>) {
    if group.error_code == 0 {
        group.topics.retain(|topic| !topic.topic_id.is_nil());
        group.topics.extend(unknown);
    }
}

fn in_new_form(topics: Vec<OffsetFetchRequestTopic>) -> Vec<OffsetFetchRequestTopics> {
    let topics = topics.into_iter().map(|topic| {
        OffsetFetchRequestTopics::default()
            .with_name(topic.name)
            .with_partition_indexes(topic.partition_indexes)
    });
    topics.collect()
}

fn in_batch(group: GroupId, answer: Answer) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(group);
    match answer {
        Ok(topics) => response.with_topics(topics),
        Err(error) => response.with_error_code(error.code()),
    }
}

/// The answer about a single group.
fn alone(version: i16, asked: Topics, answer: Answer) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    match answer {
        Ok(topics) => response.with_topics(in_old_form(topics)),
        Err(error) => {
            let code = error.code();
            match version >= HAS_OWN_ERROR {
                true => response.with_error_code(code),
                false => response.with_topics(refuse_each(asked.unwrap_or_default(), code)),
            }
        }
    }
}

fn in_old_form(topics: Vec<OffsetFetchResponseTopics>) -> Vec<OffsetFetchResponseTopic> {
    let partition = |partition: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    let topics = topics.into_iter().map(|topic| {
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(topic.partitions.into_iter().map(partition).collect())
    });
    topics.collect()
}

fn refuse_each(topics: Vec<OffsetFetchRequestTopics>, code: i16) -> Vec<OffsetFetchResponseTopic> {
    let refused = |index: i32| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(NO_OFFSET)
            .with_error_code(code)
    };
    let topics = topics.into_iter().map(|topic| {
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(topic.partition_indexes.into_iter().map(refused).collect())
    });
    topics.collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::protocol::StrBytes;
    use uuid::Uuid;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};

    #[test]
    fn the_first_version_tells_errors_by_partition() {
        let asked = || {
            let topic = OffsetFetchRequestTopics::default()
                .with_name(topic_name("t"))
                .with_partition_indexes(vec![3]);
            Some(vec![topic])
        };
        let response = alone(1, asked(), Err(ResponseError::CoordinatorLoadInProgress));
        let partition = &response.topics[0].partitions[0];
        let told = (partition.partition_index, partition.error_code);
        assert_eq!((response.error_code, told), (0, (3, 14)));
        let response = alone(2, asked(), Err(ResponseError::CoordinatorLoadInProgress));
        assert_eq!((response.error_code, response.topics.len()), (14, 0));
    }

    #[test]
    fn what_is_named_again_and_again_is_told_once() {
        let topic = |name: &'static str, indexes: &[i32]| {
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(name))
                .with_partition_indexes(indexes.to_vec())
        };
        let group = |name, topics| {
            OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(StrBytes::from_static_str(name)))
                .with_topics(topics)
        };
        let all = || group("all", None);
        let some = |topics: &[(&'static str, &[i32])]| {
            let topics = topics.iter().map(|(name, indexes)| topic(name, indexes));
            Some(topics.collect())
        };
        let asked = OffsetFetchRequest::default().with_groups(vec![
            group("g", some(&[("t", &[0, 0, 1]), ("u", &[0]), ("t", &[1, 2])])),
            all(),
            group("g", some(&[("t", &[2, 3])])),
            group("all", some(&[("t", &[0])])),
            all(),
        ]);
        let groups = on_a_broker(image_of(&[("t", 4), ("u", 1)], &[]), async move |context| {
            let api = (ApiKey::OffsetFetch, 8);
            // There is no coordinator, which says nothing of the topics.
            let response: OffsetFetchResponse = ask(&context, api, &asked, handle).await;
            let mut turns = Turns::on(context.broker.shard.io());
            let once = each_once(asked.groups, &mut turns).await;
            assert_eq!(response.groups.len(), once.len());
            once
        });
        let told = [
            group("g", some(&[("t", &[0, 1, 2, 3]), ("u", &[0])])),
            all(),
        ];
        assert_eq!(groups, told);
    }

    #[test]
    fn topics_are_found_by_their_ids_and_others_are_refused() {
        let (known, unknown) = (Uuid::from_u128(1), Uuid::from_u128(9));
        let image = image_of(&[("t", 1)], &[]);
        let topic = |id| {
            OffsetFetchRequestTopics::default()
                .with_topic_id(id)
                .with_partition_indexes(vec![3])
        };
        let mut group = OffsetFetchRequestGroup::default()
            .with_topics(Some(vec![topic(unknown), topic(known)]));
        let refused = name_topics(&mut group, &image);
        let asked = group.topics.expect("some are asked for");
        assert_eq!((asked.len(), asked[0].name.as_str()), (1, "t"));
        let gone = OffsetFetchResponseTopics::default().with_name(topic_name("gone"));
        let mut answer = OffsetFetchResponseGroup::default().with_topics(vec![gone]);
        add_unknown(&mut answer, refused);
        let told = &answer.topics[0];
        let partition = &told.partitions[0];
        assert_eq!((answer.topics.len(), told.topic_id), (1, unknown));
        assert_eq!((partition.partition_index, partition.error_code), (3, 100));
        assert_eq!(partition.committed_offset, NO_OFFSET);
    }
}
