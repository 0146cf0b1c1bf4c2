//! What the numbers are called, in Prometheus' terms. The help of each says what it counts, in which
//! unit, and under which name an operator of Apache Kafka knows it.

mod coordinators;
mod engine;
mod folders;
mod metadata;
mod series;

use std::time::Duration;

use corelog_shards::metrics::Histogram as Durations;
use kafka_protocol::error::ResponseError;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{LabelPair, MetricFamily};

use self::series::{Families, labels, of_shard};
use super::monitor::{Counted, Known, Monitor, Phase, ShardState, TopicFacts};
use super::recovery::Recovery;
use super::requests::ApiMetrics;
use crate::api::TABLE;
use crate::cli::logging;

/// All but what there is for each partition. What only the shards know is missing when they don't
/// answer.
pub(super) fn of_broker(
    monitor: &Monitor,
    known: Option<&Known>,
    elapsed: Duration,
) -> Vec<MetricFamily> {
    let mut families = Families::default();
    families.health(monitor);
    families.recovery(&monitor.recovery(elapsed));
    let shards = monitor.counted();
    families.requests(&shards);
    families.engine(&shards);
    families.coordinators(&shards);
    if let Some(known) = known {
        families.known(known);
        families.metadata(&known.metadata);
        families.topics(known);
        families.folders(known);
    }
    families.process();
    families.0
}

impl Families {
    fn health(&mut self, monitor: &Monitor) {
        let version = labels([("version", env!("CARGO_PKG_VERSION").to_owned())]);
        self.gauges(
            "corelog_build_info",
            "1, with the version of the broker.",
            [(version, 1.0)],
        );
        self.counters(
            "corelog_log_lines_lost_total",
            "Lines of the log that were lost, since nobody read it.",
            [(Vec::new(), logging::lost_lines() as f64)],
        );
        let is_ready = monitor.phase() == Phase::Ready;
        self.gauges(
            "corelog_ready",
            "1 while clients are served, 0 while the broker recovers or stops (as /ready).",
            [(Vec::new(), f64::from(u8::from(is_ready)))],
        );
    }

    fn recovery(&mut self, recovery: &Recovery) {
        let mut gauge = |name: &str, help: &str, value: f64| {
            self.gauges(name, help, [(Vec::new(), value)]);
        };
        gauge(
            "corelog_recovery_journal_bytes",
            "Bytes of the journal files that the start had to read, as far as they are known.",
            recovery.journal_bytes as f64,
        );
        gauge(
            "corelog_recovery_journal_read_bytes",
            "Bytes of those that the start has read.",
            recovery.journal_bytes_read as f64,
        );
        gauge(
            "corelog_recovery_partitions",
            "Partitions that the start had to open, once the metadata was read (Kafka: \
             LogManager remainingLogsToRecover is what is left of them).",
            recovery.partitions as f64,
        );
        gauge(
            "corelog_recovery_partitions_opened",
            "Partitions that the start has opened.",
            recovery.partitions_opened as f64,
        );
        if let Some(left) = recovery.left {
            gauge(
                "corelog_recovery_seconds_left",
                "About how long what the start is doing will take yet, in seconds.",
                left.as_secs_f64(),
            );
        }
    }

    fn requests(&mut self, shards: &[(usize, Counted)]) {
        let of_apis = |value: fn(&ApiMetrics) -> u64| {
            each_api(shards).map(move |(labels, api)| (labels, value(api) as f64))
        };
        self.counters(
            "corelog_requests_total",
            "Requests that were answered (Kafka: kafka.network RequestMetrics RequestsPerSec).",
            of_apis(|api| api.total.snapshot().count()),
        );
        self.counters(
            "corelog_request_bytes_total",
            "Bytes of requests (Kafka: RequestMetrics RequestBytes).",
            of_apis(|api| api.request_bytes.get()),
        );
        self.counters(
            "corelog_response_bytes_total",
            "Bytes of replies (Kafka: RequestMetrics ResponseBytes).",
            of_apis(|api| api.reply_bytes.get()),
        );
        self.histograms(
            "corelog_request_seconds",
            "From the arrival of a request's bytes until the socket has the reply, in seconds \
             (Kafka: RequestMetrics TotalTimeMs).",
            each_api(shards).map(|(labels, api)| (labels, api.total.snapshot())),
        );
        self.stages(shards);
        let errors = shards.iter().flat_map(|(id, counted)| {
            let produce = counted.requests.produce_errors.iter();
            let fetch = counted.requests.fetch_errors.iter();
            let of = move |api: &str, (error, count)| {
                let of_error = labels([
                    ("shard", id.to_string()),
                    ("api", api.to_owned()),
                    ("error", error_name(error)),
                ]);
                (of_error, count as f64)
            };
            produce
                .map(move |counted| of("Produce", counted))
                .chain(fetch.map(move |counted| of("Fetch", counted)))
                .collect::<Vec<_>>()
        });
        self.counters(
            "corelog_request_errors_total",
            "Partitions of Produce and Fetch requests that failed, and Fetch requests that were \
             refused as a whole, by error (Kafka: RequestMetrics ErrorsPerSec, BrokerTopicMetrics FailedProduceRequestsPerSec, FailedFetchRequestsPerSec).",
            errors,
        );
        self.count_of_each(
            "corelog_connections_accepted_total",
            "Connections that were accepted (Kafka: socket-server-metrics connection-creation-total).",
            shards,
            |shard| &shard.requests.connections_accepted,
        );
        self.count_of_each(
            "corelog_connections_refused_total",
            "Connections that were closed at once: max.connections.per.ip were open.",
            shards,
            |shard| &shard.requests.connections_refused,
        );
    }

