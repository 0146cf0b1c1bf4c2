//! Simulations for as long as one likes, on all cores, and what they have come to.

use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::coverage::coverage;
use super::seeds::{on_threads, seeds, threads};

/// A simulation of one seed.
pub type Simulation = fn(u64);

/// How long they go on.
const HOURS: &str = "CORELOG_HOURS";
/// Time between two reports.
const REPORT: Duration = Duration::from_secs(600);

/// Runs each seed in each of these simulations, which go by the names of their tests, from zero on, for as long as
/// `CORELOG_HOURS` says, on as many threads as `CORELOG_THREADS` does (all cores otherwise). With `CORELOG_SEEDS=100000`
/// it ends after so many, whatever the time; with neither after one. `report` is given the coverage every ten minutes
/// and at the end, and what has failed as soon as it has.
///
/// `package` is what cargo is to test for a seed again. Panics in the end if a seed has failed.
pub fn for_hours(
    package: &str,
    simulations: &[(&'static str, Simulation)],
    report: impl Fn(&str) + Sync,
) {
    let hours = std::env::var(HOURS).map(|hours| hours.parse::<f64>());
    let hours = match hours {
        Ok(hours) => hours.unwrap_or_else(|error| panic!("{HOURS}: {error}")),
        Err(_) => f64::MAX,
    };
    let started = Instant::now();
    let is_over = || started.elapsed().as_secs_f64() > hours.min(1e9) * 3600.0;
    let kinds = simulations.len() as u64;
    let seeds = seeds(match hours < f64::MAX {
        true => u64::MAX / kinds,
        false => 1,
    });
    let again = |run: u64| {
        let (name, _) = simulations[(run % kinds) as usize];
        let seed = run / kinds;
        format!("CORELOG_SEED={seed} cargo test -p {package} --test sim {name}")
    };
    let reported = AtomicU64::new(0);
    let failed = on_threads(
        seeds.start * kinds..seeds.end * kinds,
        threads(),
        || !is_over(),
        |run| {
            let (_, simulate) = simulations[(run % kinds) as usize];
            let reports = started.elapsed().as_secs() / REPORT.as_secs();
            if reported.fetch_max(reports, Ordering::Relaxed) < reports {
                report(&coverage().to_string());
            }
            if let Err(panic) = catch_unwind(|| simulate(run / kinds)) {
                report(&format!("{} fails", again(run)));
                resume_unwind(panic);
            }
        },
    );
    report(&coverage().to_string());
    let failed = failed
        .into_iter()
        .map(|(run, message)| format!("{}: {message}", again(run)));
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
