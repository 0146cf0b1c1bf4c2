//! Coordinators: state machines over the records of an internal partition, on the shard that owns it. Their state is
//! what replaying those records gives.
//!
//! A machine is plain synchronous code, *(state, input, now) -> records, replies, timers*: no io, no clock and no
//! randomness of its own. Whoever runs it appends the records, replays them into the machine in the same turn, and
//! releases the replies once all records so far are durable. Loading after a start replays the same records through the
//! same code. If records cannot be appended, the machine is made anew from its log, and who waits is told to try again.
//!
//! [`runtime`] runs a machine, [`instances`] has all those of a shard, [`answers`] brings back what takes its time,
//! [`lag`] tells how far groups are behind, [`memory`] counts what all of them take.

pub mod answers;
pub mod group;
pub mod instances;
pub mod lag;
pub mod memory;
pub mod metrics;
pub mod runtime;

use std::error::Error;
use std::rc::Rc;

use corelog_shards::io::{Completer, Instant};

use self::memory::StateMemory;
use self::metrics::CoordinatorMetrics;
use crate::cluster::image::{Delta, Image};
use crate::config::BrokerConfig;
use crate::lines::Lines;

/// A state machine over the records of one partition. Begins without state.
pub trait Machine: Default + 'static {
    /// A request, with where its reply goes.
    type Input;
    type Record: LogRecord;

    /// Answers a request, now or later, with the records that this takes.
    fn handle(&mut self, input: Self::Input, context: &mut Context<'_>) -> Output<Self::Record>;

    /// Does what is due by now.
    fn expire(&mut self, context: &mut Context<'_>) -> Output<Self::Record>;

    /// When [`Machine::expire`] may have something to do: never later than it has.
    fn next_deadline(&self) -> Option<Instant>;

    /// The metadata changed; the context has it as it is now.
    fn metadata_changed(
        &mut self,
        change: &Delta,
        context: &mut Context<'_>,
    ) -> Output<Self::Record>;

    /// Takes over a record, of its own making or found in the log. The only place where durable state changes.
    fn replay(&mut self, record: Self::Record, context: &mut Context<'_>);

    /// The log was replayed to its end: what is not in it (deadlines, who is awaited) begins anew. Does a part of that
    /// work; whether there is more. Nothing else happens in between, but for changes of the metadata, which are seen by
    /// the context alone.
    fn loaded(&mut self, context: &mut Context<'_>, out: &mut Output<Self::Record>) -> bool;
}

/// What a machine keeps in its log.
pub trait LogRecord: Clone + Sized {
    /// Key and value, which stand one behind the other in `out` afterwards; what was in there is gone. An error for
    /// one that the format cannot hold.
    fn encode<'a>(&self, out: &'a mut Vec<u8>) -> Result<KeyAndValue<'a>, Box<dyn Error>>;

    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self, Box<dyn Error>>;
}

/// The bytes of a record. Without a value, what the key names is gone.
pub type KeyAndValue<'a> = (&'a [u8], Option<&'a [u8]>);

/// Why a request is not taken, or lost its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log is being read.
    Loading,
    /// The partition is not here, or its log cannot be read or written.
    NotHere,
}

/// What a machine may look at beside its own state.
pub struct Context<'a> {
    pub now: Instant,
    /// Milliseconds since 1970, for what is written down. May jump.
    pub wall_ms: i64,
    pub image: &'a Image,
    pub config: &'a BrokerConfig,
    /// What the log takes as one record, key and value together.
    pub record_bytes_max: usize,
    pub random_u64: &'a mut dyn FnMut() -> u64,
    pub metrics: &'a CoordinatorMetrics,
    /// Of the shard.
    pub memory: &'a Rc<StateMemory>,
    /// Of the shard, for what clients could repeat.
    pub lines: &'a Lines,
}

/// What becomes of an input.
pub struct Output<R> {
    /// To be appended and replayed, in this order.
    pub records: Vec<R>,
    replies: Vec<Box<dyn FnOnce()>>,
}

impl<R> Default for Output<R> {
    fn default() -> Self {
        let (records, replies) = (Vec::new(), Vec::new());
        Self { records, replies }
    }
}

impl<R> Output<R> {
    /// Whether nothing came of the input that anybody has to be told.
    fn has_no_replies(&self) -> bool {
        self.replies.is_empty()
    }

    /// Answers a request once the records are durable.
    pub fn reply<T: 'static>(&mut self, to: Replier<T>, reply: T) {
        self.replies.push(Box::new(move || to.0.complete(reply)));
    }

    /// Sends the replies. Dropping them instead tells whoever waits that there is none.
    pub fn release(self) {
        self.replies.into_iter().for_each(|reply| reply());
    }
}

/// Where the reply to one request goes. If it is dropped, the client is told to find its coordinator again.
pub struct Replier<T>(pub Completer<T>);
