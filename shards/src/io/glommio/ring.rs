//! The shard's own io_uring, for files.
//!
//! glommio's reactor has three rings and arms and cancels timers on them at each of its passes: four
//! or five submissions, and as many system calls, for one write. Here an operation is one submission;
//! those that came up while tasks ran go to the kernel with one call, and completions are taken from
//! memory whenever the [`poller`](super::poller) looks outside.
//!
//! What the kernel works with (the descriptor, the buffer, the path) belongs to the operation until
//! the kernel is done with it, whatever becomes of the future that waits.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::{IoUring, opcode, squeue, types};
use slab::Slab;

use crate::io::buffer::DmaBuffer;

/// Submissions that wait for one call.
const SUBMISSIONS: u32 = 256;
/// Completions that have room; the kernel keeps more elsewhere.
const COMPLETIONS: u32 = 4096;

pub(super) struct Ring {
    uring: RefCell<IoUring>,
    operations: RefCell<Slab<Operation>>,
    /// Operations that the kernel has not completed.
    under_way: Cell<usize>,
    /// Queued since the last call.
    has_queued: Cell<bool>,
}

struct Operation {
    progress: Progress,
    kept: Kept,
    /// The file is open as long as it is worked with.
    _file: Option<Rc<Descriptor>>,
}

impl Operation {
    /// Nobody has taken the outcome: a file that was opened is closed again.
    #[allow(unsafe_code)]
    fn ends_unclaimed(self, result: i32) {
        if matches!(self.kept, Kept::Path(_)) && result >= 0 {
            // SAFETY: the kernel gave it to this operation, and nobody else knows of it.
            drop(unsafe { OwnedFd::from_raw_fd(result) });
        }
    }
}

enum Progress {
    Waiting(Option<Waker>),
    Done(i32),
    /// Nobody waits any more.
    Abandoned,
}

/// Memory that the kernel works with.
#[derive(Default)]
pub(super) enum Kept {
    #[default]
    Nothing,
    Buffer(DmaBuffer),
    /// Of a file that is opened.
    Path(#[expect(dead_code, reason = "only kept")] CString),
}

impl Ring {
    /// No other ring may be made meanwhile (see `launch`).
    pub(super) fn new() -> io::Result<Rc<Ring>> {
        let uring = build(IoUring::builder().setup_coop_taskrun())
            // Kernels before 5.19 cannot.
            .or_else(|_| build(&mut IoUring::builder()))?;
        Ok(Rc::new(Ring {
            uring: RefCell::new(uring),
            operations: RefCell::default(),
            under_way: Cell::new(0),
            has_queued: Cell::new(false),
        }))
    }

    #[allow(unsafe_code)]
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as the ring.
        unsafe { BorrowedFd::borrow_raw(self.uring.borrow().as_raw_fd()) }
    }

    pub(super) async fn open(
        self: &Rc<Self>,
        path: CString,
        flags: i32,
        mode: u32,
    ) -> io::Result<Rc<Descriptor>> {
        let here = types::Fd(libc::AT_FDCWD);
        let entry = opcode::OpenAt::new(here, path.as_ptr())
            .flags(flags)
            .mode(mode);
        let opening = self.begin(entry.build(), Kept::Path(path), None);
        let (number, _) = opening.await;
        Ok(Rc::new(Descriptor {
            number: number? as RawFd,
            ring: Rc::clone(self),
        }))
    }

    /// Writes the first `len` bytes of a buffer; gives it back with the number of bytes.
    pub(super) async fn write(
        self: &Rc<Self>,
        file: &Rc<Descriptor>,
        buffer: DmaBuffer,
        len: usize,
        position: u64,
    ) -> (io::Result<usize>, DmaBuffer) {
        assert!(len <= buffer.len());
        let fd = types::Fd(file.number);
        let entry = opcode::Write::new(fd, buffer.as_ptr(), len as u32).offset(position);
        self.transfer(entry.build(), file, buffer).await
    }

