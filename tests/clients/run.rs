//! One suite as a subprocess: what it prints goes to a file, its last line is the count, and it has limited time.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::tally::Counts;
use crate::toolchains;

const SUITE_MAX: Duration = Duration::from_secs(400);

/// Runs the suite's command to its end. A suite that doesn't reach its count counts as one more failure.
pub fn checks(name: &str, mut command: Command) -> Counts {
    let path = toolchains::cache().join(format!("{name}.log"));
    let log = File::create(&path).expect("the suite's log");
    let errors = log.try_clone().expect("a second handle of the suite's log");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .expect("the suite's program");
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the suite's status") {
            break Some(status);
        }
        if begin.elapsed() > SUITE_MAX {
            child.kill().expect("a suite that runs can be killed");
            child.wait().expect("the suite's status");
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let said = String::from_utf8_lossy(&fs::read(&path).expect("the suite's log")).into_owned();
    let mut counts = said.lines().rev().find_map(counts_in).unwrap_or_default();
    let complete =
        status.is_some_and(|s| s.success() == (counts.failed == 0)) && counts != Counts::default();
    if !complete {
        counts.failed += 1;
    }
    if counts.failed > 0 {
        let how = status.map_or_else(
            || "was killed as too slow".to_owned(),
            |s| format!("ended with {s}"),
        );
        println!("{name} {how} and printed:\n{said}");
    }
    counts
}

/// Reads `NAME: 3 passed, 0 failed, 0 skipped`.
fn counts_in(line: &str) -> Option<Counts> {
    let (_, counts) = line.split_once(": ")?;
    let mut numbers = ["passed", "failed", "skipped"]
        .iter()
        .zip(counts.split(", "))
        .map(|(word, part)| {
            let (number, said) = part.split_once(' ')?;
            (said.trim() == *word)
                .then(|| number.parse().ok())
                .flatten()
        });
    Some(Counts {
        passed: numbers.next()??,
        failed: numbers.next()??,
        skipped: numbers.next()??,
    })
}
