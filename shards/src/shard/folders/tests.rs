use super::*;
use crate::io::Io;
use crate::io::sim::{Faults, World};
use crate::log::batch::control::{ControlKind, TransactionEnd};
use crate::log::batch::{BatchBuilder, BatchIter};
use crate::shard::message::{ReadData, ReadSpec};
use crate::shard::moves::MoveError;
use crate::shard::tests::{config, started};

const KEY: PartitionKey = PartitionKey {
    topic: Uuid::from_u128(9),
    partition: 0,
};
const DIR: &str = "/data/t-0";

fn data(base: i64, producer_id: Option<i64>) -> Vec<u8> {
    let mut batch = BatchBuilder::uncompressed().at(base, 0);
    if let Some(id) = producer_id {
        batch = batch.producer(id, 0, 0).transactional();
    }
    batch.append(1, None, Some(b"value")).expect("a record");
    batch.finish().expect("a batch")
}

fn marker(base: i64, producer_id: i64, is_aborted: bool) -> Vec<u8> {
    let kind = match is_aborted {
        true => ControlKind::Abort,
        false => ControlKind::Commit,
    };
    let end = TransactionEnd {
        is_aborted,
        coordinator_epoch: 3,
    };
    let batch = BatchBuilder::uncompressed().at(base, 0);
    let mut batch = batch.producer(producer_id, 0, -1).transactional().control();
    let (key, value) = (kind.key(), end.value());
    batch.append(1, Some(&key), Some(&value)).expect("a record");
    batch.finish().expect("a batch")
}

async fn opened(io: &Io) -> Shard {
    let shard = started(io, config()).await;
    let config = LogConfig::default();
    let opened = shard
        .open_partition(KEY, "t-0", Uuid::nil(), 0, config)
        .await;
    opened.expect("a partition");
    shard
}

/// What a reader gets from an offset on, as far as one segment has it.
async fn read_from(shard: &Shard, offset: i64, committed: bool) -> ReadData {
    let read = try_read_from(shard, offset, committed).await;
    read.expect("a log")
}

async fn try_read_from(shard: &Shard, offset: i64, committed: bool) -> Result<ReadData, ReadError> {
    let spec = ReadSpec {
        key: KEY,
        offset,
        bytes_max: 1 << 20,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed,
    };
    let read = shard.read(&[spec]).await.pop();
    read.expect("one answer")
}

/// Last stable offset and end of what a reader of committed records gets of a folder of Kafka with
/// these batches: when it is taken over, and after a restart.
fn committed(batches: &[Vec<u8>]) -> [(i64, i64); 2] {
    let log = batches.concat();
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        io.create_dir_all(Path::new(DIR)).await.expect("a folder");
        let path = Path::new(DIR).join("00000000000000000000.log");
        io.write_small(&path, &log).await.expect("a file");
        let mut found = [(0, 0); 2];
        for found in &mut found {
            let shard = opened(&io).await;
            let read = read_from(&shard, 0, true).await;
            let bytes = read.batches.concat();
            let end = BatchIter::new(&bytes)
                .last()
                .map_or(0, |batch| batch.expect("a good batch").next_offset());
            *found = (read.probe.last_stable_offset, end);
            shard.stop().await;
        }
        found
    })
}

#[test]
fn transactions_of_kafka_that_are_decided_are_stable() {
    let all = [(3, 3); 2];
    for is_aborted in [false, true] {
        let batches = [data(0, Some(7)), marker(1, 7, is_aborted), data(2, None)];
        assert_eq!(committed(&batches), all, "aborted: {is_aborted}");
    }
}

#[test]
fn a_transaction_of_kafka_that_is_open_holds_readers_of_committed_records_back() {
    // The marker is that of another producer.
    let batches = [
        data(0, Some(8)),
        data(1, Some(7)),
        marker(2, 8, false),
        data(3, None),
    ];
    assert_eq!(committed(&batches), [(1, 1); 2]);
}

#[test]
fn a_marker_counts_if_it_ends_a_transaction() {
    let end = |bytes: &[u8]| TransactionEnd::of(Batch::first(bytes).expect("a batch"));
    let expected = TransactionEnd {
        is_aborted: true,
        coordinator_epoch: 3,
    };
    assert_eq!(end(&marker(5, 7, true)), Some(expected));
    assert_eq!(end(&data(5, Some(7))), None);
}

