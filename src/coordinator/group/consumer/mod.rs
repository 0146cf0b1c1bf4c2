//! Groups of the consumer protocol (KIP-848): members say in heartbeats what they subscribe to and what they own, the
//! coordinator assigns and leads each member there step by step. Behaves as Apache Kafka 4.3 does.
//!
//! Three epochs follow each other. The *group epoch* moves whenever a member comes, goes or subscribes to something
//! else, and when subscribed topics change; the *target epoch* is the group epoch that what members are to have was
//! computed for; a *member's epoch* is the target epoch it was led to last, and never is ahead of it.
//!
//! | group is | while |
//! |---|---|
//! | Empty | it has no members |
//! | Assigning | its epoch is ahead of its target's |
//! | Reconciling | a member is not Stable, or not at the target's epoch |
//! | Stable | none of these |
//!
//! | a member goes from | to | when |
//! |---|---|---|
//! | any | UnrevokedPartitions | it is to give up partitions that it has not yet said it no longer owns; it keeps its epoch |
//! | any | UnreleasedPartitions | it has nothing to give up, but somebody else still has partitions that it is to get |
//! | any | Stable | it has nothing to give up, and gets all that is missing |
//! | UnrevokedPartitions | gone | it does not give up partitions within its rebalance time-out |
//! | any | gone | it leaves, or sends no heartbeat for the session time-out |
//!
//! Members move on with their own heartbeats alone. A partition has one owner: it goes to its next one only when the
//! record that takes it from the last one has been replayed.
//!
//! What the records say is in [`Durable`], which changes by replaying records and in no other way: handlers work out
//! what the state will be and write records of it. Beside that there are deadlines, which begin anew after a load.
//!
//! Regular expressions are resolved in the background ([`ConsumerGroup::expire`]), in steps, so that no request waits
//! for it and none of them holds the core.
//!
//! Members of the classic protocol may be among the others, so that a group goes over from one protocol to the other
//! while it works: a classic group becomes a consumer group with its first member of the consumer protocol
//! ([`ConsumerGroup::of_classic`]), and a classic one again with the last of them ([`ConsumerGroup::take_downgraded`]).
//! To such members an epoch is a generation: they are told to join again to take a step, and fetch with a sync what they
//! have. None of their joins waits.

mod classic_join;
mod classic_requests;
mod commit;
mod describe;
mod downgrade;
mod durable;
mod heartbeat;
mod held;
mod leave;
mod member;
mod metadata_hash;
mod owners;
mod patterns;
mod reconcile;
mod refresh;
mod replay;
mod request;
mod subscriptions;
mod target;
#[cfg(test)]
mod tests;
mod timers;
mod upgrade;

use std::fmt;
use std::rc::Rc;

use corelog_shards::io::Instant;
use kafka_protocol::error::ResponseError;

use self::durable::Durable;
use self::held::group_bytes;
use self::member::{Member, MemberState};
use self::refresh::Refresh;
use self::timers::Timers;
use super::classic::ClassicGroup;
use super::records::Record;
use super::{TopicChanges, has_room};
use crate::coordinator::{Context, Output};

pub use self::request::{JOIN, check_heartbeat};

/// Why a request is refused, and what to tell the client beside the code.
pub type Rejection = (ResponseError, Option<String>);

fn rejection(error: ResponseError, text: impl Into<String>) -> Rejection {
    (error, Some(text.into()))
}

/// What a group does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl State {
    pub const ALL: [Self; 4] = [
        Self::Empty,
        Self::Assigning,
        Self::Reconciling,
        Self::Stable,
    ];

    /// As Kafka writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A group of the consumer protocol.
///
/// It must be where its records are replayed to before it handles a request: a group that a first heartbeat makes is
/// put in its place, and taken away again if the heartbeat is refused.
pub struct ConsumerGroup {
    durable: Durable,
    timers: Timers,
    /// Subscribed topics may have changed since the metadata hash was computed.
    is_metadata_stale: bool,
    /// The offset of the newest metadata known to have a topic that was not there before.
    topics_created_at: i64,
    /// Regular expressions that are being resolved.
    refresh: Option<Refresh>,
    /// When the memory was too small for what regular expressions match, in milliseconds since 1970.
    refresh_refused_at_ms: Option<i64>,
    /// See [`ConsumerGroup::take_downgraded`].
    downgraded: Option<Box<ClassicGroup>>,
}

impl ConsumerGroup {
    /// A group that nobody has joined.
    pub fn new(id: Rc<str>) -> Self {
        Self {
            durable: Durable::new(id),
            timers: Timers::default(),
            is_metadata_stale: true,
            topics_created_at: -1,
            refresh: None,
            refresh_refused_at_ms: None,
            downgraded: None,
        }
    }

