//! What to do with a seed that fails: say what it had switched on and how to see it again, and look for a smaller run
//! that fails in the same way.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};

use corelog_shards::mutation;

use crate::plan::Drawn;
use crate::story::Story;

/// Set, together with a seed: look for the smallest run that fails as it does.
const MINIMISE: &str = "CORELOG_MINIMISE";

/// Runs the world of a seed. If it fails that is explained before the test does, too.
pub fn run_seed<P: Drawn, T>(seed: u64, run: impl Fn(&P, &Story) -> T) -> T {
    let plan = P::chosen(seed);
    if mutation::current().is_some() {
        return run(&plan, &Story::short());
    }
    let story = Story::new();
    let failure = match catch_unwind(AssertUnwindSafe(|| run(&plan, &story))) {
        Ok(outcome) => return outcome,
        Err(failure) => failure,
    };
    if std::env::var_os(MINIMISE).is_none() {
        story.print();
        eprintln!("{plan}\nagain: {}", plan.command());
        eprintln!("smaller: {MINIMISE}=1 {}", plan.command());
        resume_unwind(failure);
    }
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let smallest = smaller(plan, &kind(&*failure), &run);
    set_hook(hook);
    let story = Story::new();
    let failure = catch_unwind(AssertUnwindSafe(|| run(&smallest, &story)));
    story.print();
    eprintln!(
        "{smallest}\nthe smallest that fails so: {}",
        smallest.command()
    );
    match failure {
        Ok(_) => panic!("it has failed before"),
        Err(failure) => resume_unwind(failure),
    }
}

/// The message of a panic without what differs from run to run: names, numbers, and what is listed in full.
fn kind(failure: &(dyn Any + Send)) -> String {
    let text = failure.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| failure.downcast_ref::<&str>().copied());
    let text = text.unwrap_or_default();
    let brief = text.split(['{', '[']).next().unwrap_or_default();
    let text = if brief.trim().is_empty() { text } else { brief };
    let varies = |letter: char| letter.is_ascii_digit() || letter == '"';
    let words = text.split_whitespace();
    let steady = words.filter(|word| !word.contains(varies));
    steady.collect::<Vec<_>>().join(" ")
}

fn fails_so<P: Drawn, T>(plan: &P, how: &str, run: &impl Fn(&P, &Story) -> T) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(plan, &Story::short())));
    outcome.is_err_and(|failure| kind(&*failure) == how)
}

/// Takes away what is not needed, as long as something is.
fn smaller<P: Drawn, T>(mut plan: P, how: &str, run: &impl Fn(&P, &Story) -> T) -> P {
    loop {
        let before = plan.command();
        for feature in plan.on().clone() {
            let mut less = plan.clone();
            less.switch_off(feature);
            if fails_so(&less, how, run) {
                plan = less;
            }
        }
        for (limit, _) in P::LIMITS {
            while plan.get(*limit) > 1 {
                let now = plan.get(*limit);
                let lower = [1, now / 2, now - 1].into_iter().find_map(|to| {
                    let mut less = plan.clone();
                    less.set(*limit, to.max(1));
                    fails_so(&less, how, run).then_some(less)
                });
                match lower {
                    Some(less) => plan = less,
                    None => break,
                }
            }
        }
        if plan.command() == before {
            return plan;
        }
        eprintln!("smaller: {}", plan.command());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;
    use crate::plan::tests::{Toy, Weather};

    #[test]
    fn what_does_not_matter_is_taken_away() {
        let run = |plan: &Weather, _: &Story| {
            let is_wet = plan.has(Toy::Rain) || plan.has(Toy::Snow);
            if is_wet && plan.has(Toy::Wind) && plan.days >= 5 {
                panic_any(format!("after {} days the roof \"east\" is off", plan.days));
            }
        };
        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        let failure = catch_unwind(|| run(&Weather::draw(40), &Story::short()));
        let how = kind(&*failure.expect_err("a storm"));
        let smallest = smaller(Weather::draw(40), &how, &run);
        set_hook(hook);
        assert_eq!(how, "after days the roof is off");
        assert_eq!(smallest.to_string(), "5 days of Snow,Wind");
    }

    #[test]
    fn failures_of_one_kind_are_alike() {
        let lost = |place: &str, writes: &[u64]| -> Box<dyn Any + Send> {
            Box::new(format!(
                "(\"{place}\", 3): lost, {} ms after {writes:?}",
                writes.len()
            ))
        };
        assert_eq!(
            kind(&*lost("eager", &[1, 2])),
            kind(&*lost("modern", &[1, 2, 3]))
        );
        assert_ne!(kind(&*lost("eager", &[])), kind(&"something else"));
    }
}
