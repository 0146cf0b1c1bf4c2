//! FindCoordinator: which broker coordinates a group. The topic that groups are kept in is created when one is first
//! asked for.
//!
//! Kafka has the client ask again until the topic is there; here every shard knows it before the answer leaves. Of
//! transactions and share groups there are no coordinators yet, which clients are told in the words of a Kafka whose
//! coordinators are still starting.

use std::rc::Rc;

use corelog_shards::log::uuid_text;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::groups::coordinator_of;
use super::view::{NOBODY, View, text};
use super::{Context, Failure, Request};
use crate::broker::Broker;
use crate::cluster::controller::{ControlErrorKind, CreateTopics, NewTopic, create_topics};
use crate::cluster::image::Image;
use crate::config::OffsetsConfig;
use crate::coordinator::group::OFFSETS_TOPIC;
use crate::lines;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// From here on many keys are asked for together.
const BATCHED: i16 = 4;
/// From here on there are coordinators of share groups.
const KNOWS_SHARE: i16 = 6;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
const UNKNOWN_KIND: &str = "This most likely occurs because of a request being malformed by the \
                            client library or the message was sent to an incompatible broker. See \
                            the broker logs for more details.";
const UNAVAILABLE: &str = "The coordinator is not available.";
/// Port of nobody.
const NO_PORT: i32 = -1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: FindCoordinatorRequest = request.decode()?;
    let version = request.header.api_version;
    let broker = &context.broker;
    if asked.key_type == GROUP && broker.image().topics.id_of(OFFSETS_TOPIC).is_none() {
        create_offsets_topic(broker).await;
    }
    let image = broker.image();
    let view = View {
        image: &image,
        listener: &context.listener,
    };
    let response = if version < BATCHED {
        alone(find(view, version, asked.key_type, &asked.key))
    } else {
        let mut turns = Turns::on(broker.shard.io());
        let mut coordinators = Vec::with_capacity(asked.coordinator_keys.len());
        for key in asked.coordinator_keys {
            let found = find(view, version, asked.key_type, &key);
            coordinators.push(in_batch(key, found));
            turns.step().await;
        }
        FindCoordinatorResponse::default().with_coordinators(coordinators)
    };
    Ok(Reply::encode(&request.header, &response)?)
}

/// A broker and where it is reached.
struct Node {
    id: BrokerId,
    host: StrBytes,
    port: i32,
}

/// An error and what is said of it in a batched answer, which is nothing for the ordinary one.
type NotFound = (ResponseError, &'static str);

const NOT_AVAILABLE: NotFound = (ResponseError::CoordinatorNotAvailable, "");

fn find(view: View<'_>, version: i16, kind: i8, key: &str) -> Result<Node, NotFound> {
    match kind {
        GROUP => find_group(view, key).ok_or(NOT_AVAILABLE),
        TRANSACTION => Err(NOT_AVAILABLE),
        SHARE if version >= KNOWS_SHARE && is_share_key(key) => Err(NOT_AVAILABLE),
        SHARE if version >= KNOWS_SHARE => Err((ResponseError::InvalidRequest, "")),
        _ => Err((ResponseError::InvalidRequest, UNKNOWN_KIND)),
    }
}

/// The leader of a group's partition.
fn find_group(view: View<'_>, group: &str) -> Option<Node> {
    let key = coordinator_of(view.image, group).ok()?;
    let partition = view.image.topics.get(key.topic)?.partition(key.partition)?;
    let leader = view.leader(partition)?;
    let found = view.broker(leader.0).filter(|(broker, _)| !broker.fenced);
    let (_, endpoint) = found?;
    Some(Node {
        id: leader,
        host: text(&endpoint.host),
        port: endpoint.port.into(),
    })
}

fn alone(found: Result<Node, NotFound>) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    match found {
        Ok(node) => response
            .with_error_message(Some(text("NONE")))
            .with_node_id(node.id)
            .with_host(node.host)
            .with_port(node.port),
        Err((error, message)) => {
            let message = match error {
                ResponseError::CoordinatorNotAvailable => UNAVAILABLE,
                _ => message,
            };
            response
                .with_error_code(error.code())
                .with_error_message(Some(text(message)))
                .with_node_id(NOBODY)
                .with_port(NO_PORT)
        }
    }
}

fn in_batch(key: StrBytes, found: Result<Node, NotFound>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match found {
        Ok(node) => coordinator
            .with_error_message(Some(StrBytes::default()))
            .with_node_id(node.id)
            .with_host(node.host)
            .with_port(node.port),
        Err((error, message)) => coordinator
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
            .with_node_id(NOBODY)
            .with_port(NO_PORT),
    }
}

/// Has the controller create the topic that groups are kept in. Whether it did shows in the metadata.
async fn create_offsets_topic(broker: &Broker) {
    let config = broker.config();
    let topic = offsets_topic(&config.groups.offsets, &broker.image());
    let wanted = CreateTopics {
        topics: vec![topic],
        validate_only: false,
    };
    let created = broker
        .control(move |context| create_topics(context, &wanted))
        .await;
    let outcome = created.map(|mut results| results.pop());
    let now = broker.shard.io().now();
    match outcome {
        Ok(Some((topic, Ok(_)))) => tracing::info!(topic, "created for the first group"),
        // Several groups may be the first.
        Ok(Some((_, Err(error)))) if error.kind == ControlErrorKind::TopicAlreadyExists => {}
        Ok(Some((topic, Err(why)))) => {
            lines::say!(broker.lines, now, error, topic, %why, "cannot be created");
        }
        Ok(None) => {}
        Err(why) => {
            lines::say!(
                broker.lines,
                now,
                error,
                topic = OFFSETS_TOPIC,
                ?why,
                "cannot be created"
            );
        }
    }
}

