//! What is done to a body: extremes in lengths and counts, flipped bits, cuts, pieces of other bodies, fields that come
//! twice, tagged fields that nobody knows.

use std::ops::Range;

use crate::random::Random;
use crate::samples::sign;
use crate::schema::{Body, Field, Kind};

/// A body has at most so many bytes after damage, so that what is allocated for it can be told from what it claims.
pub const BODY_BYTES_MAX: usize = 16 << 10;
/// Bytes of a batch in front of its records.
const BATCH_HEADER_BYTES: usize = 61;
const MAGIC_AT: usize = 16;

/// Damages a body in one to four ways. `others` are bodies to take pieces of.
pub fn damage(body: &mut Body, others: &[Vec<u8>], random: &mut Random) {
    let is_signed = random.one_in(2);
    for _ in 0..=random.below(4) {
        match random.below(16) {
            0..=5 => extreme(body, random),
            6 | 7 => flip(body, random),
            8 => body.bytes.truncate(place(body, random)),
            9 | 10 => splice(body, others, random),
            11 => repeat(body, random),
            12 => remove(body, random),
            13 | 14 => tag(body, random),
            _ => {
                let more = random.below(200);
                body.bytes.extend((0..more).map(|_| random.next() as u8));
            }
        }
    }
    body.bytes.truncate(BODY_BYTES_MAX);
    if is_signed {
        body.sign_batches();
    }
}

fn place(body: &Body, random: &mut Random) -> usize {
    random.below(body.bytes.len() as u64 + 1) as usize
}

fn field(body: &Body, random: &mut Random) -> Option<usize> {
    match body.fields.len() as u64 {
        0 => None,
        len => Some(random.below(len) as usize),
    }
}

/// Puts something into a field that fits its form and nothing else.
fn extreme(body: &mut Body, random: &mut Random) {
    let Some(at) = field(body, random) else {
        return flip(body, random);
    };
    let Field { range, kind } = body.fields[at].clone();
    let left = body.bytes.len().saturating_sub(range.end) as i64;
    let mut one_of = |values: &[i64]| values[random.below(values.len() as u64) as usize];
    let around = [-2, -1, 0, 1, 2, left, left + 1, left + 2, 1 << 16];
    let bytes = match kind {
        Kind::Varint => {
            let value = match one_of(&[0, 1, 2, 3]) {
                0 => one_of(&around),
                1 => one_of(&[0x7f, 0x80, 0x3fff, i32::MAX.into(), u32::MAX.into(), 1_000]),
                // Longer than any, and longer than it must be.
                2 => {
                    body.replace(range, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
                    return;
                }
                _ => {
                    body.replace(range, &[0x81, 0x80, 0x80, 0x80, 0]);
                    return;
                }
            };
            varint(value as u32)
        }
        Kind::I8 => vec![one_of(&[-128, -1, 0, 1, 2, 127]) as u8],
        Kind::I16 => {
            let value = match one_of(&[0, 1]) {
                0 => one_of(&around),
                _ => one_of(&[i16::MIN.into(), i16::MAX.into(), 100, 1_000]),
            };
            (value as i16).to_be_bytes().into()
        }
        Kind::I32 => {
            let value = match one_of(&[0, 1]) {
                0 => one_of(&around),
                _ => one_of(&[
                    i32::MIN.into(),
                    i32::MAX.into(),
                    100,
                    6_000,
                    1 << 20,
                    0x00ff_ffff,
                ]),
            };
            (value as i32).to_be_bytes().into()
        }
        Kind::I64 => one_of(&[i64::MIN, i64::MAX, -1, 0, 1, 1 << 40])
            .to_be_bytes()
            .into(),
        Kind::Uuid => vec![one_of(&[0, 0xff]) as u8; range.len()],
        Kind::Content => {
            let value = one_of(&[0, 0xff, b'.'.into(), b'/'.into()]) as u8;
            vec![value; range.len()]
        }
    };
    body.replace(range, &bytes);
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn flip(body: &mut Body, random: &mut Random) {
    let at = place(body, random);
    if let Some(byte) = body.bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Goes on as another body does.
fn splice(body: &mut Body, others: &[Vec<u8>], random: &mut Random) {
    let Some(other) = others.get(random.below(others.len().max(1) as u64) as usize) else {
        return;
    };
    let from = random.below(other.len() as u64 + 1) as usize;
    let at = place(body, random);
    match random.below(2) {
        0 => {
            let len = body.bytes.len();
            body.replace(at..len, &other[from..]);
        }
        _ => {
            let len = random.below(64).min((other.len() - from) as u64) as usize;
            body.replace(at..at, &other[from..from + len]);
        }
    }
}

/// Some fields in a row.
fn run(body: &Body, random: &mut Random) -> Option<Range<usize>> {
    let first = field(body, random)?;
    let last = (first + random.below(12) as usize).min(body.fields.len() - 1);
    let range = body.fields[first].range.start..body.fields[last].range.end;
    (range.start <= range.end && range.end <= body.bytes.len()).then_some(range)
}

fn repeat(body: &mut Body, random: &mut Random) {
    if let Some(range) = run(body, random) {
        let times = 1 + random.below(3) as usize;
        let again = body.bytes[range.clone()].repeat(times);
        body.replace(range.end..range.end, &again);
    }
}

fn remove(body: &mut Body, random: &mut Random) {
    if let Some(range) = run(body, random) {
        body.replace(range, &[]);
    }
}

/// Tagged fields behind all others: unknown ones, known ones with other contents, the same one twice.
fn tag(body: &mut Body, random: &mut Random) {
    let Some(end) = body.bytes.pop() else {
        return;
    };
    let count = 1 + random.below(3);
    let mut bytes = vec![end.wrapping_add(count as u8)];
    for _ in 0..count {
        let tag = match random.below(3) {
            0 => random.next() as u32,
            _ => random.below(4) as u32,
        };
        let len = random.below(20);
        bytes.extend(varint(tag));
        bytes.extend(varint(len as u32));
        bytes.extend((0..len).map(|_| random.next() as u8));
    }
    body.bytes.extend(bytes);
}

impl Body {
    /// Puts other bytes into the place of some; fields behind them move.
    fn replace(&mut self, range: Range<usize>, bytes: &[u8]) {
        let len = self.bytes.len();
        let range = range.start.min(len)..range.end.min(len);
        let (removed, added) = (range.len(), bytes.len());
        self.bytes.splice(range.clone(), bytes.iter().copied());
        let replaced = range.clone();
        self.fields.retain_mut(|field| {
            if field.range == replaced {
                field.range.end = replaced.start + added;
            } else if field.range.start >= replaced.end {
                let moved = |at: usize| at - removed + added;
                field.range = moved(field.range.start)..moved(field.range.end);
            } else if field.range.end > replaced.start {
                return false;
            }
            true
        });
    }

    /// Gives what still looks like batches of records the checksums that they should have, and that are all that some
    /// damage would come to.
    fn sign_batches(&mut self) {
        for field in &self.fields {
            let is_content = field.kind == Kind::Content && field.range.len() >= BATCH_HEADER_BYTES;
            if is_content
                && let Some(batch) = self.bytes.get_mut(field.range.clone())
                && batch[MAGIC_AT] == 2
            {
                sign(batch);
            }
        }
    }
}
