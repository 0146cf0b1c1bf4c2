//! Operations on paths. io_uring does few of them, so they run on the shard's pool of
//! ordinary threads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::Executor;
use crate::io::{DirEntry, FsSpace};

/// What one truncation of a large file frees. Freeing half a gigabyte at once makes
/// other writes wait for tens of milliseconds.
const TRUNCATE_STEP: u64 = 32 << 20;

impl Executor {
    pub(in crate::io) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.pool.run(move || fs::create_dir_all(path)).await
    }

    pub(in crate::io) async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.pool.run(move || remove_dir(&path)).await
    }

    pub(in crate::io) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut len = self.file_len(path).await?;
        // Each step is an operation of its own, so that others get in between.
        while len > TRUNCATE_STEP {
            len -= TRUNCATE_STEP;
            let path = path.to_owned();
            self.pool
                .run(move || {
                    let file = fs::OpenOptions::new().write(true).open(path)?;
                    file.set_len(len)
                })
                .await?;
        }
        let path = path.to_owned();
        self.pool.run(move || fs::remove_file(path)).await
    }

    pub(in crate::io) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.pool.run(move || fs::rename(from, to)).await
    }

    pub(in crate::io) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.pool
            .run(move || fs::File::open(path)?.sync_all())
            .await
    }

    pub(in crate::io) async fn list_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = path.to_owned();
        self.pool.run(move || list_dir(&path)).await
    }

    pub(in crate::io) async fn file_len(&self, path: &Path) -> io::Result<u64> {
        let path = path.to_owned();
        self.pool.run(move || Ok(fs::metadata(path)?.len())).await
    }

    pub(in crate::io) async fn read_small(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path = path.to_owned();
        self.pool.run(move || fs::read(path)).await
    }

    pub(in crate::io) async fn write_small(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (path, bytes) = (path.to_owned(), bytes.to_owned());
        self.pool.run(move || write_small(&path, &bytes)).await
    }

    pub(in crate::io) async fn write_behind(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (path, bytes) = (path.to_owned(), bytes.to_owned());
        self.pool.run(move || fs::write(path, bytes)).await
    }

    pub(in crate::io) async fn free_space(&self, path: &Path) -> io::Result<FsSpace> {
        let path = path.to_owned();
        self.pool
            .run(move || {
                let stat = statvfs(&path)?;
                let block = stat.fragment_size();
                Ok(FsSpace {
                    total: stat.blocks() * block,
                    available: stat.blocks_available() * block,
                })
            })
            .await
    }
}

/// Of a link to a directory only the link.
fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error)
            if error.kind() == io::ErrorKind::NotADirectory
                && fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) =>
        {
            fs::remove_file(path)
        }
        removed => removed,
    }
}

fn list_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // What a link leads to counts: partitions may be kept elsewhere.
        let metadata = match fs::metadata(entry.path()).or_else(|_| entry.metadata()) {
            Ok(metadata) => metadata,
            // Removed since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        entries.push(DirEntry {
            name: entry.file_name().to_string_lossy().into_owned(),
            // Of a link that cannot be followed nobody knows better: the directory may be back in a moment.
            is_dir: metadata.is_dir() || metadata.is_symlink(),
            len: metadata.len(),
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn write_small(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = write_and_sync(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // On a full disk it would only be in the way. The error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::File::open(parent)?.sync_all()
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}
