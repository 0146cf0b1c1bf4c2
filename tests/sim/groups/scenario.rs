//! One world from its plan: its groups, what happens to the broker, and the calm behind it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, Landmark, NodeId, World};

use super::cast::Cast;
use super::offsets::{commit_alone, read_all};
use super::plan::{Feature, Plan, UNREADABLE_MAX};
use super::rest::{self, Picture};
use super::sim::{REBALANCE, SESSION, SETTLED, Sim};
use super::topics::administrate;
use super::trouble::trouble;
use crate::disk;
use crate::log::{without_errors, without_panics};
use crate::node::{Node, PORT, Setup};
use crate::story::Story;

/// Longer than requests, sessions, rebalances and looks at topics and patterns take, one behind the other.
const CALM: Duration = Duration::from_secs(90);
/// A start takes no longer.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a broker that has given up takes to be gone.
const PROCESS_END: Duration = Duration::from_millis(20);
const MINUTE_MS: u64 = 60_000;
const JUMP_MS: u64 = 2 * MINUTE_MS;
/// How many times as long the disk may take for everything.
const SLOWNESS_MAX: u64 = 10;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub trace: u64,
    pub acknowledged: u64,
    pub read: u64,
    pub given: u64,
    pub starts: u64,
}

struct Scenario {
    world: World,
    node: Node,
    sim: Rc<Sim>,
    cast: Cast,
    /// Clients that are no members.
    others: Vec<NodeId>,
}

/// Panics if the broker breaks a promise. The story is told then.
pub fn run(plan: &Plan, story: &Story) -> Outcome {
    match plan.has_bad_disk() {
        false => without_errors(plan.seed, || simulate(plan, story)),
        true => without_panics(plan.seed, || simulate(plan, story)),
    }
}

fn simulate(plan: &Plan, story: &Story) -> Outcome {
    let mut scenario = Scenario::new(plan, story);
    let is_idle = scenario.begin();
    for _ in 0..plan.rounds {
        scenario.live_through();
        scenario.end_life();
    }
    scenario.come_to_rest(&is_idle);
    let commits = scenario.sim.commits.borrow();
    let (acknowledged, read) = (commits.acknowledged, commits.read);
    assert!(acknowledged > 0, "no commit was acknowledged");
    assert!(read > 0, "no offset was read");
    Outcome {
        trace: scenario.world.trace(),
        acknowledged,
        read,
        given: scenario.sim.holders.borrow().given,
        starts: scenario.sim.starts.get(),
    }
}

impl Scenario {
    fn new(plan: &Plan, story: &Story) -> Scenario {
        let mut world = World::new(plan.seed, plan.faults_of_starts());
        let node = Node::new(&mut world, Setup::new(properties(plan)));
        let (address, io) = (world.socket_address(node.id(), PORT), world.io(node.id()));
        let sim = Rc::new(Sim::new(plan, address, io, story));
        let cast = Cast::new(&mut world, &sim, node.id());
        Scenario {
            world,
            node,
            sim,
            cast,
            others: Vec::new(),
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.sim.plan.has(feature)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.world.random_below(bound)
    }

    fn add_client(&mut self) -> NodeId {
        let node = self.world.add_node();
        self.world.start(node, 1, |_, _| async {});
        self.others.push(node);
        node
    }

    /// Starts the broker and those clients who are no members. Returns whether the topics are as they will stay.
    fn begin(&mut self) -> Rc<Cell<bool>> {
        self.start_broker();
        self.spare_disk();
        let (is_begun, is_idle) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let node = self.add_client();
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
            let node = self.add_client();
            let io = self.world.io(node);
            io.spawn("reader", read_all(self.sim.clone(), io.clone()));
        }
        if self.has(Feature::Simple) {
            let node = self.add_client();
            let io = self.world.io(node);
            io.spawn("simple", commit_alone(self.sim.clone(), io.clone()));
        }
        self.let_fail();
        is_idle
    }

    fn tell(&self, event: String) {
        self.sim.story.event(self.world.now(), event);
    }

