//! Files: always direct, always aligned, through the shard's own [`Ring`].

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use nix::unistd::ftruncate;

use super::Executor;
use super::ring::{Descriptor, Ring};
use crate::io::OpenMode;
use crate::io::buffer::DmaBuffer;

/// Of files that are made.
const PERMISSIONS: u32 = 0o644;

pub struct File {
    descriptor: Rc<Descriptor>,
    executor: Rc<Executor>,
}

impl Executor {
    pub(in crate::io) async fn open(
        self: &Rc<Self>,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<File> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let opening = self.ring().open(path, flags(mode), PERMISSIONS);
        Ok(File {
            descriptor: opening.await?,
            executor: Rc::clone(self),
        })
    }
}

fn flags(mode: OpenMode) -> i32 {
    let access = match (mode.read, mode.write) {
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        (_, false) => libc::O_RDONLY,
    };
    let options = [
        (mode.create, libc::O_CREAT),
        (mode.sync_on_write, libc::O_DSYNC),
    ];
    let chosen = options.iter().filter(|(is_wanted, _)| *is_wanted);
    chosen.fold(
        access | libc::O_DIRECT | libc::O_CLOEXEC,
        |all, (_, one)| all | one,
    )
}

impl File {
    fn ring(&self) -> &Rc<Ring> {
        self.executor.ring()
    }

    pub(in crate::io) async fn write_at(
        &self,
        buffer: DmaBuffer,
        len: usize,
        position: u64,
    ) -> (io::Result<()>, DmaBuffer) {
        let file = &self.descriptor;
        let (mut result, mut buffer) = self.ring().write(file, buffer, len, position).await;
        if matches!(result, Ok(written) if written < len) {
            // Most likely the disk filled up on the way. The same bytes may be
            // written to the same place again, which tells the reason.
            (result, buffer) = self.ring().write(file, buffer, len, position).await;
        }
        let result = match result {
            Ok(written) if written == len => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
        };
        (result, buffer)
    }

    pub(in crate::io) async fn read_at(&self, position: u64, len: usize) -> io::Result<DmaBuffer> {
        self.ring().read(&self.descriptor, len, position).await
    }

    pub(in crate::io) async fn sync(&self) -> io::Result<()> {
        self.ring().sync(&self.descriptor).await
    }

    pub(in crate::io) async fn truncate(&self, len: u64) -> io::Result<()> {
        // One of the thread's own, which stays open even if this future is dropped.
        let descriptor = self.descriptor.borrow().try_clone_to_owned()?;
        let truncate = move || Ok(ftruncate(descriptor, len as libc::off_t)?);
        self.executor.pool.run(truncate).await
    }

    pub(in crate::io) async fn allocate(&self, len: u64) -> io::Result<()> {
        self.ring().allocate(&self.descriptor, len).await
    }

    pub(in crate::io) async fn close(self) -> io::Result<()> {
        self.descriptor.close().await
    }
}
