//! Wake-ups between tasks of one shard that coalesce: many notifications while
//! nobody waits are one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Remembers at most one notification for the next that waits, and wakes those
/// that wait already. Every waiter has a slot of its own, so that no task is
/// burdened with the wakers of all.
#[derive(Default)]
pub struct Notify {
    /// A notification that nobody was there to take.
    pending: Cell<bool>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Default)]
struct Waiter {
    notified: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Waiter {
    fn notify(&self) {
        self.notified.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Notify {
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes the one that has waited longest, or the next one that comes.
    pub fn notify_one(&self) {
        let waiter = self.waiters.borrow_mut().pop_front();
        match waiter {
            Some(waiter) => waiter.notify(),
            None => self.pending.set(true),
        }
    }

    /// Wakes all that wait now. Leaves nothing behind for those that come later.
    pub fn notify_all(&self) {
        let waiters = self.waiters.take();
        for waiter in waiters {
            waiter.notify();
        }
    }

    /// Waits for a notification. Counts as waiting from its first poll on.
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            waiter: None,
        }
    }
}

#[must_use = "waits only when awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        match &self.waiter {
            None if notify.pending.take() => return Poll::Ready(()),
            None => {}
            Some(waiter) if waiter.notified.get() => {
                self.waiter = None;
                return Poll::Ready(());
            }
            Some(waiter) => {
                *waiter.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let waiter = Rc::new(Waiter::default());
        *waiter.waker.borrow_mut() = Some(cx.waker().clone());
        notify.waiters.borrow_mut().push_back(Rc::clone(&waiter));
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    /// A notification that this waiter got and never used goes to the next one.
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        if waiter.notified.get() {
            self.notify.notify_one();
        } else {
            self.notify
                .waiters
                .borrow_mut()
                .retain(|other| !Rc::ptr_eq(other, &waiter));
        }
    }
}
