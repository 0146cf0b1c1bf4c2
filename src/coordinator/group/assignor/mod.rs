//! Server-side assignors of consumer groups (KIP-848): which member shall read which partition.
//!
//! Pure functions from a [`GroupSpec`] to an [`Assignment`], which decide as those of Apache Kafka 4.3 do:
//!
//! | assignor | balanced | keeps what members have | arranged |
//! |---|---|---|---|
//! | [`Uniform`] | over all topics | as far as balance allows | |
//! | [`Range`] | within each topic | only by its order of members | neighbouring partitions, the same ones of every topic |
//!
//! Apache Kafka walks hash maps of members and topics, in an order that nobody can rely on. Here everything is walked in
//! ascending order, so that one input has one result: the one of Apache Kafka, were its maps sorted. Like there, no
//! assignor looks at racks, so that the input has none.
//!
//! An assignment is computed at one stretch. Its cost grows with the number of partitions plus the number of
//! subscriptions (members times the topics of each).

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use uuid::Uuid;

pub use range::Range;
pub use uniform::Uniform;

/// Partitions by the id of their topic. No topic has an empty set.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// What each member shall read. It has every member of the group, and each partition of a subscribed topic exactly once.
pub type Assignment<'a> = BTreeMap<&'a str, Partitions>;

/// A way to spread partitions over the members of a group.
pub trait Assignor {
    /// As clients ask for it and `group.consumer.assignors` lists it.
    fn name(&self) -> &'static str;

    /// The next target assignment of the group.
    fn assign<'a>(&self, spec: &GroupSpec<'a>) -> Result<Assignment<'a>, AssignError>;
}

/// The assignor of this name, if there is one.
pub fn by_name(name: &str) -> Option<&'static dyn Assignor> {
    const ALL: [&dyn Assignor; 2] = [&Uniform, &Range];
    ALL.into_iter().find(|assignor| assignor.name() == name)
}

/// A group as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub struct GroupSpec<'a> {
    /// By member id.
    pub members: BTreeMap<&'a str, MemberSpec<'a>>,
    /// How many partitions each topic has. Topics that no member subscribes to do no harm.
    pub topics: BTreeMap<Uuid, usize>,
}

/// A member as an assignor sees it.
#[derive(Clone, Copy, Debug)]
pub struct MemberSpec<'a> {
    /// `group.instance.id`, if the member is static.
    pub instance_id: Option<&'a str>,
    /// Those of its subscribed topics that exist. Members may share one set, which saves comparing them.
    pub subscribed_topics: &'a BTreeSet<Uuid>,
    /// Its part of the target assignment so far. Topics that it does not subscribe to, partitions that do not exist and
    /// partitions that an earlier member has as well are passed over.
    pub target: &'a Partitions,
}

impl GroupSpec<'_> {
    /// Whether all members subscribe to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut subscriptions = self.members.values().map(|m| m.subscribed_topics);
        let Some(first) = subscriptions.next() else {
            return true;
        };
        subscriptions.all(|other| std::ptr::eq(first, other) || first == other)
    }

    fn partitions_of(&self, topic: Uuid) -> Result<usize, AssignError> {
        let partitions = self.topics.get(&topic);
        partitions.copied().ok_or(AssignError::UnknownTopic(topic))
    }
}

/// Why there is no assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignError {
    /// A member subscribes to a topic that the spec does not have.
    UnknownTopic(Uuid),
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTopic(id) => {
                write!(f, "a member subscribes to topic {id}, which does not exist")
            }
        }
    }
}

impl std::error::Error for AssignError {}

/// The id of the partition at this place of its topic.
fn partition_id(place: usize) -> i32 {
    i32::try_from(place).expect("a topic has no more partitions than there are ids")
}
