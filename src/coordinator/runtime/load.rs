//! Loading: a machine anew from the log and its checkpoint, again and again if the log cannot be read.
//!
//! Between two attempts there are pauses that grow. A log that makes no sense is not read again: what stands there now
//! will stand there then. While a log is read its beginning may be deleted; then what is left of it counts, and it is
//! read anew.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Landmark;
use corelog_shards::shard::message::ReadError;

use super::replay::{LoadError, Loader, Sink};
use super::{Instance, State, Surroundings};
use crate::cluster::image::Image;
use crate::coordinator::{LogRecord, Machine, Output};
use crate::replay::log_start;

/// Pauses between attempts: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long to wait with the next attempt after so many that have failed in a row.
pub(super) fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX)
}

impl<M: Machine> Instance<M> {
    /// Makes the machine anew from the log, after a pause.
    pub(super) fn load(self: &Rc<Self>, pause: Duration) {
        let term = self.begin_term(State::Loading);
        let instance = Rc::clone(self);
        self.shard.io().spawn("coordinator load", async move {
            let io = instance.shard.io();
            if !pause.is_zero() {
                io.sleep(pause).await;
            }
            while instance.is_writing.get() {
                instance.written.notified().await;
            }
            let mut failures = 0;
            while instance.is_in(term) {
                let Err(why) = instance.load_once(term).await else {
                    return;
                };
                if !instance.is_in(term) {
                    return;
                }
                let partition = &instance.name;
                if !may_pass(&why) {
                    tracing::error!(partition, %why, "the coordinator of this partition stays away");
                    instance.image_of_log.take();
                    instance.state.replace(State::Failed);
                    return;
                }
                failures += 1;
                let pause = pause_after(failures);
                tracing::warn!(
                    partition,
                    %why,
                    pause_ms = pause.as_millis() as u64,
                    "the coordinator of this partition begins anew to load after a pause"
                );
                io.sleep(pause).await;
            }
        });
    }

    /// Replays the log and goes into service.
    async fn load_once(self: &Rc<Self>, term: u64) -> Result<(), LoadError> {
        let io = self.shard.io();
        let begun = io.now();
        let loading = io.within(Landmark::CoordinatorLoads);
        let (mut machine, log_end) = self.replay(term).await?;
        let mut output = Output::default();
        while self.in_context(|context| machine.loaded(context, &mut output)) {
            io.yield_now().await;
        }
        if !self.is_in(term) {
            return Err(LoadError::Overtaken);
        }
        let took = io.now().since(begun);
        self.metrics.loads.record(took);
        let ms = took.as_millis() as u64;
        tracing::debug!(partition = self.name, log_end, ms, "loaded a coordinator");
        drop(loading);
        self.image_of_log.take();
        self.state.replace(State::Active(machine));
        self.start_timer(term);
        let _ = self.run(|_, _| output);
        self.checkpoint_if_due(log_end);
        Ok(())
    }

    /// The machine that the checkpoint and the rest of the log make, or all of the log if there is no sound checkpoint.
    /// Tells where the log ends, too.
    async fn replay(&self, term: u64) -> Result<(M, i64), LoadError> {
        let image = self.image_of_log();
        let begin = || Loader::new(self, term, Replaying::new(self, Rc::clone(&image)));
        let mut loader = begin();
        let begun = log_start(&self.shard, &self.key).await;
        let mut next = begun.map_err(LoadError::Read)?;
        self.checkpoints.made(next, 0);
        if let Some(manifest) = self.manifest().await {
            match self.replay_checkpoint(&manifest, &mut loader).await {
                Ok(()) => {
                    next = manifest.offset;
                    self.checkpoints.made(next, manifest.records);
                }
                Err(why) => {
                    let partition = &self.name;
                    tracing::warn!(
                        partition,
                        why,
                        "a checkpoint is damaged, all of the log is read"
                    );
                    loader = begin();
                }
            }
        }
        let log_end = loader.replay_log(next).await?;
        let transactions = loader.open_transactions();
        if transactions > 0 {
            tracing::warn!(
                partition = self.name,
                transactions,
                "offsets of transactions that have no end are not committed"
            );
        }
        Ok((loader.sink.machine, log_end))
    }

    /// The metadata as it was when the log began to be read for the first time: topics that were deleted and made again
    /// since then are not those that the log means.
    fn image_of_log(&self) -> Rc<Image> {
        let mut known = self.image_of_log.borrow_mut();
        let image = known.get_or_insert_with(|| self.broker().image());
        Rc::clone(image)
    }
}

/// A machine that takes over what its log says.
struct Replaying<'a, M: Machine> {
    instance: &'a Instance<M>,
    surroundings: Surroundings,
    machine: M,
}

impl<'a, M: Machine> Replaying<'a, M> {
    fn new(instance: &'a Instance<M>, image: Rc<Image>) -> Self {
        Self {
            instance,
            surroundings: instance.surroundings(image),
            machine: M::default(),
        }
    }
}

impl<M: Machine> Sink for Replaying<'_, M> {
    type Record = M::Record;

    fn decode(&self, key: &[u8], value: Option<&[u8]>) -> Result<M::Record, Box<dyn Error>> {
        M::Record::decode(key, value)
    }

    fn take(&mut self, record: M::Record) {
        let machine = &mut self.machine;
        let io = self.instance.shard.io();
        self.surroundings
            .in_context(io, |context| machine.replay(record, context));
    }

    fn resume(&mut self) {
        self.surroundings.resume(self.instance.shard.io());
    }
}

/// Whether another attempt may do better.
fn may_pass(error: &LoadError) -> bool {
    match error {
        LoadError::Read(error) => match error {
            ReadError::Storage | ReadError::OffsetOutOfRange => true,
            ReadError::UnknownPartition
            | ReadError::FencedLeaderEpoch
            | ReadError::UnknownLeaderEpoch
            | ReadError::Corrupt
            | ReadError::FolderOffline => false,
        },
        LoadError::Damaged { .. } | LoadError::Overtaken => false,
    }
}
