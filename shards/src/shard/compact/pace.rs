//! Keeps compaction from being in anybody's way: slices of work with rest between them while producers are there, and a
//! bound of bytes a second.

use std::rc::Rc;

use crate::io::{Instant, Slice};
use crate::shard::Shard;
use crate::shard::store::DiskShare;
use crate::shard::throttle::Throttle;

/// How much longer than its work, on the core and on the disk, compaction rests beside producers. Where it is about to be
/// overtaken by them it rests less.
const REST_BESIDE_PRODUCERS: f64 = 9.0;

/// See the module.
pub(super) struct Pace<'a> {
    shard: &'a Shard,
    share: Rc<DiskShare>,
    /// How much longer than its work it rests beside producers.
    rest: f64,
    slice: Slice,
    working_since: Instant,
    throttle: Throttle,
}

impl<'a> Pace<'a> {
    /// Rests the less, the less slack there is, from 1 down to 0.
    pub fn new(shard: &'a Shard, share: Rc<DiskShare>, slack: f64) -> Self {
        let now = shard.io().now();
        Self {
            shard,
            share,
            rest: REST_BESIDE_PRODUCERS * slack,
            slice: shard.io().slice(),
            working_since: now,
            throttle: Throttle::new(now),
        }
    }

    /// So many bytes were read or written, which was work as well.
    pub async fn used(&mut self, bytes: usize) {
        self.rest().await;
        let (io, cleaner) = (self.shard.io(), &self.shard.0.cleaner);
        self.throttle.owe(bytes);
        let mut has_waited = false;
        loop {
            let wait = self
                .throttle
                .wait(io.now(), cleaner.get().io_bytes_a_second);
            if wait.is_zero() {
                break;
            }
            has_waited = true;
            cleaner.changed_within(io, wait).await;
        }
        if has_waited {
            self.begin_slice();
        }
    }

    pub async fn rest_if_over(&mut self) {
        if self.slice.is_over(self.shard.io()) {
            self.rest().await;
        }
    }

    pub async fn rest(&mut self) {
        let io = self.shard.io();
        let worked = io.now().since(self.working_since);
        match self.share.is_shared(io) {
            true => io.sleep(worked.mul_f64(self.rest)).await,
            false => io.yield_now().await,
        }
        self.begin_slice();
    }

    fn begin_slice(&mut self) {
        self.slice = self.shard.io().slice();
        self.working_since = self.shard.io().now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shard::tests::{config, with_shard};

    #[test]
    fn beside_producers_compaction_rests_longer_than_it_works_and_waits_for_the_disk() {
        const READING: Duration = Duration::from_millis(1);
        with_shard(config(), |shard| async move {
            let share = Rc::new(DiskShare::default());
            let io = shard.io();
            let rested = async |slack: f64| {
                let mut pace = Pace::new(&shard, share.clone(), slack);
                io.sleep(READING).await;
                let begun = io.now();
                pace.used(1).await;
                io.now().since(begun)
            };
            assert!(rested(1.0).await < READING);
            share.note_append(io.now());
            assert!(rested(1.0).await >= 9 * READING);
            let in_a_hurry = rested(0.5).await;
            assert!(
                (4 * READING..9 * READING).contains(&in_a_hurry),
                "{in_a_hurry:?}"
            );
            assert!(rested(0.0).await < READING);
        });
    }
}
