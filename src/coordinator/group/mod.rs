//! The coordinator of consumer groups, of both protocols, and of committed offsets.

pub mod assignor;
pub mod records;
