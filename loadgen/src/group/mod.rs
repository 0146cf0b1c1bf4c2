//! The consumer's side of a group, in both of Kafka's protocols.
//!
//! A [`Member`] is the whole of one consumer's part in a group as a state machine without I/O: [`Member::next`] says
//! which request is to be sent, [`Member::answered`] takes the reply. It has one request on the way at a time, as a
//! broker takes the requests of a connection one after the other anyway. A [`Membership`] carries them over connections.
//! What a member holds is numbered as the partitions of a [`Subscription`].
//!
//! At least once: a member commits how far it has read before it lets go of a partition, and begins where the group
//! has committed. What a member that was lost had read and not committed is read again by another one.

mod api;
mod assignor;
mod classic;
mod consumer;
mod member;
mod membership;
mod offsets;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub use api::{Answer, Api, Ask};
pub use member::Member;
pub use membership::{Membership, Told};

use crate::cluster::Topic;
use crate::workload::{Assignor, GroupProtocol};

/// What all members of a group have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id.
    pub group: String,
    pub protocol: GroupProtocol,
    pub assignor: Assignor,
    /// How long a member of the classic protocol may say nothing.
    pub session_timeout: Duration,
    /// Between two commits of a member that has read on.
    pub commit_interval: Duration,
    pub subscription: Subscription,
    /// Where each partition is read from while nothing is committed.
    pub starts: Arc<[i64]>,
}

/// The topics that a group reads, which all have the same number of partitions. These are numbered over all topics.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub topics: Arc<[Topic]>,
    /// Of each topic.
    pub partitions: u32,
}

impl Subscription {
    /// How many partitions there are.
    pub fn count(&self) -> usize {
        self.topics.len() * self.partitions as usize
    }

    /// The number of a partition; `None` if it is not among them.
    fn number(&self, is_topic: impl Fn(&Topic) -> bool, partition: i32) -> Option<usize> {
        let partition = u32::try_from(partition).ok()?;
        let topic = self.topics.iter().position(is_topic)?;
        (partition < self.partitions).then(|| (topic as u32 * self.partitions + partition) as usize)
    }

    fn number_by_name(&self, name: &str, partition: i32) -> Option<usize> {
        self.number(|topic| topic.name == name, partition)
    }

    fn number_by_id(&self, id: Uuid, partition: i32) -> Option<usize> {
        self.number(|topic| topic.id == id, partition)
    }

    /// These partitions, which come in the order of their numbers, by topic; each with something of its own.
    fn by_topic<T>(
        &self,
        numbers: impl IntoIterator<Item = (usize, T)>,
    ) -> Vec<(&Topic, Vec<(i32, T)>)> {
        let mut topics: Vec<(usize, Vec<(i32, T)>)> = Vec::new();
        for (number, value) in numbers {
            let topic = number / self.partitions as usize;
            let partition = (number % self.partitions as usize) as i32;
            match topics.last_mut() {
                Some((last, of_topic)) if *last == topic => of_topic.push((partition, value)),
                _ => topics.push((topic, vec![(partition, value)])),
            }
        }
        let named = |(topic, of_topic)| (&self.topics[topic], of_topic);
        topics.into_iter().map(named).collect()
    }
}