    pub fn state(&self) -> State {
        self.durable.state()
    }

    /// Whether it has no members. Only then may it be deleted.
    pub fn is_empty(&self) -> bool {
        self.durable.members.is_empty()
    }

    /// Whether a member subscribes to this topic, by its name or by a regular expression.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.durable.subscriptions.topics.contains_key(topic)
    }

    /// Takes over a record of this group. One that says that the group itself is gone leaves an empty one: whoever
    /// keeps the group forgets it.
    pub fn replay(&mut self, record: Record) {
        self.durable.replay(record);
    }

    /// The log was read to its end: sessions, and the time for giving up partitions, begin anew.
    pub fn loaded(&mut self, context: &Context<'_>) {
        let settings = self.durable.settings(context);
        for member in self.durable.members.values() {
            let session = context.now + settings.session_timeout;
            self.timers.renew_session(&member.id, session);
            if member.state == MemberState::UnrevokedPartitions {
                self.timers.await_revocation(member, context.now);
            }
        }
        self.topics_created_at = context.image.last_offset;
    }

    /// Does what is due by now: fences members that have gone silent or keep what they are to give up, and goes on with
    /// regular expressions.
    pub fn expire(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        let overdue = self.timers.take_overdue(context.now);
        let is_overdue = |(id, why): &(String, timers::Overdue)| {
            let member = self.durable.members.get(id)?;
            why.holds_of(member).then_some(member)
        };
        let fenced: Vec<&Member> = overdue.iter().filter_map(is_overdue).collect();
        if !fenced.is_empty() {
            for member in &fenced {
                tracing::info!(
                    group = &*self.durable.id,
                    member = member.id,
                    "a member is fenced"
                );
                self.timers.remove(&member.id);
            }
            self.downgraded = self.durable.fence(&fenced, context, out).map(Box::new);
            return;
        }
        let Some(refresh) = &mut self.refresh else {
            return;
        };
        let counted_bytes = refresh.found_bytes();
        let mut done = refresh.step(context.image);
        let more = refresh.found_bytes().saturating_sub(counted_bytes);
        if done.is_none() && !has_room(context, self.durable.held_bytes, more) {
            // What is left stays as it is until the next refresh.
            self.refresh_refused_at_ms = Some(context.wall_ms);
            done = Some(refresh.take_found());
        }
        if let Some(resolved) = done {
            self.refresh = None;
            self.durable
                .take_resolved(resolved, counted_bytes, context, &mut out.records);
        }
    }

    /// What the group takes in memory, estimated from above, in bytes.
    pub fn held_bytes(&self) -> usize {
        let found = self.refresh.as_ref().map_or(0, Refresh::found_bytes);
        group_bytes(&self.durable.id) + self.durable.held_bytes + found
    }

    /// When there may be something to do: never later than there is.
    pub fn next_deadline(&self) -> Option<Instant> {
        let refresh = self.refresh.as_ref().map(|refresh| refresh.due);
        self.timers.earliest().into_iter().chain(refresh).min()
    }

    /// Topics have changed. What it means for the group is worked out at the next heartbeat of a member.
    pub fn topics_changed(&mut self, changes: &TopicChanges) {
        if let Some(created_at) = changes.created_at() {
            self.topics_created_at = self.topics_created_at.max(created_at);
        }
        self.is_metadata_stale |= changes.touch(&self.durable.subscriptions.topics);
    }

    /// How many topics its members subscribe to.
    pub fn topics_subscribed(&self) -> usize {
        self.durable.subscriptions.topics.len()
    }

    /// Writes that the group is gone with all that belongs to it.
    pub fn tombstones(&self, out: &mut Output<Record>) {
        let members: Vec<&str> = self.durable.members.keys().map(String::as_str).collect();
        self.durable.tombstones(&members, &mut out.records);
    }

    /// The classic group that this one has become with the last request or deadline: it is to take this one's place
    /// before the records of that are replayed.
    pub fn take_downgraded(&mut self) -> Option<ClassicGroup> {
        self.downgraded.take().map(|classic| *classic)
    }
}

/// Whether all of these fit into the log, each by itself.
fn check_sizes(records: &[Record], context: &Context<'_>) -> Result<(), Rejection> {
    let mut bytes = Vec::new();
    let fits = |record: &Record| {
        record.encode(&mut bytes).is_ok() && bytes.len() <= context.record_bytes_max
    };
    match records.iter().all(fits) {
        true => Ok(()),
        // What Kafka makes of RECORD_TOO_LARGE.
        false => Err((ResponseError::UnknownServerError, None)),
    }
}
