//! Coordinators: replicated state machines whose state is what replaying their records gives.

pub mod group;
