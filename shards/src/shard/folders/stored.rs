//! What lies in a segment file that is taken over: batches in their places, or damage.
//!
//! The CRC of a batch covers neither its base offset nor its leader epoch. A gap before a batch, as
//! compaction leaves it, is believed if what follows the batch goes on from its end, or if nothing
//! follows: then nothing but the log's end depends on it.

use std::io;

use crate::io::{BLOCK, File, Io, align_down};
use crate::log::Log;
use crate::log::batch::header::{HEADER_BYTES, MAGIC_V2};
use crate::log::batch::{Batch, BatchError, BatchHeader};

/// Bytes searched for a batch before others have their turn.
const SEARCH_BYTES: usize = 64 << 10;
const BASE_OFFSET_BYTES: usize = 8;
/// Where a batch says which format it has.
const MAGIC_AT: usize = 16;

/// What comes next in a segment file.
pub(super) enum Stored<'a> {
    /// A batch that the log can take.
    Batch(Batch<'a>),
    /// So many bytes are needed to tell.
    Unread(usize),
    /// A sound batch whose offsets cannot be, or one of a format from before Kafka 0.11.
    Misplaced,
    /// Anything else, such as a torn batch.
    Unsound,
}

/// What the front of `bytes` holds for the end of `log`. The file has `left` bytes from there on, and
/// behind those the segment at `next_base`.
pub(super) fn next_stored<'a>(
    log: &Log,
    bytes: &'a [u8],
    left: usize,
    next_base: Option<i64>,
) -> Stored<'a> {
    let batch = match Batch::first(bytes) {
        Ok(batch) => batch,
        Err(BatchError::Truncated { needed, .. }) if needed <= left => {
            return Stored::Unread(needed);
        }
        Err(BatchError::BadMagic { magic: 0 | 1 }) if is_no_zeros(bytes) => {
            return Stored::Misplaced;
        }
        Err(_) => return Stored::Unsound,
    };
    if batch.check_crc().is_err() {
        return Stored::Unsound;
    }
    let (base, end, size) = (
        batch.base_offset(),
        batch.next_offset(),
        batch.bytes().len(),
    );
    if base < log.end_offset() || end <= base || !log.can_hold(batch.last_offset()) {
        return Stored::Misplaced;
    }
    if base > log.end_offset() {
        let follower = match bytes.get(size..).and_then(<[u8]>::first_chunk) {
            Some(base_offset) => Some(i64::from_be_bytes(*base_offset)),
            None if left >= size + BASE_OFFSET_BYTES => {
                return Stored::Unread(size + BASE_OFFSET_BYTES);
            }
            None => next_base,
        };
        if follower.is_some_and(|follower| follower < end) {
            return Stored::Misplaced;
        }
    }
    Stored::Batch(batch)
}

/// Whether an old message may lie there. Files may be made with zeros ahead of need, and a torn batch
/// may end in such.
fn is_no_zeros(bytes: &[u8]) -> bool {
    let (length, crc) = bytes[BASE_OFFSET_BYTES..MAGIC_AT].split_at(4);
    length != [0; 4] && crc != [0; 4]
}

/// Whether a sound batch begins anywhere behind `from`.
pub(super) async fn has_sound_batch(io: &Io, file: &File, from: u64, len: u64) -> io::Result<bool> {
    let mut position = from + 1;
    while position + HEADER_BYTES as u64 <= len {
        let bytes = read(file, position, SEARCH_BYTES.min((len - position) as usize)).await?;
        let Some(last) = bytes.len().checked_sub(HEADER_BYTES) else {
            break;
        };
        for at in 0..=last {
            if bytes[at + MAGIC_AT] != MAGIC_V2 as u8 {
                continue;
            }
            let begins = position + at as u64;
            let Some(size) = plausible_size(&bytes[at..], len - begins) else {
                continue;
            };
            let whole = read(file, begins, size).await?;
            if Batch::first(&whole).is_ok_and(|batch| batch.check_crc().is_ok()) {
                return Ok(true);
            }
        }
        position += last as u64 + 1;
        io.yield_now().await;
    }
    Ok(false)
}

/// The size of a batch whose header may lie there.
fn plausible_size(bytes: &[u8], left: u64) -> Option<usize> {
    let header = BatchHeader::parse(bytes).ok()?;
    let is_plausible = header.base_offset() >= 0
        && header.last_offset_delta() >= 0
        && header.compression().is_some()
        && header.size_bytes() as u64 <= left;
    is_plausible.then_some(header.size_bytes())
}

/// Bytes of a file from any position on, as far as it has them.
async fn read(file: &File, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let aligned = align_down(position);
    let skipped = (position - aligned) as usize;
    let padded = (skipped + len).next_multiple_of(BLOCK);
    let chunk = file.read_at(aligned, padded).await?;
    let end = chunk.len().min(skipped + len);
    Ok(chunk.get(skipped..end).unwrap_or_default().to_vec())
}
