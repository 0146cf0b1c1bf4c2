//! A bit of a segment or of an index flips while the node is down. What is read is what was sent, or an
//! error, and that only for offsets of the batch that has rotted; of those behind it as well, up to the next that the
//! index knows, where the bit is one of those that say where they begin. A rotten index is noticed by nobody.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Random;
use corelog_shards::io::sim::{Crash, Faults, NodeId, World, seeds};
use corelog_shards::log::batch::BatchIter;
use corelog_shards::log::segment_name::{FileKind, SegmentFile};
use corelog_shards::shard::message::ReadError;
use corelog_shards::shard::{OffsetQuery, Shard};

use crate::damage::unreadable;
use crate::model::{
    HEADER_BYTES, LOG_DIR, Models, PARTITIONS, empty_models, key, records_in, spec,
};
use crate::node::{Run, Story};
use crate::workload::write;

/// Base offset, length and leader epoch, which no CRC covers.
const UNCOVERED_BYTES: u64 = 16;

/// A file of a segment.
struct Stored {
    partition: usize,
    file: SegmentFile,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Where a bit has flipped.
#[derive(Clone)]
struct Rotten {
    partition: usize,
    /// Offsets of the segment.
    offsets: Range<i64>,
    /// Those that may be unreadable: none for an index.
    lost: Range<i64>,
}

impl Rotten {
    /// Whether an error is to be expected.
    fn explains(&self, partition: usize, offset: i64) -> bool {
        self.partition == partition && self.lost.contains(&offset)
    }

    /// A batch of the partition, mostly one near the flipped bit.
    fn pick(&self, partition: usize, sent: &[(i64, Bytes)], random: &mut Random) -> usize {
        let place_of = |offset| sent.partition_point(|(base, _)| *base < offset);
        let (from, to) = (
            place_of(self.offsets.start),
            place_of(self.offsets.end).min(sent.len()),
        );
        match self.partition == partition && from < to && random.below(4) > 0 {
            true => from + random.below((to - from) as u64) as usize,
            false => random.below(sent.len() as u64) as usize,
        }
    }
}

/// All files of segments that are not empty. The node is down.
fn stored(world: &mut World, node: NodeId) -> Vec<Stored> {
    world.start(node, 1, |_, _| async {});
    let files = world.block_on(node, |io| async move {
        let mut files = Vec::new();
        for partition in 0..PARTITIONS {
            let dir = Path::new(LOG_DIR).join(format!("topic-{partition}"));
            for entry in io.list_dir(&dir).await.unwrap_or_default() {
                let Some(file) = SegmentFile::parse(&entry.name) else {
                    continue;
                };
                let path = dir.join(entry.name);
                let bytes = io.read_small(&path).await.expect("read");
                if !bytes.is_empty() {
                    files.push(Stored {
                        partition,
                        file,
                        path,
                        bytes,
                    });
                }
            }
        }
        files
    });
    world.crash(node, Crash::Kill);
    files
}

/// Where a bit may flip: in segments mostly in what no CRC covers.
fn place_in(stored: &Stored, world: &mut World) -> u64 {
    let len = stored.bytes.len() as u64;
    if stored.file.kind != FileKind::Log || world.random_below(3) == 0 {
        return world.random_below(len);
    }
    let mut starts = vec![0];
    let mut batches = BatchIter::new(&stored.bytes);
    while let Some(Ok(_)) = batches.next() {
        starts.push(batches.position() as u64);
    }
    starts.pop();
    if starts.is_empty() {
        // The rest of its first batch is in the journal.
        return world.random_below(len);
    }
    let start = starts[world.random_below(starts.len() as u64) as usize];
    let header = match world.random_below(2) {
        0 => UNCOVERED_BYTES,
        _ => HEADER_BYTES as u64,
    };
    start + world.random_below(header)
}

/// Picks a file of some partition that passes, and flips one of its bits.
fn flip<'a>(
    world: &mut World,
    node: NodeId,
    all: &'a [Stored],
    may_rot: impl Fn(&Stored) -> bool,
) -> (Rotten, &'a Stored, u64, u32) {
    let first = world.random_below(PARTITIONS as u64) as usize;
    let partitions = (first..PARTITIONS).chain(0..first);
    let mut candidates = partitions.map(|partition| {
        let its_own = |file: &&Stored| file.partition == partition && may_rot(file);
        all.iter().filter(its_own).collect::<Vec<_>>()
    });
    let candidates = candidates.find(|files| !files.is_empty());
    let candidates = candidates.expect("a file of that kind");
    let stored = candidates[world.random_below(candidates.len() as u64) as usize];
    let (place, bit) = (place_in(stored, world), world.random_below(8) as u32);
    let flipped = world.rot(node, &stored.path, place, bit);
    flipped.expect("flipped");
    let base = stored.file.base_offset;
    let later = all
        .iter()
        .filter(|other| other.partition == stored.partition && other.file.base_offset > base);
    let next = later.map(|other| other.file.base_offset).min();
    let end = next.unwrap_or(i64::MAX);
    let index = SegmentFile::new(base, FileKind::OffsetIndex);
    let is_its = |other: &&Stored| other.partition == stored.partition && other.file == index;
    let index = all.iter().find(is_its);
    // The index of the segment that is written is in memory, and may have other entries than a file.
    let index = index.filter(|_| next.is_some());
    let index = index.map_or(&[][..], |index| &index.bytes);
    let rotten = Rotten {
        partition: stored.partition,
        offsets: base..end,
        lost: match stored.file.kind {
            FileKind::Log => unreadable(&stored.bytes, index, place, base..end),
            _ => 0..0,
        },
    };
    (rotten, stored, place, bit)
}

