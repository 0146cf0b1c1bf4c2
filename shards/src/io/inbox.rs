//! What other threads ask of a shard.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::RemoteWaker;

/// Things that any thread puts in and one task of a shard takes out, oldest first. Not for the way of
/// the data: it locks.
pub struct Inbox<T> {
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    things: VecDeque<T>,
    waiting: Option<RemoteWaker>,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let state = State {
            things: VecDeque::new(),
            waiting: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }
}

impl<T> Inbox<T> {
    pub fn put(&self, thing: T) {
        let waiting = {
            let mut state = self.lock();
            state.things.push_back(thing);
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Waits for the next thing. For one task at a time.
    pub async fn next(&self) -> T {
        poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(thing) = state.things.pop_front() {
                return Poll::Ready(thing);
            }
            state.waiting = Some(RemoteWaker::new(cx.waker()));
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
