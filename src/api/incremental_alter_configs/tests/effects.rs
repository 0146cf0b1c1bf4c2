//! What a change of each property of a topic does to a running broker, from the next batch, check or pass of
//! compaction on.

use std::time::Duration;

use corelog_shards::log::batch::compress::Codec;
use corelog_shards::log::batch::{BatchBuilder, BatchIter, Compression};
use corelog_shards::log::segment_name::FileKind;

use super::subject::{A_WHILE, Subject};

const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const INVALID_RECORD: i16 = 87;
const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600_000;
/// Two batches of so many bytes do not fit in the smallest segment.
const LARGE: usize = 600_000;
const SMALLEST: (&str, &str) = ("segment.bytes", "1048576");
/// Each batch of one small record has a segment of its own.
const TINY: (&str, &str) = ("internal.segment.bytes", "100");

pub async fn cleanup_policy(subject: Subject) {
    let send_without_key = || async {
        let mut batch = BatchBuilder::uncompressed();
        batch.append(1, None, Some(b"v")).expect("it has room");
        subject.send(batch).await.error_code
    };
    assert_eq!(send_without_key().await, 0);
    subject.set(&[("cleanup.policy", "compact")]).await;
    assert_eq!(send_without_key().await, INVALID_RECORD);
    subject.set(&[("cleanup.policy", "compact,delete")]).await;
    assert_eq!(send_without_key().await, INVALID_RECORD);
    subject.set(&[("cleanup.policy", "delete")]).await;
    assert_eq!(send_without_key().await, 0);
}

/// Of a codec with this property: what takes more work is smaller.
pub async fn level(
    subject: Subject,
    codec: &'static str,
    property: &'static str,
    (quick, thorough): (&'static str, &'static str),
) {
    subject
        .set(&[("compression.type", codec), (property, quick)])
        .await;
    let large = subject.stored_bytes_of_words().await;
    subject.set(&[(property, thorough)]).await;
    let small = subject.stored_bytes_of_words().await;
    assert!(small < large, "{property}: {small} of {large} bytes");
}

pub async fn compression_type(subject: Subject) {
    let codec_of_next = async || {
        let mut batch = BatchBuilder::new(Codec::Snappy).expect("a codec");
        batch.append(1, None, Some(b"v")).expect("it has room");
        let sent = subject.send(batch).await;
        let bytes = subject.bytes_from(sent.base_offset).await;
        let stored = BatchIter::new(&bytes).next().expect("a batch");
        stored.expect("a sound batch").compression()
    };
    assert_eq!(codec_of_next().await, Some(Compression::Snappy));
    for (name, codec) in [
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
        ("gzip", Compression::Gzip),
        ("uncompressed", Compression::None),
        ("producer", Compression::Snappy),
    ] {
        subject.set(&[("compression.type", name)]).await;
        assert_eq!(codec_of_next().await, Some(codec), "{name}");
    }
}

/// Whether a tombstone is stored.
async fn has_tombstone(subject: &Subject, key: &[u8]) -> bool {
    let stored = subject.stored().await;
    stored
        .iter()
        .any(|record| record.key.as_deref() == Some(key))
}

