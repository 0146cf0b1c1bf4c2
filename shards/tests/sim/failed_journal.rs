//! A write or sync of the journal, or of a segment, fails. If the shard cannot go on, nothing is acknowledged from then
//! on, and whoever waits is told; a restart finds all that was acknowledged before.

use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, Faults, Operation, World, seeds};

use crate::model::{Models, empty_models};
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
