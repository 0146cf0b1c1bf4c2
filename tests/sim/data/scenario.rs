//! One world from its plan: the broker's lives, what happens in them, and the calm behind.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::io::sim::{Crash, Faults, NodeId, World};
use corelog_shards::shard::{FolderConfig, RotPolicy};
use uuid::Uuid;

use super::admin::administrate;
use super::fetcher::fetch;
use super::model::Model;
use super::partition::Key;
use super::plan::{DISK_TROUBLE_MAX, Feature, Plan, RETENTION_MS_MAX};
use super::producer::produce;
use super::reading::{After, read_all};
use super::rot::{Disk, Loss, Place, Rot, is_cut_short, known, read_past};
use super::sim::Sim;
use crate::disk;
use crate::log::{without_errors, without_panics};
use crate::node::{Node, PORT, Setup};
use crate::story::Story;

/// A start takes no longer.
const START_MAX: Duration = Duration::from_secs(60);
/// Longer than whatever clients have begun takes.
const CALM_MAX: Duration = Duration::from_secs(60);
/// Longer than it takes to read everything.
const READING_MAX: Duration = Duration::from_secs(60);
/// Longer than it takes to find what is too old and to remove it.
const REMOVAL_MAX: Duration = Duration::from_millis(500);
const JUMP_MS: u64 = 20 * 60_000;
/// How many times as long the disk may take for everything.
const SLOWNESS_MAX: u64 = 20;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub trace: u64,
    pub steps: u64,
    pub acknowledged: u64,
    pub read: u64,
    /// Of the broker.
    pub starts_and_ends: u32,
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
    let mut scenario = match plan.has_bad_disk() {
        false => without_errors(plan.seed, || live_through(plan, story)),
        true => without_panics(plan.seed, || live_through(plan, story)),
    };
    if plan.has(Feature::Rot) {
        without_panics(plan.seed, || scenario.rot());
    }
    let model = scenario.sim.model.borrow();
    Outcome {
        trace: scenario.world.trace(),
        steps: scenario.world.steps(),
        acknowledged: model.acknowledged,
        read: model.read,
        starts_and_ends: model.run,
    }
}

fn live_through(plan: &Plan, story: &Story) -> Scenario {
    let mut scenario = Scenario::new(plan, story);
    scenario.begin();
    for _ in 0..plan.rounds {
        scenario.live();
        scenario.end_life();
    }
    scenario.calm_down();
    // What rots may also be as the last writers have left it.
    if !plan.has(Feature::Rot) || scenario.below(2) == 0 {
        scenario.start_at_last();
    }
    scenario
}

