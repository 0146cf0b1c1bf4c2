//! The boundary to the outside world: disk, network, clocks, tasks, randomness, and
//! the lanes between cores.
//!
//! A shard reaches all of it through its [`Io`], and there are two kinds of it: one
//! on glommio, one in a simulated world. Which one is a variant of an enum, so that
//! nothing above carries a type parameter for it. Nothing else in the project may
//! import glommio, ask a clock, draw randomness, or hold `unsafe` code.
//!
//! What a crash leaves of the disk, here and in simulation:
//! - A write is durable once `sync` of its file was called after it completed and
//!   has succeeded, or at its own completion if the file was opened with
//!   `sync_on_write`. Until then any of its 512-byte sectors may be old or new.
//! - A created, renamed or removed name is durable once `sync_dir` of its directory
//!   has succeeded.
//! - After a failed `sync` nobody knows what is durable, and a later success does
//!   not make up for it.
//!
//! What this does not do: it does not retry, cache, schedule or limit. Time-outs are
//! their users' affair; futures of reads may be dropped at any time, those of writes
//! leave an unknown outcome.

mod append_buf;
mod buffer;
mod clock_sync;
mod file;
pub mod futures;
mod glommio;
mod inbox;
mod lane;
mod net;
mod notify;
mod random;
pub mod sim;
mod slot;
mod stop;
mod task;
mod time;

use std::future::{Future, poll_fn};
use std::io::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

pub use append_buf::AppendBuf;
pub use buffer::{BLOCK, DmaBuffer, align_down, align_up};
pub use clock_sync::{ClockSync, clock_sync};
pub use file::{DirEntry, File, FsSpace, OpenMode};
pub use glommio::RemoteWaker;
pub use inbox::Inbox;
pub use lane::{ConnectedReceiver, ConnectedSender, LaneReceiver, LaneSender, lane};
pub use net::{Listener, ReadHalf, WriteHalf};
pub use notify::{Notified, Notify};
pub use random::Random;
pub use sim::{Landmark, Within};
pub use slot::{Completer, Slot, slot};
pub use stop::{Stop, StopRequested};
pub use task::TaskHandle;
pub use time::{Instant, SLICE, Slice};

pub(crate) use glommio::{Prepared, probe_io_uring};

use crate::metrics::ReactorMetrics;
use task::{OnPanic, Unbroken, supervise};

/// The handle of one shard to the outside world. Cheap to clone; stays on its shard.
#[derive(Clone)]
pub struct Io {
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Glommio(Rc<glommio::Executor>),
    Sim(Rc<sim::Shard>),
}

/// Calls the same method of either implementation.
macro_rules! either {
    ($io:expr, $backend:ident => $call:expr) => {
        match &$io.backend {
            Backend::Glommio($backend) => $call,
            Backend::Sim($backend) => $call,
        }
    };
}

/// Clocks and randomness.
impl Io {
    /// Monotonic time.
    pub fn now(&self) -> Instant {
        either!(self, io => io.now())
    }

    /// How this shard's thread spends its time. A simulated one spends none.
    pub fn metrics(&self) -> Arc<ReactorMetrics> {
        match &self.backend {
            Backend::Glommio(io) => io.metrics(),
            Backend::Sim(_) => Arc::default(),
        }
    }

    /// Tells a simulated world that the engine, or the broker, has come to this state, see [`sim::Coverage`]. A real core
    /// has nobody to tell.
    #[inline]
    pub fn reached(&self, landmark: Landmark) {
        if let Backend::Sim(io) = &self.backend {
            io.reached(landmark);
        }
    }

    /// The same for a state that takes a while: as long as the result is held.
    #[inline]
    pub fn within(&self, landmark: Landmark) -> Within {
        Within {
            _held: match &self.backend {
                Backend::Glommio(_) => None,
                Backend::Sim(io) => Some(io.within(landmark)),
            },
        }
    }

    /// Unix time in milliseconds. May jump in either direction.
    pub fn wall_ms(&self) -> i64 {
        either!(self, io => io.wall_ms())
    }

    pub fn random_u64(&self) -> u64 {
        either!(self, io => io.random_u64())
    }

    /// Waits at least that long. Even a wait of zero suspends, as
    /// [`yield_now`](Io::yield_now) does.
    pub async fn sleep(&self, duration: Duration) {
        either!(self, io => io.sleep(duration).await)
    }

    /// Lets the other tasks of this core run, and those that something outside has
    /// become ready for: disk, network, timers, the other cores.
    pub async fn yield_now(&self) {
        either!(self, io => io.yield_now().await)
    }

    /// Lets the tasks run that are ready now, without a look outside.
    pub async fn after_ready_tasks(&self) {
        let mut has_waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// For a part of the engine that runs on a task whose panics are contained: while this is held, a
    /// panic ends the process all the same, since what it leaves half-done belongs to all.
    pub(crate) fn unbroken(&self) -> Unbroken {
        Unbroken {
            aborts: matches!(self.backend, Backend::Glommio(_)),
        }
    }

    /// Begins a slice of work, see [`Slice`].
    pub fn slice(&self) -> Slice {
        Slice::starting(self.now())
    }

    fn slice_has_lasted(&self, started: Instant, time: Duration) -> bool {
        match &self.backend {
            Backend::Glommio(io) => io.now().since(started) >= time,
            Backend::Sim(io) => io.slice_is_over(),
        }
    }
}

/// Tasks. A new task first runs after the one that spawned it has let go of the
/// core, never inside of the call. Dropping the handle leaves it running.
impl Io {
    /// Runs a part of the engine. A panic in it is a broken invariant: it is logged
    /// and ends the process.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> TaskHandle {
        let on_panic = match self.backend {
            Backend::Glommio(_) => OnPanic::Abort,
            Backend::Sim(_) => OnPanic::Propagate,
        };
        self.spawn_supervised(name, on_panic, future)
    }

