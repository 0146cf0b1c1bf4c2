use std::path::Path;

use corelog_shards::io::Io;
use corelog_shards::io::sim::{Crash, Faults, World};
use corelog_shards::shard::OffsetQuery;
use corelog_shards::shard::message::ReadError;

use super::*;
use crate::broker::testing::{broker_in, lead};
use crate::cluster::controller::{
    AlterOp, ConfigAlteration, CreateTopics, IncrementalAlterConfigs, NewTopic, ResourceAlteration,
    create_topics, incremental_alter_configs,
};
use crate::cluster::image::{Image, Replayer, ResourceKind};
use crate::cluster::records::{NO_LEADER, Record, TopicRecord};

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
        let broker = served(&io, &[]).await;
        let id = make_topic(&broker).await;
        let keys = [0, 1].map(|partition| PartitionKey {
            topic: id,
            partition,
        });
        test(broker, keys).await
    })
}

/// A broker in service with two folders.
async fn served(io: &Io, properties: &[(&str, &str)]) -> Rc<Broker> {
    let folders = [(A, Path::new("/a")), (B, Path::new("/b"))];
    let broker = broker_in(io, &folders, properties).await;
    broker.watch_folders();
    let driver = lead(&broker, folders[0].1).await;
    broker.install(driver.image()).await;
    broker.report_folders(Rc::new(|why: &str| panic!("{why}")));
    broker
}

/// Makes the topic `t` with two partitions. Its id.
async fn make_topic(broker: &Broker) -> Uuid {
    let wanted = CreateTopics {
        topics: vec![NewTopic {
            partitions: 2,
            ..NewTopic::automatic("t")
        }],
        validate_only: false,
    };
    let made = broker.control(move |context| create_topics(context, &wanted));
    let made = made.await.expect("a decision");
    made[0].1.as_ref().expect("a topic").id
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
fn a_partition_that_moves_is_recorded_where_it_is() {
    with_two_folders(async |broker, [in_a, _]| {
        assert_eq!(broker.shard.move_partition(&in_a, B), Ok(()));
        broker.shard.io().sleep(LONG_ENOUGH).await;
        assert_eq!(recorded(&broker), [(B, 1), (B, 1)]);
        assert_eq!(end(&broker, &in_a).await, Ok(0));
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

async fn cordon(broker: &Broker, folders: &str) {
    let wanted = IncrementalAlterConfigs {
        resources: vec![ResourceAlteration {
            resource_type: ResourceKind::Broker.id(),
            name: broker.node_id().to_string(),
            configs: vec![ConfigAlteration {
                name: "cordoned.log.dirs".to_owned(),
                op: AlterOp::Set,
                value: Some(folders.to_owned()),
            }],
        }],
        validate_only: false,
    };
    let altered = broker.control(move |context| incremental_alter_configs(context, &wanted));
    assert_eq!(altered.await.expect("a decision"), [Ok(())]);
}

#[test]
fn what_was_cordoned_while_running_is_cordoned_after_a_restart() {
    for (file, set, registered, placed) in [
        (None, "/a", vec![A], [B, B]),
        (Some("/a"), "", vec![], [A, B]),
    ] {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        let properties: Vec<_> = file
            .map(|dir| ("cordoned.log.dirs", dir))
            .into_iter()
            .collect();
        world.start(node, 1, |_, _| async {});
        let before = properties.clone();
        world.block_on(node, |io| async move {
            let broker = served(&io, &before).await;
            cordon(&broker, set).await;
            io.sleep(LONG_ENOUGH).await;
        });
        world.crash(node, Crash::Kill);
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let broker = served(&io, &properties).await;
            let known = broker.image().brokers[&1].cordoned_log_dirs.clone();
            assert_eq!(
                known.unwrap_or_default(),
                registered,
                "{file:?} and {set:?}"
            );
            make_topic(&broker).await;
            assert_eq!(recorded(&broker), placed.map(|folder| (folder, 1)));
        });
    }
}

/// The metadata of older versions does not say where partitions are.
#[test]
fn new_partitions_without_a_recorded_folder_go_round_those_that_are_open() {
    const PARTITIONS: i32 = 4;
    for (properties, is_b_offline, expected) in [
        (vec![], false, [A, B, A, B]),
        (vec![("cordoned.log.dirs", "/a")], false, [B; 4]),
        (vec![("cordoned.log.dirs", "/a,/b")], false, [A, B, A, B]),
        (vec![], true, [A; 4]),
    ] {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let folders = [(A, Path::new("/a")), (B, Path::new("/b"))];
            let broker = broker_in(&io, &folders, &properties).await;
            let mut replayer = Replayer::new(Image::empty("test"));
            broker.install(replayer.image().clone()).await;
            if is_b_offline {
                broker.shard.fail_folder(B);
            }
            let topic_id = Uuid::from_u128(8);
            let mut records = vec![Record::from(TopicRecord {
                name: "t".to_owned(),
                topic_id,
            })];
            for id in 0..PARTITIONS {
                let partition = Partition::new(vec![1], vec![DIRECTORY_MIGRATING], vec![1]);
                records.push(partition.to_record(topic_id, id).into());
            }
            for (offset, record) in (0..).zip(&records) {
                replayer.replay(offset, 0, record).expect("sound records");
            }
            broker.apply(&replayer.take_delta()).await;
            let mut facts = broker.shard.partition_facts().await;
            facts.sort_by_key(|facts| facts.key);
            let placed: Vec<Uuid> = facts.iter().map(|facts| facts.folder).collect();
            assert_eq!(placed, expected);
        });
    }
}
