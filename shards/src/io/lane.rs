//! A lane from one shard to another (or to itself): bounded, one producer, one
//! consumer, no lock.
//!
//! Both ends are made together, anywhere, and each is sent to its shard and
//! connected there. `connect` announces itself when it is *called* and waits for
//! the other end when it is *awaited*, if it has to: call it for all lanes of a shard
//! first, or two shards wait for each other for ever.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::glommio;
use super::sim::lane as sim;
use super::{Backend, Io};

/// The sending end on its way to its shard.
pub struct LaneSender<T: Send + 'static> {
    glommio: glommio::LaneSender<T>,
    sim: sim::Sender<T>,
}

/// The receiving end on its way to its shard.
pub struct LaneReceiver<T: Send + 'static> {
    glommio: glommio::LaneReceiver<T>,
    sim: sim::Receiver<T>,
}

/// A lane with room for `capacity` messages.
pub fn lane<T: Send + 'static>(capacity: usize) -> (LaneSender<T>, LaneReceiver<T>) {
    assert!(capacity > 0, "a lane needs room");
    // Which of the two it becomes is known once an end meets its shard. The other
    // one is dropped there, and is empty.
    let (glommio_sender, glommio_receiver) = glommio::lane(capacity);
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
                let connected = self.glommio.connect();
                Box::pin(async move { ConnectedSender::Glommio(connected) })
            }
            Backend::Sim(_) => {
                Box::pin(async move { ConnectedSender::Sim(self.sim.connect().await) })
            }
        })
    }
}

impl<T: Send + 'static> LaneReceiver<T> {
    pub fn connect(self, io: &Io) -> impl Future<Output = ConnectedReceiver<T>> + 'static {
        begin(match &io.backend {
            Backend::Glommio(executor) => {
                let connected = self.glommio.connect(executor);
                Box::pin(async move { ConnectedReceiver::Glommio(connected) })
            }
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
    Glommio(glommio::ConnectedSender<T>),
    Sim(sim::Sender<T>),
}

impl<T: Send + 'static> ConnectedSender<T> {
    /// Gives the message back if the lane is full or its receiver gone.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        match self {
            ConnectedSender::Glommio(sender) => sender.try_send(message),
            ConnectedSender::Sim(sender) => sender.try_send(message),
        }
    }
}

/// The receiving end at home.
pub enum ConnectedReceiver<T: Send + 'static> {
    Glommio(glommio::ConnectedReceiver<T>),
    Sim(sim::Receiver<T>),
}

impl<T: Send + 'static> ConnectedReceiver<T> {
    /// The next message, or `None` once the sender is gone and the lane empty.
    pub async fn recv(&mut self) -> Option<T> {
        match self {
            ConnectedReceiver::Glommio(receiver) => receiver.recv().await,
            ConnectedReceiver::Sim(receiver) => poll_fn(|cx| receiver.poll_recv(cx)).await,
        }
    }

    /// The next message, if it is there.
    pub fn try_recv(&mut self) -> Option<T> {
        match self {
            ConnectedReceiver::Glommio(receiver) => receiver.try_recv(),
            ConnectedReceiver::Sim(receiver) => receiver.try_recv(),
        }
    }
}
