//! `corelog tune --check`: what of this host's settings stands in the way of the broker, and what to
//! do about it.
//!
//! Each finding is one setting as the kernel shows it below /proc and /sys. What the broker cannot do
//! without, `corelog start` checks as well; the rest is advice. tuning/README.md has the reasons and
//! what was measured.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use nix::sys::stat::{major, minor, stat};

/// Tell what this host's settings cost the broker
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// Look, and change nothing
    #[arg(long, required = true)]
    pub check: bool,

    /// The data folder, or the one above it, whose disk is looked at
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// The broker works, and could do better.
    Advice,
    /// The broker does not start.
    Needed,
    /// The kernel does not say.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    setting: String,
    found: String,
    verdict: Verdict,
    /// Why, and what to do; nothing where all is well.
    remedy: &'static str,
}

/// Open files below which many connections do not fit.
const OPEN_FILES: u64 = 65_536;
/// Connections that may wait to be accepted, per listener.
const BACKLOG: u64 = 1_024;
/// Part of the time that the hypervisor gave to others, from which on latency suffers.
const STEAL_PERCENT: f64 = 1.0;

/// Prints all findings. `Ok(false)` if something is missing that the broker needs.
pub fn run(args: &TuneArgs, out: &mut dyn Write) -> io::Result<bool> {
    let findings = look(Path::new("/"), &args.folder);
    print(&findings, out)?;
    Ok(!findings.iter().any(|one| one.verdict == Verdict::Needed))
}

fn print(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        let Finding {
            setting,
            found,
            verdict,
            remedy,
        } = finding;
        writeln!(out, "{verdict:<8} {setting}: {found}")?;
        if !remedy.is_empty() {
            writeln!(out, "         {remedy}")?;
        }
    }
    let count = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
    writeln!(
        out,
        "{} fine, {} to improve, {} missing, {} that the kernel does not tell",
        count(Verdict::Fine),
        count(Verdict::Advice),
        count(Verdict::Needed),
        count(Verdict::Unknown)
    )
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Fine => "fine",
            Verdict::Advice => "improve",
            Verdict::Needed => "MISSING",
            Verdict::Unknown => "unknown",
        })
    }
}

/// All settings below `root`, which is / but in tests.
fn look(root: &Path, folder: &Path) -> Vec<Finding> {
    let host = Host {
        root: root.to_owned(),
    };
    let mut findings = vec![
        host.io_uring(),
        host.open_files(),
        host.cpu_quota(),
        host.steal(),
        host.clock(),
        host.governor(),
        host.swap(),
        host.backlog(),
    ];
    findings.extend(host.disk(folder));
    findings
}

struct Host {
    root: PathBuf,
}

fn finding(
    setting: impl Into<String>,
    found: impl Into<String>,
    verdict: Verdict,
    remedy: &'static str,
) -> Finding {
    let remedy = match verdict {
        Verdict::Fine | Verdict::Unknown => "",
        Verdict::Advice | Verdict::Needed => remedy,
    };
    Finding {
        setting: setting.into(),
        found: found.into(),
        verdict,
        remedy,
    }
}

fn fine_if(is_fine: bool) -> Verdict {
    match is_fine {
        true => Verdict::Fine,
        false => Verdict::Advice,
    }
}

impl Host {
    /// A file of the kernel's, trimmed; `None` if this kernel has none.
    fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    fn io_uring(&self) -> Finding {
        let setting = "kernel.io_uring_disabled";
        let remedy = "each core needs rings of its own: sysctl kernel.io_uring_disabled=0";
        match self.number("proc/sys/kernel/io_uring_disabled") {
            Some(0) => finding(setting, "0", Verdict::Fine, ""),
            Some(other) => finding(setting, other.to_string(), Verdict::Needed, remedy),
            // Kernels before 6.6 have no such switch.
            None => finding(setting, "no such switch", Verdict::Fine, ""),
        }
    }

    fn open_files(&self) -> Finding {
        let setting = "open files of a process";
        let limits = self.read("proc/self/limits").unwrap_or_default();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let hard = line.and_then(|line| line.split_whitespace().nth(4));
        let Some(hard) = hard else {
            return finding(setting, "?", Verdict::Unknown, "");
        };
        let is_enough =
            hard == "unlimited" || hard.parse().is_ok_and(|hard: u64| hard >= OPEN_FILES);
        let remedy =
            "each connection is one: ulimit -Hn 65536, LimitNOFILE=65536 in a systemd unit";
        finding(setting, hard, fine_if(is_enough), remedy)
    }

    fn cpu_quota(&self) -> Finding {
        let setting = "quota of CPU time";
        let own = self.read("proc/self/cgroup").unwrap_or_default();
        let group = own.lines().find_map(|line| line.strip_prefix("0::"));
        let group = group.unwrap_or("/").trim_start_matches('/');
        let quota = self
            .read(&format!("sys/fs/cgroup/{group}/cpu.max"))
            .or_else(|| self.read("sys/fs/cgroup/cpu.max"));
        let remedy = "a shard that has used up its quota stands still for tens of milliseconds: give the \
                      container whole cores (cpuset), or start with --cores below the quota";
        match quota {
            Some(quota) if !quota.starts_with("max") => {
                finding(setting, quota, Verdict::Advice, remedy)
            }
            _ => finding(setting, "none", Verdict::Fine, ""),
        }
    }

