//! A node with one shard that does one thing to its end.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{NodeId, World};
use corelog_shards::journal::Durability;
use corelog_shards::mesh;
use corelog_shards::route::Route;
use corelog_shards::shard::{RotPolicy, Shard, open};
use uuid::Uuid;

use crate::model::{key, log_config, shard_config};

/// Longer than all the work takes.
const A_WHILE: Duration = Duration::from_secs(600);
/// How long the node goes on, at most, when the work is done.
const A_MOMENT: Duration = Duration::from_millis(1);

/// Starts the node with so many partitions, and runs until `work` is done; panics if that takes for ever.
pub fn run<F>(world: &mut World, node: NodeId, partitions: usize, work: fn(Shard, usize) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let is_done = Rc::new(Cell::new(false));
    world.start(node, 1, |io, id| {
        let is_done = is_done.clone();
        async move {
            let ends = mesh::lanes(1).pop().expect("one");
            let config = shard_config(RotPolicy::Refuse);
            let opened = open(io, id, Route::new(1), config, ends).await;
            let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
            for partition in 0..partitions {
                let dir = format!("topic-{partition}");
                let config = log_config(Durability::Sync);
                let opened = shard.open_partition(key(partition), &dir, Uuid::nil(), 0, config);
                opened.await.expect("opened");
            }
            work(shard, partitions).await;
            is_done.set(true);
        }
    });
    let end = world.now() + A_WHILE;
    while !is_done.get() {
        assert!(world.now() < end, "work on {partitions} partitions hangs");
        world.run_for(A_MOMENT);
    }
}
