//! Shards that ask each other for more than their lanes hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corelog_shards::io::Stop;
use corelog_shards::io::futures::poll_once;
use corelog_shards::io::sim::{Faults, World, seeds};
use corelog_shards::mesh::{self, REQUESTS_MAX};
use corelog_shards::route::Route;
use corelog_shards::shard::{RotPolicy, Shard, open};

use crate::model::shard_config;

const SHARDS: usize = 2;
/// Requests of each shard to the other.
const ASKED: usize = 3 * REQUESTS_MAX;

/// What the two have come to.
#[derive(Clone, Default)]
struct Progress {
    /// Requests that each shard has taken and not answered.
    taken: [Arc<AtomicUsize>; SHARDS],
    answered: Rc<Cell<usize>>,
    /// Until then no request is answered.
    may_answer: Stop,
}

impl Progress {
    fn taken(&self) -> [usize; SHARDS] {
        self.taken
            .each_ref()
            .map(|taken| taken.load(Ordering::Relaxed))
    }
}

fn ask_for_much(shard: &Shard, progress: &Progress) {
    let other = 1 - shard.id();
    for _ in 0..ASKED {
        let (asker, answered) = (shard.clone(), progress.answered.clone());
        let taken = progress.taken[other].clone();
        let may_answer = progress.may_answer.clone();
        shard.io().spawn("ask", async move {
            let job = |_| async move {
                taken.fetch_add(1, Ordering::Relaxed);
                may_answer.requested().await;
            };
            asker.run_on(other, job).await;
            answered.set(answered.get() + 1);
        });
    }
}

pub fn simulate(seed: u64) {
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    let progress = Progress::default();
    let ends = mesh::lanes(SHARDS).into_iter().map(Some);
    let ends = RefCell::new(ends.collect::<Vec<_>>());
    world.start(node, SHARDS, |io, id| {
        let ends = ends.borrow_mut()[id].take().expect("each once");
        let progress = progress.clone();
        async move {
            let config = shard_config(RotPolicy::Refuse);
            let opened = open(io, id, Route::new(SHARDS), config, ends).await;
            let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
            shard.meet().await;
            ask_for_much(&shard, &progress);
        }
    });
    world.run_for(Duration::from_secs(1));
    assert_eq!(progress.taken(), [REQUESTS_MAX; SHARDS]);
    progress.may_answer.request();
    world.run_for(Duration::from_secs(1));
    assert_eq!(progress.answered.get(), SHARDS * ASKED);
}

#[test]
fn what_is_too_much_for_a_lane_waits_and_all_is_answered() {
    for seed in seeds(10) {
        simulate(seed);
    }
}

/// Counts how many requests at most were taken between two turns of another task of the shard.
async fn watch(shard: Shard, most: Rc<Cell<u64>>) {
    let taken = || shard.metrics().engine.requests_of_others.get();
    loop {
        let before = taken();
        shard.io().yield_now().await;
        most.set(most.get().max(taken() - before));
    }
}

#[test]
fn others_have_their_turn_among_many_requests_that_come_at_once() {
    const ASKED_AT_ONCE: usize = 100;
    for seed in seeds(10) {
        let hurried = Faults {
            slice_over: 1.0,
            ..Faults::none()
        };
        let mut world = World::new(seed, hurried);
        let node = world.add_node();
        let most = Rc::new(Cell::new(0));
        let ends = mesh::lanes(SHARDS).into_iter().map(Some);
        let ends = RefCell::new(ends.collect::<Vec<_>>());
        world.start(node, SHARDS, |io, id| {
            let ends = ends.borrow_mut()[id].take().expect("each once");
            let most = most.clone();
            async move {
                let config = shard_config(RotPolicy::Refuse);
                let opened = open(io, id, Route::new(SHARDS), config, ends).await;
                let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
                shard.meet().await;
                if id == 1 {
                    return watch(shard, most).await;
                }
                let asking = (0..ASKED_AT_ONCE).map(|_| shard.run_on(1, |_| async {}));
                let mut asking: Vec<_> = asking.map(Box::pin).collect();
                for asked in &mut asking {
                    assert!(poll_once(asked.as_mut()).await.is_none());
                }
                for asked in asking {
                    asked.await;
                }
            }
        });
        world.run_steps(20_000);
        let most = most.get();
        assert!((1..ASKED_AT_ONCE as u64 / 2).contains(&most), "{most}");
    }
}
