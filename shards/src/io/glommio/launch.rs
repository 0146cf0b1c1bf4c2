//! Making and running the executor of one thread.

use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

use super::pool::Pool;
use super::ring::Ring;
use super::{Executor, os_error, spawn_uncounted};
use crate::io::task::{OnPanic, supervise};
use crate::io::{Backend, Io};

/// Turns glommio's preemption off: with it, an executor can park for ever while
/// tasks are runnable.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// Entries of each of an executor's three rings.
const RING_DEPTH: usize = 128;

/// What glommio registers with the kernel for files, once for each ring. As little as it
/// allows: files have a [`Ring`] of their own.
const REGISTERED_BYTES: usize = 64 << 10;

/// The rings of one executor: main, latency, poll.
const RINGS: usize = 3;
/// How often to try again when an executor that ends meanwhile gives its descriptors' numbers to those
/// of the new one, which then cannot be told from the old ones.
const ATTEMPTS_MAX: usize = 100;

/// How the kernel names an io_uring in /proc.
const RING_NAME: &str = "anon_inode:[io_uring]";

/// An executor that belongs to this thread and does not run yet.
pub(crate) struct Prepared {
    executor: LocalExecutor,
    /// Of the executor, which does not tell: they are open as long as it exists.
    rings: Vec<RawFd>,
    /// For files.
    ring: Rc<Ring>,
    pool: Pool,
}

impl Prepared {
    /// Must be called before the thread is pinned to a core: the threads of the pool
    /// inherit where they may run, and on the core of a busy shard they would wait
    /// for it. `Unsupported` if the kernel's io_uring lacks what glommio needs.
    pub(crate) fn new() -> io::Result<Prepared> {
        let _alone = alone();
        let mut attempts = 0..ATTEMPTS_MAX;
        let (executor, rings) = loop {
            let others = open_rings()?;
            let executor = make_executor()?;
            let mut rings = open_rings()?;
            rings.retain(|ring| !others.contains(ring));
            if rings.len() == RINGS {
                break (executor, rings);
            }
            if attempts.next().is_none() {
                return Err(io::Error::other("/proc/self/fd does not show the rings"));
            }
        };
        Ok(Prepared {
            executor,
            rings,
            ring: Ring::new()?,
            pool: Pool::start()?,
        })
    }

    /// Runs until the future returns that `main` makes. Other tasks do not run any more then.
    #[allow(unsafe_code)]
    pub(crate) fn run<F>(self, main: impl FnOnce(Io) -> F + 'static) -> io::Result<()>
    where
        F: Future<Output = ()> + 'static,
    {
        let Prepared {
            executor,
            rings,
            ring,
            pool,
        } = self;
        executor.run(async move {
            // SAFETY: inside of the executor, whose rings are open as long as it exists.
            let borrow = |ring: &RawFd| unsafe { BorrowedFd::borrow_raw(*ring) };
            let rings: Vec<_> = rings.iter().map(borrow).collect();
            let executor = Rc::new(Executor::new(&rings, ring, pool)?);
            let poller = Rc::clone(&executor.poller);
            let (task, _) = supervise("poller", OnPanic::Abort, Rc::clone(&poller).run());
            spawn_uncounted(task);
            let io = Io {
                backend: Backend::Glommio(executor),
            };
            io.spawn("main", main(io.clone())).await;
            poller.end();
            // Files that were dropped are being closed.
            poller.ring().drain();
            Ok(())
        })
    }
}

fn make_executor() -> io::Result<LocalExecutor> {
    let made = catch_unwind(AssertUnwindSafe(|| {
        LocalExecutorBuilder::new(Placement::Unbound)
            .preempt_timer(PREEMPT_TIMER)
            .ring_depth(RING_DEPTH)
            .io_memory(REGISTERED_BYTES)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .make()
    }));
    match made {
        Ok(made) => made.map_err(os_error),
        Err(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// While this is held no other ring is made here.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The io_urings of this process.
fn open_rings() -> io::Result<Vec<RawFd>> {
    let mut rings = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // A descriptor may have been closed meanwhile; then it is none of ours.
        let is_ring = fs::read_link(entry.path()).is_ok_and(|name| name.as_os_str() == RING_NAME);
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (true, Some(number)) = (is_ring, number) {
            rings.push(number);
        }
    }
    Ok(rings)
}

/// Sets up a ring of the smallest size, makes each call that a shard makes of the kernel to work
/// with rings and to wait, and closes it: tells why there can be none.
#[allow(unsafe_code)]
pub(crate) fn probe_io_uring() -> io::Result<()> {
    let _alone = alone();
    // The kernel's struct io_uring_params: 120 bytes, all zero for the defaults.
    let mut parameters = [0u64; 15];
    // SAFETY: the pointer is to a live struct of the size that the kernel reads and
    // fills in.
    let outcome = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1u32, parameters.as_mut_ptr()) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and that nobody else knows of.
    let ring = unsafe { OwnedFd::from_raw_fd(outcome as RawFd) };
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: nothing is submitted and nothing waited for.
    is_let_through(unsafe {
        let none = 0u32;
        let call = libc::SYS_io_uring_enter;
        libc::syscall(call, ring.as_raw_fd(), none, none, none, nothing, 0usize)
    })?;
    // SAFETY: there is no such operation, so that nothing is read.
    is_let_through(unsafe {
        let call = libc::SYS_io_uring_register;
        libc::syscall(call, ring.as_raw_fd(), i32::MAX, nothing, 0u32)
    })?;
    // SAFETY: there is no such descriptor, so that nothing is written.
    is_let_through(unsafe {
        let call = libc::SYS_epoll_pwait2;
        libc::syscall(call, -1, nothing, 1, nothing, nothing, 0usize)
    })
}

/// Whether a call got as far as being judged by its arguments.
fn is_let_through(outcome: libc::c_long) -> io::Result<()> {
    if outcome >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Err(error),
        // Where there are rings, only a kernel that is too old lacks it, or a filter says so.
        Some(libc::ENOSYS) => Err(io::ErrorKind::Unsupported.into()),
        _ => Ok(()),
    }
}
