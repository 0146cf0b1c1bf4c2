//! The per-core engine of Corelog.

pub mod io;
pub mod log;
pub mod runtime;
