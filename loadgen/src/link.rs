//! A client's connection to one broker, opened when it is needed and again after it was lost.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use crate::cluster::Cluster;
use crate::connection::Connection;

/// How long to wait before connecting again, and before sending again what was refused.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long a broker may take to accept a connection and to say what it serves, as Kafka's
/// `socket.connection.setup.timeout.ms`.
const SET_UP_NS_MAX: u64 = 10_000_000_000;
/// How long a broker may take to answer a request, as Kafka's `request.timeout.ms`.
pub(crate) const REQUEST_NS_MAX: u64 = 30_000_000_000;
/// What a connection is counted as that was given up for that.
pub(crate) const OVERDUE: &str = "no reply within 30 s";

/// When to try again what fails now.
pub(crate) fn retry_ns(now_ns: u64) -> u64 {
    now_ns + RETRY_AFTER.as_nanos() as u64
}

/// One connection of a client to a broker; `T` as for [`Connection`].
pub(crate) struct Link<T> {
    pub broker: i32,
    pub connection: Option<Connection<T>>,
    /// When the connection was begun.
    opened_ns: u64,
    /// Nothing is sent before this time.
    pub retry_ns: u64,
    /// Whether the worker's epoll knows the connection.
    is_watched: bool,
    /// Connections that failed so far.
    failures: usize,
}

impl<T> Link<T> {
    pub(crate) fn new(broker: i32) -> Self {
        Self {
            broker,
            connection: None,
            opened_ns: 0,
            retry_ns: 0,
            is_watched: false,
            failures: 0,
        }
    }

    /// The connection if requests may be sent over it; it is opened if there is none. `failed` hears why it fails.
    pub(crate) fn open(
        &mut self,
        cluster: &Cluster,
        now_ns: u64,
        failed: impl FnOnce(&'static str),
    ) -> Option<&mut Connection<T>> {
        if now_ns < self.retry_ns {
            return None;
        }
        if self.connection.is_none() {
            let addresses = cluster.brokers.get(&self.broker).map(Vec::as_slice);
            // The next one after each failure.
            let mut addresses = addresses
                .unwrap_or_default()
                .iter()
                .cycle()
                .skip(self.failures);
            match addresses.next().map(|address| Connection::open(*address)) {
                Some(Ok(connection)) => {
                    self.connection = Some(connection);
                    self.opened_ns = now_ns;
                    self.is_watched = false;
                }
                _ => {
                    self.fail(now_ns);
                    failed("no connection");
                    return None;
                }
            }
        }
        let is_greeted = self.connection.as_ref().is_some_and(Connection::is_greeted);
        if !is_greeted && now_ns > self.opened_ns + SET_UP_NS_MAX {
            self.fail(now_ns);
            failed("no answer to a new connection");
        }
        self.connection.as_mut().filter(|_| is_greeted)
    }

    /// Has an epoll watch the connection for replies, and for room while it has none.
    pub(crate) fn watch(&mut self, epoll: &Epoll, token: u64) -> Result<()> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        if !std::mem::replace(&mut self.is_watched, true) {
            let reading = EpollEvent::new(EpollFlags::EPOLLIN, token);
            epoll.add(connection.stream(), reading)?;
        }
        if connection.is_blocked {
            epoll.modify(connection.stream(), &mut EpollEvent::new(both, token))?;
        }
        Ok(())
    }

    /// The epoll has seen something: what waited for room goes out. Replies are for who calls.
    pub(crate) fn happened(&mut self, epoll: &Epoll, event: EpollEvent) -> Result<()> {
        if let Some(connection) = &mut self.connection
            && event.events().contains(EpollFlags::EPOLLOUT)
            && connection.is_blocked
        {
            connection.is_blocked = false;
            let reading = &mut EpollEvent::new(EpollFlags::EPOLLIN, event.data());
            epoll.modify(connection.stream(), reading)?;
            // A failure shows when it is read from.
            let _ = connection.flush();
        }
        Ok(())
    }

    /// Whether a request has waited too long for its reply.
    pub(crate) fn is_overdue(&self, now_ns: u64) -> bool {
        let oldest_ns = self.connection.as_ref().and_then(Connection::oldest_ns);
        oldest_ns.is_some_and(|oldest_ns| now_ns > oldest_ns + REQUEST_NS_MAX)
    }

    /// The connection is of no use any more: closes it, and returns it with what was in flight.
    pub(crate) fn fail(&mut self, now_ns: u64) -> Option<Connection<T>> {
        self.retry_ns = retry_ns(now_ns);
        self.failures += 1;
        self.connection.take()
    }
}

/// Adds the links that are missing for so many connections to each broker. Those to one broker stay side by side.
pub(crate) fn complete<T>(links: &mut Vec<Link<T>>, cluster: &Cluster, connections: u32) {
    for broker in cluster.brokers.keys() {
        if links.iter().all(|link| link.broker != *broker) {
            links.extend((0..connections).map(|_| Link::new(*broker)));
        }
    }
}

/// The link over which a broker gets what is numbered so: numbers go round over the connections to it.
pub(crate) fn find<T>(links: &[Link<T>], broker: i32, number: usize) -> Option<usize> {
    let first = links.iter().position(|link| link.broker == broker)?;
    let of_broker = links[first..].iter().take_while(|it| it.broker == broker);
    Some(first + number % of_broker.count())
}

/// What a failed connection is counted as: what the network does under one name, all else as it is told.
pub(crate) fn reason(error: &anyhow::Error) -> Cow<'static, str> {
    match error.downcast_ref::<std::io::Error>() {
        Some(_) => Cow::Borrowed("connection lost"),
        None => Cow::Owned(format!("connection given up: {error}")),
    }
}
