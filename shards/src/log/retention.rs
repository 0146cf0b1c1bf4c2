//! Which segments a partition no longer keeps, as Apache Kafka decides it.
//!
//! Purpose: one pure decision from the segments, the settings and the clock; the partition that
//! owns the log carries it out (roll, move the log start durably, then remove files).
//! Rules, oldest segment first, each stopping at the first segment it does not apply to:
//! 1. all its records are below the log start (always, also for compacted topics);
//! 2. the log without it is still at least `retention.bytes` long;
//! 3. its newest record is older than `retention.ms`. One of the future is not, however far away that is.
//!
//! Nothing above the high watermark goes. When even the active segment goes, it is rolled first, so
//! that the log keeps one (empty) segment and its end.

use crate::mutation::{Mutation, is_on};

/// A segment as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedSegment {
    pub base_offset: i64,
    pub size_bytes: u32,
    /// Largest timestamp of its records; when no record carries one, the time of its last append.
    pub newest_ms: i64,
}

/// The settings `cleanup.policy` (does it contain `delete`), `retention.ms`, `retention.bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    pub delete: bool,
    /// Negative: no limit.
    pub retention_ms: i64,
    /// Negative: no limit.
    pub retention_bytes: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    pub log_start_offset: i64,
    pub high_watermark: i64,
    pub log_end_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDecision {
    /// So many segments go, from the oldest.
    pub segments: usize,
    /// The active one is among them: roll it before.
    pub roll_active: bool,
    /// Where the log starts afterwards.
    pub log_start_offset: i64,
    /// Base offset of a segment that stays because its newest record is of the future, and with it all
    /// behind it.
    pub of_the_future: Option<i64>,
}

/// `segments` in the order of their offsets, the last one active.
pub fn decide(
    segments: &[RetainedSegment],
    policy: RetentionPolicy,
    bounds: LogBounds,
    now_ms: i64,
) -> RetentionDecision {
    let log = Log { segments, bounds };
    let mut of_the_future = None;
    let mut gone = log.extend(0, |_, next_base_offset| {
        next_base_offset.is_some_and(|next| next <= bounds.log_start_offset)
    });
    if policy.delete {
        gone = log.extend_by_size(gone, policy.retention_bytes);
        if policy.retention_ms >= 0 {
            let retention_ms = match is_on(Mutation::RetainTooShort) {
                true => policy.retention_ms / 2,
                false => policy.retention_ms,
            };
            gone = log.extend(gone, |segment, _| {
                of_the_future = (segment.newest_ms > now_ms).then_some(segment.base_offset);
                now_ms.saturating_sub(segment.newest_ms) > retention_ms
            });
        }
    }
    let end_of_gone = gone.checked_sub(1).map(|last| log.upper_bound(last));
    RetentionDecision {
        segments: gone,
        roll_active: gone > 0 && gone == segments.len(),
        log_start_offset: end_of_gone.map_or(bounds.log_start_offset, |offset| {
            offset.max(bounds.log_start_offset)
        }),
        of_the_future,
    }
}

struct Log<'log> {
    segments: &'log [RetainedSegment],
    bounds: LogBounds,
}

impl Log<'_> {
    /// First offset behind a segment.
    fn upper_bound(&self, index: usize) -> i64 {
        let next = self.segments.get(index + 1);
        next.map_or(self.bounds.log_end_offset, |next| next.base_offset)
    }

    /// With the first `gone` segments decided upon, adds those that `expired` applies to.
    fn extend(
        &self,
        gone: usize,
        mut expired: impl FnMut(&RetainedSegment, Option<i64>) -> bool,
    ) -> usize {
        let more = self.segments[gone..]
            .iter()
            .enumerate()
            .take_while(|(index, segment)| {
                let index = gone + index;
                let next = self.segments.get(index + 1).map(|next| next.base_offset);
                let empty_and_active = next.is_none() && segment.size_bytes == 0;
                self.bounds.high_watermark >= self.upper_bound(index)
                    && !empty_and_active
                    && expired(segment, next)
            })
            .count();
        gone + more
    }

    fn extend_by_size(&self, gone: usize, retention_bytes: i64) -> usize {
        let size_bytes: i64 = self.segments[gone..]
            .iter()
            .map(|segment| i64::from(segment.size_bytes))
            .sum();
        if retention_bytes < 0 || size_bytes < retention_bytes {
            return gone;
        }
        let mut excess_bytes = size_bytes - retention_bytes;
        self.extend(gone, |segment, _| {
            let is_spare = match is_on(Mutation::RetainTooLittle) {
                true => excess_bytes > 0,
                false => excess_bytes >= i64::from(segment.size_bytes),
            };
            excess_bytes -= i64::from(segment.size_bytes);
            is_spare
        })
    }
}

#[cfg(test)]
mod tests;
