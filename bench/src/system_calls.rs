//! System calls of a process, counted by `perf` where it is there and allowed to.
//!
//! Counting costs each call a little, so that it has a time of its own, in which nothing else is measured.

use std::process::{Command, Stdio};
use std::time::Duration;

const EVENT: &str = "raw_syscalls:sys_enter";

/// Calls a second of all threads that the process has now; or the reason why that is not known.
pub fn per_second(pid: u32, time: Duration) -> Result<f64, String> {
    let output = Command::new("perf")
        .args([
            "stat",
            "-x",
            ",",
            "-e",
            EVENT,
            "-p",
            &pid.to_string(),
            "--",
            "sleep",
        ])
        .arg(time.as_secs_f64().to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("perf cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = count(&text).ok_or_else(|| {
        let first = text.lines().find(|line| !line.trim().is_empty());
        format!("perf does not count: {}", first.unwrap_or("no output"))
    })?;
    Ok(count as f64 / time.as_secs_f64())
}

/// The count in `perf`'s table.
fn count(table: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.contains(EVENT))?;
    match line.split(',').next()?.trim() {
        // No thread ran at all.
        "<not counted>" => Some(0),
        count => count.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn counts_are_read_and_refusals_are_none() {
        assert_eq!(
            count("\n1234,,raw_syscalls:sys_enter,99,100.00,,\n"),
            Some(1234)
        );
        assert_eq!(
            count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,"),
            Some(0)
        );
        assert_eq!(
            count("<not supported>,,raw_syscalls:sys_enter,0,100.00,,"),
            None
        );
        assert_eq!(count("Access to performance monitoring is limited"), None);
    }
}
