//! The per-core engine of Corelog: journal, logs, and the messages between cores.
//!
//! It knows record batches and nothing of Kafka's requests, replies and error codes. The modules, in
//! the order of the data: [`io`] and [`runtime`] (the outside world), [`route`] and [`mesh`] (from
//! core to core), [`shard`] (what one core does), [`partition`], [`journal`] (what makes records
//! durable), [`log`] (where they stay). [`metrics`] is what all of them count,
//! [`mutation`] the bugs that tests put in.

pub mod io;
pub mod journal;
pub mod log;
pub mod mesh;
pub mod metrics;
pub mod mutation;
pub mod partition;
pub mod route;
pub mod runtime;
pub mod shard;
