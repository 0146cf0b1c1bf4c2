//! The machine: what the start refuses to do without, and what `corelog tune` looks at.

use std::path::{Path, PathBuf};

use corelog_shards::runtime;
use nix::sys::resource::{Resource, getrlimit};

use super::process::Process;
use crate::cli::finding::{Finding, Verdict, finding, needed};
use crate::cli::folders::look::InUse;
use crate::cli::tune;
use crate::config::BrokerConfig;

/// The oldest kernel that has what is needed.
const KERNEL_MIN: (u32, u32) = (5, 15);
const MIB: u64 = 1 << 20;

/// Whose limits are meant.
pub(super) struct Subject {
    /// Whether a broker runs.
    pub(super) in_use: InUse,
    /// Its process, where that is known.
    pub(super) process: Option<Process>,
}

impl Subject {
    /// As /proc names it.
    fn name(&self) -> String {
        match (&self.process, self.in_use) {
            (Some(process), _) => process.pid.to_string(),
            (None, InUse::No) => tune::SELF.to_owned(),
            // There is no such process: nothing is known of it.
            (None, InUse::Yes | InUse::Unknown) => "unknown".to_owned(),
        }
    }

    /// What must be allowed, beside what `corelog tune` looks at. A broker that runs may have been allowed more than the
    /// doctor, by its unit or container.
    fn limits(&self) -> Vec<Finding> {
        if let Some(process) = &self.process
            && let Some(locked) = process.limit("Max locked memory")
        {
            return vec![memlock(locked)];
        }
        let own = vec![
            needed("io_uring", runtime::check_rings()),
            memlock(hard_limit_of_memory()),
        ];
        match self.in_use {
            InUse::No => own,
            InUse::Yes | InUse::Unknown => own.into_iter().map(of_the_doctor).collect(),
        }
    }
}

/// What is not fine for the doctor may be for a broker.
fn of_the_doctor(own: Finding) -> Finding {
    if own.verdict == Verdict::Fine {
        return own;
    }
    let found = format!("{} for the doctor; the broker may have more", own.found);
    finding(own.setting, found, Verdict::Unknown, "")
}

/// How many shards a start would have here.
pub(super) fn shards(wanted: Option<usize>) -> usize {
    let allowed = runtime::cores().map_or(1, |cores| cores.len());
    wanted.unwrap_or(allowed).max(1)
}

pub(super) fn examine(
    root: &Path,
    config: Option<&BrokerConfig>,
    shards: usize,
    subject: &Subject,
) -> Vec<Finding> {
    let release = std::fs::read_to_string(root.join("proc/sys/kernel/osrelease"));
    let mut findings = vec![kernel(release.as_deref().unwrap_or_default().trim())];
    findings.extend(subject.limits());
    findings.extend([
        huge_pages(root),
        cores(shards, runtime::cores().map_or(0, |cores| cores.len())),
    ]);
    let process = subject.name();
    if let Some(config) = config {
        findings.push(memory(root, &process, config, shards));
    }
    let folders = config.map_or_else(Vec::new, |config| config.storage.log_dirs.clone());
    let folder = folders.into_iter().find(|folder| folder.exists());
    findings.extend(tune::look(
        root,
        &process,
        &folder.unwrap_or_else(|| PathBuf::from(".")),
    ));
    findings
}

/// Of what may be locked: the start raises the soft one to it.
fn hard_limit_of_memory() -> u64 {
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |(_, hard)| hard)
}

fn kernel(release: &str) -> Finding {
    let setting = "kernel";
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return finding(
            setting,
            format!("unknown: {release:?}"),
            Verdict::Unknown,
            "",
        );
    };
    let verdict = match (major, minor) >= KERNEL_MIN {
        true => Verdict::Fine,
        false => Verdict::Needed,
    };
    let remedy = "its io_uring lacks what is needed: use Linux 5.15 or later";
    finding(setting, format!("Linux {release}"), verdict, remedy)
}

fn memlock(hard: u64) -> Finding {
    let setting = "limit of locked memory";
    let found = match hard {
        u64::MAX => "unlimited".to_owned(),
        hard => format!("{} KiB", hard >> 10),
    };
    let checked = runtime::check_memlock(hard);
    let verdict = if checked.is_ok() {
        Verdict::Fine
    } else {
        Verdict::Needed
    };
    let remedy = checked
        .err()
        .map_or_else(String::new, |error| error.to_string());
    finding(setting, found, verdict, &remedy)
}

/// No advice: the broker opts out.
fn huge_pages(root: &Path) -> Finding {
    let setting = "transparent huge pages";
    let file = root.join("sys/kernel/mm/transparent_hugepage/enabled");
    let found = std::fs::read_to_string(file).unwrap_or_default();
    let chosen = found.split(['[', ']']).nth(1).unwrap_or("?");
    let found = format!("{chosen}; the broker does without them, whatever is set");
    finding(setting, found, Verdict::Fine, "")
}

