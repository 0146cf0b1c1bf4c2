use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use corelog_shards::io::sim::{Crash, Faults, World};
use corelog_shards::log::batch::BatchIter;

use super::*;
use crate::broker::testing::{broker, lead};
use crate::cluster::controller::{CreateTopics, CreateTopicsReply, NewTopic, create_topics};
use crate::cluster::image::{ConfigResource, config_record};
use crate::replay::batches_at;

/// Times that a caller looks whether his decision is there before he has gone.
const LOOKS_MAX: usize = 24;

/// No value of a setting is longer.
const CONFIG_VALUE_BYTES: usize = i16::MAX as usize;

/// For a decision to be carried out, by the simulated clock.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

fn making(name: String) -> impl FnOnce(&mut Context<'_>) -> Decision<CreateTopicsReply> {
    let wanted = CreateTopics {
        topics: vec![NewTopic::automatic(name)],
        validate_only: false,
    };
    move |context| create_topics(context, &wanted)
}

#[test]
fn a_decision_is_carried_out_whenever_its_caller_goes() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let folder = Path::new("/data");
        let broker = broker(&io, folder).await;
        let driver = lead(&broker, folder).await;
        broker.install(driver.image()).await;
        for looks in 1..=LOOKS_MAX {
            let mut left = looks;
            {
                let mut asked = pin!(broker.control(making(format!("left-{looks}"))));
                poll_fn(|cx| {
                    left -= 1;
                    cx.waker().wake_by_ref();
                    match asked.as_mut().poll(cx).is_ready() || left == 0 {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                })
                .await;
            }
            let next = broker.control(making(format!("next-{looks}"))).await;
            assert!(next.is_ok_and(|made| made[0].1.is_ok()));
            // Which of both decisions comes first is up to the order of their tasks.
            io.sleep(LONG_ENOUGH).await;
            for name in ["left", "next"].map(|kind| format!("{kind}-{looks}")) {
                assert!(driver.image().topics.id_of(&name).is_some(), "{name}");
                assert!(broker.image().topics.id_of(&name).is_some(), "{name}");
            }
        }
    });
}

#[test]
fn a_decision_of_more_than_a_batch_takes_is_refused_and_changes_nothing() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let folder = Path::new("/data");
        let broker = broker(&io, folder).await;
        let driver = lead(&broker, folder).await;
        broker.install(driver.image()).await;
        let before = driver.image().last_offset;
        let value = "v".repeat(CONFIG_VALUE_BYTES);
        let count = broker.shard.append_bytes_max() / CONFIG_VALUE_BYTES + 1;
        let setting = move |_: &mut Context<'_>| {
            let resource = ConfigResource::cluster_default();
            let record = |at| config_record(&resource, &format!("a.{at}"), Some(value.clone()));
            Decision {
                records: (0..count).map(|at| record(at).into()).collect(),
                reply: (),
            }
        };
        let refused = broker.control(setting).await;
        assert_eq!(refused.err(), Some(ControlFailure::TooLarge));
        assert_eq!(driver.image().last_offset, before);
        let made = broker.control(making("t".to_owned())).await;
        assert!(made.is_ok_and(|made| made[0].1.is_ok()));
    });
}

#[test]
fn each_start_begins_an_epoch_of_the_log() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    for epoch in 1..=3 {
        world.start(node, 1, |_, _| async {});
        world.block_on(node, move |io| async move {
            let folder = Path::new("/data");
            let broker = broker(&io, folder).await;
            let driver = lead(&broker, folder).await;
            assert_eq!(driver.image().last_epoch, epoch);
            let batches = batches_at(&broker.shard, METADATA_LOG, 0).await;
            let batches = batches.expect("the log");
            let epochs =
                BatchIter::new(&batches).map(|batch| batch.expect("a batch").leader_epoch());
            let epochs: Vec<i32> = epochs.collect();
            assert!(epochs.is_sorted(), "{epochs:?}");
            assert_eq!(epochs.last(), Some(&epoch));
        });
        world.crash(node, Crash::Kill);
    }
}

#[test]
fn a_preference_goes_with_the_partition_it_was_for() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let folder = Path::new("/data");
        let broker = broker(&io, folder).await;
        let driver = lead(&broker, folder).await;
        broker.install(driver.image()).await;
        let directory = broker.node.directory_id;
        let prefer = |topic: &str, id| driver.prefer(topic.to_owned(), id, directory);
        prefer("t", 0);
        prefer("t", 7);
        prefer("u", 0);
        let made = broker.control(making("t".to_owned())).await;
        assert!(made.is_ok_and(|made| made[0].1.is_ok()));
        // There already.
        prefer("t", 0);
        let preferred = driver.preferred.borrow();
        let left: Vec<_> = preferred
            .keys()
            .map(|(topic, id)| (&**topic, *id))
            .collect();
        assert_eq!(left, [("t", 7), ("u", 0)]);
    });
}
