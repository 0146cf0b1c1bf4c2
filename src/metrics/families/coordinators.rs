//! What the coordinators of groups count, and what they have.

use super::series::{Families, labels, of_shard};
use crate::budget::MemoryUse;
use crate::metrics::monitor::{Counted, Known};

impl Families {
    pub(super) fn coordinators(&mut self, shards: &[(usize, Counted)]) {
        self.count_of_each(
            "corelog_group_offset_commits_total",
            "Offsets of partitions that were committed (Kafka: group-coordinator-metrics offset-commit-count, \
             offset-commit-rate).",
            shards,
            |shard| &shard.coordinators.offset_commits,
        );
        self.count_of_each(
            "corelog_group_offsets_expired_total",
            "Offsets that were forgotten since they had been kept for long enough, or since their topic had gone \
             (Kafka: group-coordinator-metrics offset-expiration-count, offset-expiration-rate).",
            shards,
            |shard| &shard.coordinators.offsets_expired,
        );
        self.count_of_each(
            "corelog_group_offsets_deleted_total",
            "Offsets that somebody deleted, alone or with their group (Kafka: group-coordinator-metrics \
             offset-deletion-count, offset-deletion-rate).",
            shards,
            |shard| &shard.coordinators.offsets_deleted,
        );
        self.count_of_each(
            "corelog_group_classic_rebalances_total",
            "Rebalances of groups of the classic protocol that came to their end (Kafka: group-coordinator-metrics \
             group-completed-rebalance-count, group-completed-rebalance-rate).",
            shards,
            |shard| &shard.coordinators.classic_rebalances,
        );
        self.count_of_each(
            "corelog_group_consumer_rebalances_total",
            "Rebalances of groups of the consumer protocol: epochs that have begun (Kafka: group-coordinator-metrics \
             consumer-group-rebalance-count, consumer-group-rebalance-rate).",
            shards,
            |shard| &shard.coordinators.consumer_rebalances,
        );
        self.durations_of_each(
            "corelog_group_coordinator_load_seconds",
            "Of each load of a partition of __consumer_offsets how long it took, in seconds (Kafka: \
             group-coordinator-metrics partition-load-time-avg, partition-load-time-max).",
            shards,
            |shard| &shard.coordinators.loads,
        );
        self.durations_of_each(
            "corelog_group_coordinator_processing_seconds",
            "Of each request, time-out or change of the metadata until its records and replies were made, in seconds \
             (Kafka: group-coordinator-metrics event-processing-time-ms). It begins when it is at the coordinator: \
             there is no queue (Kafka: event-queue-time-ms, event-queue-size).",
            shards,
            |shard| &shard.coordinators.processing,
        );
        self.durations_of_each(
            "corelog_group_coordinator_reply_wait_seconds",
            "Of each request whose replies waited for records to be durable how long they did, in seconds (Kafka: \
             group-coordinator-metrics event-purgatory-time-ms).",
            shards,
            |shard| &shard.coordinators.replies,
        );
        self.durations_of_each(
            "corelog_group_coordinator_write_seconds",
            "Of each write of records until they were durable, in seconds (Kafka: group-coordinator-metrics \
             batch-flush-time-ms, batch-flush-rate; nothing lingers: batch-linger-time-ms).",
            shards,
            |shard| &shard.coordinators.writes,
        );
    }

    pub(super) fn census(&mut self, known: &Known) {
        let shards = || known.shards.iter().map(|shard| &shard.coordinators);
        let groups = shards().enumerate().flat_map(|(id, census)| {
            census.groups.iter().map(move |((protocol, state), count)| {
                let of_standing = labels([
                    ("shard", id.to_string()),
                    ("protocol", (*protocol).to_owned()),
                    ("state", (*state).to_owned()),
                ]);
                (of_standing, *count as f64)
            })
        });
        self.gauges(
            "corelog_groups",
            "Groups by protocol and state (Kafka: group-coordinator-metrics group-count, consumer-group-count; \
             GroupMetadataManager NumGroups, NumGroupsStable and the like).",
            groups,
        );
        let offsets = shards().enumerate();
        self.gauges(
            "corelog_group_offsets",
            "Offsets that are kept for groups (Kafka: kafka.coordinator.group GroupMetadataManager NumOffsets).",
            offsets.map(|(id, census)| (of_shard(id), census.offsets as f64)),
        );
        let memory = |value: fn(MemoryUse) -> usize| {
            let shards = shards().enumerate();
            shards.map(move |(id, census)| (of_shard(id), value(census.memory) as f64))
        };
        self.gauges(
            "corelog_group_memory_bytes",
            "Bytes that groups, their members and offsets hold, estimated from above.",
            memory(|memory| memory.used_bytes),
        );
        self.gauges(
            "corelog_group_memory_limit_bytes",
            "Bytes that they may hold: corelog.group.memory.bytes. What a log says is loaded whatever it takes; beyond the \
             limit nothing new is let in.",
            memory(|memory| memory.limit_bytes),
        );
        let partitions = shards().enumerate().flat_map(|(id, census)| {
            let states = [
                ("loading", census.loading),
                ("active", census.active),
                ("failed", census.failed),
            ];
            states.map(|(state, count)| {
                let of_state = labels([("shard", id.to_string()), ("state", state.to_owned())]);
                (of_state, count as f64)
            })
        });
        self.gauges(
            "corelog_group_coordinator_partitions",
            "Partitions of __consumer_offsets whose coordinator reads its log, answers, or cannot read its log (Kafka: \
             group-coordinator-metrics num-partitions).",
            partitions,
        );
    }
}
