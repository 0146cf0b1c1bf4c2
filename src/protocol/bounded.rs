//! Makes the generated decoders safe against lengths that lie.
//!
//! They allocate `Vec::with_capacity(n)` for an array before reading its first element, with `n`
//! straight from the request: six bytes can ask for hundreds of gigabytes and abort the process.
//! Their schema is not visible from outside, but the buffer they read from is ours. [`Guarded`] uses
//! that every element takes at least one byte, so no honest array claims more elements than bytes
//! remain:
//!
//! - A *varint* is only ever a length or a tag number in a request. One that claims more than the
//!   bytes that remain is refused on the spot (below [`HARMLESS_CLAIM`] it may pass: it costs
//!   little, and tag numbers are small).
//! - An *i32* may be an array's length or a plain value, and nothing tells which. So the first pass
//!   lies back: it hands out at most `remaining + 1`. An array with such a length must run into the
//!   end of the frame, as it would have anyway; a plain value does not steer the decoder. If that
//!   pass succeeds, every array of the message is honest, and a second pass over the same bytes
//!   reads the true values. Without any cut value the first result is already the true one.
//!
//! What an array reserves is thereby at most `size_of::<element>()` (below 256 bytes) for each byte
//! that really arrived, and requests that go through here are capped at [`GENERATED_BYTES_MAX`].
//!
//! Decoding is one turn of the shard, and so are some handlers' loops over what was decoded. What
//! they take depends on the number of fields, not of bytes, so that is capped, too, at
//! [`FIELDS_MAX`].
//!
//! A panic of a decoder is caught and becomes [`Malformed::Panicked`]. Decoders are pure functions
//! of the bytes, so nothing half-changed is left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::TryGetError;
use bytes::{Buf, Bytes};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

use super::Malformed;

/// Largest request body given to the generated decoders. Ten times what an administrator's largest
/// request takes; Produce and Fetch, which may be larger, have decoders of their own.
pub const GENERATED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most fields of such a request: ten thousand topics, the most that one request may change, with
/// two dozen each.
pub const FIELDS_MAX: usize = 256 * 1024;

/// A claim up to this is not worth refusing.
const HARMLESS_CLAIM: u32 = 1_024;
const VARINT_BYTES_MAX: usize = 5;

/// Decodes a request body of the given version.
pub fn decode<T: Decodable>(body: &Bytes, version: i16) -> Result<T, Malformed> {
    if body.len() > GENERATED_BYTES_MAX {
        return Err(Malformed::TooManyEntries);
    }
    caught(|| {
        let mut dry = Guarded::new(body.clone(), true);
        let first = T::decode(&mut dry, version);
        if dry.fields > FIELDS_MAX {
            return Err(Malformed::TooManyEntries);
        }
        match first {
            Ok(_) if dry.has_cut => T::decode(&mut Guarded::new(body.clone(), false), version),
            first => first,
        }
        .map_err(|why| Malformed::Generated(why.to_string().trim_end().to_owned()))
    })
}

/// Runs a decoder; a panic in it is an undecodable message, not the end of the process.
pub fn caught<T>(decode: impl FnOnce() -> Result<T, Malformed>) -> Result<T, Malformed> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Malformed::Panicked(what.to_owned()))
    })
}

/// How many more fields, or entries of lists, a request that is decoded by hand may have.
pub(super) struct Allowance(pub usize);

impl Allowance {
    pub fn take(&mut self, count: usize) -> Result<(), Malformed> {
        let left = self.0.checked_sub(count);
        self.0 = left.ok_or(Malformed::TooManyEntries)?;
        Ok(())
    }
}

/// The bytes of a frame, checking what is claimed in them while they are read.
struct Guarded {
    bytes: Bytes,
    /// Whether i32 values are cut to what could be an honest array length.
    cuts: bool,
    has_cut: bool,
    /// That have been read.
    fields: usize,
}

impl Guarded {
    fn new(bytes: Bytes, cuts: bool) -> Self {
        Self {
            bytes,
            cuts,
            has_cut: false,
            fields: 0,
        }
    }

    /// Notes that a field has been read; behind one too many there is nothing.
    fn count_field(&mut self) {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            self.bytes.clear();
        }
    }

    /// Value and length of the varint at the front, as the generated decoders read it.
    fn peek_varint(&self) -> (u32, usize) {
        let mut value = 0;
        for (i, byte) in self.bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u32::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                return (value, i + 1);
            }
        }
        (value, self.bytes.len().min(VARINT_BYTES_MAX))
    }

    fn shortage(&self, requested: usize) -> TryGetError {
        TryGetError {
            requested,
            available: self.bytes.len(),
        }
    }
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.count_field();
    }

    /// Called for the bytes of varints, and for booleans, whose 0 or 1 passes as a short varint. Each byte is looked at as
    /// if a varint began with it: one may begin behind a boolean that is neither, and what is read of an honest one from
    /// its middle on claims less than all of it.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let (value, len) = self.peek_varint();
        // A compact length is one more than the count.
        let claim = value.saturating_sub(1);
        if claim > HARMLESS_CLAIM && claim as usize > self.bytes.len().saturating_sub(len) {
            return Err(self.shortage(claim as usize));
        }
        let byte = *self.bytes.first().ok_or_else(|| self.shortage(1))?;
        self.bytes.advance(1);
        if byte < 0x80 {
            self.count_field();
        }
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.bytes.try_get_i32()?;
        self.count_field();
        let honest_max = self.bytes.len() + 1;
        if self.cuts && usize::try_from(value).is_ok_and(|value| value > honest_max) {
            self.has_cut = true;
            return Ok(honest_max as i32);
        }
        Ok(value)
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.bytes.split_to(size)
    }
}

#[cfg(test)]
mod tests;
