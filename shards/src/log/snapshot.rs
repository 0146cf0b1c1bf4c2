//! A log's state as bytes: the body of a checkpoint entry.
//!
//! Everything but the records that segment files hold: names, bounds, segments, epochs, producers, a
//! coarse index of segments that are not finished, and the bytes of those that no file holds.
//! Restoring it takes no look at any file.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

use super::batch::header::{HEADER_BYTES, NO_TIMESTAMP};
use super::batch::{BatchHeader, BatchIter};
use super::config::LogConfig;
use super::epochs::LeaderEpochs;
use super::index::SegmentIndex;
use super::log::{Log, Restored};
use super::producer::ProducerTable;
use super::segment::Segment;
use super::segment_name::{DirPurpose, PartitionDir, dir_set_aside};

/// Version 1 did not count aborted transactions, version 2 knew nothing of compaction, version 3 of one log folder only,
/// version 4 of none that moves to another.
const VERSION: u8 = 5;
/// Distance of the index entries that a snapshot keeps.
const INDEX_STEP_BYTES: u32 = 1 << 20;

/// What is yet to be done for a partition that has moved to another log folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnfinishedMove {
    /// Its folder may still have the name of a future one, with this number.
    pub future: Option<Uuid>,
    /// Log folders that may still have the folder which it had before.
    pub left: Vec<Uuid>,
}

impl UnfinishedMove {
    /// Name that the partition's folder has as long as this is to be done; in the end it is `dir`.
    pub fn dir_now<'a>(&self, dir: &'a str) -> Cow<'a, str> {
        match self.future.zip(PartitionDir::parse(dir)) {
            Some((future, parsed)) => {
                Cow::Owned(dir_set_aside(&parsed, DirPurpose::Future, future))
            }
            None => Cow::Borrowed(dir),
        }
    }
}

/// What a checkpoint says beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Name of the partition's folder.
    pub dir: &'a str,
    /// The log folder that it is in.
    pub folder: Uuid,
    /// What is yet to be done since it has moved there.
    pub unfinished_move: &'a UnfinishedMove,
    /// Epoch of its leader.
    pub leader_epoch: i32,
}

/// The bytes are no snapshot of a version that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A restored log and what came with it.
pub struct Snapshot {
    /// Name of the partition's folder.
    pub dir: String,
    /// The log folder that it is in; older versions do not say.
    pub folder: Option<Uuid>,
    /// What is yet to be done since it has moved there.
    pub unfinished_move: UnfinishedMove,
    /// Epoch of its leader.
    pub leader_epoch: i32,
    /// The log.
    pub log: Log,
}

/// The state of `log` as slices: one made here, and the bytes that only memory holds.
pub fn encode(facts: &Facts<'_>, log: &Log) -> Vec<Bytes> {
    let mut out = Vec::new();
    out.put_u8(VERSION);
    out.put_u16(u16::try_from(facts.dir.len()).expect("a folder's name is short"));
    out.put_slice(facts.dir.as_bytes());
    out.put_u128(facts.folder.as_u128());
    put_unfinished(facts.unfinished_move, &mut out);
    out.put_i32(facts.leader_epoch);
    out.put_i64(log.start_offset());
    out.put_i64(log.end_offset());
    out.put_i64(log.first_dirty_offset());
    log.epochs().encode(&mut out);
    log.producers().encode(&mut out);
    out.put_u32(log.segments().len() as u32);
    for segment in log.segments() {
        put_segment(segment, log, &mut out);
    }
    let pieces = log.unsettled_pieces();
    out.put_u32(pieces.len() as u32);
    let mut slices = Vec::new();
    for piece in pieces {
        out.put_i64(piece.segment_base);
        out.put_u64(piece.position);
        out.put_u64(piece.bytes.iter().map(|bytes| bytes.len() as u64).sum());
        slices.extend(piece.bytes);
    }
    let mut all = Vec::with_capacity(slices.len() + 1);
    all.push(Bytes::from(out));
    all.extend(slices);
    all
}

fn put_unfinished(unfinished: &UnfinishedMove, out: &mut Vec<u8>) {
    let ids = || unfinished.future.iter().chain(&unfinished.left);
    out.put_u8(u8::from(unfinished.future.is_some()));
    out.put_u16(u16::try_from(unfinished.left.len()).expect("log folders are few"));
    ids().for_each(|id| out.put_u128(id.as_u128()));
}

