//! A reply's body that is made while it is sent: a piece is made while the client takes the one before it, so that
//! nobody holds the whole.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// Where the pieces go. Once the client has gone nobody takes them.
pub(super) struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Pieces {
    /// Puts a piece behind the others; an error if nobody wants more.
    pub(super) async fn put(&self, piece: String) -> Result<(), ClientGone> {
        let sent = self.0.send(Ok(piece.into())).await;
        sent.map_err(|_| ClientGone)
    }

    /// The rest cannot be made: has the client see that what it got is not the whole.
    pub(super) async fn cut(&self, why: &'static str) {
        // Or nobody is there to see it.
        let _ = self.0.send(Err(io::Error::other(why))).await;
    }
}

/// Nobody takes the pieces any more.
#[derive(Debug)]
pub(super) struct ClientGone;

/// The pieces on their way to the client.
pub(super) struct Stream(mpsc::Receiver<io::Result<Bytes>>);

impl Stream {
    /// Has `make` put its pieces in.
    pub(super) fn of<F>(make: impl FnOnce(Pieces) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (pieces, taken) = mpsc::channel(1);
        tokio::spawn(make(Pieces(pieces)));
        Self(taken)
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
