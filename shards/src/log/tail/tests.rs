use super::super::test_random::Random;
use super::*;
use crate::log::batch::{Attributes, BatchIter, HeaderFields};

const KIB: usize = 1024;
const EVERYTHING: ReadLimits = ReadLimits {
    max_bytes: usize::MAX,
    first_batch_always: false,
    up_to_offset: i64::MAX,
};

/// A batch of `records` records and `size_bytes` in all, with bytes that tell it from others.
fn batch_bytes(base_offset: i64, records: i32, size_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![base_offset as u8; size_bytes];
    HeaderFields {
        base_offset,
        leader_epoch: 0,
        attributes: Attributes::from_bits(0),
        last_offset_delta: records - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: records,
    }
    .write(&mut bytes);
    bytes
}

fn push(tail: &mut Tail, at: SegmentPosition, bytes: &[u8]) {
    let records = Bytes::copy_from_slice(&bytes[HEADER_BYTES..]);
    tail.push(TailBatch {
        at,
        header: *bytes.first_chunk().unwrap(),
        records_backing_bytes: records.len(),
        records,
    });
}

/// A tail of batches of one record each, from offset 0 in segment 0.
fn tail_of(sizes: &[usize]) -> Tail {
    let mut tail = Tail::new(0);
    let mut at = SegmentPosition::new(0, 0);
    for (base_offset, size_bytes) in (0..).zip(sizes) {
        push(&mut tail, at, &batch_bytes(base_offset, 1, *size_bytes));
        at = at.plus(*size_bytes as u32);
    }
    tail
}

fn offsets(slices: &[Bytes]) -> Vec<i64> {
    let bytes = slices.concat();
    BatchIter::verifying(&bytes)
        .map(|batch| batch.unwrap().base_offset())
        .collect()
}

fn read(tail: &Tail, from_offset: i64, limits: ReadLimits) -> Vec<i64> {
    let read = tail.read(from_offset, limits).unwrap();
    let bytes = read.concat().len();
    assert_eq!(tail.probe(from_offset, limits), Some(bytes));
    offsets(&read)
}

#[test]
fn small_batches_come_in_one_slice() {
    let tail = tail_of(&[100; 8]);
    let everything = tail.read(0, EVERYTHING).unwrap();
    assert_eq!(everything.len(), 1);
    assert_eq!(offsets(&everything), (0..8).collect::<Vec<_>>());
    assert_eq!(read(&tail, 5, EVERYTHING), [5, 6, 7]);
    assert_eq!(
        read(&tail, 8, EVERYTHING),
        [0_i64; 0],
        "at the end there is nothing yet"
    );
    assert_eq!(tail.read(9, EVERYTHING), None);
    assert_eq!(tail.read(-1, EVERYTHING), None);
}

#[test]
fn an_empty_tail_begins_at_the_end_of_the_log() {
    let mut tail = Tail::new(77);
    assert_eq!(tail.read(76, EVERYTHING), None);
    assert_eq!(read(&tail, 77, EVERYTHING), [0_i64; 0]);
    assert_eq!(
        (tail.backing_bytes(), tail.start(), tail.end()),
        (0, None, None)
    );
    let at = SegmentPosition::new(50, 4_000);
    push(&mut tail, at, &batch_bytes(77, 3, 100));
    assert_eq!(tail.start(), Some(at));
    assert_eq!(tail.end(), Some(SegmentPosition::new(50, 4_100)));
    assert_eq!(tail.end_offset, 80);
    assert_eq!(
        read(&tail, 79, EVERYTHING),
        [77],
        "the batch that holds the offset"
    );
}

#[test]
fn limits_hold() {
    let tail = tail_of(&[100, 200, 40 * KIB, 100, 100]);
    let up_to_bytes = |max_bytes, first_batch_always| {
        let limits = ReadLimits {
            max_bytes,
            first_batch_always,
            ..EVERYTHING
        };
        read(&tail, 0, limits)
    };
    assert_eq!(up_to_bytes(0, false), [0_i64; 0]);
    assert_eq!(up_to_bytes(0, true), [0]);
    assert_eq!(up_to_bytes(299, false), [0]);
    assert_eq!(up_to_bytes(299, true), [0]);
    assert_eq!(up_to_bytes(300, false), [0, 1]);
    assert_eq!(up_to_bytes(300 + 40 * KIB, false), [0, 1, 2]);
    let from_large = ReadLimits {
        max_bytes: 10,
        first_batch_always: true,
        ..EVERYTHING
    };
    assert_eq!(read(&tail, 2, from_large), [2]);
    let below = |up_to_offset| {
        let limits = ReadLimits {
            up_to_offset,
            first_batch_always: true,
            ..EVERYTHING
        };
        read(&tail, 1, limits)
    };
    assert_eq!(below(1), [0_i64; 0], "not even the first batch");
    assert_eq!(below(2), [1]);
    assert_eq!(below(3), [1, 2]);
    assert_eq!(below(4), [1, 2, 3]);
}

