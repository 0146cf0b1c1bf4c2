//! The threads of the process: one pinned executor for each shard, and the signals
//! that end it all.
//!
//! Set-up code: runs before there are shards and after they are gone, and may block.
//! A shard's main future decides when the shard ends: it waits for the [`Stop`] it
//! was given, drains, and returns. Tasks that are left then are dropped.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use crate::io::{Io, Stop};

/// Turns glommio's preemption off, see `io`'s rules.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// Entries of each of an executor's three rings.
const RING_DEPTH: usize = 128;

/// What is registered with the kernel for direct I/O, once for each ring. Buffers
/// beyond it come from the allocator and work as well.
const REGISTERED_BYTES: usize = 64 << 10;

/// Threads of a shard for what would block: operations on paths.
const BLOCKING_THREADS: usize = 2;

/// Why the shards could not be started, with the remedy.
#[derive(Debug)]
pub enum StartError {
    /// The kernel has no io_uring.
    NoIoUring,
    /// A policy forbids io_uring: a container's seccomp profile, or a sysctl.
    IoUringForbidden,
    /// The kernel's io_uring lacks operations that are needed.
    IoUringTooOld,
    /// Too little memory may be locked.
    MemlockLimit {
        bytes: u64,
        wanted: u64,
    },
    /// The shard's core does not exist or is not ours.
    Core {
        core: usize,
        source: io::Error,
    },
    Other(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoIoUring => f.write_str(
                "this kernel has no io_uring: use Linux 5.15 or later, built with CONFIG_IO_URING",
            ),
            StartError::IoUringForbidden => f.write_str(
                "io_uring is forbidden here: in a container allow io_uring_setup, io_uring_enter \
                 and io_uring_register in its seccomp profile (docker run --security-opt \
                 seccomp=unconfined), on a host set sysctl kernel.io_uring_disabled=0",
            ),
            StartError::IoUringTooOld => {
                f.write_str("this kernel's io_uring is too old: use Linux 5.15 or later")
            }
            StartError::MemlockLimit { bytes, wanted } => write!(
                f,
                "only {bytes} bytes of memory may be locked and {wanted} are needed: raise the \
                 limit (ulimit -l, LimitMEMLOCK= of a systemd unit, docker run --ulimit memlock=-1)"
            ),
            StartError::Core { core, source } => write!(
                f,
                "can't run on core {core} ({source}): start with fewer cores, or allow this one \
                 in the process's affinity or cpuset"
            ),
            StartError::Other(source) => write!(f, "can't start the shards: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Core { source, .. } | StartError::Other(source) => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(source: io::Error) -> StartError {
        StartError::Other(source)
    }
}

/// The cores this process may run on, ascending.
pub fn cores() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|&core| allowed.is_set(core).unwrap_or(false))
        .collect())
}

/// Has SIGTERM and SIGINT request `stop` instead of ending the process; a second
/// signal ends it at once. Call before any other thread is started.
pub fn stop_on_signals(stop: Stop) -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Threads inherit the mask, so that the signal waits for the one thread below.
    signals.thread_block()?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Ok(signal) = signals.wait() {
                tracing::info!("{signal}: stopping; once more ends at once");
                stop.request();
            }
            if let Ok(signal) = signals.wait() {
                tracing::warn!("{signal}: ending at once");
                std::process::exit(128 + signal as i32);
            }
        })?;
    Ok(())
}

/// Runs one shard on each of `cores` until all their main futures have returned.
/// `main` is called on each shard's own thread with the shard's index. Nothing of
/// it runs unless every shard could be started.
pub fn run_shards<M, F>(cores: &[usize], main: M) -> Result<(), StartError>
where
    M: Fn(Io, usize) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    check_io_uring()?;
    let (ready, started) = mpsc::channel();
    let mut shards = Vec::with_capacity(cores.len());
    for (shard, &core) in cores.iter().enumerate() {
        let (go, may_run) = mpsc::channel::<()>();
        let ready = ready.clone();
        let main = main.clone();
        let thread = thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(move || {
                let executor = match new_executor(core) {
                    Ok(executor) => executor,
                    Err(error) => {
                        // Nobody listens any more if another shard failed before.
                        let _ = ready.send(Err(error));
                        return Ok(());
                    }
                };
                let _ = ready.send(Ok(()));
                // The other end is dropped if a shard could not be started.
                if may_run.recv().is_err() {
                    return Ok(());
                }
                executor.run(async move {
                    let io = Io::of_this_executor()?;
                    let handle = io.spawn("main", main(io.clone(), shard));
                    handle.await;
                    // Files that were dropped close at the reactor's next pass.
                    io.yield_now().await;
                    Ok(())
                })
            })?;
        shards.push((thread, go));
    }
    let failed = (0..cores.len())
        .filter_map(|_| started.recv().ok())
        .find_map(Result::err);
    let mut threads = Vec::with_capacity(shards.len());
    for (thread, go) in shards {
        if failed.is_none() {
            // Fails only for a thread that has ended, which joining tells.
            let _ = go.send(());
        }
        threads.push(thread);
    }
    let outcomes: Vec<io::Result<()>> = threads
        .into_iter()
        .map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::other("a shard's executor panicked")),
        })
        .collect();
    if let Some(error) = failed {
        return Err(error);
    }
    for outcome in outcomes {
        outcome?;
    }
    Ok(())
}

/// An executor for this thread, which from then on runs on `core` alone.
fn new_executor(core: usize) -> Result<LocalExecutor, StartError> {
    // Made before this thread is pinned: the pool's threads inherit where they may
    // run, and beside a busy shard they would wait for it.
    let made = catch_unwind(AssertUnwindSafe(|| {
        LocalExecutorBuilder::new(Placement::Unbound)
            .preempt_timer(PREEMPT_TIMER)
            .ring_depth(RING_DEPTH)
            .io_memory(REGISTERED_BYTES)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .make()
    }));
    let executor = match made {
        Ok(Ok(executor)) => executor,
        Ok(Err(error)) => return Err(start_error(error)),
        Err(_) => return Err(StartError::IoUringTooOld),
    };
    pin_to(core).map_err(|source| StartError::Core { core, source })?;
    Ok(executor)
}

fn pin_to(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

fn start_error(error: GlommioError<()>) -> StartError {
    use glommio::ReactorErrorKind::MemLockLimit;
    match error {
        GlommioError::ReactorError(MemLockLimit(bytes, wanted)) => {
            StartError::MemlockLimit { bytes, wanted }
        }
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => {
            StartError::Other(source)
        }
        other => StartError::Other(io::Error::other(other.to_string())),
    }
}

/// Sets up a small ring and closes it again: glommio's own check ends the process,
/// or panics, without saying what to do.
pub fn check_io_uring() -> Result<(), StartError> {
    match crate::io::probe_io_uring() {
        Ok(()) => Ok(()),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ENOSYS) => StartError::NoIoUring,
            Some(libc::EPERM | libc::EACCES) => StartError::IoUringForbidden,
            // Kernels before 5.12 count rings as locked memory.
            Some(libc::ENOMEM) => StartError::MemlockLimit {
                bytes: memlock_limit(),
                wanted: 64 << 20,
            },
            _ => StartError::Other(error),
        }),
    }
}

fn memlock_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft)
}
