//! What the numbers are called, in Prometheus' terms. The help of each says what it counts, in which
//! unit, and under which name an operator of Apache Kafka knows it.

use std::time::Duration;

use corelog_shards::metrics::{Counter as Count, Histogram as Durations, Snapshot};
use corelog_shards::shard::PartitionFacts;
use kafka_protocol::error::ResponseError;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::monitor::{Counted, Known, Monitor, Phase, ShardState, TopicFacts};
use super::requests::ApiMetrics;
use crate::api::TABLE;

/// All but what there is for each partition. What only the shards know is missing when they don't
/// answer.
pub(super) fn of_broker(monitor: &Monitor, known: Option<&Known>) -> Vec<MetricFamily> {
    let mut families = Families::default();
    families.health(monitor);
    let shards = monitor.counted();
    families.requests(&shards);
    families.engine(&shards);
    if let Some(known) = known {
        families.known(known);
        families.topics(known);
    }
    families.process();
    families.0
}

/// What there is for each partition.
pub(super) fn of_partitions(known: &Known) -> Vec<MetricFamily> {
    let mut families = Families::default();
    families.partitions(known);
    families.0
}

#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    fn health(&mut self, monitor: &Monitor) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        self.gauges(
            "corelog_build_info",
            "1, with the version of the broker.",
            [(labels(version), 1.0)],
        );
        let is_ready = monitor.phase() == Phase::Ready;
        self.gauges(
            "corelog_ready",
            "1 while clients are served, 0 while the broker recovers or stops (as /ready).",
            [(Vec::new(), f64::from(u8::from(is_ready)))],
        );
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
                let labels = [
                    ("shard", id.to_string()),
                    ("api", api.to_owned()),
                    ("error", error_name(error)),
                ];
                (labels_of(labels), count as f64)
            };
            produce
                .map(move |counted| of("Produce", counted))
                .chain(fetch.map(move |counted| of("Fetch", counted)))
                .collect::<Vec<_>>()
        });
        self.counters(
            "corelog_request_errors_total",
            "Partitions of requests that failed, by error (Kafka: RequestMetrics ErrorsPerSec, \
             BrokerTopicMetrics FailedProduceRequestsPerSec, FailedFetchRequestsPerSec).",
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
                    let labels = [
                        ("shard", id.to_string()),
                        ("api", api.to_owned()),
                        ("stage", stage.to_owned()),
                    ];
                    stages.push((labels_of(labels), snapshot));
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
            "Where requests spend their time, in seconds. frame: until the request is whole and its \
             turn has come (Kafka: RequestQueueTimeMs). check: a batch's checksum and records. route: \
             the way to the core that owns the partition. append: into its log. queue: until a group \
             of the journal takes it. write: the group's write, which for small ones is its sync as \
             well. sync: the sync of large ones. wait: a fetch until there is enough. read: from \
             memory or disk. reply: from when the reply could be sent until the socket has it (Kafka: \
             ResponseQueueTimeMs and ResponseSendTimeMs). route to sync are counted by the owner, \
             once for each batch but for route.",
            stages,
        );
    }

    fn engine(&mut self, shards: &[(usize, Counted)]) {
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
            "Batches that groups held.",
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
        let read = shards.iter().flat_map(|(id, shard)| {
            let engine = &shard.engine.engine;
            [
                ("memory", engine.read_memory_bytes.get()),
                ("disk", engine.read_disk_bytes.get()),
            ]
            .map(|(source, bytes)| {
                let labels = [("shard", id.to_string()), ("source", source.to_owned())];
                (labels_of(labels), bytes as f64)
            })
        });
        self.counters(
            "corelog_read_bytes_total",
            "Bytes of batches that were read, and where they were found.",
            read,
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
            "Bytes that requests in flight hold (queued.max.request.bytes bounds it).",
            gauge(|shard| shard.request_bytes as f64),
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
            "corelog_journal_waiting_bytes",
            "Bytes of batches that wait for a group of the journal.",
            gauge(|shard| shard.journal_waiting_bytes as f64),
        );
        self.gauges(
            "corelog_journal_free_files",
            "Files of the journal that are free or may still be made.",
            gauge(|shard| shard.journal_files_free as f64),
        );
    }

    fn topics(&mut self, known: &Known) {
        let topics = known.by_topic();
        let of_topics = |value: fn(&TopicFacts) -> u64| {
            let labelled = |(name, facts): (&&str, &TopicFacts)| {
                (labels([("topic", *name)]), value(facts) as f64)
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

    fn partitions(&mut self, known: &Known) {
        let of_partitions = |value: fn(&PartitionFacts) -> f64| {
            known.partitions.iter().map(move |(topic, facts)| {
                let partition = facts.key.partition.to_string();
                let labels = [("topic", topic.to_string()), ("partition", partition)];
                (labels_of(labels), value(facts))
            })
        };
        self.gauges(
            "corelog_partition_log_start_offset",
            "First offset (Kafka: kafka.log Log LogStartOffset).",
            of_partitions(|facts| facts.start_offset as f64),
        );
        self.gauges(
            "corelog_partition_log_end_offset",
            "Offset of the next record (Kafka: kafka.log Log LogEndOffset).",
            of_partitions(|facts| facts.end_offset as f64),
        );
        self.gauges(
            "corelog_partition_high_watermark",
            "Acknowledged records end here.",
            of_partitions(|facts| facts.high_watermark as f64),
        );
        self.gauges(
            "corelog_partition_size_bytes",
            "Bytes of all segments (Kafka: kafka.log Log Size).",
            of_partitions(|facts| facts.bytes as f64),
        );
        self.gauges(
            "corelog_partition_segments",
            "Segments (Kafka: kafka.log Log NumLogSegments).",
            of_partitions(|facts| facts.segments as f64),
        );
        self.counters(
            "corelog_partition_records_in_total",
            "Records that were appended since the start.",
            of_partitions(|facts| facts.traffic.records_in as f64),
        );
        self.counters(
            "corelog_partition_bytes_in_total",
            "Bytes of batches that were appended since the start.",
            of_partitions(|facts| facts.traffic.bytes_in as f64),
        );
        self.counters(
            "corelog_partition_bytes_out_total",
            "Bytes of batches that were read since the start.",
            of_partitions(|facts| facts.traffic.bytes_out as f64),
        );
    }

    /// CPU, memory, descriptors and the start, under the names that all Prometheus clients use.
    fn process(&mut self) {
        self.0.extend(ProcessCollector::for_self().collect());
    }

    fn count_of_each(
        &mut self,
        name: &str,
        help: &str,
        shards: &[(usize, Counted)],
        count: fn(&Counted) -> &Count,
    ) {
        let counted = shards.iter();
        let counted = counted.map(|(id, shard)| (of_shard(*id), count(shard).get() as f64));
        self.counters(name, help, counted);
    }

    fn durations_of_each(
        &mut self,
        name: &str,
        help: &str,
        shards: &[(usize, Counted)],
        durations: fn(&Counted) -> &Durations,
    ) {
        let snapshots = shards.iter();
        let snapshots = snapshots.map(|(id, shard)| (of_shard(*id), durations(shard).snapshot()));
        self.histograms(name, help, snapshots);
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<LabelPair>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_counter(counter);
            metric
        });
        self.add(name, help, MetricType::COUNTER, metrics.collect());
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<LabelPair>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        snapshots: impl IntoIterator<Item = (Vec<LabelPair>, Snapshot)>,
    ) {
        let metrics = snapshots.into_iter().map(|(labels, snapshot)| {
            let mut histogram = Histogram::default();
            histogram.set_sample_count(snapshot.count());
            histogram.set_sample_sum(snapshot.sum().as_secs_f64());
            let buckets = snapshot.cumulative().map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound.as_secs_f64());
                bucket.set_cumulative_count(count);
                bucket
            });
            histogram.set_bucket(buckets.collect());
            let mut metric = Metric::from_label(labels);
            metric.set_histogram(histogram);
            metric
        });
        self.add(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    /// A family without a value is left out: the encoder refuses those.
    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

/// The APIs that were asked, by shard.
fn each_api(shards: &[(usize, Counted)]) -> impl Iterator<Item = (Vec<LabelPair>, &ApiMetrics)> {
    shards.iter().flat_map(|(id, counted)| {
        let of_api = |key| {
            (
                labels_of([("shard", id.to_string()), ("api", format!("{key:?}"))]),
                key,
            )
        };
        let asked = TABLE.iter().map(move |api| of_api(api.key));
        asked
            .map(|(labels, key)| (labels, counted.requests.api(key)))
            .filter(|(_, api)| api.frame.snapshot().count() > 0)
    })
}

fn of_shard(id: usize) -> Vec<LabelPair> {
    labels_of([("shard", id.to_string())])
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Vec<LabelPair> {
    labels_of(pairs.map(|(name, value)| (name, value.to_owned())))
}

fn labels_of<const N: usize>(pairs: [(&str, String); N]) -> Vec<LabelPair> {
    let label = |(name, value): (&str, String)| {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value);
        label
    };
    pairs.into_iter().map(label).collect()
}

/// As Kafka writes it: NOT_LEADER_OR_FOLLOWER.
fn error_name(error: ResponseError) -> String {
    screaming(&format!("{error:?}"))
}

fn screaming(camel: &str) -> String {
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_named_as_kafka_does() {
        let name = error_name(ResponseError::NotLeaderOrFollower);
        assert_eq!(name, "NOT_LEADER_OR_FOLLOWER");
    }

    #[test]
    fn each_family_has_a_help_and_a_unit_in_its_name_where_it_has_one() {
        let monitor = Monitor::default();
        let known = Known::default();
        let mut families = of_broker(&monitor, Some(&known));
        families.extend(of_partitions(&known));
        for family in families {
            assert!(!family.help().is_empty(), "{}", family.name());
            let is_counter = family.get_field_type() == MetricType::COUNTER;
            assert_eq!(
                is_counter,
                family.name().ends_with("_total"),
                "{}",
                family.name()
            );
        }
    }
}
