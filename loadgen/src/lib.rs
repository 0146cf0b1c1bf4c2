//! The crate that will hold the load generator.
