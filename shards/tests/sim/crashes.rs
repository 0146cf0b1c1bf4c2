//! Crashes at any step, on disks that now and then fail. None of them is taken for rot.
//!
//! Steps are drawn from the seed, but for a span of them that is gone through one by one.

use std::rc::Rc;

use corelog_shards::io::sim::{Crash, Faults, World, seeds};
use corelog_shards::journal::Durability;

use crate::model::{Classes, all_classes, empty_models};
use crate::node::{Run, Story};

fn simulate(seed: u64, classes: Classes) -> u64 {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let rounds = 3 + world.random_below(4);
    let mut after = None;
    for _ in 0..rounds {
        let shards = 1 + world.random_below(3) as usize;
        let harsh = world.random_below(4) == 0;
        world.set_faults(if harsh {
            Faults::harsh()
        } else {
            Faults::none()
        });
        let run = Rc::new(Run {
            classes,
            is_disk_sound: !harsh,
            ..Run::new(&mut world, &models, after)
        });
        run.start(&mut world, node, shards);
        let steps = match world.random_below(4) {
            0 => world.random_below(300),
            _ => world.random_below(12_000),
        };
        world.run_steps(steps);
        let crash = if world.random_below(2) == 0 {
            Crash::Kill
        } else {
            Crash::PowerLoss
        };
        let event = format!(
            "{shards} shards, harsh: {harsh}, compared: {}, after {steps} steps {crash:?}",
            run.is_compared.get()
        );
        story.tell(event, &models);
        run.crash(&mut world, node, crash);
        after = run.worst(crash);
    }
    world.trace()
}

#[test]
fn nothing_acknowledged_is_lost_changed_or_reordered() {
    for seed in seeds(1_000) {
        simulate(seed, all_classes);
    }
}

/// Nearly no group of the journal is synced before the next one is written: at a power loss one may be
/// torn while a later one is whole.
#[test]
fn groups_that_were_not_synced_are_torn_in_any_order() {
    for seed in seeds(300) {
        simulate(seed, |_| Durability::Written);
    }
}

/// One run of clients that crashes after so many steps, and the start after it.
fn crash_after(seed: u64, steps: u64, crash: Crash) {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let run = Rc::new(Run::new(&mut world, &models, None));
    run.start(&mut world, node, 2);
    world.run_steps(steps);
    story.tell(format!("after {steps} steps {crash:?}"), &models);
    run.crash(&mut world, node, crash);
    let next = Run {
        has_clients: false,
        ..Run::new(&mut world, &models, Some(crash))
    };
    let next = Rc::new(next);
    next.start(&mut world, node, 2);
    world.run_until(|| next.is_compared.get());
}

#[test]
fn a_crash_at_each_of_many_steps_loses_nothing() {
    for seed in seeds(1) {
        for steps in (0..500).chain(8_000..8_500) {
            crash_after(seed, steps, Crash::Kill);
            crash_after(seed, steps, Crash::PowerLoss);
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..3 {
        assert_eq!(simulate(seed, all_classes), simulate(seed, all_classes));
    }
}
