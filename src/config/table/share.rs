//! Share groups.

use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, broker};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Int, List, Short, String};

pub(super) const ROWS: &[Property] = &[
    broker("group.share.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .not_yet("Least time between two assignments of a share group."),
    broker("group.share.assignors", List, "simple")
        .valid(Valid::AT_LEAST_ONE_ITEM)
        .not_yet("Assignors of share groups; one of them."),
    broker("group.share.delivery.count.limit", Int, "5")
        .between(2, 10)
        .not_yet("Times a record is delivered at most before it is given up."),
    broker("group.share.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .not_yet("Heartbeat interval given to members of share groups."),
    broker("group.share.initialize.retry.interval.ms", Int, "30000")
        .at_least(1)
        .ms()
        .internal()
        .not_yet("Time after which the initialization of share state is tried again."),
    broker("group.share.max.assignment.interval.ms", Int, "15000")
        .at_least(0)
        .ms()
        .not_yet("Upper bound for the assignment interval of a share group."),
    broker("group.share.max.delivery.count.limit", Int, "10")
        .between(5, 25)
        .not_yet("Upper bound for the delivery count limit of a share group."),
    broker("group.share.max.heartbeat.interval.ms", Int, "15000")
        .at_least(1)
        .ms()
        .not_yet("Upper bound for the heartbeat interval of a share group."),
    broker("group.share.max.partition.max.record.locks", Int, "4000")
        .between(2000, 10000)
        .not_yet("Upper bound for the locked records of a partition."),
    broker("group.share.max.record.lock.duration.ms", Int, "60000")
        .between(30000, 3600000)
        .ms()
        .not_yet("Upper bound for the time a record is locked."),
    broker("group.share.max.session.timeout.ms", Int, "60000")
        .at_least(1)
        .ms()
        .not_yet("Upper bound for the session timeout of a share group."),
    broker("group.share.max.share.sessions", Int, "2000")
        .at_least(1)
        .not_yet("Share sessions at most on this broker."),
    broker("group.share.max.size", Int, "200")
        .between(1, 1000)
        .not_yet("Members at most in one share group."),
    broker("group.share.min.assignment.interval.ms", Int, "0")
        .at_least(0)
        .ms()
        .not_yet("Lower bound for the assignment interval of a share group."),
    broker("group.share.min.delivery.count.limit", Int, "2")
        .between(2, 5)
        .not_yet("Lower bound for the delivery count limit of a share group."),
    broker("group.share.min.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .not_yet("Lower bound for the heartbeat interval of a share group."),
    broker("group.share.min.partition.max.record.locks", Int, "100")
        .between(100, 2000)
        .not_yet("Lower bound for the locked records of a partition."),
    broker("group.share.min.record.lock.duration.ms", Int, "15000")
        .between(1000, 30000)
        .ms()
        .not_yet("Lower bound for the time a record is locked."),
    broker("group.share.min.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .not_yet("Lower bound for the session timeout of a share group."),
    broker("group.share.partition.max.record.locks", Int, "2000")
        .between(100, 10000)
        .not_yet("Records of one partition that may be locked at once."),
    broker(
        "group.share.persister.class.name",
        String,
        "org.apache.kafka.server.share.persister.DefaultStatePersister",
    )
    .internal()
    .moot("Java class that stores share state."),
    broker("group.share.record.lock.duration.ms", Int, "30000")
        .between(1000, 3600000)
        .ms()
        .not_yet("Time a record stays locked for the member that acquired it."),
    broker("group.share.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .not_yet("Time without a heartbeat after which a member of a share group is removed."),
    broker("share.coordinator.append.linger.ms", Int, "-1")
        .at_least(-1)
        .ms()
        .not_yet(
            "How long the share coordinator gathers records before it writes them; -1 lets it \
             choose.",
        ),
    broker("share.coordinator.cached.buffer.max.bytes", Int, "1048588")
        .at_least(524288)
        .bytes()
        .dynamic(ClusterWide)
        .not_yet("Largest write buffer the share coordinator keeps for reuse."),
    broker(
        "share.coordinator.cold.partition.snapshot.interval.ms",
        Int,
        "300000",
    )
    .at_least(1)
    .ms()
    .internal()
    .not_yet("How often snapshots are made of share partitions that no longer change."),
    broker("share.coordinator.load.buffer.size", Int, "5242880")
        .at_least(1)
        .bytes()
        .not_yet("Batch size when share state is loaded."),
    broker(
        "share.coordinator.snapshot.update.records.per.snapshot",
        Int,
        "500",
    )
    .between(0, 500)
    .not_yet("Updates of share state between two snapshots."),
    broker("share.coordinator.state.topic.compression.codec", Int, "0")
        .not_yet("Compression of the share state topic, by number."),
    broker("share.coordinator.state.topic.min.isr", Short, "2")
        .at_least(1)
        .not_yet("Least in-sync replicas of the share state topic."),
    broker("share.coordinator.state.topic.num.partitions", Int, "50")
        .at_least(1)
        .not_yet("Partitions of the share state topic."),
    broker(
        "share.coordinator.state.topic.prune.interval.ms",
        Int,
        "300000",
    )
    .at_least(1)
    .ms()
    .internal()
    .not_yet("How often the share state topic is pruned."),
    broker(
        "share.coordinator.state.topic.replication.factor",
        Short,
        "3",
    )
    .at_least(1)
    .not_yet("Replicas of the share state topic."),
    broker(
        "share.coordinator.state.topic.segment.bytes",
        Int,
        "104857600",
    )
    .at_least(1)
    .bytes()
    .not_yet("Segment size of the share state topic."),
    broker("share.coordinator.threads", Int, "1")
        .at_least(1)
        .moot("Threads of the share coordinator; here each core coordinates its own."),
    broker("share.coordinator.write.timeout.ms", Int, "5000")
        .at_least(1)
        .ms()
        .not_yet("Time within which share state must be replicated."),
    broker("share.fetch.purgatory.purge.interval.requests", Int, "1000").moot(
        "Housekeeping of waiting share fetches; here a finished wait leaves nothing \
             behind.",
    ),
];
