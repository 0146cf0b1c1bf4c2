//! The network of a world: connections between its nodes, each a pair of pipes.
//!
//! A pipe carries pieces of bytes, each of which arrives some time after it was
//! sent and never before an earlier one. A writer waits when the window between it
//! and its reader is full. While two nodes are cut off from each other nothing
//! arrives; what is under way does once the cut has healed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::io::time::Instant;

use super::faults::Crash;
use super::kernel::{AlarmKey, Kernel};
use super::shard::Shard;

/// Connections that wait to be accepted at one listener.
const BACKLOG: usize = 128;

/// The first port of those that are given to whoever does not ask for one.
const FIRST_EPHEMERAL_PORT: u16 = 40_000;

/// How long connecting to a node that does not answer takes to fail.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Network {
    listeners: BTreeMap<u64, Rc<Waiting>>,
    connections: BTreeMap<u64, Rc<Connection>>,
    cuts: BTreeSet<(usize, usize)>,
    made: u64,
    ports: BTreeMap<usize, u16>,
}

/// A listener, as those see it who connect to it.
struct Waiting {
    node: usize,
    address: SocketAddr,
    accepted: RefCell<VecDeque<(Rc<Connection>, SocketAddr)>>,
    waker: RefCell<Option<Waker>>,
}

/// Side 0 connected, side 1 accepted.
struct Connection {
    id: u64,
    nodes: [usize; 2],
    /// By the side that writes.
    pipes: [RefCell<Pipe>; 2],
    /// Halves of each side that are still held.
    halves: [Cell<u8>; 2],
}

struct Pipe {
    under_way: VecDeque<(Instant, Bytes)>,
    arrived: VecDeque<Bytes>,
    arrived_len: usize,
    /// Bytes under way and arrived.
    len: usize,
    window: usize,
    low_water: usize,
    /// The writer has sent all it will, and that has arrived by then.
    end: Option<Instant>,
    /// From then on both sides get errors.
    reset: Option<Instant>,
    reader_gone: bool,
    reader: Waiter,
    writer: Waiter,
}

/// A task that waits at one end of a pipe, for a wake-up or a point in time.
#[derive(Default)]
struct Waiter {
    waker: Option<Waker>,
    alarm: Option<AlarmKey>,
}

impl Waiter {
    fn wait(&mut self, kernel: &Kernel, until: Option<Instant>, cx: &Context<'_>) {
        self.stop(kernel);
        self.waker = Some(cx.waker().clone());
        self.alarm = until.map(|at| kernel.set_alarm(at, cx.waker().clone()));
    }

