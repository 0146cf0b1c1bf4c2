//! Coordinators: state machines over the records of an internal partition, on the shard that owns it.

pub mod group;
