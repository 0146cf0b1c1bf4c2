//! What all clients of one world share: the models that the broker is held to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use corelog_shards::io::{Instant, Io};

use super::commits::{Commits, Moment};
use super::generations::Generations;
use super::holders::Holders;
use super::offsets::SIMPLE_GROUP;
use super::plan::{Feature, Plan};
use crate::story::Story;
use crate::wire::Client;

/// Session time-out of members of both protocols.
pub const SESSION: Duration = Duration::from_secs(6);
/// How long a member may take to join a rebalance, or to let go of partitions.
pub const REBALANCE: Duration = Duration::from_secs(10);

/// By then a request that was given up has taken effect, or never will: connections stand still for less than that, and
/// a broker that is slow, or whose disk has room again, takes no longer for it.
pub const SETTLED: Duration = Duration::from_secs(30);
/// How long clients that wait for that sleep until they look again.
const LOOK: Duration = Duration::from_millis(200);

/// A time of which it can be told later whether coordinators have begun anew since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Of the broker.
    starts: u64,
    since: Instant,
}

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
    /// How often the broker was started.
    pub starts: Cell<u64>,
    /// When it was started last.
    started: Cell<Instant>,
    /// The broker's disk is full, or nearly so.
    is_disk_full: Cell<bool>,
    /// Until then it may have been, as far as the broker knows: coordinators whose records cannot be written begin anew
    /// from their logs.
    refused_until: Cell<Instant>,
    /// Groups that the running broker has loaded, and since when that is known.
    loaded: RefCell<BTreeMap<String, Instant>>,
    /// Groups whose offsets are read again and again.
    pub groups: Vec<String>,
    pub story: Story,
}

impl Sim {
    pub fn new(plan: &Plan, broker: SocketAddr, broker_io: Io, story: &Story) -> Sim {
        let retention = Duration::from_mins(plan.retention_minutes());
        let groups = plan.groups().map(|(name, _)| name);
        let groups = [SIMPLE_GROUP].into_iter().chain(groups);
        Sim {
            plan: plan.clone(),
            broker,
            broker_io,
            commits: RefCell::new(Commits::new(retention.as_millis() as i64)),
            holders: RefCell::default(),
            generations: RefCell::new(Generations::new(plan.has(Feature::Retention))),
            is_calm: Cell::new(false),
            starts: Cell::new(0),
            started: Cell::default(),
            is_disk_full: Cell::new(false),
            refused_until: Cell::default(),
            loaded: RefCell::default(),
            groups: groups.map(str::to_owned).collect(),
            story: story.clone(),
        }
    }

    /// The broker is started.
    pub fn note_start(&self) {
        self.starts.set(self.starts.get() + 1);
        self.started.set(self.broker_io.now());
        self.loaded.borrow_mut().clear();
    }

    /// Asked at `asked`, the coordinator of a group has said something that it knows only once it has loaded the group.
    pub fn note_loaded(&self, group: &str, asked: Instant) {
        if asked < self.started.get() || self.may_have_refused_since(asked) {
            // That was the broker before, or the coordinator may begin anew.
            return;
        }
        let mut loaded = self.loaded.borrow_mut();
        let since = loaded.entry(group.to_owned());
        since.or_insert(self.broker_io.now());
    }

    /// Whether the coordinator had loaded a group when it was asked for something, as far as anybody knows.
    pub fn had_loaded(&self, group: &str, asked: Instant) -> bool {
        let loaded = self.loaded.borrow();
        loaded.get(group).is_some_and(|since| *since <= asked)
    }

    /// The broker's disk is full from now on, or has room again.
    pub fn note_disk_full(&self, is_full: bool) {
        let was_full = self.is_disk_full.replace(is_full);
        if is_full {
            self.loaded.borrow_mut().clear();
        } else if was_full {
            self.refused_until.set(self.broker_io.now() + SETTLED);
        }
    }

    fn may_have_refused_since(&self, since: Instant) -> bool {
        self.is_disk_full.get() || since < self.refused_until.get()
    }

    /// What is asked for now reaches a coordinator in this term, or a later one.
    pub fn term(&self) -> Term {
        Term {
            starts: self.starts.get(),
            since: self.broker_io.now(),
        }
    }

    /// Whether what a coordinator knew in that term and has not written may be forgotten by now.
    pub fn may_be_forgotten(&self, term: Term) -> bool {
        term.starts != self.starts.get() || self.may_have_refused_since(term.since)
    }

    pub fn moment(&self) -> Moment {
        Moment {
            now: self.broker_io.now(),
            wall_ms: self.broker_io.wall_ms(),
        }
    }

    pub fn client(&self, io: Io, name: &str) -> Client {
        Client::new(io, self.broker, name, self.story.clone())
    }

    /// Waits until it is certain what has become of a request that was given up: it goes down with the broker that got
    /// it, if that ends.
    pub async fn settle(&self, client: &Client) {
        client.back_off().await;
        let (starts, end) = (self.starts.get(), client.io().now() + SETTLED);
        let is_over = || {
            let end = end.max(self.refused_until.get());
            !self.is_disk_full.get() && client.io().now() >= end
        };
        let is_open = || self.starts.get() == starts && !is_over();
        while self.plan.has_late_requests() && is_open() {
            client.io().sleep(LOOK).await;
        }
    }
}
