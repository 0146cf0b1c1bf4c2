//! Files: always direct, always aligned, through the main ring.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ::glommio::io::{DmaFile, OpenOptions};
use nix::unistd::ftruncate;

use super::poller::Poller;
use super::{Executor, os_error};
use crate::io::OpenMode;
use crate::io::buffer::DmaBuffer;

pub struct File {
    file: DmaFile,
    executor: Rc<Executor>,
    _closing: Closing,
}

/// Dropped after a file: its closing has to be submitted, too.
struct Closing(Rc<Poller>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.want_pass();
    }
}

impl Executor {
    pub(in crate::io) fn buffer(&self, len: usize) -> ::glommio::io::DmaBuffer {
        let mut buffer = ::glommio::allocate_dma_buffer(len);
        buffer.as_bytes_mut().fill(0);
        buffer
    }

    pub(in crate::io) async fn open(
        self: &Rc<Self>,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<File> {
        if mode.read && !self.is_known_device(path) {
            // glommio reads from the first file it opens on a device, to find out
            // whether completions can be polled for, and takes the zero bytes of an
            // empty file for a yes; every later read then fails. From a file that is
            // open for writing alone it cannot read, and takes that for a no.
            let write_only = OpenMode {
                read: false,
                write: true,
                ..mode
            };
            drop(
                self.poller
                    .submitted_all(dma_open(path, write_only))
                    .await?,
            );
            self.remember_device(path);
        }
        let file = self.poller.submitted_all(dma_open(path, mode)).await?;
        Ok(File {
            file,
            executor: Rc::clone(self),
            _closing: Closing(Rc::clone(&self.poller)),
        })
    }

    /// Whether files beside `path` are on a device that glommio has judged.
    fn is_known_device(&self, path: &Path) -> bool {
        device_of(path).is_some_and(|device| self.known_devices.borrow().contains(&device))
    }

    fn remember_device(&self, path: &Path) {
        if let Some(device) = device_of(path) {
            self.known_devices.borrow_mut().insert(device);
        }
    }
}

/// The device of the directory that `path` lies in.
fn device_of(path: &Path) -> Option<u64> {
    // Answered from memory in about a microsecond, as glommio's own statfs of each
    // file it opens is; not worth a trip to the blocking pool.
    Some(std::fs::metadata(path.parent()?).ok()?.dev())
}

async fn dma_open(path: &Path, mode: OpenMode) -> io::Result<DmaFile> {
    let mut options = OpenOptions::new();
    options
        .read(mode.read)
        .write(mode.write)
        .create(mode.create)
        .truncate(mode.truncate);
    if mode.sync_on_write {
        options.custom_flags(libc::O_DSYNC);
    }
    // glommio asks for the file system of the path after having opened it, and
    // panics if somebody has removed the file meanwhile.
    let mut open = pin!(options.dma_open(path));
    let opened = poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| open.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(opened)) => Poll::Ready(opened.map_err(os_error)),
            Err(_) => Poll::Ready(Err(io::ErrorKind::NotFound.into())),
        },
    );
    opened.await
}

impl File {
    pub(in crate::io) async fn write_at(
        &self,
        buffer: ::glommio::io::DmaBuffer,
        len: usize,
        position: u64,
    ) -> (io::Result<()>, ::glommio::io::DmaBuffer) {
        let (mut result, mut buffer) = self.write_once(buffer, len, position).await;
        if matches!(result, Ok(written) if written < len) {
            // Most likely the disk filled up on the way. The same bytes may be
            // written to the same place again, which tells the reason.
            (result, buffer) = self.write_once(buffer, len, position).await;
        }
        let result = match result {
            Ok(written) if written == len => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
        };
        (result, buffer)
    }

    /// Writes the first `len` bytes of `buffer` and gives back the whole of it.
    #[allow(unsafe_code)]
    async fn write_once(
        &self,
        buffer: ::glommio::io::DmaBuffer,
        len: usize,
        position: u64,
    ) -> (io::Result<usize>, ::glommio::io::DmaBuffer) {
        // glommio writes whole buffers, can shorten one, and cannot make it long
        // again. So one bitwise copy is shortened and written while the other keeps
        // the true length, and exactly one of the two is ever dropped.
        let buffer = ManuallyDrop::new(buffer);
        // SAFETY: `buffer` is not touched while `short` exists. Either the write
        // completes, then `short` is forgotten and `buffer` handed out; or this future
        // is dropped half-way, then `buffer` (in its `ManuallyDrop`) is forgotten and
        // `short` is freed by glommio once the kernel is done with it.
        let mut short = unsafe { std::ptr::read(&*buffer) };
        short.trim_to_size(len);
        let short = Rc::new(short);
        let write = self.file.write_rc_at(Rc::clone(&short), position);
        let result = self.executor.poller.submitted(write).await;
        match Rc::try_unwrap(short) {
            Ok(short) => {
                let _the_same_memory = ManuallyDrop::new(short);
                (result.map_err(os_error), ManuallyDrop::into_inner(buffer))
            }
            // glommio lets go of the buffer before it reports the completion. Should
            // it ever not, the memory stays its own and we go on with other memory.
            Err(_) => {
                let replacement = ::glommio::allocate_dma_buffer(buffer.len());
                (result.map_err(os_error), replacement)
            }
        }
    }

    pub(in crate::io) async fn read_at(&self, position: u64, len: usize) -> io::Result<DmaBuffer> {
        let read = self.file.read_at_aligned(position, len);
        let read = self.executor.poller.submitted(read).await;
        Ok(DmaBuffer::from_read(read.map_err(os_error)?))
    }

    pub(in crate::io) async fn sync(&self) -> io::Result<()> {
        let synced = self.executor.poller.submitted(self.file.fdatasync()).await;
        synced.map_err(os_error)
    }

    #[allow(unsafe_code)]
    pub(in crate::io) async fn truncate(&self, len: u64) -> io::Result<()> {
        // SAFETY: the file is open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.file.as_raw_fd()) };
        // One of the thread's own, which stays open even if this future is dropped.
        let descriptor = descriptor.try_clone_to_owned()?;
        let truncate = move || Ok(ftruncate(descriptor, len as libc::off_t)?);
        self.executor.pool.run(truncate).await
    }

    pub(in crate::io) async fn allocate(&self, len: u64) -> io::Result<()> {
        let allocate = self.file.pre_allocate(len, true);
        let allocated = self.executor.poller.submitted_all(allocate).await;
        allocated.map_err(os_error)
    }

    pub(in crate::io) async fn close(self) -> io::Result<()> {
        let File { file, executor, .. } = self;
        let closed = executor.poller.submitted_all(file.close()).await;
        closed.map_err(os_error)
    }
}
