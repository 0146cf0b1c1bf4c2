use super::super::test_random::Random;
use super::*;

const PRODUCER: i64 = 4_711;

fn batch(epoch: i16, base_sequence: i32, records: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id: PRODUCER,
        epoch,
        base_sequence,
        last_offset_delta: records - 1,
        transactional: false,
    }
}

/// Later than all that is appended here.
const NOW_MS: i64 = 100_000;

fn at(base_offset: i64) -> AppendedAt {
    AppendedAt {
        base_offset,
        max_timestamp_ms: 1_000 + base_offset,
        now_ms: 5_000 + base_offset,
    }
}

fn marker(producer_id: i64, epoch: i16, aborted: bool) -> EndMarker {
    EndMarker {
        producer_id,
        epoch,
        coordinator_epoch: 3,
        aborted,
    }
}

fn table(batches: &[ProducerBatch]) -> ProducerTable {
    let mut table = ProducerTable::new();
    let mut offset = 0;
    for batch in batches {
        table.apply(batch, at(offset));
        offset += i64::from(batch.last_offset_delta) + 1;
    }
    table
}

#[test]
fn an_unknown_producer_starts_anywhere() {
    let table = ProducerTable::new();
    assert_eq!(table.check(&batch(0, 0, 1)), Ok(Check::Append));
    assert_eq!(table.check(&batch(7, 1_234, 1)), Ok(Check::Append));
}

#[test]
fn sequences_follow_each_other() {
    let table = table(&[batch(0, 0, 10)]);
    assert_eq!(table.check(&batch(0, 10, 1)), Ok(Check::Append));
    for base_sequence in [5, 9, 11, 0] {
        assert_eq!(
            table.check(&batch(0, base_sequence, 1)),
            Err(ProducerError::OutOfOrderSequence { expected: 10 })
        );
    }
}

#[test]
fn sequences_start_again_after_the_largest() {
    let last = table(&[batch(0, i32::MAX - 4, 5)]);
    assert_eq!(last.check(&batch(0, 0, 1)), Ok(Check::Append));
    let across = batch(0, i32::MAX - 4, 10);
    let across_table = table(&[across]);
    assert_eq!(
        across_table
            .get(PRODUCER)
            .unwrap()
            .last_batch()
            .unwrap()
            .last_sequence,
        4
    );
    assert_eq!(across_table.check(&batch(0, 5, 1)), Ok(Check::Append));
    let Ok(Check::Duplicate(duplicate)) = across_table.check(&across) else {
        panic!("the same batch is a duplicate");
    };
    assert_eq!(duplicate.base_sequence(), i32::MAX - 4);
}

#[test]
fn the_last_five_batches_are_recognised() {
    let sent: Vec<_> = (0..7).map(|step| batch(0, step * 10, 10)).collect();
    let table = table(&sent);
    for forgotten in &sent[..2] {
        assert_eq!(
            table.check(forgotten),
            Err(ProducerError::OutOfOrderSequence { expected: 70 })
        );
    }
    for (step, known) in (2..).zip(&sent[2..]) {
        let Ok(Check::Duplicate(duplicate)) = table.check(known) else {
            panic!("batch {step} is a duplicate");
        };
        assert_eq!(duplicate.base_offset(), step * 10);
        assert_eq!(duplicate.last_offset, step * 10 + 9);
        assert_eq!(duplicate.max_timestamp_ms, 1_000 + step * 10);
        assert_eq!(i64::from(duplicate.base_sequence()), step * 10);
    }
    assert_eq!(
        table.check(&batch(0, 60, 9)),
        Err(ProducerError::OutOfOrderSequence { expected: 70 }),
        "the same start with another length is another batch"
    );
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut table = table(&[batch(3, 0, 5)]);
    assert_eq!(
        table.check(&batch(4, 5, 1)),
        Err(ProducerError::OutOfOrderSequence { expected: 0 })
    );
    assert_eq!(table.check(&batch(4, 0, 1)), Ok(Check::Append));
    table.apply(&batch(4, 0, 1), at(5));
    assert_eq!(
        table.check(&batch(3, 5, 1)),
        Err(ProducerError::InvalidEpoch { current: 4 })
    );
    assert_eq!(
        table.check(&batch(3, 0, 5)),
        Err(ProducerError::InvalidEpoch { current: 4 }),
        "batches of an older epoch are forgotten"
    );
    assert_eq!(table.check(&batch(4, 1, 1)), Ok(Check::Append));
}

