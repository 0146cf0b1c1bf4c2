//! Which seeds a test runs, and where.

use std::any::Any;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The one seed to run, to see a failure again.
const ONE: &str = "CORELOG_SEED";
/// How many seeds to run, in place of what a test thinks enough.
const HOW_MANY: &str = "CORELOG_SEEDS";

/// The seeds from zero to `count`, unless the environment says otherwise:
/// `CORELOG_SEED=17` runs that one, `CORELOG_SEEDS=100000` that many.
pub fn seeds(count: u64) -> Range<u64> {
    chosen(count, |name| std::env::var(name).ok())
}

/// Runs something for each seed, on all cores: worlds know nothing of each other. Panics as the first of them that
/// does, once those that have begun are at their end.
pub fn on_all_cores(seeds: Range<u64>, run: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let failure: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
                next.store(seeds.end, Ordering::Relaxed);
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(panic);
                return;
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    thread::scope(|scope| {
        for _ in 1..cores.min(seeds.end.saturating_sub(seeds.start)) {
            scope.spawn(work);
        }
        work();
    });
    let failure = failure.into_inner();
    if let Some(panic) = failure.unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(panic);
    }
}

fn chosen(count: u64, variable: impl Fn(&str) -> Option<String>) -> Range<u64> {
    let number = |name: &str| {
        let value = variable(name)?;
        match value.parse() {
            Ok(number) => Some(number),
            Err(error) => panic!("{name}={value}: {error}"),
        }
    };
    match (number(ONE), number(HOW_MANY)) {
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
    #[should_panic(expected = "CORELOG_SEED=x")]
    fn nonsense_is_refused() {
        chosen(10, |_| Some("x".to_owned()));
    }
}
