//! Which seeds a test runs, and on how many threads.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::io::task::panic_message;

/// The one seed to run, to see a failure again.
const ONE: &str = "CORELOG_SEED";
/// How many seeds to run, in place of what a test thinks enough.
const HOW_MANY: &str = "CORELOG_SEEDS";
const THREADS: &str = "CORELOG_THREADS";

/// The seeds from zero to `count`, unless the environment says otherwise:
/// `CORELOG_SEED=17` runs that one, `CORELOG_SEEDS=100000` that many.
pub fn seeds(count: u64) -> Range<u64> {
    chosen(count, |name| std::env::var(name).ok())
}

/// Runs something for each seed, on all cores. Panics as the first of them that does, once those that have begun are at
/// their end.
pub fn on_all_cores(seeds: Range<u64>, run: impl Fn(u64) + Sync) {
    let failure: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);
    let lock = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    on_threads(
        seeds,
        threads(),
        || lock().is_none(),
        |seed| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
                lock().get_or_insert(panic);
            }
        },
    );
    if let Some(panic) = lock().take() {
        resume_unwind(panic);
    }
}

/// On how many threads seeds should run: `CORELOG_THREADS`, or as many as there are cores.
pub fn threads() -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    number(THREADS, &|name| std::env::var(name).ok()).map_or_else(cores, |count| count as usize)
}

/// Runs a simulation of one seed after the other on several threads, as long as `goes_on` says so: worlds know nothing
/// of each other. Returns the seeds that have failed, in order, and what their panics said.
pub fn on_threads(
    seeds: Range<u64>,
    threads: usize,
    goes_on: impl Fn() -> bool + Sync,
    simulate: impl Fn(u64) + Sync,
) -> Vec<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let run = || {
        let mut failed = Vec::new();
        while goes_on() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
                let panic: &(dyn Any + Send) = panic.as_ref();
                failed.push((seed, panic_message(panic).to_owned()));
            }
        }
        failed
    };
    let mut failed: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(run)).collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended
            .flat_map(|failed| failed.expect("panics are caught"))
            .collect()
    });
    failed.sort();
    failed
}

fn number(name: &str, variable: &impl Fn(&str) -> Option<String>) -> Option<u64> {
    let value = variable(name)?;
    match value.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{name}={value}: {error}"),
    }
}

fn chosen(count: u64, variable: impl Fn(&str) -> Option<String>) -> Range<u64> {
    match (number(ONE, &variable), number(HOW_MANY, &variable)) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses() {
        let set = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        assert_eq!(chosen(10, |_| None), 0..10);
        assert_eq!(chosen(10, set(ONE, "17")), 17..18);
        assert_eq!(chosen(10, set(HOW_MANY, "500")), 0..500);
    }

    #[test]
    fn each_seed_is_run_once() {
        let run = Mutex::new(Vec::new());
        on_all_cores(3..50, |seed| run.lock().unwrap().push(seed));
        let mut run = run.into_inner().unwrap();
        run.sort_unstable();
        assert!(run.into_iter().eq(3..50));
    }

    #[test]
    #[should_panic(expected = "the seed 7")]
    fn a_seed_that_fails_ends_them_all() {
        on_all_cores(0..u64::MAX, |seed| assert!(seed != 7, "the seed 7"));
    }

    #[test]
    fn each_seed_runs_once_whatever_the_threads_and_failures() {
        for threads in [1, 2, 5] {
            let ran = std::sync::Mutex::new(Vec::new());
            let simulate = |seed| {
                ran.lock().expect("not poisoned").push(seed);
                if seed % 10 == 3 {
                    std::panic::resume_unwind(Box::new(format!("{seed} fails")));
                }
            };
            let failed = on_threads(0..25, threads, || true, simulate);
            let mut ran = ran.into_inner().expect("not poisoned");
            ran.sort_unstable();
            assert_eq!(ran, (0..25).collect::<Vec<_>>());
            let expected = [3, 13, 23].map(|seed| (seed, format!("{seed} fails")));
            assert_eq!(failed, expected);
        }
        let none = on_threads(0..5, 2, || false, |_| panic!("not run"));
        assert!(none.is_empty());
    }

    #[test]
    #[should_panic(expected = "CORELOG_SEED=x")]
    fn nonsense_is_refused() {
        chosen(10, |_| Some("x".to_owned()));
    }
}
