//! All simulations for as long as one likes, on all cores, and what they have come to.

use corelog_shards::io::sim::{Landmark, Simulation, coverage_of, for_hours};
use corelog_shards::journal::Durability;

use crate::model::all_classes;
use crate::{
    compaction, crashes, failed_journal, folders, full_disk, journal_alone, mesh, moves, recreated,
    rotten_journal, rotten_segments,
};

/// All of them, with the names of their tests.
pub const SIMULATIONS: &[(&str, Simulation)] = &[
    ("crashes::nothing_acknowledged", all_classes_crash),
    ("crashes::groups_that_were", written_groups_tear),
    ("crashes::what_earlier_runs", crashes::simulate_short_runs),
    ("crashes::partitions_that", crashes::simulate_handovers),
    ("compaction::compacted_logs", compacting),
    ("failed_journal::a_failed_journal", failing),
    (
        "failed_journal::what_a_failed",
        failed_journal::simulate_failed_segments,
    ),
    ("folders::folders_that", folders::simulate_absences),
    ("folders::partitions_keep", in_folders),
    ("full_disk::a_full_disk", full_disk::simulate),
    ("journal_alone::a_journal_holds", journals),
    ("journal_alone::groups_behind", stale_journals),
    ("mesh::what_is_too_much", mesh::simulate),
    ("moves::partitions_that_move", moving),
    ("recreated", recreated::simulate),
    ("rotten_journal", rotting_journal),
    ("rotten_segments", rotting_segments),
];

pub fn all_classes_crash(seed: u64) {
    crashes::simulate(seed, all_classes);
}

pub fn written_groups_tear(seed: u64) {
    crashes::simulate(seed, |_| Durability::Written);
}

pub fn compacting(seed: u64) {
    compaction::simulate(seed, false);
}

pub fn failing(seed: u64) {
    failed_journal::simulate(seed);
}

pub fn in_folders(seed: u64) {
    folders::simulate(seed);
}

pub fn journals(seed: u64) {
    journal_alone::simulate(seed);
}

pub fn stale_journals(seed: u64) {
    journal_alone::simulate_stale(seed);
}

pub fn moving(seed: u64) {
    moves::simulate(seed);
}

pub fn rotting_journal(seed: u64) {
    rotten_journal::simulate(seed);
}

pub fn rotting_segments(seed: u64) {
    rotten_segments::simulate(seed);
}

/// `CORELOG_HOURS=8 cargo test --release -p corelog-shards --test sim -- --ignored --nocapture hours`: see [`for_hours`].
#[test]
#[ignore = "runs for as long as CORELOG_HOURS or CORELOG_SEEDS says"]
fn simulations_for_hours() {
    for_hours("corelog-shards", SIMULATIONS, |text| println!("{text}\n"));
}

/// States that no simulation comes to, since clients append one batch at a time, and send one again soon or never; or
/// not in a few seeds, since a log start has to rot in the journal and in no checkpoint behind it.
const OUT_OF_REACH: &[Landmark] = &[
    Landmark::JournalsJoined,
    Landmark::DuplicateKnown,
    Landmark::RemovedSegmentsGivenUp,
];

#[test]
fn a_few_seeds_come_to_every_other_state() {
    let coverage = coverage_of(|| {
        for (_, simulate) in SIMULATIONS {
            (0..8).for_each(simulate);
        }
    });
    println!("{coverage}");
    let is_missed = |landmark: &&Landmark| {
        coverage.landmark(**landmark).times == 0
            && !landmark.is_of_broker()
            && !OUT_OF_REACH.contains(landmark)
    };
    let missed: Vec<_> = Landmark::ALL.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "nothing has come to {missed:?}");
}
