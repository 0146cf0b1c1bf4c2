//! Compaction of generated logs against a plain map of what each key should come to.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::log::aborted::AbortedTransaction;
use crate::log::batch::compress::DecoderPool;
use crate::log::batch::control::{ControlKind, TransactionEnd};
use crate::log::batch::tests::CODECS;
use crate::log::batch::{Batch, BatchBuilder, Budget, Progress, Records, TimestampType};
use crate::log::test_random::Random;

const HISTORIES: u64 = 300;
const NOW_MS: i64 = 1_000_000;
const RETENTION_MS: i64 = 1_000;
const RULES: Rules = Rules {
    now_ms: NOW_MS,
    delete_retention_ms: RETENTION_MS,
    end: 0,
};
/// Small enough to be interrupted within a batch.
const BUDGET: Budget = Budget::of_us(1);

/// A record as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    producer_id: i64,
    is_control: bool,
}

#[derive(Default)]
struct History {
    batches: Vec<Vec<u8>>,
    aborted: Vec<AbortedTransaction>,
    lasts: BTreeMap<i64, LastOfProducer>,
}

impl History {
    fn end(&self) -> i64 {
        let last = self.batches.last();
        last.map_or(0, |last| Batch::first(last).expect("sound").next_offset())
    }

    fn records(&self) -> BTreeMap<i64, Seen> {
        let mut all = BTreeMap::new();
        for bytes in &self.batches {
            let batch = Batch::first(bytes).expect("a batch");
            batch.check_crc().expect("its checksum");
            let mut records = Records::new(batch).expect("its records");
            while let Some(record) = records.next().expect("a record") {
                let own = |bytes: &[u8]| bytes.to_vec();
                let headers = record
                    .headers
                    .map(|(key, value)| (own(key), value.map(own)));
                let seen = Seen {
                    timestamp: record.timestamp,
                    key: record.key.map(own),
                    value: record.value.map(own),
                    headers: headers.collect(),
                    producer_id: batch.producer_id(),
                    is_control: batch.is_control(),
                };
                assert!((batch.base_offset()..batch.next_offset()).contains(&record.offset));
                assert!(
                    all.insert(record.offset, seen).is_none(),
                    "offsets are unique"
                );
            }
        }
        all
    }

    /// One pass over all of it. Returns what is left, and the last offset that was compacted.
    fn compacted(&self, first_dirty: i64, map_bytes: usize, now_ms: i64) -> (Self, i64) {
        let pool = DecoderPool::default();
        let mut map = OffsetMap::new(1000, map_bytes, [17, 4]);
        let mut transactions = Transactions::new(self.aborted.clone());
        for bytes in &self.batches {
            let batch = Batch::first(bytes).expect("a batch");
            let is_void = transactions.is_void(batch);
            if batch.next_offset() <= first_dirty {
                continue;
            }
            if is_void || batch.is_control() {
                map.note_all_through(batch.last_offset());
                continue;
            }
            let mut keys = BatchKeys::new(batch, first_dirty, &pool).expect("records");
            let taken = loop {
                if let Progress::Done(taken) = keys.step(&mut map, BUDGET) {
                    break taken.expect("sound records");
                }
            };
            if taken.is_err() {
                break;
            }
        }
        let mut transactions = Transactions::new(self.aborted.clone());
        let mut left = Self {
            lasts: self.lasts.clone(),
            ..Self::default()
        };
        let rules = Rules {
            now_ms,
            end: self.end(),
            ..RULES
        };
        for bytes in &self.batches {
            let batch = Batch::first(bytes).expect("a batch");
            let is_void = transactions.is_void(batch);
            let last = self.lasts.get(&batch.producer_id()).copied();
            let mut filter =
                BatchFilter::new(batch, &map, rules, is_void, last, &pool).expect("records");
            let filtered = loop {
                if let Progress::Done(filtered) = filter.step(BUDGET) {
                    break filtered.expect("sound records");
                }
            };
            match filtered {
                Filtered::Same => left.batches.push(bytes.clone()),
                Filtered::Changed(changed) => {
                    let new = Batch::first(&changed).expect("a batch");
                    assert_eq!(new.base_offset(), batch.base_offset());
                    assert_eq!(new.last_offset(), batch.last_offset());
                    assert_eq!(new.producer_epoch(), batch.producer_epoch());
                    assert_eq!(new.base_sequence(), batch.base_sequence());
                    assert_eq!(new.leader_epoch(), batch.leader_epoch());
                    left.batches.push(changed);
                }
                Filtered::Gone => {}
            }
        }
        left.aborted = transactions.take_kept();
        (left, map.latest())
    }
}

