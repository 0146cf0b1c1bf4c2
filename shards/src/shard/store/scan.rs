//! Looking through a piece of a segment file for the batches that a reader wants.
//!
//! A batch's CRC covers neither its base offset nor its length, and the CRC of what is passed over is not
//! looked at. So every batch has to follow on the one before it, or to be the one that an index speaks of.
//!
//! Compaction leaves gaps between batches. One is believed if the CRC of the batch before it is right (so
//! that its length and its number of offsets are) and what comes behind the batch after it goes on from
//! there (so that its base offset is right).

use std::ops::Range;

use crate::log::batch::Batch;
use crate::log::batch::header::LENGTH_PREFIX_BYTES;
use crate::mutation::{Mutation, is_on};
use crate::shard::message::ReadSpec;

/// Bytes of a batch that hold its base offset.
pub(super) const BASE_OFFSET_BYTES: usize = 8;

/// What is known of a batch before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// It begins at this offset, or later if there is a gap before it.
    Base(i64),
    /// An index says that it ends with this offset.
    Last(i64),
}

/// A piece of a segment file that begins with a batch.
pub(super) struct Piece<'a> {
    pub bytes: &'a [u8],
    /// Bytes that the file has from its beginning on.
    pub left: u64,
    /// Base offset of the next segment, if the file holds all of its own.
    pub next_segment: Option<i64>,
}

/// What a piece has for a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// Batches in this range.
    Data {
        from: usize,
        to: usize,
        next_offset: i64,
    },
    /// The reader gave no room for its next batch and does not insist, or may not have it yet.
    Nothing,
    /// Only batches before the offset, or a part of the one that is wanted. So many bytes are done with,
    /// so many are needed from there on.
    Skipped {
        bytes: usize,
        needs: usize,
        expected: Expected,
    },
    /// The batch that an index speaks of is not here.
    Astray,
}

/// Where a piece is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotten {
    /// Where the first batch begins that is not.
    pub at: usize,
    /// The first offset that cannot be read for it.
    pub offset: i64,
    /// Where that batch says that it ends, and with which offset it goes on there, if it is in its place.
    pub claims: Option<(usize, i64)>,
}

/// Bytes are no batch, or not the one that belongs there.
struct Unsound;

enum Next<'a> {
    Batch(Batch<'a>),
    /// So many bytes are needed to tell.
    Unread(usize),
    /// The file ends here.
    End,
}

