//! Writing: records become batches, batches become durable, replies leave.
//!
//! A write that takes longer than `offsets.commit.timeout.ms` loses the replies that waited for it so long: clients ask
//! again. It goes on all the same, and with it what the machine has become.

use std::cell::Cell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use corelog_shards::io::futures::first_of;
use corelog_shards::io::{Instant, Landmark};
use corelog_shards::log::batch::BatchBuilder;
use corelog_shards::shard::message::{Append, AppendError};

use super::load::pause_after;
use super::{BATCH_BYTES, Instance, State};
use crate::coordinator::{LogRecord, Machine, Output};

/// What the next write takes along.
pub(super) struct Pending<R> {
    full: Vec<Bytes>,
    open: Option<BatchBuilder>,
    waiting: Waiting<R>,
    /// One record on its way to a batch.
    scratch: Vec<u8>,
}

/// Replies that wait, with the time since when, in its order.
type Waiting<R> = VecDeque<(Instant, Output<R>)>;

impl<R> Default for Pending<R> {
    fn default() -> Self {
        Self {
            full: Vec::new(),
            open: None,
            waiting: VecDeque::new(),
            scratch: Vec::new(),
        }
    }
}

impl<R: LogRecord> Pending<R> {
    /// The records of another input follow. They come into one batch, which a crash leaves whole or not at all, unless
    /// they take more than half of one: the group that a request has half changed may be stuck there.
    pub(super) fn begin_input(&mut self, record_bytes_max: usize) {
        let half = batch_bytes(record_bytes_max) / 2;
        let is_half_full = |open: &BatchBuilder| open.uncompressed_bytes() > half;
        if let Some(open) = self.open.take_if(|open| is_half_full(open)) {
            self.full.push(finish(open));
        }
    }

    /// Puts a record behind the others. An error for one that the format or the log cannot hold.
    pub(super) fn push(
        &mut self,
        record: &R,
        wall_ms: i64,
        record_bytes_max: usize,
    ) -> Result<(), Box<dyn Error>> {
        let (key, value) = record.encode(&mut self.scratch)?;
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        if bytes > record_bytes_max {
            return Err(format!("it has {bytes} bytes of at most {record_bytes_max}").into());
        }
        let batch_bytes = batch_bytes(record_bytes_max);
        let is_full = |open: &BatchBuilder| open.uncompressed_bytes() + bytes > batch_bytes;
        if let Some(full) = self.open.take_if(|open| is_full(open)) {
            self.full.push(finish(full));
        }
        let open = self.open.get_or_insert_with(BatchBuilder::uncompressed);
        open.append(wall_ms, Some(key), value)?;
        Ok(())
    }

    /// Keeps replies until the records so far are durable.
    pub(super) fn wait(&mut self, output: Output<R>, now: Instant) {
        self.waiting.push_back((now, output));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.has_records()
    }

    fn has_records(&self) -> bool {
        self.open.is_some() || !self.full.is_empty()
    }

    fn take_batches(&mut self) -> Vec<Bytes> {
        let mut batches = std::mem::take(&mut self.full);
        batches.extend(self.open.take().map(finish));
        batches
    }
}

/// What a batch of several records takes at most.
fn batch_bytes(record_bytes_max: usize) -> usize {
    BATCH_BYTES.min(record_bytes_max)
}

fn finish(batch: BatchBuilder) -> Bytes {
    Bytes::from(batch.finish().expect("without a codec nothing can fail"))
}

impl<M: Machine> Instance<M> {
    /// Writes what is pending, unless a write is under way, which goes on with it.
    pub(super) fn write_on(self: &Rc<Self>) {
        if self.is_writing.get() || !self.pending.borrow().has_records() {
            return;
        }
        self.is_writing.set(true);
        let instance = Rc::clone(self);
        self.shard.io().spawn("coordinator write", async move {
            let outcome = instance.write_all().await;
            instance.is_writing.set(false);
            instance.written.notify_all();
            if let Err(error) = outcome {
                instance.fail(&error);
            }
        });
    }

    async fn write_all(self: &Rc<Self>) -> Result<(), AppendError> {
        loop {
            let (batches, mut waiting) = {
                let mut pending = self.pending.borrow_mut();
                let batches = pending.take_batches();
                (batches, std::mem::take(&mut pending.waiting))
            };
            if !batches.is_empty() {
                self.write(batches, &mut waiting).await?;
            }
            let now = self.shard.io().now();
            for (since, output) in waiting {
                self.metrics.replies.record(now.since(since));
                output.release();
            }
            if self.pending.borrow().is_empty() {
                return Ok(());
            }
        }
    }

    /// Appends batches and waits until they are durable.
    async fn write(
        self: &Rc<Self>,
        batches: Vec<Bytes>,
        waiting: &mut Waiting<M::Record>,
    ) -> Result<(), AppendError> {
        let io = self.shard.io();
        let append = |batch| Append::own(self.key, batch);
        let appends = batches.into_iter().map(append).collect();
        let begun = io.now();
        let pending = self.shard.append(appends, begun).await;
        let results = Cell::new(None);
        let mut acknowledged = pin!(async { results.set(Some(pending.wait().await.results)) });
        let patience = self.broker().config().groups.offsets.commit_timeout;
        loop {
            let mut sleeping = pin!(io.sleep(patience));
            if first_of(acknowledged.as_mut(), sleeping.as_mut()).await {
                break;
            }
            tracing::warn!(
                partition = self.name,
                ms = patience.as_millis() as u64,
                "a write of the coordinator takes long: who waits for it is told to ask again"
            );
            io.reached(Landmark::CoordinatorSlow);
            let late = io.now() - patience;
            give_up(waiting, late);
            give_up(&mut self.pending.borrow_mut().waiting, late);
        }
        self.metrics.writes.record(io.now().since(begun));
        let results = results.take().expect("they were acknowledged");
        let mut newest = None;
        for result in results {
            newest = Some(result?.base_offset);
        }
        self.failed_writes.set(0);
        if let Some(offset) = newest {
            self.checkpoint_if_due(offset);
        }
        Ok(())
    }

    fn fail(self: &Rc<Self>, error: &AppendError) {
        // A partition that has gone takes its coordinator along, and a shard that stops all of them.
        if self.shard.is_stopping() {
            self.close();
        } else if !matches!(*self.state.borrow(), State::Closed) {
            self.begin_anew(error);
        }
    }

    /// What the machine has become cannot be written: it is made anew from its log, after a pause.
    pub(super) fn begin_anew(self: &Rc<Self>, why: &dyn fmt::Debug) {
        self.shard.io().reached(Landmark::CoordinatorAnew);
        let failures = self.failed_writes.get().saturating_add(1);
        self.failed_writes.set(failures);
        let pause = pause_after(failures);
        tracing::error!(
            partition = self.name,
            ?why,
            pause_ms = pause.as_millis() as u64,
            "the coordinator's records cannot be written: it begins anew from its log after a pause"
        );
        self.load(pause);
    }
}

/// Drops the replies that have waited since then or longer.
fn give_up<R>(waiting: &mut Waiting<R>, since: Instant) {
    while waiting.front().is_some_and(|(begun, _)| *begun <= since) {
        waiting.pop_front();
    }
}
