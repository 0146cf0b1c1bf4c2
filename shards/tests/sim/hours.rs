//! All simulations for as long as one likes, on all cores, and what they have come to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corelog_shards::io::sim::{Landmark, coverage, coverage_of, on_threads, seeds, threads};
use corelog_shards::journal::Durability;

use crate::model::all_classes;
use crate::{
    compaction, crashes, failed_journal, folders, full_disk, journal_alone, mesh, moves, recreated,
    rotten_journal, rotten_segments,
};

/// A simulation of one seed.
pub type Simulation = fn(u64);

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

/// Time between two reports.
const REPORT: Duration = Duration::from_secs(600);

/// `CORELOG_HOURS=8 cargo test --release -p corelog-shards --test sim -- --ignored --nocapture hours`: from seed zero
/// on, each seed in every simulation, on as many threads as `CORELOG_THREADS` says (all cores otherwise). With
/// `CORELOG_SEEDS=100000` it ends after so many, whatever the time.
#[test]
#[ignore = "runs for as long as CORELOG_HOURS or CORELOG_SEEDS says"]
fn simulations_for_hours() {
    let hours = std::env::var("CORELOG_HOURS").map(|hours| hours.parse::<f64>());
    let hours = match hours {
        Ok(hours) => hours.expect("CORELOG_HOURS is a number"),
        Err(_) => f64::MAX,
    };
    let started = Instant::now();
    let is_over = || started.elapsed().as_secs_f64() > hours.min(1e9) * 3600.0;
    let count = match hours < f64::MAX {
        true => u64::MAX / SIMULATIONS.len() as u64,
        false => 1,
    };
    let seeds = seeds(count);
    let kinds = SIMULATIONS.len() as u64;
    let runs = seeds.start * kinds..seeds.end * kinds;
    let reported = AtomicU64::new(0);
    let failed = on_threads(
        runs.clone(),
        threads(),
        || !is_over(),
        |run| {
            let (name, simulate) = SIMULATIONS[(run % kinds) as usize];
            let reports = started.elapsed().as_secs() / REPORT.as_secs();
            if reported.fetch_max(reports, Ordering::Relaxed) < reports {
                println!("{}\n", coverage());
            }
            let result = std::panic::catch_unwind(|| simulate(run / kinds));
            if let Err(panic) = result {
                let seed = run / kinds;
                println!(
                    "CORELOG_SEED={seed} cargo test -p corelog-shards --test sim {name} fails"
                );
                std::panic::resume_unwind(panic);
            }
        },
    );
    println!("{}", coverage());
    let failed = failed.into_iter().map(|(run, message)| {
        let name = SIMULATIONS[(run % kinds) as usize].0;
        format!("{name}, CORELOG_SEED={}: {message}", run / kinds)
    });
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// States that no simulation comes to: clients append one batch at a time, and send one again soon or never.
const OUT_OF_REACH: &[Landmark] = &[Landmark::JournalsJoined, Landmark::DuplicateKnown];

#[test]
fn a_few_seeds_come_to_every_other_state() {
    let coverage = coverage_of(|| {
        for (_, simulate) in SIMULATIONS {
            (0..8).for_each(simulate);
        }
    });
    println!("{coverage}");
    let is_missed = |landmark: &&Landmark| {
        coverage.landmark(**landmark).times == 0 && !OUT_OF_REACH.contains(landmark)
    };
    let missed: Vec<_> = Landmark::ALL.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "nothing has come to {missed:?}");
}
