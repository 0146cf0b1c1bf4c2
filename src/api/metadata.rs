//! Metadata: brokers, topics and leaders, and topics that come to be because a client names them.
//!
//! A topic that is missing and may be created is complete on every shard before the reply leaves, so
//! that the reply can name it; Kafka answers UNKNOWN_TOPIC_OR_PARTITION first and has the client ask
//! again. Topics that the broker keeps for itself are not made this way.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use uuid::Uuid;

use super::view::{
    CLUSTER_OPERATIONS, NOBODY, TOPIC_OPERATIONS, View, broker_ids, is_internal, text, topic_name,
};
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::cluster::controller::{
    CreateTopics, NewTopic, PARTITIONS_PER_REQUEST_MAX, create_topics, validate_topic_name,
};
use crate::cluster::image::{Partition, Topic};
use crate::lines;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// In the first version, an empty list of topics stands for all.
const EMPTY_IS_ALL: i16 = 0;
/// In the first version, replicas that can't be reached are left out, and that is an error.
const HIDES_UNREACHABLE: i16 = 0;
/// From here on a leader without the client's listener has an error of its own.
const KNOWS_MISSING_LISTENERS: i16 = 6;
const TELLS_TOPIC_OPERATIONS: i16 = 8;
/// Later on DescribeCluster does this.
const TELLS_CLUSTER_OPERATIONS: std::ops::RangeInclusive<i16> = 8..=10;
/// From here on topics may be named by their ids.
const TAKES_TOPIC_IDS: i16 = 12;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let asked: MetadataRequest = request.decode()?;
    let response = match wanted(version, &asked) {
        Ok(wanted) => answer(&context, version, &asked, wanted).await,
        Err(error) => refuse(&asked, error),
    };
    Ok(Reply::encode(&request.header, &response)?)
}

/// Which topics are asked for.
enum Wanted {
    All,
    Names(Vec<TopicName>),
    Ids(Vec<Uuid>),
}

fn wanted(version: i16, asked: &MetadataRequest) -> Result<Wanted, ResponseError> {
    let Some(topics) = &asked.topics else {
        return Ok(Wanted::All);
    };
    if topics.is_empty() && version <= EMPTY_IS_ALL {
        return Ok(Wanted::All);
    }
    let ids = topics.iter().map(|topic| topic.topic_id);
    let ids: Vec<Uuid> = ids.filter(|id| !id.is_nil()).collect();
    if !ids.is_empty() {
        // Ids go before names: those are passed over.
        return match version >= TAKES_TOPIC_IDS {
            true => Ok(Wanted::Ids(ids)),
            false => Err(ResponseError::InvalidRequest),
        };
    }
    let names: Option<Vec<TopicName>> = topics.iter().map(|topic| topic.name.clone()).collect();
    names
        .map(Wanted::Names)
        .ok_or(match version >= TAKES_TOPIC_IDS {
            // Neither a name nor an id, which Kafka does not expect.
            true => ResponseError::UnknownServerError,
            false => ResponseError::InvalidRequest,
        })
}

impl Wanted {
    /// Each topic once.
    async fn distinct(self, turns: &mut Turns<'_>) -> Self {
        match self {
            Wanted::All => Wanted::All,
            Wanted::Names(names) => Wanted::Names(turns.distinct(names).await),
            Wanted::Ids(ids) => Wanted::Ids(turns.distinct(ids).await),
        }
    }
}

fn refuse(asked: &MetadataRequest, error: ResponseError) -> MetadataResponse {
    let topics = asked.topics.iter().flatten();
    let refused = |topic: &kafka_protocol::messages::metadata_request::MetadataRequestTopic| {
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
    };
    MetadataResponse::default()
        .with_error_code(error.code())
        .with_topics(topics.map(refused).collect())
}

