//! Making and running the executor of one thread.

use std::future::Future;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use ::glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

use super::{Executor, os_error};
use crate::io::{Backend, Io};

/// Turns glommio's preemption off: with it, an executor can park for ever while
/// tasks are runnable.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// How often every executor wakes up without a reason. When a wake-up from another
/// core comes late, to an executor that is awake already, glommio can take it for a
/// reason not to run its tasks, find nothing else to do, and park while they are
/// runnable. The next event of any kind mends that, and this bounds how long it may
/// take to come.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Entries of each of an executor's three rings.
const RING_DEPTH: usize = 128;

/// What is registered with the kernel for direct I/O, once for each ring. As little as
/// glommio allows: buffers beyond it come from the allocator, and neither reads nor
/// writes, of 4 KiB or of 1 MiB, cost measurably less with megabytes registered.
const REGISTERED_BYTES: usize = 64 << 10;

/// Threads beside each executor for what would block: operations on paths.
const BLOCKING_THREADS: usize = 2;

/// An executor that belongs to this thread and does not run yet.
pub(crate) struct Prepared {
    executor: LocalExecutor,
}

impl Prepared {
    /// Must be called before the thread is pinned to a core: the threads of the
    /// blocking pool inherit where they may run, and on the core of a busy shard
    /// they would wait for it. `Unsupported` if the kernel's io_uring lacks what
    /// glommio needs.
    pub(crate) fn new() -> io::Result<Prepared> {
        let made = catch_unwind(AssertUnwindSafe(|| {
            LocalExecutorBuilder::new(Placement::Unbound)
                .preempt_timer(PREEMPT_TIMER)
                .ring_depth(RING_DEPTH)
                .io_memory(REGISTERED_BYTES)
                .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
                .make()
        }));
        match made {
            Ok(made) => Ok(Prepared {
                executor: made.map_err(os_error)?,
            }),
            Err(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Runs until the future returns that `main` makes. Other tasks are dropped then.
    pub(crate) fn run<F>(self, main: impl FnOnce(Io) -> F + 'static) -> io::Result<()>
    where
        F: Future<Output = ()> + 'static,
    {
        self.executor.run(async move {
            let io = Io {
                backend: Backend::Glommio(Rc::new(Executor::new()?)),
            };
            let beating = io.clone();
            io.spawn("heartbeat", async move {
                loop {
                    beating.sleep(HEARTBEAT).await;
                }
            });
            io.spawn("main", main(io.clone())).await;
            // Files that were dropped close at the reactor's next pass.
            io.yield_now().await;
            Ok(())
        })
    }
}

/// Sets up a ring of the smallest size and closes it: tells why there can be none.
#[allow(unsafe_code)]
pub(crate) fn probe_io_uring() -> io::Result<()> {
    // The kernel's struct io_uring_params: 120 bytes, all zero for the defaults.
    let mut parameters = [0u64; 15];
    // SAFETY: the pointer is to a live struct of the size that the kernel reads and
    // fills in.
    let outcome = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1u32, parameters.as_mut_ptr()) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and that nobody else knows of.
    drop(unsafe { OwnedFd::from_raw_fd(outcome as RawFd) });
    Ok(())
}