    fn stages(&mut self, shards: &[(usize, Counted)]) {
        let mut stages = Vec::new();
        for (id, counted) in shards {
            let mut add = |api: &str, stage: &str, durations: &Durations| {
                let snapshot = durations.snapshot();
                if snapshot.count() > 0 {
                    let of_stage = labels([
                        ("shard", id.to_string()),
                        ("api", api.to_owned()),
                        ("stage", stage.to_owned()),
                    ]);
                    stages.push((of_stage, snapshot));
                }
            };
            let (requests, engine) = (&counted.requests, &counted.engine);
            for api in TABLE {
                let name = format!("{:?}", api.key);
                let metrics = requests.api(api.key);
                add(&name, "frame", &metrics.frame);
                add(&name, "reply", &metrics.reply);
            }
            add("Produce", "check", &requests.produce_check);
            add("Produce", "route", &engine.engine.append_route);
            add("Produce", "append", &engine.engine.append_place);
            add("Produce", "queue", &engine.journal.append_queue);
            add("Produce", "write", &engine.journal.append_write);
            add("Produce", "sync", &engine.journal.append_sync);
            add("Fetch", "wait", &requests.fetch_wait);
            add("Fetch", "read", &requests.fetch_read);
        }
        self.histograms(
            "corelog_request_stage_seconds",
            "Where requests spend their time, in seconds. frame: from its last bytes until its turn \
             has come (Kafka: RequestQueueTimeMs). check: checksums and records of its batches. route: \
             the way to the core that owns the partitions. append: into the log. queue: until a group \
             of the journal takes it. write: the group's write, which for small ones is its sync as \
             well. sync: the sync of large ones. wait: a fetch until there is enough. read: from \
             memory or disk. reply: from when the reply could be sent until the socket has it (Kafka: \
             ResponseQueueTimeMs and ResponseSendTimeMs). route to sync are counted by the owner, \
             route once for each request and core, the others once for each batch; the batches of \
             the metadata log are among them.",
            stages,
        );
    }