async fn answer(
    context: &Context,
    version: i16,
    asked: &MetadataRequest,
    wanted: Wanted,
) -> MetadataResponse {
    let broker = &context.broker;
    let mut turns = Turns::on(broker.shard.io());
    let wanted = wanted.distinct(&mut turns).await;
    if let Wanted::Names(names) = &wanted
        && asked.allow_auto_topic_creation
        && broker.config().topics.auto_create
    {
        create_missing(broker, names, &mut turns).await;
    }
    let image = broker.image();
    let view = View {
        image: &image,
        listener: &context.listener,
    };
    let mut topics = describe_all(view, version, &wanted, &mut turns).await;
    if asked.include_topic_authorized_operations && version >= TELLS_TOPIC_OPERATIONS {
        // Who names an unknown id learns nothing more of it.
        for topic in topics.iter_mut().filter(|topic| topic.name.is_some()) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let brokers = view.brokers().filter(|(broker, _)| !broker.fenced);
    let brokers = brokers.map(|(broker, endpoint)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.id))
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port.into())
            .with_rack(broker.rack.as_deref().map(text))
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(&image.cluster_id)))
        .with_controller_id(view.controller())
        .with_topics(topics);
    if asked.include_cluster_authorized_operations && TELLS_CLUSTER_OPERATIONS.contains(&version) {
        response.with_cluster_authorized_operations(CLUSTER_OPERATIONS)
    } else {
        response
    }
}

/// Describes the topics that are wanted, and says of those that are not there that they are not.
async fn describe_all(
    view: View<'_>,
    version: i16,
    wanted: &Wanted,
    turns: &mut Turns<'_>,
) -> Vec<MetadataResponseTopic> {
    let known = &view.image.topics;
    let mut topics = Vec::new();
    match wanted {
        Wanted::All => {
            for topic in known.iter() {
                topics.push(describe(view, version, topic));
                turns.step().await;
            }
        }
        Wanted::Names(names) => {
            for name in names {
                topics.push(match known.by_name(name) {
                    Some(topic) => describe(view, version, topic),
                    None => unknown_name(name),
                });
                turns.step().await;
            }
        }
        Wanted::Ids(ids) => {
            for id in ids {
                topics.push(match known.get(*id) {
                    Some(topic) => describe(view, version, topic),
                    None => unknown_id(*id),
                });
                turns.step().await;
            }
        }
    }
    topics
}

/// Creates the topics that are not there, as far as they can be.
async fn create_missing(broker: &Broker, names: &[TopicName], turns: &mut Turns<'_>) {
    let image = broker.image();
    let mut topics = Vec::new();
    for name in names {
        if image.topics.id_of(name).is_none()
            && !is_internal(name)
            && validate_topic_name(name).is_ok()
        {
            topics.push(NewTopic::automatic(name.as_str()));
        }
        turns.step().await;
    }
    drop(image);
    if topics.is_empty() {
        return;
    }
    if topics.len() > PARTITIONS_PER_REQUEST_MAX {
        let first = &topics[0].name;
        lines::say!(
            broker.lines,
            broker.shard.io().now(),
            warn,
            topics = topics.len(),
            first,
            "too many to be created automatically"
        );
        return;
    }
    let request = CreateTopics {
        topics,
        validate_only: false,
    };
    match broker
        .control(move |context| create_topics(context, &request))
        .await
    {
        Ok(results) => {
            let (created, refused): (Vec<_>, Vec<_>) =
                results.into_iter().partition(|(_, result)| result.is_ok());
            for (topic, _) in created {
                tracing::info!(topic, "created automatically");
            }
            // However many there are, it is one line.
            if let Some((first, Err(why))) = refused.first() {
                let now = broker.shard.io().now();
                lines::say!(broker.lines, now, warn, topics = refused.len(), first, %why, "cannot be created automatically");
            }
        }
        Err(why) => {
            let now = broker.shard.io().now();
            lines::say!(
                broker.lines,
                now,
                warn,
                ?why,
                "topics cannot be created automatically"
            );
        }
    }
}

fn unknown_name(name: &TopicName) -> MetadataResponseTopic {
    let error = match validate_topic_name(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(invalid) => errors::of_control(invalid.kind),
    };
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(name.clone()))
        .with_is_internal(is_internal(name))
}

fn unknown_id(id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(ResponseError::UnknownTopicId.code())
        .with_name(None)
        .with_topic_id(id)
}

