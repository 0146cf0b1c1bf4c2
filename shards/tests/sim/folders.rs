//! Nodes with several data folders on a few devices, which come and go, change their places and fail.
//!
//! Runs follow each other with other numbers of shards, other orders of folders, folders on other devices, and without
//! some of the folders. Whatever was acknowledged of a partition is there whenever its folder is; while that is not,
//! nothing is acknowledged or read of it, and nothing is begun in its place. Partitions of other folders go on.

mod clients;
mod compacted;
mod layout;
mod node;
mod topics;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, Faults, NodeId, Operation, World, seeds};
use corelog_shards::mutation;

use layout::{Dependencies, Layout, path_of};
use node::Run;
use topics::{TOPICS, Topics, no_topics};

/// Most steps of a run.
const STEPS_MAX: u64 = 6_000;

/// What was done to a node, told when the test fails.
#[derive(Default)]
struct Story(Vec<String>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() && mutation::current().is_none() {
            for line in &self.0 {
                eprintln!("{line}");
            }
        }
    }
}

impl Story {
    /// Notes what was done, and how far each topic is.
    fn tell(&mut self, event: String, topics: &Topics) {
        self.0.push(event);
        for (name, topic) in topics.borrow().iter().enumerate() {
            if topic.exists {
                let (sent, acked) = (topic.model.end(), topic.model.acked_end);
                let (folder, generation) = (topic.folder, topic.generation);
                self.0.push(format!(
                    "  topic {name}/{generation} in {folder}: {sent} sent, {acked} acknowledged, offline: {}",
                    topic.is_offline
                ));
            }
        }
    }
}

fn toss(world: &mut World, one_in: u64) -> bool {
    world.random_below(one_in) == 0
}

/// Has an operation fail in one of the folders that are there: on a segment or on a journal.
fn fail_somewhere(world: &mut World, node: NodeId, run: &Run) -> String {
    let there: Vec<usize> = run.layout.there().map(|placed| placed.folder).collect();
    let folder = there[world.random_below(there.len() as u64) as usize];
    let operation = match world.random_below(8) {
        0 => Operation::Read,
        1 => Operation::SyncDir,
        2..5 => Operation::Sync,
        _ => Operation::Write,
    };
    let part = match world.random_below(4) {
        0 => "journal",
        _ => "topic",
    };
    // Where it is not known what files hold, the journal may not be able to go on without them.
    let takes_mates = part == "journal" || operation == Operation::Sync;
    run.blamed.borrow_mut().extend(match takes_mates {
        true => run.layout.mates(folder),
        false => BTreeSet::from([folder]),
    });
    let part = path_of(folder).join(part).display().to_string();
    world.fail_next(node, operation, &part);
    run.has_fault.set(true);
    format!("the next {operation:?} in {part} fails")
}

/// Every partition that is not out of reach takes records.
fn goes_on(world: &mut World, run: &Run) {
    let acked = || -> Vec<i64> {
        let topics = run.topics.borrow();
        topics.iter().map(|topic| topic.model.acked_end).collect()
    };
    let generations = || -> Vec<u64> {
        let topics = run.topics.borrow();
        topics.iter().map(|topic| topic.generation).collect()
    };
    let (before, of) = (acked(), generations());
    let goes_on = |name: usize| {
        let (exists, folder) = {
            let topic = &run.topics.borrow()[name];
            (topic.exists, topic.folder)
        };
        !exists
            || generations()[name] > of[name]
            || acked()[name] > before[name]
            || !run.is_online(folder)
    };
    for _ in 0..200 {
        if run.has_failed() || (0..TOPICS).all(goes_on) {
            return;
        }
        world.run_for(Duration::from_millis(20));
    }
    let stuck: Vec<usize> = (0..TOPICS).filter(|name| !goes_on(*name)).collect();
    panic!("topics {stuck:?} take nothing");
}

fn crash_of(world: &mut World) -> Crash {
    match toss(world, 2) {
        true => Crash::Kill,
        false => Crash::PowerLoss,
    }
}

/// The parts of a world that outlive a run.
struct Lives {
    world: World,
    node: NodeId,
    topics: Topics,
    layout: Layout,
    dependencies: Dependencies,
    story: Story,
}

