//! The per-core engine of Corelog.

pub mod log;
