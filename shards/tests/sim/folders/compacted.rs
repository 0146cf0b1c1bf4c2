//! The topic that is compacted: of each key the newest value is kept, at its offset.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Random;
use corelog_shards::log::batch::{BatchBuilder, BatchIter, Records};
use corelog_shards::log::compact::Settings;
use corelog_shards::log::config::CompactionConfig;
use corelog_shards::shard::{CleanerConfig, PartitionFacts};

use crate::compaction::{Record, state};
use crate::model::{Model, records_in};

const KEYS: u64 = 10;

pub fn cleaner() -> CleanerConfig {
    CleanerConfig {
        backoff: Duration::from_millis(10),
        map_bytes_max: 1 << 20,
        ..CleanerConfig::default()
    }
}

pub fn compaction() -> CompactionConfig {
    CompactionConfig {
        when: Settings {
            dirty_ratio_min: 0.0,
            lag_min_ms: 0,
            lag_max_ms: i64::MAX,
        },
        delete_retention_ms: 20,
    }
}

/// Some records of a few keys, none of which is ever deleted.
pub fn next_batch(model: &mut Model, random: &mut Random) -> (i64, Bytes) {
    let base = model.end();
    let mut builder = BatchBuilder::uncompressed();
    for _ in 0..1 + random.below(6) {
        let key = random.below(KEYS).to_be_bytes();
        let value = vec![random.below(256) as u8; random.below(2_000) as usize];
        builder
            .append(1_000, Some(&key), Some(&value))
            .expect("a record");
    }
    let batch = Bytes::from(builder.finish().expect("a batch"));
    model.sent.push((base, batch.clone()));
    (base, batch)
}

/// The records of batches that were read, by offset.
fn records_of(bytes: &[u8]) -> BTreeMap<i64, Record> {
    let mut all = BTreeMap::new();
    for batch in BatchIter::verifying(bytes) {
        let mut records = Records::new(batch.expect("a sound batch")).expect("records");
        while let Some(record) = records.next().expect("a record") {
            let key = record.key.expect("a key").to_vec();
            let value = record.value.map(<[u8]>::to_vec);
            let known = all.insert(record.offset, (key, value));
            assert!(known.is_none(), "offset {} is there twice", record.offset);
        }
    }
    all
}

/// All that was sent, by offset.
fn records_sent(model: &Model) -> BTreeMap<i64, Record> {
    let mut all = BTreeMap::new();
    for (base, batch) in &model.sent {
        let of_batch = records_of(batch);
        all.extend(
            of_batch
                .into_iter()
                .map(|(offset, record)| (base + offset, record)),
        );
    }
    all
}

/// What a reader got is what was sent. Returns where to go on.
pub fn note_read(model: &mut Model, offset: i64, bytes: &[u8]) -> i64 {
    let sent = records_sent(model);
    for (offset, record) in records_of(bytes) {
        assert_eq!(sent.get(&offset), Some(&record), "at {offset}");
    }
    let ends = BatchIter::new(bytes).map(|batch| batch.expect("a batch").next_offset());
    let next = ends.max().unwrap_or(offset);
    model.acked_end = model.acked_end.max(next);
    next
}

/// Compares what a partition holds with its model, and lets the model follow what a crash has cost.
pub fn follow(model: &mut Model, found: &PartitionFacts, bytes: &[u8], must_end: i64) {
    let end = found.high_watermark;
    assert!(
        end >= must_end,
        "ends at {end}, {must_end} was acknowledged"
    );
    assert!(
        end <= model.end(),
        "ends at {end}, {} were sent",
        model.end()
    );
    assert!(
        found.start_offset >= model.start_acked,
        "the log start went back"
    );
    assert!(
        found.start_offset <= model.start_asked,
        "nobody asked for that log start"
    );
    model.sent.retain(|(base, _)| *base < end);
    note_read(model, 0, bytes);
    let start = found.start_offset;
    let (sent, kept) = (records_sent(model), records_of(bytes));
    let [sent, kept] = [&sent, &kept].map(|records| {
        let behind_start = records.range(start..);
        state(behind_start.map(|(offset, record)| (*offset, record)))
    });
    assert!(sent == kept, "some key has another value");
    model.start_acked = start;
    model.start_asked = start;
    model.acked_end = end;
    model.high_watermark = end;
    let last = model.sent.last();
    assert!(last.is_none_or(|(base, batch)| base + records_in(batch) == end));
}
