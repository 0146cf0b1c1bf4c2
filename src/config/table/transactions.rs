//! Transactions.

use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, broker};
use crate::config::value::Kind::{Boolean, Int, Short};

pub(super) const ROWS: &[Property] = &[
    broker("add.partitions.to.txn.retry.backoff.max.ms", Int, "100")
        .at_least(0)
        .ms()
        .not_yet(
            "Longest pause before the broker tries again to add a partition to a transaction.",
        ),
    broker("add.partitions.to.txn.retry.backoff.ms", Int, "20")
        .at_least(1)
        .ms()
        .not_yet("Pause before the broker tries again to add a partition to a transaction."),
    broker(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        Int,
        "10000",
    )
    .at_least(1)
    .ms()
    .not_yet("How often transactions past their timeout are looked for."),
    broker("transaction.max.timeout.ms", Int, "900000")
        .at_least(1)
        .ms()
        .not_yet("Longest transaction timeout a producer may ask for."),
    broker("transaction.partition.verification.enable", Boolean, "true")
        .dynamic(ClusterWide)
        .not_yet(
            "Whether a partition is checked to be part of the transaction before records are \
             taken.",
        ),
    broker(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        Int,
        "3600000",
    )
    .at_least(1)
    .ms()
    .not_yet("How often expired transactional ids are looked for."),
    broker("transaction.state.log.load.buffer.size", Int, "5242880")
        .at_least(1)
        .bytes()
        .not_yet("Batch size when transaction state is loaded."),
    broker("transaction.state.log.min.isr", Int, "2")
        .at_least(1)
        .not_yet("Least in-sync replicas of the transaction state topic."),
    broker("transaction.state.log.num.partitions", Int, "50")
        .at_least(1)
        .not_yet("Partitions of the transaction state topic."),
    broker("transaction.state.log.replication.factor", Short, "3")
        .at_least(1)
        .not_yet("Replicas of the transaction state topic."),
    broker("transaction.state.log.segment.bytes", Int, "104857600")
        .at_least(1)
        .bytes()
        .not_yet("Segment size of the transaction state topic."),
    broker("transaction.two.phase.commit.enable", Boolean, "false")
        .not_yet("Whether producers may take part in two-phase commits."),
    broker("transactional.id.expiration.ms", Int, "604800000")
        .at_least(1)
        .ms()
        .not_yet("Time after which an unused transactional id is forgotten."),
];
