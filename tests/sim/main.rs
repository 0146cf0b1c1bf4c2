//! The whole broker in a simulated world: listeners, connections, requests, the mesh, coordinators of groups, metadata,
//! journals. Clients talk to it over the simulated network, as real ones do: those of [`groups`], and those that write
//! and read records and administrate topics ([`data`]).
//!
//! `CORELOG_SEEDS=100000` runs more seeds than the default, `CORELOG_SEED=17` replays one and tells its story.
//! `CORELOG_HOURS=8 cargo test --release --test sim -- --ignored --nocapture hours` runs them for as long on all cores,
//! and prints how often each fault and each state of the broker was reached, and which never. `mutations` has the
//! deliberate bugs that have to be caught.

#[path = "../../shards/tests/sim/damage.rs"]
mod damage;
mod data;
mod disk;
mod groups;
mod hours;
mod log;
mod metadata;
mod minimise;
#[cfg(debug_assertions)]
mod mutations;
mod node;
mod plan;
mod story;
mod wire;
