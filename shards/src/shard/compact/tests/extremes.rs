//! What nobody should write and somebody does: a million tombstones, keys of a megabyte, the end of time.

use super::*;
use crate::log::batch::Codec;
use crate::shard::message::ReadError;
use crate::shard::{ListedOffset, OffsetQuery};

/// A record as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: i64,
    timestamp: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// Records from an offset to the end of the log. Gaps are passed over as clients do it.
async fn read_from(shard: &Shard, offset: i64) -> Result<Vec<Seen>, ReadError> {
    let (mut next, mut found) = (offset, Vec::new());
    loop {
        let data = shard.read(&[spec(1, next)]).await.remove(0)?;
        let bytes = data.batches.concat();
        if bytes.is_empty() {
            return Ok(found);
        }
        for batch in BatchIter::verifying(&bytes) {
            let batch = batch.expect("a sound batch");
            let mut records = Records::new(batch).expect("records");
            while let Some(record) = records.next().expect("a record") {
                if record.offset >= next {
                    found.push(Seen {
                        offset: record.offset,
                        timestamp: record.timestamp,
                        key: record.key.expect("a key").to_vec(),
                        value: record.value.map(<[u8]>::to_vec),
                    });
                }
            }
            next = next.max(batch.next_offset());
        }
    }
}

/// Fills segments with values of one key until the log is finished up to this offset.
async fn finish_through(shard: &Shard, partition: &Partition, offset: i64) {
    while progress(partition).1 <= offset {
        let value = vec![7; 60_000];
        let batch = of(BatchBuilder::uncompressed(), b"another", &value);
        append(shard, vec![batch]).await;
        shard.io().sleep(Duration::from_millis(10)).await;
    }
}

