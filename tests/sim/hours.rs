//! The simulations of the whole broker for as long as one likes, on all cores, and what they have come to.

use corelog_shards::io::sim::{Fault, Landmark, Simulation, coverage_of, for_hours};

use crate::{data, groups};

/// All of them, with the names of their tests.
const SIMULATIONS: &[(&str, Simulation)] = &[
    ("data::nothing", data::simulate),
    ("groups::groups_keep", groups::simulate),
];

/// `CORELOG_HOURS=8 cargo test --release --test sim -- --ignored --nocapture hours`: see [`for_hours`].
#[test]
#[ignore = "runs for as long as CORELOG_HOURS or CORELOG_SEEDS says"]
fn simulations_for_hours() {
    for_hours("corelog", SIMULATIONS, |text| println!("{text}\n"));
}

/// States that few worlds come to, or none: clients here send little at a time, have few sessions, take their replies, and
/// are seldom fenced.
const RARE: &[Landmark] = &[
    Landmark::CoordinatorSlow,
    Landmark::CreditsUsedUp,
    Landmark::FetchSessionEvicted,
    Landmark::FileCutOff,
    Landmark::FolderFailed,
    Landmark::GroupBehindTear,
    Landmark::GroupTorn,
    Landmark::IndexAstray,
    Landmark::JournalGaveUp,
    Landmark::MemberFenced,
    Landmark::PipelineFull,
    Landmark::RemovedSegmentsGivenUp,
    Landmark::RepliesUntaken,
    Landmark::RequestMemoryShort,
    Landmark::SwapFinishedAtStart,
];

/// What worlds of groups have in them; syncs that fail are in few of them.
const FAULTS_OF_GROUPS: &[Fault] = &[
    Fault::Kill,
    Fault::PowerLoss,
    Fault::WriteInterrupted,
    Fault::WriteUnsynced,
    Fault::PageTorn,
    Fault::NameLost,
    Fault::ReadError,
    Fault::WriteError,
    Fault::WritePartly,
    Fault::DiskFull,
    Fault::DiskStall,
    Fault::ClockJump,
    Fault::ConnectionReset,
    Fault::Cut,
    Fault::HalfClosed,
    Fault::Stalled,
    Fault::Starved,
    Fault::Slowed,
];

#[test]
fn some_seeds_of_groups_come_to_every_fault_of_theirs() {
    let coverage = coverage_of(|| (0..60).for_each(groups::simulate));
    println!("{coverage}");
    let is_missed = |fault: &&Fault| coverage.fault(**fault).times == 0;
    let missed: Vec<_> = FAULTS_OF_GROUPS.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "nobody has done {missed:?}");
}

#[test]
fn some_seeds_come_to_every_fault_and_nearly_every_state() {
    let coverage = coverage_of(|| {
        (0..300).for_each(data::simulate);
        (0..20).for_each(groups::simulate);
    });
    println!("{coverage}");
    let is_missed = |fault: &&Fault| coverage.fault(**fault).times == 0;
    let missed: Vec<_> = Fault::ALL.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "nobody has done {missed:?}");
    let is_missed =
        |landmark: &&Landmark| coverage.landmark(**landmark).times == 0 && !RARE.contains(landmark);
    let missed: Vec<_> = Landmark::ALL.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "nothing has come to {missed:?}");
}
