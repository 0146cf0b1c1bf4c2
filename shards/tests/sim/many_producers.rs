//! More producers than a journal could hold: the oldest are forgotten, and writing goes on, now and
//! after a restart.

use bytes::Bytes;
use corelog_shards::io::sim::{Crash, Faults, World};
use corelog_shards::log::batch::BatchBuilder;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::Append;

use crate::job::run;
use crate::model::key;

const PRODUCERS: i64 = 20_000;
/// Producers in one request.
const AT_ONCE: i64 = 40;
fn batch(producer: i64, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::uncompressed().producer(producer, 0, sequence);
    builder
        .append(0, None, Some(b"a value"))
        .expect("there is room");
    Bytes::from(builder.finish().expect("built"))
}

/// Appends one batch of each producer, all with the same sequence; their offsets.
async fn append(
    shard: &Shard,
    partitions: usize,
    producers: impl Iterator<Item = i64>,
    sequence: i32,
) -> Vec<i64> {
    let appends = producers
        .map(|id| Append::own(key(id as usize % partitions), batch(id, sequence)))
        .collect();
    let results = shard
        .append(appends, shard.io().now())
        .await
        .wait()
        .await
        .results;
    let offsets = results
        .into_iter()
        .map(|result| result.expect("appended").base_offset);
    offsets.collect()
}

async fn fill(shard: Shard, partitions: usize) {
    for first in (0..PRODUCERS).step_by(AT_ONCE as usize) {
        append(&shard, partitions, first..first + AT_ONCE, 0).await;
    }
    check_newest(&shard, partitions).await;
}

/// What the newest producers send again is not appended again.
async fn check_newest(shard: &Shard, partitions: usize) {
    let of_each = PRODUCERS / partitions as i64;
    let newest = PRODUCERS - partitions as i64..PRODUCERS;
    let offsets = append(shard, partitions, newest, 0).await;
    assert_eq!(offsets, vec![of_each - 1; partitions]);
}

async fn go_on(shard: Shard, partitions: usize) {
    check_newest(&shard, partitions).await;
    // Those that were forgotten may go on anywhere.
    let offsets = append(&shard, partitions, 0..partitions as i64, 500).await;
    let of_each = PRODUCERS / partitions as i64;
    assert_eq!(offsets, vec![of_each; partitions]);
    for first in (PRODUCERS..2 * PRODUCERS).step_by(AT_ONCE as usize) {
        append(&shard, partitions, first..first + AT_ONCE, 0).await;
    }
}

#[test]
fn more_producers_than_the_journal_holds_do_not_stop_it() {
    for partitions in [1, 5, 80] {
        let mut world = World::new(partitions as u64, Faults::none());
        let node = world.add_node();
        run(&mut world, node, partitions, fill);
        world.crash(node, Crash::PowerLoss);
        run(&mut world, node, partitions, go_on);
    }
}
