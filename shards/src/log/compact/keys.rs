//! Collecting the keys of a batch.

use super::offset_map::{Full, OffsetMap};
use crate::log::batch::compress::DecoderPool;
use crate::log::batch::walk::WalkError;
use crate::log::batch::{Batch, Budget, Progress, Records};

/// Estimate of the time that parsing a record and noting its key takes.
const PS_PER_RECORD: u32 = 100_000;

/// The keys of one sound batch on their way into a map, in slices.
pub struct BatchKeys<'a> {
    base_offset: i64,
    last_offset: i64,
    from_offset: i64,
    records: Records<'a>,
}

impl<'a> BatchKeys<'a> {
    /// Those of records at or behind an offset.
    pub fn new(batch: Batch<'a>, from_offset: i64, pool: &DecoderPool) -> Result<Self, WalkError> {
        Ok(Self {
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            from_offset,
            records: Records::pooled(batch, pool)?,
        })
    }

    /// A batch that does not fit is left out from the key on that found no room: the map says that it does not know all
    /// of it. Panics when called again after the result.
    pub fn step(
        &mut self,
        map: &mut OffsetMap,
        mut budget: Budget,
    ) -> Progress<Result<Result<(), Full>, WalkError>> {
        let unpacking_ps = self.records.ps_per_byte();
        while !budget.is_spent() {
            let (raw, bytes) = match self.records.next_raw() {
                Ok(Some(next)) => next,
                Ok(None) => {
                    map.note_all_through(self.last_offset);
                    return Progress::Done(Ok(Ok(())));
                }
                Err(error) => return Progress::Done(Err(error)),
            };
            budget.spend(1, PS_PER_RECORD);
            budget.spend(bytes.len(), unpacking_ps);
            let offset = self.base_offset + i64::from(raw.offset_delta);
            if let Some(key) = raw.key
                && offset >= self.from_offset
                && let Err(full) = map.put(key, offset)
            {
                return Progress::Done(Ok(Err(full)));
            }
        }
        Progress::Pending
    }
}
