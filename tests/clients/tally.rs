//! What the suites counted, and the closing line of all of them.
//!
//! A suite ends by passing, failing, or being skipped because a toolchain isn't there. A skipped suite counts as one
//! skipped, never as passed; under CI it fails if `.ci/run` installs the toolchain.

use std::io::Write;
use std::ops::Add;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::time::Instant;

/// The count of checks in one suite.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// Why a suite could not run: the toolchain and what went wrong with it.
#[derive(Clone, Debug)]
pub struct Missing {
    pub toolchain: &'static str,
    pub reason: String,
    /// `.ci/run` installs it, so that its absence there is a failure.
    pub installed_by_ci: bool,
}

/// Every suite of `tests/clients.rs`; when the last has ended, the closing line is printed.
const SUITES: [&str; 21] = [
    "kcat",
    "confluent-kafka",
    "kafka-python",
    "groups",
    "group-members",
    "group-migrations",
    "aiokafka",
    "kafkajs",
    "java-clients",
    "java-tools",
    "java-group-command",
    "folders",
    "settings",
    "compacted",
    "metadata-snapshots",
    "franz-go",
    "segments",
    "apache-kafkas-folder",
    "whole-text",
    "every-version",
    "hostile",
];

struct Tally {
    counts: Counts,
    ended: usize,
}

static TALLY: Mutex<Tally> = Mutex::new(Tally {
    counts: Counts {
        passed: 0,
        failed: 0,
        skipped: 0,
    },
    ended: 0,
});

/// Runs one suite, counts it, and panics if any check of it failed.
pub fn suite(name: &str, run: impl FnOnce() -> Result<Counts, Missing>) {
    assert!(SUITES.contains(&name), "{name} is not among SUITES");
    let begin = Instant::now();
    let (counts, words, panicked) = match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(counts)) => (counts, String::new(), None),
        Ok(Err(missing)) => {
            let fails = missing.installed_by_ci && std::env::var("CI").is_ok_and(|v| v == "true");
            let counts = Counts {
                failed: fails.into(),
                skipped: (!fails).into(),
                ..Counts::default()
            };
            (
                counts,
                format!("; missing: {}: {}", missing.toolchain, missing.reason),
                None,
            )
        }
        Err(panic) => (
            Counts {
                failed: 1,
                ..Counts::default()
            },
            "; panicked".to_owned(),
            Some(panic),
        ),
    };
    let Counts {
        passed,
        failed,
        skipped,
    } = counts;
    let seconds = begin.elapsed().as_secs_f32();
    say(&format!(
        "client suite {name}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.1} s{words}"
    ));
    count(counts);
    if let Some(panic) = panicked {
        panic::resume_unwind(panic);
    }
    assert_eq!(failed, 0, "checks of {name} failed{words}");
}

fn count(counts: Counts) {
    let mut tally = TALLY.lock().expect("no suite panics while it counts");
    tally.counts = tally.counts + counts;
    tally.ended += 1;
    if tally.ended == SUITES.len() {
        let Counts {
            passed,
            failed,
            skipped,
        } = tally.counts;
        say(&format!(
            "clients: {passed} passed, {failed} failed, {skipped} skipped"
        ));
    }
}

/// Prints a line that the test runner doesn't withhold from passing tests.
fn say(line: &str) {
    // A closed standard output is no reason to fail a test.
    let _ = writeln!(std::io::stdout(), "{line}");
}
