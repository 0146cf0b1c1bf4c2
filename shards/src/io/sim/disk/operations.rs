//! What a shard does with its node's disk. Every operation suspends before it takes
//! effect and again after it has, so that a crash finds both.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::io::buffer::{BLOCK, DmaBuffer};
use crate::io::sim::coverage::Fault;
use crate::io::sim::shard::Shard;
use crate::io::{DirEntry, FsSpace, OpenMode};

use super::names::InodeId;
use super::{Disk, Operation, input_output_error, no_space};

/// As on a real disk, see `glommio::paths`.
const TRUNCATE_STEP: u64 = 32 << 20;

impl Shard {
    /// One operation of the disk: `effect` happens at some moment of its duration.
    async fn disk_operation<T>(
        &self,
        effect: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        self.disk_pause().await;
        let disk = self.disk()?;
        let outcome = effect(&mut disk.borrow_mut());
        self.disk_pause().await;
        outcome
    }

    /// Whether this operation is one of those that fail.
    fn disk_fails(&self, disk: &RefCell<Disk>, operation: Operation, path: &str) -> bool {
        let ordered = disk.borrow_mut().takes_ordered_failure(operation, path);
        let fails = ordered || self.draws_disk_error(operation);
        if fails {
            self.kernel().inject(match operation {
                Operation::Read => Fault::ReadError,
                Operation::Write | Operation::WholeWrite => Fault::WriteError,
                Operation::Sync | Operation::SyncDir => Fault::SyncError,
            });
        }
        fails
    }

    pub(in crate::io) async fn open(
        self: &Rc<Self>,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<File> {
        // Once it is open it must be closed, even if nobody waits for it any more.
        self.disk_pause().await;
        let disk = self.disk()?;
        self.tell(|| format!("open {}", path.display()));
        let inode = disk.borrow_mut().open(path, mode)?;
        let file = File {
            shard: Rc::clone(self),
            disk,
            inode,
            mode,
        };
        self.disk_pause().await;
        Ok(file)
    }

    pub(in crate::io) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.tell(|| format!("make directory {}", path.display()));
        self.disk_operation(|disk| disk.create_directory(path))
            .await
    }

    pub(in crate::io) async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.tell(|| format!("remove directory {}", path.display()));
        self.disk_operation(|disk| disk.remove_directory(path))
            .await
    }

    pub(in crate::io) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut len = self.file_len(path).await?;
        while len > TRUNCATE_STEP {
            len -= TRUNCATE_STEP;
            self.disk_operation(|disk| {
                let inode = disk.resolve(path)?;
                disk.truncate(inode, len);
                Ok(())
            })
            .await?;
        }
        self.tell(|| format!("remove {}", path.display()));
        self.disk_operation(|disk| disk.unlink(path)).await
    }

    pub(in crate::io) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell(|| format!("rename {} to {}", from.display(), to.display()));
        self.disk_operation(|disk| disk.rename(from, to)).await
    }

    pub(in crate::io) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let disk = self.disk()?;
        let (directory, covered) = {
            let disk = disk.borrow();
            (disk.resolve_directory(path)?, disk.directories.changes())
        };
        self.disk_pause().await;
        self.disk()?;
        if self.disk_fails(&disk, Operation::SyncDir, &path.to_string_lossy()) {
            return Err(input_output_error());
        }
        self.tell(|| format!("sync directory {}", path.display()));
        disk.borrow_mut().directories.sync(directory, covered);
        self.record(&[5, directory, covered]);
        self.disk_pause().await;
        Ok(())
    }

    pub(in crate::io) async fn list_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk_operation(|disk| disk.list(path)).await
    }

    pub(in crate::io) async fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.disk_operation(|disk| disk.file_len(path)).await
    }

    pub(in crate::io) async fn read_small(self: &Rc<Self>, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::READ).await?;
        let len = file.disk.borrow_mut().file(file.inode).content.len();
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory)?];
        let read = file.read_bytes(0, &mut bytes).await?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(in crate::io) async fn write_small(
        self: &Rc<Self>,
        path: &Path,
        bytes: &[u8],
    ) -> io::Result<()> {
        let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let mut written = self.write_and_sync(&temporary, bytes).await;
        if written.is_ok() {
            written = self.rename(&temporary, path).await;
        }
        if let Err(error) = written {
            // As on a real disk: what is left of it would only be in the way.
            let _ = self.remove_file(&temporary).await;
            return Err(error);
        }
        self.sync_dir(parent).await
    }

    async fn write_and_sync(self: &Rc<Self>, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_whole(path, bytes).await?.sync().await
    }

    pub(in crate::io) async fn write_behind(
        self: &Rc<Self>,
        path: &Path,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.write_whole(path, bytes).await.map(drop)
    }

    async fn write_whole(self: &Rc<Self>, path: &Path, bytes: &[u8]) -> io::Result<File> {
        let mode = OpenMode {
            write: true,
            create: true,
            ..OpenMode::default()
        };
        let file = self.open(path, mode).await?;
        file.disk.borrow_mut().truncate(file.inode, 0);
        file.write_bytes(bytes, 0).await?;
        Ok(file)
    }

    pub(in crate::io) async fn free_space(&self, path: &Path) -> io::Result<FsSpace> {
        self.disk_operation(|disk| {
            disk.resolve(path)?;
            Ok(disk.space())
        })
        .await
    }
}

