//! The runtime of one coordinator: a machine, and the partition that its records are in.
//!
//! Lives on the shard that owns the partition. Inputs run at once against the machine, and their records are replayed
//! in the same turn: the machine is ahead of its log. So every reply, also to a question that changes nothing, waits
//! until all records made before it are durable; with nothing under way it leaves at once. One write is under way at a
//! time: records of inputs that come meanwhile are the next one (`write`).
//!
//! | state | becomes | when |
//! |---|---|---|
//! | loading | active | the log is replayed to its end |
//! | loading | failed | the log has gone or makes no sense: it is better not to answer than to answer with holes |
//! | active | loading | records cannot be appended: the machine went ahead of a log that does not follow |
//! | any | loading | the partition has a new leader epoch |
//! | any | closed | the partition leaves this shard |
//!
//! Each begins a new term; what was begun in an earlier term does not go on, except for a write, which the next load
//! waits for. Requests that wait for an answer lose it with the term.
//!
//! A crash loses replies, and records that nobody was told of. So that a load need not read all of a long log, there are
//! checkpoints (`checkpoint`).

mod checkpoint;
mod load;
mod replay;
mod write;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_shards::io::futures::first_of;
use corelog_shards::io::{Instant, Io, Landmark, Notify};
use corelog_shards::mutation::{Mutation, is_on};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;

use self::checkpoint::Checkpoints;
pub use self::checkpoint::OneAtATime;
use self::write::Pending;
use super::memory::StateMemory;
use super::metrics::CoordinatorMetrics;
use super::{Context, Machine, Output, Refusal};
use crate::broker::Broker;
use crate::cluster::image::{Delta, Image};
use crate::config::BrokerConfig;
use crate::lines::Lines;

/// What a record takes beside key and value, at most: length, attributes, deltas, lengths, and its share of a batch of
/// its own.
const RECORD_OVERHEAD_BYTES: usize = 128;
/// What a batch holds beside a record that is too large to be with others.
const BATCH_BYTES: usize = 1 << 20;
/// The largest batch is no smaller than that, whatever the topic says: there must be room for the three longest texts
/// that a key can have, and for the tombstone of whatever was written before the topic had less room.
const BATCH_BYTES_MAX_FLOOR: usize = 128 << 10;
/// What the timer sleeps at least, so that work that is due in parts leaves the core to others in between.
const TICK: Duration = Duration::from_millis(1);

enum State<M> {
    Loading,
    Active(M),
    Failed,
    Closed,
}

/// A machine on its partition.
pub struct Instance<M: Machine> {
    shard: Shard,
    key: PartitionKey,
    /// Of the partition, for log lines.
    name: String,
    leader_epoch: Cell<i32>,
    state: RefCell<State<M>>,
    /// Rises whenever what is under way must not go on.
    term: Cell<u64>,
    pending: RefCell<Pending<M::Record>>,
    is_writing: Cell<bool>,
    /// The last write of a row is over.
    written: Notify,
    /// How many writes have failed since one succeeded.
    failed_writes: Cell<u32>,
    /// The metadata as it was when the log began to be read. While it is.
    image_of_log: RefCell<Option<Rc<Image>>>,
    checkpoints: Checkpoints,
    /// Of the shard.
    checkpointing: Rc<OneAtATime>,
    /// When the timer wakes up by itself.
    timer_due: Cell<Option<Instant>>,
    timer: Notify,
    metrics: Arc<CoordinatorMetrics>,
    /// Of the shard.
    memory: Rc<StateMemory>,
}