fn take_unfinished(bytes: &mut &[u8]) -> Option<UnfinishedMove> {
    let has_future = bytes.try_get_u8().ok()? != 0;
    let count = bytes.try_get_u16().ok()?;
    let mut id = || bytes.try_get_u128().ok().map(Uuid::from_u128);
    let future = match has_future {
        true => Some(id()?),
        false => None,
    };
    let left = (0..count).map(|_| id()).collect::<Option<_>>()?;
    Some(UnfinishedMove { future, left })
}

fn put_segment(segment: &Segment, log: &Log, out: &mut Vec<u8>) {
    out.put_i64(segment.base_offset);
    out.put_u64(segment.bytes);
    out.put_u64(segment.settled);
    out.put_u8(u8::from(segment.is_finished));
    out.put_i64(segment.max_timestamp_ms);
    out.put_i64(segment.first_timestamp_ms);
    out.put_i64(segment.created_ms);
    out.put_i64(segment.newest_ms);
    if !segment.is_finished {
        let index = log.index_in_memory(segment.base_offset);
        let (offsets, times) = index
            .map(|index| index.thinned(INDEX_STEP_BYTES))
            .unwrap_or_default();
        out.put_u32(offsets.len() as u32);
        out.put_slice(&offsets);
        out.put_u32(times.len() as u32);
        out.put_slice(&times);
        let newest = index.and_then(SegmentIndex::max_timestamp);
        out.put_i64(newest.map_or(NO_TIMESTAMP, |newest| newest.timestamp_ms));
        out.put_i64(newest.map_or(0, |newest| newest.offset));
    }
    out.put_u32(segment.aborted);
    out.put_u8(u8::from(segment.is_swapping));
}

/// Restores a log from a checkpoint's body.
pub fn decode(mut bytes: &[u8], config: Rc<LogConfig>) -> Result<Snapshot, Malformed> {
    decode_parts(&mut bytes, config).ok_or(Malformed)
}

fn decode_parts(bytes: &mut &[u8], config: Rc<LogConfig>) -> Option<Snapshot> {
    let version = bytes.try_get_u8().ok()?;
    if !(1..=VERSION).contains(&version) {
        return None;
    }
    let len = usize::from(bytes.try_get_u16().ok()?);
    let dir = String::from_utf8(take(bytes, len)?.to_vec()).ok()?;
    let folder = match version {
        ..=3 => None,
        _ => Some(Uuid::from_u128(bytes.try_get_u128().ok()?)),
    };
    let unfinished_move = match version {
        ..=4 => UnfinishedMove::default(),
        _ => take_unfinished(bytes)?,
    };
    let leader_epoch = bytes.try_get_i32().ok()?;
    let start = bytes.try_get_i64().ok()?;
    let end = bytes.try_get_i64().ok()?;
    let first_dirty = match version {
        ..=2 => 0,
        _ => bytes.try_get_i64().ok()?,
    };
    let epochs = LeaderEpochs::decode(bytes).ok()?;
    let producers = ProducerTable::decode(bytes).ok()?;
    let count = bytes.try_get_u32().ok()?;
    let mut segments: Vec<Segment> = Vec::new();
    let mut index = SegmentIndex::new(0);
    for _ in 0..count {
        let (segment, its_index) = take_segment(bytes, version)?;
        if let Some(previous) = segments.last_mut()
            && !previous.is_finished
        {
            previous.seal(std::mem::replace(&mut index, SegmentIndex::new(0)));
        }
        index = its_index;
        segments.push(segment);
    }
    let pieces = take_pieces(bytes)?;
    let tail_start = pieces
        .first()
        .and_then(|(_, _, batches)| BatchHeader::parse(batches).ok());
    let parts = Restored {
        tail_start: tail_start.map_or(end, |header| header.base_offset()),
        segments,
        index,
        producers,
        epochs,
        start,
        end,
        first_dirty,
    };
    let mut log = Log::restore(config, parts);
    for (base, mut position, batches) in pieces {
        for batch in BatchIter::new(batches) {
            let batch = batch.ok()?;
            let (header, records) = batch.bytes().split_first_chunk::<HEADER_BYTES>()?;
            log.remember(base, position, header, &Bytes::copy_from_slice(records));
            position += batch.bytes().len() as u64;
        }
    }
    Some(Snapshot {
        dir,
        folder,
        unfinished_move,
        leader_epoch,
        log,
    })
}

