//! The machine that a generator ran on.

use std::fs;

use serde::{Deserialize, Serialize};

/// As the kernel describes it in `/proc`. What it does not tell is empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Model of the processor.
    pub cpu_model: String,
    /// Cores that the kernel runs on, threads of a core counted each.
    pub cores: u64,
    /// Cores that this process may use.
    pub cores_usable: u64,
    /// All of its memory, in bytes.
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
}

impl Host {
    /// This machine.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut host = Self::from_text(&read("/proc/cpuinfo"), &read("/proc/meminfo"));
        host.name = read("/proc/sys/kernel/hostname").trim().to_owned();
        host.kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        host.cores_usable = std::thread::available_parallelism().map_or(0, |n| n.get() as u64);
        host
    }

    /// From the text of `/proc/cpuinfo` and `/proc/meminfo`.
    pub(super) fn from_text(cpuinfo: &str, meminfo: &str) -> Self {
        let field = |line: &str, key: &str| -> Option<String> {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        let memory_kib: Option<u64> = meminfo
            .lines()
            .find_map(|line| field(line, "MemTotal"))
            .and_then(|value| value.split_whitespace().next()?.parse().ok());
        Self {
            cpu_model: cpuinfo
                .lines()
                .find_map(|line| field(line, "model name"))
                .unwrap_or_default(),
            cores: cpuinfo
                .lines()
                .filter(|line| field(line, "processor").is_some())
                .count() as u64,
            memory_bytes: memory_kib.unwrap_or(0) << 10,
            ..Self::default()
        }
    }
}