impl Scenario {
    fn new(plan: &Plan, story: &Story) -> Scenario {
        let mut world = World::new(plan.seed, plan.sound());
        let setup = setup(plan);
        let folders = setup.folders.iter();
        let folders = folders.map(|folder| folder.path.display().to_string());
        let folders: Vec<String> = folders.collect();
        let node = Node::new(&mut world, setup);
        let sim = Rc::new(Sim {
            broker: world.socket_address(node.id(), PORT),
            broker_io: world.io(node.id()),
            model: RefCell::new(Model::new(plan.clone(), world.io(node.id()))),
            is_open: Rc::default(),
            keeps: Rc::default(),
            is_calm: Cell::new(false),
            folders,
            is_begun: Cell::new(false),
            has_rotted: Cell::new(false),
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
        io.spawn("admin", administrate(self.sim.clone(), io.clone()));
        self.run_until(CALM_MAX, "topics are not made", |sim| sim.is_begun.get());
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
        self.world.set_faults(self.plan.faults());
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
        if self.plan.keeps_connections() {
            let run = self.sim.model.borrow().run;
            self.sim.keeps.set(Some(run));
        }
        let is_read_anyway = self.below(2) == 0;
        let mut doubtful = self.sim.model.borrow().keys();
        doubtful
            .retain(|key| is_read_anyway || self.sim.model.borrow().partitions[key].is_doubtful());
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
        self.end_with(how);
    }

    fn end_with(&mut self, how: Crash) {
        self.tell(format!("the broker ends: {how:?}"));
        self.sim.is_open.set(false);
        self.sim.keeps.set(None);
        self.node.crash(&mut self.world, how);
        self.sim.model.borrow_mut().crash(how);
    }

    /// A while in which all kinds of things happen.
    fn live(&mut self) {
        let end = self.world.now() + Duration::from_millis(self.plan.round_ms);
        while self.world.now() < end {
            let pause = 200 + self.below(5_000);
            self.run_for(Duration::from_micros(pause));
            self.disturb();
        }
        for client in self.clients.clone() {
            self.world.heal(self.node.id(), client);
        }
        self.recover();
        // In the middle of whatever there is.
        let steps = self.below(300);
        self.world.run_steps(steps);
    }

    /// A broker that gives up for its disk's sake is started again, as a supervisor does.
    fn run_for(&mut self, pause: Duration) {
        self.world.run_for(pause);
        self.recover();
    }

    fn recover(&mut self) {
        if !self.plan.has_bad_disk() {
            self.node.check();
        } else if let Some(why) = self.node.failure() {
            self.tell(format!("the broker gives up: {why}"));
            self.give_room();
            self.end_with(Crash::Kill);
            self.start_broker();
            self.world.set_faults(self.plan.faults());
        }
    }

    /// The disk is sound from now on, large, and as fast as others.
    fn give_room(&mut self) {
        self.world.set_faults(self.plan.sound());
        self.world.set_disk_capacity(self.node.id(), u64::MAX);
        self.world.slow_down(self.node.id(), 1);
        if self.plan.has_bad_disk() {
            self.world.run_for(DISK_TROUBLE_MAX);
        }
    }

    fn disturb(&mut self) {
        let (broker, client) = {
            let at = self.below(self.clients.len() as u64) as usize;
            (self.node.id(), self.clients[at])
        };
        match self.below(13) {
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
                self.sim.model.borrow_mut().note_jump();
                self.world.jump_wall_clock(broker, by_ms);
            }
            5 if self.plan.has(Feature::FullDisk) => {
                disk::fill(&mut self.world, broker, &self.sim.story);
            }
            6 if self.plan.has(Feature::FullDisk) => {
                disk::give_room(&mut self.world, broker, &self.sim.story);
            }
            7 | 8 if self.plan.has(Feature::HalfClosed) => {
                let (from, to) = match self.below(2) {
                    0 => (broker, client),
                    _ => (client, broker),
                };
                self.tell(format!("what {from:?} sends to {to:?} ends"));
                self.world.half_close(from, to);
            }
            9 if self.plan.has(Feature::Stalls) => {
                let pause = self.some_pause();
                self.tell(format!(
                    "connections of {client:?} stand still for {pause:?}"
                ));
                self.world.stall_connections(broker, client, pause);
            }
            10 if self.plan.has(Feature::Starvation) => {
                let shard = self.below(self.plan.shards_max) as usize;
                let pause = self.some_pause();
                self.tell(format!("shard {shard} gets no turns for {pause:?}"));
                self.world.starve(broker, shard, pause);
            }
            11 if self.plan.has(Feature::SlowNode) => {
                let times = 1 + self.below(SLOWNESS_MAX) as u32;
                self.tell(format!("the broker's disk is {times} times as slow"));
                self.world.slow_down(broker, times);
            }
            12 if self.plan.has(Feature::SlowNode) => self.world.slow_down(broker, 1),
            _ => {}
        }
    }

    /// As long as some requests take, or many.
    fn some_pause(&mut self) -> Duration {
        let most_us = [500, 5_000, 50_000][self.below(3) as usize];
        Duration::from_micros(1 + self.below(most_us))
    }

    fn end_life(&mut self) {
        let ends = [Feature::Kill, Feature::PowerLoss, Feature::CleanStop];
        let possible = ends.into_iter().filter(|end| self.plan.has(*end));
        let possible: Vec<Feature> = possible.collect();
        if possible.is_empty() {
            return self.recover();
        }
        match possible[self.below(possible.len() as u64) as usize] {
            Feature::CleanStop => self.stop(),
            _ => self.crash(),
        }
        self.give_room();
        self.start_broker();
        self.world.set_faults(self.plan.faults());
    }

    fn stop(&mut self) {
        if self.node.failure().is_some() {
            return self.end_with(Crash::Kill);
        }
        self.tell("the broker is stopped".to_owned());
        self.sim.is_open.set(false);
        self.sim.keeps.set(None);
        let is_complete = self.node.stop(&mut self.world);
        assert!(
            is_complete || self.plan.has_bad_disk(),
            "a stop that is not complete"
        );
        match is_complete {
            true => self.sim.model.borrow_mut().stopped(),
            false => self.sim.model.borrow_mut().crash(Crash::Kill),
        }
    }

    /// Everybody comes to an end, and everything that was acknowledged is there.
    fn calm_down(&mut self) {
        self.tell("all come to rest".to_owned());
        self.give_room();
        self.world.set_faults(Faults::none());
        if self.plan.has(Feature::DiskErrors) {
            // A folder that has failed is taken back at a start.
            self.end_with(Crash::Kill);
            self.start_broker();
        }
        self.sim.is_calm.set(true);
        let clients = 1 + self.plan.producers + self.plan.fetchers;
        self.run_until(CALM_MAX, "clients do not come to an end", |sim| {
            sim.ended.get() == clients
        });
        if self.plan.ages() {
            let age = Duration::from_millis(RETENTION_MS_MAX as u64);
            self.world.run_for(age + REMOVAL_MAX);
        }
        let keys = self.sim.model.borrow().keys();
        self.read(keys.clone(), After::Nothing);
        for key in keys {
            let model = self.sim.model.borrow();
            model.check_compaction(key);
            model.check_age(key, REMOVAL_MAX.as_millis() as i64);
        }
        // Nothing is left of clients that have gone.
        self.node.check_drained(&mut self.world);
    }

    /// A stop in order loses nothing, whatever the class.
    fn start_at_last(&mut self) {
        self.stop();
        self.start_broker();
        let keys = self.sim.model.borrow().keys();
        self.read(keys, After::Nothing);
    }
}

/// What rots while the broker is down.
impl Scenario {
    fn rot(&mut self) {
        match self.below(4) {
            0 => self.end_with(Crash::Kill),
            1 => self.end_with(Crash::PowerLoss),
            _ => self.stop(),
        }
        let place = self.flip();
        let rot = place.rot.clone();
        if let Some(why) = self.start_rotten() {
            self.tell(format!("the broker refuses to start: {why}"));
            assert!(rot.is_named(&why), "{rot:?}: {why}");
            let is_restored = match &rot {
                // What is a journal's torn end, for all that a start can tell, is cut off by then.
                Rot::Journal(loss) => loss.is_vouched_for && self.below(2) == 0,
                _ => true,
            };
            if is_restored {
                return self.start_restored(&place);
            }
            if !self.start_without(&rot) {
                return;
            }
        } else if let Rot::Journal(loss) = &rot {
            assert!(!loss.is_vouched_for, "damage that was not found: {loss:?}");
            // Segments may be gone in which logs begin.
            if !loss.starts.is_empty() && !self.start_without(&rot) {
                return;
            }
        }
        match rot {
            Rot::Journal(loss) => self.go_on_without(&loss),
            rot @ Rot::Segment(..) => self.read_past(rot),
            rot => self.live_on(rot),
        }
    }

