//! How other threads wake a shard that sleeps.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Waker;

use nix::sys::eventfd::{EfdFlags, EventFd};

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Arc<Bell>>> = const { RefCell::new(None) };
}

/// Wakes a task of this thread's shard from any thread. A task's own [`Waker`] does not: glommio
/// takes note of it, and the shard sleeps on.
pub struct RemoteWaker {
    task: Waker,
    /// There is none in the simulated world, where nothing sleeps.
    bell: Option<Arc<Bell>>,
}

impl RemoteWaker {
    /// Call it on the task's own thread.
    pub fn new(task: &Waker) -> RemoteWaker {
        RemoteWaker {
            task: task.clone(),
            bell: OF_THIS_THREAD.with_borrow(Clone::clone),
        }
    }

    pub fn will_wake(&self, task: &Waker) -> bool {
        self.task.will_wake(task)
    }

    pub fn wake(self) {
        self.task.wake();
        if let Some(bell) = self.bell {
            bell.ring_for_foreign_wake();
        }
    }
}

/// Rung by whoever has put something where the shard will find it: a message into a lane, a task's
/// waker into glommio's queue of foreign wake-ups. Costs a fence while the shard is awake, since it
/// looks into those places before it sleeps, and a system call when it sleeps.
pub(super) struct Bell {
    event: EventFd,
    /// The shard sleeps, or is about to and will look once more.
    asleep: AtomicBool,
    /// glommio's queue of foreign wake-ups has something.
    foreign: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Arc<Bell>> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Arc::new(Bell {
            event: EventFd::from_value_and_flags(0, flags)?,
            asleep: AtomicBool::new(false),
            foreign: AtomicBool::new(false),
        }))
    }

    pub(super) fn hang_up_here(self: &Arc<Bell>) {
        OF_THIS_THREAD.set(Some(Arc::clone(self)));
    }

    /// Call it after the thing is in its place.
    pub(super) fn ring(&self) {
        // Pairs with the fence in `fall_asleep`: either we see that the shard sleeps, or
        // it sees what we have put there.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // Fails only when 2^64 rings went unheard.
            let _ = self.event.write(1);
        }
    }

    /// glommio has put a task's waker into its queue of foreign wake-ups.
    fn ring_for_foreign_wake(&self) {
        self.foreign.store(true, Ordering::Release);
        self.ring();
    }

    /// Says that the shard is about to sleep. Look at everything that others can put
    /// somewhere after this, and sleep only if there is nothing.
    pub(super) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    pub(super) fn has_foreign_wakes(&self) -> bool {
        self.foreign.load(Ordering::Relaxed)
    }

    pub(super) fn take_foreign_wakes(&self) -> bool {
        self.has_foreign_wakes() && self.foreign.swap(false, Ordering::Acquire)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
