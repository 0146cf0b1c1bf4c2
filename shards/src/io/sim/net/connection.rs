//! A connection and the halves of its two sides.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Result;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use crate::io::sim::kernel::Kernel;
use crate::io::sim::shard::Shard;
use crate::io::time::Instant;

use super::pipe::Pipe;

/// Side 0 connected, side 1 accepted.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) nodes: [usize; 2],
    /// By the side that writes.
    pipes: [RefCell<Pipe>; 2],
    /// Halves of each side that are still held.
    held: [Cell<u8>; 2],
}

impl Connection {
    pub(super) fn new(id: u64, nodes: [usize; 2], windows: [usize; 2]) -> Connection {
        Connection {
            id,
            nodes,
            pipes: windows.map(|window| RefCell::new(Pipe::new(window))),
            held: Default::default(),
        }
    }

    pub(super) fn reset(&self, at: Instant) {
        for pipe in &self.pipes {
            pipe.borrow_mut().reset(at);
        }
    }

    /// Ends what the side on that node sends; of a node with itself, what the side sends that connected.
    pub(super) fn half_close(&self, from: usize, kernel: &Kernel) {
        let side = usize::from(self.nodes[0] != from);
        self.pipes[side].borrow_mut().end(kernel);
    }

    pub(super) fn stall(&self, until: Instant) {
        for pipe in &self.pipes {
            pipe.borrow_mut().stall(until);
        }
    }

    pub(super) fn wake_all(&self) {
        for pipe in &self.pipes {
            pipe.borrow_mut().wake_both();
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.iter().any(|held| held.get() > 0)
    }

    /// Gives out the two halves of a side, once.
    pub(super) fn halves(self: &Rc<Self>, shard: &Rc<Shard>, side: usize) -> (ReadHalf, WriteHalf) {
        assert_eq!(self.held[side].get(), 0, "a side is given out once");
        self.held[side].set(2);
        let half = || Half {
            shard: Rc::clone(shard),
            connection: Rc::clone(self),
            side,
        };
        (ReadHalf { half: half() }, WriteHalf { half: half() })
    }
}

/// One half of a side's part in a connection.
struct Half {
    shard: Rc<Shard>,
    connection: Rc<Connection>,
    side: usize,
}

impl Half {
    fn kernel(&self) -> &Kernel {
        self.shard.kernel()
    }

    fn outgoing(&self) -> &RefCell<Pipe> {
        &self.connection.pipes[self.side]
    }

    fn incoming(&self) -> &RefCell<Pipe> {
        &self.connection.pipes[1 - self.side]
    }
}

impl Drop for Half {
    /// The connection closes with the second half of a side.
    fn drop(&mut self) {
        let held = &self.connection.held[self.side];
        held.set(held.get() - 1);
        // What becomes of the connections of a crashed node is up to the crash.
        if held.get() > 0 || !self.shard.is_alive() {
            return;
        }
        let kernel = self.shard.kernel();
        let is_all_read = self.incoming().borrow().is_empty();
        if is_all_read {
            self.incoming().borrow_mut().leave_reader();
            self.outgoing().borrow_mut().end(kernel);
        } else {
            self.connection.reset(kernel.now());
        }
        if !self.connection.is_held() {
            kernel.network.borrow_mut().forget(&self.connection);
        }
    }
}

pub struct ReadHalf {
    half: Half,
}

impl ReadHalf {
    pub(in crate::io) async fn read(&mut self, buffer: &mut BytesMut) -> Result<usize> {
        let half = &self.half;
        let read = poll_fn(|cx| {
            half.shard.check_alive()?;
            let kernel = half.kernel();
            let is_cut = kernel.network.borrow().is_cut(half.connection.nodes);
            let mut pipe = half.incoming().borrow_mut();
            pipe.poll_receive(buffer, is_cut, kernel, cx)
        })
        .await?;
        let id = half.connection.id;
        half.shard.record(&[7, id, read as u64]);
        let event = || format!("receive {read} bytes on connection {id}");
        half.shard.tell(event);
        Ok(read)
    }

    pub(in crate::io) fn set_low_water(&mut self, bytes: usize) -> Result<()> {
        self.half.incoming().borrow_mut().set_low_water(bytes);
        Ok(())
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        let mut pipe = self.half.incoming().borrow_mut();
        pipe.stop_reader(self.half.kernel());
    }
}

pub struct WriteHalf {
    half: Half,
}

impl WriteHalf {
    pub(in crate::io) async fn write(&mut self, slices: &mut VecDeque<Bytes>) -> Result<()> {
        poll_fn(|cx| {
            if self.send(slices)? {
                return Poll::Ready(Ok(()));
            }
            let mut pipe = self.half.outgoing().borrow_mut();
            pipe.wait_to_send(self.half.kernel(), cx);
            Poll::Pending
        })
        .await
    }

    /// Sends as much as the window takes; true if that was all.
    fn send(&mut self, slices: &mut VecDeque<Bytes>) -> Result<bool> {
        let half = &self.half;
        half.shard.check_alive()?;
        let kernel = half.kernel();
        while let Some(slice) = slices.front_mut() {
            if slice.is_empty() {
                slices.pop_front();
                continue;
            }
            if kernel.draws_connection_reset() {
                half.connection.reset(kernel.now());
            }
            if let Some(duration) = kernel.draws_stall() {
                half.connection.stall(kernel.now() + duration);
            }
            let all = slice.clone();
            if !half.outgoing().borrow_mut().send_some(slice, kernel)? {
                return Ok(false);
            }
            let (sent, id) = (all.len() - slice.len(), half.connection.id);
            let crc = crc32c::crc32c(&all[..sent]);
            kernel.record(&[10, id, sent as u64, u64::from(crc)]);
            kernel.tell(|| format!("send {sent} bytes on connection {id}"));
        }
        Ok(true)
    }

    pub(in crate::io) fn shutdown(&mut self) -> Result<()> {
        self.half.shard.check_alive()?;
        let kernel = self.half.kernel();
        self.half.outgoing().borrow_mut().end(kernel);
        Ok(())
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        let mut pipe = self.half.outgoing().borrow_mut();
        pipe.stop_writer(self.half.kernel());
    }
}
