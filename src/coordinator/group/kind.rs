//! The kinds of groups: the state machine of each protocol, and what all of them can do.

use corelog_shards::io::Instant;
use kafka_protocol::error::ResponseError;

use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::records::Record;
use crate::coordinator::{Context, Output};

/// A group, by its protocol.
pub(super) enum Kind {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl Kind {
    /// As Kafka writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    /// Empty if there is none yet.
    pub fn protocol_type(&self) -> &str {
        match self {
            Self::Classic(group) => group.protocol_type().unwrap_or_default(),
            Self::Consumer(_) => "consumer",
        }
    }

    /// As Kafka writes it.
    pub fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state().name(),
            Self::Consumer(group) => group.state().name(),
        }
    }

    /// Whether nobody is in it. A classic group that is deleted already is not.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether offsets of the topic are in use, as far as one can tell.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// Whether offsets may be deleted of topics that the group isn't subscribed to.
    pub fn check_offset_delete(&self) -> Result<(), ResponseError> {
        match self {
            Self::Classic(group) => group.check_offset_delete(),
            Self::Consumer(_) => Ok(()),
        }
    }

    /// Whether the group may be deleted.
    pub fn check_delete(&self) -> Result<(), ResponseError> {
        match self {
            Self::Classic(group) => group.check_delete(),
            Self::Consumer(group) if group.is_empty() => Ok(()),
            Self::Consumer(_) => Err(ResponseError::NonEmptyGroup),
        }
    }

    /// Deletes the group, which must be [empty](Self::is_empty).
    pub fn delete(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        match self {
            Self::Classic(group) => group.delete(context, out),
            Self::Consumer(group) => group.tombstones(out),
        }
    }

    /// The log was read to its end.
    pub fn loaded(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        match self {
            Self::Classic(group) => group.loaded(context, out),
            Self::Consumer(group) => group.loaded(context),
        }
    }

    /// Does what is due by now. What comes of it must be replayed before the group is asked for anything else.
    pub fn expire(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        match self {
            Self::Classic(group) => group.expire(context, out),
            Self::Consumer(group) => group.expire(context, out),
        }
    }

    /// What it takes in memory, estimated from above, in bytes.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Classic(group) => group.held_bytes(),
            Self::Consumer(group) => group.held_bytes(),
        }
    }

    /// When there may be something to do: never later than there is.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Classic(group) => group.next_deadline(),
            Self::Consumer(group) => group.next_deadline(),
        }
    }
}