impl<M: Machine> Instance<M> {
    /// Begins to load the machine of a partition that is open on this shard.
    pub fn open(
        shard: Shard,
        key: PartitionKey,
        name: String,
        leader_epoch: i32,
        checkpointing: Rc<OneAtATime>,
        memory: Rc<StateMemory>,
    ) -> Rc<Self> {
        let metrics = Arc::clone(&Broker::of(&shard).coordinators);
        let instance = Rc::new(Self {
            shard,
            key,
            name,
            leader_epoch: Cell::new(leader_epoch),
            state: RefCell::new(State::Loading),
            term: Cell::new(0),
            pending: RefCell::default(),
            is_writing: Cell::new(false),
            written: Notify::new(),
            failed_writes: Cell::new(0),
            image_of_log: RefCell::new(None),
            checkpoints: Checkpoints::default(),
            checkpointing,
            timer_due: Cell::new(None),
            timer: Notify::new(),
            metrics,
            memory,
        });
        instance.load(Duration::ZERO);
        instance
    }

    /// The partition has this leader epoch now. With a new one the log may have got another end.
    pub fn lead(self: &Rc<Self>, leader_epoch: i32) {
        if leader_epoch > self.leader_epoch.replace(leader_epoch) {
            self.load(Duration::ZERO);
        }
    }

    /// The partition leaves this shard.
    pub fn close(&self) {
        self.begin_term(State::Closed);
    }

    /// Takes a request. Its reply leaves once everything that it could know of is durable.
    pub fn handle(self: &Rc<Self>, input: M::Input) -> Result<(), Refusal> {
        self.run(|machine, context| machine.handle(input, context))
    }

    /// The metadata changed. While the log is being read there is nothing to do: who comes then sees it as it is.
    pub fn metadata_changed(self: &Rc<Self>, change: &Delta) {
        let _ = self.run(|machine, context| machine.metadata_changed(change, context));
    }

    /// Lets `look` see the machine as it is, which may be ahead of its log.
    pub fn look<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, Refusal> {
        match &*self.state.borrow() {
            State::Active(machine) => Ok(look(machine)),
            State::Loading => Err(Refusal::Loading),
            State::Failed | State::Closed => Err(Refusal::NotHere),
        }
    }

