//! For tests of handlers: metadata made up of little, and a broker of one shard in a simulated world.

use std::path::Path;
use std::rc::Rc;

use bytes::BytesMut;
use corelog_shards::io::Instant;
use corelog_shards::io::sim::{Faults, World};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use super::wait::{ReplyMemory, Wait};
use super::{Context, Failure, Request};
use crate::broker::{self, Broker};
use crate::budget::Budget;
use crate::cluster::image::{ConfigResource, Image, Partition, Replayer, config_record};
use crate::cluster::records::{Record, TopicRecord};
use crate::protocol::header::RequestHeader;
use crate::protocol::reply::Reply;
use crate::protocol::testing;

/// Topics with so many partitions, their ids counted from 1, and properties.
pub fn image_of(topics: &[(&str, i32)], configs: &[(ConfigResource, &str, &str)]) -> Image {
    let mut replayer = Replayer::new(Image::empty("cluster"));
    let mut records = Vec::new();
    for (resource, name, value) in configs {
        let value = Some((*value).to_owned());
        records.push(Record::from(config_record(resource, name, value)));
    }
    for (at, (name, partitions)) in (1u128..).zip(topics) {
        let topic_id = Uuid::from_u128(at);
        records.push(Record::from(TopicRecord {
            name: (*name).to_owned(),
            topic_id,
        }));
        for partition_id in 0..*partitions {
            let partition = Partition::new(vec![1], vec![Uuid::nil()], vec![1]);
            records.push(partition.to_record(topic_id, partition_id).into());
        }
    }
    for (offset, record) in (0..).zip(records) {
        replayer.replay(offset, 0, &record).expect("sound records");
    }
    replayer.image().clone()
}

/// A request in a version of its API.
pub fn request((api_key, api_version): (ApiKey, i16), body: &impl Encodable) -> Request {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes, api_version).expect("encodes");
    Request {
        header: RequestHeader {
            api_key,
            api_version,
            correlation_id: 1,
            client_id: StrBytes::from_static_str("test"),
        },
        body: bytes.freeze(),
        begun: Instant::default(),
    }
}

/// What a handler answers.
pub async fn ask<R: Decodable, F: Future<Output = Result<Reply, Failure>>>(
    context: &Rc<Context>,
    api: (ApiKey, i16),
    body: &impl Encodable,
    handle: impl FnOnce(Rc<Context>, Request) -> F,
) -> R {
    let request = request(api, body);
    let header = request.header.clone();
    let handled = handle(Rc::clone(context), request).await;
    let reply = handled.unwrap_or_else(|failure| panic!("{failure}"));
    let mut body = testing::reply_body(&header, &reply);
    R::decode(&mut body, api.1).expect("a valid reply")
}

/// What `test` makes of a broker that knows `image`.
pub fn on_a_broker<T: 'static, F: Future<Output = T> + 'static>(
    image: Image,
    test: impl FnOnce(Rc<Context>) -> F + 'static,
) -> T {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let broker = broker::testing::broker(&io, Path::new("/data")).await;
        broker.install(image).await;
        test(context(broker)).await
    })
}

/// A connection to a broker.
pub fn context(broker: Rc<Broker>) -> Rc<Context> {
    Rc::new(Context {
        broker,
        listener: "PLAINTEXT".into(),
        peer: ([127, 0, 0, 1], 1).into(),
        wait: Wait::default(),
        reply_memory: ReplyMemory::new(Budget::new(64 << 20)),
    })
}
