//! Coordinators: state machines over the records of an internal partition, on the shard that owns it. Their state is
//! what replaying those records gives.

pub mod group;