/// Two segments of Kafka: producer 7 begins in the first and is aborted in the second, producer 8 is
/// committed, producer 9 is aborted.
fn segments() -> [(&'static str, Vec<u8>); 2] {
    let first = [data(0, Some(7)), data(1, Some(8))];
    let second = [
        marker(2, 7, true),
        data(3, None),
        marker(4, 8, false),
        data(5, Some(9)),
        marker(6, 9, true),
    ];
    [
        ("00000000000000000000.log", first.concat()),
        ("00000000000000000002.log", second.concat()),
    ]
}

const INDEX: &str = "/data/t-0/00000000000000000002.txnindex";

/// Runs `job` in a world with a folder of these segments.
fn in_kafkas_folder<F: Future<Output = ()> + 'static>(job: impl FnOnce(Io) -> F + 'static) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        io.create_dir_all(Path::new(DIR)).await.expect("a folder");
        for (name, bytes) in segments() {
            let written = io.write_small(&Path::new(DIR).join(name), &bytes).await;
            written.expect("a file");
        }
        job(io).await;
    })
}

/// Producer and first offset of each aborted transaction that a reader of committed records is told of.
async fn told(shard: &Shard, offset: i64) -> Vec<(i64, i64)> {
    let aborted = read_from(shard, offset, true).await.aborted;
    let named = aborted
        .iter()
        .map(|one| (one.producer_id, one.first_offset));
    named.collect()
}

#[test]
fn readers_of_committed_records_are_told_what_kafka_has_aborted() {
    in_kafkas_folder(|io| async move {
        for _ in 0..2 {
            let shard = opened(&io).await;
            assert_eq!(told(&shard, 0).await, [(7, 0)]);
            assert_eq!(told(&shard, 2).await, [(7, 0), (9, 5)]);
            assert_eq!(told(&shard, 3).await, [(9, 5)]);
            assert_eq!(told(&shard, 7).await, []);
            assert_eq!(read_from(&shard, 2, false).await.aborted, []);
            shard.stop().await;
        }
    });
}

#[test]
fn a_taken_over_segment_gets_the_index_that_kafka_would_have_written() {
    in_kafkas_folder(|io| async move {
        // One that Kafka has begun.
        let begun = io.write_small(Path::new(INDEX), &[0; 34]).await;
        begun.expect("a file");
        let shard = opened(&io).await;
        let entry =
            |numbers: [i64; 4]| [&[0, 0][..], &numbers.map(i64::to_be_bytes).concat()].concat();
        let written = io.read_small(Path::new(INDEX)).await.expect("an index");
        assert_eq!(written, [entry([7, 0, 2, 1]), entry([9, 5, 6, 7])].concat());
        let names = io.list_dir(Path::new(DIR)).await.expect("a folder");
        let indexes = names.iter().filter(|file| file.name.ends_with(".txnindex"));
        assert_eq!(indexes.count(), 1, "none for a segment without markers");
        shard.stop().await;
    });
}

#[test]
fn a_lost_or_damaged_index_of_aborted_transactions_is_made_anew() {
    in_kafkas_folder(|io| async move {
        let shard = opened(&io).await;
        shard.stop().await;
        let sound = io.read_small(Path::new(INDEX)).await.expect("an index");
        let mut garbled = sound.clone();
        garbled[1] = 9;
        for damaged in [None, Some(&sound[..34]), Some(&sound[..40]), Some(&garbled)] {
            match damaged {
                Some(bytes) => io.write_small(Path::new(INDEX), bytes).await,
                None => io.remove_file(Path::new(INDEX)).await,
            }
            .expect("damage");
            let shard = opened(&io).await;
            assert_eq!(told(&shard, 2).await, [(7, 0), (9, 5)]);
            let again = io.read_small(Path::new(INDEX)).await.expect("an index");
            assert_eq!(again, sound);
            shard.stop().await;
        }
    });
}

#[test]
fn the_index_of_aborted_transactions_goes_with_its_segment() {
    in_kafkas_folder(|io| async move {
        let shard = opened(&io).await;
        let deleted = shard.delete_records(&KEY, Some(7)).await;
        assert_eq!(deleted.expect("deleted"), 7);
        let partition = shard.partition(&KEY).expect("a partition");
        shard.remove_old_segments(&partition).await;
        let gone = io.read_small(Path::new(INDEX)).await;
        assert_eq!(gone.map_err(|e| e.kind()), Err(io::ErrorKind::NotFound));
        assert_eq!(told(&shard, 7).await, []);
        shard.stop().await;
    });
}

/// The first of `count` batches behind each other.
fn behind_each_other(count: i64) -> Vec<Vec<u8>> {
    (0..count).map(|base| data(base, None)).collect()
}

