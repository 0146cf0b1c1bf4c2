//! What figures of Corelog must be.

use super::figures::{self, Quantity};
use super::workloads as names;

/// What is wanted of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// At least this many times that of Apache Kafka.
    OfKafkaMin(f64),
    /// At most this part of that of Apache Kafka.
    OfKafkaMax(f64),
    /// At most this, whatever others do.
    Max(f64),
    /// At least this, whatever others do.
    Min(f64),
    /// At least this part of what the bare loop does.
    PartOfBareLoopMin(f64),
    /// At most so many times that of Corelog on one core.
    OfOneCoreMax(f64),
    /// At most so many times the same quantity in another workload.
    OfWorkloadMax(&'static str, f64),
}

struct Target {
    workload: &'static str,
    quantity: Quantity,
    wanted: Wanted,
}

const fn target(workload: &'static str, quantity: Quantity, wanted: Wanted) -> Target {
    Target {
        workload,
        quantity,
        wanted,
    }
}

use Wanted::{Max, Min, OfKafkaMax, OfKafkaMin, OfOneCoreMax, OfWorkloadMax, PartOfBareLoopMin};

const TARGETS: &[Target] = &[
    target(names::LARGE_100, figures::CPU_IN, OfKafkaMax(0.25)),
    target(names::SMALL_100_256, figures::CPU_IN, OfKafkaMax(0.12)),
    target(names::SMALL_100_16, figures::CPU_IN, OfKafkaMax(0.35)),
    target(names::SMALL_HALF, figures::CPU_CORE, OfKafkaMax(0.6)),
    target(names::SMALL_TENTH, figures::CPU_CORE, OfKafkaMax(0.6)),
    target(names::SMALL_HALF, figures::CPU_REQUEST, OfOneCoreMax(1.4)),
    target(names::SMALL_TENTH, figures::CPU_REQUEST, OfOneCoreMax(1.4)),
    target(names::TAIL, figures::CPU_OUT, OfKafkaMax(0.7)),
    target(names::CATCH_UP_1, figures::CPU_OUT, OfKafkaMax(0.7)),
    target(names::CATCH_UP_100, figures::CPU_OUT, OfKafkaMax(0.7)),
    target(names::LARGE_1, figures::MEGABYTES, OfKafkaMin(3.0)),
    target(names::LARGE_1, figures::MEGABYTES, PartOfBareLoopMin(0.7)),
    target(names::LARGE_100, figures::MEGABYTES, OfKafkaMin(3.0)),
    target(names::LARGE_100, figures::MEGABYTES, PartOfBareLoopMin(0.7)),
    target(names::SMALL_1_16, figures::REQUESTS, OfKafkaMin(3.0)),
    target(names::SMALL_100_16, figures::REQUESTS, OfKafkaMin(3.0)),
    target(names::SMALL_1_256, figures::REQUESTS, OfKafkaMin(6.0)),
    target(names::SMALL_100_256, figures::REQUESTS, OfKafkaMin(6.0)),
    target(names::FSYNC_SMALL_16, figures::REQUESTS, OfKafkaMin(12.0)),
    target(names::SMALL_HALF, figures::P99, OfKafkaMax(0.3)),
    target(names::SMALL_HALF, figures::P999, OfKafkaMax(0.3)),
    target(names::MEDIUM_HALF, figures::P99, OfKafkaMax(0.3)),
    target(names::MEDIUM_HALF, figures::P999, OfKafkaMax(0.3)),
    target(names::LARGE_HALF, figures::P99, OfKafkaMax(0.3)),
    target(names::LARGE_HALF, figures::P999, OfKafkaMax(0.3)),
    target(names::END_TO_END, figures::END_TO_END_P99, OfKafkaMax(0.3)),
    target(
        names::HALF_1000,
        figures::P99,
        OfWorkloadMax(names::HALF_10, 1.3),
    ),
    target(
        names::HALF_10000,
        figures::P99,
        OfWorkloadMax(names::HALF_10, 1.5),
    ),
    target(names::SMALL_100_256, figures::DISK_BYTES, Max(2.2)),
    target(names::LARGE_100, figures::DISK_BYTES, Max(2.2)),
    target(names::SMALL_100_256, figures::PAUSE, Max(1.0)),
    target(names::SMALL_HALF, figures::PAUSE, Max(1.0)),
    target(names::COLD_READER, figures::P99_TIMES, Max(1.25)),
    target(names::QUIET, figures::P99_HOUSEKEEPING_TIMES, Max(1.25)),
    target(names::OVERLOAD, figures::OVERLOADED_TIMES, Min(0.9)),
    target(names::OVERLOAD, figures::BEHIND_TIMES, Min(0.9)),
    target(names::OVERLOAD, figures::DRAINED, Max(2.0)),
    target(names::ATTACKED, figures::P99_PIPELINED_TIMES, Max(2.0)),
    target(names::ATTACKED, figures::P99_CONNECTIONS_TIMES, Max(2.0)),
    target(names::ATTACKED, figures::P99_UNREAD_TIMES, Max(2.0)),
    target(names::ATTACKED, figures::P99_TRICKLING_TIMES, Max(2.0)),
    target(names::ATTACKED, figures::P99_SILENT_TIMES, Max(2.0)),
    target(names::ATTACKED, figures::P99_BOMBS_TIMES, Max(2.0)),
    // On two cores: 64 MiB of newest records and 128 MiB of requests each, and 30 MB that it takes when it idles.
    target(names::SOAK, figures::RESIDENT_MAX, Max(433.0)),
    target(names::SOAK, figures::RESIDENT_TIMES, Max(1.1)),
    target(names::COMMITS, figures::COMMITS, OfKafkaMin(3.0)),
    target(
        names::HEARTBEATS_CLASSIC,
        figures::CPU_CORE,
        OfKafkaMax(0.6),
    ),
    target(
        names::HEARTBEATS_CONSUMER,
        figures::CPU_CORE,
        OfKafkaMax(0.6),
    ),
    target(names::BESIDE_GROUP, figures::P99_TIMES, Max(1.1)),
    target(names::LOAD_OFFSETS, figures::OFFSETS_LOADED, Max(1.0)),
    target(names::START_EMPTY, figures::FIRST_RECORD, Max(0.1)),
    target(names::START_EMPTY, figures::RESIDENT, Max(30.0)),
    target(names::RESTART_10000, figures::FIRST_RECORD, Max(2.0)),
    target(names::RESTART_10000, figures::FIRST_RECORD_CORES, Max(2.0)),
];

/// All that is wanted of a figure.
pub fn wanted(workload: &str, quantity: &str) -> impl Iterator<Item = Wanted> {
    TARGETS
        .iter()
        .filter(move |target| target.workload == workload && target.quantity.name == quantity)
        .map(|target| target.wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_for_a_workload_that_there_is() {
        let exists = |name: &str| names::ALL.iter().any(|workload| workload.name == name);
        for target in TARGETS {
            assert!(exists(target.workload), "{}", target.workload);
            if let OfWorkloadMax(other, _) = target.wanted {
                assert!(exists(other), "{other}");
            }
        }
    }
}