/// Reads a partition as a consumer does that skips what it cannot read, and begins anew now and then;
/// says how often there was an error.
async fn read_all(
    shard: &Shard,
    partition: usize,
    sent: &[(i64, Bytes)],
    rotten: &Rotten,
    random: &mut Random,
) -> u64 {
    let mut errors = 0;
    let mut at = 0;
    let mut reads = 0;
    while at < sent.len() && reads < 3 * sent.len() {
        reads += 1;
        if random.below(10) == 0 {
            at = rotten.pick(partition, sent, random);
        }
        let (base, batch) = &sent[at];
        let offset = match random.below(3) {
            0 => base + random.below(records_in(batch) as u64) as i64,
            _ => *base,
        };
        let bytes_max = 1 + random.below(60_000) as usize;
        let read = shard.read(&[spec(partition, offset, bytes_max)]).await;
        match read.into_iter().next().expect("one") {
            Ok(data) => {
                let bytes = data.batches.concat();
                assert!(!bytes.is_empty(), "partition {partition} at {offset}");
                for batch in BatchIter::verifying(&bytes) {
                    let batch = batch.expect("a sound batch");
                    let (base, sent) = &sent[at];
                    assert_eq!(batch.base_offset(), *base, "partition {partition}");
                    assert_eq!(
                        batch.bytes()[HEADER_BYTES..],
                        sent[HEADER_BYTES..],
                        "partition {partition} at {base}"
                    );
                    at += 1;
                }
            }
            Err(error) => {
                let is_expected = rotten.explains(partition, offset);
                assert!(is_expected, "partition {partition} at {offset}: {error:?}");
                assert_eq!(error, ReadError::Corrupt);
                errors += 1;
                at += 1;
            }
        }
    }
    errors
}

/// Looks for records by their time, which is the base offset of their batch.
async fn seek(
    shard: &Shard,
    partition: usize,
    sent: &[(i64, Bytes)],
    rotten: &Rotten,
    random: &mut Random,
) {
    if sent.is_empty() {
        return;
    }
    for _ in 0..20 {
        let (base, _) = &sent[rotten.pick(partition, sent, random)];
        let time = base + random.below(3) as i64;
        let expected = sent.iter().find(|(base, _)| *base >= time);
        let expected = expected.map_or(-1, |(base, _)| *base);
        let query = OffsetQuery::AtTime(time);
        match shard.offset_for(&key(partition), None, query).await {
            Ok(found) => assert_eq!(found.offset, expected, "partition {partition} at {time}"),
            Err(error) => {
                let is_expected = rotten.partition == partition && !rotten.lost.is_empty();
                assert!(is_expected, "partition {partition} at {time}: {error:?}");
                assert_eq!(error, ReadError::Corrupt);
            }
        }
    }
}