fn offsets_topic(config: &OffsetsConfig, image: &Image) -> NewTopic {
    let brokers = image.brokers.values().filter(|broker| !broker.fenced);
    let brokers = i16::try_from(brokers.count()).unwrap_or(i16::MAX);
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", config.topic_segment_bytes.to_string()),
    ];
    let configs = configs.map(|(name, value)| (name.to_owned(), Some(value)));
    NewTopic {
        partitions: config.topic_partitions,
        replication_factor: config.topic_replication_factor.min(brokers.max(1)),
        configs: configs.into(),
        ..NewTopic::automatic(OFFSETS_TOPIC)
    }
}

/// Whether it is `group:topic id:partition`.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.split(':');
    let (Some(group), Some(topic), Some(partition), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    !group.trim().is_empty()
        && uuid_text::parse(topic).is_some()
        && partition.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use corelog_shards::io::sim::{Faults, World};
    use kafka_protocol::messages::ApiKey;

    use super::*;
    use crate::api::testing::{ask, context, image_of, on_a_broker};
    use crate::broker::testing::{broker, lead};
    use crate::cluster::image::{self, ConfigResource};
    use crate::cluster::records::{Endpoint, RegisterBrokerRecord};

    /// The error codes of an answer.
    async fn codes(
        context: &Rc<Context>,
        version: i16,
        asked: &FindCoordinatorRequest,
    ) -> Vec<i16> {
        let api = (ApiKey::FindCoordinator, version);
        let response: FindCoordinatorResponse = ask(context, api, asked, handle).await;
        match version < BATCHED {
            true => vec![response.error_code],
            false => {
                let coordinators = response.coordinators.iter();
                coordinators.map(|one| one.error_code).collect()
            }
        }
    }

    #[test]
    fn transactions_and_share_groups_have_no_coordinators_yet() {
        on_a_broker(image_of(&[], &[]), async |context| {
            let asked = FindCoordinatorRequest::default().with_key_type(TRANSACTION);
            let alone = asked.clone().with_key(text("a"));
            assert_eq!(codes(&context, 3, &alone).await, [15]);
            let batched = asked.with_coordinator_keys(vec![text("a"), text("b")]);
            assert_eq!(codes(&context, 4, &batched).await, [15, 15]);
            let keys = [
                "g:AAAAAAAAAAAAAAAAAAAAAQ:0",
                "g",
                "g:b:0",
                " :AAAAAAAAAAAAAAAAAAAAAQ:0",
            ];
            let keys = keys.into_iter().map(text).collect();
            let share = batched.with_coordinator_keys(keys).with_key_type(SHARE);
            assert_eq!(codes(&context, 5, &share).await, [42; 4]);
            assert_eq!(codes(&context, 6, &share).await, [15, 42, 42, 42]);
        });
    }

    #[test]
    fn groups_are_coordinated_by_the_leader_of_their_partition() {
        let mut image = image_of(&[(OFFSETS_TOPIC, 50)], &[]);
        let endpoint = Endpoint {
            name: "OUT".to_owned(),
            host: "out.example".to_owned(),
            port: 9093,
            security_protocol: 0,
        };
        let registered = image::Broker::from(&RegisterBrokerRecord {
            broker_id: 1,
            end_points: vec![endpoint],
            ..Default::default()
        });
        image.brokers.insert(1, Arc::new(registered));
        let found = |listener| {
            let image = &image;
            find(View { image, listener }, 6, GROUP, "group")
        };
        let node = found("OUT").expect("a coordinator");
        assert_eq!(
            (node.id, &*node.host, node.port),
            (BrokerId(1), "out.example", 9093)
        );
        // Nobody can reach it who came in by another door.
        assert_eq!(found("IN").err(), Some(NOT_AVAILABLE));
        image = image_of(&[], &[]);
        let view = View {
            image: &image,
            listener: "OUT",
        };
        assert_eq!(find(view, 6, GROUP, "group").err(), Some(NOT_AVAILABLE));
    }

    #[test]
    fn the_topic_of_groups_is_created_when_the_first_is_asked_for() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let folder = Path::new("/data");
            let broker = broker(&io, folder).await;
            let driver = lead(&broker, folder).await;
            broker.install(driver.image()).await;
            let context = context(broker.clone());
            let asked = FindCoordinatorRequest::default().with_key(text("g"));
            let transaction = asked.clone().with_key_type(TRANSACTION);
            codes(&context, 3, &transaction).await;
            assert!(broker.image().topics.by_name(OFFSETS_TOPIC).is_none());
            for _ in 0..2 {
                codes(&context, 3, &asked).await;
            }
            let image = broker.image();
            let topic = image.topics.by_name(OFFSETS_TOPIC).expect("a topic");
            assert_eq!(topic.partition_count(), 50);
            let replicas = topic.partition(0).map(|partition| partition.replicas.len());
            assert_eq!(replicas, Some(1));
            let set = image.properties(&ConfigResource::topic(OFFSETS_TOPIC));
            let set = set.expect("it has properties");
            assert_eq!(set["cleanup.policy"], "compact");
            assert_eq!(set["segment.bytes"], "104857600");
        });
    }
}
