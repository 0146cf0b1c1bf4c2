//! The log of one partition, part by part: names and formats of its files, its indexes, its memory
//! of producers and leaders, the tail kept for readers, and what retention removes.
//!
//! The modules here are synchronous and free of I/O unless they say otherwise; the partition that
//! owns a log on its core drives them.

pub mod batch;
pub mod epochs;
pub mod index;
pub mod producer;
pub mod retention;
pub mod roll;
pub mod segment_name;
pub mod tail;
pub mod uuid_text;

#[cfg(test)]
mod test_random;
