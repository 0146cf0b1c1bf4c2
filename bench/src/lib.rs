//! Measurements of Corelog: a client that replays requests at little cost to itself, the comparison with Apache
//! Kafka, and what both need to start, stop and kill a broker.
//!
//! The crash test uses the same broker processes. Nothing here depends on the broker's code: what is measured is
//! reached through its sockets and `/proc` alone.

pub mod apart;
pub mod machine;
pub mod metrics;
pub mod system_calls;
pub mod target;
pub mod usage;

pub mod attack;
pub mod fetch;
pub mod history;
pub mod offsets;
pub mod produce;
pub mod replay;
pub mod report;
pub mod roofline;

pub mod broker;
pub mod compare;
