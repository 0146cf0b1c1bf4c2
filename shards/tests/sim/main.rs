//! The engine in a simulated world: crashes at any step, lost and torn writes, failing, full and
//! rotting disks, another number of shards after a restart.
//!
//! For each partition a model remembers what was sent, in order, and how much of it was acknowledged
//! or seen by a reader. After every restart the log must hold what was sent up to some point that
//! covers both, each record once, in order and unchanged. How much that is depends on the class: with
//! `sync` whatever was acknowledged, with `written` whatever was acknowledged unless the power failed,
//! with `memory` nothing in particular.
//!
//! `CORELOG_SEEDS=100000` runs more seeds than the default, `CORELOG_SEED=17` replays one. With `CORELOG_TRACE=run.txt`
//! all that happens is added to that file, a line for each event, which tells where two runs part
//! (`CORELOG_SEED=17 CORELOG_TRACE=run.txt cargo test -p corelog-shards --test sim crashes::nothing`).
//!
//! `CORELOG_HOURS=8 cargo test --release -p corelog-shards --test sim -- --ignored --nocapture hours` runs all
//! simulations on all cores for as long, and prints how often each fault and each state of the engine was reached, and
//! which never. `mutations` has the deliberate bugs that have to be caught.

mod damage;
mod job;
mod model;
mod node;
mod verification;
mod workload;

mod compaction;
mod crashes;
mod failed_journal;
mod folders;
mod full_disk;
mod hours;
mod journal_alone;
mod many_partitions;
mod many_producers;
mod mesh;
mod moves;
#[cfg(debug_assertions)]
mod mutations;
mod old_segments;
mod recreated;
mod rotten_journal;
mod rotten_segments;