async fn until_compacted(shard: &Shard, partition: &Partition, offset: i64) {
    while progress(partition).0 <= offset {
        shard.io().sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_million_tombstones_go() {
    const TOMBSTONES: i64 = 1_000_000;
    const OF_A_BATCH: i64 = 10_000;
    /// Keys that there is memory for at a time.
    const KEYS_MAX: usize = 300_000;
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    let (shard, partition) = world.block_on(node, |io| async move {
        let shard = started(&io, quiet()).await;
        let partition = opened_as(&shard, 1, compacted(1 << 20)).await;
        for batch in 0..TOMBSTONES / OF_A_BATCH {
            let mut tombstones = BatchBuilder::uncompressed();
            for at in 0..OF_A_BATCH {
                let key = (batch * OF_A_BATCH + at).to_be_bytes();
                tombstones.append(1, Some(&key), None).expect("a record");
            }
            let bytes = Bytes::from(tombstones.finish().expect("a batch"));
            append(&shard, vec![Append::own(key(1), bytes)]).await;
        }
        finish_through(&shard, &partition, TOMBSTONES).await;
        (shard, partition)
    });
    let passes = || shard.0.metrics.compaction_passes.snapshot().count();
    let begun = world.steps();
    shard.set_cleaner(CleanerConfig {
        is_enabled: true,
        backoff: Duration::from_millis(1),
        map_bytes_max: KEYS_MAX * 100 / 90 * 24,
        io_bytes_a_second: None,
    });
    let (cleaned, its) = (shard.clone(), partition.clone());
    world.block_on(node, |_| async move {
        until_compacted(&cleaned, &its, TOMBSTONES).await;
        let found = read_from(&cleaned, TOMBSTONES - 10).await.expect("read");
        assert!(found[..10].iter().all(|seen| seen.value.is_none()));
    });
    assert!(
        passes() >= 4,
        "the memory is for less than a third of the keys"
    );
    // Each record is parsed once for its key, twice for what stays: in slices of about a thousand.
    assert!(world.steps() - begun > 3 * TOMBSTONES as u64 / 1_000);
    let cleaned = shard.clone();
    world.block_on(node, |io| async move {
        io.sleep(DELETE_RETENTION).await;
        let end = cleaned.facts_of(&key(1)).expect("facts").end_offset;
        finish_through(&cleaned, &partition, end).await;
        until_compacted(&cleaned, &partition, end).await;
        for from in [0, 1, TOMBSTONES / 2, TOMBSTONES - 1] {
            let found = read_from(&cleaned, from).await.expect("read");
            assert!(found[0].offset >= TOMBSTONES, "from {from}");
            assert!(found.iter().all(|seen| seen.key == b"another"));
        }
        let left = cleaned.facts_of(&key(1)).expect("facts").bytes;
        assert!(left < 3 << 20, "{left} bytes");
    });
}

#[test]
fn keys_of_a_megabyte_are_compacted() {
    let key_of = |byte: u8| vec![byte; 1 << 20];
    let config = ShardConfig {
        journal_bytes: 64 << 20,
        ..quiet()
    };
    for codec in [Codec::None, Codec::LZ4] {
        with_shard(config.clone(), move |shard| async move {
            let partition = opened(&shard, 3 << 20).await;
            for (value, byte) in [(b"1", 1), (b"2", 2), (b"3", 1), (b"4", 3), (b"5", 3)] {
                let batch = BatchBuilder::new(codec).expect("a codec");
                append(&shard, vec![of(batch, &key_of(byte), value)]).await;
            }
            let mut both = BatchBuilder::new(codec).expect("a codec");
            both.append(1, Some(&key_of(2)), None).expect("a record");
            both.append(1, Some(&key_of(4)), Some(b"7"))
                .expect("a record");
            let both = Bytes::from(both.finish().expect("a batch"));
            append(&shard, vec![Append::own(key(1), both)]).await;
            finish_through(&shard, &partition, 6).await;
            pass(&shard, &partition).await;
            let found = read_from(&shard, 0).await.expect("read");
            let small = found.iter().filter(|seen| seen.offset < 7);
            let small = small.map(|seen| {
                (
                    seen.offset,
                    seen.key == key_of(seen.key[0]),
                    seen.value.clone(),
                )
            });
            let left = |value: &[u8; 1]| Some(value.to_vec());
            let wanted = [(2, left(b"3")), (4, left(b"5")), (5, None), (6, left(b"7"))];
            let wanted = wanted.map(|(offset, value)| (offset, true, value));
            assert_eq!(small.collect::<Vec<_>>(), wanted);
        });
    }
}

#[test]
fn the_end_of_time_is_a_time() {
    const TIMES: [i64; 5] = [i64::MAX, 0, i64::MAX - 1, -1, 1];
    for codec in [Codec::None, Codec::LZ4] {
        with_shard(quiet(), move |shard| async move {
            let partition = opened(&shard, 200_000).await;
            let mut batch = BatchBuilder::new(codec).expect("a codec");
            for (at, timestamp) in TIMES.into_iter().enumerate() {
                let key = [at as u8];
                let value = (at > 0).then_some(&b"value"[..]);
                batch
                    .append(timestamp, Some(b"replaced"), Some(b"1"))
                    .expect("a record");
                batch
                    .append(timestamp, Some(&key), value)
                    .expect("a record");
            }
            let bytes = Bytes::from(batch.finish().expect("a batch"));
            append(&shard, vec![Append::own(key(1), bytes)]).await;
            finish_through(&shard, &partition, 10).await;
            let of_tests = async || {
                let found = read_from(&shard, 0).await.expect("read").into_iter();
                let mut found: Vec<Seen> = found.filter(|seen| seen.offset < 10).collect();
                found.retain(|seen| seen.key.len() == 1);
                found
                    .into_iter()
                    .map(|seen| seen.timestamp)
                    .collect::<Vec<_>>()
            };
            pass(&shard, &partition).await;
            assert_eq!(of_tests().await, TIMES, "times are as they were");
            let newest = shard
                .offset_for(&key(1), None, OffsetQuery::AtTime(i64::MAX))
                .await;
            let wanted = ListedOffset {
                offset: 1,
                timestamp_ms: i64::MAX,
                leader_epoch: Some(0),
            };
            assert_eq!(newest.expect("found"), wanted);
            shard.io().sleep(DELETE_RETENTION).await;
            pass(&shard, &partition).await;
            assert_eq!(of_tests().await, TIMES[1..], "the tombstone has gone");
        });
    }
}

#[test]
fn records_of_the_future_are_never_old_enough_and_tombstones_may_stay_for_ever() {
    with_shard(quiet(), |shard| async move {
        let mut config = compacted(200_000);
        let compaction = config.compaction.as_mut().expect("it is compacted");
        compaction.when.lag_min_ms = 1;
        compaction.delete_retention_ms = i64::MAX;
        let partition = opened_as(&shard, 1, config.clone()).await;
        let mut batch = BatchBuilder::uncompressed();
        batch.append(i64::MAX, Some(b"a"), None).expect("a record");
        let bytes = Bytes::from(batch.finish().expect("a batch"));
        append(&shard, vec![Append::own(key(1), bytes)]).await;
        finish_through(&shard, &partition, 0).await;
        shard.io().sleep(Duration::from_secs(1_000_000)).await;
        assert!(!shard.compact_next().await, "as in Apache Kafka");
        config
            .compaction
            .as_mut()
            .expect("as above")
            .when
            .lag_min_ms = 0;
        shard.set_config(&key(1), config);
        for _ in 0..2 {
            pass(&shard, &partition).await;
            shard.io().sleep(Duration::from_secs(1_000_000)).await;
            let found = read_from(&shard, 0).await.expect("read");
            assert_eq!((found[0].timestamp, &found[0].value), (i64::MAX, &None));
        }
    });
}