    /// Reads at most `len` bytes.
    #[allow(unsafe_code)]
    pub(super) async fn read(
        self: &Rc<Self>,
        file: &Rc<Descriptor>,
        len: usize,
        position: u64,
    ) -> io::Result<DmaBuffer> {
        let mut buffer = DmaBuffer::for_read(len);
        let (room, capacity) = buffer.as_room();
        let fd = types::Fd(file.number);
        let entry = opcode::Read::new(fd, room, capacity as u32).offset(position);
        let (read, mut buffer) = self.transfer(entry.build(), file, buffer).await;
        // SAFETY: the kernel has written so many.
        unsafe { buffer.has_read(read?) };
        Ok(buffer)
    }

    async fn transfer(
        self: &Rc<Self>,
        entry: squeue::Entry,
        file: &Rc<Descriptor>,
        buffer: DmaBuffer,
    ) -> (io::Result<usize>, DmaBuffer) {
        let moving = self.begin(entry, Kept::Buffer(buffer), Some(Rc::clone(file)));
        match moving.await {
            (moved, Kept::Buffer(buffer)) => (moved.map(|moved| moved as usize), buffer),
            _ => unreachable!("it was given a buffer"),
        }
    }

    /// fdatasync.
    pub(super) async fn sync(self: &Rc<Self>, file: &Rc<Descriptor>) -> io::Result<()> {
        let entry = opcode::Fsync::new(types::Fd(file.number)).flags(types::FsyncFlags::DATASYNC);
        let syncing = self.begin(entry.build(), Kept::Nothing, Some(Rc::clone(file)));
        syncing.await.0.map(drop)
    }

    /// Gives the first `len` bytes of a file room on the disk and leaves its length as it is.
    pub(super) async fn allocate(
        self: &Rc<Self>,
        file: &Rc<Descriptor>,
        len: u64,
    ) -> io::Result<()> {
        let entry = opcode::Fallocate::new(types::Fd(file.number), len);
        let entry = entry.mode(libc::FALLOC_FL_KEEP_SIZE).build();
        let allocating = self.begin(entry, Kept::Nothing, Some(Rc::clone(file)));
        allocating.await.0.map(drop)
    }

    /// Closes a descriptor that nobody will use any more.
    fn close(self: &Rc<Self>, number: RawFd) -> Pending {
        let entry = opcode::Close::new(types::Fd(number)).build();
        self.begin(entry, Kept::Nothing, None)
    }

    #[allow(unsafe_code)]
    fn begin(
        self: &Rc<Self>,
        entry: squeue::Entry,
        kept: Kept,
        file: Option<Rc<Descriptor>>,
    ) -> Pending {
        let operation = Operation {
            progress: Progress::Waiting(None),
            kept,
            _file: file,
        };
        let key = self.operations.borrow_mut().insert(operation);
        let entry = entry.user_data(key as u64);
        loop {
            // SAFETY: what the entry points to belongs to the operation until its completion was
            // taken, and does not move with it.
            let pushed = unsafe { self.uring.borrow_mut().submission().push(&entry) };
            if pushed.is_ok() {
                break;
            }
            self.submit_all();
            // The kernel takes no more while completions wait for room.
            self.take_completions();
        }
        self.under_way.set(self.under_way.get() + 1);
        self.has_queued.set(true);
        Pending {
            ring: Rc::clone(self),
            key: Some(key),
        }
    }

    /// Gives the kernel what was queued since the last call.
    pub(super) fn submit(&self) {
        let overflows = self.uring.borrow_mut().submission().cq_overflow();
        if self.has_queued.get() || overflows {
            self.submit_all();
        }
    }