#[test]
fn silent_producers_expire() {
    let mut table = table(&[batch(0, 0, 1)]);
    let open = ProducerBatch {
        producer_id: 2,
        transactional: true,
        ..batch(0, 0, 1)
    };
    table.apply(&open, at(1));
    table.expire(5_999, 1_000);
    assert_eq!(table.len(), 2);
    table.expire(6_000, 1_000);
    assert_eq!(table.len(), 1);
    assert!(
        table.get(2).is_some(),
        "an open transaction keeps its producer"
    );
    table.expire(i64::MAX, 1_000);
    assert_eq!(table.len(), 1);
    assert_eq!(table.check(&batch(0, 77, 1)), Ok(Check::Append));
}

#[test]
fn the_first_open_transaction_is_unstable_until_its_marker_is_replicated() {
    let open = |producer_id| ProducerBatch {
        producer_id,
        transactional: true,
        ..batch(0, 0, 5)
    };
    let mut table = ProducerTable::new();
    assert_eq!(table.first_unstable_offset(), None);
    table.apply(&batch(0, 0, 10), at(0));
    assert_eq!(table.first_unstable_offset(), None);
    table.apply(&open(1), at(10));
    table.apply(&open(2), at(15));
    assert_eq!(table.first_unstable_offset(), Some(10));

    let completed = table.apply_marker(&marker(1, 0, true), 20, 0).unwrap();
    assert_eq!((completed.first_offset, completed.last_offset), (10, 20));
    assert!(completed.aborted);
    assert_eq!(
        completed.last_stable_offset, 15,
        "the other one is still open"
    );
    assert_eq!(
        table.first_unstable_offset(),
        Some(10),
        "not replicated yet"
    );
    table.on_high_watermark(20);
    assert_eq!(table.first_unstable_offset(), Some(10));
    table.on_high_watermark(21);
    assert_eq!(table.first_unstable_offset(), Some(15));

    let completed = table.apply_marker(&marker(2, 0, false), 21, 0).unwrap();
    assert_eq!(completed.last_stable_offset, 22);
    table.on_log_start(22);
    assert_eq!(table.first_unstable_offset(), None);
    assert_eq!(table.apply_marker(&marker(2, 0, false), 22, 0), None);
    assert_eq!(table.apply_marker(&marker(9, 0, false), 23, 0), None);
    assert_eq!(table.get(9).unwrap().coordinator_epoch, 3);
}

#[test]
fn records_outside_of_an_open_transaction_are_refused() {
    let open = ProducerBatch {
        transactional: true,
        ..batch(0, 0, 5)
    };
    let mut table = table(&[open]);
    assert_eq!(
        table.check(&batch(0, 5, 1)),
        Err(ProducerError::NotInTransaction)
    );
    table.apply_marker(&marker(PRODUCER, 0, false), 5, 0);
    assert_eq!(table.check(&batch(0, 5, 1)), Ok(Check::Append));
    table.apply_marker(&marker(PRODUCER, 1, false), 6, 0);
    assert_eq!(
        table.check(&batch(1, 5, 1)),
        Err(ProducerError::OutOfOrderSequence { expected: 0 }),
        "a marker of a new epoch begins it"
    );
    assert_eq!(table.check(&batch(1, 0, 1)), Ok(Check::Append));
}

