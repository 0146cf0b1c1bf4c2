//! Connections of one shard: from sockets to requests, from replies to sockets.
//!
//! Every shard listens on the same addresses and owns the connections that the kernel gives it. In
//! the order of the data: [`listener`] accepts, [`connection`] cuts requests out of the bytes and has
//! them handled in order, [`replies`] holds what is to be answered, in the order of the requests.
//! Around them: [`crate::budget`] stops reading when requests hold too much memory, [`admission`] counts
//! connections over all shards, [`keeper`] closes the silent and the slow, and ends all of them.
//!
//! Bytes from a client are never trusted; what is wrong with them closes that client's connection,
//! with one line in the log. Nothing here survives a crash, and nothing has to.

pub mod admission;
mod connection;
mod keeper;
mod listener;
mod replies;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use corelog_shards::io::{Io, TaskHandle};
use kafka_protocol::messages::ApiKey;

use crate::api::{self, Api, Unserved};
use crate::broker::Broker;
use crate::budget::{Budget, MemoryUse};
use crate::config::NetworkLimits;
use crate::lines::Lines;
use crate::metrics::RequestMetrics;
use admission::Admission;
use keeper::Keeper;
use replies::Overlapping;

/// What limits the connections of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of one request: `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// That requests may hold on this shard: its part of `queued.max.request.bytes`.
    pub request_memory_bytes: usize,
    /// That large replies may hold on this shard until their clients have taken them.
    pub reply_memory_bytes: usize,
    /// `connections.max.idle.ms`; None keeps silent connections open.
    pub idle_max: Option<Duration>,
}

/// Finds who answers a request.
type Find = fn(ApiKey, i16) -> Result<&'static Api, Unserved>;

/// The network side of one shard. Lives as long as it serves; [`Network::drain`] ends it.
pub struct Network {
    shared: Rc<Shared>,
    /// Tasks that accept, one for each listener.
    accepting: RefCell<Vec<TaskHandle>>,
}

/// What all connections of the shard use.
struct Shared {
    find: Find,
    io: Io,
    limits: Limits,
    /// It holds its network, not the other way round; connections hold it.
    broker: Weak<Broker>,
    metrics: Arc<RequestMetrics>,
    admission: Arc<Admission>,
    budget: Budget,
    reply_budget: Budget,
    keeper: Rc<Keeper>,
    overlapping: Rc<Overlapping>,
    /// Of the broker on this shard.
    lines: Rc<Lines>,
}

impl Network {
    /// Ready to listen. `admission` is shared by all shards.
    pub fn new(io: Io, limits: Limits, broker: Rc<Broker>, admission: Arc<Admission>) -> Self {
        Self::serving(api::find, io, limits, broker, admission)
    }

    /// With another table than THE table, for tests.
    fn serving(
        find: Find,
        io: Io,
        limits: Limits,
        broker: Rc<Broker>,
        admission: Arc<Admission>,
    ) -> Self {
        let budget = Budget::new(limits.request_memory_bytes);
        let reply_budget = Budget::new(limits.reply_memory_bytes);
        let budgets = [budget.clone(), reply_budget.clone()];
        let lines = Rc::clone(&broker.lines);
        let keeper = Keeper::start(&io, limits.idle_max, budgets, Arc::clone(&admission), lines);
        Self {
            shared: Rc::new(Shared {
                budget,
                reply_budget,
                find,
                io,
                limits,
                metrics: Arc::clone(&broker.metrics),
                lines: Rc::clone(&broker.lines),
                broker: Rc::downgrade(&broker),
                admission,
                keeper,
                overlapping: Rc::default(),
            }),
            accepting: RefCell::default(),
        }
    }

    /// Begins to serve clients on an address, as the listener of that name; `max.connections` does
    /// not hold for a protected one. Returns the address with its port, should it have been left to
    /// the system.
    pub fn listen(
        &self,
        name: &str,
        address: SocketAddr,
        is_protected: bool,
    ) -> std::io::Result<SocketAddr> {
        let listener = self.shared.io.listen(address)?;
        let address = listener.local_addr();
        let task =
            listener::accept_all(Rc::clone(&self.shared), listener, name.into(), is_protected);
        self.accepting.borrow_mut().push(task);
        Ok(address)
    }

    /// Who may connect from now on, to any shard.
    pub fn set_connection_limits(&self, limits: &NetworkLimits) {
        self.shared.admission.set_limits(limits.into());
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.keeper.connections()
    }

    /// Memory of requests.
    pub fn request_memory(&self) -> MemoryUse {
        self.shared.budget.memory()
    }

    /// Memory of large replies that clients have not taken yet.
    pub fn reply_memory(&self) -> MemoryUse {
        self.shared.reply_budget.memory()
    }

    /// Stops: takes no more connections and no more requests, answers those that have begun, and
    /// closes. What has not come to its end by then is cut off.
    pub async fn drain(&self, patience: Duration) {
        for task in self.accepting.take() {
            task.cancel();
            task.await;
        }
        self.shared.keeper.drain(&self.shared.io, patience).await;
    }
}