#[test]
fn a_batch_that_reaches_the_high_watermark_stays_back() {
    let mut tail = Tail::new(0);
    push(
        &mut tail,
        SegmentPosition::new(0, 0),
        &batch_bytes(0, 10, 200),
    );
    for (up_to_offset, expected) in [(0, 0), (9, 0), (10, 200)] {
        let limits = ReadLimits {
            up_to_offset,
            ..EVERYTHING
        };
        assert_eq!(tail.probe(3, limits), Some(expected));
    }
}

#[test]
fn large_batches_are_not_copied() {
    let bytes = batch_bytes(0, 1, 40 * KIB);
    let received = Bytes::from(bytes.clone());
    let mut tail = Tail::new(0);
    tail.push(TailBatch {
        at: SegmentPosition::new(0, 0),
        header: *bytes.first_chunk().unwrap(),
        records: received.slice(HEADER_BYTES..),
        records_backing_bytes: 64 * KIB,
    });
    assert_eq!(tail.backing_bytes(), 64 * KIB, "what it pins counts");
    let given = tail.read(0, EVERYTHING).unwrap();
    assert_eq!(given[1].as_ptr(), received[HEADER_BYTES..].as_ptr());
    assert_eq!(given.concat(), bytes);
}

#[test]
fn chunks_grow_with_business() {
    let mut tail = tail_of(&[100; 8]);
    assert_eq!(tail.backing_bytes(), KIB);
    let mut at = tail.end().unwrap();
    for base_offset in 8..10_000 {
        push(&mut tail, at, &batch_bytes(base_offset, 1, 100));
        at = tail.end().unwrap();
    }
    let everything = tail.read(0, EVERYTHING).unwrap();
    assert!(everything.len() <= 4 + 4, "{} slices", everything.len());
    assert!(tail.backing_bytes() < 1_000_000 + CHUNK_BYTES_MAX + 10 * KIB);
    assert!(tail.backing_bytes() >= everything.concat().len());
    tail.evict(at, usize::MAX);
    assert_eq!(tail.backing_bytes(), 0);
    push(&mut tail, at, &batch_bytes(10_000, 1, 100));
    assert_eq!(tail.backing_bytes(), CHUNK_BYTES_MAX / CHUNK_GROWTH);
}

#[test]
fn runs_between_large_batches_share_chunks() {
    let sizes: Vec<usize> = (0..40).flat_map(|_| [100, 33 * KIB]).collect();
    let tail = tail_of(&sizes);
    let large: usize = 40 * (33 * KIB - HEADER_BYTES);
    assert!(tail.backing_bytes() - large <= KIB + 4 * KIB);
    assert_eq!(read(&tail, 0, EVERYTHING), (0..80).collect::<Vec<_>>());
}

#[test]
fn only_what_is_settled_is_evicted() {
    let mut tail = tail_of(&[900, 900, 900, 40 * KIB, 900]);
    let kept = tail.read(0, EVERYTHING).unwrap();
    let before = tail.backing_bytes();
    assert_eq!(tail.evict(SegmentPosition::new(0, 899), usize::MAX), 0);
    assert_eq!(
        tail.evict(SegmentPosition::new(0, 900), 0),
        0,
        "nothing wanted"
    );
    assert_eq!(tail.evict(SegmentPosition::new(0, 900), 1), KIB);
    assert_eq!(tail.start_offset, 1);
    assert_eq!(tail.read(0, EVERYTHING), None);
    assert_eq!(read(&tail, 1, EVERYTHING), [1, 2, 3, 4]);
    let freed = tail.evict(SegmentPosition::new(7, 0), usize::MAX);
    assert_eq!(
        freed,
        before - KIB,
        "segments before the settled one are settled"
    );
    assert_eq!((tail.start_offset, tail.end_offset), (5, 5));
    assert_eq!(tail.backing_bytes(), 0);
    assert_eq!(
        offsets(&kept),
        [0, 1, 2, 3, 4],
        "readers keep what they were given"
    );
}

#[test]
fn removed_segments_are_forgotten_unsettled() {
    let mut tail = tail_of(&[100, 100]);
    push(
        &mut tail,
        SegmentPosition::new(2, 0),
        &batch_bytes(2, 1, 100),
    );
    tail.drop_segments_below(2);
    assert_eq!(tail.start_offset, 2);
    assert_eq!(read(&tail, 2, EVERYTHING), [2]);
    tail.drop_segments_below(3);
    assert_eq!((tail.start_offset, tail.end_offset), (3, 3));
    assert_eq!(tail.backing_bytes(), 0);
}