#[test]
fn batches_of_coordinators_carry_no_sequence() {
    let mut table = table(&[batch(0, -1, 3)]);
    assert_eq!(
        table
            .get(PRODUCER)
            .unwrap()
            .last_batch()
            .unwrap()
            .base_sequence(),
        -1
    );
    table.apply(&batch(0, -1, 3), at(3));
    assert_eq!(table.get(PRODUCER).unwrap().batches().len(), 2);
}

/// A table with every kind of content.
fn rich_table(seed: u64) -> ProducerTable {
    let mut random = Random::new(seed);
    let mut table = ProducerTable::new();
    let mut offset = 0;
    for _ in 0..random.between(0, 60) {
        let producer_id = random.between(0, 8);
        let known = table.get(producer_id);
        let epoch = known.map_or(0, |entry| entry.epoch);
        if random.one_in(5) {
            table.apply_marker(
                &marker(producer_id, epoch, random.one_in(2)),
                offset,
                offset,
            );
            offset += 1;
            continue;
        }
        let added = ProducerBatch {
            producer_id,
            epoch: if random.one_in(9) { epoch + 1 } else { epoch },
            base_sequence: i32::try_from(random.between(0, i64::from(i32::MAX))).unwrap(),
            last_offset_delta: i32::try_from(random.between(0, 9)).unwrap(),
            transactional: random.one_in(2),
        };
        table.apply(&added, at(offset));
        offset += i64::from(added.last_offset_delta) + 1;
        if random.one_in(4) {
            table.on_high_watermark(random.between(0, offset));
        }
    }
    table
}

#[test]
fn tables_come_back_and_bad_bytes_do_not_hurt() {
    for seed in 0..40 {
        let table = rich_table(seed);
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        let whole = bytes.len();
        bytes.push(7);
        let mut rest = bytes.as_slice();
        assert_eq!(ProducerTable::decode(&mut rest), Ok(table), "seed {seed}");
        assert_eq!(rest, [7], "reads no further than its own bytes");
        for cut in 0..whole {
            let read = ProducerTable::decode(&mut &bytes[..cut]);
            assert_eq!(read, Err(ProducersDecodeError::Truncated), "seed {seed}");
        }
        let mut random = Random::new(seed);
        for _ in 0..200 {
            let mut damaged = bytes.clone();
            let index = usize::try_from(random.below(whole as u64)).unwrap();
            damaged[index] = random.next() as u8;
            if let Ok(read) = ProducerTable::decode(&mut damaged.as_slice()) {
                exercise(&read);
            }
        }
    }
    let claim = [1, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        ProducerTable::decode(&mut claim.as_slice()),
        Err(ProducersDecodeError::Truncated)
    );
}

/// Whatever was decoded can be worked with.
fn exercise(table: &ProducerTable) {
    table.first_unstable_offset();
    for (producer_id, entry) in table.iter() {
        for known in entry.batches() {
            let again = ProducerBatch {
                producer_id,
                epoch: entry.epoch,
                base_sequence: known.base_sequence(),
                last_offset_delta: known.offset_delta,
                transactional: false,
            };
            assert!(matches!(table.check(&again), Ok(Check::Duplicate(_))));
            assert!(known.base_offset() >= 0);
        }
    }
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
}