/// Something like what producers write: few keys, many of them deleted, some in transactions.
fn history(random: &mut Random) -> History {
    let mut history = History::default();
    let mut open: BTreeMap<i64, i64> = BTreeMap::new();
    let codec = CODECS[random.below(5) as usize];
    for n in 0..random.between(1, 60) {
        let producer = random.between(-1, 3);
        let offset = history.end() + if random.one_in(10) { 5 } else { 0 };
        let mut batch = BatchBuilder::new(codec).expect("a codec").at(offset, 7);
        if producer >= 0 {
            batch = batch.producer(producer, 1, n as i32 * 100);
        }
        if let Some(first_offset) = open.get(&producer).copied()
            && random.one_in(3)
        {
            open.remove(&producer);
            let is_aborted = random.one_in(2);
            let kind = match is_aborted {
                true => ControlKind::Abort,
                false => ControlKind::Commit,
            };
            let value = TransactionEnd {
                is_aborted,
                coordinator_epoch: 0,
            };
            batch = BatchBuilder::uncompressed().at(offset, 7);
            batch = batch.producer(producer, 1, -1).transactional().control();
            batch
                .append(n, Some(&kind.key()), Some(&value.value()))
                .expect("a marker");
            if is_aborted {
                history.aborted.push(AbortedTransaction {
                    producer_id: producer,
                    first_offset,
                    last_offset: offset,
                    last_stable_offset: first_offset,
                });
            }
        } else {
            let is_transactional = open.contains_key(&producer) || random.one_in(3);
            if producer >= 0 && is_transactional {
                batch = batch.transactional();
                open.entry(producer).or_insert(offset);
            }
            let count = random.between(1, 12);
            for record in 0..count {
                let key = format!("key-{}", random.below(20));
                let value = format!("value-{n}-{record}");
                let value = (!random.one_in(4)).then_some(value.as_bytes());
                let header: (&[u8], Option<&[u8]>) = (b"header", None);
                let headers = match random.one_in(3) {
                    true => &[header][..],
                    false => &[],
                };
                let timestamp = random.between(1, NOW_MS);
                batch
                    .append_with_headers(timestamp, Some(key.as_bytes()), value, headers)
                    .expect("a record");
            }
            if producer >= 0 {
                let last = offset + count - 1;
                history
                    .lasts
                    .insert(producer, LastOfProducer::Records(last));
            }
        }
        history.batches.push(batch.finish().expect("a batch"));
    }
    // No transaction is open where compaction reaches.
    for (producer, _) in open {
        let offset = history.end();
        let mut marker = BatchBuilder::uncompressed().at(offset, 7);
        marker = marker.producer(producer, 1, -1).transactional().control();
        let value = TransactionEnd {
            is_aborted: false,
            coordinator_epoch: 0,
        };
        let (key, value) = (ControlKind::Commit.key(), value.value());
        marker
            .append(0, Some(&key), Some(&value))
            .expect("a marker");
        history.batches.push(marker.finish().expect("a batch"));
    }
    history
}

/// Offsets of records that readers of committed ones get.
fn committed(history: &History) -> BTreeMap<i64, Seen> {
    let is_aborted = |offset: i64, seen: &Seen| {
        history.aborted.iter().any(|aborted| {
            aborted.producer_id == seen.producer_id
                && (aborted.first_offset..=aborted.last_offset).contains(&offset)
        })
    };
    let mut records = history.records();
    records.retain(|offset, seen| !seen.is_control && !is_aborted(*offset, seen));
    records
}

