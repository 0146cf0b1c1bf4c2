//! A slot for one value, between two tasks of the same shard.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

enum State<T> {
    Empty(Option<Waker>),
    Full(T),
    Closed,
}

/// The side that fills the slot. Dropping it unfilled tells the waiting side.
pub struct Completer<T> {
    state: Rc<RefCell<State<T>>>,
}

/// The side that waits: a future of the value, or of `None` if the completer
/// was dropped.
pub struct Slot<T> {
    state: Rc<RefCell<State<T>>>,
}

pub fn slot<T>() -> (Completer<T>, Slot<T>) {
    let state = Rc::new(RefCell::new(State::Empty(None)));
    let completer = Completer {
        state: Rc::clone(&state),
    };
    (completer, Slot { state })
}

impl<T> Completer<T> {
    /// Fills the slot. If nobody waits any more the value is dropped.
    pub fn complete(self, value: T) {
        self.put(State::Full(value));
    }

    /// Whether the waiting side is gone, so that the value need not be made.
    pub fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.state) == 1
    }

    fn put(&self, next: State<T>) {
        let previous = self.state.replace(next);
        if let State::Empty(Some(waker)) = previous {
            waker.wake();
        }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if matches!(*self.state.borrow(), State::Empty(_)) {
            self.put(State::Closed);
        }
    }
}

impl<T> Slot<T> {
    /// The value, if it is there already.
    pub fn try_take(&mut self) -> Option<T> {
        if !matches!(*self.state.borrow(), State::Full(_)) {
            return None;
        }
        match self.state.replace(State::Closed) {
            State::Full(value) => Some(value),
            State::Empty(_) | State::Closed => None,
        }
    }
}

impl<T> Future for Slot<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(value) = self.try_take() {
            return Poll::Ready(Some(value));
        }
        let mut state = self.state.borrow_mut();
        match &mut *state {
            State::Empty(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Full(_) | State::Closed => Poll::Ready(None),
        }
    }
}
