//! The cluster's own knowledge, in Kafka's model (KRaft): a log of metadata records, the image that
//! replaying them gives, and the controller that decides which records come next.
//!
//! Everything but `driver` is plain synchronous code: bytes, records, image and requests in; records
//! and replies out. The driver, a thin one, appends the controller's records to the
//! `__cluster_metadata` log, replays them once they are committed, publishes what changed to the
//! shards and releases the reply.

pub mod bootstrap;
pub mod controller;
pub mod driver;
pub mod features;
pub mod ids;
pub mod image;
pub mod log_codec;
pub mod records;
pub mod snapshot;
