//! One pass over one log.

use std::io;
use std::path::Path;
use std::rc::Rc;

use super::pace::Pace;
use super::reader::Reader;
use super::writer::Writer;
use super::{CompactError, candidates};
use crate::log::batch::compress::DecoderPool;
use crate::log::batch::{Batch, Budget, Progress};
use crate::log::compact::{
    BatchFilter, BatchKeys, Candidate, FilterError, Filtered, LastOfProducer, OffsetMap, Plan,
    Rules, SegmentLimits, Sized, Transactions, plan,
};
use crate::log::index::{index_bytes_max, interval_within};
use crate::log::segment::Segment;
use crate::log::segment_name::FileKind;
use crate::partition::Partition;
use crate::shard::Shard;

impl Shard {
    /// Compacts a log up to the end of the plan, or as far as there is memory for its keys.
    pub(super) async fn compact(
        &self,
        partition: &Rc<Partition>,
        plan: &Plan,
    ) -> Result<(), CompactError> {
        self.clear_up(partition).await?;
        // From here on they are in memory, whatever becomes of the files that name them.
        self.0.store.all_aborted(partition).await?;
        let aborted = {
            let aborted = partition.aborted.borrow();
            aborted.as_ref().map(|aborted| aborted.all().to_vec())
        };
        let when = partition.state.borrow().log.config.compaction;
        let slack = when.map_or(1.0, |config| plan.slack(&config.when));
        let mut pass = Pass {
            shard: self,
            partition,
            pace: Pace::new(self, partition.disk_share(), slack),
            pool: DecoderPool::default(),
            transactions: Transactions::new(aborted.unwrap_or_default()),
            map_bytes: 0,
        };
        let map = pass.collect_keys(plan).await?;
        if map.latest() < plan.from {
            return Err(CompactError::NoRoom);
        }
        pass.rewrite(&map, plan.to).await?;
        {
            let log = &mut partition.state.borrow_mut().log;
            log.set_first_dirty_offset(map.latest() + 1);
        }
        let _turn = partition.settling.take().await;
        // Without a checkpoint a start would go through it once more, which changes nothing.
        _ = self.anchor_in_turn(partition).await;
        Ok(())
    }
}

struct Pass<'a> {
    shard: &'a Shard,
    partition: &'a Rc<Partition>,
    pace: Pace<'a>,
    pool: DecoderPool,
    /// As they are before anything was read.
    transactions: Transactions,
    /// What the map of this pass may come to.
    map_bytes: usize,
}

