//! Lanes between real cores: rings in memory that both ends look into.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use rtrb::{Consumer, Producer, RingBuffer};

use super::poller::Inbound;
use super::{Bell, Executor};

/// The bell of the receiving shard, once the receiver has come there.
type BellRope = Arc<OnceLock<Arc<Bell>>>;

pub struct LaneSender<T> {
    messages: Producer<T>,
    bell: BellRope,
}

pub struct LaneReceiver<T> {
    messages: Consumer<T>,
    bell: BellRope,
}

pub(in crate::io) fn lane<T>(capacity: usize) -> (LaneSender<T>, LaneReceiver<T>) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let bell = BellRope::default();
    let sender = LaneSender {
        messages: producer,
        bell: Arc::clone(&bell),
    };
    let receiver = LaneReceiver {
        messages: consumer,
        bell,
    };
    (sender, receiver)
}

impl<T> LaneSender<T> {
    pub(in crate::io) fn connect(self) -> ConnectedSender<T> {
        ConnectedSender {
            messages: RefCell::new(Some(self.messages)),
            bell: self.bell,
        }
    }
}

impl<T: 'static> LaneReceiver<T> {
    pub(in crate::io) fn connect(self, executor: &Executor) -> ConnectedReceiver<T> {
        let incoming = Rc::new(Incoming {
            messages: RefCell::new(self.messages),
            waiting: RefCell::default(),
        });
        let watched: Weak<Incoming<T>> = Rc::downgrade(&incoming);
        executor.poller.watch_inbound(watched);
        let _ = self.bell.set(Arc::clone(executor.poller.bell()));
        ConnectedReceiver { incoming }
    }
}

pub struct ConnectedSender<T> {
    /// `None` while it is dropped.
    messages: RefCell<Option<Producer<T>>>,
    bell: BellRope,
}

impl<T> ConnectedSender<T> {
    pub(in crate::io) fn try_send(&self, message: T) -> Result<(), T> {
        let mut messages = self.messages.borrow_mut();
        let Some(messages) = messages.as_mut().filter(|lane| !lane.is_abandoned()) else {
            return Err(message);
        };
        match messages.push(message) {
            Ok(()) => {
                self.ring();
                Ok(())
            }
            Err(rtrb::PushError::Full(message)) => Err(message),
        }
    }

    fn ring(&self) {
        // If there is no bell yet, the receiver looks into the lane once there is one.
        let bell = self.bell.get().or_else(|| {
            fence(Ordering::SeqCst);
            self.bell.get()
        });
        if let Some(bell) = bell {
            bell.ring();
        }
    }
}

impl<T> Drop for ConnectedSender<T> {
    /// The receiver learns that the lane has ended.
    fn drop(&mut self) {
        self.messages.take();
        self.ring();
    }
}

pub struct ConnectedReceiver<T> {
    incoming: Rc<Incoming<T>>,
}

struct Incoming<T> {
    messages: RefCell<Consumer<T>>,
    waiting: RefCell<Option<Waker>>,
}

impl<T> ConnectedReceiver<T> {
    pub(in crate::io) async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.incoming.poll_pop(cx)).await
    }

    pub(in crate::io) fn try_recv(&mut self) -> Option<T> {
        self.incoming.messages.borrow_mut().pop().ok()
    }
}

impl<T> Incoming<T> {
    fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut messages = self.messages.borrow_mut();
        // Asked first: what was sent before the sender went is there then. Asking alone does not
        // synchronize with the sender's end.
        let is_abandoned = messages.is_abandoned();
        fence(Ordering::Acquire);
        match messages.pop() {
            Ok(message) => Poll::Ready(Some(message)),
            Err(_) if is_abandoned => Poll::Ready(None),
            Err(_) => {
                *self.waiting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Inbound for Incoming<T> {
    fn wake_if_any(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_none() {
            return false;
        }
        let messages = self.messages.borrow();
        if messages.is_empty() && !messages.is_abandoned() {
            return false;
        }
        if let Some(waker) = waiting.take() {
            waker.wake();
        }
        true
    }
}
