//! The primitive types of the protocol, for the codecs written by hand.
//!
//! [`Reader`] walks over one frame and hands out slices of it; [`Writer`] appends to a buffer. Both
//! know whether the version is flexible (compact lengths and tagged fields), so that a codec reads
//! like the schema. A claimed length is compared with the bytes left before anything is allocated.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::Malformed;

/// Longest string of the protocol: lengths were 16 bits before they became compact.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A position in a frame.
pub struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub fn new(frame: &'a Bytes, flexible: bool) -> Self {
        Self {
            frame,
            at: 0,
            end: frame.len(),
            flexible,
        }
    }

    /// From here on lengths are compact and structures end in tagged fields.
    pub fn set_flexible(&mut self) {
        self.flexible = true;
    }

    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if len > self.remaining() {
            return Err(Malformed::Truncated);
        }
        let from = self.at;
        self.at += len;
        Ok(&self.frame[from..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, Malformed> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// An unsigned varint of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.array::<1>()?[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::BadLength(i64::from(value)))
    }

    fn non_negative(len: i64) -> Result<Option<usize>, Malformed> {
        match len {
            -1 => Ok(None),
            len => usize::try_from(len)
                .map(Some)
                .map_err(|_| Malformed::BadLength(len)),
        }
    }

    fn compact_len(&mut self) -> Result<Option<usize>, Malformed> {
        Self::non_negative(i64::from(self.uvarint()?) - 1)
    }

    /// Number of elements of an array, or None for null. `element_bytes_min` is what one element
    /// takes at least, so that a claim the frame cannot hold is refused before it costs memory.
    pub fn nullable_array_len(
        &mut self,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, Malformed> {
        let len = if self.flexible {
            self.compact_len()?
        } else {
            Self::non_negative(i64::from(self.i32()?))?
        };
        match len {
            Some(len) if len > self.remaining() / element_bytes_min => Err(Malformed::Truncated),
            len => Ok(len),
        }
    }

    pub fn array_len(&mut self, element_bytes_min: usize) -> Result<usize, Malformed> {
        self.nullable_array_len(element_bytes_min)?
            .ok_or(Malformed::BadLength(-1))
    }

    pub fn nullable_bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        let len = if self.flexible {
            self.compact_len()?
        } else {
            Self::non_negative(i64::from(self.i32()?))?
        };
        len.map(|len| self.slice(len)).transpose()
    }

    fn slice(&mut self, len: usize) -> Result<Bytes, Malformed> {
        let from = self.at;
        self.take(len)?;
        Ok(self.frame.slice(from..self.at))
    }

    pub fn nullable_string(&mut self) -> Result<Option<StrBytes>, Malformed> {
        let len = if self.flexible {
            self.compact_len()?
        } else {
            Self::non_negative(i64::from(self.i16()?))?
        };
        let Some(len) = len else { return Ok(None) };
        if len > STRING_BYTES_MAX {
            return Err(Malformed::BadString);
        }
        StrBytes::from_utf8(self.slice(len)?)
            .map(Some)
            .map_err(|_| Malformed::BadString)
    }

    pub fn string(&mut self) -> Result<StrBytes, Malformed> {
        self.nullable_string()?.ok_or(Malformed::BadLength(-1))
    }

    /// The tagged fields at the end of a structure, nothing before flexible versions. `known` reads
    /// a field it knows from a reader that spans just that field; what it leaves alone is skipped.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()? as usize;
            let from = self.at;
            self.take(len)?;
            let mut field = Reader {
                frame: self.frame,
                at: from,
                end: self.at,
                flexible: true,
            };
            known(tag, &mut field).map_err(|_| Malformed::BadTag(tag))?;
            if field.at != from && field.at != self.at {
                return Err(Malformed::BadTag(tag));
            }
        }
        Ok(())
    }

    pub fn skip_tagged_fields(&mut self) -> Result<(), Malformed> {
        self.tagged_fields(|_, _| Ok(()))
    }
}

/// Appends to a buffer that the caller sized.
pub struct Writer<'a> {
    pub out: &'a mut BytesMut,
    flexible: bool,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut BytesMut, flexible: bool) -> Self {
        Self { out, flexible }
    }

    pub fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub fn uuid(&mut self, value: &Uuid) {
        self.out.put_slice(value.as_bytes());
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// The length that stands before an array or bytes; None is null.
    pub fn len(&mut self, len: Option<usize>) {
        let len = len.map_or(-1, |len| {
            i32::try_from(len).expect("a reply holds less than 2 GiB")
        });
        if self.flexible {
            self.uvarint((len + 1) as u32);
        } else {
            self.i32(len);
        }
    }

    pub fn nullable_string(&mut self, value: Option<&str>) {
        // Names come from requests, which bound them; the longest text of our own is cut.
        let value = value.map(|text| &text[..text.floor_char_boundary(STRING_BYTES_MAX)]);
        if self.flexible {
            self.uvarint(value.map_or(0, |text| text.len() as u32 + 1));
        } else {
            self.i16(value.map_or(-1, |text| text.len() as i16));
        }
        self.out.put_slice(value.unwrap_or_default().as_bytes());
    }

    pub fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    /// How many tagged fields follow; nothing before flexible versions.
    pub fn tagged_fields(&mut self, count: u32) {
        if self.flexible {
            self.uvarint(count);
        }
    }

    /// One tagged field. Rare enough (errors only) for a buffer of its own.
    pub fn tagged_field(&mut self, tag: u32, content: impl FnOnce(&mut Writer<'_>)) {
        debug_assert!(self.flexible);
        self.uvarint(tag);
        let mut field = BytesMut::new();
        content(&mut Writer::new(&mut field, true));
        self.uvarint(field.len() as u32);
        self.out.put_slice(&field);
    }
}
