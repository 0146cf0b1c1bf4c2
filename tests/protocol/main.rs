//! The protocol against bytes that nobody should trust.

mod claims;
