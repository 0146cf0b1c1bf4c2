//! A disk that is full now and then: appends wait or are refused, reads go on, nothing acknowledged
//! is lost, and writing goes on by itself once there is room. A stop does not wait for that.

use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, Faults, NodeId, World, seeds};

use crate::model::{Models, PARTITIONS, empty_models};
use crate::node::{Run, Story};

/// Longer than all pauses between attempts on a full disk together.
const A_WHILE: Duration = Duration::from_secs(2);

pub fn simulate(seed: u64) {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let mut after = None;
    for _ in 0..2 + world.random_below(3) {
        let shards = 1 + world.random_below(3) as usize;
        let run = Rc::new(Run {
            may_fill: true,
            ..Run::new(&mut world, &models, after)
        });
        run.start(&mut world, node, shards);
        story.tell(format!("{shards} shards"), &models);
        for _ in 0..world.random_below(5) {
            let steps = world.random_below(4_000);
            world.run_steps(steps);
            let used = world.disk_used(node);
            let capacity = match world.random_below(3) {
                0 => u64::MAX,
                1 => used,
                _ => used + world.random_below(300_000),
            };
            world.set_disk_capacity(node, capacity);
            let event = format!("{steps} steps, then {used} of {capacity} bytes are used");
            story.tell(event, &models);
            if world.random_below(8) == 0 {
                world.run_for(A_WHILE);
            }
        }
        if world.random_below(2) == 0 {
            goes_on_with_room(&mut world, node, &run, &models);
            story.tell("there was room again".to_owned(), &models);
        }
        let crash = match world.random_below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        after = run.worst(crash);
        if world.random_below(3) == 0 && run.is_compared.get() {
            run.stop(&mut world, node);
            after = run.has_failed().then_some(crash);
            story.tell(format!("stopped, failed: {}", run.has_failed()), &models);
        }
        story.tell(format!("{crash:?}"), &models);
        run.crash(&mut world, node, crash);
    }
}

/// Gives the node room and expects that it starts, and that each partition takes records again.
fn goes_on_with_room(world: &mut World, node: NodeId, run: &Run, models: &Models) {
    world.set_disk_capacity(node, u64::MAX);
    for _ in 0..100 {
        if run.is_compared.get() || run.refused.borrow().is_some() {
            break;
        }
        world.run_for(A_WHILE / 20);
    }
    if run.refused.borrow().is_some() {
        return;
    }
    assert!(
        run.is_compared.get(),
        "the start hangs though there is room"
    );
    let acked = || -> Vec<i64> {
        models
            .borrow()
            .iter()
            .map(|model| model.acked_end)
            .collect()
    };
    let before = acked();
    let goes_on = |partition: usize| acked()[partition] > before[partition];
    for _ in 0..100 {
        if (0..PARTITIONS).all(goes_on) {
            return;
        }
        world.run_for(A_WHILE / 20);
    }
    let stuck: Vec<usize> = (0..PARTITIONS).filter(|it| !goes_on(*it)).collect();
    panic!("partitions {stuck:?} take nothing though there is room");
}

#[test]
fn a_full_disk_is_no_failure() {
    for seed in seeds(25) {
        simulate(seed);
    }
}

/// Appends wait for room that does not come: the stop ends, and they are told.
#[test]
fn a_stop_on_a_full_disk_ends() {
    let mut failed = 0;
    for seed in seeds(25) {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        let models = empty_models();
        let run = Rc::new(Run {
            may_fill: true,
            ..Run::new(&mut world, &models, None)
        });
        let shards = 1 + world.random_below(2) as usize;
        run.start(&mut world, node, shards);
        let started = run.clone();
        world.run_until(|| started.is_compared.get());
        let steps = world.random_below(3_000);
        world.run_steps(steps);
        let used = world.disk_used(node);
        world.set_disk_capacity(node, used);
        let steps = 1_000 + world.random_below(20_000);
        world.run_steps(steps);
        run.stop(&mut world, node);
        failed += usize::from(run.has_failed());
        let after = run.has_failed().then_some(Crash::PowerLoss);
        run.crash(&mut world, node, Crash::PowerLoss);
        world.set_disk_capacity(node, u64::MAX);
        let run = Rc::new(Run::new(&mut world, &models, after));
        run.start(&mut world, node, shards);
        world.run_for(A_WHILE);
        assert!(run.is_compared.get());
        run.crash(&mut world, node, Crash::Kill);
    }
    let seeds = seeds(25);
    let are_few = seeds.end - seeds.start < 25;
    assert!(failed > 0 || are_few, "no stop found the disk full");
}