    fn stop(&mut self, kernel: &Kernel) {
        if let Some(alarm) = self.alarm.take() {
            kernel.cancel_alarm(alarm);
        }
        self.waker = None;
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Pipe {
    fn new(window: usize) -> Pipe {
        Pipe {
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            arrived_len: 0,
            len: 0,
            window,
            low_water: 1,
            end: None,
            reset: None,
            reader_gone: false,
            reader: Waiter::default(),
            writer: Waiter::default(),
        }
    }

    fn is_reset(&self, now: Instant) -> bool {
        self.reset.is_some_and(|at| at <= now)
    }

    fn wake_both(&mut self) {
        self.reader.wake();
        self.writer.wake();
    }

    /// When the next thing happens that a reader may wait for.
    fn next_event(&self) -> Option<Instant> {
        let arrival = self.under_way.front().map(|(at, _)| *at);
        let end = self.end.filter(|_| self.under_way.is_empty());
        [arrival, end, self.reset].into_iter().flatten().min()
    }

    fn receive(&mut self, now: Instant) {
        while let Some((at, _)) = self.under_way.front() {
            if *at > now {
                break;
            }
            if let Some((_, piece)) = self.under_way.pop_front() {
                self.arrived_len += piece.len();
                self.arrived.push_back(piece);
            }
        }
    }
}

impl Connection {
    fn is_cut(&self, network: &Network) -> bool {
        network.cuts.contains(&pair(self.nodes[0], self.nodes[1]))
    }

    fn reset(&self, at: Instant) {
        for pipe in &self.pipes {
            let mut pipe = pipe.borrow_mut();
            pipe.reset = Some(pipe.reset.map_or(at, |earlier| earlier.min(at)));
            pipe.wake_both();
        }
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// The address of a node. Loopback addresses work as well, from the node itself.
pub(super) fn address_of(node: usize) -> IpAddr {
    let [high, low] = u16::try_from(node + 1).expect("few nodes").to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

fn node_of(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [10, 0, high, low] => usize::from(u16::from_be_bytes([high, low])).checked_sub(1),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

impl Waiting {
    fn takes(&self, node: usize, address: SocketAddr) -> bool {
        let ip = self.address.ip();
        let fits = ip == address.ip() || ip.is_unspecified() && (ip.is_ipv6() || address.is_ipv4());
        self.node == node && self.address.port() == address.port() && fits
    }
}

impl Network {
    fn next_id(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn next_port(&mut self, node: usize) -> u16 {
        let port = self.ports.entry(node).or_insert(FIRST_EPHEMERAL_PORT);
        *port += 1;
        *port
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.insert(pair(a, b));
    }

    pub(super) fn heal(&mut self, a: usize, b: usize) {
        self.cuts.remove(&pair(a, b));
        for connection in self.connections.values() {
            for pipe in &connection.pipes {
                pipe.borrow_mut().wake_both();
            }
        }
    }

    /// Resets the connections between two nodes.
    pub(super) fn reset(&self, a: usize, b: usize, now: Instant) {
        for connection in self.connections.values() {
            if pair(connection.nodes[0], connection.nodes[1]) == pair(a, b) {
                connection.reset(now);
            }
        }
    }

    /// Nobody listens on that node any more; its peers learn of it later.
    pub(super) fn crash(&mut self, node: usize, crash: Crash, kernel: &Kernel) {
        self.listeners.retain(|_, listener| listener.node != node);
        let learn_within = match crash {
            Crash::Kill => Duration::from_millis(1),
            Crash::PowerLoss => Duration::from_secs(30),
        };
        for connection in self.connections.values() {
            if connection.nodes.contains(&node) {
                let delay = kernel.duration_between((Duration::ZERO, learn_within));
                connection.reset(kernel.now() + delay);
            }
        }
        self.connections
            .retain(|_, connection| connection.halves.iter().any(|held| held.get() > 0));
    }
}

impl Shard {
    pub(in crate::io) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        self.check_alive()?;
        let ip = address.ip();
        let node = self.node();
        if !ip.is_unspecified() && !ip.is_loopback() && node_of(ip) != Some(node) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let mut network = self.kernel().network.borrow_mut();
        let mut address = address;
        if address.port() == 0 {
            address.set_port(network.next_port(node));
        }
        let id = network.next_id();
        let waiting = Rc::new(Waiting {
            node,
            address,
            accepted: RefCell::default(),
            waker: RefCell::default(),
        });
        network.listeners.insert(id, Rc::clone(&waiting));
        Ok(Listener {
            kernel: Rc::clone(self.kernel()),
            id,
            waiting,
        })
    }

    async fn network_pause(&self) {
        let latency = self.kernel().faults.borrow().network_latency;
        self.pause(self.kernel().duration_between(latency)).await;
    }

    pub(in crate::io) async fn connect(
        self: &Rc<Self>,
        address: SocketAddr,
    ) -> io::Result<(ReadHalf, WriteHalf)> {
        self.network_pause().await;
        self.check_alive()?;
        let own = self.node();
        let node = if address.ip().is_loopback() {
            own
        } else {
            node_of(address.ip()).ok_or(ErrorKind::HostUnreachable)?
        };
        let gives_up = self.now() + CONNECT_TIMEOUT;
        while self
            .kernel()
            .network
            .borrow()
            .cuts
            .contains(&pair(own, node))
        {
            if self.now() >= gives_up {
                return Err(ErrorKind::TimedOut.into());
            }
            // A packet is sent again from time to time.
            self.pause(Duration::from_millis(200)).await;
        }
        let connection = self.make_connection(node, address)?;
        let halves = self.halves(&connection, 0);
        self.network_pause().await;
        Ok(halves)
    }

    /// Puts a new connection into the queue of one of those who listen.
    fn make_connection(&self, node: usize, address: SocketAddr) -> io::Result<Rc<Connection>> {
        let kernel = self.kernel();
        let mut network = kernel.network.borrow_mut();
        let listening: Vec<Rc<Waiting>> = network
            .listeners
            .values()
            .filter(|listener| listener.takes(node, address))
            .filter(|listener| listener.accepted.borrow().len() < BACKLOG)
            .cloned()
            .collect();
        if listening.is_empty() {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let listener = &listening[kernel.below(listening.len() as u64) as usize];
        let (low, high) = kernel.faults.borrow().network_window;
        let window = || kernel.with_random(|r| r.between(low as u64, high as u64)) as usize;
        let connection = Rc::new(Connection {
            id: network.next_id(),
            nodes: [self.node(), node],
            pipes: [
                RefCell::new(Pipe::new(window())),
                RefCell::new(Pipe::new(window())),
            ],
            halves: [Cell::new(0), Cell::new(0)],
        });
        network
            .connections
            .insert(connection.id, Rc::clone(&connection));
        let peer_ip = if address.ip().is_loopback() {
            address.ip()
        } else {
            address_of(self.node())
        };
        let peer = SocketAddr::new(peer_ip, network.next_port(self.node()));
        kernel.record(&[6, connection.id]);
        let mut accepted = listener.accepted.borrow_mut();
        accepted.push_back((Rc::clone(&connection), peer));
        if let Some(waker) = listener.waker.borrow_mut().take() {
            waker.wake();
        }
        Ok(connection)
    }

    pub(in crate::io) async fn accept(
        self: &Rc<Self>,
        listener: &Listener,
    ) -> io::Result<(ReadHalf, WriteHalf, SocketAddr)> {
        let (connection, peer) = poll_fn(|cx| {
            if let Some(accepted) = listener.waiting.accepted.borrow_mut().pop_front() {
                return Poll::Ready(accepted);
            }
            *listener.waiting.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let (read, write) = self.halves(&connection, 1);
        Ok((read, write, peer))
    }

    fn halves(self: &Rc<Self>, connection: &Rc<Connection>, side: usize) -> (ReadHalf, WriteHalf) {
        connection.halves[side].set(2);
        let half = |_| Half {
            shard: Rc::clone(self),
            connection: Rc::clone(connection),
            side,
        };
        (ReadHalf { half: half(0) }, WriteHalf { half: half(1) })
    }
}

pub struct Listener {
    kernel: Rc<Kernel>,
    id: u64,
    waiting: Rc<Waiting>,
}

impl Listener {
    pub(in crate::io) fn local_addr(&self) -> SocketAddr {
        self.waiting.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.kernel.network.borrow_mut().listeners.remove(&self.id);
        let now = self.kernel.now();
        for (connection, _) in self.waiting.accepted.take() {
            connection.reset(now);
        }
    }
}

/// One side's part in a connection.
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

    fn is_cut(&self) -> bool {
        self.connection.is_cut(&self.kernel().network.borrow())
    }
}

impl Drop for Half {
    /// The connection closes with the second half of a side.
    fn drop(&mut self) {
        let halves = &self.connection.halves[self.side];
        halves.set(halves.get() - 1);
        if halves.get() > 0 || !self.shard.is_alive() {
            return;
        }
        let kernel = self.shard.kernel();
        let now = kernel.now();
        let unread = self.incoming().borrow().len > 0;
        if unread {
            self.connection.reset(now);
        } else {
            self.incoming().borrow_mut().reader_gone = true;
            self.incoming().borrow_mut().wake_both();
            end(&mut self.outgoing().borrow_mut(), kernel);
        }
        if self.connection.halves[1 - self.side].get() == 0 {
            let mut network = kernel.network.borrow_mut();
            network.connections.remove(&self.connection.id);
        }
    }
}

/// Lets the reader find the end after all that was sent before.
fn end(pipe: &mut Pipe, kernel: &Kernel) {
    if pipe.end.is_none() {
        pipe.end = Some(arrival(pipe, kernel));
        pipe.reader.wake();
    }
}

fn arrival(pipe: &Pipe, kernel: &Kernel) -> Instant {
    let latency = kernel.faults.borrow().network_latency;
    let at = kernel.now() + kernel.duration_between(latency);
    pipe.under_way
        .back()
        .map_or(at, |(before, _)| at.max(*before))
}

pub struct ReadHalf {
    half: Half,
}

impl ReadHalf {
    pub(in crate::io) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(buffer, cx)).await
    }

    fn poll_read(&mut self, buffer: &mut BytesMut, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        let half = &self.half;
        half.shard.check_alive()?;
        let kernel = half.kernel();
        let now = kernel.now();
        let mut pipe = half.incoming().borrow_mut();
        pipe.reader.stop(kernel);
        if half.is_cut() {
            pipe.reader.wait(kernel, None, cx);
            return Poll::Pending;
        }
        if pipe.is_reset(now) {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        pipe.receive(now);
        let has_ended = pipe.under_way.is_empty() && pipe.end.is_some_and(|at| at <= now);
        let is_full = pipe.len >= pipe.window && pipe.under_way.is_empty();
        let is_enough = pipe.arrived_len >= pipe.low_water || is_full || has_ended;
        if pipe.arrived_len > 0 && is_enough {
            let spare = buffer.capacity() - buffer.len();
            let mut read = 0;
            while read < spare
                && let Some(piece) = pipe.arrived.front_mut()
            {
                let part = piece.len().min(spare - read);
                buffer.extend_from_slice(&piece[..part]);
                piece.advance(part);
                if piece.is_empty() {
                    pipe.arrived.pop_front();
                }
                read += part;
            }
            pipe.arrived_len -= read;
            pipe.len -= read;
            pipe.writer.wake();
            kernel.record(&[7, half.connection.id, read as u64]);
            return Poll::Ready(Ok(read));
        }
        if has_ended {
            return Poll::Ready(Ok(0));
        }
        let until = pipe.next_event();
        pipe.reader.wait(kernel, until, cx);
        Poll::Pending
    }

    pub(in crate::io) fn set_low_water(&mut self, bytes: usize) -> io::Result<()> {
        self.half.incoming().borrow_mut().low_water = bytes.max(1);
        Ok(())
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        let mut pipe = self.half.incoming().borrow_mut();
        pipe.reader.stop(self.half.kernel());
    }
}

pub struct WriteHalf {
    half: Half,
}

impl WriteHalf {
    pub(in crate::io) async fn write(&mut self, slices: &mut VecDeque<Bytes>) -> io::Result<()> {
        poll_fn(|cx| {
            if self.send(slices)? {
                return Poll::Ready(Ok(()));
            }
            let kernel = self.half.kernel();
            let mut pipe = self.half.outgoing().borrow_mut();
            let until = pipe.reset;
            pipe.writer.wait(kernel, until, cx);
            Poll::Pending
        })
        .await
    }

    pub(in crate::io) fn try_write(&mut self, slices: &mut VecDeque<Bytes>) -> io::Result<bool> {
        self.send(slices)
    }

    /// Sends as much as the window takes; true if that was all.
    fn send(&mut self, slices: &mut VecDeque<Bytes>) -> io::Result<bool> {
        let half = &self.half;
        half.shard.check_alive()?;
        let kernel = half.kernel();
        let now = kernel.now();
        while let Some(slice) = slices.front_mut() {
            if slice.is_empty() {
                slices.pop_front();
                continue;
            }
            if self.draws_reset() {
                half.connection.reset(now);
            }
            let mut pipe = half.outgoing().borrow_mut();
            if pipe.is_reset(now) || pipe.reader_gone || pipe.end.is_some() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let room = pipe.window.saturating_sub(pipe.len);
            if room == 0 {
                return Ok(false);
            }
            let piece_max = kernel.faults.borrow().network_piece_max.max(1);
            let piece = 1 + kernel.below(piece_max as u64) as usize;
            let piece = slice.split_to(piece.min(room).min(slice.len()));
            pipe.len += piece.len();
            let at = arrival(&pipe, kernel);
            pipe.under_way.push_back((at, piece));
            pipe.reader.wake();
        }
        Ok(true)
    }

    fn draws_reset(&self) -> bool {
        let kernel = self.half.kernel();
        let mut faults = kernel.faults.borrow_mut();
        let resets = faults.network_resets_max > 0 && kernel.chance(faults.network_reset);
        if resets {
            faults.network_resets_max -= 1;
        }
        resets
    }

    pub(in crate::io) fn shutdown(&mut self) -> io::Result<()> {
        self.half.shard.check_alive()?;
        end(&mut self.half.outgoing().borrow_mut(), self.half.kernel());
        Ok(())
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        let mut pipe = self.half.outgoing().borrow_mut();
        pipe.writer.stop(self.half.kernel());
    }
}
