//! A write or sync of the journal fails: nothing is acknowledged from then on, whoever waits is told,
//! and a restart finds all that was acknowledged before.

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
fn simulate(seed: u64) -> usize {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let mut after = None;
    let mut failed = 0;
    for _ in 0..3 {
        let run = Rc::new(Run {
            is_disk_sound: false,
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
        world.fail_next(node, operation, ".journal");
        for _ in 0..100_000 {
            if run.has_failed() || !world.step() {
                break;
            }
        }
        story.tell(
            format!("{operation:?} failed: {}", run.has_failed()),
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