/// An open file of a simulated disk.
pub struct File {
    shard: Rc<Shard>,
    disk: Rc<RefCell<Disk>>,
    inode: InodeId,
    mode: OpenMode,
}

impl Drop for File {
    fn drop(&mut self) {
        // The handles of a crashed node are closed by the crash.
        if self.shard.is_alive() {
            self.disk.borrow_mut().close(self.inode);
        }
    }
}

/// A write that the disk was given. Dropped before its end, as when its task is
/// cancelled, it is done or not; a crash finds it still under way.
struct UnderWay<'a> {
    file: &'a File,
    ticket: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let shard = &self.file.shard;
        if shard.is_alive() {
            let part = if shard.toss() { usize::MAX } else { 0 };
            self.complete(part);
        }
    }
}

impl UnderWay<'_> {
    /// Does nothing if it was completed before.
    fn complete(&self, part: usize) {
        let is_durable = self.file.mode.sync_on_write;
        let mut disk = self.file.disk.borrow_mut();
        let file = disk.file(self.file.inode);
        file.content.complete_write(self.ticket, part, is_durable);
    }
}

impl File {
    fn path(&self) -> String {
        self.disk.borrow_mut().file(self.inode).path.clone()
    }

    fn tell(&self, event: impl FnOnce(&str) -> String) {
        self.shard.tell(|| event(&self.path()));
    }

    fn fails(&self, operation: Operation) -> bool {
        self.shard.disk_fails(&self.disk, operation, &self.path())
    }

    pub(in crate::io) async fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if !bytes.as_ptr().addr().is_multiple_of(BLOCK) {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.write_bytes(bytes, position).await
    }