/// Starts the node and compares all that it has with what was sent; says how often there was an error.
fn check(world: &mut World, node: NodeId, run: &Rc<Run>, rotten: &Rotten) -> u64 {
    run.start(world, node, 1);
    world.run_until(|| run.is_compared.get() || run.is_unreadable.get());
    let shard = run.shards.borrow()[0].clone();
    let sent: Vec<_> = {
        let models = run.models.borrow();
        models.iter().map(|model| model.sent.clone()).collect()
    };
    let mut random = Random::from_seed(world.random_below(u64::MAX));
    let errors = Rc::new(Cell::new(None));
    let (result, rotten) = (errors.clone(), rotten.clone());
    world.io(node).spawn("check", async move {
        let mut count = 0;
        for (partition, sent) in sent.iter().enumerate() {
            count += read_all(&shard, partition, sent, &rotten, &mut random).await;
            seek(&shard, partition, sent, &rotten, &mut random).await;
        }
        result.set(Some(count));
    });
    world.run_until(|| errors.get().is_some());
    errors.get().expect("it has ended")
}

fn new_run(world: &mut World, models: &Models) -> Run {
    Run {
        has_clients: false,
        deletes: false,
        is_disk_sound: false,
        ..Run::new(world, models, None)
    }
}

/// How many of the flipped bits readers have met.
pub fn simulate(seed: u64) -> u64 {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let run = Rc::new(Run {
        has_clients: true,
        ..new_run(&mut world, &models)
    });
    run.start(&mut world, node, 1);
    let steps = 4_000 + world.random_below(12_000);
    world.run_steps(steps);
    run.stop(&mut world, node);
    run.crash(&mut world, node, Crash::PowerLoss);
    let run = Rc::new(new_run(&mut world, &models));
    run.start(&mut world, node, 1);
    world.run_until(|| run.is_compared.get());
    run.crash(&mut world, node, Crash::Kill);
    story.tell(format!("{steps} steps"), &models);
    let files = stored(&mut world, node);
    let mut met = 0;
    for _ in 0..4 {
        let (rotten, stored, place, bit) = flip(&mut world, node, &files, |_| true);
        let event = format!("{:?} has rotted at {place}, bit {bit}", stored.path);
        story.tell(event, &models);
        let run = Rc::new(new_run(&mut world, &models));
        let errors = check(&mut world, node, &run, &rotten);
        met += u64::from(errors > 0);
        run.crash(&mut world, node, Crash::Kill);
        let restored = world.rot(node, &stored.path, place, bit);
        restored.expect("restored");
    }
    takes_records(&mut world, node, &models, &files);
    met
}

/// Flips a bit of a segment and expects that each partition takes records.
fn takes_records(world: &mut World, node: NodeId, models: &Models, files: &[Stored]) {
    let is_segment = |file: &Stored| file.file.kind == FileKind::Log;
    let (rotten, ..) = flip(world, node, files, is_segment);
    let run = Rc::new(new_run(world, models));
    check(world, node, &run, &rotten);
    let ends = || -> Vec<i64> { models.borrow().iter().map(|it| it.acked_end).collect() };
    let before = ends();
    let shard = run.shards.borrow()[0].clone();
    for partition in 0..PARTITIONS {
        let writing = write(shard.clone(), partition, run.clone());
        world.io(node).spawn("writer", writing);
    }
    let all_grew = || {
        let now = ends();
        before.iter().zip(&now).all(|(before, now)| before < now)
    };
    for _ in 0..100 {
        if all_grew() {
            break;
        }
        world.run_for(Duration::from_millis(100));
    }
    assert!(all_grew(), "{before:?}, then {:?}", ends());
    run.crash(world, node, Crash::Kill);
}

#[test]
fn rot_in_a_segment_is_an_error_and_nothing_else() {
    let seeds = seeds(40);
    let count = seeds.end - seeds.start;
    let met: u64 = seeds.map(simulate).sum();
    assert!(count < 40 || (count / 2..4 * count).contains(&met), "{met}");
}
