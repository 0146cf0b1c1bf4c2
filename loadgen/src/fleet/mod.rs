//! Several machines that make one load: an [`agent`](serve) on each, and a coordinator that [`run`]s a workload on them.
//!
//! The coordinator makes the topics, gives each agent its part of the producers and consumers (each producer keeps its own
//! share of the timetable), and a time at which all start. While it goes on, agents tell how it goes and get orders; in the
//! end each hands over what it measured, acknowledged and received, which adds up exactly: histograms by their buckets,
//! and records that one machine produced and another one consumed by their ledgers.
//!
//! ```text
//! coordinator                     agent
//!   Hello (version) ────────────►
//!         ◄────────────────────── Hello (host), Busy or Refused
//!   Clock, some times ──────────►                     how far the clocks are apart
//!         ◄────────────────────── Clock
//!   Job, Start ─────────────────►
//!         ◄────────────────────── Status, again and again
//!   Orders, at least each second ►
//!         ◄────────────────────── Done or Failed
//! ```
//!
//! Latency from one machine to another is right to the error of the clocks, which is measured at the start and stated; that
//! they drift apart during a run is not corrected. Agents take work from whoever connects: they belong into a network that
//! is trusted.

mod agent;
mod coordinator;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use agent::serve;
pub use coordinator::{Lost, Ran, run};

/// Who has not been heard of for so long is lost, even if his connection is not: longer than a broker may take to tell
/// the coordinator where its partitions end.
const SILENCE_MAX: Duration = Duration::from_secs(90);
