use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;

use corelog_shards::io::Random;
use corelog_shards::io::sim::{Crash, Faults, NodeId, Operation, World, seeds};

use super::*;
use crate::broker::Broker;
use crate::broker::testing::{broker_with, lead};
use crate::cluster::controller::{
    CreateTopics, NewTopic, TopicReference, create_topics, delete_topics,
};
use crate::cluster::image::Image;
use crate::replay::log_start;

const FOLDER: &str = "/data";
const LOG: &str = "/data/__cluster_metadata-0";
/// Of log, snapshots made from them included, that may lie there. The newest snapshot of some dozens of topics takes 3 kB.
const SMALL: &[(&str, &str)] = &[
    ("metadata.log.max.record.bytes.between.snapshots", "3000"),
    ("metadata.max.retention.bytes", "8000"),
    ("internal.metadata.log.segment.bytes", "100000"),
    ("internal.metadata.delete.delay.millis", "2000"),
];
/// As many snapshots as come, and all of the log.
const KEPT: &[(&str, &str)] = &[
    ("metadata.log.max.record.bytes.between.snapshots", "3000"),
    ("metadata.max.retention.bytes", "-1"),
];
const A_WHILE: Duration = Duration::from_secs(10);

async fn started(io: &Io, properties: &[(&str, &str)]) -> (Rc<Broker>, Rc<Driver>) {
    let folder = Path::new(FOLDER);
    let broker = broker_with(io, folder, properties).await;
    let driver = lead(&broker, folder).await;
    broker.install(driver.image()).await;
    io.spawn("metadata snapshots", driver.clone().keep_small());
    (broker, driver)
}

async fn make(broker: &Broker, name: String) {
    let wanted = CreateTopics {
        topics: vec![NewTopic::automatic(name)],
        validate_only: false,
    };
    let made = broker.control(move |context| create_topics(context, &wanted));
    let made = made.await.expect("a decision");
    assert!(made[0].1.is_ok(), "{made:?}");
}

async fn delete(broker: &Broker, name: String) {
    let wanted = [TopicReference::by_name(name)];
    let deleted = broker.control(move |context| delete_topics(context, &wanted));
    let deleted = deleted.await.expect("a decision");
    assert!(deleted[0].result.is_ok(), "{deleted:?}");
}

/// Makes topics and deletes all but a few again: the log grows, and what it says does not.
async fn churn(broker: &Broker, rounds: u32) {
    for round in 0..rounds {
        make(broker, format!("t-{round}")).await;
        if round >= 20 {
            delete(broker, format!("t-{}", round - 20)).await;
        }
    }
}

async fn names(io: &Io) -> Vec<String> {
    let entries = io.list_dir(Path::new(LOG)).await.expect("a folder");
    entries.into_iter().map(|entry| entry.name).collect()
}

async fn snapshots(io: &Io) -> Vec<String> {
    let mut names = names(io).await;
    names.retain(|name| name.ends_with(".checkpoint"));
    names
}

fn world(faults: Faults) -> (World, NodeId) {
    let mut world = World::new(1, faults);
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    (world, node)
}

fn restart(world: &mut World, node: NodeId, how: Crash) {
    world.crash(node, how);
    world.start(node, 1, |_, _| async {});
}

#[test]
fn the_log_stays_small_and_says_all_that_it_said() {
    let (mut world, node) = world(Faults::none());
    let before = world.block_on(node, |io| async move {
        let (broker, driver) = started(&io, SMALL).await;
        churn(&broker, 400).await;
        io.sleep(A_WHILE).await;
        let facts = broker.shard.facts_of(&METADATA_LOG).expect("a log");
        let snapshots = driver.snapshot_facts();
        assert!(facts.end_offset > 1_000, "{facts:?}");
        assert!(facts.start_offset > facts.end_offset / 2, "{facts:?}");
        let retention = driver.snapshots.settings.retention_bytes.expect("a limit");
        let between = driver.snapshots.settings.bytes_between;
        assert!(
            snapshots.count > 0 && snapshots.made_bytes > 0,
            "{snapshots:?}"
        );
        assert!(
            facts.bytes + snapshots.bytes <= retention + 2 * between,
            "{facts:?} {snapshots:?}"
        );
        let names = names(&io).await;
        let leftovers = names.iter().filter(|name| is_leftover(name)).count();
        assert_eq!(leftovers, 0, "{names:?}");
        assert!(
            !names.contains(&"00000000000000000000.log".to_owned()),
            "{names:?}"
        );
        driver.image()
    });
    restart(&mut world, node, Crash::PowerLoss);
    world.block_on(node, |io| async move {
        let (broker, driver) = started(&io, SMALL).await;
        let after = driver.image();
        let named = |image: &Image| -> Vec<_> { image.topics.iter().cloned().collect() };
        assert_eq!(named(&after), named(&before));
        assert_eq!(after.features, before.features);
        assert!(after.last_epoch > before.last_epoch);
        make(&broker, "one-more".into()).await;
    });
}

