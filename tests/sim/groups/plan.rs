//! What a world of groups is like: which groups there are and what their members do, what happens to them and to the
//! broker, and how much of it.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use corelog_shards::io::Random;
use corelog_shards::io::sim::Faults;

use super::member::{Protocol, Wanted};
use super::topics::TOPICS;
use crate::disk::Errors;
use crate::plan::Drawn;

/// Something that a seed may switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    // Work: the groups there are.
    Eager,
    Cooperative,
    Modern,
    /// Members of both protocols, so that the group moves between them.
    Mixed,
    // What members do.
    Static,
    /// Several processes with one `group.instance.id`.
    Rivals,
    Patterns,
    /// They stop in order, and come back.
    Stops,
    /// They are silent for longer than their session.
    Hangs,
    /// They commit for other generations.
    StaleCommits,
    /// They take their time to let go of partitions.
    LateRevocations,
    // What others do.
    /// Commits to a group without members.
    Simple,
    OffsetDeletion,
    Growth,
    TopicDeletion,
    /// Offsets are forgotten after a minute.
    Retention,
    // Trouble of members.
    MemberKills,
    // Trouble of connections.
    Cuts,
    Resets,
    HalfClosed,
    Stalls,
    SmallPieces,
    // Trouble of the broker.
    Kill,
    PowerLoss,
    CleanStop,
    FailedStart,
    Reshard,
    ClockJumps,
    SlowDisk,
    SlowNode,
    Starvation,
    /// Its disk has no room for a while.
    FullDisk,
    /// Reads, writes and syncs of its disk fail. It ends when it can write no more, and is started again.
    DiskErrors,
    /// All kinds, each by itself or not at all, and as often as the seed says.
    Swarm,
}

impl Feature {
    const ALL: [Feature; 34] = [
        Feature::Eager,
        Feature::Cooperative,
        Feature::Modern,
        Feature::Mixed,
        Feature::Static,
        Feature::Rivals,
        Feature::Patterns,
        Feature::Stops,
        Feature::Hangs,
        Feature::StaleCommits,
        Feature::LateRevocations,
        Feature::Simple,
        Feature::OffsetDeletion,
        Feature::Growth,
        Feature::TopicDeletion,
        Feature::Retention,
        Feature::MemberKills,
        Feature::Cuts,
        Feature::Resets,
        Feature::HalfClosed,
        Feature::Stalls,
        Feature::SmallPieces,
        Feature::Kill,
        Feature::PowerLoss,
        Feature::CleanStop,
        Feature::FailedStart,
        Feature::Reshard,
        Feature::ClockJumps,
        Feature::SlowDisk,
        Feature::SlowNode,
        Feature::Starvation,
        Feature::FullDisk,
        Feature::DiskErrors,
        Feature::Swarm,
    ];
}

/// Something that there may be less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Rounds,
    Events,
    Members,
    Shards,
}

/// For how long at most the disk cannot read what it has failed to read.
pub const UNREADABLE_MAX: Duration = Duration::from_secs(2);

/// What kind of a group it is, which its name says.
const KINDS: [(Feature, &str); 4] = [
    (Feature::Eager, "eager"),
    (Feature::Cooperative, "cooperative"),
    (Feature::Modern, "modern"),
    (Feature::Mixed, "mixed"),
];

/// Whether a group has members of the classic protocol, so that its offsets do not age before the last of them has gone.
pub fn is_kept_while_in_use(group: &str) -> bool {
    let kind = KINDS.iter().find(|(_, name)| *name == group);
    kind.is_some_and(|(kind, _)| *kind != Feature::Modern)
}

