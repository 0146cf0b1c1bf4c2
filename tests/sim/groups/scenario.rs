//! One world from its seed: its groups, what happens to the broker, and the calm behind it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, Faults, NodeId, World};
use corelog_shards::mutation;

use super::cast::{Cast, KINDS};
use super::commits::Commits;
use super::generations::Generations;
use super::holders::Holders;
use super::offsets::{SIMPLE_GROUP, commit_alone, read_all};
use super::rest::{self, Picture};
use super::sim::{REBALANCE, SESSION, Sim};
use super::topics::administrate;
use crate::log::without_errors;
use crate::node::{Node, PORT, Setup};
use crate::story::Story;

/// Longer than requests, sessions, rebalances and looks at topics and patterns take, one behind the other.
const CALM: Duration = Duration::from_secs(90);
/// A start takes no longer.
const START_MAX: Duration = Duration::from_secs(60);
const MINUTE_MS: u64 = 60_000;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub trace: u64,
    pub acknowledged: u64,
    pub read: u64,
    pub given: u64,
    pub restarts: u64,
}

struct Scenario {
    world: World,
    node: Node,
    sim: Rc<Sim>,
    cast: Cast,
    shards_max: u64,
    restarts: u64,
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if std::thread::panicking() && mutation::current().is_none() {
            self.sim.story.print();
        }
    }
}

pub fn run(seed: u64) -> Outcome {
    without_errors(seed, || simulate(seed))
}

fn simulate(seed: u64) -> Outcome {
    let mut scenario = Scenario::new(seed);
    let is_idle = scenario.begin();
    let rounds = 1 + scenario.world.random_below(3);
    for _ in 0..rounds {
        scenario.live_through();
        scenario.end_broker();
        scenario.start_broker();
    }
    scenario.come_to_rest(&is_idle);
    let commits = scenario.sim.commits.borrow();
    Outcome {
        trace: scenario.world.trace(),
        acknowledged: commits.acknowledged,
        read: commits.read,
        given: scenario.sim.holders.borrow().given,
        restarts: scenario.restarts,
    }
}

impl Scenario {
    fn new(seed: u64) -> Scenario {
        let mut world = World::new(seed, faults(seed));
        let retention_minutes = match world.random_below(3) {
            0 => 1,
            _ => 10_080,
        };
        let properties = properties(&mut world, retention_minutes);
        let node = Node::new(&mut world, Setup::new(properties));
        let mut groups = vec![SIMPLE_GROUP.to_owned()];
        for _ in 0..1 + world.random_below(2) {
            let kind = KINDS[world.random_below(KINDS.len() as u64) as usize];
            if !groups.iter().any(|group| group == kind) {
                groups.push(kind.to_owned());
            }
        }
        let sim = Rc::new(Sim {
            broker: world.socket_address(node.id(), PORT),
            broker_io: world.io(node.id()),
            commits: RefCell::new(Commits::new((retention_minutes * MINUTE_MS) as i64)),
            holders: RefCell::new(Holders::default()),
            generations: RefCell::new(Generations::new(retention_minutes < 10_080)),
            is_calm: Cell::new(false),
            groups,
            story: Story::new(),
        });
        let cast = Cast::new(&mut world, &sim, node.id());
        Scenario {
            shards_max: 3,
            world,
            node,
            sim,
            cast,
            restarts: 0,
        }
    }

    /// Starts the broker and those clients who are no members. Returns whether the topics are as they will stay.
    fn begin(&mut self) -> Rc<Cell<bool>> {
        self.start_broker();
        let (is_begun, is_idle) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let spawn = |world: &mut World| -> NodeId {
            let node = world.add_node();
            world.start(node, 1, |_, _| async {});
            node
        };
        let node = spawn(&mut self.world);
        let io = self.world.io(node);
        let administrating = administrate(
            self.sim.clone(),
            io.clone(),
            is_begun.clone(),
            is_idle.clone(),
        );
        io.spawn("admin", administrating);
        self.world.run_until(|| is_begun.get());
        for _ in 0..2 {
            let node = spawn(&mut self.world);
            let io = self.world.io(node);
            io.spawn("reader", read_all(self.sim.clone(), io.clone()));
        }
        let node = spawn(&mut self.world);
        let io = self.world.io(node);
        io.spawn("simple", commit_alone(self.sim.clone(), io.clone()));
        is_idle
    }

    fn tell(&self, event: String) {
        self.sim.story.event(self.world.now(), event);
    }

