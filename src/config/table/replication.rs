//! Replication between brokers.

use crate::config::property::Scope::{ClusterWide, RuntimeOnly};
use crate::config::property::{Property, Unit, broker, broker_unset};
use crate::config::value::Kind::{Boolean, Int, Long, String};

pub(super) const ROWS: &[Property] = &[
    broker("replica.fetch.backoff.ms", Int, "1000")
        .at_least(0)
        .ms()
        .not_yet("Pause of a follower after a failed fetch."),
    broker("replica.fetch.max.bytes", Int, "1048576")
        .at_least(0)
        .bytes()
        .not_yet("Bytes a follower asks for of each partition."),
    broker("replica.fetch.min.bytes", Int, "1")
        .bytes()
        .not_yet("Bytes a leader gathers before it answers a follower."),
    broker("replica.fetch.response.max.bytes", Int, "10485760")
        .at_least(0)
        .bytes()
        .not_yet("Bytes a follower asks for in one fetch."),
    broker("replica.fetch.wait.max.ms", Int, "500")
        .ms()
        .not_yet("Time a leader may wait for `replica.fetch.min.bytes`."),
    broker(
        "replica.high.watermark.checkpoint.interval.ms",
        Long,
        "5000",
    )
    .ms()
    .moot("How often high watermarks are saved; Corelog's checkpoints are in the journal."),
    broker("replica.lag.time.max.ms", Long, "30000")
        .ms()
        .not_yet("Time after which a follower that has not caught up leaves the in-sync replicas."),
    broker_unset("replica.selector.class", String)
        .not_yet("Java class that chooses the replica a client reads from."),
    broker("replica.socket.receive.buffer.bytes", Int, "65536")
        .bytes()
        .not_yet("Receive buffer of followers' sockets."),
    broker("replica.socket.timeout.ms", Int, "30000")
        .ms()
        .not_yet("Socket timeout of followers' requests; at least `replica.fetch.wait.max.ms`."),
    broker("num.replica.fetchers", Int, "1")
        .at_least(1)
        .dynamic(ClusterWide)
        .not_yet("Fetchers for each leader that this broker follows."),
    broker_unset("num.replica.alter.log.dirs.threads", Int).moot(
        "Threads that move replicas between data folders. Each core moves what it owns, one \
             after the other.",
    ),
    broker("fetch.purgatory.purge.interval.requests", Int, "1000")
        .moot("Housekeeping of waiting fetches; here a finished wait leaves nothing behind."),
    broker("producer.purgatory.purge.interval.requests", Int, "1000").moot(
        "Housekeeping of waiting produce requests; here a finished wait leaves nothing \
             behind.",
    ),
    broker("delete.records.purgatory.purge.interval.requests", Int, "1").moot(
        "Housekeeping of waiting DeleteRecords requests; here a finished wait leaves \
             nothing behind.",
    ),
    broker("unclean.leader.election.enable", Boolean, "false")
        .dynamic(ClusterWide)
        .not_yet(
            "Whether a replica that is not in sync may lead when no other is left, at the \
             price of losing records.",
        ),
    broker("replication.quota.window.num", Int, "11")
        .at_least(1)
        .not_yet("Number of samples kept for replication quotas."),
    broker("replication.quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unit(Unit::Seconds)
        .not_yet("Length of each sample of replication quotas."),
    broker("alter.log.dirs.replication.quota.window.num", Int, "11")
        .at_least(1)
        .not_yet("Number of samples kept for the quota of moves between data folders."),
    broker(
        "alter.log.dirs.replication.quota.window.size.seconds",
        Int,
        "1",
    )
    .at_least(1)
    .unit(Unit::Seconds)
    .not_yet("Length of each sample of the quota of moves between data folders."),
    broker(
        "leader.replication.throttled.rate",
        Long,
        "9223372036854775807",
    )
    .at_least(0)
    .unit(Unit::BytesPerSecond)
    .dynamic(RuntimeOnly)
    .not_yet(
        "Bytes a second at most that leaders send for the replicas in \
             `leader.replication.throttled.replicas`. Set while running only.",
    ),
    broker(
        "follower.replication.throttled.rate",
        Long,
        "9223372036854775807",
    )
    .at_least(0)
    .unit(Unit::BytesPerSecond)
    .dynamic(RuntimeOnly)
    .not_yet(
        "Bytes a second at most that followers fetch for the replicas in \
             `follower.replication.throttled.replicas`. Set while running only.",
    ),
    broker(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        Long,
        "9223372036854775807",
    )
    .at_least(0)
    .unit(Unit::BytesPerSecond)
    .dynamic(RuntimeOnly)
    .honoured(
        "Bytes a second at most when replicas move between data folders. Set while running only.",
    ),
];
