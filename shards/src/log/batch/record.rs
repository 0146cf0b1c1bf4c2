//! One record as it lies inside a batch: its structure checked, its parts lent out, its bytes written.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//! key length varint, key | value length varint, value
//! header count varint, then of each: key length varint, key, value length varint, value
//! ```
//! A negative length of a key or a value says that there is none.

use super::varint;
use std::fmt;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The records end before as many were read as the batch says it has.
    Missing,
    /// Bytes are left behind the last record.
    TrailingBytes,
    /// Its length is negative, or goes beyond the batch.
    Length(i32),
    /// A field goes beyond the record, or a varint does not end.
    Field,
    /// A header count that is negative, or larger than the record.
    HeaderCount(i32),
    /// A header without a key.
    HeaderKey(i32),
    /// Bytes of the record are left behind its last field.
    Slack,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the batch ends before its last record"),
            Self::TrailingBytes => f.write_str("bytes are left behind the last record"),
            Self::Length(length) => write!(f, "impossible record length {length}"),
            Self::Field => f.write_str("invalid record structure"),
            Self::HeaderCount(count) => write!(f, "impossible number of headers {count}"),
            Self::HeaderKey(length) => write!(f, "negative header key length {length}"),
            Self::Slack => f.write_str("record is longer than its fields"),
        }
    }
}

/// What the log wants to know of a record; its key, value and headers stay where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub has_key: bool,
}

/// A record with its parts.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    pub meta: RecordMeta,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The headers of a record whose structure was checked.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    /// Key, which need not be text, and value.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut at = 0;
        let key = take_field(self.bytes, &mut at).ok()??;
        let value = take_field(self.bytes, &mut at).ok()?;
        self.bytes = &self.bytes[at..];
        Some((key, value))
    }
}

/// Checks the record at `*at` and moves `*at` behind it.
#[inline]
pub fn check(bytes: &[u8], at: &mut usize) -> Result<RecordMeta, RecordFault> {
    parse(bytes, at).map(|record| record.meta)
}

/// Checks the record at `*at`, lends its parts and moves `*at` behind it.
#[inline]
pub fn parse<'a>(bytes: &'a [u8], at: &mut usize) -> Result<RawRecord<'a>, RecordFault> {
    if *at == bytes.len() {
        return Err(RecordFault::Missing);
    }
    let length = varint::read_i32(bytes, at).ok_or(RecordFault::Field)?;
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| at.checked_add(length))
        .filter(|end| *end <= bytes.len())
        .ok_or(RecordFault::Length(length))?;
    let body = &bytes[..end];

    if *at == end {
        return Err(RecordFault::Field);
    }
    // No attribute of a record means anything yet.
    *at += 1;
    let timestamp_delta = varint::read_i64(body, at).ok_or(RecordFault::Field)?;
    let offset_delta = varint::read_i32(body, at).ok_or(RecordFault::Field)?;
    let key = take_field(body, at)?;
    let value = take_field(body, at)?;
    let headers = take_headers(body, at)?;
    Ok(RawRecord {
        meta: RecordMeta {
            offset_delta,
            timestamp_delta,
            has_key: key.is_some(),
        },
        key,
        value,
        headers,
    })
}

#[inline]
fn take_headers<'a>(body: &'a [u8], at: &mut usize) -> Result<Headers<'a>, RecordFault> {
    let count = varint::read_i32(body, at).ok_or(RecordFault::Field)?;
    let bytes = &body[*at..];
    if count != 0 {
        check_headers(bytes, count)?;
    } else if !bytes.is_empty() {
        return Err(RecordFault::Slack);
    }
    *at = body.len();
    Ok(Headers { bytes })
}

/// That `bytes` are `count` headers and nothing else.
fn check_headers(bytes: &[u8], count: i32) -> Result<(), RecordFault> {
    if usize::try_from(count).is_ok_and(|count| count <= bytes.len()) {
        let mut at = 0;
        for _ in 0..count {
            let mut ahead = at;
            if take_field(bytes, &mut at)?.is_none() {
                let length = varint::read_i32(bytes, &mut ahead).ok_or(RecordFault::Field)?;
                return Err(RecordFault::HeaderKey(length));
            }
            take_field(bytes, &mut at)?;
        }
        if at == bytes.len() {
            Ok(())
        } else {
            Err(RecordFault::Slack)
        }
    } else {
        Err(RecordFault::HeaderCount(count))
    }
}

/// A field behind its length; None when the length is negative.
#[inline]
fn take_field<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, RecordFault> {
    let length = varint::read_i32(bytes, at).ok_or(RecordFault::Field)?;
    let Ok(length) = usize::try_from(length) else {
        return Ok(None);
    };
    let field = bytes[*at..].get(..length).ok_or(RecordFault::Field)?;
    *at += length;
    Ok(Some(field))
}

/// A record to be written, relative to its batch.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl NewRecord<'_> {
    /// Appends the record to `out`.
    ///
    /// Panics when it is longer than its length field can say.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = self.body_bytes();
        assert!(i32::try_from(length).is_ok(), "record of {length} bytes");
        varint::write(out, length as i64);
        out.push(0);
        varint::write(out, self.timestamp_delta);
        varint::write(out, self.offset_delta.into());
        put_field(out, self.key);
        put_field(out, self.value);
        varint::write(out, self.headers.len() as i64);
        for (key, value) in self.headers {
            put_field(out, Some(key));
            put_field(out, *value);
        }
    }

    fn body_bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(key, value)| field_bytes(Some(key)) + field_bytes(*value))
            .sum();
        1 + varint::size(self.timestamp_delta)
            + varint::size(self.offset_delta.into())
            + field_bytes(self.key)
            + field_bytes(self.value)
            + varint::size(self.headers.len() as i64)
            + headers
    }
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    varint::write(out, field.map_or(-1, |field| field.len() as i64));
    out.extend_from_slice(field.unwrap_or_default());
}

fn field_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |field| varint::size(field.len() as i64) + field.len())
}
