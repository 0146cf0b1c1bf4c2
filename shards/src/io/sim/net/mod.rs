//! The network of a world: connections between its nodes, each a pair of pipes.
//!
//! A pipe carries pieces of bytes, each of which arrives some time after it was
//! sent and never before an earlier one. A writer waits when the window between it
//! and its reader is full. While two nodes are cut off from each other nothing
//! arrives; what is under way does once the cut has healed.

mod connection;
mod pipe;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::io::time::Instant;

use super::coverage::Fault;
use super::faults::Crash;
use super::kernel::Kernel;
use super::shard::Shard;
use connection::Connection;

pub use connection::{ReadHalf, WriteHalf};

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
            connection.wake_all();
        }
    }

    fn is_cut(&self, [a, b]: [usize; 2]) -> bool {
        self.cuts.contains(&pair(a, b))
    }

    pub(super) fn connections_of(&self, node: usize) -> usize {
        let all = self.connections.values();
        all.filter(|connection| connection.nodes.contains(&node))
            .count()
    }

    fn forget(&mut self, connection: &Connection) {
        self.connections.remove(&connection.id);
    }

    /// Resets the connections between two nodes.
    pub(super) fn reset(&self, a: usize, b: usize, kernel: &Kernel) {
        for connection in self.between(a, b) {
            kernel.inject(Fault::ConnectionReset);
            connection.reset(kernel.now());
        }
    }

    fn between(&self, a: usize, b: usize) -> impl Iterator<Item = &Rc<Connection>> {
        let all = self.connections.values();
        all.filter(move |connection| {
            let [one, other] = connection.nodes;
            pair(one, other) == pair(a, b)
        })
    }

    /// Ends the direction from one node to another of the connections between them.
    pub(super) fn half_close(&self, from: usize, to: usize, kernel: &Kernel) {
        for connection in self.between(from, to) {
            kernel.inject(Fault::HalfClosed);
            connection.half_close(from, kernel);
        }
    }

    /// Lets nothing arrive on the connections between two nodes until then.
    pub(super) fn stall(&self, a: usize, b: usize, until: Instant, kernel: &Kernel) {
        for connection in self.between(a, b) {
            kernel.inject(Fault::Stalled);
            connection.stall(until);
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
            .retain(|_, connection| connection.is_held());
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
        while self.kernel().network.borrow().is_cut([own, node]) {
            if self.now() >= gives_up {
                return Err(ErrorKind::TimedOut.into());
            }
            // A packet is sent again from time to time.
            self.pause(Duration::from_millis(200)).await;
        }
        let connection = self.make_connection(node, address)?;
        let halves = connection.halves(self, 0);
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
        let id = network.next_id();
        let windows = [window(), window()];
        let connection = Rc::new(Connection::new(id, [self.node(), node], windows));
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
        kernel.tell(|| format!("connection {} to {address}", connection.id));
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
        let (read, write) = connection.halves(self, 1);
        Ok((read, write, peer))
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
