//! Properties of groups.

use super::same;
use crate::config::property::{Property, group};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Boolean, Int, String};

pub(super) const ROWS: &[Property] = &[
    group("consumer.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .ms()
        .from(&[same("group.consumer.assignment.interval.ms")])
        .honoured("Least time between two assignments of a consumer group."),
    group("consumer.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .from(&[same("group.consumer.heartbeat.interval.ms")])
        .honoured("Heartbeat interval given to members of a consumer group."),
    group("consumer.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .from(&[same("group.consumer.session.timeout.ms")])
        .honoured("Time without a heartbeat after which a member of a consumer group is removed."),
    group("share.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .ms()
        .from(&[same("group.share.assignment.interval.ms")])
        .not_yet("Least time between two assignments of a share group."),
    group("share.auto.offset.reset", String, "latest")
        .valid(Valid::OffsetReset)
        .not_yet("Where a share group begins to read a partition that is new to it."),
    group("share.delivery.count.limit", Int, "5")
        .at_least(2)
        .from(&[same("group.share.delivery.count.limit")])
        .not_yet("How often a record is delivered at most to a share group."),
    group("share.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .from(&[same("group.share.heartbeat.interval.ms")])
        .not_yet("Heartbeat interval given to members of a share group."),
    group("share.isolation.level", String, "read_uncommitted")
        .one_of(&["read_committed", "read_uncommitted"])
        .not_yet("Whether a share group reads records of transactions that are not committed."),
    group("share.partition.max.record.locks", Int, "2000")
        .at_least(100)
        .from(&[same("group.share.partition.max.record.locks")])
        .not_yet("Records of a partition that members of a share group hold at most."),
    group("share.record.lock.duration.ms", Int, "30000")
        .at_least(1000)
        .ms()
        .from(&[same("group.share.record.lock.duration.ms")])
        .not_yet("Time for which a member of a share group holds a record."),
    group("share.renew.acknowledge.enable", Boolean, "true")
        .not_yet("Whether members of a share group may ask to hold a record for longer."),
    group("share.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .from(&[same("group.share.session.timeout.ms")])
        .not_yet("Time without a heartbeat after which a member of a share group is removed."),
    group("streams.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .ms()
        .from(&[same("group.streams.assignment.interval.ms")])
        .not_yet("Least time between two assignments of a streams group."),
    group("streams.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .ms()
        .from(&[same("group.streams.heartbeat.interval.ms")])
        .not_yet("Heartbeat interval given to members of a streams group."),
    group("streams.initial.rebalance.delay.ms", Int, "3000")
        .at_least(0)
        .ms()
        .from(&[same("group.streams.initial.rebalance.delay.ms")])
        .not_yet("Time an empty streams group waits for more members before its first rebalance."),
    group("streams.num.standby.replicas", Int, "0")
        .at_least(0)
        .from(&[same("group.streams.num.standby.replicas")])
        .not_yet("Standby replicas of each stateful task."),
    group("streams.session.timeout.ms", Int, "45000")
        .at_least(1)
        .ms()
        .from(&[same("group.streams.session.timeout.ms")])
        .not_yet("Time without a heartbeat after which a member of a streams group is removed."),
];
