//! What to do to a broker: topics, who produces what into them at which times, who consumes.
//!
//! A workload is plain data. It comes from a file, from a name, from flags, or from all of them, one
//! laid over the other; whatever it comes from, only possible values get into it.

pub mod args;
mod check;
mod fault;
mod file;
mod forms;
mod named;
mod reference;
mod settings;
mod table;
mod trace;
pub mod units;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use args::WorkloadArgs;
pub use fault::{Fault, Faults, Place};
pub use named::{NAMED, Named, named};
pub use reference::reference;
pub use settings::Setting;
pub use table::SETTINGS;

/// One run of load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// For reports.
    pub name: String,
    /// The topics that are produced to and consumed from, all alike.
    pub topics: Topics,
    /// Who produces, and how.
    pub producers: Producers,
    /// Who consumes.
    pub consumers: Consumers,
    /// What a record is made of.
    pub records: Records,
    /// When records are due.
    pub load: Load,
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Time that counts.
    pub duration: Duration,
    /// Whether each record is looked for again, and checked.
    pub verify: bool,
    /// Of all randomness in it: the same seed, the same records at the same times.
    pub seed: u64,
}

/// Topics are made if they are not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topics {
    /// Name of the one topic, or what the names of several begin with.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Partitions of each.
    pub partitions: u32,
    /// -1 leaves it to the broker.
    pub replication_factor: i16,
    /// Topic properties by name.
    pub configs: BTreeMap<String, String>,
}

/// Every producer has connections of its own to each broker that it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Producers {
    /// How many.
    pub count: u32,
    /// What a broker must have done before it answers.
    pub acks: Acks,
    /// Whether the broker drops repeated batches.
    pub idempotence: bool,
    /// Connections of each to each broker; each partition goes over one of them.
    pub connections: u32,
    /// Produce requests that one connection may have on the way.
    pub in_flight: u32,
    /// A batch is sent once it has so many bytes of records,
    pub batch_bytes: u32,
    /// or once its first record is so old.
    pub linger: Duration,
    /// How batches are compressed.
    pub codec: Codec,
}

/// Kafka's `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acks {
    /// No reply at all.
    None,
    /// The leader has it.
    Leader,
    /// All replicas that are in sync have it.
    All,
}

/// Kafka's compressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Consumers have partitions assigned, by hand or as members of a group; each set of them reads everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consumers {
    /// Consumers in one set, which share the partitions among them. None if zero.
    pub count: u32,
    /// How many sets, so how often each record is read.
    pub fan_out: u32,
    /// Connections of each to each broker; each partition is read over one of them.
    pub connections: u32,
    /// Consumers begin once so many bytes have been produced: they have to catch up with them.
    pub backlog_bytes: u64,
    /// Each set is a group of this kind.
    pub group: Group,
}

/// How consumers share the partitions among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// None if partitions are assigned by hand and nothing is committed.
    pub protocol: Option<GroupProtocol>,
    /// Who gets which partition.
    pub assignor: Assignor,
    /// How long a member may say nothing; of the new protocol the broker decides that.
    pub session_timeout: Duration,
    /// Between two commits of a member.
    pub commit_interval: Duration,
}

/// Kafka's `group.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupProtocol {
    /// Members deal the partitions out.
    Classic,
    /// The broker does (KIP-848).
    Consumer,
}

/// Kafka's assignors: `partition.assignment.strategy` of the classic protocol, `group.remote.assignor` of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assignor {
    /// Range, or in the new protocol what the broker prefers.
    Default,
    /// Of each topic a range for each member.
    Range,
    /// Classic only: as few partitions as possible move, and only those stop.
    CooperativeSticky,
    /// New protocol only: as even as possible, and sticky.
    Uniform,
}

/// What records are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Records {
    /// Lengths of values, in bytes.
    pub sizes: Sizes,
    /// Keys, which choose the partition.
    pub keys: Keys,
    /// Part of a value that compresses to nothing, from 0 to 1. The rest is random.
    pub compressibility: f64,
}

/// Lengths in bytes. None is shorter than what a record carries about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sizes {
    /// All alike.
    Fixed(u32),
    /// Any from the first to the second, equally often.
    Range(u32, u32),
    /// Each of these with its weight.
    Weighted(Vec<(u32, f64)>),
}

/// Keys are numbers in text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Keys {
    /// Records go to the partitions in turn.
    None,
    /// So many keys, equally often.
    Uniform(u64),
    /// So many keys; the n-th most frequent one comes in proportion to `1 / n^exponent`.
    Zipf(u64, f64),
}

/// When records are due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Load {
    /// By a timetable that no reply can delay.
    Open(Shape),
    /// As fast as the limit of requests in flight allows: finds saturation, and says nothing of
    /// latency.
    Max,
}

/// Records a second, over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    /// The same distance between any two.
    Constant(f64),
    /// Random distances, as of many independent senders.
    Poisson(f64),
    /// Evenly from the first rate to the second over the whole run.
    Ramp(f64, f64),
    /// Each rate for an equal part of the run.
    Steps(Vec<f64>),
    /// The first rate, and at the end of each period for a while the second.
    Bursts {
        /// Between bursts.
        base: f64,
        /// In a burst.
        peak: f64,
        /// From one burst to the next.
        every: Duration,
        /// How long one takes.
        length: Duration,
    },
    /// Rates as they were recorded, each with its time since the beginning, which is zero for the first: it holds
    /// until the next, and the last one for as long as the one before it. From the beginning again at the end.
    Trace(Vec<(Duration, f64)>),
}

impl Workload {
    /// From the first record to the last, the warm-up included.
    pub fn whole(&self) -> Duration {
        self.warm_up + self.duration
    }
}

impl Sizes {
    /// Bytes on the average.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(bytes) => f64::from(*bytes),
            Self::Range(least, most) => (f64::from(*least) + f64::from(*most)) / 2.0,
            Self::Weighted(weighted) => {
                let weights: f64 = weighted.iter().map(|(_, weight)| weight).sum();
                let bytes = weighted.iter().map(|(b, weight)| f64::from(*b) * weight);
                bytes.sum::<f64>() / weights
            }
        }
    }
}
