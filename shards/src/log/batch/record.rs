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
use std::ops::Range;

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
    pub offset_delta: i32,
    pub timestamp_delta: i64,
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
        let bytes = self.bytes;
        let key = take_field(bytes, &mut at).ok()??;
        let value = take_field(bytes, &mut at).ok()?;
        self.bytes = &bytes[at..];
        Some((&bytes[key], value.map(|value| &bytes[value])))
    }
}

/// Checks the record at `*at` and moves `*at` behind it.
#[inline]
pub fn check(bytes: &[u8], at: &mut usize) -> Result<RecordMeta, RecordFault> {
    let layout = Layout::of(bytes, *at)?;
    *at = layout.end;
    Ok(RecordMeta {
        offset_delta: layout.offset_delta,
        timestamp_delta: layout.timestamp_delta,
        has_key: layout.key.is_some(),
    })
}

/// Checks the record at `*at`, lends its parts and moves `*at` behind it.
pub fn parse<'a>(bytes: &'a [u8], at: &mut usize) -> Result<RawRecord<'a>, RecordFault> {
    let layout = Layout::of(bytes, *at)?;
    *at = layout.end;
    Ok(RawRecord {
        offset_delta: layout.offset_delta,
        timestamp_delta: layout.timestamp_delta,
        key: layout.key.map(|key| &bytes[key]),
        value: layout.value.map(|value| &bytes[value]),
        headers: Headers {
            bytes: &bytes[layout.headers_at..layout.end],
        },
    })
}

/// Appends a sound record to `out` with another timestamp delta, the rest of it as it is.
///
/// Panics when it gets longer than its length field can say.
pub fn write_with_timestamp_delta(record: &[u8], timestamp_delta: i64, out: &mut Vec<u8>) {
    const SOUND: &str = "the record was parsed before";
    let mut at = 0;
    varint::read_i32(record, &mut at).expect(SOUND);
    let attributes = record[at];
    at += 1;
    varint::read_i64(record, &mut at).expect(SOUND);
    let rest = &record[at..];
    let length = 1 + varint::size(timestamp_delta) + rest.len();
    assert!(i32::try_from(length).is_ok(), "record of {length} bytes");
    varint::write(out, length as i64);
    out.push(attributes);
    varint::write(out, timestamp_delta);
    out.extend_from_slice(rest);
}

/// Where the parts of a record are; all of them are in bounds.
struct Layout {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers_at: usize,
    end: usize,
}

impl Layout {
    /// The hottest code of a produce: a few nanoseconds a record, if none of it is a call.
    #[inline(always)]
    fn of(bytes: &[u8], mut at: usize) -> Result<Self, RecordFault> {
        if at == bytes.len() {
            return Err(RecordFault::Missing);
        }
        let length = varint::read_i32(bytes, &mut at).ok_or(RecordFault::Field)?;
        let end = usize::try_from(length)
            .ok()
            .map(|length| at + length)
            .filter(|end| *end <= bytes.len())
            .ok_or(RecordFault::Length(length))?;
        let body = &bytes[..end];
        // No attribute of a record means anything yet.
        at += 1;
        let timestamp_delta = varint::read_i64(body, &mut at).ok_or(RecordFault::Field)?;
        let offset_delta = varint::read_i32(body, &mut at).ok_or(RecordFault::Field)?;
        let key = take_field(body, &mut at)?;
        let value = take_field(body, &mut at)?;
        let header_count = varint::read_i32(body, &mut at).ok_or(RecordFault::Field)?;
        if header_count != 0 {
            check_headers(&body[at..], header_count)?;
        } else if at != end {
            return Err(RecordFault::Slack);
        }
        Ok(Self {
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers_at: at,
            end,
        })
    }
}

/// That `bytes` are `count` headers and nothing else.
fn check_headers(bytes: &[u8], count: i32) -> Result<(), RecordFault> {
    if usize::try_from(count).map_or(true, |count| count > bytes.len()) {
        return Err(RecordFault::HeaderCount(count));
    }
    let mut at = 0;
    for _ in 0..count {
        let mut length_at = at;
        let length = varint::read_i32(bytes, &mut length_at).ok_or(RecordFault::Field)?;
        if take_field(bytes, &mut at)?.is_none() {
            return Err(RecordFault::HeaderKey(length));
        }
        take_field(bytes, &mut at)?;
    }
    if at == bytes.len() {
        Ok(())
    } else {
        Err(RecordFault::Slack)
    }
}

/// A field behind its length; None when the length is negative.
#[inline(always)]
fn take_field(bytes: &[u8], at: &mut usize) -> Result<Option<Range<usize>>, RecordFault> {
    let length = varint::read_i32(bytes, at).ok_or(RecordFault::Field)?;
    let Ok(length) = usize::try_from(length) else {
        return Ok(None);
    };
    let field = *at..*at + length;
    if field.end > bytes.len() {
        return Err(RecordFault::Field);
    }
    *at = field.end;
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
