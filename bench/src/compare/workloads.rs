//! All that brokers are measured at, by name.

use corelog_loadgen::workload::GroupProtocol;

pub const SMALL_1_1: &str = "1 KiB, 1 partition, 1 in flight";
pub const SMALL_1_16: &str = "1 KiB, 1 partition, 16 in flight";
pub const SMALL_1_256: &str = "1 KiB, 1 partition, 256 in flight";
pub const SMALL_100_16: &str = "1 KiB, 100 partitions, 16 in flight";
pub const SMALL_100_256: &str = "1 KiB, 100 partitions, 256 in flight";
pub const SMALL_1000_256: &str = "1 KiB, 1,000 partitions, 256 in flight";
pub const SMALL_10000_256: &str = "1 KiB, 10,000 partitions, 256 in flight";
pub const MEDIUM_100: &str = "16 KiB, 100 partitions, 16 in flight";
pub const LARGE_1: &str = "64 KiB, 1 partition, 16 in flight";
pub const LARGE_100: &str = "64 KiB, 100 partitions, 16 in flight";
pub const CATCH_UP_1: &str = "catch-up from disk, 1 partition";
pub const CATCH_UP_100: &str = "catch-up from disk, 100 partitions";
pub const SMALL_TENTH: &str = "1 KiB, 100 partitions, at 10 % of the limit";
pub const SMALL_HALF: &str = "1 KiB, 100 partitions, at 50 % of the limit";
pub const SMALL_MOST: &str = "1 KiB, 100 partitions, at 80 % of the limit";
pub const MEDIUM_HALF: &str = "16 KiB, 100 partitions, at 50 % of the limit";
pub const MEDIUM_MOST: &str = "16 KiB, 100 partitions, at 80 % of the limit";
pub const LARGE_HALF: &str = "64 KiB, 100 partitions, at 50 % of the limit";
pub const LARGE_MOST: &str = "64 KiB, 100 partitions, at 80 % of the limit";
pub const HALF_10: &str = "1 KiB, 10 partitions, at 50 % of the limit";
pub const HALF_1000: &str = "1 KiB, 1,000 partitions, at 50 % of the limit";
pub const HALF_10000: &str = "1 KiB, 10,000 partitions, at 50 % of the limit";
pub const END_TO_END: &str = "end to end, 1 KiB, 100 partitions, at 50 % of the limit";
pub const TAIL: &str = "tail, 4 sets of consumers, 20 MB/s in";
pub const COLD_READER: &str = "1 KiB at 50 % of the limit beside a cold reader";
pub const FSYNC_SMALL_16: &str = "fsync: 1 KiB, 100 partitions, 16 in flight";
pub const FSYNC_SMALL_256: &str = "fsync: 1 KiB, 100 partitions, 256 in flight";
pub const FSYNC_LARGE: &str = "fsync: 64 KiB, 100 partitions, 16 in flight";
pub const FSYNC_HALF: &str = "fsync: 1 KiB, 100 partitions, at 50 % of the limit";
pub const OVERLOAD: &str = "1 KiB, 100 partitions, overload: 3 times the limit offered";
pub const ATTACKED: &str = "1 KiB at 10 % of the limit beside attackers";
pub const SOAK: &str = "soak, 15,000 records/s with retention";
pub const COMMITS: &str = "commits of 10 offsets, 64 connections, 100 groups";
pub const SETTLE_CLASSIC: &str = "a classic group of 100 members";
pub const SETTLE_CONSUMER: &str = "a group of 100 members, new protocol";
pub const HEARTBEATS_CLASSIC: &str = "1,000 classic groups of 10 members at rest";
pub const HEARTBEATS_CONSUMER: &str = "1,000 groups of 10 members at rest, new protocol";
pub const BESIDE_GROUP: &str = "20 MB/s in beside a group that reads";
pub const LOAD_OFFSETS: &str = "restart with 1,000,000 committed offsets after kill -9";
pub const QUIET: &str = "1 KiB at 50 % of the limit beside housekeeping";
pub const COMPACTION: &str = "compaction of keyed records";
pub const START_EMPTY: &str = "start on an empty folder";
pub const RESTART_10000: &str = "restart with 10,000 partitions after kill -9";
/// Of the machine's parts, which no broker is in.
pub const MACHINE: &str = "the machine alone";
pub const RESTART_DATA: &str = "restart with 1 GB after kill -9";

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub work: Work,
    /// Whether the quick suite has it.
    pub is_quick: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Work {
    Produce(Produce),
    /// The topic of a workload before it is read from its start, once what the page cache has of it was dropped.
    CatchUp {
        of: &'static str,
    },
    /// Records go through to consumers, at this part of a limit.
    EndToEnd {
        of: &'static str,
        part: f64,
    },
    /// Consumers that keep up, and the same load without them.
    Tail,
    /// Producers at this part of a limit, beside a reader of the topic of another workload.
    ColdReader {
        of: &'static str,
        part: f64,
        reads: &'static str,
    },
    /// So many times what the broker takes at most is offered to it.
    Overload {
        times: f64,
    },
    /// Producers at this part of a limit, alone, and beside clients that mean harm.
    Attacked {
        of: &'static str,
        part: f64,
    },
    /// Records at a constant rate for many minutes, with retention deleting behind them.
    Soak,
    /// Commits of offsets at saturation.
    Commits,
    /// How long a group takes to settle.
    Settle(GroupProtocol),
    /// Groups whose members only send heartbeats.
    Heartbeats(GroupProtocol),
    /// Producers alone, and beside a group that reads what they produce.
    BesideGroup,
    /// Committed offsets are there again behind a crash.
    LoadOffsets,
    /// Producers at this part of a limit, alone, and beside retention, compaction and the deletion of a topic.
    Quiet {
        of: &'static str,
        part: f64,
    },
    /// How fast a log is compacted.
    Compaction,
    StartEmpty,
    /// All that needs 10,000 partitions, in a broker of its own.
    RestartMany,
    RestartData,
}

