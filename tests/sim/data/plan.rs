//! What a world is like: which kinds of work and of trouble its seed switches on, and how much of each.
//!
//! All of it is drawn before the world begins and from randomness of its own, so that what is switched off by hand
//! changes nothing else: that is how a failing seed is made smaller.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use corelog_shards::io::Random;
use corelog_shards::io::sim::Faults;
use corelog_shards::journal::Durability;

use super::cleanup::Cleanup;
use crate::disk::Errors;
use crate::plan::Drawn;

/// Something that a seed may switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    // Work.
    Idempotent,
    NoAcks,
    Compressed,
    Pipelined,
    LargeRecords,
    Written,
    Memory,
    Reshard,
    Sessions,
    Offsets,
    Growth,
    Deletion,
    Configs,
    DeleteRecords,
    Retention,
    Compaction,
    Moves,
    // Trouble.
    Kill,
    PowerLoss,
    CleanStop,
    FailedStart,
    SlowDisk,
    Resets,
    SmallPieces,
    Cuts,
    ClockJumps,
    FullDisk,
    DiskErrors,
    HalfClosed,
    Stalls,
    Starvation,
    SlowNode,
    Swarm,
    Rot,
}

impl Feature {
    pub const ALL: [Feature; 34] = [
        Feature::Idempotent,
        Feature::NoAcks,
        Feature::Compressed,
        Feature::Pipelined,
        Feature::LargeRecords,
        Feature::Written,
        Feature::Memory,
        Feature::Reshard,
        Feature::Sessions,
        Feature::Offsets,
        Feature::Growth,
        Feature::Deletion,
        Feature::Configs,
        Feature::DeleteRecords,
        Feature::Retention,
        Feature::Compaction,
        Feature::Moves,
        Feature::Kill,
        Feature::PowerLoss,
        Feature::CleanStop,
        Feature::FailedStart,
        Feature::SlowDisk,
        Feature::Resets,
        Feature::SmallPieces,
        Feature::Cuts,
        Feature::ClockJumps,
        Feature::FullDisk,
        Feature::DiskErrors,
        Feature::HalfClosed,
        Feature::Stalls,
        Feature::Starvation,
        Feature::SlowNode,
        Feature::Swarm,
        Feature::Rot,
    ];
}

/// Something that there may be less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Rounds,
    RoundMs,
    Topics,
    Producers,
    Fetchers,
    Shards,
}

/// A topic as it is made, and made again.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    pub name: &'static str,
    pub partitions: i32,
    pub class: Durability,
    pub segment_bytes: u32,
    is_compacted: bool,
    retention_bytes: Option<u64>,
    retention_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub on: BTreeSet<Feature>,
    /// Lives of the broker before all come to rest.
    pub rounds: u64,
    /// Of a round, in milliseconds of the world.
    pub round_ms: u64,
    pub topics: Vec<TopicPlan>,
    pub producers: u64,
    pub fetchers: u64,
    pub shards_max: u64,
    /// The device of each folder.
    pub folders: Vec<u64>,
    /// What goes wrong by itself with [`Feature::Swarm`].
    swarm: Faults,
    /// And with [`Feature::DiskErrors`].
    disk_errors: Errors,
}

/// For how long at most a disk has no room by itself, or cannot read what it has failed to read.
pub const DISK_TROUBLE_MAX: Duration = Duration::from_millis(20);

/// The largest `retention.bytes` that there is.
pub const RETENTION_BYTES_MAX: u64 = 20_000;
/// The longest `retention.ms` that there is, about as long as a world.
pub const RETENTION_MS_MAX: i64 = 80;

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

impl Drawn for Plan {
    type Feature = Feature;
    type Limit = Limit;

