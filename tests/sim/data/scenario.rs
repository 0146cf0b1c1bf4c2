//! One world from its plan: the broker's lives, what happens in them, and the calm behind.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, Faults, NodeId, World};

use super::fetcher::fetch;
use super::model::Model;
use super::partition::Key;
use super::plan::{Feature, Plan};
use super::producer::produce;
use super::reading::{After, read_all};
use super::sim::Sim;
use super::topics::make_all;
use crate::log::without_errors;
use crate::node::{Node, PORT, Setup};
use crate::story::Story;

/// A start takes no longer.
const START_MAX: Duration = Duration::from_secs(60);
/// Longer than whatever clients have begun takes.
const CALM_MAX: Duration = Duration::from_secs(60);
/// Longer than it takes to read everything.
const READING_MAX: Duration = Duration::from_secs(60);
const JUMP_MS: u64 = 20 * 60_000;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub trace: u64,
    pub steps: u64,
    pub acknowledged: u64,
    pub read: u64,
    pub starts: u32,
}

struct Scenario {
    plan: Plan,
    world: World,
    node: Node,
    clients: Vec<NodeId>,
    sim: Rc<Sim>,
}

/// Panics if the broker breaks a promise. The story is told then.
pub fn run(plan: &Plan, story: &Story) -> Outcome {
    without_errors(plan.seed, || simulate(plan, story))
}

fn simulate(plan: &Plan, story: &Story) -> Outcome {
    let mut scenario = Scenario::new(plan, story);
    scenario.begin();
    for _ in 0..plan.rounds {
        scenario.live();
        scenario.end_life();
    }
    scenario.calm_down();
    scenario.start_at_last();
    let model = scenario.sim.model.borrow();
    Outcome {
        trace: scenario.world.trace(),
        steps: scenario.world.steps(),
        acknowledged: model.acknowledged,
        read: model.read,
        starts: model.run,
    }
}

