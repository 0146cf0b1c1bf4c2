//! What is measured, in which unit, and which way is better.

use serde::{Deserialize, Serialize};

/// Which way a figure should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    More,
    Less,
    /// It explains others.
    Neither,
}

/// A kind of figure.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// With its unit.
    pub name: &'static str,
    pub better: Better,
}

const fn more(name: &'static str) -> Quantity {
    let better = Better::More;
    Quantity { name, better }
}

const fn less(name: &'static str) -> Quantity {
    let better = Better::Less;
    Quantity { name, better }
}

const fn neither(name: &'static str) -> Quantity {
    let better = Better::Neither;
    Quantity { name, better }
}

pub const REQUESTS: Quantity = more("requests/s");
pub const DUE: Quantity = neither("requests/s due");
pub const AT_LIMIT: Quantity = more("requests/s at the limit");
pub const OVERLOADED: Quantity = more("requests/s acknowledged in overload");
pub const OVERLOADED_TIMES: Quantity = more("acknowledged in overload, times the limit");
pub const BEHIND_TIMES: Quantity = more("acknowledged in the second behind it, times the limit");
/// From when nothing more is offered until all that waits for a reply has one.
pub const DRAINED: Quantity = less("s until all is acknowledged behind it");
pub const P99_PIPELINED_TIMES: Quantity = less("p99 beside pipelined tiny requests, times without");
pub const P99_CONNECTIONS_TIMES: Quantity =
    less("p99 beside a connection for each request, times without");
pub const P99_UNREAD_TIMES: Quantity = less("p99 beside replies that nobody reads, times without");
pub const P99_TRICKLING_TIMES: Quantity =
    less("p99 beside requests that trickle in, times without");
pub const P99_SILENT_TIMES: Quantity = less("p99 beside silent connections, times without");
pub const P99_BOMBS_TIMES: Quantity = less("p99 beside compression bombs, times without");
/// What shows that the attackers got through.
pub const PIPELINED: Quantity = neither("pipelined tiny requests/s");
pub const CONNECTIONS: Quantity = neither("connections/s of one request");
pub const UNREAD: Quantity = neither("requests/s whose replies nobody reads");
pub const TRICKLING: Quantity = neither("bytes/s that trickle in");
pub const SILENT: Quantity = neither("silent connections");
pub const BOMBS: Quantity = neither("compression bombs/s");
pub const MEGABYTES: Quantity = more("MB/s");
pub const P50: Quantity = less("p50 ms");
pub const P99: Quantity = less("p99 ms");
pub const P999: Quantity = less("p99.9 ms");
/// Of requests that a timetable says are due, behind which latency counts.
pub const LEFT_LATE: Quantity = neither("p99 ms left late");
pub const END_TO_END_P50: Quantity = less("end-to-end p50 ms");
pub const END_TO_END_P99: Quantity = less("end-to-end p99 ms");
pub const END_TO_END_P999: Quantity = less("end-to-end p99.9 ms");
pub const P99_BESIDE_READER: Quantity = less("p99 ms beside the reader");
pub const P99_TIMES: Quantity = less("p99 beside the reader, times without");
pub const P99_BESIDE_HOUSEKEEPING: Quantity = less("p99 ms beside housekeeping");
pub const P999_BESIDE_HOUSEKEEPING: Quantity = less("p99.9 ms beside housekeeping");
pub const P99_HOUSEKEEPING_TIMES: Quantity = less("p99 beside housekeeping, times without");
pub const P999_HOUSEKEEPING_TIMES: Quantity = less("p99.9 beside housekeeping, times without");
/// What shows that the housekeeping went on while producers were measured.
pub const TOPIC_COMPACTED: Quantity = neither("GB in the compacted topic");
pub const DISK_READ_MEANWHILE: Quantity =
    neither("MB that compaction read from the disk meanwhile");
