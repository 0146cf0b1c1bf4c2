//! The log of one partition, part by part: names and formats of its files, its indexes, its memory
//! of producers and leaders, the tail kept for readers, and what retention removes.
//!
//! The modules here are synchronous and free of I/O unless they say otherwise; the partition that
//! owns a log on its core drives them.

pub mod aborted;
pub mod batch;
pub mod checkpoint_name;
pub mod compact;
pub mod config;
pub mod epochs;
pub mod index;
#[expect(
    clippy::module_inception,
    reason = "the log of a partition is the thing this module is about"
)]
mod log;
pub mod producer;
pub mod retention;
pub mod roll;
pub mod segment;
pub mod segment_name;
pub mod snapshot;
pub mod tail;
pub mod uuid_text;

pub use log::{DiskPlace, Found, Log, Outcome, Placed, UnsettledPiece};

#[cfg(test)]
mod test_random;
