//! One pass over one log.

use std::rc::Rc;
use std::time::Duration;

use super::reader::Reader;
use super::writer::Writer;
use super::{CompactError, candidates};
use crate::io::{Instant, Slice};
use crate::log::batch::compress::DecoderPool;
use crate::log::batch::{Batch, Budget, Progress};
use crate::log::compact::{
    BatchFilter, BatchKeys, Candidate, FilterError, Filtered, LastOfProducer, OffsetMap, Plan,
    Rules, Transactions, plan,
};
use crate::log::segment::Segment;
use crate::partition::Partition;
use crate::shard::Shard;
use crate::shard::store::DiskShare;

impl Shard {
    /// Compacts a log up to the end of the plan, or as far as there is memory for its keys.
    pub(super) async fn compact(
        &self,
        partition: &Rc<Partition>,
        plan: &Plan,
    ) -> Result<(), CompactError> {
        self.clear_up(partition).await?;
        let when = partition.state.borrow().log.config.compaction;
        let slack = when.map_or(1.0, |config| plan.slack(&config.when));
        let mut pass = Pass {
            shard: self,
            partition,
            pace: Pace::new(self, partition.disk_share(), slack),
            pool: DecoderPool::default(),
        };
        // From here on they are in memory, whatever becomes of the files that name them.
        self.0.store.all_aborted(partition).await?;
        let map = pass.collect_keys(plan).await?;
        if map.latest() < plan.from {
            return Err(CompactError::NoRoom);
        }
        pass.rewrite(&map, plan.to).await?;
        {
            let log = &mut partition.state.borrow_mut().log;
            log.set_first_dirty_offset(map.latest() + 1);
        }
        self.anchor_anew(partition).await;
        Ok(())
    }
}

/// How much longer than its work, on the core and on the disk, compaction rests beside producers. Where it is about to be
/// overtaken by them it rests less.
const REST_BESIDE_PRODUCERS: f64 = 9.0;

struct Pass<'a> {
    shard: &'a Shard,
    partition: &'a Rc<Partition>,
    pace: Pace<'a>,
    pool: DecoderPool,
}

