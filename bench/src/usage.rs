//! What a process has used, as the kernel counts it in `/proc`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Counters of a broker's process since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUsage {
    /// User and system time of all threads, those that finished and io_uring's workers included. Counted in ticks of
    /// 10 ms.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub rss: u64,
    /// Bytes that it caused to be sent to the disk, by direct writes or by dirtying pages.
    pub disk_written: u64,
    /// Bytes that it had fetched from the disk: what the page cache has does not count.
    pub disk_read: u64,
}

impl ProcessUsage {
    pub fn of(pid: u32) -> Result<Self> {
        let ticks = ticks(&read(pid, "stat")?).context("/proc/PID/stat without times")?;
        let per_second =
            sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not say how long a tick is")?;
        let io = read(pid, "io")?;
        Ok(Self {
            cpu: Duration::from_secs_f64(ticks as f64 / per_second as f64),
            rss: labelled(&read(pid, "status")?, "VmRSS:").unwrap_or(0) << 10,
            disk_written: labelled(&io, "write_bytes:").unwrap_or(0),
            disk_read: labelled(&io, "read_bytes:").unwrap_or(0),
        })
    }
}

/// User and system time in `/proc/PID/stat`, in ticks.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold blanks and parentheses of its own.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut times = after_name.split(' ').skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// How often each thread of a process has given up its core, or lost it.
#[derive(Clone, Debug, Default)]
pub struct ContextSwitches(BTreeMap<OsString, u64>);

impl ContextSwitches {
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let threads = fs::read_dir(&folder).with_context(|| format!("reading {folder}"))?;
        let mut of_threads = BTreeMap::new();
        for thread in threads {
            let thread = thread?;
            // A thread may end meanwhile.
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            of_threads.insert(thread.file_name(), switches(&status));
        }
        Ok(Self(of_threads))
    }

    /// Of the threads that live now; what others did before they ended is not known.
    pub fn since(&self, earlier: &Self) -> u64 {
        let new = self.0.iter().map(|(thread, count)| {
            let before = earlier.0.get(thread).copied().unwrap_or(0);
            count.saturating_sub(before)
        });
        new.sum()
    }
}

/// Both kinds in a thread's `status`.
fn switches(status: &str) -> u64 {
    ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
        .iter()
        .filter_map(|label| labelled(status, label))
        .sum()
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path)
        .with_context(|| format!("reading {path}: is the broker still running?"))
}

fn labelled(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_is_counted() {
        let usage = || ProcessUsage::of(std::process::id()).unwrap();
        let before = usage();
        let mut sum = 0_u64;
        while usage().cpu < before.cpu + Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(before.rss > 100_000, "{before:?}");
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3 0 9";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (cut"), None);
    }

    #[test]
    fn switches_of_both_kinds_are_added() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches(status), 42);
        assert_eq!(switches(""), 0);
    }

    #[test]
    fn threads_that_come_and_go_do_not_hide_the_switches_of_others() {
        let of = |threads: &[(&str, u64)]| {
            let counts = threads
                .iter()
                .map(|(id, count)| (OsString::from(id), *count));
            ContextSwitches(counts.collect())
        };
        let earlier = of(&[("7", 1_000), ("8", 10)]);
        assert_eq!(of(&[("8", 15), ("9", 3)]).since(&earlier), 8);
    }

    #[test]
    fn a_missing_process_is_named() {
        let error = ProcessUsage::of(u32::MAX).unwrap_err();
        assert!(
            format!("{error:#}").contains("/proc/4294967295/stat"),
            "{error:#}"
        );
    }
}