/// A leader and a client that loses replies and resends: the log holds each record once, in order.
#[test]
fn resending_never_repeats_or_reorders() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut table = ProducerTable::new();
        let mut log: Vec<i32> = Vec::new();
        let mut sent: Vec<(ProducerBatch, i64)> = Vec::new();
        let mut next = i32::MAX - i32::try_from(random.between(0, 300)).unwrap();
        let start = next;
        for _ in 0..120 {
            if random.one_in(3) && !sent.is_empty() {
                let back = random.below(sent.len().min(8) as u64) + 1;
                let index = sent.len() - usize::try_from(back).unwrap();
                let (again, offset) = sent[index];
                match table.check(&again) {
                    Ok(Check::Duplicate(found)) => {
                        assert!(back <= 5);
                        assert_eq!(found.base_offset(), offset, "seed {seed}");
                    }
                    Ok(Check::Append) => panic!("seed {seed}: appended twice"),
                    Err(_) => assert!(back > 5, "seed {seed}"),
                }
                continue;
            }
            let records = i32::try_from(random.between(1, 9)).unwrap();
            let fresh = batch(0, next, records);
            if random.one_in(6) && !sent.is_empty() {
                let skipped = batch(0, sequence_after(next, records), records);
                let refused = table.check(&skipped);
                assert_eq!(
                    refused,
                    Err(ProducerError::OutOfOrderSequence { expected: next })
                );
            }
            assert_eq!(table.check(&fresh), Ok(Check::Append), "seed {seed}");
            let offset = i64::try_from(log.len()).unwrap();
            table.apply(&fresh, at(offset));
            sent.push((fresh, offset));
            log.extend((0..records).map(|record| sequence_after(next, record)));
            next = sequence_after(next, records);
        }
        for (offset, sequence) in (0..).zip(&log) {
            assert_eq!(*sequence, sequence_after(start, offset), "seed {seed}");
        }
    }
}

#[test]
fn the_most_silent_producers_are_forgotten() {
    let of = |producer_id, transactional| ProducerBatch {
        producer_id,
        transactional,
        ..batch(0, 0, 1)
    };
    let mut table = ProducerTable::new();
    // The oldest has an open transaction, the second one has sent again at last.
    for id in 0..100 {
        table.apply(&of(id, id == 0), at(id));
    }
    table.apply(&of(1, false), at(100));
    assert_eq!(table.forget_silent(10, NOW_MS), 10);
    let kept: Vec<i64> = table.iter().map(|(id, _)| id).collect();
    let expected: Vec<i64> = [0, 1].into_iter().chain(12..100).collect();
    assert_eq!(kept, expected);
    assert_eq!(table.check(&batch_of(5, 77)), Ok(Check::Append));

    assert_eq!(table.forget_silent(1_000, NOW_MS), 89);
    assert_eq!(table.len(), 1);
    assert_eq!(table.first_unstable_offset(), Some(0));
}

#[test]
fn within_a_millisecond_the_offset_says_who_was_silent_for_longer() {
    let mut table = ProducerTable::new();
    for id in 0..10 {
        let at = AppendedAt {
            now_ms: 1,
            ..at(100 - id)
        };
        table.apply(&batch_of(id, 0), at);
    }
    assert_eq!(table.forget_silent(9, NOW_MS), 9);
    assert!(table.get(0).is_some());
}

#[test]
fn who_was_just_heard_is_not_forgotten_when_the_clock_jumps_back() {
    let mut table = ProducerTable::new();
    for id in 0..10 {
        table.apply(&batch_of(id, 0), at(id));
    }
    let now_ms = at(0).now_ms - 3_600_000;
    for id in 10..12 {
        let at = AppendedAt { now_ms, ..at(id) };
        table.apply(&batch_of(id, 0), at);
    }
    assert_eq!(table.forget_silent(10, now_ms), 10);
    let kept: Vec<i64> = table.iter().map(|(id, _)| id).collect();
    assert_eq!(kept, [10, 11]);
}

#[test]
fn a_producer_takes_no_more_than_was_counted_on() {
    let mut table = ProducerTable::new();
    let mut empty = Vec::new();
    table.encode(&mut empty);
    for sequence in 0..10 {
        table.apply(&batch(0, sequence, 1), at(i64::from(sequence)));
    }
    let mut full = Vec::new();
    table.encode(&mut full);
    assert_eq!(full.len() - empty.len(), PRODUCER_BYTES_MAX);
}

fn batch_of(producer_id: i64, base_sequence: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id,
        ..batch(0, base_sequence, 1)
    }
}
