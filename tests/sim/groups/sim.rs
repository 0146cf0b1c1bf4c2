//! What all clients of one world share: the models that the broker is held to.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use corelog_shards::io::Io;

use super::commits::{Commits, Moment};
use super::generations::Generations;
use super::holders::Holders;
use super::plan::Plan;
use crate::story::Story;
use crate::wire::Client;

/// Session time-out of members of both protocols.
pub const SESSION: Duration = Duration::from_secs(6);
/// How long a member may take to join a rebalance, or to let go of partitions.
pub const REBALANCE: Duration = Duration::from_secs(10);

pub struct Sim {
    pub plan: Plan,
    pub broker: SocketAddr,
    /// Of the broker's node, to look at its clock.
    pub broker_io: Io,
    pub commits: RefCell<Commits>,
    pub holders: RefCell<Holders>,
    pub generations: RefCell<Generations>,
    /// Nobody does anything unusual from now on.
    pub is_calm: Cell<bool>,
    /// Groups whose offsets are read again and again.
    pub groups: Vec<String>,
    pub story: Story,
}

impl Sim {
    pub fn moment(&self) -> Moment {
        Moment {
            now: self.broker_io.now(),
            wall_ms: self.broker_io.wall_ms(),
        }
    }

    pub fn client(&self, io: Io, name: &str) -> Client {
        Client::new(io, self.broker, name, self.story.clone())
    }
}
