//! Groups of the classic protocol: members join, the leader among them assigns, all fetch what they
//! are assigned with a sync, and heartbeats keep them in. Behaves as Apache Kafka 4.3 does.
//!
//! | from | to | when |
//! |---|---|---|
//! | Empty | PreparingRebalance | a member joins |
//! | PreparingRebalance | CompletingRebalance | all have joined, or the time for it is over and some have |
//! | PreparingRebalance | Empty | nobody is left when the rebalance ends |
//! | CompletingRebalance | Stable | the leader's sync brought the assignments |
//! | CompletingRebalance, Stable | PreparingRebalance | a member joins, leaves, comes with other metadata, loses its session or never syncs; the leader joins again; assignments can't be stored |
//! | Empty | Dead | the group is deleted |
//!
//! The record of a group is written when its leader assigns, when it becomes empty, and when a static
//! member comes back under another id; it is the state [`ClassicGroup::restore`] begins with. Of what
//! happens in between nothing is durable: after a crash, members find the last stable generation and
//! join again if they must.
//!
//! Joins and syncs wait in the group, one each a member: a later one has the earlier told to join
//! again. Whatever ends a member's membership answers what it waits for, and no wait is longer than
//! the rebalance time-out and the sessions of those it is for. What clients say is copied, so that no
//! request's buffer is kept, and a group that would be more than one record can hold is refused where
//! it would be written.
//!
//! Handlers change the state themselves, ahead of the log, and leave a record of it: replaying a
//! record of one's own does nothing.

mod join;
mod member;
mod members;
mod migrate;
mod pending;
mod rebalance;
mod replies;
mod session;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod topics;

use std::fmt;
use std::mem::size_of;
use std::rc::Rc;

use corelog_shards::io::Instant;
use kafka_protocol::error::ResponseError;

use self::members::Members;
use self::rebalance::JoinTimer;
use self::topics::TopicNames;
use super::consumer_protocol::CONSUMER;
use super::records::Record;
use crate::coordinator::memory::text_bytes;
use crate::coordinator::{Context, Output};

pub use self::join::{asks_for_id, bytes_of_first_join};
pub use self::migrate::Migrant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    /// Members are to join.
    PreparingRebalance,
    /// Members are to sync; the leader's sync is awaited.
    CompletingRebalance,
    Stable,
    /// Deleted, and about to be forgotten.
    Dead,
}

impl State {
    pub const ALL: [Self; 5] = [
        Self::Empty,
        Self::PreparingRebalance,
        Self::CompletingRebalance,
        Self::Stable,
        Self::Dead,
    ];

    /// As Kafka's protocol has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A group of the classic protocol, or one that is only committed to.
pub struct ClassicGroup {
    id: Rc<str>,
    state: State,
    /// Milliseconds since 1970. None if the record that the group was restored from doesn't tell.
    state_since_ms: Option<i64>,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    members: Members,
    subscribed_topics: Option<TopicNames>,
    /// Until when members may join. While a rebalance is prepared.
    join_timer: Option<JoinTimer>,
    /// Until when all members must have synced.
    sync_deadline: Option<Instant>,
    /// No deadline of the group is earlier.
    wake: Option<Instant>,
    /// Whether the log knows the group.
    is_stored: bool,
    /// Whether its members were to join anew when its record was written.
    is_to_rebalance: bool,
    /// Records of the group's own making that are still to be replayed.
    unreplayed: usize,
}

impl ClassicGroup {
    /// A group without members.
    pub fn new(id: Rc<str>, context: &Context<'_>) -> Self {
        Self {
            id,
            state: State::Empty,
            state_since_ms: Some(context.wall_ms),
            generation: 0,
            protocol_type: None,
            protocol: None,
            members: Members::default(),
            subscribed_topics: None,
            join_timer: None,
            sync_deadline: None,
            wake: None,
            is_stored: false,
            is_to_rebalance: false,
            unreplayed: 0,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Milliseconds since 1970, if it is known.
    pub fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    /// Whether nobody has ever joined: offsets are all there is to the group.
    pub fn is_simple(&self) -> bool {
        self.protocol_type.is_none() && self.is_empty() && self.members.pending_joins.is_empty()
    }

    /// Whether nobody has ever been a member, or is about to be one.
    pub fn is_unused(&self) -> bool {
        self.is_empty() && self.generation == 0 && self.members.pending_joins.is_empty()
    }

    /// Whether the members are consumers, whose metadata tells topics.
    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type() == Some(CONSUMER)
    }

    /// The topics of all members, if they are consumers and understood.
    pub fn subscribed_topics(&self) -> Option<&TopicNames> {
        self.subscribed_topics.as_ref()
    }

    /// Whether offsets of the topic are in use, as far as one can tell.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// Whether offsets may be deleted of topics that the group isn't subscribed to.
    pub fn check_offset_delete(&self) -> Result<(), ResponseError> {
        match self.state {
            State::Dead => Err(ResponseError::GroupIdNotFound),
            State::Empty => Ok(()),
            _ if self.is_of_consumers() => Ok(()),
            _ => Err(ResponseError::NonEmptyGroup),
        }
    }

    /// Whether the group may be deleted.
    pub fn check_delete(&self) -> Result<(), ResponseError> {
        match self.state {
            State::Dead => Err(ResponseError::GroupIdNotFound),
            State::Empty => Ok(()),
            _ => Err(ResponseError::NonEmptyGroup),
        }
    }

    /// Deletes the group, which must be [empty](Self::is_empty): it is dead until its tombstone is
    /// replayed.
    pub fn delete(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        self.transition(State::Dead, context);
        out.records.push(Record::GroupMetadata {
            group: self.id.to_string(),
            value: None,
        });
    }

    /// What the group takes in memory, estimated from above, in bytes.
    pub fn held_bytes(&self) -> usize {
        let texts = [&self.protocol_type, &self.protocol].into_iter().flatten();
        let texts: usize = texts.map(|text| text_bytes(text)).sum();
        group_bytes(&self.id) + texts + self.members.held_bytes()
    }

    /// A lower bound of when [`ClassicGroup::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    fn wake_by(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn transition(&mut self, to: State, context: &Context<'_>) {
        use State::*;
        let is_valid = match to {
            Empty => self.state == PreparingRebalance,
            PreparingRebalance => matches!(self.state, Empty | CompletingRebalance | Stable),
            CompletingRebalance => self.state == PreparingRebalance,
            Stable => self.state == CompletingRebalance,
            Dead => self.state == Empty,
        };
        assert!(is_valid, "a group goes from {} to {to}", self.state);
        tracing::debug!(group = &*self.id, generation = self.generation, from = %self.state, %to);
        self.state = to;
        self.state_since_ms = Some(context.wall_ms);
    }
}

/// What a group without members takes, in bytes.
fn group_bytes(id: &str) -> usize {
    size_of::<ClassicGroup>() + text_bytes(id)
}
