//! The machine that figures belong to.

use std::fs;
use std::path::Path;
use std::process::Command;

use corelog_loadgen::report::Host;
use nix::sys::stat::{major, minor, stat};
use serde::{Deserialize, Serialize};

/// What it is made of, as far as it tells; what it does not is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub host: Host,
    /// Device, model, size and scheduler of the disk that brokers write to.
    pub disk: String,
    pub file_system: String,
    /// Of each product, by its name.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    /// This one, with the disk that holds a folder.
    pub fn here(folder: &Path, versions: Vec<(String, String)>) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Self {
            host: Host::here(),
            disk: disk(&folder).unwrap_or_default(),
            file_system: file_system(&mounts, &folder).unwrap_or_default(),
            versions,
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = &self.host;
        let gigabytes = host.memory_bytes as f64 / 1e9;
        write!(
            out,
            "{} cores of {}, {gigabytes:.0} GB, Linux {}; disk {}, {}",
            host.cores, host.cpu_model, host.kernel, self.disk, self.file_system
        )?;
        self.versions
            .iter()
            .try_for_each(|(name, version)| write!(out, "; {name} {version}"))
    }
}

/// What a program says of its version, in one line.
pub fn version_of(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn disk(folder: &Path) -> Option<String> {
    let device = stat(folder).ok()?.st_dev;
    let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let mut of_device = fs::canonicalize(link).ok()?;
    if of_device.join("partition").exists() {
        of_device.pop();
    }
    let read = |path: &str| fs::read_to_string(of_device.join(path)).unwrap_or_default();
    let sectors: f64 = read("size").trim().parse().unwrap_or(0.0);
    let name = of_device.file_name()?.to_string_lossy().into_owned();
    let scheduler = read("queue/scheduler");
    let scheduler = scheduler.split(['[', ']']).nth(1).unwrap_or("unknown");
    Some(format!(
        "{name} {} of {:.0} GB, scheduler {scheduler}",
        read("device/model").trim(),
        sectors * 512.0 / 1e9
    ))
}

/// Type and options of the mount with the longest path that the folder is in.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|mount| mount.len() > 3 && folder.starts_with(mount[1]));
    let mount = holding.max_by_key(|mount| mount[1].len())?;
    Some(format!("{} ({})", mount[2], mount[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_the_one() {
        let mounts =
            "/dev/a / ext4 rw,noatime 0 0\n/dev/b /data xfs rw 0 0\n/dev/c /dat btrfs rw 0 0\n";
        let found = |folder: &str| file_system(mounts, Path::new(folder));
        assert_eq!(found("/data/kafka"), Some("xfs (rw)".to_owned()));
        assert_eq!(found("/var"), Some("ext4 (rw,noatime)".to_owned()));
        assert_eq!(file_system("", Path::new("/var")), None);
    }
}