fn take_segment(bytes: &mut &[u8], version: u8) -> Option<(Segment, SegmentIndex)> {
    let mut segment = Segment::new(bytes.try_get_i64().ok()?, 0);
    segment.bytes = bytes.try_get_u64().ok()?;
    segment.settled = bytes.try_get_u64().ok()?;
    segment.is_finished = bytes.try_get_u8().ok()? != 0;
    segment.max_timestamp_ms = bytes.try_get_i64().ok()?;
    segment.first_timestamp_ms = bytes.try_get_i64().ok()?;
    segment.created_ms = bytes.try_get_i64().ok()?;
    segment.newest_ms = bytes.try_get_i64().ok()?;
    let mut index = SegmentIndex::new(segment.base_offset);
    if !segment.is_finished {
        let len = bytes.try_get_u32().ok()? as usize;
        let offsets = take(bytes, len)?.to_vec();
        let len = bytes.try_get_u32().ok()? as usize;
        let times = take(bytes, len)?.to_vec();
        let size = u32::try_from(segment.bytes).ok()?;
        index = SegmentIndex::load(segment.base_offset, size, offsets, times).ok()?;
        let (timestamp_ms, offset) = (bytes.try_get_i64().ok()?, bytes.try_get_i64().ok()?);
        if timestamp_ms != NO_TIMESTAMP {
            index.note_timestamp(timestamp_ms, offset);
        }
    }
    if version > 1 {
        segment.aborted = bytes.try_get_u32().ok()?;
    }
    if version > 2 {
        segment.is_swapping = bytes.try_get_u8().ok()? != 0;
    }
    Some((segment, index))
}

/// Base offset of a segment, position in it, and whole batches.
type Piece<'a> = (i64, u64, &'a [u8]);

fn take_pieces<'a>(bytes: &mut &'a [u8]) -> Option<Vec<Piece<'a>>> {
    let count = bytes.try_get_u32().ok()?;
    let mut places = Vec::new();
    for _ in 0..count {
        let base = bytes.try_get_i64().ok()?;
        let position = bytes.try_get_u64().ok()?;
        let len = usize::try_from(bytes.try_get_u64().ok()?).ok()?;
        places.push((base, position, len));
    }
    let mut pieces = Vec::new();
    for (base, position, len) in places {
        let batches = take(bytes, len)?;
        if !batches.is_empty() {
            pieces.push((base, position, batches));
        }
    }
    Some(pieces)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::BatchBuilder;

    #[test]
    fn what_is_left_of_a_move_is_kept() {
        let unfinished_move = UnfinishedMove {
            future: Some(Uuid::from_u128(6)),
            left: vec![Uuid::from_u128(7), Uuid::from_u128(8)],
        };
        let facts = Facts {
            dir: "t-0",
            folder: Uuid::from_u128(5),
            unfinished_move: &unfinished_move,
            leader_epoch: 3,
        };
        let bytes = encode(&facts, &Log::new(Rc::default())).concat();
        let restored = decode(&bytes, Rc::default());
        let restored = restored.unwrap_or_else(|_| panic!("it is sound"));
        assert_eq!(restored.unfinished_move, unfinished_move);
        assert_eq!(restored.leader_epoch, 3);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], Rc::default()).is_err(), "{len}");
        }
    }

    #[test]
    fn a_checkpoint_of_version_1_is_still_read() {
        let mut log = Log::new(Rc::default());
        let mut batch = BatchBuilder::uncompressed().at(0, 0);
        batch.append(1, None, Some(b"value")).expect("a record");
        let batch = Bytes::from(batch.finish().expect("a batch"));
        log.append(&batch, 1, 0, 0).expect("it is placed");
        let facts = Facts {
            dir: "t-0",
            folder: Uuid::from_u128(5),
            unfinished_move: &UnfinishedMove::default(),
            leader_epoch: 3,
        };
        let mut slices = encode(&facts, &log);
        // A number and a mark for each segment were added, which are here followed by one piece, the first dirty
        // offset behind the log's bounds, and the log folder and what is left of a move behind the folder's name.
        let mut first = slices[0].to_vec();
        let added = first.len() - (4 + 24) - 5;
        first.drain(added..added + 5);
        let folder = 1 + 2 + facts.dir.len();
        let bounds = folder + 16 + 3 + 4 + 16;
        first.drain(bounds..bounds + 8);
        first.drain(folder..folder + 16 + 3);
        first[0] = 1;
        slices[0] = Bytes::from(first);
        let restored = decode(&slices.concat(), Rc::default());
        let restored = restored.unwrap_or_else(|_| panic!("it is sound"));
        assert_eq!(restored.folder, None);
        let log = restored.log;
        assert_eq!(log.end_offset(), 1);
        assert_eq!(log.segments()[0].aborted, 0);
    }
}
