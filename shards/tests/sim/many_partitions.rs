//! So many partitions that their checkpoints take more than the journal's reserve, and one with so many
//! segments that its checkpoint takes more than a file: appends go on, now and after a restart.

use std::path::Path;

use corelog_shards::io::Random;
use corelog_shards::io::sim::{Crash, Faults, World};
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::BatchIter;
use corelog_shards::log::config::LogConfig;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::Append;

use crate::job::run;
use crate::model::{LOG_DIR, key, log_config, make_batch, spec};

/// Batches of each partition.
const ROUNDS: usize = 6;
/// Partitions in one request.
const AT_ONCE: usize = 40;
/// Segments of the one with many: each takes 57 bytes of a checkpoint, a journal file has 96 KiB.
const SEGMENTS: usize = 2_500;

async fn append_to_all(shard: Shard, partitions: usize) {
    let mut random = Random::from_seed(partitions as u64);
    for _ in 0..ROUNDS {
        for first in (0..partitions).step_by(AT_ONCE) {
            let some = first..partitions.min(first + AT_ONCE);
            let appends = some
                .map(|partition| Append::own(key(partition), make_batch(2, 0, 0, &mut random)))
                .collect();
            for result in shard
                .append(appends, shard.io().now())
                .await
                .wait()
                .await
                .results
            {
                result.expect("appended");
            }
        }
    }
}

/// The checkpoints of all partitions together fit into the file that is kept for them.
async fn append_within_reserve(shard: Shard, partitions: usize) {
    let io = shard.io().clone();
    append_to_all(shard, partitions).await;
    let files = io.list_dir(&Path::new(LOG_DIR).join("journal")).await;
    assert_eq!(files.expect("listed").len(), 8);
}

#[test]
fn checkpoints_take_no_more_of_the_reserve_than_their_bytes() {
    for partitions in [125, 200, 300] {
        let mut world = World::new(partitions as u64, Faults::none());
        let node = world.add_node();
        run(&mut world, node, partitions, append_within_reserve);
    }
}

#[test]
fn appends_go_on_however_many_partitions_a_journal_has() {
    for partitions in [125, 300, 1_000] {
        let mut world = World::new(partitions as u64, Faults::none());
        let node = world.add_node();
        run(&mut world, node, partitions, append_to_all);
        world.crash(node, Crash::PowerLoss);
        run(&mut world, node, partitions, append_to_all);
    }
}

async fn append_segments(shard: Shard, partitions: usize) {
    let tiny = LogConfig {
        segment_bytes: 100,
        ..log_config(Durability::Sync)
    };
    shard.set_config(&key(0), tiny);
    let mut random = Random::from_seed(1);
    for _ in (0..SEGMENTS).step_by(AT_ONCE) {
        let appends = (0..AT_ONCE)
            .map(|_| Append::own(key(0), make_batch(2, 0, 0, &mut random)))
            .collect();
        for result in shard
            .append(appends, shard.io().now())
            .await
            .wait()
            .await
            .results
        {
            result.expect("appended");
        }
    }
    append_to_all(shard, partitions).await;
}

async fn read_segments(shard: Shard, partitions: usize) {
    let (mut next, mut batches) = (0, 0);
    loop {
        let read = shard.read(&[spec(0, next, 100_000)]).await.pop();
        let data = read.expect("one").expect("read");
        if next == data.probe.high_watermark {
            break;
        }
        for batch in BatchIter::verifying(&data.batches.concat()) {
            next = batch.expect("a sound batch").header().next_offset();
            batches += 1;
        }
    }
    let appended = SEGMENTS.next_multiple_of(AT_ONCE) + ROUNDS;
    assert_eq!(batches, appended);
    append_to_all(shard, partitions).await;
}

#[test]
fn appends_go_on_however_many_segments_a_partition_has() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    run(&mut world, node, 20, append_segments);
    world.crash(node, Crash::PowerLoss);
    run(&mut world, node, 20, read_segments);
}