/// What each key comes to for a reader that begins at the start.
fn state(records: &BTreeMap<i64, Seen>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    for seen in records.values() {
        let key = seen.key.clone().expect("every record has one");
        match &seen.value {
            Some(value) => state.insert(key, value.clone()),
            None => state.remove(&key),
        };
    }
    state
}

#[test]
fn readers_come_to_the_same_and_nothing_that_stays_is_changed() {
    for seed in 0..HISTORIES {
        let mut random = Random::new(seed);
        let before = history(&mut random);
        let is_bounded = random.one_in(3);
        let map_bytes = if is_bounded { 24 * 8 } else { usize::MAX };
        let mut first_dirty = 0;
        let mut log = History {
            batches: before.batches.clone(),
            aborted: before.aborted.clone(),
            lasts: before.lasts.clone(),
        };
        let (all, wanted) = (before.records(), state(&committed(&before)));
        for pass in 0..4 {
            let now_ms = NOW_MS + pass * RETENTION_MS * 2 / 3;
            let (after, latest) = log.compacted(first_dirty, map_bytes, now_ms);
            let left = after.records();
            for (offset, seen) in &left {
                assert_eq!(all.get(offset), Some(seen), "seed {seed}, offset {offset}");
            }
            let readable = committed(&after);
            assert_eq!(state(&readable), wanted, "seed {seed}, pass {pass}");
            let compacted: BTreeMap<i64, Seen> = readable
                .range(..=latest)
                .map(|(offset, seen)| (*offset, seen.clone()))
                .collect();
            let keys: BTreeSet<_> = compacted.values().map(|seen| &seen.key).collect();
            assert_eq!(keys.len(), compacted.len(), "seed {seed}: each key once");
            for (producer, last) in &log.lasts {
                let has_last = after.batches.iter().any(|bytes| {
                    let batch = Batch::first(bytes).expect("a batch");
                    batch.producer_id() == *producer
                        && LastOfProducer::Records(batch.last_offset()) == *last
                });
                assert!(has_last, "seed {seed}: the last batch of {producer} stays");
            }
            first_dirty = latest + 1;
            log = after;
        }
        if !is_bounded {
            let tombstones = log.records().into_values();
            let left = tombstones.filter(|seen| seen.value.is_none()).count();
            assert_eq!(left, 0, "seed {seed}: tombstones go after their time");
            let data = log.records().into_values().filter(|seen| !seen.is_control);
            let left = data.count() - committed(&log).len();
            assert_eq!(left, 0, "seed {seed}: so does what was aborted");
        }
    }
}

fn one_batch(records: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut batch = BatchBuilder::uncompressed().at(10, 0);
    for (key, value) in records {
        let value = value.map(str::as_bytes);
        batch
            .append(500, Some(key.as_bytes()), value)
            .expect("a record");
    }
    batch.finish().expect("a batch")
}

fn history_of(batches: &[Vec<u8>]) -> History {
    History {
        batches: batches.to_vec(),
        ..History::default()
    }
}

#[test]
fn a_tombstone_gets_its_horizon_in_the_first_pass_and_goes_behind_it() {
    let before = history_of(&[one_batch(&[("a", Some("1")), ("b", None)])]);
    let (first, _) = before.compacted(0, usize::MAX, NOW_MS);
    let batch = Batch::first(&first.batches[0]).expect("a batch");
    assert_eq!(batch.delete_horizon_ms(), Some(NOW_MS + RETENTION_MS));
    assert_eq!(
        first.records(),
        before.records(),
        "timestamps are as they were"
    );
    let last_moment = NOW_MS + RETENTION_MS - 1;
    let (second, _) = first.compacted(0, usize::MAX, last_moment);
    assert_eq!(second.batches, first.batches);
    let (third, _) = second.compacted(0, usize::MAX, last_moment + 1);
    assert_eq!(third.records().keys().collect::<Vec<_>>(), [&10]);
}