impl Lives {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        let layout = Layout::draw(&mut world);
        Self {
            world,
            node,
            topics: no_topics(),
            layout,
            dependencies: Dependencies::new(),
            story: Story::default(),
        }
    }

    /// One short run with the folders as they are now, in which nothing fails.
    fn live_briefly(&mut self) {
        self.world.set_faults(Faults::none());
        self.layout.mount(&mut self.world, self.node);
        let (world, node) = (&mut self.world, self.node);
        let run = Run::new(world, &self.topics, &self.layout, &self.dependencies);
        let run = Rc::new(run);
        let shards = 1 + world.random_below(3) as usize;
        let event = format!("briefly {shards} shards, {:?}", self.layout);
        self.story.tell(event, &self.topics);
        self.dependencies
            .note_start(&self.layout, &self.topics, false);
        run.start(world, node, shards);
        for _ in 0..100 {
            if run.is_compared.get() || run.refused.borrow().is_some() {
                break;
            }
            world.run_for(Duration::from_millis(2));
        }
        let steps = world.random_below(STEPS_MAX / 10);
        world.run_steps(steps);
        run.check_folders();
        let crash = crash_of(world);
        let is_complete = run.has_started(shards);
        self.dependencies
            .note_start(&self.layout, &self.topics, is_complete);
        let event = format!(
            "compared: {}, refused: {:?}, {steps} steps, {crash:?}",
            run.is_compared.get(),
            *run.refused.borrow()
        );
        self.story.tell(event, &self.topics);
        run.crash(world, node, crash);
        for topic in self.topics.borrow_mut().iter_mut() {
            topic.note(crash);
        }
    }

    /// One run with the folders as they are now, with faults and a crash somewhere.
    fn live(&mut self) {
        self.world.set_faults(Faults::none());
        self.layout.mount(&mut self.world, self.node);
        let (world, node) = (&mut self.world, self.node);
        let run = Rc::new(Run::new(
            world,
            &self.topics,
            &self.layout,
            &self.dependencies,
        ));
        if toss(world, 6) {
            run.is_disk_sound.set(false);
            world.set_faults(Faults::harsh());
        }
        let shards = 1 + world.random_below(3) as usize;
        let event = format!("{shards} shards, {:?}", self.layout);
        self.story.tell(event, &self.topics);
        self.dependencies
            .note_start(&self.layout, &self.topics, false);
        if toss(world, 16) {
            let event = fail_somewhere(world, node, &run);
            self.story.tell(event, &self.topics);
        }
        run.start(world, node, shards);
        if !toss(world, 6) {
            for _ in 0..100 {
                if run.is_compared.get() || run.refused.borrow().is_some() {
                    break;
                }
                world.run_for(Duration::from_millis(50));
            }
            let has_ended = run.refused.borrow().is_some() || run.is_disturbed();
            assert!(run.is_compared.get() || has_ended, "the start hangs");
        }
        let steps_max = match toss(world, 3) {
            true => STEPS_MAX / 10,
            false => STEPS_MAX,
        };
        for _ in 0..world.random_below(3) {
            let steps = world.random_below(steps_max);
            world.run_steps(steps);
            let event = match toss(world, 2) {
                true => fail_somewhere(world, node, &run),
                false => "nothing fails".to_owned(),
            };
            let event = format!("after {steps} steps {event}");
            self.story.tell(event, &self.topics);
        }
        let steps = world.random_below(steps_max);
        world.run_steps(steps);
        if run.is_compared.get() && toss(world, 3) {
            goes_on(world, &run);
        }
        run.check_folders();
        let crash = crash_of(world);
        let is_stopped = run.is_compared.get() && toss(world, 4);
        if is_stopped {
            run.stop(world, node);
        }
        let is_complete = run.has_started(shards);
        self.dependencies
            .note_start(&self.layout, &self.topics, is_complete);
        let event = format!(
            "compared: {}, refused: {:?}, {steps} steps, stopped: {is_stopped}, failed: {}, {crash:?}",
            run.is_compared.get(),
            *run.refused.borrow(),
            run.has_failed()
        );
        self.story.tell(event, &self.topics);
        let costs = !is_stopped || run.is_disturbed();
        run.crash(world, node, crash);
        for topic in self.topics.borrow_mut().iter_mut().filter(|_| costs) {
            topic.note(crash);
        }
    }

    /// A run of which nothing is missing, in which nothing fails and nobody writes.
    fn settle_down(&mut self) {
        self.layout.shuffle(&mut self.world);
        self.layout.mount(&mut self.world, self.node);
        let (world, node) = (&mut self.world, self.node);
        world.set_faults(Faults::none());
        let run = Run::new(world, &self.topics, &self.layout, &self.dependencies);
        let run = Rc::new(Run {
            has_clients: false,
            ..run
        });
        let shards = 1 + world.random_below(3) as usize;
        let event = format!("at last {shards} shards, {:?}", self.layout);
        self.story.tell(event, &self.topics);
        run.start(world, node, shards);
        for _ in 0..100 {
            if run.is_compared.get() {
                break;
            }
            world.run_for(Duration::from_millis(50));
        }
        assert!(run.is_compared.get(), "the last start hangs");
        run.crash(world, node, Crash::Kill);
    }
}

pub fn simulate(seed: u64) -> u64 {
    let mut lives = Lives::new(seed);
    for _ in 0..3 + lives.world.random_below(6) {
        lives.layout.shuffle(&mut lives.world);
        if !toss(&mut lives.world, 3) {
            lives.layout.lose_some(&mut lives.world);
        }
        if lives.layout.there().next().is_none() {
            lives.layout.shuffle(&mut lives.world);
        }
        lives.live();
    }
    lives.settle_down();
    lives.world.trace()
}

#[test]
fn partitions_keep_what_was_acknowledged() {
    for seed in seeds(60) {
        simulate(seed);
    }
}

/// Short runs on folders that go from device to device, and stay away for several of them: what journals know of a
/// folder that is away goes from one to the next, and is out of date when the folder comes back.
pub fn simulate_absences(seed: u64) {
    let mut lives = Lives::new(seed);
    lives.layout.required = None;
    for _ in 0..14 {
        lives.layout.drift(&mut lives.world);
        lives.live_briefly();
    }
    lives.settle_down();
}

#[test]
fn folders_that_come_back_have_all_that_was_acknowledged() {
    for seed in seeds(60) {
        simulate_absences(seed);
    }
}

#[test]
fn folders_do_the_same_for_the_same_seed() {
    for seed in 0..3 {
        assert_eq!(simulate(seed), simulate(seed));
    }
}