impl Piece<'_> {
    /// Looks for whole, sound batches in a range of offsets. Files may hold more: they are written without
    /// waiting for the journal.
    pub fn scan(
        &self,
        mut expected: Expected,
        wanted: &Range<i64>,
        spec: &ReadSpec,
    ) -> Result<Scan, Rotten> {
        let mut at = 0;
        // The last batch that was passed over.
        let mut passed = None;
        loop {
            let next = match self.next(at, expected) {
                Err(_) if matches!(expected, Expected::Last(_)) && !is_on(Mutation::TrustIndex) => {
                    return Ok(Scan::Astray);
                }
                next => next.map_err(|Unsound| self.rot(at, expected, passed))?,
            };
            let begins = match &next {
                Next::Batch(batch) => Some(batch.base_offset()),
                Next::End => self.next_segment,
                Next::Unread(_) => None,
            };
            if let (Some(begins), Expected::Base(offset)) = (begins, expected)
                && begins != offset
                && !self.is_gap(offset..begins, passed)
            {
                return Err(self.rot(at, expected, passed));
            }
            match next {
                Next::Batch(batch) if batch.next_offset() > wanted.start => {
                    return self.take(at, batch, expected, wanted, spec);
                }
                Next::Batch(batch) => {
                    passed = Some((at, expected));
                    expected = Expected::Base(batch.next_offset());
                    at += batch.bytes().len();
                }
                Next::Unread(needs) => {
                    // With the batch before it, in case that there is a gap between them.
                    let (from, expected) = passed.unwrap_or((at, expected));
                    return Ok(Scan::Skipped {
                        bytes: from,
                        needs: at - from + needs,
                        expected,
                    });
                }
                Next::End => {
                    return Ok(Scan::Skipped {
                        bytes: at,
                        needs: 0,
                        expected,
                    });
                }
            }
        }
    }

    /// What there is for the reader from the batch on that it wants first, and that is in its place. Rot
    /// behind that is for the next read to find.
    fn take(
        &self,
        from: usize,
        first: Batch<'_>,
        expected: Expected,
        wanted: &Range<i64>,
        spec: &ReadSpec,
    ) -> Result<Scan, Rotten> {
        let mut to = from;
        let mut next_offset = wanted.start;
        let mut next = first;
        loop {
            let is_first = to == from;
            let may_exceed = is_first && spec.at_least_one;
            let fits = to + next.bytes().len() - from <= spec.bytes_max || may_exceed;
            if !fits || (next.next_offset() > wanted.end && !is_first) {
                break;
            }
            let checked = match is_on(Mutation::SkipBatchChecksum) {
                true => Ok(()),
                false => next.check_crc(),
            };
            match checked {
                Err(_) if is_first => return Err(self.rotten_in_place(from, expected)),
                Err(_) => break,
                // Only a sound one says truly where it ends.
                Ok(()) if next.next_offset() > wanted.end => break,
                Ok(()) => {}
            }
            to += next.bytes().len();
            next_offset = next.next_offset();
            match self.next(to, Expected::Base(next_offset)) {
                Ok(Next::Batch(batch)) => next = batch,
                _ => break,
            }
        }
        Ok(match to > from {
            true => Scan::Data {
                from,
                to,
                next_offset,
            },
            false => Scan::Nothing,
        })
    }

    /// The whole batch at a position, if it is in its place.
    fn next(&self, at: usize, expected: Expected) -> Result<Next<'_>, Unsound> {
        if at as u64 == self.left {
            return Ok(Next::End);
        }
        let Some(prefix) = self.get(at, LENGTH_PREFIX_BYTES)? else {
            return Ok(Next::Unread(LENGTH_PREFIX_BYTES));
        };
        let size = size_of(prefix)?;
        let Some(bytes) = self.get(at, size)? else {
            return Ok(Next::Unread(size));
        };
        let batch = Batch::first(bytes).map_err(|_| Unsound)?;
        let (base, end) = (batch.base_offset(), batch.next_offset());
        let is_expected = match expected {
            Expected::Base(offset) => base == offset,
            Expected::Last(offset) => batch.last_offset() == offset,
        };
        if end <= base {
            return Err(Unsound);
        }
        if is_expected {
            return Ok(Next::Batch(batch));
        }
        let follower = if (at + size) as u64 == self.left {
            self.next_segment.ok_or(Unsound)?
        } else {
            match self.get(at + size, BASE_OFFSET_BYTES)? {
                Some(bytes) => base_offset_of(bytes),
                None => return Ok(Next::Unread(size + BASE_OFFSET_BYTES)),
            }
        };
        let is_in_place = match expected {
            Expected::Base(offset) => base > offset && follower >= end,
            // Older versions of Apache Kafka made one entry for several batches.
            Expected::Last(offset) => base <= offset && follower == end,
        };
        match is_in_place {
            true => Ok(Next::Batch(batch)),
            false => Err(Unsound),
        }
    }

    /// Whether no record is missing in these offsets because of rot in the batch before them, which was
    /// passed over.
    fn is_gap(&self, gap: Range<i64>, passed: Option<(usize, Expected)>) -> bool {
        gap.start < gap.end && passed.is_none_or(|(at, _)| self.is_sound(at))
    }

    fn is_sound(&self, at: usize) -> bool {
        let batch = Batch::first(&self.bytes[at..]);
        batch.and_then(|batch| batch.check_crc()).is_ok()
    }

    /// What is behind a batch that was passed over is not what belongs there: that one says wrongly where it ends, if its
    /// CRC is wrong.
    fn rot(&self, at: usize, expected: Expected, passed: Option<(usize, Expected)>) -> Rotten {
        match passed {
            Some((at, expected)) if !self.is_sound(at) => self.rotten_in_place(at, expected),
            _ => Rotten::missing(at, expected),
        }
    }

    /// A batch that is in its place, and its CRC is wrong.
    fn rotten_in_place(&self, at: usize, expected: Expected) -> Rotten {
        let batch = Batch::first(&self.bytes[at..]).ok();
        Rotten {
            at,
            offset: expected.first_offset(batch.as_ref()),
            claims: batch.map(|batch| (at + batch.bytes().len(), batch.next_offset())),
        }
    }

    /// Bytes of the file; `None` if they lie behind this piece.
    fn get(&self, at: usize, len: usize) -> Result<Option<&[u8]>, Unsound> {
        match (at + len) as u64 > self.left {
            true => Err(Unsound),
            false => Ok(self.bytes.get(at..at + len)),
        }
    }
}

impl Rotten {
    /// Where nothing is any more.
    pub(super) fn missing(at: usize, expected: Expected) -> Self {
        Self {
            at,
            offset: expected.first_offset(None),
            claims: None,
        }
    }
}

impl Expected {
    /// The first offset of the batch, which may itself be rotten.
    fn first_offset(self, batch: Option<&Batch<'_>>) -> i64 {
        match self {
            Self::Base(offset) => offset,
            Self::Last(last) => batch.map_or(last, |batch| batch.base_offset().clamp(0, last)),
        }
    }
}

/// The base offset that the first bytes of a batch say.
pub(super) fn base_offset_of(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(*bytes.first_chunk().expect("eight bytes"))
}

fn size_of(prefix: &[u8]) -> Result<usize, Unsound> {
    let length = prefix[BASE_OFFSET_BYTES..].first_chunk();
    let length = i32::from_be_bytes(*length.expect("four bytes"));
    let length = usize::try_from(length).map_err(|_| Unsound)?;
    Ok(length + LENGTH_PREFIX_BYTES)
}

#[cfg(test)]
mod tests;
