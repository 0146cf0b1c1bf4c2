use std::path::Path;

use corelog_shards::io::sim::{Faults, World};
use corelog_shards::shard::OffsetQuery;
use corelog_shards::shard::message::ReadError;

use super::*;
use crate::broker::testing::{broker_in, lead};
use crate::cluster::controller::{CreateTopics, NewTopic, create_topics};
use crate::cluster::records::NO_LEADER;

const A: Uuid = Uuid::from_u128(1001);
const B: Uuid = Uuid::from_u128(1002);
/// For what is reported to take effect, by the simulated clock.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// What `test` makes of a broker in service with two folders and a topic with a partition in each.
fn with_two_folders<T: 'static, F: Future<Output = T> + 'static>(
    test: impl FnOnce(Rc<Broker>, [PartitionKey; 2]) -> F + 'static,
) -> T {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let folders = [(A, Path::new("/a")), (B, Path::new("/b"))];
        let broker = broker_in(&io, &folders).await;
        broker.watch_folders();
        let driver = lead(&broker, folders[0].1).await;
        broker.install(driver.image()).await;
        broker.report_folders(Rc::new(|why: &str| panic!("{why}")));
        let topic = NewTopic {
            partitions: 2,
            ..NewTopic::automatic("t")
        };
        let wanted = CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        let made = broker.control(move |context| create_topics(context, &wanted));
        let made = made.await.expect("a decision");
        let id = made[0].1.as_ref().expect("a topic").id;
        let keys = [0, 1].map(|partition| PartitionKey {
            topic: id,
            partition,
        });
        test(broker, keys).await
    })
}

/// Folder and leader of each partition, as the metadata has them.
fn recorded(broker: &Broker) -> Vec<(Uuid, i32)> {
    let image = broker.image();
    let topic = image.topics.by_name("t").expect("the topic");
    let partitions = topic.partitions.values();
    let recorded = partitions.map(|partition| (partition.directories[0], partition.leader));
    recorded.collect()
}

async fn end(broker: &Broker, key: &PartitionKey) -> Result<i64, ReadError> {
    let latest = OffsetQuery::Latest { committed: false };
    let end = broker.shard.offset_for(key, None, latest).await;
    end.map(|end| end.offset)
}

#[test]
fn partitions_are_where_the_metadata_says() {
    with_two_folders(async |broker, keys| {
        assert_eq!(recorded(&broker), [(A, 1), (B, 1)]);
        let mut facts = broker.shard.partition_facts().await;
        facts.retain(|facts| keys.contains(&facts.key));
        facts.sort_by_key(|facts| facts.key);
        let folders: Vec<Uuid> = facts.iter().map(|facts| facts.folder).collect();
        assert_eq!(folders, [A, B]);
    });
}

#[test]
fn a_folder_that_fails_is_recorded_and_its_partitions_have_no_leader() {
    with_two_folders(async |broker, [in_a, in_b]| {
        broker.shard.fail_folder(B);
        assert_eq!(end(&broker, &in_b).await, Err(ReadError::FolderOffline));
        broker.shard.io().sleep(LONG_ENOUGH).await;
        assert_eq!(recorded(&broker), [(A, 1), (B, NO_LEADER)]);
        assert_eq!(broker.image().brokers[&1].log_dirs, [A]);
        assert_eq!(end(&broker, &in_a).await, Ok(0));
        assert_eq!(end(&broker, &in_b).await, Err(ReadError::FolderOffline));
    });
}
