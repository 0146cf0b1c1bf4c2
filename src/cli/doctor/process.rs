//! The process that has taken the data folders, as /proc shows it.
//!
//! Only root and the process's own user may see that much; to others nothing is known.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::folders::look::lock_file;

/// The state of a socket that listens, in the kernel's tables.
const LISTENS: &str = "0A";

#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Its folder below /proc.
    folder: PathBuf,
}

impl Process {
    /// The one that holds the lock of a data folder.
    pub(super) fn with_lock(root: &Path, folder: &Path) -> Option<Process> {
        let lock = lock_file(folder).canonicalize().ok()?;
        let entries = fs::read_dir(root.join("proc")).ok()?;
        entries.flatten().find_map(|entry| {
            let process = Process {
                pid: entry.file_name().to_str()?.parse().ok()?,
                folder: entry.path(),
            };
            process.has_locked(&lock).then_some(process)
        })
    }

    fn has_locked(&self, lock: &Path) -> bool {
        // Others may have the file open to ask whether it is locked.
        let is_locked = |fd: OsString| {
            let info = fs::read_to_string(self.folder.join("fdinfo").join(fd));
            info.is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:")))
        };
        let mut open = self.open_files();
        open.any(|(fd, target)| target == lock && is_locked(fd))
    }

    /// Descriptors, and what they are of.
    fn open_files(&self) -> impl Iterator<Item = (OsString, PathBuf)> + use<> {
        let entries = fs::read_dir(self.folder.join("fd")).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)))
    }

    /// The hard limit of a resource, by the kernel's name for it; the start raises the soft one to it.
    pub(super) fn limit(&self, resource: &str) -> Option<u64> {
        let limits = fs::read_to_string(self.folder.join("limits")).ok()?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(resource))?;
        match line.split_whitespace().nth(1)? {
            "unlimited" => Some(u64::MAX),
            hard => hard.parse().ok(),
        }
    }

    /// Whether it is among those that listen on a port; `None` if that cannot be told.
    pub(super) fn listens_on(&self, port: u16) -> Option<bool> {
        let table = |name: &str| fs::read_to_string(self.folder.join("net").join(name));
        let tables = ["tcp", "tcp6"].map(|name| table(name).unwrap_or_default());
        let sockets: Vec<PathBuf> = tables
            .iter()
            .flat_map(|table| table.lines())
            .filter_map(|line| listening(line, port))
            .collect();
        let mut open = self.open_files();
        (!sockets.is_empty()).then(|| open.any(|(_, target)| sockets.contains(&target)))
    }
}

/// The socket of a line of the kernel's table, as descriptors name it, if it listens on a port.
fn listening(line: &str, port: u16) -> Option<PathBuf> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (_, its_port) = local.rsplit_once(':')?;
    let is_it = *state == LISTENS && u16::from_str_radix(its_port, 16) == Ok(port);
    is_it.then(|| format!("socket:[{inode}]").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_found_in_the_kernels_table() {
        let line = "   0: 0100007F:23A4 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 0 100";
        assert_eq!(listening(line, 9124), Some("socket:[4711]".into()));
        assert_eq!(listening(line, 9125), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 9124), None);
        assert_eq!(
            listening("  sl  local_address rem_address   st", 9124),
            None
        );
    }

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n\
                    Max locked memory         8388608              unlimited            bytes     \n";
        fs::write(root.path().join("limits"), text).expect("a file");
        let process = Process {
            pid: 77,
            folder: root.path().to_owned(),
        };
        assert_eq!(process.limit("Max open files"), Some(524_288));
        assert_eq!(process.limit("Max locked memory"), Some(u64::MAX));
        assert_eq!(process.limit("Max nothing"), None);
    }
}