#[test]
fn unsettled_bytes_begin_with_the_batch_that_is_not_all_settled() {
    let mut tail = tail_of(&[100, 40 * KIB, 100, 100]);
    let large_end = 100 + 40 * KIB as u32;
    push(
        &mut tail,
        SegmentPosition::new(4, 0),
        &batch_bytes(4, 1, 100),
    );
    let from = |position| {
        let from = SegmentPosition::new(0, position);
        let (begins, slices) = tail.slices_from(from, large_end + 200);
        (begins, offsets(&slices))
    };
    assert_eq!(from(0), (0, vec![0, 1, 2, 3]));
    assert_eq!(from(99), (0, vec![0, 1, 2, 3]));
    assert_eq!(from(100), (100, vec![1, 2, 3]));
    assert_eq!(from(4_096), (100, vec![1, 2, 3]));
    assert_eq!(from(large_end + 99), (large_end, vec![2, 3]));
    assert_eq!(from(large_end + 100), (large_end + 100, vec![3]));
    assert_eq!(from(large_end + 200), (large_end + 200, vec![]));
    let (begins, slices) = tail.slices_from(SegmentPosition::new(4, 1), 100);
    assert_eq!((begins, slices.len()), (0, 1));
}

#[test]
#[should_panic(expected = "no longer here")]
fn unsettled_bytes_that_are_gone_are_a_broken_invariant() {
    let mut tail = tail_of(&[100, 40 * KIB]);
    tail.evict(SegmentPosition::new(0, 100), 1);
    tail.slices_from(SegmentPosition::new(0, 99), 100 + 40 * KIB as u32);
}

#[test]
#[should_panic(expected = "behind")]
fn a_gap_between_positions_is_a_broken_invariant() {
    let mut tail = tail_of(&[100]);
    push(
        &mut tail,
        SegmentPosition::new(0, 101),
        &batch_bytes(1, 1, 100),
    );
}

#[test]
#[should_panic(expected = "behind")]
fn an_offset_written_twice_is_a_broken_invariant() {
    let mut tail = tail_of(&[100, 100]);
    push(
        &mut tail,
        SegmentPosition::new(0, 200),
        &batch_bytes(1, 1, 100),
    );
}

/// The same log as a list of batches.
struct Model {
    batches: Vec<ModelBatch>,
    start_offset: i64,
    end_offset: i64,
}

struct ModelBatch {
    at: SegmentPosition,
    base_offset: i64,
    last_offset: i64,
    bytes: Vec<u8>,
}

impl Model {
    fn read(&self, from_offset: i64, limits: ReadLimits) -> Option<Vec<u8>> {
        if from_offset < self.start_offset || from_offset > self.end_offset {
            return None;
        }
        let mut given: Vec<u8> = Vec::new();
        let wanted = self
            .batches
            .iter()
            .filter(|batch| batch.last_offset >= from_offset);
        for batch in wanted {
            let fits = given.len().saturating_add(batch.bytes.len()) <= limits.max_bytes;
            let first = given.is_empty() && limits.first_batch_always;
            if batch.last_offset >= limits.up_to_offset || !(fits || first) {
                break;
            }
            given.extend(&batch.bytes);
        }
        Some(given)
    }

    fn segment(&self, base_offset: i64) -> Vec<u8> {
        self.batches
            .iter()
            .filter(|batch| batch.at.base_offset == base_offset)
            .flat_map(|batch| batch.bytes.clone())
            .collect()
    }
}

fn random_size(random: &mut Random) -> usize {
    let size_bytes = match random.below(20) {
        0 => random.between(30 * 1024, 80 * 1024),
        1..4 => random.between(2_000, 20_000),
        _ => random.between(HEADER_BYTES as i64, 600),
    };
    usize::try_from(size_bytes).unwrap()
}