/// Requests of the replaying client.
#[derive(Clone, Copy, Debug)]
pub struct Produce {
    pub partitions: i32,
    /// Records of 1 KiB in each request.
    pub records: usize,
    pub load: Load,
    /// Whether each batch is synced before it is acknowledged, by Kafka too.
    pub is_synced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    InFlight(usize),
    /// A part of the requests a second that the first broker did in the workload of that name.
    Limit {
        of: &'static str,
        part: f64,
    },
}

const fn closed(name: &'static str, partitions: i32, records: usize, in_flight: usize) -> Workload {
    produce(name, partitions, records, Load::InFlight(in_flight))
}

const fn open(
    name: &'static str,
    partitions: i32,
    records: usize,
    of: &'static str,
    part: f64,
) -> Workload {
    produce(name, partitions, records, Load::Limit { of, part })
}

const fn produce(name: &'static str, partitions: i32, records: usize, load: Load) -> Workload {
    let produce = Produce {
        partitions,
        records,
        load,
        is_synced: false,
    };
    other(name, Work::Produce(produce))
}

const fn synced(name: &'static str, records: usize, load: Load) -> Workload {
    let produce = Produce {
        partitions: 100,
        records,
        load,
        is_synced: true,
    };
    other(name, Work::Produce(produce))
}

const fn other(name: &'static str, work: Work) -> Workload {
    let is_quick = false;
    Workload {
        name,
        work,
        is_quick,
    }
}

const fn quick(workload: Workload) -> Workload {
    Workload {
        is_quick: true,
        ..workload
    }
}

/// In the order in which they are run: a limit comes before what is a part of it, and a topic before it is read.
pub const ALL: &[Workload] = &[
    quick(other(START_EMPTY, Work::StartEmpty)),
    closed(SMALL_1_1, 1, 1, 1),
    closed(SMALL_1_16, 1, 1, 16),
    closed(SMALL_1_256, 1, 1, 256),
    quick(closed(SMALL_100_16, 100, 1, 16)),
    quick(closed(SMALL_100_256, 100, 1, 256)),
    closed(SMALL_1000_256, 1_000, 1, 256),
    closed(MEDIUM_100, 100, 16, 16),
    closed(LARGE_1, 1, 64, 16),
    other(CATCH_UP_1, Work::CatchUp { of: LARGE_1 }),
    quick(closed(LARGE_100, 100, 64, 16)),
    quick(other(CATCH_UP_100, Work::CatchUp { of: LARGE_100 })),
    open(SMALL_TENTH, 100, 1, SMALL_100_256, 0.1),
    quick(open(SMALL_HALF, 100, 1, SMALL_100_256, 0.5)),
    open(SMALL_MOST, 100, 1, SMALL_100_256, 0.8),
    open(MEDIUM_HALF, 100, 16, MEDIUM_100, 0.5),
    open(MEDIUM_MOST, 100, 16, MEDIUM_100, 0.8),
    open(LARGE_HALF, 100, 64, LARGE_100, 0.5),
    open(LARGE_MOST, 100, 64, LARGE_100, 0.8),
    open(HALF_10, 10, 1, SMALL_100_256, 0.5),
    open(HALF_1000, 1_000, 1, SMALL_100_256, 0.5),
    quick(other(
        END_TO_END,
        Work::EndToEnd {
            of: SMALL_100_256,
            part: 0.5,
        },
    )),
    other(TAIL, Work::Tail),
    other(
        COLD_READER,
        Work::ColdReader {
            of: SMALL_100_256,
            part: 0.5,
            reads: LARGE_100,
        },
    ),
    synced(FSYNC_SMALL_16, 1, Load::InFlight(16)),
    synced(FSYNC_SMALL_256, 1, Load::InFlight(256)),
    synced(FSYNC_LARGE, 64, Load::InFlight(16)),
    synced(
        FSYNC_HALF,
        1,
        Load::Limit {
            of: FSYNC_SMALL_256,
            part: 0.5,
        },
    ),
    other(OVERLOAD, Work::Overload { times: 3.0 }),
    other(
        ATTACKED,
        Work::Attacked {
            of: SMALL_100_256,
            part: 0.1,
        },
    ),
    other(COMMITS, Work::Commits),
    other(SETTLE_CLASSIC, Work::Settle(GroupProtocol::Classic)),
    other(SETTLE_CONSUMER, Work::Settle(GroupProtocol::Consumer)),
    other(BESIDE_GROUP, Work::BesideGroup),
    other(HEARTBEATS_CLASSIC, Work::Heartbeats(GroupProtocol::Classic)),
    other(
        HEARTBEATS_CONSUMER,
        Work::Heartbeats(GroupProtocol::Consumer),
    ),
    other(SOAK, Work::Soak),
    closed(SMALL_10000_256, MANY, 1, 256),
    open(HALF_10000, MANY, 1, SMALL_100_256, 0.5),
    other(RESTART_10000, Work::RestartMany),
    other(RESTART_DATA, Work::RestartData),
    other(LOAD_OFFSETS, Work::LoadOffsets),
    other(COMPACTION, Work::Compaction),
    other(
        QUIET,
        Work::Quiet {
            of: SMALL_100_256,
            part: 0.5,
        },
    ),
];

