//! The whole broker in a simulated world: listeners, connections, requests, the mesh, coordinators of groups, metadata,
//! journals. Clients talk to it over the simulated network, as real ones do: those of [`groups`], and those that write
//! and read records and administrate topics ([`data`]).
//!
//! `CORELOG_SEEDS=10000` runs more seeds than the default, `CORELOG_SEED=17` replays one and tells its story.

mod data;
mod groups;
mod log;
mod node;
mod story;
mod wire;
