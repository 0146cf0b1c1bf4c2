//! A lane from one shard to another (or to itself): bounded, one producer, one
//! consumer, no lock.
//!
//! Both ends are made together, anywhere, and each is sent to its shard and
//! connected there. `connect` announces itself when it is *called* and waits for
//! the other end when it is *awaited*: call it for all lanes of a shard first, or
//! two shards wait for each other for ever.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use ::glommio::channels::shared_channel;

use super::sim::lane as sim;
use super::{Backend, Io};

/// The sending end on its way to its shard.
pub struct LaneSender<T: Send + 'static> {
    glommio: shared_channel::SharedSender<T>,
    sim: sim::Sender<T>,
}

/// The receiving end on its way to its shard.
pub struct LaneReceiver<T: Send + 'static> {
    glommio: shared_channel::SharedReceiver<T>,
    sim: sim::Receiver<T>,
}

/// A lane with room for `capacity` messages; glommio rounds up to a power of two.
pub fn lane<T: Send + 'static>(capacity: usize) -> (LaneSender<T>, LaneReceiver<T>) {
    assert!(capacity > 0, "a lane needs room");
    // Which of the two it becomes is known once an end meets its shard. The other
    // one is dropped there, and is empty.
    let (glommio_sender, glommio_receiver) = shared_channel::new_bounded(capacity);
    let (sim_sender, sim_receiver) = sim::new(capacity);
    let sender = LaneSender {
        glommio: glommio_sender,
        sim: sim_sender,
    };
    let receiver = LaneReceiver {
        glommio: glommio_receiver,
        sim: sim_receiver,
    };
    (sender, receiver)
}

impl<T: Send + 'static> LaneSender<T> {
    pub fn connect(self, io: &Io) -> impl Future<Output = ConnectedSender<T>> + 'static {
        begin(match io.backend {
            Backend::Glommio(_) => {
                Box::pin(async move { ConnectedSender::Glommio(self.glommio.connect().await) })
            }
            Backend::Sim(_) => {
                Box::pin(async move { ConnectedSender::Sim(self.sim.connect().await) })
            }
        })
    }
}

impl<T: Send + 'static> LaneReceiver<T> {
    pub fn connect(self, io: &Io) -> impl Future<Output = ConnectedReceiver<T>> + 'static {
        begin(match io.backend {
            Backend::Glommio(_) => Box::pin(async move {
                let receiver = self.glommio.connect().await;
                ConnectedReceiver::Glommio(Announced {
                    receiver,
                    announcement: Arc::default(),
                })
            }),
            Backend::Sim(_) => {
                Box::pin(async move { ConnectedReceiver::Sim(self.sim.connect().await) })
            }
        })
    }
}

/// Polls `future` once, now, and lets the caller await the rest.
fn begin<T>(mut future: Pin<Box<dyn Future<Output = T>>>) -> impl Future<Output = T> {
    let first = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    async move {
        match first {
            Poll::Ready(output) => output,
            Poll::Pending => future.await,
        }
    }
}

/// The sending end at home.
pub enum ConnectedSender<T: Send + 'static> {
    Glommio(shared_channel::ConnectedSender<T>),
    Sim(sim::Sender<T>),
}

impl<T: Send + 'static> ConnectedSender<T> {
    /// Gives the message back if the lane is full or its receiver gone.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        match self {
            ConnectedSender::Glommio(sender) => {
                sender.try_send(message).map_err(|error| match error {
                    ::glommio::GlommioError::Closed(::glommio::ResourceType::Channel(message))
                    | ::glommio::GlommioError::WouldBlock(::glommio::ResourceType::Channel(
                        message,
                    )) => message,
                    other => unreachable!("a channel is closed or full: {other}"),
                })
            }
            ConnectedSender::Sim(sender) => sender.try_send(message),
        }
    }
}

/// The receiving end at home.
pub enum ConnectedReceiver<T: Send + 'static> {
    Glommio(Announced<T>),
    Sim(sim::Receiver<T>),
}

impl<T: Send + 'static> ConnectedReceiver<T> {
    /// The next message, or `None` once the sender is gone and the lane empty.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| match self {
            ConnectedReceiver::Glommio(receiver) => receiver.poll_recv(cx),
            ConnectedReceiver::Sim(receiver) => receiver.poll_recv(cx),
        })
        .await
    }

    /// The next message, if it is known to be there: what arrives after this said
    /// `None` is announced at the reactor's next pass.
    pub fn try_recv(&mut self) -> Option<T> {
        match self {
            ConnectedReceiver::Glommio(receiver) => match receiver.poll_pop() {
                Poll::Ready(message) => message,
                Poll::Pending => None,
            },
            ConnectedReceiver::Sim(receiver) => receiver.try_recv(),
        }
    }
}

/// A glommio receiver that has at most one waker registered. glommio itself adds
/// another each time it is asked in vain, and would drown in those of a task that
/// looks at several lanes.
pub struct Announced<T: Send + 'static> {
    receiver: shared_channel::ConnectedReceiver<T>,
    announcement: Arc<Announcement>,
}

/// The waker that glommio is given. All of it happens on one thread; the types are
/// those of a thread-safe one because a `Waker` has to be.
#[derive(Default)]
struct Announcement {
    awaited: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Announcement {
    fn set_task(&self, task: Option<Waker>) -> Option<Waker> {
        let mut slot = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *slot, task)
    }
}

impl Wake for Announcement {
    fn wake(self: Arc<Self>) {
        self.awaited.store(false, Ordering::Relaxed);
        if let Some(task) = self.set_task(None) {
            task.wake();
        }
    }
}

impl<T: Send + 'static> Announced<T> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let popped = self.poll_pop();
        if popped.is_pending() {
            self.announcement.set_task(Some(cx.waker().clone()));
        }
        popped
    }

    fn poll_pop(&mut self) -> Poll<Option<T>> {
        if self.announcement.awaited.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.announcement));
        let popped = pin!(self.receiver.recv()).poll(&mut Context::from_waker(&waker));
        if popped.is_pending() {
            self.announcement.awaited.store(true, Ordering::Relaxed);
        }
        popped
    }
}
