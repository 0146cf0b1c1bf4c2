//! Keeps the clients of a measurement off the cores that the broker has for itself.
//!
//! Clients and attackers have machines of their own in life. Where they share a core with a shard, a latency says more
//! of how the kernel divides that core than of the broker.

use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread until this is dropped, and the threads that it starts meanwhile, run on other cores.
#[must_use]
pub struct Apart {
    before: CpuSet,
    /// Not without others than these, and not from a broker that is elsewhere.
    is_apart: bool,
    note: Option<&'static str>,
}

impl Apart {
    /// From the threads of this process, if it is of this machine, that keep to one core each.
    pub fn from(pid: Option<u32>) -> Result<Self> {
        let before = affinity(0)?;
        let Some(pid) = pid else {
            return Ok(Self {
                before,
                is_apart: false,
                note: None,
            });
        };
        let (mut left, mut is_pinned) = (before, false);
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = task?.file_name().to_string_lossy().parse()?;
            // It may have ended.
            let Ok(its) = affinity(thread) else { continue };
            if let [core] = cores(&its)[..] {
                left.unset(core)?;
                is_pinned = true;
            }
        }
        let is_apart = is_pinned && !cores(&left).is_empty();
        if is_apart {
            run_on(&left)?;
        }
        let note = (!is_apart).then_some("clients and broker share cores");
        Ok(Self {
            before,
            is_apart,
            note,
        })
    }

    /// What is to be said of the figures, if anything.
    pub fn note(&self) -> Option<&'static str> {
        self.note
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if self.is_apart {
            run_on(&self.before).expect("where it ran before");
        }
    }
}

fn affinity(thread: i32) -> Result<CpuSet> {
    sched_getaffinity(Pid::from_raw(thread)).context("asking where a thread may run")
}

fn run_on(cores: &CpuSet) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), cores).context("choosing where a thread may run")
}

fn cores(set: &CpuSet) -> Vec<usize> {
    let all = 0..CpuSet::count();
    all.filter(|core| set.is_set(*core).unwrap_or(false))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_client_leaves_the_cores_of_a_broker_while_it_is_measured() {
        let all = affinity(0).expect("known");
        let (first, count) = (cores(&all)[0], cores(&all).len());
        // The part of the broker: a thread that keeps to one core.
        let (ready, is_ready) = mpsc::channel();
        let (end, is_over) = mpsc::channel::<()>();
        let broker = thread::spawn(move || {
            let mut one = CpuSet::new();
            one.set(first).expect("a core");
            run_on(&one).expect("allowed");
            ready.send(()).expect("it waits");
            is_over.recv()
        });
        is_ready.recv().expect("it runs");
        let apart = Apart::from(Some(std::process::id())).expect("allowed");
        let during = thread::spawn(|| cores(&affinity(0).expect("known")));
        let during = during.join().expect("no panic");
        assert_eq!(during.contains(&first), count == 1);
        assert_eq!(apart.note().is_some(), count == 1);
        drop((apart, end));
        broker.join().expect("no panic").expect_err("the end");
        assert_eq!(affinity(0).expect("known"), all);
    }
}
