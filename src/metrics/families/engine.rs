//! What the shards' engines count: the reactor, the journal, the segments.

use std::time::Duration;

use super::series::{Families, labels, of_shard};
use crate::metrics::monitor::Counted;

impl Families {
    pub(super) fn engine(&mut self, shards: &[(usize, Counted)]) {
        self.durations_of_each(
            "corelog_shard_pause_seconds",
            "From one look at disk, network and clock to the next while there is work, in seconds: \
             how long whatever comes in may have to wait for the shard.",
            shards,
            |shard| &shard.engine.reactor.pauses,
        );
        let idle = shards.iter().map(|(id, shard)| {
            let nanos = shard.engine.reactor.idle_nanos.get();
            (of_shard(*id), Duration::from_nanos(nanos).as_secs_f64())
        });
        self.counters(
            "corelog_shard_idle_seconds_total",
            "Seconds without anything to do (Kafka: RequestHandlerAvgIdlePercent, \
             NetworkProcessorAvgIdlePercent).",
            idle,
        );
        self.count_of_each(
            "corelog_shard_looks_total",
            "Looks at disk, network and clock.",
            shards,
            |shard| &shard.engine.reactor.looks,
        );
        self.count_of_each(
            "corelog_requests_of_other_shards_total",
            "Requests that connections of other shards had for partitions of this one.",
            shards,
            |shard| &shard.engine.engine.requests_of_others,
        );
        self.count_of_each(
            "corelog_journal_groups_total",
            "Groups of the journal: one write each, and one sync where it is asked for.",
            shards,
            |shard| &shard.engine.journal.groups,
        );
        self.count_of_each(
            "corelog_journal_bytes_total",
            "Bytes of groups written to the journal, with their padding.",
            shards,
            |shard| &shard.engine.journal.group_bytes,
        );
        self.count_of_each(
            "corelog_journal_appends_total",
            "Batches that groups held, those of the metadata log among them.",
            shards,
            |shard| &shard.engine.journal.appends,
        );
        self.count_of_each(
            "corelog_journal_checkpoints_total",
            "Checkpoints that groups held: what is carried forward so that old files become free.",
            shards,
            |shard| &shard.engine.journal.checkpoints,
        );
        self.durations_of_each(
            "corelog_journal_write_seconds",
            "Of each group its write in seconds, which makes small ones durable as well (Kafka: \
             LogFlushStats LogFlushRateAndTimeMs).",
            shards,
            |shard| &shard.engine.journal.writes,
        );
        self.durations_of_each(
            "corelog_journal_sync_seconds",
            "Of each large group its sync, in seconds.",
            shards,
            |shard| &shard.engine.journal.syncs,
        );
        self.count_of_each(
            "corelog_segment_written_bytes_total",
            "Bytes written to segment files, with their padding.",
            shards,
            |shard| &shard.engine.engine.settled_bytes,
        );
        self.count_of_each(
            "corelog_segments_removed_total",
            "Segments that retention, DeleteRecords or a new log start removed.",
            shards,
            |shard| &shard.engine.engine.segments_removed,
        );
        self.count_of_each(
            "corelog_partitions_moved_total",
            "Partitions that have moved to another data folder.",
            shards,
            |shard| &shard.engine.engine.moves,
        );
        self.count_of_each(
            "corelog_partition_move_bytes_total",
            "Bytes of segments that were copied for that.",
            shards,
            |shard| &shard.engine.engine.moved_bytes,
        );
        self.durations_of_each(
            "corelog_compaction_pass_seconds",
            "Of each pass of compaction over a log, in seconds (Kafka: LogCleaner \
             max-clean-time-secs).",
            shards,
            |shard| &shard.engine.engine.compaction_passes,
        );
        self.count_of_each(
            "corelog_compaction_read_bytes_total",
            "Bytes of segments that were compacted.",
            shards,
            |shard| &shard.engine.engine.compacted_bytes,
        );
        self.count_of_each(
            "corelog_compaction_kept_bytes_total",
            "Bytes that compaction has left of them (Kafka: LogCleaner cleaner-recopy-percent).",
            shards,
            |shard| &shard.engine.engine.compaction_kept_bytes,
        );
        let read = shards.iter().flat_map(|(id, shard)| {
            let engine = &shard.engine.engine;
            [
                ("memory", engine.read_memory_bytes.get()),
                ("disk", engine.read_disk_bytes.get()),
            ]
            .map(|(source, bytes)| {
                let of_source = [("shard", id.to_string()), ("source", source.to_owned())];
                (labels(of_source), bytes as f64)
            })
        });
        self.counters(
            "corelog_read_bytes_total",
            "Bytes of batches that were read, and where they were found.",
            read,
        );
    }
}
