//! Classic, consumer and streams groups, and committed offsets.

use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, Unit, broker};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Int, List, Long, Short, String};

pub(super) const ROWS: &[Property] = &[
    broker("group.consumer.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .honoured("Least time between two assignments of a consumer group."),
    broker("group.consumer.assignors", List, "uniform,range")
        .valid(Valid::AT_LEAST_ONE_ITEM)
        .honoured(
            "Assignors the broker offers to consumer groups, the first one being the default.",
        ),
    broker("group.consumer.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .honoured("Heartbeat interval given to members of consumer groups."),
    broker("group.consumer.max.assignment.interval.ms", Int, "15000")
        .at_least(0)
        .ms()
        .honoured("Upper bound for the assignment interval of a consumer group."),
    broker("group.consumer.max.heartbeat.interval.ms", Int, "15000")
        .at_least(1)
        .ms()
        .honoured("Upper bound for the heartbeat interval of a consumer group."),
    broker("group.consumer.max.session.timeout.ms", Int, "60000")
        .at_least(1)
        .ms()
        .honoured("Upper bound for the session timeout of a consumer group."),
    broker("group.consumer.max.size", Int, "2147483647")
        .at_least(1)
        .honoured("Members at most in one consumer group."),
    broker("group.consumer.migration.policy", String, "bidirectional")
        .valid(Valid::OneOfAnyCase(&[
            "DISABLED",
            "DOWNGRADE",
            "UPGRADE",
            "BIDIRECTIONAL",
        ]))
        .honoured(
            "Whether groups may move between the classic and the consumer protocol, and in \
             which direction.",
        ),
    broker("group.consumer.min.assignment.interval.ms", Int, "0")
        .at_least(0)
        .ms()
        .honoured("Lower bound for the assignment interval of a consumer group."),
    broker("group.consumer.min.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .honoured("Lower bound for the heartbeat interval of a consumer group."),
    broker("group.consumer.min.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .honoured("Lower bound for the session timeout of a consumer group."),
    broker("group.consumer.regex.refresh.interval.ms", Int, "600000")
        .at_least(10000)
        .ms()
        .internal()
        .honoured("How often subscriptions by pattern are looked at anew."),
    broker("group.consumer.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .honoured("Time without a heartbeat after which a member is removed."),
    broker("group.coordinator.append.linger.ms", Int, "-1")
        .at_least(-1)
        .ms()
        .moot(
            "How long the coordinator gathers records before it writes them. Here it gathers what comes while it \
             writes, and waits for nothing.",
        ),
    broker("group.coordinator.background.threads", Int, "2")
        .at_least(1)
        .moot("Threads for the coordinator's background work."),
    broker("group.coordinator.cached.buffer.max.bytes", Int, "1048588")
        .at_least(524288)
        .bytes()
        .dynamic(ClusterWide)
        .moot("Largest write buffer the coordinator keeps for reuse."),
    broker(
        "group.coordinator.rebalance.protocols",
        List,
        "classic,consumer,streams",
    )
    .valid(Valid::items_of(
        &["consumer", "classic", "share", "streams"],
        false,
    ))
    .honoured(
        "Rebalance protocols that are served: `classic` always is, `consumer` if it is named, others are not yet.",
    ),
    broker("group.coordinator.threads", Int, "4")
        .at_least(1)
        .moot("Threads of the coordinator; here each core coordinates its own groups."),
    broker("group.initial.rebalance.delay.ms", Int, "3000")
        .ms()
        .honoured("Time an empty classic group waits for more members before its first rebalance."),
    broker("group.max.session.timeout.ms", Int, "1800000")
        .ms()
        .honoured("Longest session timeout a classic member may ask for."),
    broker("group.max.size", Int, "2147483647")
        .at_least(1)
        .honoured("Members at most in one classic group."),
    broker("group.min.session.timeout.ms", Int, "6000")
        .ms()
        .honoured("Shortest session timeout a classic member may ask for."),
    broker("group.streams.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .ms()
        .dynamic(ClusterWide)
        .not_yet("Least time between two assignments of a streams group."),
    broker("group.streams.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .not_yet("Heartbeat interval given to members of streams groups."),
    broker("group.streams.initial.rebalance.delay.ms", Int, "3000")
        .at_least(0)
        .ms()
        .not_yet("Time an empty streams group waits for more members before its first rebalance."),
    broker("group.streams.max.assignment.interval.ms", Int, "15000")
        .at_least(0)
        .ms()
        .not_yet("Upper bound for the assignment interval of a streams group."),
    broker("group.streams.max.heartbeat.interval.ms", Int, "15000")
        .at_least(1)
        .ms()
        .not_yet("Upper bound for the heartbeat interval of a streams group."),
    broker("group.streams.max.session.timeout.ms", Int, "60000")
        .at_least(1)
        .ms()
        .not_yet("Upper bound for the session timeout of a streams group."),
    broker("group.streams.max.size", Int, "2147483647")
        .at_least(1)
        .not_yet("Members at most in one streams group."),
    broker("group.streams.max.standby.replicas", Int, "2")
        .at_least(0)
        .not_yet("Upper bound for the standby replicas of a streams group."),
    broker("group.streams.min.assignment.interval.ms", Int, "0")
        .at_least(0)
        .ms()
        .not_yet("Lower bound for the assignment interval of a streams group."),
    broker("group.streams.min.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .not_yet("Lower bound for the heartbeat interval of a streams group."),
    broker("group.streams.min.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .not_yet("Lower bound for the session timeout of a streams group."),
    broker("group.streams.num.standby.replicas", Int, "0")
        .at_least(0)
        .not_yet("Standby replicas of each stateful task."),
    broker("group.streams.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .not_yet("Time without a heartbeat after which a member of a streams group is removed."),
    broker("offset.metadata.max.bytes", Int, "4096")
        .bytes()
        .honoured("Largest text a client may store with a committed offset."),
    broker("offsets.commit.timeout.ms", Int, "5000")
        .at_least(1)
        .ms()
        .honoured(
            "Time within which a commit must be durable; then its client is told to try again.",
        ),
    broker("offsets.load.buffer.size", Int, "5242880")
        .at_least(1)
        .bytes()
        .not_yet("Batch size when committed offsets are loaded."),
    broker("offsets.retention.check.interval.ms", Long, "600000")
        .at_least(1)
        .ms()
        .honoured("How often expired offsets are looked for."),
    broker("offsets.retention.minutes", Int, "10080")
        .at_least(1)
        .unit(Unit::Minutes)
        .honoured("Time for which the offsets of an empty group are kept."),
    broker("offsets.topic.compression.codec", Int, "0")
        .not_yet("Compression of the offsets topic, by number."),
    broker("offsets.topic.num.partitions", Int, "50")
        .at_least(1)
        .honoured("Partitions of the offsets topic."),
    broker("offsets.topic.replication.factor", Short, "3")
        .at_least(1)
        .honoured(
            "Replicas of the offsets topic; no more than there are brokers when it is created.",
        ),
    broker("offsets.topic.segment.bytes", Int, "104857600")
        .at_least(1)
        .bytes()
        .honoured("Segment size of the offsets topic."),
];
