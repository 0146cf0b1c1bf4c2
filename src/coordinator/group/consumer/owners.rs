//! Who may still work on a partition.

use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::member::{Assigned, Member};

/// The partitions that members have or have yet to give up, each with the epoch of its owner. What is in here nobody
/// else may get.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Owners {
    epochs: FxHashMap<(Uuid, i32), i32>,
}

impl Owners {
    pub fn has(&self, topic: Uuid, partition: i32) -> bool {
        self.epochs.contains_key(&(topic, partition))
    }

    pub fn add(&mut self, member: &Member) {
        for partition in held_by(member) {
            // A log that was compacted may tell of a partition's next owner before it tells that the last one gave it
            // up: the greater epoch is the next one's.
            let epoch = self.epochs.entry(partition).or_insert(member.epoch);
            *epoch = member.epoch.max(*epoch);
        }
    }

    pub fn remove(&mut self, member: &Member) {
        for partition in held_by(member) {
            if self.epochs.get(&partition) == Some(&member.epoch) {
                self.epochs.remove(&partition);
            }
        }
    }
}

/// The partitions that a member has or has yet to give up.
pub(super) fn held_by(member: &Member) -> impl Iterator<Item = (Uuid, i32)> {
    fn flat(assigned: &Assigned) -> impl Iterator<Item = (Uuid, i32)> {
        let topics = assigned.iter();
        topics
            .flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
    }
    flat(&member.assigned).chain(flat(&member.revoking))
}
