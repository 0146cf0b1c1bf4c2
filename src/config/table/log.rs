//! Topics, logs, segments, retention and compaction.

use crate::config::property::Scope::{ClusterWide, PerBroker};
use crate::config::property::{Property, Unit, broker, broker_unset};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Boolean, Class, Double, Int, List, Long, String};

pub(super) const ROWS: &[Property] = &[
    broker("log.dir", List, "corelog-data")
        .valid(Valid::AT_LEAST_ONE_ITEM)
        .honoured(
            "Data folder, where `log.dirs` is not set. Apache Kafka's default is \
             /tmp/kafka-logs.",
        ),
    broker_unset("log.dirs", List)
        .valid(Valid::AT_LEAST_ONE_ITEM)
        .honoured("Data folders. A new partition is put into the one with the fewest."),
    broker("cordoned.log.dirs", List, "")
        .valid(Valid::ITEMS)
        .dynamic(PerBroker)
        .honoured(
            "Data folders that take no new partitions, neither created nor moved there; `*` is all \
             of them.",
        ),
    broker("log.dir.failure.timeout.ms", Long, "30000")
        .at_least(1)
        .ms()
        .honoured(
            "Time a broker with a failed folder keeps running when that cannot be recorded in the \
             metadata log.",
        ),
    broker("num.partitions", Int, "1").at_least(1).honoured(
        "Partitions of a topic that is created automatically, or with partition count -1.",
    ),
    broker("default.replication.factor", Int, "1").honoured(
        "Replicas of a topic that is created automatically, or with replication factor \
             -1.",
    ),
    broker("auto.create.topics.enable", Boolean, "true")
        .honoured("Whether a client that asks for a missing topic by name creates it."),
    broker("delete.topic.enable", Boolean, "true").honoured("Whether topics can be deleted."),
    broker_unset("create.topic.policy.class.name", Class)
        .moot("Java class that judges the creation of topics."),
    broker_unset("alter.config.policy.class.name", Class)
        .moot("Java class that judges changes of the configuration."),
    broker("max.request.partition.size.limit", Int, "2000")
        .at_least(1)
        .honoured("Partitions at most in one answer of DescribeTopicPartitions."),
    broker("fetch.max.bytes", Int, "57671680")
        .at_least(1024)
        .bytes()
        .honoured(
            "Most bytes of records in one answer to a Fetch request; the first batch always \
             goes out.",
        ),
    broker("max.incremental.fetch.session.cache.slots", Int, "1000")
        .at_least(0)
        .honoured("Fetch sessions that are kept at most."),
    broker("message.max.bytes", Int, "1048588")
        .at_least(0)
        .bytes()
        .dynamic(ClusterWide)
        .honoured(
            "Largest record batch (after compression) that is accepted; topics can set their \
             own.",
        ),
    broker("min.insync.replicas", Int, "1")
        .at_least(1)
        .dynamic(ClusterWide)
        .honoured(
            "Replicas that must have a record before acks=all is answered; never more than \
             the topic has replicas.",
        ),
    broker("compression.type", String, "producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
        .dynamic(ClusterWide)
        .honoured("Compression of stored batches; `producer` keeps what the producer chose."),
    broker("compression.gzip.level", Int, "-1")
        .valid(Valid::GzipLevel)
        .dynamic(ClusterWide)
        .honoured(
            "Level where batches are compressed anew with gzip; -1 is the library's default.",
        ),
    broker("compression.lz4.level", Int, "9")
        .between(1, 17)
        .dynamic(ClusterWide)
        .honoured("Level where batches are compressed anew with lz4."),
    broker("compression.zstd.level", Int, "3")
        .between(-131072, 22)
        .dynamic(ClusterWide)
        .honoured("Level where batches are compressed anew with zstd."),
    broker("log.cleanup.policy", List, "delete")
        .valid(Valid::items_of(&["compact", "delete"], true))
        .dynamic(ClusterWide)
        .honoured(
            "What happens to old segments: `delete` removes, `compact` keeps the last value \
             of each key, both together do both, empty neither.",
        ),
    broker("log.retention.bytes", Long, "-1")
        .bytes()
        .dynamic(ClusterWide)
        .honoured(
            "Size of a partition above which its oldest segments are deleted; -1 is no limit.",
        ),
    broker_unset("log.retention.ms", Long)
        .ms()
        .dynamic(ClusterWide)
        .honoured(
            "Age at which segments are deleted; -1 is never. Goes before the minutes and the \
             hours.",
        ),
    broker_unset("log.retention.minutes", Int)
        .unit(Unit::Minutes)
        .honoured("Age at which segments are deleted, where `log.retention.ms` is not set."),
    broker("log.retention.hours", Int, "168")
        .unit(Unit::Hours)
        .honoured(
            "Age at which segments are deleted, where neither milliseconds nor minutes are \
             set.",
        ),
    broker("log.retention.check.interval.ms", Long, "300000")
        .at_least(1)
        .ms()
        .honoured("How often segments are looked through for ones to delete."),
    broker_unset("log.roll.ms", Long)
        .ms()
        .dynamic(ClusterWide)
        .honoured(
            "Age at which a segment is rolled although it is not full. Goes before the hours.",
        ),
    broker("log.roll.hours", Int, "168")
        .at_least(1)
        .unit(Unit::Hours)
        .honoured("Age at which a segment is rolled, where `log.roll.ms` is not set."),
    broker_unset("log.roll.jitter.ms", Long)
        .ms()
        .dynamic(ClusterWide)
        .honoured(
            "Most that is taken off the age of rolling, at random for each segment, so that not \
             all segments roll at once. Goes before the hours.",
        ),
    broker("log.roll.jitter.hours", Int, "0")
        .at_least(0)
        .unit(Unit::Hours)
        .honoured(
            "Most that is taken off the age of rolling, where `log.roll.jitter.ms` is not set.",
        ),
    broker("log.segment.bytes", Int, "1073741824")
        .at_least(1048576)
        .bytes()
        .dynamic(ClusterWide)
        .honoured("Size at which a segment is rolled."),
    broker("log.segment.delete.delay.ms", Long, "60000")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .honoured(
            "Time between the deletion of a segment from the log and the removal of its files, \
             and between the deletion of a topic and the removal of its folders. On a full disk \
             they go at once.",
        ),
    broker("log.index.interval.bytes", Int, "4096")
        .at_least(0)
        .bytes()
        .dynamic(ClusterWide)
        .honoured("Bytes of records between two entries of the offset index."),
    broker("log.index.size.max.bytes", Int, "10485760")
        .at_least(4)
        .bytes()
        .dynamic(ClusterWide)
        .honoured("Size of an index at which its segment is rolled."),
    broker("log.preallocate", Boolean, "false")
        .dynamic(ClusterWide)
        .moot(
            "Whether segment files are allocated ahead; Corelog's journal is, its segments \
             are written in large pieces.",
        ),
    broker("log.flush.interval.messages", Long, "9223372036854775807")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot(
            "Records after which a log is synced. Corelog syncs before it acknowledges, see \
             `corelog.durability`.",
        ),
    broker_unset("log.flush.interval.ms", Long)
        .ms()
        .dynamic(ClusterWide)
        .moot(
            "Time after which a log is synced. Corelog syncs before it acknowledges, see \
             `corelog.durability`.",
        ),
    broker(
        "log.flush.scheduler.interval.ms",
        Long,
        "9223372036854775807",
    )
    .ms()
    .moot("How often logs are looked through for ones to sync."),
    broker("log.flush.offset.checkpoint.interval.ms", Int, "60000")
        .at_least(0)
        .ms()
        .moot("How often recovery points are saved; Corelog's checkpoints are in the journal."),
    broker(
        "log.flush.start.offset.checkpoint.interval.ms",
        Int,
        "60000",
    )
    .at_least(0)
    .ms()
    .moot(
        "How often log start offsets are saved; Corelog writes each to the journal when \
             it moves.",
    ),
    broker("log.initial.task.delay.ms", Long, "30000")
        .at_least(0)
        .ms()
        .internal()
        .moot("Delay of the first run of background tasks; for tests."),
    broker("log.message.timestamp.type", String, "CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"])
        .dynamic(ClusterWide)
        .honoured(
            "Whether a record keeps the time of its producer (`CreateTime`) or gets the \
             broker's (`LogAppendTime`).",
        ),
    broker(
        "log.message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
    )
    .at_least(0)
    .ms()
    .dynamic(ClusterWide)
    .honoured("How far in the past the time of a record may lie."),
    broker("log.message.timestamp.after.max.ms", Long, "3600000")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .honoured("How far in the future the time of a record may lie."),
    broker("num.recovery.threads.per.data.dir", Int, "2")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads that recover logs at start; here each core recovers its own."),
    broker("producer.id.expiration.ms", Int, "86400000")
        .at_least(1)
        .ms()
        .dynamic(ClusterWide)
        .honoured(
            "Time after which the state of an idempotent producer that no longer writes is \
             forgotten.",
        ),
    broker("producer.id.expiration.check.interval.ms", Int, "600000")
        .at_least(1)
        .ms()
        .internal()
        .moot(
            "How often producer states are looked through for forgotten ones. Corelog does so whenever \
             it looks for what retention removes, see `log.retention.check.interval.ms`.",
        ),
    broker("log.cleaner.enable", Boolean, "true").honoured("Whether compaction runs."),
    broker("log.cleaner.threads", Int, "1")
        .at_least(0)
        .dynamic(ClusterWide)
        .moot("Threads of the compaction. Corelog compacts on each core what that core owns."),
    broker("log.cleaner.backoff.ms", Long, "15000")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .honoured("Pause of the compaction when there is nothing to do."),
    broker("log.cleaner.dedupe.buffer.size", Long, "134217728")
        .bytes()
        .dynamic(ClusterWide)
        .honoured("Memory of the compaction for keys, over all cores."),
    broker("log.cleaner.io.buffer.load.factor", Double, "0.9")
        .dynamic(ClusterWide)
        .moot("How full the compaction's table of keys may get."),
    broker("log.cleaner.io.buffer.size", Int, "524288")
        .at_least(0)
        .bytes()
        .dynamic(ClusterWide)
        .moot("Memory of the compaction's read and write buffers."),
    broker(
        "log.cleaner.io.max.bytes.per.second",
        Double,
        "1.7976931348623157E308",
    )
    .unit(Unit::BytesPerSecond)
    .dynamic(ClusterWide)
    .honoured("Most bytes the compaction reads and writes in a second, over all cores."),
    broker("log.cleaner.delete.retention.ms", Long, "86400000")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .honoured("Time for which the deletion marker of a key is kept after compaction."),
    broker(
        "log.cleaner.max.compaction.lag.ms",
        Long,
        "9223372036854775807",
    )
    .at_least(1)
    .ms()
    .dynamic(ClusterWide)
    .honoured("Time after which a record must have been considered for compaction."),
    broker("log.cleaner.min.compaction.lag.ms", Long, "0")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .honoured("Time for which a record is not compacted."),
    broker("log.cleaner.min.cleanable.ratio", Double, "0.5")
        .valid(Valid::Ratio(0.0, 1.0))
        .dynamic(ClusterWide)
        .honoured("Share of a log that must be new before it is compacted."),
];