fn describe(view: View<'_>, version: i16, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter();
    let partitions = partitions.map(|(id, partition)| partition_of(view, version, *id, partition));
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_is_internal(is_internal(&topic.name))
        .with_partitions(partitions.collect())
}

fn partition_of(
    view: View<'_>,
    version: i16,
    id: i32,
    partition: &Partition,
) -> MetadataResponsePartition {
    let shown = |ids: &[i32]| match version <= HIDES_UNREACHABLE {
        true => view.reachable(ids),
        false => broker_ids(ids.iter().copied()),
    };
    let (replicas, isr) = (shown(&partition.replicas), shown(&partition.isr));
    let leader = view.leader(partition);
    let is_registered = view.image.brokers.contains_key(&partition.leader);
    let error = match leader {
        None if is_registered && version >= KNOWS_MISSING_LISTENERS => {
            Some(ResponseError::ListenerNotFound)
        }
        None => Some(ResponseError::LeaderNotAvailable),
        Some(_) if replicas.len() < partition.replicas.len() || isr.len() < partition.isr.len() => {
            Some(ResponseError::ReplicaNotAvailable)
        }
        Some(_) => None,
    };
    MetadataResponsePartition::default()
        .with_error_code(errors::code(error))
        .with_partition_index(id)
        .with_leader_id(leader.unwrap_or(NOBODY))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(replicas)
        .with_isr_nodes(isr)
        .with_offline_replicas(view.offline_replicas(partition))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;

    use super::*;
    use crate::api::testing::{image_of, on_a_broker};

    fn asked(topics: Option<Vec<(Option<&str>, u128)>>) -> MetadataRequest {
        let topic = |(name, id): (Option<&str>, u128)| {
            MetadataRequestTopic::default()
                .with_name(name.map(topic_name))
                .with_topic_id(Uuid::from_u128(id))
        };
        let topics = topics.map(|topics| topics.into_iter().map(topic).collect());
        MetadataRequest::default().with_topics(topics)
    }

    fn each_once(version: i16, asked: &MetadataRequest) -> Wanted {
        let wanted = wanted(version, asked).expect("a sound request");
        on_a_broker(image_of(&[], &[]), async move |context| {
            let mut turns = Turns::on(context.broker.shard.io());
            wanted.distinct(&mut turns).await
        })
    }

    #[test]
    fn no_list_is_all_topics_and_an_empty_one_only_in_version_0() {
        assert!(matches!(wanted(1, &asked(None)), Ok(Wanted::All)));
        assert!(matches!(wanted(0, &asked(Some(vec![]))), Ok(Wanted::All)));
        let none = wanted(1, &asked(Some(vec![])));
        assert!(matches!(none, Ok(Wanted::Names(names)) if names.is_empty()));
    }

    #[test]
    fn each_topic_is_answered_once_and_ids_go_before_names() {
        let twice = asked(Some(vec![(Some("b"), 0), (Some("a"), 0), (Some("b"), 0)]));
        let names = [topic_name("b"), topic_name("a")];
        assert!(matches!(each_once(9, &twice), Wanted::Names(got) if got == names));
        let both = asked(Some(vec![(Some("a"), 0), (None, 7), (None, 7)]));
        let ids = [Uuid::from_u128(7)];
        assert!(matches!(each_once(12, &both), Wanted::Ids(got) if got == ids));
    }

    #[test]
    fn ids_and_missing_names_are_refused_before_they_were_served() {
        let by_id = asked(Some(vec![(None, 7)]));
        assert_eq!(
            wanted(11, &by_id).err(),
            Some(ResponseError::InvalidRequest)
        );
        let nameless = asked(Some(vec![(None, 0)]));
        let refused = |version| wanted(version, &nameless).err();
        assert_eq!(refused(11), Some(ResponseError::InvalidRequest));
        assert_eq!(refused(12), Some(ResponseError::UnknownServerError));
        let response = refuse(&nameless, ResponseError::InvalidRequest);
        assert_eq!(response.topics[0].error_code, 42);
        assert_eq!(response.topics[0].name, Some(topic_name("")));
    }
}
