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

//! | module | what it does |
//! |---|---|
//! | [`header`], [`iter`] | views of batches, walking a buffer of them, stamping offsets, epochs and times |
//! | [`validate`], [`rejection`] | what a produced batch must be, and why it is refused |
//! | [`walk`] | from record to record without keys and values |
//! | [`lookup`] | the record a time asks for |
//! | [`compress`], [`recompress`] | codecs; a batch with another codec |
//! | [`record`], [`records`], [`builder`], [`control`] | records in full, read and written |
//! | [`slice`] | budgets: whatever may take long can be stopped and gone on with |

pub mod builder;
pub mod compress;
pub mod control;
pub mod header;
pub mod iter;
pub mod lookup;
pub mod recompress;
pub mod record;
pub mod records;
pub mod rejection;
pub mod slice;
pub mod validate;
mod varint;
pub mod walk;

pub use builder::BatchBuilder;
pub use compress::Codec;
pub use header::{
    Attributes, BatchError, BatchHeader, Compression, HeaderFields, Stamp, TimestampType,
};
pub use iter::{Batch, BatchIter};
pub use records::{Record, Records};
pub use rejection::{RecordError, RecordProblem, Rejection, RejectionKind};
pub use slice::{Budget, Progress};
pub use validate::{Rules, Validated, Validator};

#[cfg(test)]
pub(super) mod tests;
