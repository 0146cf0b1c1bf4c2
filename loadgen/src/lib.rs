//! The load generator: open-loop load on any broker that speaks the Kafka protocol, verification of what comes back,
//! and a report of it all.
//!
//! In the order of the data: a [`workload`] says what to do, a [`schedule`] when each record is due, the [`engine`] does
//! it over [`connection`]s, also as members of [`group`]s, [`measure`] gathers what happened, [`verify`] holds what came out against what went in, and
//! [`report`] tells people. A [`fleet`] of machines can do it together. [`coordination`] loads
//! the coordinators of groups alone. [`limit`] does this over and over, for the
//! highest rate that keeps a promise, and [`capacity`] makes a plan of that.

pub mod workload;

pub mod schedule;

pub mod batch;
pub mod client;
pub mod cluster;
pub mod connection;
mod link;
pub mod record;
pub mod versions;

pub mod group;

pub mod engine;

pub mod measure;
pub mod verify;

pub mod fleet;

pub mod report;

pub mod coordination;

pub mod limit;

pub mod capacity;
