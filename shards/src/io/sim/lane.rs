//! Lanes of the simulated world: a queue both ends share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    sender: End,
    receiver: End,
    /// Of the receiving task, or of whichever end waits for the other to connect.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Travelling,
    Connected,
    Gone,
}

struct Shared<T>(Arc<Mutex<State<T>>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Everything runs on one thread; a panic while holding it ends the test anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

pub struct Sender<T> {
    shared: Shared<T>,
}

pub struct Receiver<T> {
    shared: Shared<T>,
}

pub(in crate::io) fn new<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Shared(Arc::new(Mutex::new(State {
        queue: VecDeque::new(),
        capacity,
        sender: End::Travelling,
        receiver: End::Travelling,
        waker: None,
    })));
    let sender = Sender {
        shared: shared.clone(),
    };
    (sender, Receiver { shared })
}

/// Marks one end as connected and waits for the other, as a real lane does.
async fn connect<T>(
    shared: &Shared<T>,
    own: fn(&mut State<T>) -> &mut End,
    other: fn(&mut State<T>) -> &mut End,
) {
    {
        let mut state = shared.lock();
        *own(&mut state) = End::Connected;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
    poll_fn(|cx| {
        let mut state = shared.lock();
        if *other(&mut state) == End::Travelling {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

impl<T> Sender<T> {
    pub(in crate::io) async fn connect(self) -> Sender<T> {
        connect(&self.shared, |s| &mut s.sender, |s| &mut s.receiver).await;
        self
    }

    pub(in crate::io) fn try_send(&self, message: T) -> Result<(), T> {
        let mut state = self.shared.lock();
        if state.receiver == End::Gone || state.queue.len() == state.capacity {
            return Err(message);
        }
        state.queue.push_back(message);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.sender = End::Gone;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    pub(in crate::io) async fn connect(self) -> Receiver<T> {
        connect(&self.shared, |s| &mut s.receiver, |s| &mut s.sender).await;
        self
    }

    pub(in crate::io) fn try_recv(&mut self) -> Option<T> {
        self.shared.lock().queue.pop_front()
    }

    pub(in crate::io) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.shared.lock();
        if let Some(message) = state.queue.pop_front() {
            return Poll::Ready(Some(message));
        }
        if state.sender == End::Gone {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receiver = End::Gone;
        // What is on the way belongs to nobody now; drop it outside of the lock, as
        // its own drop may reach for this lane.
        let lost = std::mem::take(&mut state.queue);
        let waker = state.waker.take();
        drop(state);
        drop(lost);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
