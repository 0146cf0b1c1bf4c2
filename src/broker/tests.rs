use std::cell::Cell;
use std::path::Path;

use corelog_shards::io::sim::{Faults, World};

use super::*;
use crate::api::testing::image_of;
use crate::cluster::image::{Replayer, config_record};

/// Whether the folder of a topic that `image` does not know keeps its name.
fn keeps_its_name(image: Image) -> bool {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let dir = Path::new("/data/unknown-0");
        io.create_dir_all(dir).await.expect("a folder");
        let metadata = b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAew";
        io.write_small(&dir.join("partition.metadata"), metadata)
            .await
            .expect("a file");
        let broker = testing::broker(&io, Path::new("/data")).await;
        broker.install(image).await;
        io.list_dir(dir).await.is_ok()
    })
}

#[test]
fn folders_are_set_aside_only_by_metadata_that_knows_topics() {
    assert!(!keeps_its_name(image_of(&[("known", 1)], &[])));
    assert!(keeps_its_name(image_of(&[], &[])));
}

/// How often a neighbour of the shard gets the core while the metadata changes by one property of
/// all brokers, with a topic of many partitions.
fn turns_of_a_neighbour(name: &str, value: &str) -> usize {
    let (name, value) = (name.to_owned(), value.to_owned());
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let broker = testing::broker(&io, Path::new("/data")).await;
        let image = image_of(&[("large", 500)], &[]);
        broker.install(image.clone()).await;
        let mut replayer = Replayer::new(image);
        let record = config_record(&ConfigResource::cluster_default(), &name, Some(value));
        let offset = replayer.image().last_offset + 1;
        replayer
            .replay(offset, 0, &record.into())
            .expect("a sound record");
        let turns = Rc::new(Cell::new(0));
        let (counted, neighbour) = (turns.clone(), io.clone());
        let task = io.spawn("neighbour", async move {
            loop {
                counted.set(counted.get() + 1);
                neighbour.yield_now().await;
            }
        });
        broker.apply(&replayer.take_delta()).await;
        task.cancel();
        turns.get()
    })
}

#[test]
fn settings_are_handed_out_in_turns_and_only_if_logs_are_concerned() {
    assert!(turns_of_a_neighbour("log.retention.ms", "1234567") > 2);
    assert_eq!(turns_of_a_neighbour("max.connections", "1000"), 0);
}
