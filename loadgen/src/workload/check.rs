//! Settings that are possible one by one and not together.

use super::fault::{Fault, Place};
use super::settings::Layer;
use super::units::show_size;
use super::{Acks, Assignor, GroupProtocol, Load, Workload};

/// Of all topics together.
const PARTITIONS_MAX: u64 = 1_000_000;

/// As many as a broker keeps in mind of an idempotent producer.
const IDEMPOTENT_IN_FLIGHT_MAX: u32 = 5;

/// What says when records are due, and for how long.
const TIMETABLE: &[&str] = &[
    "load.rate",
    "load.poisson",
    "load.ramp",
    "load.steps",
    "load.bursts",
    "load.trace",
    "duration",
    "warm-up",
];

/// Settings that exclude each other.
pub(super) struct Conflict {
    /// The settings, the one first that is most likely meant to change.
    keys: Vec<&'static str>,
    why: String,
}

impl Conflict {
    fn new(keys: &[&'static str], why: impl Into<String>) -> Self {
        Self {
            keys: keys.to_vec(),
            why: why.into(),
        }
    }

    /// At the value among them that was given last.
    pub(super) fn locate(&self, layers: &[Layer]) -> Fault {
        let given = layers.iter().rev().find_map(|layer| {
            let given_as = |key: &&str| layer.given.iter().find(|g| g.setting.key == *key);
            self.keys.iter().find_map(given_as)
        });
        match given {
            Some(given) => given.fault(&self.why),
            None => Fault {
                place: Place::Flag,
                problem: self.why.clone(),
            },
        }
    }
}

pub(super) fn conflicts(workload: &Workload) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let Workload {
        topics,
        producers,
        consumers,
        ..
    } = workload;

    if u64::from(topics.count) * u64::from(topics.partitions) > PARTITIONS_MAX {
        conflicts.push(Conflict::new(
            &["topics.partitions", "topics.count"],
            format!("all topics together can have at most {PARTITIONS_MAX} partitions"),
        ));
    }
    if producers.idempotence && producers.acks != Acks::All {
        conflicts.push(Conflict::new(
            &["producers.acks", "producers.enable-idempotence"],
            "idempotence needs acks of all: change acks, or set enable-idempotence to false",
        ));
    }
    if producers.idempotence && producers.in_flight > IDEMPOTENT_IN_FLIGHT_MAX {
        conflicts.push(Conflict::new(
            &[
                "producers.max-in-flight-requests-per-connection",
                "producers.enable-idempotence",
            ],
            format!(
                "idempotence allows a max-in-flight from 1 to {IDEMPOTENT_IN_FLIGHT_MAX}: change it, or set \
                 enable-idempotence to false"
            ),
        ));
    }
    if workload.verify && consumers.count == 0 {
        conflicts.push(Conflict::new(
            &["verify", "consumers.count"],
            "verification needs at least 1 consumer",
        ));
    }
    if workload.verify && producers.acks == Acks::None {
        conflicts.push(Conflict::new(
            &["verify", "producers.acks"],
            "verification needs acks of 1 or all: nothing is lost that was never acknowledged",
        ));
    }
    if consumers.backlog_bytes > 0 && consumers.count == 0 {
        conflicts.push(Conflict::new(
            &["consumers.backlog", "consumers.count"],
            "a backlog needs at least 1 consumer that catches up with it",
        ));
    }
    let group = &consumers.group;
    let protocol = group.protocol;
    let wanted = match group.assignor {
        Assignor::CooperativeSticky => Some(GroupProtocol::Classic),
        Assignor::Uniform => Some(GroupProtocol::Consumer),
        Assignor::Default | Assignor::Range => protocol,
    };
    if protocol.is_some() && wanted != protocol {
        conflicts.push(Conflict::new(
            &["consumers.assignor", "consumers.group-protocol"],
            "cooperative-sticky needs the classic group-protocol, uniform the consumer group-protocol",
        ));
    }
    if protocol.is_some() && consumers.count == 0 {
        conflicts.push(Conflict::new(
            &["consumers.group-protocol", "consumers.count"],
            "a group needs at least 1 consumer",
        ));
    }
    if let Load::Open(shape) = &workload.load {
        let whole = workload.whole();
        let records = shape.mean_rate(whole) * whole.as_secs_f64();
        let bytes = records * workload.records.sizes.mean();
        if records < 1.0 {
            conflicts.push(Conflict::new(
                TIMETABLE,
                "not a single record is due in the whole run",
            ));
        } else if consumers.backlog_bytes as f64 > bytes {
            let keys = [&["consumers.backlog", "records.sizes"], TIMETABLE].concat();
            conflicts.push(Conflict::new(
                &keys,
                format!(
                    "consumers would never begin: the backlog can be at most the {} that the whole run produces",
                    show_size(bytes as u64)
                ),
            ));
        }
    }
    conflicts
}
