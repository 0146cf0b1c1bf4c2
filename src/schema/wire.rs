//! The primitive encodings of Kafka's messages, as far as its records use them, flexible (compact
//! lengths and tagged fields) or not.
//!
//! Decoding is total: whatever the bytes, the answer is a value or a [`WireError`]. No length found
//! in the input is trusted before the bytes it claims are known to be there, so a few bytes can
//! never ask for much memory (an element takes at least one byte).

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

/// Why bytes are not what a schema says they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    Truncated { wanted: usize, remaining: usize },
    Varint,
    NegativeLength(i32),
    NotUtf8,
    UnexpectedNull,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { wanted, remaining } => {
                write!(f, "cut short: {wanted} bytes wanted, {remaining} there")
            }
            Self::Varint => f.write_str("a number is out of range"),
            Self::NegativeLength(len) => write!(f, "a length is {len}"),
            Self::NotUtf8 => f.write_str("a string is not UTF-8"),
            Self::UnexpectedNull => f.write_str("a required value is null"),
        }
    }
}

impl std::error::Error for WireError {}

/// The version of a message, and which of the two encodings it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: i16,
    pub(crate) flexible: bool,
}

impl Version {
    pub(crate) const fn flexible(number: i16) -> Self {
        Self {
            number,
            flexible: true,
        }
    }

    /// With lengths of fixed size and without tagged fields.
    pub(crate) const fn plain(number: i16) -> Self {
        Self {
            number,
            flexible: false,
        }
    }
}

/// A value that has an encoding at each version of the record it is part of.
pub(crate) trait Wire: Sized {
    /// Whether every length in it can be said at every version, and is one that Kafka reads.
    fn fits(&self) -> bool {
        true
    }

    /// Appends the encoding of a value that [`fits`](Self::fits).
    fn encode(&self, version: Version, out: &mut Vec<u8>);

    fn decode(version: Version, reader: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// What a schema defines: fields in a row, and tagged fields.
pub(crate) trait Structure: Wire {}

/// The bytes not yet decoded.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        if len > self.rest.len() {
            return Err(WireError::Truncated {
                wanted: len,
                remaining: self.rest.len(),
            });
        }
        let (head, tail) = self.rest.split_at(len);
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// An unsigned LEB128 number of at most 32 bits.
    pub(crate) fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value: u64 = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError::Varint);
            }
        }
        Err(WireError::Varint)
    }

    /// The length in front of a string, byte string or array: `None` stands for null.
    fn len(&mut self, version: Version, plain: PlainLen) -> Result<Option<usize>, WireError> {
        if version.flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        let len = match plain {
            PlainLen::I16 => i16::from_be_bytes(self.array()?).into(),
            PlainLen::I32 => i32::from_be_bytes(self.array()?),
        };
        match len {
            -1 => Ok(None),
            len => usize::try_from(len)
                .map(Some)
                .map_err(|_| WireError::NegativeLength(len)),
        }
    }

    /// Reads a section of tagged fields, handing each to `field`. Fields `field` doesn't know are
    /// left to it to ignore; their bytes are skipped in any case.
    pub(crate) fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()? as usize;
            field(tag, &mut Reader::new(self.take(len)?))?;
        }
        Ok(())
    }
}

pub(crate) fn put_uvarint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What a length takes where it is not compact.
#[derive(Clone, Copy)]
enum PlainLen {
    I16,
    I32,
}

impl PlainLen {
    /// The longest that Kafka reads, at flexible versions as well.
    const fn max(self) -> usize {
        match self {
            Self::I16 => i16::MAX as usize,
            Self::I32 => i32::MAX as usize,
        }
    }
}

fn put_len(len: Option<usize>, version: Version, plain: PlainLen, out: &mut Vec<u8>) {
    let len = len.map_or(-1, |len| i32::try_from(len).expect("the value fits"));
    match (version.flexible, plain) {
        (true, _) => put_uvarint((i64::from(len) + 1) as u32, out),
        (false, PlainLen::I16) => {
            let len = i16::try_from(len).expect("the value fits");
            out.extend_from_slice(&len.to_be_bytes());
        }
        (false, PlainLen::I32) => out.extend_from_slice(&len.to_be_bytes()),
    }
}

/// The tagged fields of one structure, written behind its other fields in ascending order of their
/// tags.
pub(crate) struct TaggedFields<'a> {
    out: &'a mut Vec<u8>,
    /// Where their number stands.
    count_at: usize,
}

