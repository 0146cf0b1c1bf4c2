use std::sync::Arc;
use std::time::Duration;

use corelog_shards::metrics::Metrics;
use corelog_shards::partition::Traffic;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::{FolderFacts, PartitionFacts};
use kafka_protocol::messages::ApiKey;
use prometheus::proto::MetricType;
use uuid::Uuid;

use super::*;
use crate::budget::MemoryUse;
use crate::cluster::driver::SnapshotFacts;
use crate::coordinator::group::census::Census;
use crate::metrics::monitor::MetadataFacts;

#[test]
fn errors_are_named_as_kafka_does() {
    let name = error_name(ResponseError::NotLeaderOrFollower);
    assert_eq!(name, "NOT_LEADER_OR_FOLLOWER");
}

/// A shard that has done a little of everything.
fn shard() -> Counted {
    let counted = Counted {
        engine: Metrics {
            reactor: Arc::default(),
            journal: Arc::default(),
            engine: Arc::default(),
            recovery: Arc::default(),
        },
        requests: Arc::default(),
        coordinators: Arc::default(),
    };
    let (requests, engine) = (&counted.requests, &counted.engine);
    requests.begun(ApiKey::Produce, 100, Duration::from_millis(1));
    let produce = requests.api(ApiKey::Produce);
    produce.reply_bytes.add(50);
    produce.total.record(Duration::from_millis(2));
    requests.produce_errors.add(ResponseError::MessageTooLarge);
    requests.connections_accepted.add(3);
    engine.journal.groups.add(4);
    engine.journal.writes.record(Duration::from_millis(500));
    engine.engine.read_disk_bytes.add(5);
    engine.reactor.idle_nanos.add(1_500_000_000);
    counted.coordinators.offset_commits.add(8);
    counted
}

fn known() -> Known {
    let state = ShardState {
        request_memory: MemoryUse {
            used_bytes: 10,
            limit_bytes: 11,
        },
        unsettled_bytes: 6,
        coordinators: Census {
            active: 9,
            ..Census::default()
        },
        ..ShardState::default()
    };
    let [a, b] = [1, 2].map(Uuid::from_u128);
    let folder = |id, path: &str, is_offline| FolderFacts {
        id,
        path: path.into(),
        is_offline,
    };
    Known {
        shards: vec![state],
        topics: 1,
        folders: vec![folder(a, "/a", false), folder(b, "/b", true)],
        journals: vec![("/a".into(), 640)],
        partitions: vec![
            ("t".into(), partition(a, 70)),
            ("t".into(), partition(a, 7)),
        ],
        metadata: MetadataFacts {
            log_bytes: 12,
            snapshots: SnapshotFacts {
                age: Duration::from_millis(1_500),
                count: 2,
                ..SnapshotFacts::default()
            },
            ..MetadataFacts::default()
        },
    }
}

fn partition(folder: Uuid, bytes: u64) -> PartitionFacts {
    PartitionFacts {
        key: PartitionKey {
            topic: Uuid::from_u128(9),
            partition: 0,
        },
        segments: 1,
        bytes,
        start_offset: 0,
        high_watermark: 0,
        end_offset: 0,
        traffic: Traffic::default(),
        folder,
        is_offline: false,
        future: None,
        compaction: None,
    }
}

/// What a scrape gives of that shard.
fn text() -> String {
    let mut families = Families::default();
    let shards = [(7, shard())];
    families.requests(&shards);
    families.engine(&shards);
    families.coordinators(&shards);
    families.known(&known());
    families.topics(&known());
    families.folders(&known());
    families.metadata(&known().metadata);
    for family in &families.0 {
        let (name, kind) = (family.name(), family.get_field_type());
        assert!(!family.help().is_empty(), "{name}");
        let is_counter = kind == MetricType::COUNTER;
        assert_eq!(is_counter, name.ends_with("_total"), "{name}");
        let is_histogram = kind == MetricType::HISTOGRAM;
        assert!(!is_histogram || name.ends_with("_seconds"), "{name}");
    }
    let encoder = prometheus::TextEncoder::new();
    encoder
        .encode_to_string(&families.0)
        .expect("they can be written")
}

#[test]
fn what_a_shard_counted_stands_in_its_series_in_base_units() {
    let text = text();
    for line in [
        r#"corelog_requests_total{shard="7",api="Produce"} 1"#,
        r#"corelog_request_bytes_total{shard="7",api="Produce"} 100"#,
        r#"corelog_response_bytes_total{shard="7",api="Produce"} 50"#,
        r#"corelog_request_seconds_sum{shard="7",api="Produce"} 0.002"#,
        r#"corelog_request_stage_seconds_sum{shard="7",api="Produce",stage="frame"} 0.001"#,
        r#"corelog_request_errors_total{shard="7",api="Produce",error="MESSAGE_TOO_LARGE"} 1"#,
        r#"corelog_connections_accepted_total{shard="7"} 3"#,
        r#"corelog_journal_groups_total{shard="7"} 4"#,
        r#"corelog_journal_write_seconds_sum{shard="7"} 0.5"#,
        r#"corelog_read_bytes_total{shard="7",source="disk"} 5"#,
        r#"corelog_shard_idle_seconds_total{shard="7"} 1.5"#,
        r#"corelog_request_memory_bytes{shard="0"} 10"#,
        r#"corelog_request_memory_limit_bytes{shard="0"} 11"#,
        r#"corelog_unsettled_bytes{shard="0"} 6"#,
        r#"corelog_group_offset_commits_total{shard="7"} 8"#,
        r#"corelog_group_coordinator_partitions{shard="0",state="active"} 9"#,
        r#"corelog_groups{shard="0",protocol="classic",state="Empty"} 0"#,
        "corelog_topics 1",
        "corelog_offline_folders 1",
        r#"corelog_folder_offline{folder="/a"} 0"#,
        r#"corelog_folder_offline{folder="/b"} 1"#,
        r#"corelog_folder_partitions{folder="/a"} 2"#,
        r#"corelog_folder_size_bytes{folder="/a"} 77"#,
        r#"corelog_folder_size_bytes{folder="/b"} 0"#,
        r#"corelog_journal_size_bytes{folder="/a"} 640"#,
        "corelog_metadata_log_bytes 12",
        "corelog_metadata_snapshots 2",
        "corelog_metadata_last_snapshot_age_seconds 1.5",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}
