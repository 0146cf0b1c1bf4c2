//! Kafka's `.snapshot` files (version 1, the only one there is): producer states at the base offset
//! of a segment. Written beside rolled segments so that Kafka's tools find what they expect, and
//! read from folders that Kafka wrote. They hold only the last batch of each producer.
//!
//! Layout, big-endian: version i16, CRC-32C of all that follows u32, count i32, then for each
//! producer: id i64, epoch i16, last sequence i32, last offset i64, offset delta i32, timestamp
//! i64, coordinator epoch i32, first offset of its open transaction i64 (-1: none).

use bytes::{Buf, BufMut};

use super::encoding::{ProducersDecodeError, checked, transaction};
use super::{NO_SEQUENCE, ProducerEntry, ProducerTable, RememberedBatch};

const VERSION: i16 = 1;
const ENTRIES_AT: usize = 6;
const ENTRY_BYTES: usize = 46;

pub fn encode(table: &ProducerTable) -> Vec<u8> {
    let mut entries = Vec::with_capacity(4 + table.len() * ENTRY_BYTES);
    entries.put_i32(i32::try_from(table.len()).expect("fewer producers than 2^31"));
    for (producer_id, entry) in table.iter() {
        let last = entry.last_batch().copied().unwrap_or(RememberedBatch {
            last_sequence: NO_SEQUENCE,
            last_offset: -1,
            offset_delta: 0,
            max_timestamp_ms: entry.last_update_ms,
        });
        entries.put_i64(producer_id);
        entries.put_i16(entry.epoch);
        entries.put_i32(last.last_sequence);
        entries.put_i64(last.last_offset);
        entries.put_i32(last.offset_delta);
        entries.put_i64(last.max_timestamp_ms);
        entries.put_i32(entry.coordinator_epoch);
        entries.put_i64(entry.transaction_first_offset.unwrap_or(-1));
    }
    let mut file = Vec::with_capacity(ENTRIES_AT + entries.len());
    file.put_i16(VERSION);
    file.put_u32(crc32c::crc32c(&entries));
    file.extend(entries);
    file
}

/// Reads a whole file. The time of a producer's last append is taken from its last record.
pub fn decode(mut file: &[u8]) -> Result<ProducerTable, ProducersDecodeError> {
    if file.try_get_i16()? != VERSION {
        return Err(ProducersDecodeError::UnknownVersion);
    }
    let checksum = file.try_get_u32()?;
    if checksum != crc32c::crc32c(file) {
        return Err(ProducersDecodeError::Corrupt);
    }
    let count = file.try_get_i32()?;
    if usize::try_from(count) != Ok(file.len() / ENTRY_BYTES)
        || !file.len().is_multiple_of(ENTRY_BYTES)
    {
        return Err(ProducersDecodeError::Malformed);
    }
    let mut table = ProducerTable::new();
    while file.has_remaining() {
        let (producer_id, entry) = decode_entry(&mut file)?;
        if !table.insert_decoded(producer_id, entry) {
            return Err(ProducersDecodeError::Malformed);
        }
    }
    Ok(table)
}

fn decode_entry(file: &mut &[u8]) -> Result<(i64, ProducerEntry), ProducersDecodeError> {
    let producer_id = file.try_get_i64()?;
    let mut entry = ProducerEntry::new(file.try_get_i16()?);
    let last = RememberedBatch {
        last_sequence: file.try_get_i32()?,
        last_offset: file.try_get_i64()?,
        offset_delta: file.try_get_i32()?,
        max_timestamp_ms: file.try_get_i64()?,
    };
    entry.coordinator_epoch = file.try_get_i32()?;
    entry.transaction_first_offset = transaction(file.try_get_i64()?);
    entry.last_update_ms = last.max_timestamp_ms;
    if last.last_offset >= 0 {
        entry.remember(checked(last)?);
    }
    Ok((producer_id, entry))
}
