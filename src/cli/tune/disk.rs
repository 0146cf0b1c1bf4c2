//! The disk that the data folder is on, and how it is mounted.

use std::fs;
use std::path::Path;

use nix::sys::stat::{major, minor, stat};

use super::host::Host;
use crate::cli::finding::{Finding, Verdict, finding, fine_if};

impl Host {
    /// Of the disk that a folder is on.
    pub(super) fn disk(&self, folder: &Path) -> Vec<Finding> {
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
        match self.read(format!("{queue}/scheduler")) {
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
        match self.read(format!("{queue}/write_cache")).as_deref() {
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
            let (_, point) = (fields.next()?, unescaped(fields.next()?));
            let (kind, options) = (fields.next()?, fields.next()?);
            folder.starts_with(&point).then(|| Mount {
                point,
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

/// A field of the list of mounts, in which the kernel writes what would end it as octal numbers.
fn unescaped(field: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let replaced = |text: String, (escape, plain)| text.replace(escape, plain);
    escapes.into_iter().fold(field.to_owned(), replaced)
}

/// As /sys/dev/block names it.
pub(super) fn device_of(folder: &Path) -> String {
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
