//! Crashes at any step, on disks that now and then fail. None of them is taken for rot.
//!
//! Steps are drawn from the seed, but for a span of them that is gone through one by one.

use std::rc::Rc;

use corelog_shards::io::sim::{Crash, Faults, World, seeds};
use corelog_shards::io::{Landmark, Random};
use corelog_shards::journal::Durability;

use crate::model::{Classes, Sending, all_classes, empty_models};
use crate::node::{Run, Story, run_to_one_of};

/// States in the middle of which a crash tells most.
const LANDMARKS: &[Landmark] = &[
    Landmark::GroupsOverlap,
    Landmark::GroupSynced,
    Landmark::JournalFileMade,
    Landmark::JournalWrapped,
    Landmark::FilesPublished,
    Landmark::GroupSecured,
    Landmark::SettledToCarry,
    Landmark::CheckpointCarried,
    Landmark::ReleaseWaits,
    Landmark::Settling,
    Landmark::SegmentFinished,
    Landmark::SegmentRolled,
    Landmark::SegmentMade,
    Landmark::LogStartMoved,
    Landmark::SegmentRemoved,
    Landmark::HandedOver,
    Landmark::OldCopyEnded,
    Landmark::JournalRemoved,
];

/// The same of the journal alone.
const JOURNAL_LANDMARKS: &[Landmark] = &[
    Landmark::GroupsOverlap,
    Landmark::GroupSynced,
    Landmark::JournalWrapped,
    Landmark::FilesPublished,
    Landmark::GroupSecured,
    Landmark::CheckpointCarried,
    Landmark::ReleaseWaits,
];

pub fn simulate(seed: u64, classes: Classes) -> u64 {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let rounds = 3 + world.random_below(4);
    let mut after = None;
    for round in 0..rounds {
        let shards = 1 + world.random_below(3) as usize;
        let kind = world.random_below(4);
        let harsh = kind == 0;
        let faults = match kind {
            0 => Faults::harsh(),
            1 => Faults {
                disk_fulls_max: 0,
                ..Faults::swarm(&mut Random::from_seed(world.random_below(u64::MAX)))
            },
            _ => Faults::none(),
        };
        world.set_faults(faults);
        let run = Rc::new(Run {
            classes,
            is_disk_sound: !harsh,
            sending: Sending {
                leader_epoch: round as i32,
                ..Sending::default()
            },
            is_impatient: true,
            ..Run::new(&mut world, &models, after)
        });
        run.start(&mut world, node, shards);
        let steps = match world.random_below(4) {
            0 => world.random_below(300),
            _ => world.random_below(12_000),
        };
        let landmark = match world.random_below(3) {
            0 => run_to_one_of(&mut world, LANDMARKS, steps),
            _ => None,
        };
        if landmark.is_none() {
            world.run_steps(steps);
        }
        if !harsh && run.is_compared.get() && world.random_below(4) == 0 {
            run.come_to_rest(&mut world);
        }
        let crash = if world.random_below(2) == 0 {
            Crash::Kill
        } else {
            Crash::PowerLoss
        };
        let event = format!(
            "{shards} shards, harsh: {harsh}, compared: {}, after {steps} steps or {landmark:?}: {crash:?}",
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

/// Many short runs of small batches on a small journal, whose files are used again all the time: what lies
/// behind a torn end is what earlier runs have left there.
pub fn simulate_short_runs(seed: u64) {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let mut after = None;
    for _ in 0..25 {
        let run = Rc::new(Run {
            classes: |_| Durability::Written,
            sending: Sending {
                is_small: true,
                ..Sending::default()
            },
            journal_bytes: Some(8 * (32 << 10)),
            ..Run::new(&mut world, &models, after)
        });
        run.start(&mut world, node, 1);
        let steps = world.random_below(1_500);
        let landmark = match world.random_below(2) {
            0 => run_to_one_of(&mut world, JOURNAL_LANDMARKS, steps),
            _ => None,
        };
        if landmark.is_none() {
            world.run_steps(steps);
        }
        let crash = match world.random_below(3) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        let event = format!("after {steps} steps or {landmark:?}: {crash:?}");
        story.tell(event, &models);
        run.crash(&mut world, node, crash);
        after = run.worst(crash);
    }
}

#[test]
fn what_earlier_runs_have_left_is_not_taken_for_the_log() {
    for seed in seeds(200) {
        simulate_short_runs(seed);
    }
}

/// States of a start that takes over partitions.
const HANDOVER_LANDMARKS: &[Landmark] = &[
    Landmark::HandedOver,
    Landmark::OldCopyEnded,
    Landmark::OldCopyMet,
    Landmark::JournalRemoved,
];

/// Each run has another number of shards than the last one, and every other one ends before it has started:
/// partitions are handed over again and again, and copies of them lie in several journals.
pub fn simulate_handovers(seed: u64) {
    let mut story = Story::default();
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let models = empty_models();
    let (mut after, mut shards) = (None, 0);
    for _ in 0..20 {
        shards = (shards + 1 + world.random_below(2) as usize) % 3;
        let run = Rc::new(Run {
            sending: Sending {
                is_small: true,
                ..Sending::default()
            },
            ..Run::new(&mut world, &models, after)
        });
        run.start(&mut world, node, 1 + shards);
        let mut landmark = None;
        if world.random_below(2) == 0 {
            for _ in 0..1 + world.random_below(4) {
                landmark = run_to_one_of(&mut world, HANDOVER_LANDMARKS, 300);
            }
        } else {
            let started = run.clone();
            world.run_until(|| started.is_compared.get());
            let steps = world.random_below(1_500);
            world.run_steps(steps);
        }
        let crash = match world.random_below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        let event = format!(
            "{} shards, compared: {}, after {landmark:?}: {crash:?}",
            1 + shards,
            run.is_compared.get()
        );
        story.tell(event, &models);
        run.crash(&mut world, node, crash);
        after = run.worst(crash);
    }
}

#[test]
fn partitions_that_are_handed_over_again_and_again_keep_all() {
    for seed in seeds(60) {
        simulate_handovers(seed);
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
