//! What to do with a seed that fails: say what it had switched on and how to see it again, and look for a smaller run
//! that fails in the same way.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::str::Chars;
use std::sync::Once;

use corelog_shards::mutation;

use crate::plan::Drawn;
use crate::story::Story;

/// Set, together with a seed: look for the smallest run that fails as it does.
const MINIMISE: &str = "CORELOG_MINIMISE";

thread_local! {
    /// Where this thread has panicked last, since a run began in it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether panics of this thread say nothing.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What runs of one kind of failure have in common.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    /// File, line and column, unless it was not a panic of its own.
    place: Option<String>,
    text: String,
}

#[derive(Debug)]
struct Failure {
    kind: Kind,
    panic: Box<dyn Any + Send>,
}

/// Runs the world of a seed. If it fails that is explained before the test does, too.
pub fn run_seed<P: Drawn, T>(seed: u64, run: impl Fn(&P, &Story) -> T) -> T {
    let plan = P::chosen(seed);
    if mutation::current().is_some() {
        return run(&plan, &Story::short());
    }
    let story = Story::new();
    let failure = match outcome(|| run(&plan, &story)) {
        Ok(outcome) => return outcome,
        Err(failure) => failure,
    };
    if std::env::var_os(MINIMISE).is_none() {
        story.print();
        eprintln!("{plan}\nagain: {}", plan.command());
        eprintln!("smaller: {MINIMISE}=1 {}", plan.command());
        resume_unwind(failure.panic);
    }
    IS_QUIET.set(true);
    let smallest = smaller(plan, &failure.kind, &run);
    IS_QUIET.set(false);
    let story = Story::new();
    let failure = outcome(|| run(&smallest, &story));
    story.print();
    eprintln!(
        "{smallest}\nthe smallest that fails so: {}",
        smallest.command()
    );
    match failure {
        Ok(_) => panic!("it has failed before"),
        Err(failure) => resume_unwind(failure.panic),
    }
}

/// What a run comes to.
fn outcome<T>(run: impl FnOnce() -> T) -> Result<T, Failure> {
    watch_panics();
    PLACE.take();
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Failure {
        kind: Kind {
            place: PLACE.take(),
            text: steady(message(&*panic)),
        },
        panic,
    })
}

/// Has panics say where they are, each thread's to itself, besides what else they do.
fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            PLACE.set(panic.location().map(ToString::to_string));
            if !IS_QUIET.get() {
                others(panic);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or_default()
}

/// A message without what differs from run to run: names in quotes, what is listed in full, and numbers.
fn steady(text: &str) -> String {
    let mut kept = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let behind = match letter {
            '"' => behind_name(letters.clone()),
            '[' => behind_list(letters.clone(), '[', ']'),
            '{' => behind_list(letters.clone(), '{', '}'),
            _ => None,
        };
        match behind {
            Some(behind) => letters = behind,
            None => kept.push(letter),
        }
    }
    let words = kept.split_whitespace();
    let steady = words.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    steady.collect::<Vec<_>>().join(" ")
}

/// What follows the quote that ends a name. `None` without one.
fn behind_name(mut letters: Chars<'_>) -> Option<Chars<'_>> {
    loop {
        match letters.next()? {
            '"' => return Some(letters),
            '\\' => _ = letters.next(),
            _ => {}
        }
    }
}

/// What follows the bracket that ends a list. `None` without one, as behind that of a range.
fn behind_list(mut letters: Chars<'_>, opens: char, closes: char) -> Option<Chars<'_>> {
    let mut depth = 1;
    while depth > 0 {
        match letters.next()? {
            '"' => letters = behind_name(letters.clone()).unwrap_or(letters),
            letter if letter == opens => depth += 1,
            letter if letter == closes => depth -= 1,
            _ => {}
        }
    }
    Some(letters)
}

fn fails_so<P: Drawn, T>(plan: &P, how: &Kind, run: &impl Fn(&P, &Story) -> T) -> bool {
    let outcome = outcome(|| run(plan, &Story::short()));
    outcome.is_err_and(|failure| failure.kind == *how)
}

/// Takes away what is not needed, as long as something is.
fn smaller<P: Drawn, T>(mut plan: P, how: &Kind, run: &impl Fn(&P, &Story) -> T) -> P {
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
    use super::*;
    use crate::plan::tests::{Toy, Weather};

    /// Fails without a word to anybody but the one who catches it.
    fn fail(why: String) -> ! {
        resume_unwind(Box::new(why));
    }

    fn kind_of(run: impl FnOnce()) -> Kind {
        IS_QUIET.set(true);
        let failure = outcome(run).expect_err("a failure");
        IS_QUIET.set(false);
        failure.kind
    }

    #[test]
    fn what_does_not_matter_is_taken_away() {
        let run = |plan: &Weather, _: &Story| {
            let is_wet = plan.has(Toy::Rain) || plan.has(Toy::Snow);
            if is_wet && plan.has(Toy::Wind) && plan.days >= 5 {
                fail(format!("after {} days the roof \"east\" is off", plan.days));
            }
        };
        let how = kind_of(|| run(&Weather::draw(40), &Story::short()));
        let smallest = smaller(Weather::draw(40), &how, &run);
        assert_eq!(how.text, "after days the roof is off");
        assert_eq!(smallest.to_string(), "5 days of Snow,Wind");
    }

    #[test]
    fn what_differs_from_run_to_run_does_not_make_a_kind() {
        let lost = |place: &str, writes: &[u64]| {
            let place = (place, 3);
            steady(&format!(
                "{place:?}: lost, {} ms after {writes:?}",
                writes.len()
            ))
        };
        assert_eq!(lost("eager", &[1, 2]), lost("the \"modern\" one", &[]));
        assert_eq!(lost("eager", &[]), "(, lost, ms after");
    }

    #[test]
    fn what_is_listed_does_not_hide_what_is_said_behind_it() {
        let [torn, rotten] = ["torn", "rotten"].map(|what| steady(&format!("[1, 2] is {what}")));
        assert_ne!(torn, rotten);
        assert_eq!(
            steady("Write { of: Some([\"{\"]) } is torn"),
            "Write is torn"
        );
    }

    #[test]
    fn what_nothing_closes_hides_nothing() {
        for opened in ["[0, 5)", "{", "5\"", "[0, 5) of [1, 2]"] {
            let [torn, rotten] =
                ["torn", "rotten"].map(|what| steady(&format!("{opened} is {what}")));
            assert_ne!(torn, rotten, "{opened}");
        }
        assert_eq!(steady("[0, 5) of [1, 2] is torn"), "of is torn");
    }

    #[test]
    fn other_places_are_other_kinds() {
        let fail = |at: u64| {
            if at == 0 {
                panic!("no reply");
            }
            panic!("no reply");
        };
        assert_eq!(kind_of(|| fail(1)), kind_of(|| fail(2)));
        assert_ne!(kind_of(|| fail(1)), kind_of(|| fail(0)));
    }

    #[test]
    fn a_failure_without_a_place_is_not_at_the_one_before() {
        kind_of(|| panic!("somewhere"));
        assert_eq!(kind_of(|| fail("nowhere".to_owned())).place, None);
    }
}
