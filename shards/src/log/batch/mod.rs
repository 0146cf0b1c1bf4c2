//! Kafka's record batch, format version 2: what producers send, what segments hold, what consumers get.
//!
//! The engine keeps the bytes of a batch as the producer made them. Appending changes three header
//! fields (base offset, partition leader epoch and, where the topic asks for it, the timestamps), so
//! everything here works on borrowed slices: [`BatchHeader`] and [`Batch`] are views, [`BatchIter`]
//! walks a buffer of batches, and [`header`] patches in place.
//!
//! Layout of a batch, all integers big-endian:
//! ```text
//!  0 base offset        i64   not under the CRC
//!  8 length             i32   of what follows this field
//! 12 leader epoch       i32   not under the CRC
//! 16 magic              i8    2
//! 17 CRC-32C            u32   of everything from the attributes on
//! 21 attributes         i16   see [`Attributes`]
//! 23 last offset delta  i32
//! 27 base timestamp     i64
//! 35 max timestamp      i64
//! 43 producer id        i64   57 record count  i32
//! 51 producer epoch     i16   61 records, compressed as one block where a codec is set
//! 53 base sequence      i32
//! ```
//!
//! Pure functions over bytes: no I/O, no clock, no core of its own. Input may be hostile; the answer to
//! bytes that make no sense is an error, never a panic, and no length found in them is ever allocated.

pub mod header;
pub mod iter;

pub use header::{Attributes, BatchError, BatchHeader, Compression, HeaderFields, TimestampType};
pub use iter::{Batch, BatchIter};

#[cfg(test)]
mod tests;
