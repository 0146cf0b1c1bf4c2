//! Properties of topics, each with the broker properties that give its default.

use super::same;
use crate::config::property::{Property, Synonym, topic};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Boolean, Double, Int, List, Long, String};

pub(super) const ROWS: &[Property] = &[
    topic("cleanup.policy", List, "delete")
        .valid(Valid::items_of(&["compact", "delete"], true))
        .from(&[same("log.cleanup.policy")])
        .honoured(
            "What happens to old segments: `delete` removes, `compact` keeps the last value \
             of each key, both together do both, empty neither.",
        ),
    topic("compression.gzip.level", Int, "-1")
        .valid(Valid::GzipLevel)
        .from(&[same("compression.gzip.level")])
        .honoured(
            "Level where batches are compressed anew with gzip; -1 is the library's default.",
        ),
    topic("compression.lz4.level", Int, "9")
        .between(1, 17)
        .from(&[same("compression.lz4.level")])
        .honoured("Level where batches are compressed anew with lz4."),
    topic("compression.type", String, "producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
        .from(&[same("compression.type")])
        .honoured("Compression of stored batches; `producer` keeps what the producer chose."),
    topic("compression.zstd.level", Int, "3")
        .between(-131072, 22)
        .from(&[same("compression.zstd.level")])
        .honoured("Level where batches are compressed anew with zstd."),
    topic("delete.retention.ms", Long, "86400000")
        .at_least(0)
        .ms()
        .from(&[same("log.cleaner.delete.retention.ms")])
        .honoured("Time for which the deletion marker of a key is kept after compaction."),
    topic("file.delete.delay.ms", Long, "60000")
        .at_least(0)
        .ms()
        .from(&[same("log.segment.delete.delay.ms")])
        .honoured(
            "Time between the deletion of a segment from the log and the removal of its files, \
             whose names end in `.deleted` meanwhile. On a full disk they go at once, and so does \
             what compaction has replaced.",
        ),
    topic("flush.messages", Long, "9223372036854775807")
        .at_least(1)
        .from(&[same("log.flush.interval.messages")])
        .moot(
            "Records after which the log is synced. Corelog syncs before it acknowledges, see \
             `corelog.durability`.",
        ),
    topic("flush.ms", Long, "9223372036854775807")
        .at_least(0)
        .ms()
        .from(&[
            same("log.flush.interval.ms"),
            same("log.flush.scheduler.interval.ms"),
        ])
        .moot(
            "Time after which the log is synced. Corelog syncs before it acknowledges, see \
             `corelog.durability`.",
        ),
    topic("follower.replication.throttled.replicas", List, "")
        .valid(Valid::ThrottledReplicas)
        .not_yet(
            "Replicas whose fetching is throttled on the follower's side, as \
             `partition:broker`, or `*`.",
        ),
    topic("index.interval.bytes", Int, "4096")
        .at_least(0)
        .bytes()
        .from(&[same("log.index.interval.bytes")])
        .honoured("Bytes of records between two entries of the offset index."),
    Property {
        default: None,
        ..topic("internal.segment.bytes", Int, "")
    }
    .bytes()
    .internal()
    .honoured("Size at which a segment is rolled, without the lower bound; for tests."),
    topic("leader.replication.throttled.replicas", List, "")
        .valid(Valid::ThrottledReplicas)
        .not_yet(
            "Replicas whose fetching is throttled on the leader's side, as \
             `partition:broker`, or `*`.",
        ),
    topic("local.retention.bytes", Long, "-2")
        .at_least(-2)
        .bytes()
        .from(&[same("log.local.retention.bytes")])
        .not_yet(
            "Bytes of a tiered partition kept locally; -2 takes `retention.bytes`. Topics are \
             not tiered yet.",
        ),
    topic("local.retention.ms", Long, "-2")
        .at_least(-2)
        .ms()
        .from(&[same("log.local.retention.ms")])
        .not_yet(
            "Time for which segments of a tiered partition are kept locally; -2 takes \
             `retention.ms`. Topics are not tiered yet.",
        ),
    topic("max.compaction.lag.ms", Long, "9223372036854775807")
        .at_least(1)
        .ms()
        .from(&[same("log.cleaner.max.compaction.lag.ms")])
        .honoured("Time after which a record must have been considered for compaction."),
    topic("max.message.bytes", Int, "1048588")
        .at_least(0)
        .bytes()
        .from(&[same("message.max.bytes")])
        .honoured("Largest record batch (after compression) that is accepted."),
    topic("message.timestamp.after.max.ms", Long, "3600000")
        .at_least(0)
        .ms()
        .from(&[same("log.message.timestamp.after.max.ms")])
        .honoured("How far in the future the time of a record may lie."),
    topic(
        "message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
    )
    .at_least(0)
    .ms()
    .from(&[same("log.message.timestamp.before.max.ms")])
    .honoured("How far in the past the time of a record may lie."),
    topic("message.timestamp.type", String, "CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"])
        .from(&[same("log.message.timestamp.type")])
        .honoured(
            "Whether a record keeps the time of its producer (`CreateTime`) or gets the \
             broker's (`LogAppendTime`).",
        ),
    topic("min.cleanable.dirty.ratio", Double, "0.5")
        .valid(Valid::Ratio(0.0, 1.0))
        .from(&[same("log.cleaner.min.cleanable.ratio")])
        .honoured("Share of a log that must be new before it is compacted."),
    topic("min.compaction.lag.ms", Long, "0")
        .at_least(0)
        .ms()
        .from(&[same("log.cleaner.min.compaction.lag.ms")])
        .honoured("Time for which a record is not compacted."),
    topic("min.insync.replicas", Int, "1")
        .at_least(1)
        .from(&[same("min.insync.replicas")])
        .honoured(
            "Replicas that must have a record before acks=all is answered; never more than \
             the topic has replicas.",
        ),
    topic("preallocate", Boolean, "false")
        .from(&[same("log.preallocate")])
        .moot(
            "Whether segment files are allocated ahead; Corelog's journal is, its segments \
             are written in large pieces.",
        ),
    topic("remote.log.copy.disable", Boolean, "false")
        .not_yet("Whether a tiered topic stops copying segments to remote storage."),
    topic("remote.log.delete.on.disable", Boolean, "false")
        .not_yet("Whether the remote data goes when tiering is turned off."),
    topic("remote.storage.enable", Boolean, "false")
        .not_yet("Whether the topic is tiered; refused while tiered storage is not there."),
    topic("retention.bytes", Long, "-1")
        .bytes()
        .from(&[same("log.retention.bytes")])
        .honoured(
            "Size of a partition above which its oldest segments are deleted; -1 is no limit.",
        ),
    topic("retention.ms", Long, "604800000")
        .at_least(-1)
        .ms()
        .from(&[
            same("log.retention.ms"),
            each("log.retention.minutes", 60_000),
            each("log.retention.hours", 3_600_000),
        ])
        .honoured("Age at which segments are deleted; -1 is never."),
    topic("segment.bytes", Int, "1073741824")
        .at_least(1048576)
        .bytes()
        .from(&[same("log.segment.bytes")])
        .honoured("Size at which a segment is rolled."),
    topic("segment.index.bytes", Int, "10485760")
        .at_least(4)
        .bytes()
        .from(&[same("log.index.size.max.bytes")])
        .honoured("Size of an index at which its segment is rolled."),
    topic("segment.jitter.ms", Long, "0")
        .at_least(0)
        .ms()
        .from(&[
            same("log.roll.jitter.ms"),
            each("log.roll.jitter.hours", 3_600_000),
        ])
        .honoured(
            "Most that is taken off `segment.ms`, at random for each segment, so that not all \
             segments roll at once.",
        ),
    topic("segment.ms", Long, "604800000")
        .at_least(1)
        .ms()
        .from(&[same("log.roll.ms"), each("log.roll.hours", 3_600_000)])
        .honoured("Age at which a segment is rolled although it is not full."),
    topic("unclean.leader.election.enable", Boolean, "false")
        .from(&[same("unclean.leader.election.enable")])
        .not_yet(
            "Whether a replica that is not in sync may lead when no other is left, at the \
             price of losing records.",
        ),
    topic("corelog.durability", String, "sync")
        .one_of(&["sync", "written", "memory"])
        .from(&[same("corelog.log.durability")])
        .honoured(
            "What must have happened before a record is acknowledged. `sync`: it is on stable \
             storage and survives the loss of power. `written`: it was handed to the system \
             and survives a crash of the broker, not the loss of power. `memory`: it is in \
             memory, and synced within `corelog.memory.flush.ms`.",
        ),
];

/// A broker property of which each unit is `factor` of the topic property's.
const fn each(name: &'static str, factor: i64) -> Synonym {
    Synonym { name, factor }
}
