//! The primitive encodings of flexible Kafka messages, as far as metadata records use them.
//!
//! Decoding is total: whatever the bytes, the answer is a value or a [`DecodeError`]. No length
//! found in the input is trusted before the bytes it claims are known to be there, so a few bytes
//! can never ask for much memory (an element takes at least one byte).

use bytes::Bytes;
use uuid::Uuid;

use super::DecodeError;

/// A value that has an encoding at each version of the record it is part of.
pub(super) trait Wire: Sized {
    fn encode(&self, version: i16, out: &mut Vec<u8>);
    fn decode(version: i16, reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// The bytes not yet decoded.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::Truncated {
                wanted: len,
                remaining: self.rest.len(),
            });
        }
        let (head, tail) = self.rest.split_at(len);
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// An unsigned LEB128 number of at most 32 bits.
    pub(super) fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u64 = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::Varint);
            }
        }
        Err(DecodeError::Varint)
    }

    /// The length in front of a compact string, byte string or array: `None` stands for null.
    fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    /// Reads a section of tagged fields, handing each to `field`. Fields `field` doesn't know are
    /// left to it to ignore; their bytes are skipped in any case.
    pub(super) fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()? as usize;
            field(tag, &mut Reader::new(self.take(len)?))?;
        }
        Ok(())
    }
}

pub(super) fn put_uvarint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_compact_len(len: Option<usize>, out: &mut Vec<u8>) {
    let len = len.map_or(0, |len| len + 1);
    put_uvarint(
        u32::try_from(len).expect("a metadata record is far below 4 GiB"),
        out,
    );
}

/// Collects the tagged fields of one structure, in ascending order of their tags.
#[derive(Default)]
pub(super) struct TaggedFields {
    count: u32,
    bytes: Vec<u8>,
}

impl TaggedFields {
    /// Adds `value` unless it is the default, which goes without saying.
    pub(super) fn push_unless<T: Wire + PartialEq>(
        &mut self,
        tag: u32,
        version: i16,
        value: &T,
        default: T,
    ) {
        if *value == default {
            return;
        }
        let mut body = Vec::new();
        value.encode(version, &mut body);
        put_uvarint(tag, &mut self.bytes);
        put_uvarint(body.len() as u32, &mut self.bytes);
        self.bytes.extend_from_slice(&body);
        self.count += 1;
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        put_uvarint(self.count, out);
        out.extend_from_slice(&self.bytes);
    }
}

macro_rules! fixed_size {
    ($($ty:ty),*) => {$(
        impl Wire for $ty {
            fn encode(&self, _version: i16, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(_version: i16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.array()?))
            }
        }
    )*};
}

fixed_size!(i8, i16, u16, i32, i64, f64);

impl Wire for bool {
    fn encode(&self, _version: i16, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(_version: i16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [byte] = reader.array()?;
        Ok(byte != 0)
    }
}

impl Wire for Uuid {
    fn encode(&self, _version: i16, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(_version: i16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Uuid::from_bytes(reader.array()?))
    }
}

/// Implements a type whose encoding starts with a compact length, together with its nullable form.
macro_rules! with_compact_len {
    ([$($generics:tt)*] $ty:ty, |$value:ident, $version:ident, $out:ident| $encode:block,
     |$len:ident, $reader:ident| $decode:block) => {
        impl<$($generics)*> Wire for $ty {
            fn encode(&self, $version: i16, $out: &mut Vec<u8>) {
                let $value = self;
                put_compact_len(Some($value.len()), $out);
                $encode
            }

            fn decode($version: i16, $reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let $len = $reader.compact_len()?.ok_or(DecodeError::UnexpectedNull)?;
                $decode
            }
        }

        impl<$($generics)*> Wire for Option<$ty> {
            fn encode(&self, version: i16, out: &mut Vec<u8>) {
                match self {
                    Some(value) => value.encode(version, out),
                    None => put_compact_len(None, out),
                }
            }

            fn decode($version: i16, $reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let Some($len) = $reader.compact_len()? else {
                    return Ok(None);
                };
                let decoded: Result<_, DecodeError> = $decode;
                decoded.map(Some)
            }
        }
    };
}

with_compact_len!([] String,
|value, _version, out| { out.extend_from_slice(value.as_bytes()) },
|len, reader| {
    let text = std::str::from_utf8(reader.take(len)?).map_err(|_| DecodeError::NotUtf8)?;
    Ok(text.to_owned())
});

with_compact_len!([] Bytes,
    |value, _version, out| { out.extend_from_slice(value) },
    |len, reader| { Ok(Bytes::copy_from_slice(reader.take(len)?)) });

with_compact_len!([T: Wire] Vec<T>,
|value, version, out| { for item in value { item.encode(version, out); } },
|len, reader| {
    if len > reader.remaining() {
        return Err(DecodeError::Truncated { wanted: len, remaining: reader.remaining() });
    }
    (0..len).map(|_| T::decode(version, reader)).collect::<Result<Vec<_>, _>>()
});