#[derive(Clone, Debug)]
pub struct MemberPlan {
    /// At first.
    pub protocol: Protocol,
    pub is_static: bool,
    pub wanted: Wanted,
    /// When it comes, from the beginning of the world on.
    pub late_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    on: BTreeSet<Feature>,
    /// Lives of the broker before all come to rest.
    pub rounds: u64,
    /// Of a round at the most, each within seconds of the one before.
    pub events: u64,
    pub shards_max: u64,
    /// By kind.
    groups: [Vec<MemberPlan>; KINDS.len()],
    /// Of each group at the most.
    members_max: u64,
    /// Of the topic of offsets.
    pub offsets_partitions: u64,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_delay_ms: u64,
    /// What goes wrong by itself with [`Feature::Swarm`].
    swarm: Faults,
    /// And with [`Feature::DiskErrors`].
    disk_errors: Errors,
}

impl Drawn for Plan {
    type Feature = Feature;
    type Limit = Limit;

    const TESTS: &'static str = "groups::";
    const FEATURES: &'static [Feature] = &Feature::ALL;
    const LIMITS: &'static [(Limit, &'static str)] = &[
        (Limit::Rounds, "rounds"),
        (Limit::Events, "events"),
        (Limit::Members, "members"),
        (Limit::Shards, "shards"),
    ];

    fn draw(seed: u64) -> Plan {
        // Not the randomness that the world begins with, nor that of plans of other kinds.
        let mut random = Random::from_seed(seed.rotate_left(32) ^ 0xc2b2_ae3d_27d4_eb4f);
        // Some worlds have nearly everything, others little.
        let density = [0.3, 0.6, 0.9][random.below(3) as usize];
        let drawn = Feature::ALL.map(|feature| random.chance(density).then_some(feature));
        let mut on: BTreeSet<Feature> = drawn.into_iter().flatten().collect();
        // One or two groups.
        on.retain(|feature| KINDS.iter().all(|(kind, _)| kind != feature));
        on.extend([0; 2].map(|_| KINDS[random.below(KINDS.len() as u64) as usize].0));
        let groups = KINDS.map(|(_, kind)| {
            let count = 2 + random.below(3);
            let members = (0..count).map(|_| MemberPlan::draw(&mut random, kind));
            members.collect()
        });
        Plan {
            seed,
            on,
            rounds: 1 + random.below(3),
            events: 5 + random.below(20),
            shards_max: 1 + random.below(3),
            groups,
            members_max: 4,
            offsets_partitions: 1 + random.below(4),
            initial_delay_ms: [0, 500, 3_000][random.below(3) as usize],
            swarm: Faults {
                // Sessions last for seconds.
                network_stall_max: Duration::from_millis(1 + random.below(5_000)),
                starvation_max: Duration::from_millis(1 + random.below(300)),
                // The model knows when there is no room.
                disk_full: 0.0,
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
            Limit::Events => self.events,
            Limit::Members => self.members_max,
            Limit::Shards => self.shards_max,
        }
    }

    fn set(&mut self, limit: Limit, to: u64) {
        match limit {
            Limit::Rounds => self.rounds = to,
            Limit::Events => self.events = to,
            Limit::Members => self.members_max = to,
            Limit::Shards => self.shards_max = to,
        }
    }
}

impl Plan {
    pub fn has(&self, feature: Feature) -> bool {
        self.on.contains(&feature)
    }