    fn start_broker(&mut self) {
        loop {
            let shards = match self.has(Feature::Reshard) {
                true => 1 + self.below(self.sim.plan.shards_max),
                false => self.sim.plan.shards_max,
            };
            self.tell(format!("the broker starts with {shards} shards"));
            self.sim.note_start();
            self.node.start(&mut self.world, shards as usize);
            if !self.has(Feature::FailedStart) || self.below(3) > 0 {
                break;
            }
            // It does not come far.
            let steps = self.below(3_000);
            self.world.run_steps(steps);
            self.crash_broker();
        }
        let end = self.world.now() + START_MAX;
        while !self.node.is_ready() {
            assert!(self.world.now() < end, "a start hangs");
            assert!(self.world.step(), "a start waits for nothing");
            self.node.check();
        }
        // Also while coordinators read their logs.
        self.let_fail();
    }

    /// From now on everything may go wrong by itself that is switched on, unless all come to rest.
    fn let_fail(&mut self) {
        self.world.set_faults(match self.sim.is_calm.get() {
            true => self.sim.plan.sound(),
            false => self.sim.plan.faults(),
        });
    }

    /// The disk has room from now on, does not fail, and is as fast as others.
    fn spare_disk(&mut self) {
        let broker = self.node.id();
        self.world.set_faults(match self.sim.is_calm.get() {
            true => self.sim.plan.sound(),
            false => self.sim.plan.faults_of_starts(),
        });
        self.world.slow_down(broker, 1);
        if self.has(Feature::FullDisk) {
            disk::give_room(&mut self.world, broker, &self.sim.story);
            self.sim.note_disk_full(false);
        }
    }

