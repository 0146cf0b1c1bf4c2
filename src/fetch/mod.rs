//! What a fetch decides, apart from how it waits and reads: plain functions of state and input.

pub mod shares;
