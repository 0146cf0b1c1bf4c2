//! Wake-ups between tasks of one shard that coalesce: many notifications while
//! nobody waits are one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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
    /// By when they began to wait: one of thousands leaves without a search.
    waiters: RefCell<BTreeMap<u64, Rc<Waiter>>>,
    arrivals: Cell<u64>,
}

/// Whom a notification was meant for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    One,
    All,
}

#[derive(Default)]
struct Waiter {
    notified: Cell<Option<Reach>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiter {
    fn notify(&self, reach: Reach) {
        self.notified.set(Some(reach));
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
        let waiter = self.waiters.borrow_mut().pop_first();
        match waiter {
            Some((_, waiter)) => waiter.notify(Reach::One),
            None => self.pending.set(true),
        }
    }

    /// Wakes all that wait now. Leaves nothing behind for those that come later.
    pub fn notify_all(&self) {
        let waiters = self.waiters.take();
        for waiter in waiters.into_values() {
            waiter.notify(Reach::All);
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
    waiter: Option<(u64, Rc<Waiter>)>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        match &self.waiter {
            None if notify.pending.take() => return Poll::Ready(()),
            None => {}
            Some((_, waiter)) if waiter.notified.get().is_some() => {
                self.waiter = None;
                return Poll::Ready(());
            }
            Some((_, waiter)) => {
                *waiter.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let waiter = Rc::new(Waiter::default());
        *waiter.waker.borrow_mut() = Some(cx.waker().clone());
        let arrival = notify.arrivals.get() + 1;
        notify.arrivals.set(arrival);
        let mut waiters = notify.waiters.borrow_mut();
        waiters.insert(arrival, Rc::clone(&waiter));
        self.waiter = Some((arrival, waiter));
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    /// A notification that this waiter alone got and never used goes to the next one.
    fn drop(&mut self) {
        let Some((arrival, waiter)) = self.waiter.take() else {
            return;
        };
        match waiter.notified.get() {
            Some(Reach::One) => self.notify.notify_one(),
            Some(Reach::All) => {}
            None => {
                self.notify.waiters.borrow_mut().remove(&arrival);
            }
        }
    }
}
