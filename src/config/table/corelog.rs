//! Corelog's own properties of the broker.

use crate::config::broker::HTTP_LISTENER;
use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, broker, broker_unset};
use crate::config::value::Kind::{Int, Long, String};

pub(super) const ROWS: &[Property] = &[
    broker_unset("corelog.cores", Int).at_least(1).honoured(
        "Cores to run on, one shard each; all cores of the machine where it is not set. \
             `--cores` goes before it.",
    ),
    broker_unset(HTTP_LISTENER, String).honoured(
        "`host:port` of the HTTP listener: `/metrics` for Prometheus, `/metrics/partitions`, \
             `/metrics/groups`, `/live` and `/ready`. An empty host is all addresses of the machine, port 0 a free one; \
             an empty value serves \
             none. localhost:9644 where it is not set, if that is free. Whoever can connect sees the names of all topics \
             and groups.",
    ),
    broker("corelog.log.durability", String, "sync")
        .one_of(&["sync", "written", "memory"])
        .dynamic(ClusterWide)
        .honoured(
            "Default of `corelog.durability` for all topics: what must have happened before a \
             record is acknowledged.",
        ),
    broker("corelog.memory.flush.ms", Long, "50")
        .between(1, 10_000)
        .ms()
        .dynamic(ClusterWide)
        .honoured(
            "Time within which records of topics with durability `memory` are written and \
             synced: what may be lost when the process is killed.",
        ),
    broker("corelog.journal.bytes", Long, "536870912")
        .between(67_108_864, 68_719_476_736)
        .bytes()
        .honoured(
            "Size of the journal of each core. It bounds the time of recovery and what may be \
             waiting to be settled into segments.",
        ),
    broker("corelog.tail.cache.bytes", Long, "67108864")
        .between(4_194_304, 1_099_511_627_776)
        .bytes()
        .honoured(
            "Memory of each core for the newest records, from which consumers and followers \
             read.",
        ),
    broker("corelog.request.memory.bytes", Long, "134217728")
        .between(1_048_576, 1_099_511_627_776)
        .bytes()
        .honoured(
            "Memory of each core for requests in flight, where `queued.max.request.bytes` \
             sets no limit. It is exceeded by one request at most. As much again may be held \
             by replies with records that clients have not yet taken.",
        ),
    broker("corelog.group.memory.bytes", Long, "268435456")
        .between(1_048_576, 1_099_511_627_776)
        .bytes()
        .dynamic(ClusterWide)
        .honoured(
            "Memory of each core for groups: their members, what these subscribe to and are assigned, and committed \
             offsets. Beyond it clients that need more are told COORDINATOR_NOT_AVAILABLE and try again. A quarter is \
             for groups that take no more than a 1,024th of it.",
        ),
    broker("corelog.recovery.on.rot", String, "refuse")
        .one_of(&["refuse", "continue"])
        .honoured(
            "What a start does when acknowledged records in the journal are damaged, or files are \
             missing: `refuse` stops and says where, or lets readers of missing segments have an \
             error; `continue` goes on without them, without partitions whose folders are missing, \
             and without the oldest segments of a log that are, for good. Meant for one start.",
        ),
];