    /// Since the machine was started.
    fn steal(&self) -> Finding {
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

    fn clock(&self) -> Finding {
        let setting = "clock source";
        let source = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        let remedy = "reading the clock is a system call with it: boot with clocksource=tsc where the \
                      CPU's is stable";
        match self.read(source) {
            Some(clock) => {
                let is_fast = ["tsc", "kvm-clock", "arch_sys_counter"].contains(&clock.as_str());
                finding(setting, clock, fine_if(is_fast), remedy)
            }
            None => finding(setting, "?", Verdict::Unknown, ""),
        }
    }

    fn governor(&self) -> Finding {
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

    fn swap(&self) -> Finding {
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

    fn backlog(&self) -> Finding {
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

    /// Of the disk that a folder is on.
    fn disk(&self, folder: &Path) -> Vec<Finding> {
        let Some(mount) = self.mount_of(folder) else {
            let setting = format!("disk of {}", folder.display());
            return vec![finding(setting, "?", Verdict::Unknown, "")];
        };
        let mut findings = vec![mount.file_system(), mount.discard()];
        if let Some(queue) = self.queue_of(&mount.device) {
            findings.push(self.scheduler(&queue));
            findings.push(self.write_cache(&queue));
        }
        findings
    }

    fn scheduler(&self, queue: &str) -> Finding {
        let setting = format!("I/O scheduler ({queue}/scheduler)");
        let remedy = "it holds writes back to sort them, and the journal waits: echo none > the file \
                      named, by a udev rule to keep it";
        match self.read(&format!("{queue}/scheduler")) {
            Some(all) => {
                let chosen = all.split(['[', ']']).nth(1).unwrap_or(&all).to_owned();
                let is_plain = ["none", "mq-deadline"].contains(&chosen.as_str());
                finding(setting, chosen, fine_if(is_plain), remedy)
            }
            None => finding(setting, "?", Verdict::Unknown, ""),
        }
    }

    /// No advice: the kernel knows what the disk says of itself, and that decides what is safe.
    fn write_cache(&self, queue: &str) -> Finding {
        let setting = format!("write cache of the disk ({queue}/write_cache)");
        match self.read(&format!("{queue}/write_cache")).as_deref() {
            Some("write through") => {
                let found = "write through: a write is durable without a flush";
                finding(setting, found, Verdict::Fine, "")
            }
            Some("write back") => {
                let found = "write back: each group of the journal waits for a flush as well; disks \
                             with power-loss protection do without";
                finding(setting, found, Verdict::Fine, "")
            }
            _ => finding(setting, "?", Verdict::Unknown, ""),
        }
    }

    /// The mount whose point is the longest prefix.
    fn mount_of(&self, folder: &Path) -> Option<Mount> {
        let folder = fs::canonicalize(folder).ok()?;
        let mounts = self.read("proc/self/mounts")?;
        let parsed = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, point) = (fields.next()?, fields.next()?);
            let (kind, options) = (fields.next()?, fields.next()?);
            folder.starts_with(point).then(|| Mount {
                point: point.to_owned(),
                kind: kind.to_owned(),
                options: options.split(',').map(str::to_owned).collect(),
                device: device_of(&folder),
            })
        });
        // Of mounts on the same point the last one counts.
        parsed.fold(None, |best: Option<Mount>, mount| match best {
            Some(best) if best.point.len() > mount.point.len() => Some(best),
            _ => Some(mount),
        })
    }

    /// The folder of the queue's settings. A partition has its disk's.
    fn queue_of(&self, device: &str) -> Option<String> {
        let own = format!("sys/dev/block/{device}/queue");
        let of_disk = format!("sys/dev/block/{device}/../queue");
        [own, of_disk]
            .into_iter()
            .find(|queue| self.root.join(queue).is_dir())
    }
}

/// As /sys/dev/block names it.
fn device_of(folder: &Path) -> String {
    let device = stat(folder).map_or(0, |stat| stat.st_dev);
    format!("{}:{}", major(device), minor(device))
}

struct Mount {
    point: String,
    kind: String,
    options: Vec<String>,
    device: String,
}

impl Mount {
    fn file_system(&self) -> Finding {
        let setting = format!("file system of {}", self.point);
        let is_good = ["ext4", "xfs"].contains(&self.kind.as_str());
        let remedy =
            "journals are written over and over, in place, past the page cache: use ext4 or xfs";
        finding(setting, self.kind.clone(), fine_if(is_good), remedy)
    }

