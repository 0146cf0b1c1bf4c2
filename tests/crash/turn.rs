//! One test at a time, since they share a disk, and each says what came of it: passed, failed or skipped.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

static TURN: Mutex<()> = Mutex::new(());

/// Why a test could not run here.
#[derive(Debug)]
pub struct NotHere(pub String);

/// Whether a broker can be run under `prlimit` with such a limit.
pub fn needs_prlimit(limit: &str) -> Result<(), NotHere> {
    let limited = Command::new("prlimit")
        .args([limit, "true"])
        .stderr(Stdio::null())
        .status();
    match limited.is_ok_and(|status| status.success()) {
        true => Ok(()),
        false => Err(NotHere(format!("`prlimit {limit}` does not run"))),
    }
}

/// Runs one test and prints its outcome on a line that the test runner does not withhold. A skipped one is no
/// failure, and never counted as passed.
pub fn run(name: &str, test: impl FnOnce() -> Result<(), NotHere>) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = Instant::now();
    // One that fails panics, which the test runner tells.
    let (passed, skipped, words) = match test() {
        Ok(()) => (1, 0, String::new()),
        Err(NotHere(reason)) => (0, 1, format!("; not possible here: {reason}")),
    };
    let seconds = begin.elapsed().as_secs_f32();
    drop(turn);
    // A closed standard output is no reason to fail a test.
    let _ = writeln!(
        std::io::stdout(),
        "crash test {name}: {passed} passed, {skipped} skipped in {seconds:.1} s{words}"
    );
}
