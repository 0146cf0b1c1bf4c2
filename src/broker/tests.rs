use std::path::Path;

use corelog_shards::io::sim::{Faults, World};

use super::*;
use crate::api::testing::image_of;

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
