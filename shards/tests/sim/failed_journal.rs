//! A write or sync of the journal, or of a segment, fails. If the shard cannot go on, nothing is acknowledged from then
//! on, and whoever waits is told; a restart finds all that was acknowledged before.

use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, Faults, NodeId, Operation, World, seeds};
use corelog_shards::journal::Durability;

use crate::model::{Models, PARTITIONS, Sending, empty_models};
use crate::node::{Run, Story};

fn acked(models: &Models) -> Vec<i64> {
    models
        .borrow()
        .iter()
        .map(|model| model.acked_end)
        .collect()
}

/// How many of a few runs have failed.
pub fn simulate(seed: u64) -> usize {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let mut after = None;
    let mut failed = 0;
    for _ in 0..3 {
        let run = Rc::new(Run {
            is_disk_sound: false,
            is_start_sound: true,
            ..Run::new(&mut world, &models, after)
        });
        run.start(&mut world, node, 1);
        let started = run.clone();
        world.run_until(|| started.is_compared.get());
        let steps = world.random_below(3_000);
        world.run_steps(steps);
        let operation = match world.random_below(2) {
            0 => Operation::Write,
            _ => Operation::Sync,
        };
        // The writer opens its files once, the background task that makes new ones may be hit too.
        let part = match world.random_below(3) {
            0 => ".log",
            _ => ".journal",
        };
        world.fail_next(node, operation, part);
        for _ in 0..100_000 {
            if world.failures_left(node) == 0 || !world.step() {
                break;
            }
        }
        // Long enough to hear of it, and too short for the journal to forget what was acknowledged.
        world.run_for(Duration::from_millis(2));
        story.tell(
            format!("{operation:?} of a {part} failed: {}", run.has_failed()),
            &models,
        );
        if run.has_failed() {
            failed += 1;
            // Replies and reads that were on their way.
            world.run_for(Duration::from_millis(20));
            assert_eq!(run.unanswered.get(), 0, "appends were never answered");
            let at_failure = acked(&models);
            world.run_for(Duration::from_secs(1));
            assert_eq!(acked(&models), at_failure, "acknowledged after a failure");
        }
        if world.random_below(2) == 0 {
            run.stop(&mut world, node);
        }
        let crash = match world.random_below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        story.tell(format!("{crash:?}"), &models);
        run.crash(&mut world, node, crash);
        after = Some(crash);
    }
    failed
}

#[test]
fn a_failed_journal_acknowledges_nothing_more() {
    let failed: usize = seeds(60).map(simulate).sum();
    let are_few = seeds(60).count() < 60;
    assert!(failed > 0 || are_few, "no journal failed");
}

/// A run on a small journal, which anchors what is not written as well.
fn small_run(world: &mut World, models: &Models, after: Option<Crash>) -> Run {
    Run {
        classes: |_| Durability::Sync,
        sending: Sending {
            is_small: true,
            ..Sending::default()
        },
        journal_bytes: Some(8 * (32 << 10)),
        deletes: false,
        ..Run::new(world, models, after)
    }
}

/// Runs on until the next sync of a segment has failed; whether one has.
fn fail_segment(world: &mut World, node: NodeId) -> bool {
    world.fail_next(node, Operation::Sync, ".log");
    for _ in 0..10_000 {
        if world.failures_left(node) == 0 {
            return true;
        }
        world.step();
    }
    false
}

/// A sync of a segment fails, and the process ends, of which the system keeps the file as it is. The next run writes few
/// of the partitions, so that some files end where that failed sync left them, until the power fails.
pub fn simulate_failed_segments(seed: u64) {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let mut after = None;
    for _ in 0..4 {
        let run = Rc::new(Run {
            is_disk_sound: false,
            is_start_sound: true,
            ..small_run(&mut world, &models, after)
        });
        run.start(&mut world, node, 1);
        let started = run.clone();
        world.run_until(|| started.is_compared.get());
        let steps = world.random_below(4_000);
        world.run_steps(steps);
        let has_failed = fail_segment(&mut world, node);
        let steps = world.random_below(20);
        world.run_steps(steps);
        story.tell(format!("a sync failed: {has_failed}"), &models);
        run.crash(&mut world, node, Crash::Kill);

        let run = Rc::new(Run {
            written: 1 << world.random_below(PARTITIONS as u64),
            ..small_run(&mut world, &models, run.worst(Crash::Kill))
        });
        run.start(&mut world, node, 1);
        let started = run.clone();
        world.run_until(|| started.is_compared.get());
        let steps = world.random_below(6_000);
        world.run_steps(steps);
        story.tell(format!("the power fails after {steps} steps"), &models);
        run.crash(&mut world, node, Crash::PowerLoss);
        after = Some(Crash::PowerLoss);
    }
}

#[test]
fn what_a_failed_sync_leaves_of_a_segment_is_not_trusted() {
    for seed in seeds(60) {
        simulate_failed_segments(seed);
    }
}
