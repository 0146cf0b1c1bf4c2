//! The wish that everything come to an end, told once and heard on every shard.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::RemoteWaker;

/// Shared by all shards and whoever may end them, such as the thread that waits for
/// signals. Asking twice is asking once. Not for the way of the data: it locks.
#[derive(Clone, Default)]
pub struct Stop {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    requested: bool,
    next_id: u64,
    /// In the order in which they began to wait, so that a simulated run repeats.
    waiting: BTreeMap<u64, RemoteWaker>,
}

impl Stop {
    pub fn new() -> Stop {
        Stop::default()
    }

    pub fn request(&self) {
        let waiting = {
            let mut state = self.lock();
            state.requested = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(RemoteWaker::wake);
    }

    /// Waits for the request.
    pub fn requested(&self) -> StopRequested {
        StopRequested {
            stop: self.clone(),
            id: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[must_use = "waits only when awaited"]
pub struct StopRequested {
    stop: Stop,
    id: Option<u64>,
}

impl Future for StopRequested {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stop = self.stop.clone();
        let mut state = stop.lock();
        if state.requested {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            state.next_id += 1;
            state.next_id
        });
        state.waiting.insert(id, RemoteWaker::new(cx.waker()));
        Poll::Pending
    }
}

impl Drop for StopRequested {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.stop.lock().waiting.remove(&id);
        }
    }
}
