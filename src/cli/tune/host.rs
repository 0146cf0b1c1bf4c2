//! The machine, its CPUs, its memory and its network.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::finding::{Finding, Verdict, finding, fine_if};

/// Open files below which many connections do not fit.
const OPEN_FILES: u64 = 65_536;
/// Connections that may wait to be accepted, per listener.
const BACKLOG: u64 = 1_024;
/// Part of the time that the hypervisor gave to others, from which on latency suffers.
const STEAL_PERCENT: f64 = 1.0;

/// Clock sources that are read without a system call.
const FAST_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

/// What the kernel shows below `root`, which is / but in tests.
pub(super) struct Host {
    pub root: PathBuf,
    /// Whose limits are meant, as /proc names it.
    pub process: String,
}

impl Host {
    /// A file of the kernel's, trimmed; `None` if this kernel has none.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    pub(super) fn open_files(&self) -> Finding {
        let setting = "open files of a process";
        let limits = self
            .read(format!("proc/{}/limits", self.process))
            .unwrap_or_default();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let hard = line.and_then(|line| line.split_whitespace().nth(4));
        let Some(hard) = hard else {
            return finding(setting, "?", Verdict::Unknown, "");
        };
        let is_enough =
            hard == "unlimited" || hard.parse().is_ok_and(|hard: u64| hard >= OPEN_FILES);
        let remedy = "each connection is one, and each core's segments are: ulimit -Hn 65536, LimitNOFILE=65536 in a \
                      systemd unit, docker run --ulimit nofile=65536";
        finding(setting, hard, fine_if(is_enough), remedy)
    }

    /// Where the kernel shows the process's own control group and those above it; `None` without version 2.
    fn groups(&self) -> Option<Vec<PathBuf>> {
        self.read("sys/fs/cgroup/cgroup.controllers")?;
        self.groups_of("")
    }

    /// The same for a controller of version 1; version 2 has one without a name.
    fn groups_of(&self, controller: &str) -> Option<Vec<PathBuf>> {
        let own = self.read(format!("proc/{}/cgroup", self.process))?;
        let group = own.lines().find_map(|line| {
            let (controllers, group) = line.split_once(':')?.1.split_once(":/")?;
            let is_its = controllers.split(',').any(|it| it == controller);
            is_its.then_some(group)
        })?;
        let all = Path::new("sys/fs/cgroup").join(controller);
        let groups = Path::new(group).ancestors().map(|group| all.join(group));
        Some(groups.collect())
    }

    /// Bytes that the process may take, if its own group or one above it bounds them.
    pub(super) fn memory_max(&self) -> Option<u64> {
        let (groups, file) = match self.groups() {
            Some(groups) => (groups, "memory.max"),
            None => (self.groups_of("memory")?, "memory.limit_in_bytes"),
        };
        let limits = groups
            .iter()
            .filter_map(|group| self.read(group.join(file)));
        limits.filter_map(|limit| limit.parse().ok()).min()
    }

    /// Microseconds of CPU time in each period of so many, or `max`, of the process's own group and those above it.
    fn cpu_quotas(&self) -> Option<Vec<String>> {
        if let Some(groups) = self.groups() {
            let quotas = groups
                .iter()
                .filter_map(|group| self.read(group.join("cpu.max")));
            return Some(quotas.collect());
        }
        let groups = self.groups_of("cpu")?;
        let quotas = groups.iter().filter_map(|group| {
            let quota = self.read(group.join("cpu.cfs_quota_us"))?;
            let period = self.read(group.join("cpu.cfs_period_us"))?;
            Some(format!("{} {period}", quota.replace("-1", "max")))
        });
        let quotas: Vec<String> = quotas.collect();
        (!quotas.is_empty()).then_some(quotas)
    }

    /// Of the process's own group or one above it: each of them holds.
    pub(super) fn cpu_quota(&self) -> Finding {
        let setting = "quota of CPU time";
        let Some(quotas) = self.cpu_quotas() else {
            return finding(setting, "?", Verdict::Unknown, "");
        };
        let quota = quotas.into_iter().find(|quota| !quota.starts_with("max"));
        let remedy = "a shard that has used up its quota stands still for tens of milliseconds: give the \
                      container whole cores (cpuset), or start with --cores below the quota";
        match quota {
            Some(quota) => finding(setting, quota, Verdict::Advice, remedy),
            None => finding(setting, "none", Verdict::Fine, ""),
        }
    }

    /// Since the machine was started.
    pub(super) fn steal(&self) -> Finding {
        let setting = "CPU time taken by the hypervisor";
        let stat = self.read("proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let (Some(steal), all) = (ticks.get(7), ticks.iter().take(8).sum::<f64>()) else {
            return finding(setting, "?", Verdict::Unknown, "");
        };
        let percent = 100.0 * steal / all.max(1.0);
        let remedy =
            "a core that is taken away answers nobody: use dedicated cores or another host";
        finding(
            setting,
            format!("{percent:.2}%"),
            fine_if(percent < STEAL_PERCENT),
            remedy,
        )
    }

    pub(super) fn clock(&self) -> Finding {
        let setting = "clock source";
        let source = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        let remedy = "reading the clock is a system call with it: boot with clocksource=tsc where the \
                      CPU's is stable";
        match self.read(source) {
            Some(clock) => {
                let is_fast = FAST_CLOCKS.contains(&clock.as_str());
                finding(setting, clock, fine_if(is_fast), remedy)
            }
            None => finding(setting, "?", Verdict::Unknown, ""),
        }
    }

    pub(super) fn governor(&self) -> Finding {
        let setting = "CPU frequency governor";
        let remedy = "a core that naps between requests answers them slowly: cpupower frequency-set \
                      -g performance";
        match self.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
            Some(governor) => {
                let is_fast = governor == "performance";
                finding(setting, governor, fine_if(is_fast), remedy)
            }
            None => finding(setting, "none", Verdict::Fine, ""),
        }
    }

    pub(super) fn swap(&self) -> Finding {
        let setting = "swap";
        let swaps = self.read("proc/swaps").unwrap_or_default();
        let is_there = swaps.lines().count() > 1;
        let swappiness = self.number("proc/sys/vm/swappiness").unwrap_or(60);
        let remedy = "a shard that waits for a page of its own memory keeps everybody waiting: swapoff \
                      -a, or sysctl vm.swappiness=1";
        match is_there {
            false => finding(setting, "none", Verdict::Fine, ""),
            true => finding(
                setting,
                format!("in use, vm.swappiness={swappiness}"),
                fine_if(swappiness <= 1),
                remedy,
            ),
        }
    }

    pub(super) fn backlog(&self) -> Finding {
        let setting = "net.core.somaxconn";
        let remedy = "clients that connect all at once after a restart are turned away: sysctl \
                      net.core.somaxconn=4096";
        match self.number("proc/sys/net/core/somaxconn") {
            Some(backlog) => finding(
                setting,
                backlog.to_string(),
                fine_if(backlog >= BACKLOG),
                remedy,
            ),
            None => finding(setting, "?", Verdict::Unknown, ""),
        }
    }
}
