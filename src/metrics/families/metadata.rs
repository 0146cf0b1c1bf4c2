//! What there is of the metadata log and its snapshots.

use super::series::Families;
use crate::metrics::monitor::MetadataFacts;

impl Families {
    pub(super) fn metadata(&mut self, facts: &MetadataFacts) {
        let mut gauge = |name, help, value: f64| self.gauges(name, help, [(Vec::new(), value)]);
        gauge(
            "corelog_metadata_log_start_offset",
            "First offset of the metadata log: what comes before is in a snapshot alone.",
            facts.start_offset as f64,
        );
        gauge(
            "corelog_metadata_log_end_offset",
            "End of the metadata log (Kafka: raft-metrics log-end-offset, high-watermark).",
            facts.end_offset as f64,
        );
        gauge(
            "corelog_metadata_log_epoch",
            "Epoch of the last record of the metadata log (Kafka: raft-metrics current-epoch, log-end-epoch).",
            f64::from(facts.epoch),
        );
        gauge(
            "corelog_metadata_log_bytes",
            "Bytes of all segments of the metadata log.",
            facts.log_bytes as f64,
        );
        gauge(
            "corelog_metadata_snapshots",
            "Snapshots of the metadata beside the log.",
            facts.snapshots.count as f64,
        );
        gauge(
            "corelog_metadata_snapshots_bytes",
            "Bytes of all of them. With the log they are bounded by metadata.max.retention.bytes.",
            facts.snapshots.bytes as f64,
        );
        gauge(
            "corelog_metadata_last_snapshot_bytes",
            "Bytes of the snapshot that was made last, 0 if none was made since the start (Kafka: SnapshotEmitter \
             LatestSnapshotGeneratedBytes).",
            facts.snapshots.made_bytes as f64,
        );
        gauge(
            "corelog_metadata_last_snapshot_age_seconds",
            "Time since the last snapshot was made, or since the start if none was (Kafka: SnapshotEmitter \
             LatestSnapshotGeneratedAgeMs).",
            facts.snapshots.age.as_secs_f64(),
        );
    }
}