impl<'a> TaggedFields<'a> {
    /// A section without fields.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        let count_at = out.len();
        out.push(0);
        Self { out, count_at }
    }

    /// Adds `value` unless it is the default, which goes without saying.
    pub(crate) fn push_unless<T: Wire + PartialEq>(
        &mut self,
        tag: u32,
        version: Version,
        value: &T,
        default: T,
    ) {
        if *value == default {
            return;
        }
        self.out[self.count_at] += 1;
        assert!(self.out[self.count_at] < 0x80, "the number is one byte");
        put_uvarint(tag, self.out);
        let body_at = self.out.len();
        value.encode(version, self.out);
        let body_len = self.out.len() - body_at;
        put_uvarint(body_len as u32, self.out);
        // The length goes first.
        self.out[body_at..].rotate_left(body_len);
    }
}

macro_rules! fixed_size {
    ($($ty:ty),*) => {$(
        impl Wire for $ty {
            fn encode(&self, _version: Version, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(_version: Version, reader: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self::from_be_bytes(reader.array()?))
            }
        }
    )*};
}

fixed_size!(i8, i16, u16, i32, i64, f64);

impl Wire for bool {
    fn encode(&self, _version: Version, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(_version: Version, reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let [byte] = reader.array()?;
        Ok(byte != 0)
    }
}

impl Wire for Uuid {
    fn encode(&self, _version: Version, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(_version: Version, reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Uuid::from_bytes(reader.array()?))
    }
}

/// Implements a type whose encoding starts with a length, together with its nullable form.
macro_rules! with_len {
    ([$($generics:tt)*] $ty:ty, $plain:expr, |$fitting:ident| $fits:expr,
     |$value:ident, $version:ident, $out:ident| $encode:block,
     |$len:ident, $reader:ident| $decode:block) => {
        impl<$($generics)*> Wire for $ty {
            fn fits(&self) -> bool {
                let $fitting = self;
                self.len() <= $plain.max() && $fits
            }

            fn encode(&self, $version: Version, $out: &mut Vec<u8>) {
                let $value = self;
                put_len(Some($value.len()), $version, $plain, $out);
                $encode
            }

            fn decode($version: Version, $reader: &mut Reader<'_>) -> Result<Self, WireError> {
                let len = $reader.len($version, $plain)?;
                let $len = len.ok_or(WireError::UnexpectedNull)?;
                $decode
            }
        }

        impl<$($generics)*> Wire for Option<$ty> {
            fn fits(&self) -> bool {
                self.as_ref().is_none_or(Wire::fits)
            }

            fn encode(&self, version: Version, out: &mut Vec<u8>) {
                match self {
                    Some(value) => value.encode(version, out),
                    None => put_len(None, version, $plain, out),
                }
            }

            fn decode($version: Version, $reader: &mut Reader<'_>) -> Result<Self, WireError> {
                let Some($len) = $reader.len($version, $plain)? else {
                    return Ok(None);
                };
                let decoded: Result<_, WireError> = $decode;
                decoded.map(Some)
            }
        }
    };
}

with_len!([] String, PlainLen::I16,
|_text| true,
|value, version, out| { out.extend_from_slice(value.as_bytes()) },
|len, reader| {
    let text = std::str::from_utf8(reader.take(len)?).map_err(|_| WireError::NotUtf8)?;
    Ok(text.to_owned())
});

with_len!([] Bytes, PlainLen::I32,
|_bytes| true,
|value, version, out| { out.extend_from_slice(value) },
|len, reader| { Ok(Bytes::copy_from_slice(reader.take(len)?)) });

with_len!([T: Wire] Vec<T>, PlainLen::I32,
|items| items.iter().all(Wire::fits),
|value, version, out| { for item in value { item.encode(version, out); } },
|len, reader| {
    if len > reader.remaining() {
        return Err(WireError::Truncated { wanted: len, remaining: reader.remaining() });
    }
    (0..len).map(|_| T::decode(version, reader)).collect::<Result<Vec<_>, _>>()
});

/// The nullable form of a structure as a tagged field has it: a number that is 0 for null.
impl<T: Structure> Wire for Option<T> {
    fn fits(&self) -> bool {
        self.as_ref().is_none_or(Wire::fits)
    }

    fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_uvarint(u32::from(self.is_some()), out);
        if let Some(value) = self {
            value.encode(version, out);
        }
    }

    fn decode(version: Version, reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.uvarint()? {
            0 => Ok(None),
            _ => T::decode(version, reader).map(Some),
        }
    }
}