    /// A broker that gives up for its disk's sake is started again, as a supervisor does.
    fn recover(&mut self) {
        if !self.has(Feature::DiskErrors) {
            self.node.check();
        } else if let Some(why) = self.node.failure() {
            self.tell(format!("the broker gives up: {why}"));
            self.end_with(Crash::Kill);
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.spare_disk();
        if self.has(Feature::DiskErrors) {
            // A start that cannot read what it needs is refused.
            self.world.run_for(UNREADABLE_MAX);
        }
        self.start_broker();
    }

    fn crash_broker(&mut self) {
        let how = match (self.has(Feature::Kill), self.has(Feature::PowerLoss)) {
            (true, true) if self.below(2) == 0 => Crash::Kill,
            (_, true) => Crash::PowerLoss,
            _ => Crash::Kill,
        };
        self.end_with(how);
    }

    fn end_with(&mut self, how: Crash) {
        self.tell(format!("the broker ends: {how:?}"));
        self.node.crash(&mut self.world, how);
        self.sim.commits.borrow_mut().crash(self.sim.moment());
    }

    fn end_life(&mut self) {
        let ends = [Feature::Kill, Feature::PowerLoss, Feature::CleanStop];
        let possible = ends.into_iter().filter(|end| self.has(*end));
        let possible: Vec<Feature> = possible.collect();
        self.recover();
        if possible.is_empty() {
            return;
        }
        match possible[self.below(possible.len() as u64) as usize] {
            Feature::CleanStop => self.stop_broker(),
            _ => self.crash_broker(),
        }
        self.restart();
    }

    fn stop_broker(&mut self) {
        self.tell("the broker is stopped".to_owned());
        let is_complete = self.node.stop(&mut self.world);
        assert!(
            is_complete || self.sim.plan.has_bad_disk(),
            "a stop that is not complete"
        );
        self.sim.commits.borrow_mut().crash(self.sim.moment());
    }

    /// A while of the broker's life, in which all kinds of things happen.
    fn live_through(&mut self) {
        let events = self.below(self.sim.plan.events + 1);
        for _ in 0..events {
            let pause = Duration::from_millis(10 + self.below(4_000));
            self.run_for(pause);
            self.cast.go_on(&mut self.world);
            match self.below(12) {
                0..=5 => self.cast.disturb(&mut self.world),
                6 => self.disturb_others(),
                7 | 8 => self.disturb_broker(),
                9 | 10 if self.has(Feature::FullDisk) => self.change_room(),
                _ => {}
            }
        }
        // In the middle of whatever there is, or of a write: mostly nobody writes.
        let steps = match self.below(2) {
            0 => self.below(3_000),
            _ => {
                self.world.run_until_reached(Landmark::GroupWritten, 3_000);
                self.below(10)
            }
        };
        self.world.run_steps(steps);
    }

    fn run_for(&mut self, pause: Duration) {
        let end = self.world.now() + pause;
        let part = match self.has(Feature::DiskErrors) {
            true => PROCESS_END,
            false => pause,
        };
        while self.world.now() < end {
            let left = end - self.world.now();
            self.world.run_for(part.min(left));
            self.recover();
        }
    }

    fn change_room(&mut self) {
        let is_full = self.below(3) > 0;
        let change = match is_full {
            true => disk::fill,
            false => disk::give_room,
        };
        change(&mut self.world, self.node.id(), &self.sim.story);
        self.sim.note_disk_full(is_full);
    }

    fn disturb_others(&mut self) {
        let at = self.below(self.others.len() as u64) as usize;
        let (broker, client) = (self.node.id(), self.others[at]);
        trouble(
            &mut self.world,
            &self.sim,
            broker,
            client,
            &format!("{client:?}"),
        );
    }

    fn disturb_broker(&mut self) {
        let broker = self.node.id();
        match self.below(4) {
            0 if self.has(Feature::ClockJumps) => {
                let by_ms = self.below(2 * JUMP_MS) as i64 - JUMP_MS as i64;
                self.tell(format!("the broker's clock jumps by {by_ms} ms"));
                self.world.jump_wall_clock(broker, by_ms);
                let mut commits = self.sim.commits.borrow_mut();
                commits.clock_jumped(by_ms, self.sim.moment());
            }
            1 if self.has(Feature::Starvation) => {
                let shard = self.below(self.sim.plan.shards_max) as usize;
                let most_ms = [5, 500, 5_000][self.below(3) as usize];
                let pause = Duration::from_millis(1 + self.below(most_ms));
                self.tell(format!("shard {shard} gets no turns for {pause:?}"));
                self.world.starve(broker, shard, pause);
            }
            2 if self.has(Feature::SlowNode) => {
                let times = 1 + self.below(SLOWNESS_MAX) as u32;
                self.tell(format!("the broker's disk is {times} times as slow"));
                self.world.slow_down(broker, times);
            }
            3 if self.has(Feature::SlowNode) => self.world.slow_down(broker, 1),
            _ => {}
        }
    }

    fn come_to_rest(&mut self, is_idle: &Rc<Cell<bool>>) {
        self.sim.is_calm.set(true);
        self.spare_disk();
        if self.sim.plan.has_bad_disk() {
            // What has failed by now shows.
            self.run_for(UNREADABLE_MAX);
        }
        self.cast.calm_down(&mut self.world);
        if self.sim.plan.has_late_requests() {
            self.rest_for(SETTLED);
        }
        self.rest_for(CALM);
        assert!(is_idle.get(), "topics are not made");
        let before = self.look();
        self.rest_for(2 * (SESSION + REBALANCE));
        assert_eq!(self.look(), before, "groups rebalance without need");
        self.cast.end(&mut self.world);
        for node in std::mem::take(&mut self.others) {
            self.world.crash(node, Crash::Kill);
        }
        self.node.check_drained(&mut self.world);
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
        let node = self.add_client();
        let (sim, members) = (self.sim.clone(), self.cast.members());
        self.world.block_on(node, |io| async move {
            let mut client = sim.client(io, "at rest");
            rest::check(&sim, &mut client, &members).await
        })
    }
}

fn properties(plan: &Plan) -> Vec<String> {
    let session_ms = SESSION.as_millis();
    let delay_ms = plan.initial_delay_ms;
    let partitions = plan.offsets_partitions;
    let retention_minutes = plan.retention_minutes();
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