impl Pass<'_> {
    /// The newest offsets of the keys in the dirty part.
    async fn collect_keys(&mut self, plan: &Plan) -> Result<OffsetMap, CompactError> {
        let io = self.shard.io();
        let secrets = [io.random_u64(), io.random_u64()];
        let keys_max = (plan.to - plan.from) as u64;
        let map_bytes_max = self.shard.0.cleaner.get().map_bytes_max;
        let mut map = OffsetMap::new(keys_max, map_bytes_max, secrets);
        let dirty =
            |segment: &Candidate| segment.next_offset > plan.from && segment.base_offset < plan.to;
        let mut transactions = self.transactions();
        for segment in self.candidates().into_iter().filter(dirty) {
            let mut reader = self.open(&segment).await?;
            while let Some(read) = reader.fill().await? {
                self.pace.used(read).await;
                while let Some(batch) = reader.next()? {
                    let is_void = transactions.is_void(batch);
                    if batch.next_offset() <= plan.from {
                        continue;
                    }
                    if is_void || batch.is_control() {
                        map.note_all_through(batch.last_offset());
                    } else if !self.collect(&mut map, batch, plan.from).await? {
                        return Ok(map);
                    }
                    self.pace.rest_if_over().await;
                }
            }
            // It may end in a gap.
            map.note_all_through(segment.next_offset - 1);
        }
        Ok(map)
    }

    /// Notes the keys of a batch; `false` if there is no room for them.
    async fn collect(
        &mut self,
        map: &mut OffsetMap,
        batch: Batch<'_>,
        from: i64,
    ) -> Result<bool, CompactError> {
        let keys = BatchKeys::new(batch, from, &self.pool);
        let mut keys = keys.map_err(|error| CompactError::Batch(FilterError::Records(error)))?;
        loop {
            match keys.step(map, Budget::SLICE) {
                Progress::Pending => self.pace.rest().await,
                Progress::Done(Ok(taken)) => return Ok(taken.is_ok()),
                Progress::Done(Err(error)) => {
                    return Err(CompactError::Batch(FilterError::Records(error)));
                }
            }
        }
    }

    /// Writes everything up to where the keys are known anew, and puts it in its place, group by group.
    async fn rewrite(&mut self, map: &OffsetMap, end: i64) -> Result<(), CompactError> {
        let known = |segment: &Candidate| segment.base_offset <= map.latest();
        let segments: Vec<Candidate> = self.candidates().into_iter().filter(known).collect();
        let bytes_max = u64::from(self.partition.state.borrow().log.config.segment_bytes);
        let mut transactions = self.transactions();
        for group in plan::groups(&segments, bytes_max) {
            let rules = self.rules(end)?;
            self.rewrite_group(&segments[group], map, rules, &mut transactions)
                .await?;
        }
        Ok(())
    }

    async fn rewrite_group(
        &mut self,
        group: &[Candidate],
        map: &OffsetMap,
        rules: Rules,
        transactions: &mut Transactions,
    ) -> Result<(), CompactError> {
        let (first, last) = (group[0], group[group.len() - 1]);
        let file = self
            .shard
            .create_cleaned(self.partition, first.base_offset)
            .await?;
        let place = self.partition.place();
        let interval = self
            .partition
            .state
            .borrow()
            .log
            .config
            .index_interval_bytes;
        let (io, share) = (self.shard.io().clone(), self.partition.disk_share());
        let mut writer = Writer::new(io, share, file, first.base_offset, interval);
        let bytes_before: u64 = group.iter().map(|segment| segment.bytes).sum();
        for segment in group {
            let mut reader = self.open(segment).await?;
            while let Some(read) = reader.fill().await? {
                self.pace.used(read).await;
                while let Some(batch) = reader.next()? {
                    let is_void = transactions.is_void(batch);
                    let written = match self.filter(batch, map, rules, is_void).await? {
                        Filtered::Same => writer.put(batch).await?,
                        Filtered::Changed(changed) => {
                            let changed = Batch::first(&changed).map_err(FilterError::Batch);
                            writer.put(changed.map_err(CompactError::Batch)?).await?
                        }
                        Filtered::Gone => 0,
                    };
                    if written > 0 {
                        self.pace.used(written).await;
                    }
                    self.pace.rest_if_over().await;
                }
            }
        }
        let mut written = writer.finish().await?;
        let aborted = transactions.take_kept();
        let kept = written.segment.bytes;
        self.take_over(&mut written.segment, &last, aborted.len());
        self.shard
            .swap(self.partition, (group, place), written, &aborted)
            .await?;
        let metrics = &self.shard.0.metrics;
        metrics.compacted_bytes.add(bytes_before);
        metrics.compaction_kept_bytes.add(kept);
        Ok(())
    }

    /// What the segment has from those that it was made of, rather than from its batches.
    fn take_over(&self, segment: &mut Segment, last: &Candidate, aborted: usize) {
        let state = self.partition.state.borrow();
        segment.aborted = aborted as u32;
        if let Some(last) = state.log.segment(last.base_offset) {
            segment.created_ms = last.created_ms;
            segment.newest_ms = match segment.max_timestamp_ms {
                0.. => segment.max_timestamp_ms,
                _ => last.newest_ms,
            };
        }
    }

    async fn filter(
        &mut self,
        batch: Batch<'_>,
        map: &OffsetMap,
        rules: Rules,
        is_void: bool,
    ) -> Result<Filtered, CompactError> {
        let last = self.last_of_producer(batch);
        let filter = BatchFilter::new(batch, map, rules, is_void, last, &self.pool);
        let mut filter = filter.map_err(CompactError::Batch)?;
        loop {
            match filter.step(Budget::SLICE) {
                Progress::Pending => self.pace.rest().await,
                Progress::Done(filtered) => return filtered.map_err(CompactError::Batch),
            }
        }
    }

    fn last_of_producer(&self, batch: Batch<'_>) -> Option<LastOfProducer> {
        if !batch.has_producer_id() {
            return None;
        }
        let state = self.partition.state.borrow();
        let entry = state.log.producers().get(batch.producer_id())?;
        Some(match entry.last_batch() {
            Some(last) => LastOfProducer::Records(last.last_offset),
            None => LastOfProducer::Marker(entry.epoch),
        })
    }

    fn rules(&self, end: i64) -> Result<Rules, CompactError> {
        let state = self.partition.state.borrow();
        // The topic may have another policy by now.
        let config = state.log.config.compaction.ok_or(CompactError::Gone)?;
        Ok(Rules {
            now_ms: self.shard.io().wall_ms(),
            delete_retention_ms: config.delete_retention_ms,
            end,
        })
    }

    fn transactions(&self) -> Transactions {
        let aborted = self.partition.aborted.borrow();
        let all = aborted.as_ref().map(|aborted| aborted.all().to_vec());
        Transactions::new(all.unwrap_or_default())
    }

    fn candidates(&self) -> Vec<Candidate> {
        candidates(&self.partition.state.borrow())
    }

    async fn open(&self, segment: &Candidate) -> Result<Reader, CompactError> {
        let is_gone = self.partition.state.borrow().is_dropped || self.partition.is_offline();
        let is_moving = self.partition.moving.borrow().is_some();
        if self.shard.0.stopping.get() || is_gone || is_moving {
            return Err(CompactError::Gone);
        }
        Reader::open(&self.shard.0.store, self.partition, segment).await
    }
}

/// Keeps compaction from being in anybody's way: slices of work with rest between them while producers are there, and a bound of bytes a second.
struct Pace<'a> {
    shard: &'a Shard,
    share: Rc<DiskShare>,
    /// How much longer than its work it rests beside producers.
    rest: f64,
    slice: Slice,
    working_since: Instant,
    /// When what was read and written so far may have been, at the allowed rate.
    io_due: Instant,
}

impl<'a> Pace<'a> {
    /// Rests the less, the less slack there is, from 1 down to 0.
    fn new(shard: &'a Shard, share: Rc<DiskShare>, slack: f64) -> Self {
        let now = shard.io().now();
        Self {
            shard,
            share,
            rest: REST_BESIDE_PRODUCERS * slack,
            slice: shard.io().slice(),
            working_since: now,
            io_due: now,
        }
    }

    /// So many bytes were read or written, which was work as well.
    async fn used(&mut self, bytes: usize) {
        self.rest().await;
        if let Some(a_second) = self.shard.0.cleaner.get().io_bytes_a_second {
            let io = self.shard.io();
            let now = io.now();
            let takes = Duration::from_secs(bytes as u64)
                / u32::try_from(a_second).unwrap_or(u32::MAX).max(1);
            self.io_due = self.io_due.max(now) + takes;
            io.sleep(self.io_due.since(now)).await;
            self.begin_slice();
        }
    }

    async fn rest_if_over(&mut self) {
        if self.slice.is_over(self.shard.io()) {
            self.rest().await;
        }
    }

    async fn rest(&mut self) {
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
