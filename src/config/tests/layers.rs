//! Which layer decides, for brokers and topics.

use super::set;
use crate::config::{
    BrokerConfig, Durability, Layers, Overrides, StoredCompression, TimestampType, TopicSettings,
};

fn retention_ms(file: &Overrides, topic: &Overrides) -> Option<i64> {
    TopicSettings::resolve(Layers::of_file(file), topic).retention_ms
}

#[test]
fn milliseconds_go_before_minutes_and_hours() {
    let nothing = Overrides::new();
    let of = |pairs: &[(&str, &str)]| retention_ms(&set(pairs), &nothing);
    let hour = 3_600_000;
    assert_eq!(of(&[]), Some(168 * hour));
    assert_eq!(of(&[("log.retention.hours", "8")]), Some(8 * hour));
    let minutes = [("log.retention.hours", "8"), ("log.retention.minutes", "7")];
    assert_eq!(of(&minutes), Some(420_000));
    let [hours, minutes] = minutes;
    assert_eq!(of(&[hours, minutes, ("log.retention.ms", "5")]), Some(5));
    for never in [
        "log.retention.hours",
        "log.retention.minutes",
        "log.retention.ms",
    ] {
        assert_eq!(of(&[(never, "-3")]), None, "{never}");
    }
}

#[test]
fn rolling_by_age_and_its_jitter_as_well() {
    let settings = |pairs: &[(&str, &str)]| {
        TopicSettings::resolve(Layers::of_file(&set(pairs)), &Overrides::new())
    };
    assert_eq!(settings(&[]).segment_ms, 604_800_000);
    assert_eq!(settings(&[("log.roll.hours", "5")]).segment_ms, 18_000_000);
    let both = [("log.roll.hours", "5"), ("log.roll.ms", "100")];
    assert_eq!(settings(&both).segment_ms, 100);
    assert_eq!(
        settings(&[("log.roll.jitter.hours", "1")]).segment_jitter_ms,
        3_600_000
    );
}

#[test]
fn the_strongest_layer_decides() {
    let file = set(&[("log.retention.ms", "1"), ("log.retention.hours", "9")]);
    let cluster = set(&[("log.retention.ms", "2")]);
    let broker = set(&[("log.retention.ms", "3")]);
    let topic = set(&[("retention.ms", "4")]);
    let nothing = Overrides::new();
    let resolve = |broker, cluster, file, topic| {
        let layers = Layers {
            broker,
            cluster,
            file,
        };
        TopicSettings::resolve(layers, topic).retention_ms
    };
    assert_eq!(resolve(&broker, &cluster, &file, &topic), Some(4));
    assert_eq!(resolve(&broker, &cluster, &file, &nothing), Some(3));
    assert_eq!(resolve(&nothing, &cluster, &file, &nothing), Some(2));
    assert_eq!(resolve(&nothing, &nothing, &file, &nothing), Some(1));
}

#[test]
fn a_stored_value_that_cannot_be_parsed_is_passed_over() {
    let file = set(&[("log.retention.ms", "7")]);
    let cluster = set(&[("log.retention.ms", "a week")]);
    let nothing = Overrides::new();
    let layers = Layers {
        broker: &nothing,
        cluster: &cluster,
        file: &file,
    };
    let topic = set(&[("retention.ms", "-9"), ("segment.bytes", "1")]);
    let settings = TopicSettings::resolve(layers, &topic);
    assert_eq!(settings.retention_ms, Some(7));
    assert_eq!(settings.segment_bytes, 1 << 30);
}

#[test]
fn a_topic_has_kafkas_defaults() {
    let nothing = Overrides::new();
    assert_eq!(
        TopicSettings::resolve(Layers::of_file(&nothing), &nothing),
        TopicSettings {
            durability: Durability::Sync,
            min_insync_replicas: 1,
            cleanup_delete: true,
            cleanup_compact: false,
            dirty_ratio_min: 0.5,
            delete_retention_ms: 86_400_000,
            compaction_lag_min_ms: 0,
            compaction_lag_max_ms: i64::MAX,
            retention_ms: Some(604_800_000),
            retention_bytes: None,
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            file_delete_delay: std::time::Duration::from_secs(60),
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: StoredCompression::Producer,
        }
    );
}

#[test]
fn a_topic_sets_everything_itself() {
    let nothing = Overrides::new();
    let settings = TopicSettings::resolve(
        Layers::of_file(&nothing),
        &set(&[
            ("cleanup.policy", "compact, delete"),
            ("compression.type", " gzip "),
            ("compression.gzip.level", "4"),
            ("corelog.durability", "memory"),
            ("internal.segment.bytes", "500"),
            ("max.message.bytes", "77"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "2"),
            ("retention.bytes", "99"),
            ("retention.ms", "-1"),
        ]),
    );
    assert!(settings.cleanup_compact && settings.cleanup_delete);
    assert_eq!(
        settings.compression,
        StoredCompression::Gzip { level: Some(4) }
    );
    assert_eq!(settings.durability, Durability::Memory);
    assert_eq!(settings.segment_bytes, 500);
    assert_eq!(settings.max_message_bytes, 77);
    assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(settings.min_insync_replicas, 2);
    assert_eq!(
        (settings.retention_ms, settings.retention_bytes),
        (None, Some(99))
    );
}

#[test]
fn levels_belong_to_their_codecs() {
    let file = set(&[
        ("compression.type", "zstd"),
        ("compression.zstd.level", "-5"),
    ]);
    let resolve = |topic: &[(&str, &str)]| {
        TopicSettings::resolve(Layers::of_file(&file), &set(topic)).compression
    };
    assert_eq!(resolve(&[]), StoredCompression::Zstd { level: -5 });
    assert_eq!(
        resolve(&[("compression.type", "gzip")]),
        StoredCompression::Gzip { level: None }
    );
    assert_eq!(
        resolve(&[("compression.type", "lz4")]),
        StoredCompression::Lz4 { level: 9 }
    );
    assert_eq!(
        resolve(&[("compression.type", "snappy")]),
        StoredCompression::Snappy
    );
    assert_eq!(
        resolve(&[("compression.type", "uncompressed")]),
        StoredCompression::Uncompressed
    );
    assert_eq!(
        resolve(&[("compression.type", "producer")]),
        StoredCompression::Producer
    );
}

#[test]
fn a_broker_changes_while_it_runs() {
    let nothing = Overrides::new();
    let cluster = set(&[("max.connections", "555"), ("message.max.bytes", "2000000")]);
    let broker = set(&[("max.connections", "5")]);
    let layers = Layers {
        broker: &broker,
        cluster: &cluster,
        file: &nothing,
    };
    let config = BrokerConfig::resolve(layers).unwrap();
    assert_eq!(config.network.connections_max, 5);
    assert_eq!(config.topic_defaults.max_message_bytes, 2_000_000);
}
