//! The load generator: open-loop load on any broker that speaks the Kafka protocol, verification of what comes back,
//! the search for its limit, and a report of it all.
//!
//! The crate is empty so far. Until it is filled, `corelog-bench produce` and `corelog-bench fetch` load a broker.