    fn run(
        self: &Rc<Self>,
        act: impl FnOnce(&mut M, &mut Context<'_>) -> Output<M::Record>,
    ) -> Result<(), Refusal> {
        let begun = self.shard.io().now();
        let mut state = self.state.borrow_mut();
        let machine = match &mut *state {
            State::Active(machine) => machine,
            State::Loading => {
                self.shard.io().reached(Landmark::AskedWhileLoading);
                return Err(Refusal::Loading);
            }
            State::Failed | State::Closed => return Err(Refusal::NotHere),
        };
        let taken = self.in_context(|context| {
            let output = act(machine, context);
            self.take_over(machine, output, context)
        });
        let due = machine.next_deadline();
        drop(state);
        self.metrics
            .processing
            .record(self.shard.io().now().since(begun));
        if let Err(why) = taken {
            self.begin_anew(&*why);
            return Ok(());
        }
        self.write_on();
        self.wake_timer_by(due);
        Ok(())
    }

    /// Replays what came of an input and has it written, or releases the replies if there is nothing to wait for.
    fn take_over(
        &self,
        machine: &mut M,
        mut output: Output<M::Record>,
        context: &mut Context<'_>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut pending = self.pending.borrow_mut();
        pending.begin_input(context.record_bytes_max);
        for record in std::mem::take(&mut output.records) {
            pending.push(&record, context.wall_ms, context.record_bytes_max)?;
            machine.replay(record, context);
        }
        if output.has_no_replies() {
            return Ok(());
        }
        let is_durable = pending.is_empty() && !self.is_writing.get();
        match is_durable || is_on(Mutation::AcknowledgeCommitAtOnce) {
            true => output.release(),
            false => pending.wait(output, context.now),
        }
        Ok(())
    }

    /// Lets `act` look at what surrounds the machine.
    fn in_context<T>(&self, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let surroundings = self.surroundings(self.broker().image());
        surroundings.in_context(self.shard.io(), act)
    }

    /// What surrounds the machine now, with this metadata.
    fn surroundings(&self, image: Rc<Image>) -> Surroundings {
        let io = self.shard.io();
        Surroundings {
            now: io.now(),
            wall_ms: io.wall_ms(),
            image,
            config: self.broker().config(),
            record_bytes_max: self.batch_bytes_max() - RECORD_OVERHEAD_BYTES,
            metrics: Arc::clone(&self.metrics),
            memory: Rc::clone(&self.memory),
            lines: Rc::clone(&self.broker().lines),
        }
    }

    /// The largest batch: what the topic takes, as far as that is enough and the journal takes it too.
    fn batch_bytes_max(&self) -> usize {
        let broker = self.broker();
        let image = broker.image();
        let of_topic = image.topics.get(self.key.topic).map(|topic| {
            let settings = broker.topic_settings(topic);
            settings.max_message_bytes.min(settings.segment_bytes) as usize
        });
        // Without settings the topic is on its way out.
        let bytes = of_topic.unwrap_or(BATCH_BYTES).max(BATCH_BYTES_MAX_FLOOR);
        bytes.min(self.shard.append_bytes_max())
    }

    fn broker(&self) -> Rc<Broker> {
        Broker::of(&self.shard)
    }

    /// Ends what is under way, but for a write. Whoever waits for a reply is told that there is none.
    fn begin_term(&self, state: State<M>) -> u64 {
        self.term.set(self.term.get() + 1);
        // Dropped when nothing is borrowed any more: it may hold repliers, whose end others are told of.
        let before = self.state.replace(state);
        let pending = self.pending.take();
        drop((before, pending));
        self.timer_due.set(None);
        // The timer of the last term finds out.
        self.timer.notify_one();
        self.term.get()
    }

    fn is_in(&self, term: u64) -> bool {
        self.term.get() == term
    }

    /// Has the machine do what is due by then, if not earlier.
    fn wake_timer_by(&self, due: Option<Instant>) {
        let is_earlier = |due: Instant| self.timer_due.get().is_none_or(|sleeps| due < sleeps);
        if due.is_some_and(is_earlier) {
            self.timer_due.set(due);
            self.timer.notify_one();
        }
    }

    fn start_timer(self: &Rc<Self>, term: u64) {
        let instance = Rc::clone(self);
        self.shard.io().spawn("coordinator timer", async move {
            while instance.is_in(term) {
                instance.sleep_till_due(term).await;
            }
            // The next term's timer must not miss what was meant for it.
            instance.timer.notify_one();
        });
    }

    /// Sleeps until something is due, which it then does, or may be due earlier.
    async fn sleep_till_due(self: &Rc<Self>, term: u64) {
        let io = self.shard.io();
        let mut changed = pin!(self.timer.notified());
        let Some(due) = self.timer_due.get() else {
            changed.await;
            return;
        };
        let mut sleeping = pin!(io.sleep(due.since(io.now()).max(TICK)));
        let is_over = first_of(sleeping.as_mut(), changed.as_mut()).await;
        if !is_over || !self.is_in(term) || io.now() < due {
            return;
        }
        self.timer_due.set(None);
        let expired = self.metrics.offsets_expired.get();
        let _ = self.run(|machine, context| machine.expire(context));
        if self.metrics.offsets_expired.get() > expired {
            io.reached(Landmark::OffsetsExpired);
        }
    }
}

/// What a [`Context`] is made of, to be used for more than one record.
struct Surroundings {
    now: Instant,
    wall_ms: i64,
    image: Rc<Image>,
    config: Rc<BrokerConfig>,
    record_bytes_max: usize,
    metrics: Arc<CoordinatorMetrics>,
    memory: Rc<StateMemory>,
    lines: Rc<Lines>,
}

impl Surroundings {
    fn in_context<T>(&self, io: &Io, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        act(&mut Context {
            now: self.now,
            wall_ms: self.wall_ms,
            image: &self.image,
            config: &self.config,
            record_bytes_max: self.record_bytes_max,
            random_u64: &mut || io.random_u64(),
            metrics: &self.metrics,
            memory: &self.memory,
            lines: &self.lines,
        })
    }

    /// Time has passed.
    fn resume(&mut self, io: &Io) {
        (self.now, self.wall_ms) = (io.now(), io.wall_ms());
    }
}

#[cfg(test)]
mod tests;
