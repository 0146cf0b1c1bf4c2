//! What operators see: the broker's numbers and its state of health, over HTTP.
//!
//! Shards count ([`requests`], [`corelog_shards::metrics`]) and know nothing of who looks. The server
//! ([`server`]) is an ordinary thread: it reads the counters where they are, and asks the shards for
//! what is not counted but known ([`monitor`]), such as sizes of logs. [`families`] says what the
//! numbers are called and what they mean; for those that an operator of Apache Kafka knows, under
//! which name he knows them. [`partitions`] writes down what there is for each of many partitions, [`groups`] how far
//! groups are behind, both as a [`stream`].

mod families;
mod groups;
pub mod monitor;
mod partitions;
pub mod recovery;
mod requests;
pub mod server;
mod stream;

pub use requests::{ApiMetrics, RequestMetrics};