    /// Writes at any alignment.
    async fn write_bytes(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.shard.disk()?;
        if !self.mode.write {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let ticket = {
            let mut disk = self.disk.borrow_mut();
            let content = &mut disk.file(self.inode).content;
            content.begin_write(position, Rc::from(bytes))
        };
        let under_way = UnderWay { file: self, ticket };
        self.shard.disk_pause().await;
        self.shard.disk()?;
        let blocks = bytes.len().div_ceil(BLOCK);
        let some_blocks = self.shard.below(blocks as u64 + 1) as usize * BLOCK;
        if self.fails(Operation::WholeWrite) {
            under_way.complete(0);
            return Err(input_output_error());
        }
        if self.fails(Operation::Write) {
            if some_blocks > 0 {
                self.shard.kernel().inject(Fault::WritePartly);
            }
            under_way.complete(some_blocks);
            return Err(input_output_error());
        }
        if let Some(duration) = self.shard.draws_disk_full() {
            let until = self.shard.now() + duration;
            self.disk.borrow_mut().fill_up(until);
        }
        let end = position + bytes.len() as u64;
        let room = self.disk.borrow_mut().allocate(self.inode, end);
        if room.is_err() {
            self.shard.kernel().inject(Fault::DiskFull);
            // As much of it as there is room for, at most.
            let available = self.disk.borrow().space().available;
            let allocated = self.disk.borrow_mut().file(self.inode).allocated;
            let fits = (allocated + available).saturating_sub(position);
            let fits = usize::try_from(fits).unwrap_or(usize::MAX);
            let part = some_blocks.min(fits - fits % BLOCK);
            let reached = self
                .disk
                .borrow_mut()
                .allocate(self.inode, position + part as u64);
            under_way.complete(if reached.is_ok() { part } else { 0 });
            self.shard.disk_pause().await;
            return Err(no_space());
        }
        under_way.complete(usize::MAX);
        self.tell(|path| format!("write {path} at {position}, {} bytes", bytes.len()));
        let (len, crc) = (bytes.len() as u64, crc32c::crc32c(bytes));
        self.shard
            .record(&[2, self.inode, position, len, u64::from(crc)]);
        self.shard.disk_pause().await;
        Ok(())
    }

    pub(in crate::io) async fn read_at(&self, position: u64, len: usize) -> io::Result<DmaBuffer> {
        let mut bytes = vec![0; len];
        let read = self.read_bytes(position, &mut bytes).await?;
        let mut buffer = DmaBuffer::zeroed(read);
        buffer.copy_from_slice(&bytes[..read]);
        Ok(buffer)
    }

    /// Reads at any alignment.
    async fn read_bytes(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        if !self.mode.read {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        self.shard.disk_pause().await;
        self.shard.disk()?;
        let range = position..position + into.len() as u64;
        if self.disk.borrow().is_unreadable(self.inode, &range) {
            self.shard.kernel().inject(Fault::ReadError);
            return Err(input_output_error());
        }
        if self.fails(Operation::Read) {
            let until = self.shard.now() + self.shard.draws_unreadable();
            let mut disk = self.disk.borrow_mut();
            disk.make_unreadable(self.inode, range, until);
            return Err(input_output_error());
        }
        let read = {
            let mut disk = self.disk.borrow_mut();
            disk.file(self.inode).content.read(position, into)
        };
        self.tell(|path| format!("read {path} at {position}, {read} bytes"));
        self.shard.record(&[3, self.inode, position, read as u64]);
        self.shard.disk_pause().await;
        Ok(read)
    }

    pub(in crate::io) async fn sync(&self) -> io::Result<()> {
        self.shard.disk()?;
        let covered = self.disk.borrow_mut().file(self.inode).content.events();
        self.shard.disk_pause().await;
        self.shard.disk()?;
        let failed = self.fails(Operation::Sync);
        {
            let mut disk = self.disk.borrow_mut();
            let content = &mut disk.file(self.inode).content;
            if failed {
                content.fail_sync(covered);
            } else {
                content.sync(covered);
            }
        }
        self.tell(|path| match failed {
            true => format!("sync {path} fails"),
            false => format!("sync {path}"),
        });
        self.shard
            .record(&[4, self.inode, covered, u64::from(failed)]);
        self.shard.disk_pause().await;
        if failed {
            return Err(input_output_error());
        }
        Ok(())
    }

    pub(in crate::io) async fn truncate(&self, len: u64) -> io::Result<()> {
        let inode = self.inode;
        self.tell(|path| format!("truncate {path} to {len}"));
        self.shard
            .disk_operation(|disk| {
                disk.truncate(inode, len);
                Ok(())
            })
            .await
    }

    pub(in crate::io) async fn allocate(&self, len: u64) -> io::Result<()> {
        let inode = self.inode;
        self.tell(|path| format!("allocate {path} to {len}"));
        let allocated = self
            .shard
            .disk_operation(|disk| disk.allocate(inode, len))
            .await;
        if allocated.is_err() {
            self.shard.kernel().inject(Fault::DiskFull);
        }
        allocated
    }

    pub(in crate::io) async fn close(self) -> io::Result<()> {
        self.shard.disk_pause().await;
        Ok(())
    }
}
