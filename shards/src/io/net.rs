//! Listeners and connections. The two halves of a connection may be used from two
//! tasks of their shard at once; it closes when both are dropped.

use std::collections::VecDeque;
use std::io::Result;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::{glommio, sim};

pub enum Listener {
    Glommio(glommio::Listener, Rc<glommio::Executor>),
    Sim(sim::Listener, Rc<sim::Shard>),
}

impl Listener {
    /// The address listened on, with the port that was given if zero was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Listener::Glommio(listener, _) => listener.local_addr(),
            Listener::Sim(listener, _) => listener.local_addr(),
        }
    }

    /// The next connection. One task calls this for as long as it listens, and does
    /// nothing else: dropping the future may lose a connection. After an error call
    /// it again; if descriptors have run out it has already paused for a while.
    pub async fn accept(&self) -> Result<(ReadHalf, WriteHalf, SocketAddr)> {
        Ok(match self {
            Listener::Glommio(listener, io) => {
                let (read, write, peer) = io.accept(listener).await?;
                (ReadHalf::Glommio(read), WriteHalf::Glommio(write), peer)
            }
            Listener::Sim(listener, io) => {
                let (read, write, peer) = io.accept(listener).await?;
                (ReadHalf::Sim(read), WriteHalf::Sim(write), peer)
            }
        })
    }
}

pub enum ReadHalf {
    Glommio(glommio::ReadHalf),
    Sim(sim::ReadHalf),
}

impl ReadHalf {
    /// Appends what has arrived, at most as much as the buffer has spare capacity
    /// for, and waits if nothing has. Zero is the end. Nothing is lost if the future
    /// is dropped. Room for `room` bytes is made only when there is something to
    /// read: while it waits, an empty buffer holds no memory.
    pub async fn read(&mut self, buffer: &mut BytesMut, room: usize) -> Result<usize> {
        assert!(room > 0, "no room to read into");
        match self {
            ReadHalf::Glommio(half) => half.read(buffer, room).await,
            ReadHalf::Sim(half) => {
                buffer.reserve(room);
                half.read(buffer).await
            }
        }
    }

    /// Lets reads wait until that many bytes have arrived, to be woken less often
    /// while a large request comes in. A hint: a read may bring fewer. Set it back
    /// to 1 before waiting for something of unknown size.
    pub fn set_low_water(&mut self, bytes: usize) -> Result<()> {
        match self {
            ReadHalf::Glommio(half) => half.set_low_water(bytes),
            ReadHalf::Sim(half) => half.set_low_water(bytes),
        }
    }
}

pub enum WriteHalf {
    Glommio(glommio::WriteHalf),
    Sim(sim::WriteHalf),
}

impl WriteHalf {
    /// Writes all slices, many with one system call, and removes them as they go.
    /// If the future is dropped, what remains in `slices` was not written.
    pub async fn write(&mut self, slices: &mut VecDeque<Bytes>) -> Result<()> {
        match self {
            WriteHalf::Glommio(half) => half.write(slices).await,
            WriteHalf::Sim(half) => half.write(slices).await,
        }
    }

    /// Tells the peer that nothing more will come.
    pub fn shutdown(&mut self) -> Result<()> {
        match self {
            WriteHalf::Glommio(half) => half.shutdown(),
            WriteHalf::Sim(half) => half.shutdown(),
        }
    }
}
