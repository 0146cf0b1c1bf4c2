//! The protocol as seen from outside: bytes that nobody should trust, and who may send any.

mod apis;
mod attacks;
mod careless;
mod claims;
mod connections;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod log_lines;
#[path = "../crash/random.rs"]
mod random;
mod samples;
