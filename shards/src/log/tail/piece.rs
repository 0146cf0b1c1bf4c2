//! One piece of a tail: a run of small batches behind each other in one chunk, or a large batch.

use std::rc::Rc;

use bytes::Bytes;

use super::SegmentPosition;
use crate::io::AppendBuf;
use crate::log::batch::BatchHeader;
use crate::log::batch::header::HEADER_BYTES;

/// A run of batches gets a mark each time it has grown by this much, so that finding a batch walks
/// no further.
const MARK_INTERVAL_BYTES: u32 = 4 * 1024;

/// The size of a chunk's allocation, counted as long as a run refers to it.
pub(super) struct Lease {
    pub bytes: usize,
}

/// A batch in a run.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    base_offset: i64,
    at: u32,
}

pub(super) enum Content {
    Shared {
        header: Bytes,
        records: Bytes,
        backing_bytes: usize,
    },
    /// A run that takes more batches; it begins at `start` of the chunk and reaches to its end.
    Open {
        chunk: AppendBuf,
        start: usize,
        lease: Rc<Lease>,
        marks: Vec<Mark>,
    },
    Closed {
        bytes: Bytes,
        lease: Rc<Lease>,
        marks: Vec<Mark>,
    },
}

impl Content {
    pub fn open(chunk: AppendBuf, lease: Rc<Lease>) -> Self {
        Content::Open {
            start: chunk.len(),
            chunk,
            lease,
            marks: Vec::new(),
        }
    }
}

pub(super) struct Piece {
    /// Of its first byte.
    pub at: SegmentPosition,
    pub size_bytes: u32,
    pub base_offset: i64,
    pub last_offset: i64,
    pub content: Content,
}

/// A batch found by walking.
struct Found {
    at: u32,
    last_offset: i64,
    end: u32,
}

impl Piece {
    pub fn new(at: SegmentPosition, base_offset: i64, last_offset: i64, content: Content) -> Self {
        let size_bytes = match &content {
            Content::Shared {
                header, records, ..
            } => header.len() + records.len(),
            Content::Open { .. } => 0,
            Content::Closed { bytes, .. } => bytes.len(),
        };
        Piece {
            at,
            size_bytes: u32::try_from(size_bytes).expect("segments end below 4 GiB"),
            base_offset,
            last_offset,
            content,
        }
    }

    pub fn end(&self) -> SegmentPosition {
        self.at.plus(self.size_bytes)
    }

    /// How many bytes more it takes.
    pub fn room(&self) -> usize {
        match &self.content {
            Content::Open { chunk, .. } => chunk.remaining(),
            Content::Shared { .. } | Content::Closed { .. } => 0,
        }
    }

    /// Adds a batch to an open run.
    pub fn append(&mut self, header: &[u8], records: &[u8], base_offset: i64, last_offset: i64) {
        let Content::Open { chunk, marks, .. } = &mut self.content else {
            panic!("this piece takes no more batches");
        };
        let marked = marks.last().map_or(0, |mark| mark.at);
        if self.size_bytes - marked >= MARK_INTERVAL_BYTES {
            marks.push(Mark {
                base_offset,
                at: self.size_bytes,
            });
        }
        chunk.append(header);
        chunk.append(records);
        self.size_bytes += (header.len() + records.len()) as u32;
        self.last_offset = last_offset;
    }

    /// Ends an open run and hands back its chunk.
    pub fn close(&mut self) -> Option<(AppendBuf, Rc<Lease>)> {
        let Content::Open {
            chunk,
            start,
            lease,
            marks,
        } = &mut self.content
        else {
            return None;
        };
        let closed = Content::Closed {
            bytes: chunk.slice(*start..chunk.len()),
            lease: Rc::clone(lease),
            marks: std::mem::take(marks),
        };
        match std::mem::replace(&mut self.content, closed) {
            Content::Open { chunk, lease, .. } => Some((chunk, lease)),
            Content::Shared { .. } | Content::Closed { .. } => None,
        }
    }

    /// Where the first batch begins that reaches `offset`, which is not above the last.
    pub fn find_offset(&self, offset: i64) -> u32 {
        if offset <= self.base_offset {
            return 0;
        }
        let mut found = self.batch_at(self.mark_where(|mark| mark.base_offset <= offset));
        while found.last_offset < offset {
            found = self.batch_at(found.end);
        }
        found.at
    }