#[test]
fn old_snapshots_go_by_age_and_the_newest_stays() {
    let by_age = &[
        ("metadata.log.max.record.bytes.between.snapshots", "3000"),
        ("metadata.max.retention.bytes", "-1"),
        ("metadata.max.retention.ms", "600000"),
    ];
    let (mut world, node) = world(Faults::none());
    world.block_on(node, |io| async move {
        let (broker, _) = started(&io, by_age).await;
        churn(&broker, 100).await;
        io.sleep(A_WHILE).await;
        let young = snapshots(&io).await;
        assert!(young.len() > 2, "{young:?}");
        assert_eq!(log_start(&broker.shard, &METADATA_LOG).await, Ok(0));
        io.sleep(Duration::from_secs(900)).await;
        let left = snapshots(&io).await;
        assert_eq!(left[..], young[young.len() - 1..]);
        let end = SnapshotId::parse(&left[0]).expect("a snapshot").end_offset;
        assert_eq!(log_start(&broker.shard, &METADATA_LOG).await, Ok(end));
    });
}

#[test]
fn by_time_one_is_made_when_something_has_changed() {
    let by_time = &[("metadata.log.max.snapshot.interval.ms", "30000")];
    let (mut world, node) = world(Faults::none());
    world.block_on(node, |io| async move {
        let (broker, driver) = started(&io, by_time).await;
        io.sleep(Duration::from_secs(20)).await;
        assert_eq!(driver.snapshot_facts().count, 0);
        assert!(driver.snapshot_facts().age >= Duration::from_secs(20));
        io.sleep(Duration::from_secs(20)).await;
        assert_eq!(snapshots(&io).await.len(), 1);
        io.sleep(Duration::from_secs(300)).await;
        assert_eq!(snapshots(&io).await.len(), 1);
        make(&broker, "a".into()).await;
        io.sleep(Duration::from_secs(31)).await;
        assert_eq!(snapshots(&io).await.len(), 2);
    });
}

#[test]
fn decisions_go_on_while_a_snapshot_is_made() {
    let slow = Faults {
        disk_latency: (Duration::from_millis(5), Duration::from_millis(10)),
        ..Faults::none()
    };
    let (mut world, node) = world(slow);
    world.block_on(node, |io| async move {
        let (broker, driver) = started(&io, KEPT).await;
        // Enough for several writes.
        let topics = (0..20_000).map(|n| NewTopic::automatic(format!("topic-with-a-name-{n}")));
        let topics: Vec<NewTopic> = topics.collect();
        for some in topics.chunks(2_000) {
            let wanted = CreateTopics {
                topics: some.to_vec(),
                validate_only: false,
            };
            let made = driver.submit(move |context| create_topics(context, &wanted));
            assert_eq!(made.await.expect("a decision").len(), some.len());
        }
        // What those decisions made due, and then one of all topics.
        io.sleep(A_WHILE).await;
        make(&broker, "last".into()).await;
        let grow = driver.snapshots.settings.bytes_between as usize;
        driver.snapshots.appended(grow);
        let mut decided = 0;
        let is_partial = |name: &String| name.ends_with(".part");
        while !names(&io).await.iter().any(is_partial) {
            io.sleep(Duration::from_millis(1)).await;
        }
        loop {
            make(&broker, format!("beside-{decided}")).await;
            match names(&io).await.iter().any(is_partial) {
                true => decided += 1,
                false => break,
            }
        }
        assert!(decided > 3, "{decided} decisions");
    });
}

#[test]
fn a_write_that_fails_is_tried_again_and_costs_no_decision() {
    for operation in [Operation::Write, Operation::Sync] {
        let (mut world, node) = world(Faults::none());
        world.fail_next(node, operation, ".checkpoint");
        world.block_on(node, move |io| async move {
            let (broker, driver) = started(&io, KEPT).await;
            churn(&broker, 30).await;
            io.sleep(A_WHILE).await;
            let left = names(&io).await;
            assert!(
                !left.iter().any(|name| name.contains("checkpoint")),
                "{left:?}"
            );
            io.sleep(2 * RETRY).await;
            let made = snapshots(&io).await;
            assert_eq!(made.len(), 1, "{operation:?}");
            let end = driver.image().last_offset + 1;
            let id = SnapshotId::parse(&made[0]).expect("a snapshot");
            assert_eq!(id.end_offset, end);
        });
    }
}

/// Of an earlier start.
const OLD_DAMAGED: &str = "00000000000000000001-0000000001.checkpoint.damaged";