    /// Runs what serves one peer. A panic in it is logged and ends that task alone.
    pub fn spawn_guarded(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> TaskHandle {
        self.spawn_supervised(name, OnPanic::Contain, future)
    }

    fn spawn_supervised(
        &self,
        name: &'static str,
        on_panic: OnPanic,
        future: impl Future<Output = ()> + 'static,
    ) -> TaskHandle {
        let (task, handle) = supervise(name, on_panic, future);
        match &self.backend {
            Backend::Glommio(io) => io.spawn(task),
            Backend::Sim(io) => io.spawn(name, task),
        }
        handle
    }
}

/// Whether the process or the host has run out of something that others may give back: descriptors,
/// memory.
pub fn is_exhaustion(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Files and directories. Give absolute paths: relative ones cost a look-up each.
impl Io {
    /// A zeroed buffer for direct I/O of `len` bytes rounded up to whole blocks.
    pub fn buffer(&self, len: usize) -> DmaBuffer {
        DmaBuffer::zeroed(len.next_multiple_of(BLOCK))
    }

    /// Opens a file for direct I/O.
    pub async fn open(&self, path: &Path, mode: OpenMode) -> Result<File> {
        Ok(match &self.backend {
            Backend::Glommio(io) => File::Glommio(io.open(path, mode).await?),
            Backend::Sim(io) => File::Sim(io.open(path, mode).await?),
        })
    }

    /// Makes a directory and those above it; none of them is durable by that.
    pub async fn create_dir_all(&self, path: &Path) -> Result<()> {
        either!(self, io => io.create_dir_all(path).await)
    }

    /// Removes an empty directory, or a link to one.
    pub async fn remove_dir(&self, path: &Path) -> Result<()> {
        either!(self, io => io.remove_dir(path).await)
    }

    /// Removes a file. A large one is shortened step by step first, so that writers
    /// of other files don't feel it: whoever still reads from it reads less.
    pub async fn remove_file(&self, path: &Path) -> Result<()> {
        either!(self, io => io.remove_file(path).await)
    }

    /// Gives a file or directory another name, replacing a file of that name.
    pub async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        either!(self, io => io.rename(from, to).await)
    }

    /// Makes the names in a directory durable.
    pub async fn sync_dir(&self, path: &Path) -> Result<()> {
        either!(self, io => io.sync_dir(path).await)
    }

    /// What is in a directory, in the order of names. Links are what they lead to; those that lead nowhere are left out.
    pub async fn list_dir(&self, path: &Path) -> Result<Vec<DirEntry>> {
        either!(self, io => io.list_dir(path).await)
    }

    pub async fn file_len(&self, path: &Path) -> Result<u64> {
        either!(self, io => io.file_len(path).await)
    }

    /// Reads a small file whole.
    pub async fn read_small(&self, path: &Path) -> Result<Vec<u8>> {
        either!(self, io => io.read_small(path).await)
    }

    /// Writes a small file whole: after a crash it is either the old one or the new
    /// one, and the new one once this has returned. Uses the name with `.tmp` added.
    pub async fn write_small(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        either!(self, io => io.write_small(path, bytes).await)
    }

    /// Writes a small file whole, and leaves it to the system when that becomes durable. After a power
    /// failure it may hold anything.
    pub async fn write_behind(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        either!(self, io => io.write_behind(path, bytes).await)
    }

    /// How large the file system under `path` is, and what of it we may still use.
    pub async fn free_space(&self, path: &Path) -> Result<FsSpace> {
        either!(self, io => io.free_space(path).await)
    }
}

/// Connections.
impl Io {
    /// Listens on an address, together with the other shards that do: the kernel
    /// spreads connections over them. Another process of the same user could join
    /// in, too, so a lock has to keep a second broker away.
    pub fn listen(&self, address: SocketAddr) -> Result<Listener> {
        Ok(match &self.backend {
            Backend::Glommio(io) => Listener::Glommio(io.listen(address)?, Rc::clone(io)),
            Backend::Sim(io) => Listener::Sim(io.listen(address)?, Rc::clone(io)),
        })
    }

    /// Connects to an address. Takes as long as the network makes it.
    pub async fn connect(&self, address: SocketAddr) -> Result<(ReadHalf, WriteHalf)> {
        Ok(match &self.backend {
            Backend::Glommio(io) => {
                let (read, write) = io.connect(address).await?;
                (ReadHalf::Glommio(read), WriteHalf::Glommio(write))
            }
            Backend::Sim(io) => {
                let (read, write) = io.connect(address).await?;
                (ReadHalf::Sim(read), WriteHalf::Sim(write))
            }
        })
    }
}

#[cfg(test)]
mod tests;