impl Pass<'_> {
    /// The newest offsets of the keys in the dirty part.
    async fn collect_keys(&mut self, plan: &Plan) -> Result<OffsetMap, CompactError> {
        let io = self.shard.io();
        let secrets = [io.random_u64(), io.random_u64()];
        let keys_max = (plan.to - plan.from) as u64;
        let map_bytes_max = self.shard.0.cleaner.get().map_bytes_max;
        let mut map = OffsetMap::new(keys_max, map_bytes_max, secrets);
        self.map_bytes = map.bytes().min(map_bytes_max);
        let dirty =
            |segment: &Candidate| segment.next_offset > plan.from && segment.base_offset < plan.to;
        let mut transactions = self.transactions.again();
        for segment in self.candidates().into_iter().filter(dirty) {
            let mut reader = self.open(&segment).await?;
            while let Some(read) = reader.fill().await? {
                self.used(read).await?;
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
        let limits = {
            let state = self.partition.state.borrow();
            SegmentLimits {
                bytes: state.log.config.segment_bytes.into(),
                index_bytes: state.log.config.segment_index_bytes.into(),
            }
        };
        let sized = self.sized(&segments, limits).await?;
        let mut transactions = self.transactions.again();
        for group in plan::groups(&sized, limits) {
            let rules = self.rules(end)?;
            self.rewrite_group(&segments[group], map, rules, &mut transactions)
                .await?;
        }
        Ok(())
    }

    /// The segments with what they take of indexes, where that may matter.
    async fn sized(
        &self,
        segments: &[Candidate],
        limits: SegmentLimits,
    ) -> Result<Vec<Sized>, CompactError> {
        let interval = self
            .partition
            .state
            .borrow()
            .log
            .config
            .index_interval_bytes;
        let (offsets, times) = index_bytes_max(limits.bytes, interval);
        let matters = offsets.max(times) > limits.index_bytes;
        let mut sized = Vec::with_capacity(segments.len());
        for segment in segments {
            let mut of_segment = Sized {
                segment: *segment,
                offset_index_bytes: 0,
                time_index_bytes: 0,
            };
            if matters {
                let (offsets, times) = index_bytes_max(segment.bytes, interval);
                let (kinds, base) = (
                    [FileKind::OffsetIndex, FileKind::TimeIndex],
                    segment.base_offset,
                );
                let store = &self.shard.0.store;
                let [of_offsets, of_times] =
                    kinds.map(|kind| store.path(self.partition, base, kind));
                of_segment.offset_index_bytes = self.len_of(&of_offsets).await?.min(offsets);
                of_segment.time_index_bytes = self.len_of(&of_times).await?.min(times);
            }
            sized.push(of_segment);
        }
        Ok(sized)
    }

    /// Of an index; one that is not there may come to anything.
    async fn len_of(&self, path: &Path) -> Result<u64, CompactError> {
        match self.shard.io().file_len(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(u64::MAX),
            len => Ok(len?),
        }
    }

    async fn rewrite_group(
        &mut self,
        group: &[Candidate],
        map: &OffsetMap,
        rules: Rules,
        transactions: &mut Transactions,
    ) -> Result<(), CompactError> {
        let (first, last) = (group[0], group[group.len() - 1]);
        let place = self.partition.place();
        let file = self
            .shard
            .create_cleaned(self.partition, first.base_offset)
            .await?;
        let bytes_before: u64 = group.iter().map(|segment| segment.bytes).sum();
        let interval = {
            let config = &self.partition.state.borrow().log.config;
            let (interval, index_bytes) = (config.index_interval_bytes, config.segment_index_bytes);
            // It may have been another one when they were written.
            interval_within(bytes_before, interval, index_bytes)
        };
        let (io, share) = (self.shard.io().clone(), self.partition.disk_share());
        let mut writer = Writer::new(io, share, file, first.base_offset, interval);
        for segment in group {
            let mut reader = self.open(segment).await?;
            while let Some(read) = reader.fill().await? {
                self.used(read).await?;
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
                        self.used(written).await?;
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

    fn candidates(&self) -> Vec<Candidate> {
        candidates(&self.partition.state.borrow())
    }

    /// After so many bytes were read or written.
    async fn used(&mut self, bytes: usize) -> Result<(), CompactError> {
        self.pace.used(bytes).await;
        self.check_wanted()
    }

    /// Whether the pass may go on, as things are by now. As in Apache Kafka a pass begins anew, with what memory there is
    /// for its keys then, if there is less of it.
    fn check_wanted(&self) -> Result<(), CompactError> {
        let shard = &self.shard.0;
        let is_gone = self.partition.state.borrow().is_dropped || self.partition.is_offline();
        let is_moving = self.partition.moving.borrow().is_some();
        let has_less_memory = shard.cleaner.get().map_bytes_max < self.map_bytes;
        if shard.stopping.get() || is_gone || is_moving || has_less_memory {
            return Err(CompactError::Gone);
        }
        Ok(())
    }

    async fn open(&self, segment: &Candidate) -> Result<Reader, CompactError> {
        self.check_wanted()?;
        let opened = Reader::open(&self.shard.0.store, self.partition, segment).await;
        // Retention may have been there first.
        let is_there = || {
            let state = self.partition.state.borrow();
            state.log.segment(segment.base_offset).is_some()
        };
        match opened {
            Err(CompactError::Io(_)) if !is_there() => Err(CompactError::Gone),
            opened => opened,
        }
    }
}