#[test]
fn what_the_map_does_not_know_stays_and_records_without_a_key_go() {
    let mut batch = BatchBuilder::uncompressed();
    batch.append(1, Some(b"a"), Some(b"1")).expect("a record");
    batch.append(1, None, Some(b"no key")).expect("a record");
    let known = batch.finish().expect("a batch");
    let mut batch = BatchBuilder::uncompressed().at(2, 0);
    for key in 0..100_i32 {
        let key = key.to_be_bytes();
        batch.append(1, Some(&key), Some(b"v")).expect("a record");
    }
    let too_many = batch.finish().expect("a batch");
    let before = history_of(&[known, too_many.clone()]);
    let (after, latest) = before.compacted(0, 24 * 8, NOW_MS);
    assert_eq!(latest, 1);
    assert_eq!(after.batches[1], too_many);
    assert!(!after.records().contains_key(&1));
}

#[test]
fn times_that_the_broker_gave_stay() {
    let mut bytes = one_batch(&[("a", Some("1")), ("a", Some("2")), ("b", None)]);
    let stamp = crate::log::batch::Stamp {
        base_offset: 10,
        leader_epoch: 3,
        timestamp_type: TimestampType::LogAppendTime,
        max_timestamp: 777,
    };
    stamp.apply(&mut bytes);
    let (after, _) = history_of(&[bytes]).compacted(0, usize::MAX, NOW_MS);
    let times: Vec<i64> = after
        .records()
        .values()
        .map(|seen| seen.timestamp)
        .collect();
    assert_eq!(times, [777, 777]);
}

#[test]
fn a_transaction_that_ended_before_does_not_void_what_its_producer_wrote_since() {
    let transactional = |offset| {
        let batch = BatchBuilder::uncompressed().at(offset, 0);
        batch.producer(1, 0, offset as i32).transactional()
    };
    let mut batch = transactional(10);
    batch.append(1, Some(b"a"), Some(b"1")).expect("a record");
    let data = batch.finish().expect("a batch");
    let mut batch = transactional(11).control();
    let end = TransactionEnd {
        is_aborted: false,
        coordinator_epoch: 0,
    };
    let key = ControlKind::Commit.key();
    batch
        .append(1, Some(&key), Some(&end.value()))
        .expect("a marker");
    let marker = batch.finish().expect("a batch");
    // Its records and its marker went before, or lie before what is read.
    let ended = AbortedTransaction {
        producer_id: 1,
        first_offset: 0,
        last_offset: 5,
        last_stable_offset: 6,
    };
    let mut before = history_of(&[data, marker]);
    before.aborted = vec![ended];
    let (after, _) = before.compacted(0, usize::MAX, NOW_MS);
    assert_eq!(after.records(), before.records());
}

#[test]
fn the_last_batch_of_what_is_compacted_stays_without_its_records() {
    let mut batch = BatchBuilder::uncompressed().at(11, 0);
    batch.append(1, None, Some(b"no key")).expect("a record");
    let last = batch.finish().expect("a batch");
    let first = one_batch(&[("a", Some("1"))]);
    let (after, _) = history_of(&[first.clone(), last.clone()]).compacted(0, usize::MAX, NOW_MS);
    assert_eq!(after.records().keys().collect::<Vec<_>>(), [&10]);
    assert_eq!(after.end(), 12, "readers learn where they are");
    let again = after.compacted(0, usize::MAX, NOW_MS).0;
    assert_eq!(again.batches, after.batches);
    // No more when more follows.
    let mut batch = BatchBuilder::uncompressed().at(12, 0);
    batch.append(1, Some(b"b"), Some(b"1")).expect("a record");
    let mut more = history_of(&after.batches);
    more.batches.push(batch.finish().expect("a batch"));
    assert_eq!(more.compacted(0, usize::MAX, NOW_MS).0.batches.len(), 2);
}
