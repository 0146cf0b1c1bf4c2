//! Tiered storage.

use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, Unit, broker, broker_unset};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Boolean, Double, Int, Long, String};

pub(super) const ROWS: &[Property] = &[
    broker("follower.fetch.last.tiered.offset.enable", Boolean, "false")
        .dynamic(ClusterWide)
        .not_yet("Whether a new follower begins at the last offset in remote storage."),
    broker("log.local.retention.bytes", Long, "-2")
        .at_least(-2)
        .bytes()
        .dynamic(ClusterWide)
        .not_yet("Bytes of a tiered partition kept locally; -2 takes the value of the whole."),
    broker("log.local.retention.ms", Long, "-2")
        .at_least(-2)
        .ms()
        .dynamic(ClusterWide)
        .not_yet(
            "Time for which segments of a tiered partition are kept locally; -2 takes the \
             value of the whole.",
        ),
    broker("remote.fetch.max.wait.ms", Int, "500")
        .at_least(1)
        .ms()
        .dynamic(ClusterWide)
        .not_yet("Time a fetch waits for remote storage."),
    broker("remote.list.offsets.request.timeout.ms", Long, "30000")
        .at_least(1)
        .ms()
        .dynamic(ClusterWide)
        .not_yet("Time a ListOffsets request waits for remote storage."),
    broker(
        "remote.log.index.file.cache.total.size.bytes",
        Long,
        "1073741824",
    )
    .at_least(1)
    .bytes()
    .dynamic(ClusterWide)
    .not_yet("Room for indexes fetched from remote storage."),
    broker("remote.log.index.file.cache.ttl.ms", Long, "900000")
        .at_least(-1)
        .ms()
        .internal()
        .not_yet("Time for which indexes fetched from remote storage are kept; -1 for ever."),
    broker("remote.log.manager.copier.thread.pool.size", Int, "10")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads that copy segments to remote storage."),
    broker(
        "remote.log.manager.copy.max.bytes.per.second",
        Long,
        "9223372036854775807",
    )
    .at_least(1)
    .unit(Unit::BytesPerSecond)
    .dynamic(ClusterWide)
    .not_yet("Bytes a second at most that are copied to remote storage."),
    broker("remote.log.manager.copy.quota.window.num", Int, "11")
        .at_least(1)
        .not_yet("Number of samples kept for the quota of copying."),
    broker(
        "remote.log.manager.copy.quota.window.size.seconds",
        Int,
        "1",
    )
    .at_least(1)
    .unit(Unit::Seconds)
    .not_yet("Length of each sample of the quota of copying."),
    broker("remote.log.manager.expiration.thread.pool.size", Int, "10")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads that delete segments of remote storage."),
    broker(
        "remote.log.manager.fetch.max.bytes.per.second",
        Long,
        "9223372036854775807",
    )
    .at_least(1)
    .unit(Unit::BytesPerSecond)
    .dynamic(ClusterWide)
    .not_yet("Bytes a second at most that are fetched from remote storage."),
    broker("remote.log.manager.fetch.quota.window.num", Int, "11")
        .at_least(1)
        .not_yet("Number of samples kept for the quota of fetching."),
    broker(
        "remote.log.manager.fetch.quota.window.size.seconds",
        Int,
        "1",
    )
    .at_least(1)
    .unit(Unit::Seconds)
    .not_yet("Length of each sample of the quota of fetching."),
    broker("remote.log.manager.follower.thread.pool.size", Int, "2")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads for followers of tiered partitions."),
    broker("remote.log.manager.task.interval.ms", Long, "30000")
        .at_least(1)
        .ms()
        .not_yet("How often segments to copy or to delete are looked for."),
    broker(
        "remote.log.manager.task.retry.backoff.max.ms",
        Long,
        "30000",
    )
    .at_least(1)
    .ms()
    .internal()
    .not_yet("Longest pause before a failed remote task is tried again."),
    broker("remote.log.manager.task.retry.backoff.ms", Long, "500")
        .at_least(1)
        .ms()
        .internal()
        .not_yet("Pause before a failed remote task is tried again."),
    broker("remote.log.manager.task.retry.jitter", Double, "0.2")
        .valid(Valid::Ratio(0.0, 0.5))
        .internal()
        .not_yet("Random share by which those pauses vary."),
    broker("remote.log.manager.thread.pool.size", Int, "2")
        .at_least(1)
        .moot("Threads of the remote log manager; older form of the three pools."),
    broker("remote.log.metadata.custom.metadata.max.bytes", Int, "128")
        .at_least(0)
        .bytes()
        .not_yet("Largest extra metadata a storage plugin may attach to a segment."),
    broker(
        "remote.log.metadata.manager.class.name",
        String,
        "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
    )
    .valid(Valid::NonEmpty)
    .moot("Java class that keeps the metadata of remote segments."),
    broker_unset("remote.log.metadata.manager.class.path", String)
        .moot("Class path of that class."),
    broker(
        "remote.log.metadata.manager.impl.prefix",
        String,
        "rlmm.config.",
    )
    .valid(Valid::NonEmpty)
    .moot("Prefix of the properties handed to that class."),
    broker_unset("remote.log.metadata.manager.listener.name", String)
        .valid(Valid::NonEmpty)
        .moot("Listener that class connects to."),
    broker("remote.log.reader.max.pending.tasks", Int, "100")
        .at_least(1)
        .not_yet("Remote reads that may wait."),
    broker("remote.log.reader.threads", Int, "10")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads that read from remote storage."),
    broker_unset("remote.log.storage.manager.class.name", String)
        .valid(Valid::NonEmpty)
        .moot("Java class that talks to remote storage."),
    broker_unset("remote.log.storage.manager.class.path", String).moot("Class path of that class."),
    broker(
        "remote.log.storage.manager.impl.prefix",
        String,
        "rsm.config.",
    )
    .valid(Valid::NonEmpty)
    .moot("Prefix of the properties handed to that class."),
    broker("remote.log.storage.system.enable", Boolean, "false")
        .not_yet("Whether tiered storage is available at all."),
];