#[test]
fn what_crashes_left_behind_goes_and_what_is_damaged_is_made_anew() {
    let (mut world, node) = world(Faults::none());
    let newest = world.block_on(node, |io| async move {
        let (broker, _) = started(&io, KEPT).await;
        churn(&broker, 60).await;
        io.sleep(A_WHILE).await;
        for leftover in [
            "00000000000000000200-0000000002.checkpoint.part",
            "00000000000000000001-0000000001.checkpoint.deleted",
            OLD_DAMAGED,
        ] {
            let path = Path::new(LOG).join(leftover);
            io.write_small(&path, &[1]).await.expect("a file");
        }
        snapshots(&io).await.pop().expect("a snapshot")
    });
    restart(&mut world, node, Crash::Kill);
    let path = Path::new(LOG).join(&newest);
    world.rot(node, &path, 500, 3).expect("a file");
    world.block_on(node, |io| async move {
        let (broker, driver) = started(&io, KEPT).await;
        let image = driver.image();
        assert_eq!(image.topics.len(), 20);
        io.sleep(A_WHILE).await;
        let names = names(&io).await;
        assert!(!names.iter().any(|name| is_leftover(name)), "{names:?}");
        assert!(names.contains(&format!("{newest}.damaged")), "{names:?}");
        assert!(!names.iter().any(|name| name == OLD_DAMAGED), "{names:?}");
        let made = snapshots(&io).await.pop().expect("a snapshot");
        assert!(made > newest, "{made}");
        make(&broker, "one-more".into()).await;
    });
}

#[test]
fn a_snapshot_that_cannot_be_read_for_now_stays_as_it_is() {
    let (mut world, node) = world(Faults::none());
    let newest = world.block_on(node, |io| async move {
        let (broker, _) = started(&io, KEPT).await;
        churn(&broker, 60).await;
        io.sleep(A_WHILE).await;
        snapshots(&io).await.pop().expect("a snapshot")
    });
    restart(&mut world, node, Crash::Kill);
    // Its first block is read on its own.
    for _ in 0..2 {
        world.fail_next(node, Operation::Read, &newest);
    }
    world.block_on(node, |io| async move {
        let (_broker, driver) = started(&io, KEPT).await;
        assert_eq!(driver.image().topics.len(), 20);
        io.sleep(A_WHILE).await;
        let there = snapshots(&io).await;
        assert!(there.contains(&newest), "{there:?}");
        // What it stood for is in another one by now.
        assert!(there.last() > Some(&newest), "{there:?}");
    });
}

/// What a client of the controller knows: the topics that are there for certain, or perhaps not.
type Story = Rc<RefCell<BTreeMap<String, bool>>>;

async fn live(io: Io, story: Story, seed: u64) -> Rc<Driver> {
    let (broker, driver) = started(&io, SMALL).await;
    let image = driver.image();
    let mut told = story.take();
    for (name, is_certain) in &told {
        let is_there = image.topics.by_name(name).is_some();
        assert!(!is_certain || is_there, "{name} is lost");
    }
    for topic in image.topics.iter() {
        assert!(told.contains_key(&*topic.name), "{} is back", topic.name);
    }
    told.retain(|name, _| image.topics.by_name(name).is_some());
    told.values_mut().for_each(|is_certain| *is_certain = true);
    *story.borrow_mut() = told;
    let mut random = Random::from_seed(seed);
    for _ in 0..200 {
        let there = story.borrow().len() as u64;
        if random.below(20) < there {
            let at = random.below(there) as usize;
            let name = story.borrow().keys().nth(at).expect("so many").clone();
            story.borrow_mut().insert(name.clone(), false);
            delete(&broker, name.clone()).await;
            story.borrow_mut().remove(&name);
        } else {
            let name = format!("t-{:x}", random.next_u64());
            story.borrow_mut().insert(name.clone(), false);
            make(&broker, name.clone()).await;
            story.borrow_mut().insert(name, true);
        }
    }
    driver
}

/// Power may go, or the process be killed, between any two steps.
#[test]
fn no_crash_loses_a_decision_or_brings_one_back() {
    for seed in seeds(24) {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        let story = Story::default();
        for round in 0..12 {
            let told = story.clone();
            world.start(node, 1, move |io, _| {
                let life = live(io, told.clone(), seed * 100 + round);
                async move {
                    let _driver = life.await;
                    pending().await
                }
            });
            let steps = 1 + world.random_below(20_000);
            world.run_steps(steps);
            let how = match world.random_below(2) {
                0 => Crash::Kill,
                _ => Crash::PowerLoss,
            };
            world.crash(node, how);
        }
        world.start(node, 1, |_, _| async {});
        world.block_on(node, move |io| async move {
            let driver = live(io.clone(), story, seed).await;
            // Retention looks for segments below the log start that a crash has left behind.
            io.sleep(Duration::from_secs(400)).await;
            let names = names(&io).await;
            let facts = driver.shard.facts_of(&METADATA_LOG);
            let state = (driver.snapshot_facts(), facts, names.clone());
            assert!(!snapshots(&io).await.is_empty(), "{state:?}");
            assert!(!names.iter().any(|name| is_leftover(name)), "{state:?}");
            let first = "00000000000000000000.log".to_owned();
            assert!(!names.contains(&first), "{state:?}");
        });
    }
}
