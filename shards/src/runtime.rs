//! The threads of the process: one pinned executor for each shard, and the signals
//! that end it all.
//!
//! Set-up code: runs before there are shards and after they are gone, and may block.
//! A shard's main future decides when the shard ends: it waits for the [`Stop`] it
//! was given, drains, and returns. Tasks that are left then do not go on.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use crate::io::{Io, Prepared, Stop, probe_io_uring};

/// What each executor insists on being allowed to lock.
const MEMLOCK_MIN: u64 = 512 << 10;

/// What must be lockable where rings count as locked memory.
const MEMLOCK_WANTED: u64 = 64 << 20;

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
                "io_uring is forbidden here: in a container allow io_uring_setup, \
                 io_uring_enter, io_uring_register and epoll_pwait2 in its seccomp profile \
                 (docker run --security-opt seccomp=unconfined), on a host set sysctl \
                 kernel.io_uring_disabled=0",
            ),
            StartError::IoUringTooOld => f.write_str(
                "this kernel's io_uring is too old: use Linux 5.15 or later, and allow \
                 epoll_pwait2 in a container's seccomp profile",
            ),
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

/// Has SIGTERM and SIGINT request `stop` instead of ending the process; a SIGINT behind
/// them ends it at once. A further SIGTERM does not: supervisors send it to a process and
/// again to its group. Call before any other thread is started.
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
                tracing::info!("{signal}: stopping; SIGINT (Ctrl-C) ends at once");
                stop.request();
            }
            while let Ok(signal) = signals.wait() {
                if signal == Signal::SIGINT {
                    tracing::warn!("{signal}: ending at once");
                    std::process::exit(128 + signal as i32);
                }
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
                let executor = match prepare(core) {
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
                executor.run(move |io| main(io, shard))
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
fn prepare(core: usize) -> Result<Prepared, StartError> {
    let executor = Prepared::new().map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => StartError::IoUringTooOld,
        _ => StartError::Other(error),
    })?;
    pin_to(core).map_err(|source| StartError::Core { core, source })?;
    Ok(executor)
}

fn pin_to(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Whether io_uring can be used here. Executors find out as well, but end the process,
/// panic, or say what is wrong and not what to do.
pub fn check_io_uring() -> Result<(), StartError> {
    check_memlock(memlock_limit())?;
    check_rings()
}

/// Whether the kernel lets this process use io_uring, whatever may be locked.
pub fn check_rings() -> Result<(), StartError> {
    probe_io_uring().map_err(no_ring)
}

/// Whether so many bytes of lockable memory are enough for an executor.
pub fn check_memlock(bytes: u64) -> Result<(), StartError> {
    if bytes < MEMLOCK_MIN {
        return Err(StartError::MemlockLimit {
            bytes,
            wanted: MEMLOCK_MIN,
        });
    }
    Ok(())
}

fn memlock_limit() -> u64 {
    // The call fails only for a resource that does not exist.
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |(soft, _)| soft)
}

fn no_ring(error: io::Error) -> StartError {
    match error.raw_os_error() {
        None if error.kind() == io::ErrorKind::Unsupported => StartError::IoUringTooOld,
        Some(libc::ENOSYS) => StartError::NoIoUring,
        Some(libc::EPERM | libc::EACCES) => StartError::IoUringForbidden,
        // Kernels before 5.12 count rings as locked memory.
        Some(libc::ENOMEM) => StartError::MemlockLimit {
            bytes: memlock_limit(),
            wanted: MEMLOCK_WANTED,
        },
        _ => StartError::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_uring_is_there_or_the_reason_is_known() {
        check_io_uring().expect("this machine has io_uring");
        let told = |errno| no_ring(io::Error::from_raw_os_error(errno)).to_string();
        assert!(told(libc::ENOSYS).contains("no io_uring"));
        assert!(told(libc::EPERM).contains("seccomp"));
        assert!(told(libc::ENOMEM).contains("ulimit -l"));
        assert!(told(libc::EMFILE).contains("can't start"));
        let lacking = no_ring(io::ErrorKind::Unsupported.into()).to_string();
        assert!(lacking.contains("5.15") && lacking.contains("epoll_pwait2"));
    }

    #[test]
    fn a_low_memlock_limit_is_told_with_its_remedy() {
        assert!(check_memlock(u64::MAX).is_ok());
        let told = check_memlock(64 << 10).unwrap_err().to_string();
        assert!(told.contains("only 65536 bytes") && told.contains("LimitMEMLOCK"));
    }
}