    fn known(&mut self, known: &Known) {
        self.gauges(
            "corelog_active_controllers",
            "Controllers that are active on this node (Kafka: KafkaController ActiveControllerCount).",
            [(Vec::new(), 1.0)],
        );
        self.gauges(
            "corelog_topics",
            "Topics (Kafka: KafkaController GlobalTopicCount).",
            [(Vec::new(), known.topics as f64)],
        );
        let gauge = |value: fn(&ShardState) -> f64| {
            let shards = known.shards.iter().enumerate();
            shards.map(move |(id, state)| (of_shard(id), value(state)))
        };
        self.gauges(
            "corelog_partitions",
            "Partitions that the shard owns, the metadata log included (Kafka: ReplicaManager \
             PartitionCount, LeaderCount).",
            gauge(|shard| shard.partitions as f64),
        );
        self.gauges(
            "corelog_connections",
            "Open connections (Kafka: socket-server-metrics connection-count).",
            gauge(|shard| shard.connections as f64),
        );
        self.gauges(
            "corelog_request_memory_bytes",
            "Bytes that requests in flight hold (Kafka: kafka.network SocketServer MemoryPoolUsed).",
            gauge(|shard| shard.request_memory.used_bytes as f64),
        );
        self.gauges(
            "corelog_request_memory_limit_bytes",
            "Bytes that requests in flight may hold, but for one that may exceed it: \
             corelog.request.memory.bytes, or the core's part of queued.max.request.bytes where that \
             is set. Less corelog_request_memory_bytes it is what is left (Kafka: kafka.network \
             SocketServer MemoryPoolAvailable).",
            gauge(|shard| shard.request_memory.limit_bytes as f64),
        );
        self.gauges(
            "corelog_reply_memory_bytes",
            "Bytes that replies with records hold until clients have taken them.",
            gauge(|shard| shard.reply_memory.used_bytes as f64),
        );
        self.gauges(
            "corelog_reply_memory_limit_bytes",
            "Bytes that replies with records may hold: corelog.request.memory.bytes.",
            gauge(|shard| shard.reply_memory.limit_bytes as f64),
        );
        self.gauges(
            "corelog_unsettled_bytes",
            "Bytes of batches that are in memory and the journal, and not in a segment file yet.",
            gauge(|shard| shard.unsettled_bytes as f64),
        );
        self.gauges(
            "corelog_tail_cache_bytes",
            "Bytes of memory that batches take.",
            gauge(|shard| shard.cached_bytes as f64),
        );
        self.gauges(
            "corelog_tail_cache_limit_bytes",
            "Bytes of memory that batches may take once they are in segment files: \
             corelog.tail.cache.bytes.",
            gauge(|shard| shard.cached_bytes_max as f64),
        );
        self.gauges(
            "corelog_journal_waiting_bytes",
            "Bytes of batches that wait for a group of the journal.",
            gauge(|shard| shard.journal_waiting_bytes as f64),
        );
        self.gauges(
            "corelog_journal_free_files",
            "Files of the journal that are free or may still be made.",
            gauge(|shard| shard.journal_files_free as f64),
        );
        self.gauges(
            "corelog_open_files",
            "Files of journals and segments that are kept open.",
            gauge(|shard| shard.open_files as f64),
        );
        self.census(known);
    }

    fn topics(&mut self, known: &Known) {
        let topics = known.by_topic();
        let of_topics = |value: fn(&TopicFacts) -> u64| {
            let labelled = |(name, facts): (&&str, &TopicFacts)| {
                (labels([("topic", (*name).to_owned())]), value(facts) as f64)
            };
            topics.iter().map(labelled).collect::<Vec<_>>()
        };
        self.counters(
            "corelog_topic_records_in_total",
            "Records that were appended since the start (Kafka: BrokerTopicMetrics MessagesInPerSec).",
            of_topics(|topic| topic.traffic.records_in),
        );
        self.counters(
            "corelog_topic_bytes_in_total",
            "Bytes of batches that were appended since the start (Kafka: BrokerTopicMetrics \
             BytesInPerSec).",
            of_topics(|topic| topic.traffic.bytes_in),
        );
        self.counters(
            "corelog_topic_bytes_out_total",
            "Bytes of batches that were read since the start (Kafka: BrokerTopicMetrics \
             BytesOutPerSec).",
            of_topics(|topic| topic.traffic.bytes_out),
        );
        self.gauges(
            "corelog_topic_size_bytes",
            "Bytes of all segments (Kafka: kafka.log Log Size).",
            of_topics(|topic| topic.bytes),
        );
        self.gauges(
            "corelog_topic_segments",
            "Segments (Kafka: kafka.log Log NumLogSegments).",
            of_topics(|topic| topic.segments as u64),
        );
        self.gauges(
            "corelog_topic_partitions",
            "Partitions of the topic.",
            of_topics(|topic| topic.partitions as u64),
        );
    }

    /// CPU, memory, descriptors and the start, under the names that all Prometheus clients use.
    fn process(&mut self) {
        self.0.extend(ProcessCollector::for_self().collect());
    }
}

/// The APIs that were asked, by shard.
fn each_api(shards: &[(usize, Counted)]) -> impl Iterator<Item = (Vec<LabelPair>, &ApiMetrics)> {
    shards.iter().flat_map(|(id, counted)| {
        let asked = TABLE.iter().map(move |api| {
            let of_api = [("shard", id.to_string()), ("api", format!("{:?}", api.key))];
            (labels(of_api), counted.requests.api(api.key))
        });
        asked.filter(|(_, api)| api.frame.snapshot().count() > 0)
    })
}

/// As Kafka writes it: NOT_LEADER_OR_FOLLOWER.
fn error_name(error: ResponseError) -> String {
    let mut name = String::new();
    for letter in format!("{error:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests;