fn cores(shards: usize, allowed: usize) -> Finding {
    let setting = "cores";
    let found = format!("{shards} shards on {allowed} cores");
    let verdict = match shards > allowed {
        true => Verdict::Advice,
        false => Verdict::Fine,
    };
    let remedy =
        "shards that share a core wait for each other: start with --cores of what there are";
    finding(setting, found, verdict, remedy)
}

/// What the broker may take beside what the process needs anyway.
fn memory(root: &Path, process: &str, config: &BrokerConfig, shards: usize) -> Finding {
    let setting = "memory";
    let a_shard = config.storage.tail_cache_bytes_per_shard
        + 2 * config.network.request_memory_bytes_per_shard
        + config.storage.journal_bytes_per_shard / 4
        + config.groups.memory_bytes as u64;
    let wanted = a_shard.saturating_mul(shards as u64);
    let file = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let line = file.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let all = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let Some(all) = all.map(|kib| kib << 10) else {
        return finding(setting, "?", Verdict::Unknown, "");
    };
    let all = all.min(tune::memory_max(root, process).unwrap_or(u64::MAX));
    let found = format!(
        "{} MiB, of which newest records, requests, replies, groups and what is not settled may take {} MiB",
        all / MIB,
        wanted / MIB
    );
    let verdict = match wanted > all / 2 {
        true => Verdict::Advice,
        false => Verdict::Fine,
    };
    let remedy = "the kernel ends a process that takes what is not there: set smaller \
                  corelog.tail.cache.bytes, corelog.request.memory.bytes, corelog.group.memory.bytes and \
                  corelog.journal.bytes, use fewer cores, or allow the container more";
    finding(setting, found, verdict, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_15_are_a_problem() {
        let of = |release| kernel(release).verdict;
        assert_eq!(of("5.15.0-91-generic"), Verdict::Fine);
        assert_eq!(of("6.1.0"), Verdict::Fine);
        assert_eq!(of("5.4.0-150-generic"), Verdict::Needed);
        assert_eq!(of("4.19"), Verdict::Needed);
        assert_eq!(of("plan9"), Verdict::Unknown);
    }

    #[test]
    fn what_may_be_locked_has_its_least() {
        let told = memlock(64 << 10);
        assert_eq!((told.verdict, &*told.found), (Verdict::Needed, "64 KiB"));
        assert!(told.remedy.contains("LimitMEMLOCK"), "{told:?}");
        assert_eq!(memlock(u64::MAX).verdict, Verdict::Fine);
    }

    #[test]
    fn shards_want_cores_and_memory() {
        assert_eq!(cores(2, 2).verdict, Verdict::Fine);
        assert_eq!(cores(3, 2).verdict, Verdict::Advice);
        let root = tempfile::tempdir().expect("a temporary folder");
        let config = crate::config::load(b"", &[]).expect("defaults");
        let layers = crate::config::Layers::of_file(&config.settings);
        let config = BrokerConfig::resolve(layers).expect("defaults");
        let with = |kib: u64| {
            std::fs::create_dir_all(root.path().join("proc")).expect("a folder");
            let text = format!("MemTotal: {kib} kB\nMemFree: 1 kB\n");
            std::fs::write(root.path().join("proc/meminfo"), text).expect("a file");
            memory(root.path(), "77", &config, 2)
        };
        let much = with(8 << 20);
        assert_eq!(much.verdict, Verdict::Fine);
        // As README.md reckons them, 704 MiB a core.
        assert!(much.found.ends_with("may take 1408 MiB"), "{much:?}");
        assert_eq!(with(1 << 20).verdict, Verdict::Advice);
        let files = [
            ("proc/77/cgroup", "0::/pod/broker\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/pod/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/pod/broker/memory.max", "max\n"),
        ];
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        // A container has no more than it is allowed.
        assert_eq!(with(8 << 20).verdict, Verdict::Advice);
    }

    #[test]
    fn the_limits_of_the_doctor_are_not_those_of_a_broker_that_runs() {
        let low = || memlock(64 << 10);
        let noted = of_the_doctor(low());
        assert_eq!(noted.verdict, Verdict::Unknown);
        assert_eq!(of_the_doctor(memlock(u64::MAX)), memlock(u64::MAX));
        let subject = |in_use| Subject {
            in_use,
            process: None,
        };
        for in_use in [InUse::Yes, InUse::Unknown] {
            let limits = subject(in_use).limits();
            let is_bad = |it: &Finding| [Verdict::Needed, Verdict::Advice].contains(&it.verdict);
            assert!(!limits.iter().any(is_bad), "{limits:?}");
            assert_ne!(subject(in_use).name(), tune::SELF);
        }
        assert_eq!(subject(InUse::No).name(), tune::SELF);
    }
}
