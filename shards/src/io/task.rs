//! Tasks of one shard: names, cancelling, joining, and what a panic in one means.
//!
//! A task is an ordinary future wrapped in [`Supervised`], which both
//! implementations then run detached, so that these rules are the same on a
//! real core and in simulation. A handle that is dropped leaves its task running.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What becomes of a panic inside a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnPanic {
    /// An invariant of the engine is broken: log and end the process. Recovery is cheap.
    Abort,
    /// The same in simulation: the panic goes to whoever drives the world.
    Propagate,
    /// The task served one connection: log, and end that task alone.
    Contain,
}

struct State {
    name: &'static str,
    cancelled: Cell<bool>,
    done: Cell<bool>,
    /// Of the task itself, to make it see that it was cancelled.
    task: RefCell<Option<Waker>>,
    joiner: RefCell<Option<Waker>>,
}

/// Names a running task: cancels it, or as a future waits for its end.
#[derive(Clone)]
pub struct TaskHandle {
    state: Rc<State>,
}

impl TaskHandle {
    /// Makes the task drop its future the next time it is run, without ever
    /// polling it again. Await the handle to know that it is gone.
    pub fn cancel(&self) {
        self.state.cancelled.set(true);
        let waker = self.state.task.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub fn is_done(&self) -> bool {
        self.state.done.get()
    }
}

/// Ready once the task has ended, however it did: returned, cancelled, panicked
/// or dropped with its shard. One waiter at a time.
impl Future for TaskHandle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.done.get() {
            return Poll::Ready(());
        }
        *self.state.joiner.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

pub(super) struct Supervised<F: Future<Output = ()>> {
    /// Boxed so that it can be dropped, in place, before the wrapper is.
    future: Option<Pin<Box<F>>>,
    state: Rc<State>,
    on_panic: OnPanic,
}

/// Wraps `future` for an executor and returns the handle to it.
pub(super) fn supervise<F: Future<Output = ()>>(
    name: &'static str,
    on_panic: OnPanic,
    future: F,
) -> (Supervised<F>, TaskHandle) {
    let state = Rc::new(State {
        name,
        cancelled: Cell::new(false),
        done: Cell::new(false),
        task: RefCell::new(None),
        joiner: RefCell::new(None),
    });
    let handle = TaskHandle {
        state: Rc::clone(&state),
    };
    let supervised = Supervised {
        future: Some(Box::pin(future)),
        state,
        on_panic,
    };
    (supervised, handle)
}

impl<F: Future<Output = ()>> Future for Supervised<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = &mut this.future else {
            return Poll::Ready(());
        };
        if !this.state.cancelled.get() {
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
            match polled {
                // Cancelled by what it just ran: no one is going to wake it for that.
                Ok(Poll::Pending) if this.state.cancelled.get() => {}
                Ok(Poll::Pending) => {
                    let mut task = this.state.task.borrow_mut();
                    if !task.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                        *task = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
                Ok(Poll::Ready(())) => {}
                Err(panic) => self::panicked(this.state.name, this.on_panic, panic),
            }
        }
        // What the future held must be gone before anyone learns that it ended.
        this.future = None;
        this.finish();
        Poll::Ready(())
    }
}

impl<F: Future<Output = ()>> Supervised<F> {
    fn finish(&self) {
        self.state.done.set(true);
        self.state.task.borrow_mut().take();
        let joiner = self.state.joiner.borrow_mut().take();
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }
}

impl<F: Future<Output = ()>> Drop for Supervised<F> {
    fn drop(&mut self) {
        self.future = None;
        if !self.state.done.get() {
            self.finish();
        }
    }
}

/// Ends the process if it is dropped by a panic, on a real core.
pub(crate) struct Unbroken {
    pub(super) aborts: bool,
}

impl Drop for Unbroken {
    fn drop(&mut self) {
        if self.aborts && std::thread::panicking() {
            eprintln!("panicked inside the engine, ending the process");
            std::process::abort();
        }
    }
}

fn panicked(name: &'static str, on_panic: OnPanic, panic: Box<dyn Any + Send>) {
    let what = panic_message(panic.as_ref());
    match on_panic {
        OnPanic::Abort => {
            tracing::error!(task = name, "task panicked, ending the process: {what}");
            // The log may be written by another thread that never gets to it.
            eprintln!("task {name} panicked, ending the process: {what}");
            std::process::abort();
        }
        OnPanic::Propagate => resume_unwind(panic),
        OnPanic::Contain => tracing::error!(task = name, "task panicked: {what}"),
    }
}

/// The text of a panic, as far as it has one.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}