    /// The groups that have members, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&'static str, &[MemberPlan])> {
        let all = KINDS.iter().zip(&self.groups);
        let on = all.filter(|((kind, _), _)| self.has(*kind));
        on.map(|((_, name), members)| (*name, self.of_them(members)))
    }

    fn of_them<'a>(&self, members: &'a [MemberPlan]) -> &'a [MemberPlan] {
        &members[..members.len().min(self.members_max as usize)]
    }

    pub fn is_static(&self, member: &MemberPlan) -> bool {
        member.is_static && self.has(Feature::Static)
    }

    pub fn wanted(&self, member: &MemberPlan) -> Wanted {
        match &member.wanted {
            Wanted::Pattern if !self.has(Feature::Patterns) => Wanted::Names(TOPICS.to_vec()),
            wanted => wanted.clone(),
        }
    }

    /// Whether a request may take effect although the one who sent it has given it up.
    pub fn has_late_requests(&self) -> bool {
        let causes = [
            Feature::Resets,
            Feature::HalfClosed,
            Feature::Stalls,
            Feature::SlowNode,
            Feature::Starvation,
            Feature::FullDisk,
            Feature::DiskErrors,
            Feature::Swarm,
        ];
        causes.into_iter().any(|cause| self.has(cause))
    }

    /// Whether the disk may fail, or be full.
    pub fn has_bad_disk(&self) -> bool {
        self.has(Feature::FullDisk) || self.has(Feature::DiskErrors)
    }

    /// What goes wrong by itself, as long as nobody waits for calm.
    pub fn faults(&self) -> Faults {
        match self.has(Feature::DiskErrors) {
            true => self
                .disk_errors
                .add(self.faults_of_starts(), UNREADABLE_MAX),
            false => self.faults_of_starts(),
        }
    }

    /// The same while the broker starts: with a disk that does not fail.
    pub fn faults_of_starts(&self) -> Faults {
        match self.has(Feature::Swarm) {
            true => self.with_habits(self.swarm.clone()),
            false => self.sound(),
        }
    }

    /// What the disk and the network are like all the time.
    pub fn sound(&self) -> Faults {
        self.with_habits(Faults::none())
    }

    fn with_habits(&self, mut faults: Faults) -> Faults {
        if self.has(Feature::SlowDisk) {
            // Loads and writes take their time.
            faults.disk_latency = (Duration::from_millis(1), Duration::from_millis(40));
        }
        if self.has(Feature::SmallPieces) {
            faults.network_piece_max = 100;
        }
        faults
    }

    /// How old offsets are when they are forgotten.
    pub fn retention_minutes(&self) -> u64 {
        match self.has(Feature::Retention) {
            true => 1,
            false => 10_080,
        }
    }
}

impl MemberPlan {
    fn draw(random: &mut Random, kind: &str) -> MemberPlan {
        MemberPlan {
            protocol: protocol(kind, |bound| random.below(bound)),
            is_static: random.below(4) == 0,
            wanted: match random.below(4) {
                0 => Wanted::Pattern,
                1 => Wanted::Names(vec![TOPICS[0], TOPICS[1]]),
                _ => Wanted::Names(TOPICS.to_vec()),
            },
            late_ms: random.below(10_000),
        }
    }
}

/// One that members of such a group may speak. `below` draws a number.
pub fn protocol(kind: &str, mut below: impl FnMut(u64) -> u64) -> Protocol {
    let assignor = ["uniform", "range"][below(2) as usize];
    match kind {
        "eager" => Protocol::Eager,
        "cooperative" => Protocol::Cooperative,
        "modern" => Protocol::Consumer(assignor),
        _ if below(2) == 0 => Protocol::Consumer(assignor),
        _ => Protocol::Cooperative,
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds of up to {} events, up to {} shards, {} partitions of offsets, {} ms to the first rebalance, on: {}",
            self.rounds,
            self.events,
            self.shards_max,
            self.offsets_partitions,
            self.initial_delay_ms,
            self.names()
        )?;
        if self.has(Feature::Swarm) {
            write!(f, "\n  {:?}", self.swarm)?;
        }
        if self.has(Feature::DiskErrors) {
            write!(f, "\n  {:?}", self.disk_errors)?;
        }
        for (name, members) in self.groups() {
            write!(f, "\n  {name}:")?;
            for member in members {
                let (protocol, wanted) = (member.protocol, self.wanted(member));
                let place = if self.is_static(member) {
                    "static"
                } else {
                    "dynamic"
                };
                let late_ms = member.late_ms;
                write!(
                    f,
                    "\n    {protocol:?}, {place}, {wanted:?}, comes after {late_ms} ms"
                )?;
            }
        }
        Ok(())
    }
}
