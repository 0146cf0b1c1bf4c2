//! Which record of a batch a ListOffsets request asks for. For the batch that holds an offset see
//! [`super::iter::find_offset`].

use super::compress::DecoderPool;
use super::header::TimestampType;
use super::iter::Batch;
use super::slice::{Budget, Progress};
use super::walk::{Walk, WalkError, Walked};
use std::ops::ControlFlow;

/// A record, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: i64,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// By time: the first record that is not older, at this offset or behind it.
    NotOlder { timestamp: i64, from_offset: i64 },
    /// Max timestamp: the first record that has it.
    Exactly { timestamp: i64 },
}

/// The search through one batch, which must be decompressed for it, in slices.
pub struct RecordSearch<'a> {
    walk: Walk<'a>,
    wanted: Wanted,
    base_offset: i64,
    base_timestamp: i64,
    log_append_time: Option<i64>,
}

impl<'a> RecordSearch<'a> {
    /// The first record whose timestamp is `timestamp` or later, and whose offset is `from_offset` or
    /// larger. Batches whose max timestamp is earlier need not be searched.
    pub fn not_older(
        batch: &Batch<'a>,
        timestamp: i64,
        from_offset: i64,
    ) -> Result<Self, WalkError> {
        Self::new(
            batch,
            Wanted::NotOlder {
                timestamp,
                from_offset,
            },
        )
    }

    /// The first record with the batch's max timestamp.
    pub fn newest(batch: &Batch<'a>) -> Result<Self, WalkError> {
        let timestamp = batch.max_timestamp();
        Self::new(batch, Wanted::Exactly { timestamp })
    }

    fn new(batch: &Batch<'a>, wanted: Wanted) -> Result<Self, WalkError> {
        Ok(Self {
            walk: Walk::new(batch, &DecoderPool::default())?,
            wanted,
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            log_append_time: match batch.timestamp_type() {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(batch.max_timestamp()),
            },
        })
    }

    pub fn step(
        &mut self,
        mut budget: Budget,
    ) -> Progress<Result<Option<TimestampOffset>, WalkError>> {
        let mut found = None;
        let walked = self.walk.drive(&mut budget, |_, meta| {
            let own = self.base_timestamp.wrapping_add(meta.timestamp_delta);
            let record = TimestampOffset {
                timestamp: self.log_append_time.unwrap_or(own),
                offset: self.base_offset.saturating_add(meta.offset_delta.into()),
            };
            if self.wanted.is(record) {
                found = Some(record);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        });
        match walked {
            Ok(Walked::Pending) => Progress::Pending,
            Ok(Walked::Stopped | Walked::End) => Progress::Done(Ok(found)),
            Err(error) => Progress::Done(Err(error)),
        }
    }
}

impl Wanted {
    fn is(self, record: TimestampOffset) -> bool {
        match self {
            Self::NotOlder {
                timestamp,
                from_offset,
            } => record.timestamp >= timestamp && record.offset >= from_offset,
            Self::Exactly { timestamp } => record.timestamp == timestamp,
        }
    }
}