impl Scenario {
    fn new(plan: &Plan, story: &Story) -> Scenario {
        let mut world = World::new(plan.seed, faults(plan));
        let node = Node::new(&mut world, setup());
        let sim = Rc::new(Sim {
            broker: world.socket_address(node.id(), PORT),
            broker_io: world.io(node.id()),
            model: RefCell::new(Model::new(plan.clone())),
            is_open: Cell::new(false),
            is_calm: Cell::new(false),
            ended: Cell::new(0),
            story: story.clone(),
        });
        Scenario {
            plan: plan.clone(),
            world,
            node,
            clients: Vec::new(),
            sim,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.world.random_below(bound)
    }

    fn tell(&self, event: String) {
        self.sim.story.event(self.world.now(), event);
    }

    fn add_client(&mut self) -> NodeId {
        let node = self.world.add_node();
        self.world.start(node, 1, |_, _| async {});
        self.clients.push(node);
        node
    }

    /// Starts the broker, makes topics, and lets the clients begin.
    fn begin(&mut self) {
        self.start_broker();
        let node = self.add_client();
        let io = self.world.io(node);
        io.spawn("admin", make_all(self.sim.clone(), io.clone()));
        self.run_until(CALM_MAX, "topics are not made", |sim| sim.ended.get() == 1);
        self.sim.ended.set(0);
        for number in 0..self.plan.producers {
            let node = self.add_client();
            let io = self.world.io(node);
            let name = format!("producer {number}");
            io.spawn("producer", produce(self.sim.clone(), io.clone(), name));
        }
        for number in 0..self.plan.fetchers {
            let node = self.add_client();
            let io = self.world.io(node);
            let name = format!("fetcher {number}");
            io.spawn("fetcher", fetch(self.sim.clone(), io.clone(), name));
        }
    }

    fn run_until(&mut self, within: Duration, what: &str, is_done: impl Fn(&Sim) -> bool) {
        let end = self.world.now() + within;
        while !is_done(&self.sim) {
            assert!(self.world.now() < end, "{what}");
            assert!(self.world.step(), "{what}, and nothing happens");
            self.node.check();
        }
    }

    /// Starts the broker until it stays, and reads through what a crash may have changed.
    fn start_broker(&mut self) {
        loop {
            let shards = match self.plan.has(Feature::Reshard) {
                true => 1 + self.below(self.plan.shards_max),
                false => self.plan.shards_max,
            };
            self.tell(format!("the broker starts with {shards} shards"));
            self.sim.model.borrow_mut().run += 1;
            self.node.start(&mut self.world, shards as usize);
            if self.plan.has(Feature::FailedStart) && self.below(3) == 0 {
                // It does not come far.
                let steps = self.below(1_500);
                self.world.run_steps(steps);
                self.crash();
                continue;
            }
            let end = self.world.now() + START_MAX;
            while !self.node.is_ready() {
                assert!(self.world.now() < end, "a start hangs");
                assert!(self.world.step(), "a start waits for nothing");
                self.node.check();
            }
            break;
        }
        let doubtful: Vec<Key> = {
            let is_read_anyway = self.below(2) == 0;
            let model = self.sim.model.borrow();
            let all = model.partitions.iter();
            let doubtful = all.filter(|(_, partition)| is_read_anyway || partition.is_doubtful());
            doubtful.map(|(key, _)| *key).collect()
        };
        self.read(doubtful, After::Crash);
        self.sim.is_open.set(true);
    }

    fn read(&mut self, keys: Vec<Key>, after: After) {
        let node = self.world.add_node();
        self.world.start(node, 1, |_, _| async {});
        let (sim, io) = (self.sim.clone(), self.world.io(node));
        let is_read = Rc::new(Cell::new(false));
        let done = is_read.clone();
        io.clone().spawn("checker", async move {
            while read_all(&sim, io.clone(), keys.clone(), after)
                .await
                .is_err()
            {
                io.sleep(Duration::from_millis(1)).await;
            }
            done.set(true);
        });
        self.run_until(READING_MAX, "reading hangs", move |_| is_read.get());
        self.world.crash(node, Crash::Kill);
    }

    fn crash(&mut self) {
        let how = match (
            self.plan.has(Feature::Kill),
            self.plan.has(Feature::PowerLoss),
        ) {
            (true, true) if self.below(2) == 0 => Crash::Kill,
            (_, true) => Crash::PowerLoss,
            _ => Crash::Kill,
        };
        self.tell(format!("the broker ends: {how:?}"));
        self.sim.is_open.set(false);
        self.node.crash(&mut self.world, how);
        self.sim.model.borrow_mut().crash(how);
    }

    /// A while in which all kinds of things happen.
    fn live(&mut self) {
        let end = self.world.now() + Duration::from_millis(self.plan.round_ms);
        while self.world.now() < end {
            let pause = 200 + self.below(5_000);
            self.world.run_for(Duration::from_micros(pause));
            self.node.check();
            self.disturb();
        }
        for client in self.clients.clone() {
            self.world.heal(self.node.id(), client);
        }
        // In the middle of whatever there is.
        let steps = self.below(300);
        self.world.run_steps(steps);
    }

    fn disturb(&mut self) {
        let (broker, client) = {
            let at = self.below(self.clients.len() as u64) as usize;
            (self.node.id(), self.clients[at])
        };
        match self.below(8) {
            0 if self.plan.has(Feature::Resets) => {
                self.tell(format!("connections of {client:?} are reset"));
                self.world.reset_connections(broker, client);
            }
            1 if self.plan.has(Feature::Cuts) => {
                self.tell(format!("{client:?} is cut off"));
                self.world.cut(broker, client);
            }
            2 | 3 if self.plan.has(Feature::Cuts) => self.world.heal(broker, client),
            4 if self.plan.has(Feature::ClockJumps) => {
                let by_ms = self.below(2 * JUMP_MS) as i64 - JUMP_MS as i64;
                self.tell(format!("the broker's clock jumps by {by_ms} ms"));
                self.world.jump_wall_clock(broker, by_ms);
            }
            _ => {}
        }
    }

    fn end_life(&mut self) {
        let ends = [Feature::Kill, Feature::PowerLoss, Feature::CleanStop];
        let possible = ends.into_iter().filter(|end| self.plan.has(*end));
        let possible: Vec<Feature> = possible.collect();
        if possible.is_empty() {
            return;
        }
        match possible[self.below(possible.len() as u64) as usize] {
            Feature::CleanStop => self.stop(),
            _ => self.crash(),
        }
        self.start_broker();
    }

    fn stop(&mut self) {
        self.tell("the broker is stopped".to_owned());
        self.sim.is_open.set(false);
        self.node.stop(&mut self.world);
        self.sim.model.borrow_mut().stopped();
    }

    /// Everybody comes to an end, and everything that was acknowledged is there.
    fn calm_down(&mut self) {
        self.tell("all come to rest".to_owned());
        self.world.set_faults(Faults::none());
        self.sim.is_calm.set(true);
        let clients = self.plan.producers + self.plan.fetchers;
        self.run_until(CALM_MAX, "clients do not come to an end", |sim| {
            sim.ended.get() == clients
        });
        let keys = self.sim.model.borrow().keys();
        self.read(keys, After::Nothing);
    }

    /// A stop in order loses nothing, whatever the class.
    fn start_at_last(&mut self) {
        self.stop();
        self.start_broker();
        let keys = self.sim.model.borrow().keys();
        self.read(keys, After::Nothing);
    }
}

fn setup() -> Setup {
    Setup {
        journal_bytes: 8 * (96 << 10),
        tail_cache_bytes: 32 << 10,
        ..Setup::new(vec![
            "metadata.log.max.record.bytes.between.snapshots=1500".to_owned(),
            "metadata.max.retention.bytes=4000".to_owned(),
            "internal.metadata.log.segment.bytes=1000".to_owned(),
            "log.retention.check.interval.ms=20".to_owned(),
            "log.cleaner.backoff.ms=5".to_owned(),
        ])
    }
}

fn faults(plan: &Plan) -> Faults {
    let mut faults = Faults::none();
    if plan.has(Feature::SlowDisk) {
        faults.disk_latency = (Duration::from_micros(200), Duration::from_millis(4));
        faults.disk_stall = 0.01;
    }
    if plan.has(Feature::SmallPieces) {
        faults.network_piece_max = 300;
        faults.network_window = (1 << 10, 16 << 10);
    }
    if plan.has(Feature::Resets) {
        faults.network_reset = 0.002;
        faults.network_resets_max = 20;
    }
    faults
}
