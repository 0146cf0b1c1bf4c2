//! The per-core engine of Corelog.