    /// Puts right what has rotted: the start that was refused has cost nothing.
    fn start_restored(&mut self, place: &Place) {
        self.end_with(Crash::Kill);
        let path = place.path.clone();
        let now = self.on_disk(move |io| async move { io.read_small(&path).await });
        let now = now.unwrap_or_else(|error| panic!("{place:?}: {error}"));
        // It may have been overwritten meanwhile.
        if now.get(place.at as usize) == Some(&place.rotten()) {
            self.tell("the bit is put right".to_owned());
            self.flip_bit(place);
        }
        let refused = self.start_rotten();
        assert_eq!(refused, None, "it does not start with {place:?} put right");
        self.live_on(Rot::Nothing);
    }

    /// Reads everything through, now and behind another crash.
    fn live_on(&mut self, rot: Rot) {
        self.read_past(rot.clone());
        self.crash_somehow();
        let refused = self.start_rotten();
        assert_eq!(refused, None, "it does not start again behind {rot:?}");
        self.read_past(rot);
    }

    fn crash_somehow(&mut self) {
        let how = match self.below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        self.end_with(how);
    }

    /// Starts the broker once more, told to go on without what is lost. Whether it does: not without the end of its
    /// metadata.
    fn start_without(&mut self, rot: &Rot) -> bool {
        self.end_with(Crash::Kill);
        self.node.setup.on_rot = RotPolicy::Continue;
        let Some(why) = self.start_rotten() else {
            return true;
        };
        let has_metadata = matches!(rot, Rot::Journal(loss) if loss.has_metadata);
        assert!(has_metadata && is_cut_short(&why), "{rot:?}: {why}");
        false
    }

