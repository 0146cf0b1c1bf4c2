//! What the host must give: checked at the start, each with its remedy in one line. Whether there
//! is io_uring and enough lockable memory, the shards' runtime tells.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use corelog_shards::shard::journal_dir;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statvfs::statvfs;

/// Below this many open files a broker with some connections runs short.
pub const OPEN_FILES_LOW: u64 = 1024;

/// What is written to find out about direct I/O; one that was killed meanwhile leaves it behind.
pub(super) const DIRECT_IO_PROBE: &str = ".direct-io-probe";

const BLOCK: usize = 4096;

/// Why this host won't do, with the remedy.
#[derive(Debug)]
pub enum HostError {
    NoDirectIo {
        folder: PathBuf,
        source: io::Error,
    },
    TooLittleRoom {
        folder: PathBuf,
        available: u64,
        journals: u64,
    },
    Unreadable {
        folder: PathBuf,
        source: io::Error,
    },
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::NoDirectIo { folder, source } => write!(
                f,
                "the file system of {} does not take direct I/O ({source}): choose a folder on \
                 ext4, xfs or btrfs with log.dirs",
                folder.display()
            ),
            HostError::TooLittleRoom {
                folder,
                available,
                journals,
            } => write!(
                f,
                "the file system of {} has {} MiB left and the journals take {} MiB: make room, \
                 or set a smaller corelog.journal.bytes",
                folder.display(),
                available >> 20,
                journals >> 20
            ),
            HostError::Unreadable { folder, source } => {
                write!(
                    f,
                    "can't ask for the room in {}: {source}",
                    folder.display()
                )
            }
        }
    }
}

impl std::error::Error for HostError {}

/// Raises the limits of open files and of locked memory to what this user may have. Gives what
/// should be said about them.
pub fn raise_limits() -> Option<String> {
    raise(Resource::RLIMIT_MEMLOCK);
    let open_files = raise(Resource::RLIMIT_NOFILE);
    (open_files < OPEN_FILES_LOW).then(|| {
        format!(
            "only {open_files} files may be open at once, connections included: raise the limit \
             (ulimit -n, LimitNOFILE= of a systemd unit, docker run --ulimit nofile=65536)"
        )
    })
}

/// Keeps the kernel from backing this process's memory with huge pages where it was not asked to:
/// clearing one when it is first touched can hold a core for milliseconds, and an idle broker would
/// take twice its memory.
pub fn use_small_pages() {
    // Without effect on kernels that cannot; nothing else depends on it.
    let _ = nix::sys::prctl::set_thp_disable(true);
}

/// The limit after raising it as far as it goes.
fn raise(resource: Resource) -> u64 {
    let Ok((soft, hard)) = getrlimit(resource) else {
        return u64::MAX;
    };
    match setrlimit(resource, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

#[repr(align(4096))]
struct AlignedBlock([u8; BLOCK]);

/// Writes a block past the page cache, into a file that is removed again.
pub fn check_direct_io(folder: &Path) -> Result<(), HostError> {
    let path = folder.join(DIRECT_IO_PROBE);
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file: File = options.custom_flags(libc::O_DIRECT).open(&path)?;
        let block = AlignedBlock([0; BLOCK]);
        // One write: write_all would go on with an unaligned rest.
        match file.write(&block.0)? {
            BLOCK => Ok(()),
            short => Err(io::Error::other(format!("only {short} bytes were written"))),
        }
    };
    let written = match write() {
        // Says nothing of direct I/O; a full disk must not keep a broker down.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        written => written,
    };
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written
        .and(removed)
        .map_err(|source| HostError::NoDirectIo {
            folder: folder.to_owned(),
            source,
        })
}

/// Whether the journals of all shards fit. A folder with a journal may have less room: what it holds can be read, and
/// appends are refused as long as the disk is full.
pub fn check_room(folder: &Path, shards: usize, journal_bytes: u64) -> Result<(), HostError> {
    let unreadable = |source: io::Error| HostError::Unreadable {
        folder: folder.to_owned(),
        source,
    };
    let room = statvfs(folder).map_err(|errno| unreadable(errno.into()))?;
    let available = room.blocks_available() * room.fragment_size();
    let journals = journal_bytes.saturating_mul(shards as u64);
    let taken = bytes_of_files(&journal_dir(folder)).map_err(unreadable)?;
    if taken == 0 && available < journals {
        return Err(HostError::TooLittleRoom {
            folder: folder.to_owned(),
            available,
            journals,
        });
    }
    Ok(())
}

fn bytes_of_files(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
