//! The engine in a simulated world: crashes at any step, lost and torn writes, failing, full and
//! rotting disks, another number of shards after a restart.
//!
//! For each partition a model remembers what was sent, in order, and how much of it was acknowledged
//! or seen by a reader. After every restart the log must hold what was sent up to some point that
//! covers both, each record once, in order and unchanged. How much that is depends on the class: with
//! `sync` whatever was acknowledged, with `written` whatever was acknowledged unless the power failed,
//! with `memory` nothing in particular.
//!
//! `CORELOG_SEEDS=100000` runs more seeds than the default, `CORELOG_SEED=17` replays one.

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
mod many_partitions;
mod many_producers;
mod mesh;
mod moves;
mod old_segments;
mod recreated;
mod rotten_journal;
mod rotten_segments;