#[test]
fn a_tail_behaves_like_a_list_of_batches() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let start = random.between(0, 1_000);
        let mut tail = Tail::new(start);
        let mut model = Model {
            batches: Vec::new(),
            start_offset: start,
            end_offset: start,
        };
        let mut at = SegmentPosition::new(start, 0);
        for _ in 0..200 {
            match random.below(100) {
                0..70 => {
                    let gap = if random.one_in(10) {
                        random.between(1, 30)
                    } else {
                        0
                    };
                    let base_offset = model.end_offset + gap;
                    if random.one_in(40) && at.position > 0 {
                        at = SegmentPosition::new(base_offset, 0);
                    }
                    let records = i32::try_from(random.between(1, 20)).unwrap();
                    let bytes = batch_bytes(base_offset, records, random_size(&mut random));
                    push(&mut tail, at, &bytes);
                    model.end_offset = base_offset + i64::from(records);
                    let end = at.plus(bytes.len() as u32);
                    model.batches.push(ModelBatch {
                        at,
                        base_offset,
                        last_offset: model.end_offset - 1,
                        bytes,
                    });
                    at = end;
                }
                70..92 => check_reads(&tail, &model, &mut random, seed),
                92..97 => {
                    let settled = match model.batches.len() {
                        0 => at,
                        len => model.batches[random.below(len as u64) as usize].at,
                    };
                    let before = tail.backing_bytes();
                    let freed = tail.evict(settled, random.below(100_000) as usize);
                    assert_eq!(before - freed, tail.backing_bytes());
                    let gone = model
                        .batches
                        .iter()
                        .take_while(|batch| batch.last_offset < tail.start_offset)
                        .count();
                    assert!(model.batches[..gone].iter().all(|batch| batch.at < settled));
                    model.batches.drain(..gone);
                    model.start_offset = tail.start_offset;
                }
                _ => {
                    let base_offset = tail.end().map_or(0, |end| end.base_offset);
                    tail.drop_segments_below(base_offset);
                    model
                        .batches
                        .retain(|batch| batch.at.base_offset >= base_offset);
                    model.start_offset = tail.start_offset;
                }
            }
            assert_eq!(tail.end_offset, model.end_offset, "seed {seed}");
            assert_eq!(tail.start(), model.batches.first().map(|batch| batch.at));
            let bytes: usize = model.batches.iter().map(|batch| batch.bytes.len()).sum();
            assert!(tail.backing_bytes() + model.batches.len() * HEADER_BYTES >= bytes);
            if model.batches.is_empty() {
                assert_eq!(tail.start_offset, tail.end_offset, "seed {seed}");
            }
        }
        tail.evict(SegmentPosition::new(i64::MAX, 0), usize::MAX);
        assert_eq!(tail.backing_bytes(), 0, "seed {seed}");
    }
}

fn check_reads(tail: &Tail, model: &Model, random: &mut Random, seed: u64) {
    let from_offset = random.between(model.start_offset - 2, model.end_offset + 2);
    let limits = ReadLimits {
        max_bytes: match random.below(4) {
            0 => usize::MAX,
            _ => random.below(60_000) as usize,
        },
        first_batch_always: random.one_in(2),
        up_to_offset: match random.below(3) {
            0 => i64::MAX,
            _ => random.between(model.start_offset - 2, model.end_offset + 2),
        },
    };
    let given = tail.read(from_offset, limits);
    let given = given.map(|slices| slices.concat());
    assert_eq!(
        tail.probe(from_offset, limits),
        given.as_ref().map(Vec::len)
    );
    assert_eq!(
        given,
        model.read(from_offset, limits),
        "seed {seed}: {from_offset} {limits:?}"
    );

    let Some(first) = model.batches.first() else {
        return;
    };
    let last = model.batches.last().unwrap();
    assert!(first.base_offset <= last.base_offset);
    for segment in [first.at.base_offset, last.at.base_offset] {
        let here = model.segment(segment);
        let from = model
            .batches
            .iter()
            .find(|batch| batch.at.base_offset == segment)
            .unwrap()
            .at;
        let skipped = random.below(here.len() as u64) as usize;
        let length = random.below((here.len() - skipped) as u64 + 1) as usize;
        let mut target = vec![0; length];
        assert!(
            tail.copy_to(from.plus(skipped as u32), &mut target),
            "seed {seed}"
        );
        assert_eq!(target, here[skipped..skipped + length], "seed {seed}");
        let mut target = vec![0; here.len() - skipped + 1];
        assert!(
            !tail.copy_to(from.plus(skipped as u32), &mut target),
            "past the segment"
        );
        let place = from.plus(skipped as u32);
        let end = from.plus(here.len() as u32).position;
        let (begins, slices) = tail.slices_from(place, end);
        let here_after = (begins - from.position) as usize;
        let holder = model
            .batches
            .iter()
            .rfind(|batch| batch.at <= place)
            .unwrap();
        assert_eq!(begins, holder.at.position, "seed {seed}");
        assert_eq!(slices.concat(), here[here_after..], "seed {seed}");
        if from.position > 0 {
            let before = SegmentPosition::new(segment, from.position - 1);
            assert!(!tail.copy_to(before, &mut [0]), "before what is here");
        }
    }
}
