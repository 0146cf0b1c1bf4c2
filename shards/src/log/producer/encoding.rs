//! The compact form of a producer table, for the partition's checkpoint. The container carries the
//! checksum; decoding is total all the same and allocates only what the bytes that are there fill.

use bytes::{Buf, BufMut, TryGetError};

use super::{
    BATCHES_REMEMBERED, DecidedTransaction, NO_SEQUENCE, ProducerEntry, ProducerTable,
    RememberedBatch,
};

const VERSION: u8 = 1;
const PRODUCER_BYTES_MIN: usize = 31;
/// The most that one producer takes in [`ProducerTable::encode`].
pub const PRODUCER_BYTES_MAX: usize = PRODUCER_BYTES_MIN + BATCHES_REMEMBERED * BATCH_BYTES;
const BATCH_BYTES: usize = 24;
const UNREPLICATED_BYTES: usize = 24;
const NO_TRANSACTION: i64 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducersDecodeError {
    /// The bytes end before the announced content does.
    Truncated,
    UnknownVersion,
    /// A count or number that cannot be, or two entries for the same thing.
    Malformed,
}

impl From<TryGetError> for ProducersDecodeError {
    fn from(_: TryGetError) -> Self {
        ProducersDecodeError::Truncated
    }
}

impl ProducerTable {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        put_count(out, self.producers.len());
        for (producer_id, entry) in self.iter() {
            out.put_i64(producer_id);
            out.put_i16(entry.epoch);
            out.put_i32(entry.coordinator_epoch);
            out.put_i64(entry.last_update_ms);
            out.put_i64(entry.transaction_first_offset.unwrap_or(NO_TRANSACTION));
            out.put_u8(entry.batch_count);
            for batch in entry.batches() {
                out.put_i32(batch.last_sequence);
                out.put_i64(batch.last_offset);
                out.put_i32(batch.offset_delta);
                out.put_i64(batch.max_timestamp_ms);
            }
        }
        put_count(out, self.unreplicated.len());
        for (first_offset, decided) in &self.unreplicated {
            out.put_i64(*first_offset);
            out.put_i64(decided.last_offset);
            out.put_i64(decided.producer_id);
        }
    }

    /// Reads what `encode` wrote and moves `bytes` past it.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, ProducersDecodeError> {
        if bytes.try_get_u8()? != VERSION {
            return Err(ProducersDecodeError::UnknownVersion);
        }
        let mut table = ProducerTable::new();
        for _ in 0..count(bytes, PRODUCER_BYTES_MIN)? {
            let (producer_id, entry) = decode_producer(bytes)?;
            if !table.insert_decoded(producer_id, entry) {
                return Err(ProducersDecodeError::Malformed);
            }
        }
        for _ in 0..count(bytes, UNREPLICATED_BYTES)? {
            let first_offset = bytes.try_get_i64()?;
            let decided = DecidedTransaction {
                last_offset: bytes.try_get_i64()?,
                producer_id: bytes.try_get_i64()?,
            };
            if table.unreplicated.insert(first_offset, decided).is_some() {
                return Err(ProducersDecodeError::Malformed);
            }
        }
        Ok(table)
    }
}

fn decode_producer(bytes: &mut &[u8]) -> Result<(i64, ProducerEntry), ProducersDecodeError> {
    let producer_id = bytes.try_get_i64()?;
    let mut entry = ProducerEntry::new(bytes.try_get_i16()?);
    entry.coordinator_epoch = bytes.try_get_i32()?;
    entry.last_update_ms = bytes.try_get_i64()?;
    entry.transaction_first_offset = transaction(bytes.try_get_i64()?);
    let batches = bytes.try_get_u8()?;
    if usize::from(batches) > BATCHES_REMEMBERED {
        return Err(ProducersDecodeError::Malformed);
    }
    for _ in 0..batches {
        let batch = RememberedBatch {
            last_sequence: bytes.try_get_i32()?,
            last_offset: bytes.try_get_i64()?,
            offset_delta: bytes.try_get_i32()?,
            max_timestamp_ms: bytes.try_get_i64()?,
        };
        entry.remember(checked(batch)?);
    }
    Ok((producer_id, entry))
}

fn transaction(first_offset: i64) -> Option<i64> {
    (first_offset >= 0).then_some(first_offset)
}

/// Refuses numbers that later arithmetic relies on not to occur.
fn checked(batch: RememberedBatch) -> Result<RememberedBatch, ProducersDecodeError> {
    let sound = batch.last_sequence >= NO_SEQUENCE
        && batch.offset_delta >= 0
        && batch.last_offset >= i64::from(batch.offset_delta);
    sound
        .then_some(batch)
        .ok_or(ProducersDecodeError::Malformed)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("fewer entries than 2^32"));
}

fn count(bytes: &mut &[u8], entry_bytes_min: usize) -> Result<usize, ProducersDecodeError> {
    let count = bytes.try_get_u32()? as usize;
    if bytes.remaining() / entry_bytes_min < count {
        return Err(ProducersDecodeError::Truncated);
    }
    Ok(count)
}
