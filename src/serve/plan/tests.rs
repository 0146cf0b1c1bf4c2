use std::cell::RefCell;
use std::path::Path;

use corelog_shards::io::sim::{Faults, World};

use super::*;
use crate::broker::testing::{broker_of_shard, lead};
use crate::cluster::controller::{CreateTopics, NewTopic, create_topics};

const SHARDS: usize = 3;
const DATA: &str = "/data";

/// What the first client of a shard does: makes a topic of its own.
async fn be_a_client(shard: Shard) -> Result<(), String> {
    let wanted = CreateTopics {
        topics: vec![NewTopic {
            partitions: 6,
            ..NewTopic::automatic(topic_of(shard.id()))
        }],
        validate_only: false,
    };
    let broker = Broker::of(&shard);
    let made = broker.control(move |context| create_topics(context, &wanted));
    let made = made.await.expect("the log can be written");
    assert!(made[0].1.is_ok(), "{made:?}");
    Ok(())
}

fn topic_of(shard: usize) -> String {
    format!("of-shard-{shard}")
}

#[test]
fn what_the_first_clients_change_is_known_to_every_shard() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let ends = RefCell::new(
        mesh::lanes(SHARDS)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>(),
    );
    let brokers = Rc::new(RefCell::new(Vec::new()));
    let started = Rc::clone(&brokers);
    world.start(node, SHARDS, move |io, id| {
        let ends = ends.borrow_mut()[id].take().expect("each starts once");
        let brokers = Rc::clone(&brokers);
        async move {
            let broker = broker_of_shard(&io, Path::new(DATA), (id, SHARDS), ends).await;
            broker.shard.meet().await;
            if id == 0 {
                let driver = lead(&broker, Path::new(DATA)).await;
                let served = put_into_service(&broker.shard, driver.image(), be_a_client).await;
                served.expect("all shards serve");
                let of_all = |shard: Shard| async move {
                    let (broker, mut known) = (Broker::of(&shard), Vec::new());
                    for topic in (0..SHARDS).map(topic_of) {
                        known.push(broker.image().topics.id_of(&topic).is_some());
                    }
                    (known, shard.partitions().len())
                };
                brokers.replace(broker.shard.run_on_all(of_all).await);
            }
            std::future::pending::<()>().await;
        }
    });
    world.run_until(|| !started.borrow().is_empty());
    let told = started.take();
    assert!(
        told.iter().all(|(known, _)| *known == [true; SHARDS]),
        "{told:?}"
    );
    let partitions: usize = told.iter().map(|(_, partitions)| partitions).sum();
    // The metadata log is one.
    assert_eq!(partitions, SHARDS * 6 + 1);
}