    const TESTS: &'static str = "data::";
    const FEATURES: &'static [Feature] = &Feature::ALL;
    const LIMITS: &'static [(Limit, &'static str)] = &[
        (Limit::Rounds, "rounds"),
        (Limit::RoundMs, "round_ms"),
        (Limit::Topics, "topics"),
        (Limit::Producers, "producers"),
        (Limit::Fetchers, "fetchers"),
        (Limit::Shards, "shards"),
    ];

    fn draw(seed: u64) -> Plan {
        // Not the randomness that the world begins with.
        let mut random = Random::from_seed(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
        // Some worlds have nearly everything, others little.
        let density = [0.2, 0.5, 0.8][random.below(3) as usize];
        let drawn = Feature::ALL.map(|feature| random.chance(density).then_some(feature));
        let on = drawn.into_iter().flatten().collect();
        let mut topics = Vec::new();
        for name in &NAMES[..1 + random.below(3) as usize] {
            topics.push(TopicPlan {
                name,
                partitions: 1 + random.below(3) as i32,
                class: [
                    Durability::Sync,
                    Durability::Sync,
                    Durability::Written,
                    Durability::Memory,
                ][random.below(4) as usize],
                segment_bytes: 3_000 + random.below(20_000) as u32,
                is_compacted: random.below(2) == 0,
                retention_bytes: (random.below(2) == 0).then(|| random.below(RETENTION_BYTES_MAX)),
                retention_ms: (random.below(3) == 0)
                    .then(|| 1 + random.below(RETENTION_MS_MAX as u64) as i64),
            });
        }
        Plan {
            seed,
            on,
            rounds: 1 + random.below(3),
            round_ms: 5 + random.below(60),
            topics,
            producers: 1 + random.below(3),
            fetchers: 1 + random.below(2),
            shards_max: 1 + random.below(3),
            folders: vec![0, random.below(2), random.below(3)],
            swarm: Faults {
                // A world of data lasts for tens of milliseconds.
                network_stall_max: Duration::from_millis(1 + random.below(20)),
                starvation_max: Duration::from_millis(1 + random.below(20)),
                disk_full_lasts_max: DISK_TROUBLE_MAX,
                ..Faults::swarm(&mut random)
            },
            disk_errors: Errors::draw(&mut random),
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn on(&self) -> &BTreeSet<Feature> {
        &self.on
    }

    fn switch_off(&mut self, feature: Feature) {
        self.on.remove(&feature);
    }

    fn get(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Rounds => self.rounds,
            Limit::RoundMs => self.round_ms,
            Limit::Topics => self.topics.len() as u64,
            Limit::Producers => self.producers,
            Limit::Fetchers => self.fetchers,
            Limit::Shards => self.shards_max,
        }
    }

    fn set(&mut self, limit: Limit, to: u64) {
        match limit {
            Limit::Rounds => self.rounds = to,
            Limit::RoundMs => self.round_ms = to,
            Limit::Topics => self.topics.truncate(to as usize),
            Limit::Producers => self.producers = to,
            Limit::Fetchers => self.fetchers = to,
            Limit::Shards => self.shards_max = to,
        }
    }
}

impl Plan {
    pub fn has(&self, feature: Feature) -> bool {
        self.on.contains(&feature)
    }

    /// Whether the disk may fail, or be full.
    pub fn has_bad_disk(&self) -> bool {
        self.has(Feature::FullDisk) || self.has(Feature::DiskErrors)
    }

    /// Whether a request may take effect although the one who sent it has given it up.
    pub fn has_late_requests(&self) -> bool {
        let causes = [
            Feature::Cuts,
            Feature::Resets,
            Feature::HalfClosed,
            Feature::Stalls,
            Feature::Starvation,
            Feature::SlowNode,
            Feature::Swarm,
        ];
        causes.into_iter().any(|cause| self.has(cause))
    }

    /// Whether clients lose no connection to a broker as long as it runs, and get each reply in time.
    pub fn keeps_connections(&self) -> bool {
        // Who wants no reply learns that a topic has gone, or takes no records without keys, from the end of the connection.
        let refuses = self.has(Feature::Deletion) || self.changes_policy();
        let are_closed = self.has(Feature::NoAcks) && refuses;
        !are_closed && !self.has_late_requests() && !self.has_bad_disk()
    }

    /// Whether topics go from deletion to compaction and back.
    pub fn changes_policy(&self) -> bool {
        self.has(Feature::Configs) && self.has(Feature::Compaction)
    }

    pub fn is_compacted(&self, topic: usize) -> bool {
        self.has(Feature::Compaction) && self.topics[topic].is_compacted
    }

    /// Whether what is too much or too old is deleted.
    fn is_retained(&self, topic: usize) -> bool {
        self.has(Feature::Retention) && !self.is_compacted(topic)
    }

    pub fn retention_bytes(&self, topic: usize) -> Option<u64> {
        let bytes = self.topics[topic].retention_bytes;
        bytes.filter(|_| self.is_retained(topic))
    }

    pub fn retention_ms(&self, topic: usize) -> Option<i64> {
        let ms = self.topics[topic].retention_ms;
        ms.filter(|_| self.is_retained(topic))
    }

    /// What goes by itself from a topic as it is made.
    pub fn cleanup(&self, topic: usize) -> Cleanup {
        Cleanup {
            is_compacted: self.is_compacted(topic),
            is_deleted: !self.is_compacted(topic),
            retention_bytes: self.retention_bytes(topic),
            retention_ms: self.retention_ms(topic),
            is_unsure: false,
        }
    }

    /// Whether there are records that are deleted for their age.
    pub fn ages(&self) -> bool {
        (0..self.topics.len()).any(|topic| self.retention_ms(topic).is_some())
    }

    /// What goes wrong by itself while clients are at work.
    pub fn faults(&self) -> Faults {
        let mut faults = self.sound();
        if self.has(Feature::FullDisk) && self.has(Feature::Swarm) {
            faults.disk_full = self.swarm.disk_full;
        }
        match self.has(Feature::DiskErrors) {
            true => self.disk_errors.add(faults, DISK_TROUBLE_MAX),
            false => faults,
        }
    }

    /// The same, but with a disk that does not fail.
    pub fn sound(&self) -> Faults {
        let mut faults = match self.has(Feature::Swarm) {
            true => Faults {
                disk_full: 0.0,
                ..self.swarm.clone()
            },
            false => Faults::none(),
        };
        if self.has(Feature::SlowDisk) {
            faults.disk_latency = (Duration::from_micros(200), Duration::from_millis(4));
            faults.disk_stall = 0.01;
        }
        if self.has(Feature::SmallPieces) {
            faults.network_piece_max = 300;
            faults.network_window = (1 << 10, 16 << 10);
        }
        if self.has(Feature::Resets) {
            faults.network_reset = 0.002;
            faults.network_resets_max = 20;
        }
        faults
    }

    /// The class a topic is made with.
    pub fn class(&self, topic: usize) -> Durability {
        match self.topics[topic].class {
            Durability::Written if !self.has(Feature::Written) => Durability::Sync,
            Durability::Memory if !self.has(Feature::Memory) => Durability::Sync,
            class => class,
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds of {} ms, {} producers, {} fetchers, up to {} shards, on: {}",
            self.rounds,
            self.round_ms,
            self.producers,
            self.fetchers,
            self.shards_max,
            self.names()
        )?;
        write!(f, "\n  {:?}", self.faults())?;
        for (at, topic) in self.topics.iter().enumerate() {
            let class = self.class(at);
            let TopicPlan {
                name,
                partitions,
                segment_bytes,
                ..
            } = topic;
            write!(
                f,
                "\n  {name}: {partitions} partitions, {class:?}, segments of {segment_bytes} bytes, {}, {:?} bytes, {:?} ms",
                if self.is_compacted(at) {
                    "compacted"
                } else {
                    "not compacted"
                },
                self.retention_bytes(at),
                self.retention_ms(at),
            )?;
        }
        Ok(())
    }
}