pub const SEGMENTS_DELETED: Quantity = neither("segments that retention deleted meanwhile");
pub const PARTITIONS_DELETED: Quantity = neither("partitions whose files went meanwhile");
pub const DELETION: Quantity = less("s until the deleted topic's files are gone");
pub const COMPACTED: Quantity = more("MB/s compacted");
pub const CPU_COMPACTED: Quantity = less("CPU s/GB compacted");
pub const COMPACTED_LEFT: Quantity = less("% of the bytes left");
pub const COMMITS: Quantity = more("commits/s");
pub const SETTLED_FIRST: Quantity = less("s until 99 members have settled");
pub const SETTLED_JOIN: Quantity = less("s until settled after a join");
/// From when the session of who was killed ends.
pub const SETTLED_KILL: Quantity = less("s until settled after a session ended");
pub const HEARTBEATS: Quantity = neither("heartbeats/s");
pub const RESIDENT_MEMBER: Quantity = less("KB resident a member");
pub const OFFSETS_LOADED: Quantity = less("s until all groups have their offsets");
pub const CPU_IN: Quantity = less("CPU s/GB in");
pub const CPU_OUT: Quantity = less("CPU s/GB out");
pub const CPU_REQUEST: Quantity = less("CPU us a request");
pub const CPU_CORE: Quantity = less("% of a core");
pub const RESIDENT: Quantity = less("MB resident");
pub const DISK_BYTES: Quantity = less("bytes to disk a byte");
pub const JOURNAL_BYTES: Quantity = less("bytes to the journal a byte");
pub const SYSTEM_CALLS: Quantity = less("system calls a request");
pub const CONTEXT_SWITCHES: Quantity = less("context switches a request");
pub const PAUSE: Quantity = less("p99.99 ms between looks of a shard");
pub const FIRST_RECORD: Quantity = less("s to the first acknowledged record");
pub const FIRST_RECORD_CORES: Quantity =
    less("s to the first acknowledged record on another number of cores");
pub const ALL_RECORDS: Quantity = less("s to one on each partition");
pub const CREATION: Quantity = less("s to create and write one record to each");
/// Of a long run, whose first quarter fills caches and logs.
pub const RESIDENT_SECOND: Quantity = neither("MB resident, second quarter");
pub const RESIDENT_LAST: Quantity = less("MB resident, last quarter");
pub const RESIDENT_MAX: Quantity = less("MB resident at most");
pub const RESIDENT_TIMES: Quantity = less("times resident, last quarter over second");
pub const DISK_SECOND: Quantity = neither("MB on disk, second quarter");
pub const DISK_LAST: Quantity = less("MB on disk, last quarter");
pub const DISK_MAX: Quantity = less("MB on disk at most");
pub const DISK_TIMES: Quantity = less("times on disk, last quarter over second");
pub const VERIFIED: Quantity = neither("records that came out once and in order");
/// Of the machine alone, as [`crate::roofline::Parts`] has them.
pub const DISK_WRITE: Quantity = more("sequential durable direct write, MB/s");
pub const DISK_READ: Quantity = more("sequential direct read, MB/s");
pub const LOOPBACK: Quantity = more("loopback, MB/s");
pub const LOOPBACK_REQUESTS: Quantity = more("loopback, 1 KiB requests/s one by one");

/// One figure measured once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub workload: String,
    /// With its unit.
    pub quantity: String,
    pub better: Better,
    /// None where it could not be measured: the note says why.
    pub value: Option<f64>,
    /// Something that a reader must know about it, like that the client was the limit.
    pub note: Option<String>,
}

impl Reading {
    pub fn new(workload: &str, quantity: Quantity, value: f64) -> Self {
        Self {
            workload: workload.to_owned(),
            quantity: quantity.name.to_owned(),
            better: quantity.better,
            value: value.is_finite().then_some(value),
            note: match value {
                value if value.is_nan() => Some("nothing happened".to_owned()),
                f64::INFINITY => Some("more than is counted".to_owned()),
                _ => None,
            },
        }
    }

    pub fn not_measured(workload: &str, quantity: Quantity, why: &str) -> Self {
        Self {
            value: None,
            note: Some(format!("not measured: {why}")),
            ..Self::new(workload, quantity, 0.0)
        }
    }

    pub fn noted(mut self, note: Option<&str>) -> Self {
        self.note = note.map(str::to_owned).or(self.note);
        self
    }
}