    fn submit_all(&self) {
        let submitted = self.uring.borrow().submit();
        match submitted {
            Ok(_) => {}
            // Short of memory, or of room for completions: the next call goes on.
            Err(error) if is_transient(&error) => {}
            Err(error) => panic!("io_uring_enter on a ring of our own failed: {error}"),
        }
        let is_empty = self.uring.borrow_mut().submission().is_empty();
        self.has_queued.set(!is_empty);
    }

    /// Whether something waits that [`Ring::submit`] could not give away.
    pub(super) fn has_queued(&self) -> bool {
        self.has_queued.get()
    }

    /// Takes what the kernel has completed and wakes who waits for it.
    pub(super) fn take_completions(&self) {
        loop {
            let completed = self.uring.borrow_mut().completion().next();
            let Some(completed) = completed else { return };
            self.completed(completed.user_data() as usize, completed.result());
        }
    }

    fn completed(&self, key: usize, result: i32) {
        self.under_way.set(self.under_way.get() - 1);
        let mut operations = self.operations.borrow_mut();
        let operation = &mut operations[key];
        match std::mem::replace(&mut operation.progress, Progress::Done(result)) {
            Progress::Waiting(waker) => {
                drop(operations);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Progress::Abandoned => {
                let operation = operations.remove(key);
                drop(operations);
                // Its file may be closed by that, which is another operation.
                operation.ends_unclaimed(result);
            }
            Progress::Done(_) => unreachable!("an operation completes once"),
        }
    }

    /// Waits until the kernel is done with everything, and with the closing of files.
    pub(super) fn drain(&self) {
        while self.under_way.get() > 0 {
            let waited = self.uring.borrow().submit_and_wait(1);
            if let Err(error) = waited
                && !is_transient(&error)
            {
                tracing::error!(%error, "operations on files cannot be waited for");
                return;
            }
            self.take_completions();
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.drain();
        if self.under_way.get() > 0 {
            // What the kernel still works with must not go.
            let _ = ManuallyDrop::new(self.operations.take());
        }
    }
}

fn build(builder: &mut io_uring::Builder) -> io::Result<IoUring> {
    builder.setup_cqsize(COMPLETIONS).build(SUBMISSIONS)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}

/// An open file. Is closed in the background when nobody and no operation has it any more.
pub(super) struct Descriptor {
    number: RawFd,
    ring: Rc<Ring>,
}

impl Descriptor {
    /// Closes the file and waits for that, unless it is worked with.
    pub(super) async fn close(self: Rc<Self>) -> io::Result<()> {
        match Rc::try_unwrap(self) {
            Ok(last) => {
                let last = ManuallyDrop::new(last);
                let closing = last.ring.close(last.number);
                closing.await.0.map(drop)
            }
            Err(_) => Ok(()),
        }
    }

    #[allow(unsafe_code)]
    pub(super) fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as this exists.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        drop(self.ring.close(self.number));
    }
}

/// Waits for an operation, which goes on if this is dropped.
struct Pending {
    ring: Rc<Ring>,
    /// Until its outcome was taken.
    key: Option<usize>,
}

impl Future for Pending {
    type Output = (io::Result<u32>, Kept);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("polled until it is ready");
        let mut operations = self.ring.operations.borrow_mut();
        let operation = &mut operations[key];
        match &mut operation.progress {
            Progress::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Progress::Done(_) => {}
            Progress::Abandoned => unreachable!("somebody waits"),
        }
        let operation = operations.remove(key);
        drop(operations);
        self.key = None;
        let Progress::Done(result) = operation.progress else {
            unreachable!("looked at just now")
        };
        let result = match u32::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        Poll::Ready((result, operation.kept))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut operations = self.ring.operations.borrow_mut();
        let operation = &mut operations[key];
        match operation.progress {
            Progress::Waiting(_) => operation.progress = Progress::Abandoned,
            Progress::Done(result) => {
                let operation = operations.remove(key);
                drop(operations);
                operation.ends_unclaimed(result);
            }
            Progress::Abandoned => unreachable!("it is abandoned by this alone"),
        }
    }
}
