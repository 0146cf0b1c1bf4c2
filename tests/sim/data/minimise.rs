//! What to do with a seed that fails: say what it had switched on and how to see it again, and look for a smaller run
//! that fails in the same way.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};

use corelog_shards::mutation;

use super::plan::{Limit, Plan};
use super::scenario::{Outcome, run};
use crate::story::Story;

/// Set, together with a seed: look for the smallest run that fails as it does.
const MINIMISE: &str = "CORELOG_MINIMISE";

/// Runs the world of a seed. If it fails that is explained before the test does, too.
pub fn run_seed(seed: u64) -> Outcome {
    let plan = Plan::chosen(seed);
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
    let smallest = smaller(plan, &kind(&*failure));
    set_hook(hook);
    let story = Story::new();
    let failure = catch_unwind(AssertUnwindSafe(|| run(&smallest, &story)));
    story.print();
    eprintln!(
        "{smallest}\nthe smallest that fails so: {}",
        smallest.command()
    );
    resume_unwind(failure.expect_err("it has failed before"))
}

/// The message of a panic without what differs from run to run.
fn kind(failure: &(dyn std::any::Any + Send)) -> String {
    let text = failure.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| failure.downcast_ref::<&str>().copied());
    let words = text.unwrap_or_default().split_whitespace();
    let steady = words.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    steady.collect::<Vec<_>>().join(" ")
}

fn fails_so(plan: &Plan, how: &str) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(plan, &Story::short())));
    outcome.is_err_and(|failure| kind(&*failure) == how)
}

/// Takes away what is not needed, as long as something is.
fn smaller(mut plan: Plan, how: &str) -> Plan {
    loop {
        let before = plan.command();
        for feature in plan.on.clone() {
            let mut less = plan.clone();
            less.on.remove(&feature);
            if fails_so(&less, how) {
                plan = less;
            }
        }
        for limit in Limit::ALL {
            while plan.get(limit) > 1 {
                let now = plan.get(limit);
                let lower = [1, now / 2, now - 1].into_iter().find_map(|to| {
                    let mut less = plan.clone();
                    less.set(limit, to.max(1));
                    fails_so(&less, how).then_some(less)
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