    /// Reads through what is left of partitions, now and behind another crash.
    fn go_on_without(&mut self, loss: &Loss) {
        self.sim.model.borrow_mut().lose(loss);
        let keys = self.left(loss);
        self.read(keys.clone(), After::Crash);
        self.crash_somehow();
        // The damage may be found again.
        let refused = self.start_rotten();
        assert_eq!(refused, None, "it does not start behind {loss:?}");
        assert_eq!(self.left(loss), keys, "behind {loss:?}");
        self.read(keys, After::Crash);
    }

    /// The partitions that are there still, without those of topics that are not known any more, and without those put
    /// together from their folders, in which anything may be missing that journals had.
    fn left(&mut self, loss: &Loss) -> Vec<Key> {
        let mut keys = self.sim.model.borrow().keys();
        keys.retain(|key| !loss.unknown.contains(key));
        if loss.has_metadata {
            let node = self.add_client();
            let sim = self.sim.clone();
            let known = self
                .world
                .block_on(node, |io| async move { known(&sim, io).await });
            let known = known.expect("a reply");
            keys.retain(|key| known.contains(key));
        }
        keys
    }

    fn read_past(&mut self, rot: Rot) {
        let keys = self.sim.model.borrow().keys();
        self.sim.is_open.set(true);
        let node = self.add_client();
        let sim = self.sim.clone();
        let read = self.world.block_on(
            node,
            |io| async move { read_past(&sim, io, keys, rot).await },
        );
        assert!(read.is_ok(), "a connection was lost");
    }

    /// Does something with the disk of the broker, which is down.
    fn on_disk<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        job: impl FnOnce(Io) -> F + 'static,
    ) -> T {
        let broker = self.node.id();
        self.world.start(broker, 1, |_, _| async {});
        let done = self.world.block_on(broker, job);
        self.world.crash(broker, Crash::Kill);
        done
    }

    /// Flips a bit of the broker, which is down.
    fn flip(&mut self) -> Place {
        let broker = self.node.id();
        let (folders, files) = (self.sim.folders.clone(), self.world.files(broker));
        let disk = self.on_disk(|io| Disk::read(io, folders, files));
        let place = {
            let model = self.sim.model.borrow();
            disk.draw(&model, |bound| self.world.random_below(bound))
        };
        let Place { path, at, bit, .. } = &place;
        let rot = &place.rot;
        self.tell(format!("bit {bit} of byte {at} of {path:?} flips: {rot:?}"));
        self.flip_bit(&place);
        self.sim.has_rotted.set(true);
        place
    }

    fn flip_bit(&mut self, place: &Place) {
        let broker = self.node.id();
        let flipped = self.world.rot(broker, &place.path, place.at, place.bit);
        flipped.expect("flipped");
    }

    /// Starts the broker until it serves clients, or says why it does not.
    fn start_rotten(&mut self) -> Option<String> {
        self.sim.model.borrow_mut().run += 1;
        let shards = self.plan.shards_max as usize;
        self.node.start(&mut self.world, shards);
        let end = self.world.now() + START_MAX;
        while !self.node.is_ready() && self.node.failure().is_none() {
            assert!(self.world.now() < end, "a start hangs");
            assert!(self.world.step(), "a start waits for nothing");
        }
        self.node.failure()
    }
}

fn setup(plan: &Plan) -> Setup {
    let folder = |(number, device): (usize, &u64)| FolderConfig {
        device: *device,
        is_required: number == 0,
        ..FolderConfig::only(
            Uuid::from_u128(1 + number as u128),
            format!("/folder{number}"),
        )
    };
    let count = if plan.has(Feature::Moves) {
        plan.folders.len()
    } else {
        1
    };
    let mut folders = plan.folders[..count].iter().enumerate();
    Setup {
        folders: folders.by_ref().map(folder).collect(),
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
