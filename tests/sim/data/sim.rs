//! What all clients of one world share.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;

use super::model::Model;
use super::plan::Feature;
use crate::story::Story;
use crate::wire::Client;

/// How long clients wait before they look again whether they may go on.
const LOOK: Duration = Duration::from_millis(1);

pub struct Sim {
    pub broker: SocketAddr,
    /// Of the broker's node, to look at its clock.
    pub broker_io: Io,
    pub model: RefCell<Model>,
    /// Whether the broker serves clients: not before it is known what a crash has left.
    pub is_open: Rc<Cell<bool>>,
    /// The start of the broker that has no reason to lose a connection, as long as it lasts.
    pub keeps: Rc<Cell<Option<u32>>>,
    /// Nobody begins anything new from now on.
    pub is_calm: Cell<bool>,
    /// Paths of the broker's folders.
    pub folders: Vec<String>,
    /// All topics are made.
    pub is_begun: Cell<bool>,
    /// A bit has flipped somewhere.
    pub has_rotted: Cell<bool>,
    /// Clients that have come to an end.
    pub ended: Cell<u64>,
    pub story: Story,
}

impl Sim {
    pub fn client(&self, io: Io, name: &str) -> Client {
        self.checker(io, name).speak_while(&self.is_open)
    }

    /// One that finds out what a crash has left.
    pub fn checker(&self, io: Io, name: &str) -> Client {
        Client::new(io, self.broker, name, self.story.clone()).rely_on(&self.keeps)
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.model.borrow().plan.has(feature)
    }

    /// Waits until the broker serves clients.
    pub async fn opened(&self, io: &Io) {
        while !self.is_open.get() {
            io.sleep(LOOK).await;
        }
    }

    pub fn end_client(&self) {
        self.ended.set(self.ended.get() + 1);
    }

    pub fn tell(&self, line: impl FnOnce() -> String) {
        self.story.tell(self.broker_io.now(), line);
    }
}