    fn start_broker(&mut self) {
        loop {
            let shards = 1 + self.world.random_below(self.shards_max) as usize;
            self.tell(format!("the broker starts with {shards} shards"));
            self.restarts += 1;
            self.node.start(&mut self.world, shards);
            if self.world.random_below(4) > 0 {
                break;
            }
            // It does not come far.
            let steps = self.world.random_below(3_000);
            self.world.run_steps(steps);
            self.crash_broker();
        }
        let end = self.world.now() + START_MAX;
        while !self.node.is_ready() {
            assert!(self.world.now() < end, "a start hangs");
            assert!(self.world.step(), "a start waits for nothing");
            self.node.check();
        }
    }

    fn crash_broker(&mut self) {
        let how = match self.world.random_below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        self.tell(format!("the broker ends: {how:?}"));
        self.node.check();
        self.node.crash(&mut self.world, how);
        self.sim.commits.borrow_mut().crash(self.sim.moment());
    }

    fn end_broker(&mut self) {
        if self.world.random_below(4) > 0 {
            return self.crash_broker();
        }
        self.tell("the broker is stopped".to_owned());
        assert!(
            self.node.stop(&mut self.world),
            "a stop that is not complete"
        );
        self.sim.commits.borrow_mut().crash(self.sim.moment());
    }

    /// A while of the broker's life, in which all kinds of things happen.
    fn live_through(&mut self) {
        let events = self.world.random_below(25);
        for _ in 0..events {
            let pause = Duration::from_millis(10 + self.world.random_below(4_000));
            self.world.run_for(pause);
            self.node.check();
            self.cast.go_on(&mut self.world);
            match self.world.random_below(12) {
                0 => {
                    let by_ms = self.world.random_below(2 * MINUTE_MS) as i64;
                    self.tell(format!("the broker's clock jumps by {by_ms} ms"));
                    self.world.jump_wall_clock(self.node.id(), by_ms);
                }
                1..=4 => self.cast.disturb(&mut self.world),
                _ => {}
            }
        }
        // In the middle of whatever there is.
        let steps = self.world.random_below(3_000);
        self.world.run_steps(steps);
    }

    fn come_to_rest(&mut self, is_idle: &Rc<Cell<bool>>) {
        self.sim.is_calm.set(true);
        self.cast.calm_down(&mut self.world);
        self.rest_for(CALM);
        assert!(is_idle.get(), "topics are not made");
        let before = self.look();
        self.rest_for(2 * (SESSION + REBALANCE));
        assert_eq!(self.look(), before, "groups rebalance without need");
    }

    fn rest_for(&mut self, duration: Duration) {
        let end = self.world.now() + duration;
        while self.world.now() < end {
            self.world.run_for(Duration::from_secs(1));
            self.node.check();
            self.cast.go_on(&mut self.world);
        }
    }

    fn look(&mut self) -> Picture {
        let node = self.world.add_node();
        self.world.start(node, 1, |_, _| async {});
        let (sim, members) = (self.sim.clone(), self.cast.members());
        self.world.block_on(node, |io| async move {
            let mut client = sim.client(io, "at rest");
            rest::check(&sim, &mut client, &members).await
        })
    }
}

/// Disks that are slow, so that loads and writes take their time, in some worlds, and small pieces on the network.
fn faults(seed: u64) -> Faults {
    match seed % 3 {
        0 => Faults {
            disk_latency: (Duration::from_millis(1), Duration::from_millis(40)),
            network_piece_max: 100,
            ..Faults::none()
        },
        _ => Faults::none(),
    }
}

fn properties(world: &mut World, retention_minutes: u64) -> Vec<String> {
    let session_ms = SESSION.as_millis();
    let delay_ms = [0, 500, 3_000][world.random_below(3) as usize];
    let partitions = 1 + world.random_below(4);
    vec![
        format!("offsets.topic.num.partitions={partitions}"),
        format!("offsets.retention.minutes={retention_minutes}"),
        "offsets.retention.check.interval.ms=5000".to_owned(),
        format!("group.initial.rebalance.delay.ms={delay_ms}"),
        format!("group.consumer.session.timeout.ms={session_ms}"),
        format!("group.consumer.min.session.timeout.ms={session_ms}"),
        "group.consumer.heartbeat.interval.ms=1500".to_owned(),
        "group.consumer.min.heartbeat.interval.ms=1500".to_owned(),
        "group.consumer.regex.refresh.interval.ms=10000".to_owned(),
        // The metadata log is cut behind snapshots again and again.
        "metadata.log.max.record.bytes.between.snapshots=1500".to_owned(),
        "metadata.max.retention.bytes=4000".to_owned(),
        "internal.metadata.log.segment.bytes=1000".to_owned(),
    ]
}
