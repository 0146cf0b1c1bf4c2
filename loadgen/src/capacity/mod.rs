//! Capacity planning: what a team needs, held against what a node was measured to do.
//!
//! [`Needs`] come from flags and files by the table of [`INPUTS`], the curve from [`crate::limit`], and [`plan`] makes a
//! [`Bill`] of both, or refuses.

mod bill;
mod inputs;
mod text;

#[cfg(test)]
mod tests;

pub use bill::{Assumption, Bill, Demand, NodeBill, Source, plan};
pub use inputs::{INPUTS, Input, Needs, Stated};