/// Properties of brokers that are watched while they delete and compact: they look for what is due at once, and let files
/// go at once.
const HOUSEKEEPING: &[(&str, &str)] = &[
    ("log.initial.task.delay.ms", "1000"),
    ("log.retention.check.interval.ms", "1000"),
    ("log.segment.delete.delay.ms", "1000"),
    ("log.cleaner.backoff.ms", "100"),
];

/// The broker that a workload is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One that it shares with most others.
    Shared,
    /// One with very many partitions, for those that need them.
    ManyPartitions,
    /// One of its own.
    Own,
}

impl Workload {
    /// Whether it takes so long that it is run only where it is named.
    pub fn is_long(&self) -> bool {
        matches!(self.work, Work::Soak)
    }

    fn place(&self) -> Place {
        match self.work {
            Work::Produce(produce) if produce.partitions == MANY => Place::ManyPartitions,
            Work::RestartMany => Place::ManyPartitions,
            Work::StartEmpty
            | Work::RestartData
            | Work::LoadOffsets
            | Work::Compaction
            | Work::Quiet { .. } => Place::Own,
            _ => Place::Shared,
        }
    }

    /// Whether it needs a broker with very many partitions, which it shares with others like it.
    pub fn has_many_partitions(&self) -> bool {
        self.place() == Place::ManyPartitions
    }

    /// Whether one broker does for both.
    pub fn shares_broker_with(&self, other: &Self) -> bool {
        self.place() == other.place() && self.place() != Place::Own
    }

    /// Of its broker, beside what all have.
    pub fn broker_properties(&self) -> &'static [(&'static str, &'static str)] {
        match self.work {
            Work::Compaction | Work::Quiet { .. } => HOUSEKEEPING,
            _ => &[],
        }
    }
}

/// Workloads with so many partitions have a broker of their own.
pub const MANY: i32 = 10_000;

/// The workload of a name that is in the list.
pub fn by_name(name: &str) -> &'static Workload {
    let found = ALL.iter().find(|workload| workload.name == name);
    found.expect("names in the list are of it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_workload_needs_comes_before_it() {
        let place = |name: &str| ALL.iter().position(|workload| workload.name == name);
        for (at, workload) in ALL.iter().enumerate() {
            assert_eq!(place(workload.name), Some(at), "a name twice");
            let needed: &[&str] = match &workload.work {
                Work::Produce(Produce {
                    load: Load::Limit { of, .. },
                    ..
                })
                | Work::CatchUp { of }
                | Work::EndToEnd { of, .. }
                | Work::Attacked { of, .. }
                | Work::Quiet { of, .. } => &[of],
                Work::ColdReader { of, reads, .. } => &[of, reads],
                _ => &[],
            };
            for name in needed {
                assert!(place(name) < Some(at), "{name} for {}", workload.name);
                assert!(!workload.is_quick || by_name(name).is_quick, "{name}");
            }
        }
    }
}