    fn discard(&self) -> Finding {
        let setting = format!("online discard of {}", self.point);
        let is_on = self.options.iter().any(|option| option == "discard");
        let remedy = "the disk is told of each deleted segment at once, while others wait for it: mount \
                      without discard and let fstrim.timer do it";
        let found = if is_on { "on" } else { "off" };
        finding(setting, found, fine_if(!is_on), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these files of the kernel's.
    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            fs::write(path, text).expect("it is written");
        }
        root
    }

    fn verdict(files: &[(&str, &str)], of: fn(&Host) -> Finding) -> Verdict {
        let root = host(files);
        of(&Host {
            root: root.path().to_owned(),
        })
        .verdict
    }

    #[test]
    fn io_uring_that_is_switched_off_is_missing() {
        let file = "proc/sys/kernel/io_uring_disabled";
        assert_eq!(verdict(&[(file, "0\n")], Host::io_uring), Verdict::Fine);
        assert_eq!(verdict(&[(file, "2\n")], Host::io_uring), Verdict::Needed);
        assert_eq!(verdict(&[], Host::io_uring), Verdict::Fine);
    }

    #[test]
    fn the_hard_limit_of_open_files_counts() {
        let limits = |hard| format!("Limit  Soft Hard Units\nMax open files  1024 {hard} files\n");
        let of = |hard| verdict(&[("proc/self/limits", &limits(hard))], Host::open_files);
        assert_eq!(of("4096"), Verdict::Advice);
        assert_eq!(of("65536"), Verdict::Fine);
        assert_eq!(of("unlimited"), Verdict::Fine);
        assert_eq!(verdict(&[], Host::open_files), Verdict::Unknown);
    }

    #[test]
    fn a_quota_is_found_in_the_process_own_group() {
        let own = ("proc/self/cgroup", "0::/broker.slice\n");
        let of = |quota| {
            let files = [own, ("sys/fs/cgroup/broker.slice/cpu.max", quota)];
            verdict(&files, Host::cpu_quota)
        };
        assert_eq!(of("max 100000"), Verdict::Fine);
        assert_eq!(of("150000 100000"), Verdict::Advice);
        assert_eq!(verdict(&[], Host::cpu_quota), Verdict::Fine);
    }

    #[test]
    fn stolen_time_is_a_part_of_all_time() {
        let of = |line| verdict(&[("proc/stat", line)], Host::steal);
        assert_eq!(of("cpu 500 0 300 9000 0 0 0 50 0 0\n"), Verdict::Fine);
        assert_eq!(of("cpu 500 0 300 9000 0 0 0 500 0 0\n"), Verdict::Advice);
        assert_eq!(of(""), Verdict::Unknown);
    }

    #[test]
    fn swap_matters_where_there_is_some() {
        let header = "Filename Type Size Used Priority\n";
        let with = format!("{header}/swap file 1 0 -2\n");
        let swappiness = |value| ("proc/sys/vm/swappiness", value);
        let of =
            |swaps: &str, value| verdict(&[("proc/swaps", swaps), swappiness(value)], Host::swap);
        assert_eq!(of(header, "60"), Verdict::Fine);
        assert_eq!(of(&with, "60"), Verdict::Advice);
        assert_eq!(of(&with, "1"), Verdict::Fine);
    }

    #[test]
    fn the_disk_is_that_of_the_folder() {
        let root = host(&[]);
        let data = root.path().join("data");
        fs::create_dir_all(&data).expect("it is made");
        let device = device_of(&data);
        let point = fs::canonicalize(&data).expect("it is there");
        let mounts = format!(
            "/dev/a / btrfs rw 0 0\n/dev/b {} ext4 rw,discard 0 0\n",
            point.display()
        );
        let queue = format!("sys/dev/block/{device}/queue");
        for (path, text) in [
            ("proc/self/mounts".to_owned(), mounts.as_str()),
            (format!("{queue}/scheduler"), "none mq-deadline [bfq]\n"),
            (format!("{queue}/write_cache"), "write back\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            fs::write(path, text).expect("it is written");
        }
        let findings = Host {
            root: root.path().to_owned(),
        }
        .disk(&data);
        let found: Vec<_> = findings
            .iter()
            .map(|one| (one.found.split(':').next().unwrap_or_default(), one.verdict))
            .collect();
        assert_eq!(
            found,
            [
                ("ext4", Verdict::Fine),
                ("on", Verdict::Advice),
                ("bfq", Verdict::Advice),
                ("write back", Verdict::Fine),
            ]
        );
    }

    #[test]
    fn every_finding_that_is_not_fine_says_what_to_do() {
        let root = host(&[("proc/sys/net/core/somaxconn", "128")]);
        let findings = look(root.path(), Path::new("/"));
        let mut out = Vec::new();
        print(&findings, &mut out).expect("memory takes it");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("improve  net.core.somaxconn: 128\n         clients"));
        for finding in findings {
            let is_bad = matches!(finding.verdict, Verdict::Advice | Verdict::Needed);
            assert_eq!(is_bad, !finding.remedy.is_empty(), "{finding:?}");
        }
    }
}