pub async fn delete_retention(subject: Subject) {
    let compacted = [
        TINY,
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    subject.set(&compacted).await;
    for (key, retention_ms) in [(b"a", "86400000"), (b"b", "0")] {
        subject.set(&[("delete.retention.ms", retention_ms)]).await;
        subject.put(subject.now_ms(), key, None).await;
        // One pass notes when the tombstone may go, a later one lets it go.
        for _ in 0..2 {
            subject.put(subject.now_ms(), b"other", Some(b"v")).await;
            subject.put(subject.now_ms(), b"other", Some(b"v")).await;
            subject.wait(A_WHILE).await;
        }
    }
    assert!(has_tombstone(&subject, b"a").await);
    assert!(!has_tombstone(&subject, b"b").await);
}

async fn marked_files(subject: &Subject) -> usize {
    let files = subject.files().await;
    files.iter().filter(|(file, _)| file.deleted).count()
}

pub async fn file_delete_delay(subject: Subject) {
    subject.set(&[SMALLEST, ("retention.bytes", "1")]).await;
    for (delay_ms, is_kept) in [("0", false), ("100000", true)] {
        subject.set(&[("file.delete.delay.ms", delay_ms)]).await;
        subject.fill(3, LARGE).await;
        subject.wait(Duration::from_secs(5)).await;
        let end = subject.facts().await.end_offset;
        assert_eq!(subject.start_after_a_check().await, end - 1);
        subject.wait(Duration::from_secs(90)).await;
        assert_eq!(marked_files(&subject).await > 0, is_kept, "{delay_ms}");
    }
    subject.wait(Duration::from_secs(20)).await;
    assert_eq!(marked_files(&subject).await, 0);
}

pub async fn index_interval(subject: Subject) {
    subject.set(&[("internal.segment.bytes", "3000")]).await;
    subject.fill(80, 10).await;
    let changed_at = subject.facts().await.end_offset;
    subject.set(&[("index.interval.bytes", "0")]).await;
    subject.fill(120, 10).await;
    subject.wait(A_WHILE).await;
    let files = subject.files().await;
    let logs = files
        .iter()
        .filter(|(file, _)| file.kind == FileKind::Log)
        .map(|(file, _)| file.base_offset);
    let later = logs.filter(|base| *base >= changed_at).min();
    let index = FileKind::OffsetIndex;
    assert_eq!(subject.file_bytes(0, index).await, Some(0));
    let dense = subject
        .file_bytes(later.expect("another segment"), index)
        .await;
    assert!(dense > Some(100), "{dense:?}");
}

pub async fn internal_segment_bytes(subject: Subject) {
    subject.fill(3, 10).await;
    assert_eq!(subject.facts().await.segments, 1);
    subject.set(&[TINY]).await;
    subject.fill(3, 10).await;
    assert_eq!(subject.facts().await.segments, 4);
}

/// Nothing goes while topics are not tiered.
pub async fn local_retention(subject: Subject, property: &'static str) {
    subject.set(&[SMALLEST]).await;
    subject.fill(3, LARGE).await;
    subject.wait(A_WHILE).await;
    // More than is kept altogether is no contradiction without tiers.
    for value in ["0", "9223372036854775807", "-1"] {
        subject.set(&[(property, value)]).await;
        assert_eq!(subject.start_after_a_check().await, 0, "{value}");
    }
}

/// Three records of a key, of which compaction leaves all but the first: the last one is in the active segment.
async fn put_three(subject: &Subject, settings: &[(&str, &str)]) {
    let compacted = [TINY, ("cleanup.policy", "compact")];
    subject.set(&[&compacted, settings].concat()).await;
    subject.fill(3, 10).await;
    subject.wait(A_WHILE).await;
    assert_eq!(subject.offsets().await, [0, 1, 2]);
}

async fn assert_compacted(subject: &Subject) {
    subject.wait(A_WHILE).await;
    assert_eq!(subject.offsets().await, [1, 2]);
}

pub async fn max_compaction_lag(subject: Subject) {
    put_three(&subject, &[("min.cleanable.dirty.ratio", "1")]).await;
    subject.set(&[("max.compaction.lag.ms", "1000")]).await;
    assert_compacted(&subject).await;
}

pub async fn min_compaction_lag(subject: Subject) {
    let settings = [
        ("min.cleanable.dirty.ratio", "0"),
        ("min.compaction.lag.ms", "3600000"),
    ];
    put_three(&subject, &settings).await;
    subject.set(&[("min.compaction.lag.ms", "0")]).await;
    assert_compacted(&subject).await;
}

pub async fn min_cleanable_dirty_ratio(subject: Subject) {
    put_three(&subject, &[("min.cleanable.dirty.ratio", "1")]).await;
    subject.set(&[("min.cleanable.dirty.ratio", "0.9")]).await;
    assert_compacted(&subject).await;
}

pub async fn max_message_bytes(subject: Subject) {
    let send = || subject.try_put(1, b"k", Some(&[7; 1_000]));
    assert_eq!(send().await, 0);
    subject.set(&[("max.message.bytes", "1000")]).await;
    assert_eq!(send().await, MESSAGE_TOO_LARGE);
    subject.set(&[("max.message.bytes", "2000")]).await;
    assert_eq!(send().await, 0);
}

/// How far from now, in this direction, a record's time may be.
pub async fn timestamp_distance(subject: Subject, property: &'static str, direction: i64) {
    let now_ms = subject.now_ms();
    let send = |away_ms: i64| subject.try_put(now_ms + direction * away_ms, b"k", Some(b"v"));
    assert_eq!(send(HOUR_MS / 2).await, 0);
    subject.set(&[(property, "1000000")]).await;
    assert_eq!(send(HOUR_MS / 2).await, INVALID_TIMESTAMP);
    assert_eq!(send(HOUR_MS / 6).await, 0);
    subject.set(&[(property, "9223372036854775807")]).await;
    let all = match direction {
        1 => i64::MAX - now_ms,
        _ => now_ms,
    };
    assert_eq!(send(all).await, 0, "the end of time");
}

pub async fn timestamp_type(subject: Subject) {
    subject.put(5, b"k", Some(b"v")).await;
    subject
        .set(&[("message.timestamp.type", "LogAppendTime")])
        .await;
    let now_ms = subject.now_ms();
    subject.put(6, b"k", Some(b"v")).await;
    let times: Vec<i64> = subject
        .stored()
        .await
        .iter()
        .map(|record| record.timestamp)
        .collect();
    assert_eq!(times[0], 5);
    assert!(times[1] >= now_ms, "{times:?}");
}

/// Never more than the topic has replicas, as in Kafka.
pub async fn min_insync_replicas(subject: Subject) {
    subject.set(&[("min.insync.replicas", "9")]).await;
    subject.put(1, b"k", Some(b"v")).await;
}

pub async fn retention_bytes(subject: Subject) {
    subject.set(&[SMALLEST]).await;
    subject.fill(3, LARGE).await;
    assert_eq!(subject.start_after_a_check().await, 0);
    // Less than a segment is no contradiction.
    for (bytes, start) in [("1300000", 0), ("1200000", 1), ("100", 2), ("0", 3)] {
        subject.set(&[("retention.bytes", bytes)]).await;
        assert_eq!(subject.start_after_a_check().await, start, "{bytes}");
    }
}

pub async fn retention_ms(subject: Subject) {
    subject.set(&[SMALLEST]).await;
    subject.fill(2, LARGE).await;
    subject.wait(Duration::from_secs(60)).await;
    subject.fill(1, LARGE).await;
    assert_eq!(subject.start_after_a_check().await, 0);
    subject.set(&[("retention.ms", "30000")]).await;
    assert_eq!(subject.start_after_a_check().await, 2);
    subject.wait(Duration::from_secs(60)).await;
    subject.set(&[("retention.ms", "-1")]).await;
    assert_eq!(subject.start_after_a_check().await, 2);
    subject.set(&[("retention.ms", "30000")]).await;
    assert_eq!(subject.start_after_a_check().await, 3);
}

pub async fn segment_bytes(subject: Subject) {
    subject.fill(3, LARGE).await;
    assert_eq!(subject.facts().await.segments, 1);
    subject.set(&[SMALLEST]).await;
    subject.fill(3, LARGE).await;
    assert_eq!(subject.facts().await.segments, 4);
}

pub async fn segment_index_bytes(subject: Subject) {
    subject.set(&[("index.interval.bytes", "0")]).await;
    subject.fill(10, 10).await;
    assert_eq!(subject.facts().await.segments, 1);
    subject.set(&[("segment.index.bytes", "24")]).await;
    subject.fill(10, 10).await;
    let segments = subject.facts().await.segments;
    assert!(segments > 4, "{segments}");
}

/// How many segments 100 records of as many hours make.
async fn segments_of_100_hours(subject: &Subject, first_ms: i64) -> usize {
    let before = subject.facts().await.segments;
    for hour in 0..100 {
        let time_ms = first_ms + hour * HOUR_MS;
        subject.put(time_ms, b"k", Some(b"v")).await;
    }
    subject.facts().await.segments - before
}

pub async fn segment_jitter(subject: Subject) {
    let ten_hours = (10 * HOUR_MS).to_string();
    subject
        .set(&[("segment.ms", &ten_hours), ("retention.ms", "-1")])
        .await;
    let first_ms = subject.now_ms() - 250 * HOUR_MS;
    let regular = segments_of_100_hours(&subject, first_ms).await;
    assert_eq!(regular, 10, "each has eleven");
    subject.set(&[("segment.jitter.ms", &ten_hours)]).await;
    let first_ms = first_ms + 100 * HOUR_MS;
    let irregular = segments_of_100_hours(&subject, first_ms).await;
    // Five hours and a half less, on the average.
    assert!((13..40).contains(&irregular), "{irregular}");
}

pub async fn segment_ms(subject: Subject) {
    let now_ms = subject.now_ms();
    subject.put(now_ms - 20 * SECOND_MS, b"k", Some(b"v")).await;
    subject.put(now_ms - 10 * SECOND_MS, b"k", Some(b"v")).await;
    assert_eq!(subject.facts().await.segments, 1);
    subject.set(&[("segment.ms", "15000")]).await;
    subject.put(now_ms - 5 * SECOND_MS, b"k", Some(b"v")).await;
    assert_eq!(subject.facts().await.segments, 1);
    subject.put(now_ms, b"k", Some(b"v")).await;
    assert_eq!(subject.facts().await.segments, 2);
}

/// What is acknowledged from memory is in no group of the journal yet.
pub async fn durability(subject: Subject) {
    let shard = subject.context.broker.shard.clone();
    let in_groups = || shard.metrics().journal.appends.get();
    for (class, is_in_group) in [("sync", true), ("memory", false), ("written", true)] {
        subject.set(&[("corelog.durability", class)]).await;
        let before = in_groups();
        subject.put(1, b"k", Some(b"v")).await;
        assert_eq!(in_groups() > before, is_in_group, "{class}");
        subject.wait(A_WHILE).await;
    }
}