/// The end of a log that is taken over from a folder with these segments, and what their files hold
/// then.
fn taken_over(segments: Vec<(i64, Vec<u8>)>) -> (Result<i64, ReadError>, Vec<Vec<u8>>) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        io.create_dir_all(Path::new(DIR)).await.expect("a folder");
        let path = |base: &i64| Path::new(DIR).join(SegmentFile::new(*base, FileKind::Log).name());
        for (base, bytes) in &segments {
            let written = io.write_small(&path(base), bytes).await;
            written.expect("a file");
        }
        let shard = started(&io, config()).await;
        let config = LogConfig::default();
        let opened = shard
            .open_partition(KEY, "t-0", Uuid::nil(), 0, config)
            .await;
        if opened.is_err() {
            let read = try_read_from(&shard, 0, false).await;
            assert_eq!(
                read.err(),
                Some(ReadError::FolderOffline),
                "it is not taken for one that there is not"
            );
            let moved = shard.move_partition(&KEY, Uuid::nil());
            assert_eq!(moved, Err(MoveError::FolderOffline));
        }
        let end = opened.map(|_| {
            let partition = shard.partition(&KEY).expect("it is open");
            partition.state.borrow().log.end_offset()
        });
        let mut files = Vec::new();
        for (base, _) in &segments {
            files.push(io.read_small(&path(base)).await.expect("a file"));
        }
        (end, files)
    })
}

fn assert_refused(segments: Vec<(i64, Vec<u8>)>, why: &str) {
    let before: Vec<_> = segments.iter().map(|(_, bytes)| bytes.clone()).collect();
    let (end, files) = taken_over(segments);
    assert_eq!(end, Err(ReadError::Corrupt), "{why}");
    assert!(files == before, "{why}: the files are as they were");
}

#[test]
fn a_flipped_bit_in_an_offset_refuses_the_folder() {
    for bit in 0..64 {
        let mut batches = behind_each_other(4);
        batches[1][bit / 8] ^= 1 << (bit % 8);
        let why = format!("bit {bit}");
        assert_refused(vec![(0, batches.concat())], &why);
        let second = batches.split_off(2).concat();
        assert_refused(vec![(0, batches.concat()), (2, second)], &why);
    }
    // Nothing tells that the offset of the last batch is wrong, but for one that is out of reach.
    let mut batches = behind_each_other(4);
    batches[3][1] ^= 1;
    assert_refused(vec![(0, batches.concat())], "the last batch");
}

#[test]
fn damage_before_sound_batches_refuses_the_folder() {
    for at in [8, 11, 16, 17, 23, 61, 65] {
        let mut batches = behind_each_other(4);
        batches[1][at] ^= 4;
        let why = format!("byte {at}");
        assert_refused(vec![(0, batches.concat())], &why);
        let second = batches.split_off(2).concat();
        assert_refused(vec![(0, batches.concat()), (2, second)], &why);
    }
}

#[test]
fn impossible_batches_refuse_the_folder() {
    let with_crc = |mut batch: Vec<u8>| {
        let crc = crate::log::batch::header::crc_of(&batch);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    };
    let mut negative = data(0, None);
    negative[23] = 0xff;
    assert_refused(vec![(0, with_crc(negative))], "a negative count of offsets");
    let largest = i64::MAX;
    assert_refused(vec![(largest, data(largest, None))], "the largest offset");
    let old = [&[0; 8][..], &20_i32.to_be_bytes(), &[7; 4], &[1; 16]].concat();
    assert_refused(vec![(0, old)], "a message of an old format");
}

#[test]
fn what_kafka_may_leave_behind_is_taken_over() {
    let gap = [data(0, None), data(5, None), data(6, None)];
    assert_eq!(taken_over(vec![(0, gap.concat())]).0, Ok(7), "compacted");
    let gap_at_end = gap[..2].concat();
    assert_eq!(taken_over(vec![(0, gap_at_end)]).0, Ok(6), "at the end");
    let segments = vec![(0, gap[..2].concat()), (9, data(9, None)), (10, Vec::new())];
    assert_eq!(taken_over(segments).0, Ok(10), "a gap between segments");
    let mut old = data(0, None);
    old[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    assert_eq!(taken_over(vec![(0, old)]).0, Ok(1), "no leader epoch");
}

#[test]
fn what_a_crash_of_kafka_has_torn_is_cut_off() {
    let sound = behind_each_other(3).concat();
    let torn = data(3, None);
    for tail in [&torn[..torn.len() - 1], &torn[..30], &[0; 5000], &[7; 100]] {
        let file = [&sound[..], tail].concat();
        let (end, files) = taken_over(vec![(0, file), (3, Vec::new())]);
        assert_eq!(end, Ok(3));
        assert!(files[0] == sound);
    }
}