    /// Where the batch begins that holds the byte at `at`, or the end of the piece.
    pub fn batch_around(&self, at: u32) -> u32 {
        let mut begins = self.mark_where(|mark| mark.at <= at);
        while begins < self.size_bytes {
            let found = self.batch_at(begins);
            if found.end > at {
                break;
            }
            begins = found.end;
        }
        begins
    }

    /// The end of the last batch that begins at `from` or later, ends no more than `budget_bytes`
    /// behind it, and lies below `up_to_offset`; `from` itself if there is none.
    pub fn end_within(&self, from: u32, budget_bytes: usize, up_to_offset: i64) -> u32 {
        let budget_end = usize::try_from(from).expect("32 bits fit") + budget_bytes.min(1 << 32);
        if self.size_bytes as usize <= budget_end && self.last_offset < up_to_offset {
            return self.size_bytes;
        }
        let mark = self
            .mark_where(|mark| mark.at as usize <= budget_end && mark.base_offset <= up_to_offset);
        let mut end = mark.max(from);
        while end < self.size_bytes {
            let found = self.batch_at(end);
            if found.end as usize > budget_end || found.last_offset >= up_to_offset {
                break;
            }
            end = found.end;
        }
        end
    }

    /// The end of the one batch that begins at `from`, unless it reaches `up_to_offset`.
    pub fn end_of_batch(&self, from: u32, up_to_offset: i64) -> u32 {
        let batch = self.batch_at(from);
        if batch.last_offset < up_to_offset {
            batch.end
        } else {
            from
        }
    }

    /// Adds the bytes from `from` to `to`, which begin and end with batches.
    pub fn slices(&self, from: u32, to: u32, slices: &mut Vec<Bytes>) {
        let (from, to) = (from as usize, to as usize);
        match &self.content {
            Content::Shared {
                header, records, ..
            } => slices.extend([header.clone(), records.clone()]),
            Content::Open { chunk, start, .. } => {
                slices.push(chunk.slice(start + from..start + to));
            }
            Content::Closed { bytes, .. } => slices.push(bytes.slice(from..to)),
        }
    }

    /// Copies the bytes behind the first `skipped` into `target`, as many as there are or fit.
    pub fn copy_to(&self, skipped: u32, target: &mut [u8]) -> usize {
        let skipped = skipped as usize;
        match &self.content {
            Content::Shared {
                header, records, ..
            } => {
                let copied = copy(header.get(skipped..).unwrap_or_default(), target);
                let skipped = skipped.saturating_sub(header.len());
                copied + copy(&records[skipped..], &mut target[copied..])
            }
            Content::Open { .. } | Content::Closed { .. } => copy(&self.run()[skipped..], target),
        }
    }

    /// The bytes of a run.
    fn run(&self) -> &[u8] {
        match &self.content {
            Content::Shared { .. } => panic!("a large batch is no run"),
            Content::Open { chunk, start, .. } => &chunk.as_ref()[*start..],
            Content::Closed { bytes, .. } => bytes,
        }
    }

    fn batch_at(&self, at: u32) -> Found {
        let bytes: &[u8] = match &self.content {
            Content::Shared { header, .. } => header,
            Content::Open { .. } | Content::Closed { .. } => &self.run()[at as usize..],
        };
        assert!(bytes.len() >= HEADER_BYTES, "a batch at {at} of the piece");
        let header = BatchHeader::parse(bytes).expect("batches were checked when pushed");
        Found {
            at,
            last_offset: header.last_offset(),
            end: at + header.size_bytes() as u32,
        }
    }

    /// The last marked batch for which `before` holds, or the first batch. `before` holds for all
    /// marks up to some point and for none behind it.
    fn mark_where(&self, before: impl Fn(&Mark) -> bool) -> u32 {
        let marks: &[Mark] = match &self.content {
            Content::Shared { .. } => &[],
            Content::Open { marks, .. } | Content::Closed { marks, .. } => marks,
        };
        let slot = marks.partition_point(before);
        slot.checked_sub(1).map_or(0, |slot| marks[slot].at)
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let length = from.len().min(to.len());
    to[..length].copy_from_slice(&from[..length]);
    length
}
