//! Who leads a partition after something happened to a broker, and which replicas count as in sync.
//!
//! | candidates | preferred election | online election | unclean election |
//! |---|---|---|---|
//! | the first replica | first | in its turn | in its turn |
//! | the leader it has | second | first | first |
//! | any other replica, in order | third | second | second |
//! | the last known leader, if nobody is in sync | fourth | third | third |
//! | any replica that serves, in sync or not | | | fourth |
//!
//! A candidate must serve and be in sync, or be eligible (`elr`) while nobody is in sync. The last two
//! rows may lose records, which the recovery state says.

use uuid::Uuid;

use super::Context;
use crate::cluster::image::{Broker, Partition, Topic};
use crate::cluster::records::{NO_LEADER, PartitionChangeRecord};

const RECOVERING: i8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    Preferred,
    Online,
    Unclean,
}

/// Works out the change of one partition.
pub(super) struct PartitionUpdate<'a> {
    topic_id: Uuid,
    partition_id: i32,
    partition: &'a Partition,
    /// The in-sync set as it is to be, before anybody is elected.
    target_isr: Vec<i32>,
    election: Election,
    /// How many in-sync replicas make eligible ones unnecessary; `None` while the feature is off.
    min_isr_of_elr: Option<usize>,
    serves: &'a dyn Fn(i32) -> bool,
}

impl<'a> PartitionUpdate<'a> {
    /// `serves` says which replicas may lead as far as their brokers are concerned.
    pub(super) fn new(
        context: &Context<'_>,
        topic: &'a Topic,
        (partition_id, partition): (i32, &'a Partition),
        election: Election,
        serves: &'a dyn Fn(i32) -> bool,
    ) -> Self {
        let min_isr = context
            .min_insync_replicas(&topic.name)
            .min(partition.replicas.len());
        Self {
            topic_id: topic.id,
            partition_id,
            partition,
            target_isr: partition.isr.clone(),
            election,
            min_isr_of_elr: context.image.is_elr_enabled().then_some(min_isr),
            serves,
        }
    }

    /// Takes a replica out of the in-sync set. Without eligible replicas the last one stays in it,
    /// so that it is known who has the records.
    pub(super) fn out_of_sync(mut self, replica: i32) -> Self {
        self.target_isr.retain(|id| *id != replica);
        self
    }

    /// The record that changes what has to change, if anything has.
    pub(super) fn record(self) -> Option<PartitionChangeRecord> {
        let unchanged = PartitionChangeRecord {
            partition_id: self.partition_id,
            topic_id: self.topic_id,
            ..Default::default()
        };
        let mut change = unchanged.clone();
        let partition = self.partition;
        let mut isr = self.target_isr.clone();
        let mut elr = self.eligible_replicas();

        let (leader, is_clean) = self.elect(&elr);
        if leader != partition.leader {
            change.leader = leader;
            if elr.contains(&leader) {
                isr = vec![leader];
                elr.retain(|replica| *replica != leader);
            }
            if !is_clean {
                isr = vec![leader];
                elr.clear();
                if partition.leader_recovery_state != RECOVERING {
                    change.leader_recovery_state = RECOVERING;
                }
            }
        }
        if self.min_isr_of_elr.is_none() {
            elr.clear();
        }
        if isr != partition.isr && (!isr.is_empty() || self.min_isr_of_elr.is_some()) {
            change.isr = Some(isr);
        }
        if elr != partition.elr {
            change.eligible_leader_replicas = Some(elr);
        }
        if self.min_isr_of_elr.is_some() {
            if change.leader == NO_LEADER && partition.last_known_elr.is_empty() {
                change.last_known_elr = Some(vec![partition.leader]);
            } else if change.leader >= 0 && !partition.last_known_elr.is_empty() {
                change.last_known_elr = Some(Vec::new());
            }
        }
        (change != unchanged).then_some(change)
    }

    /// The replicas out of sync that hold all committed records: those that were in sync when fewer
    /// than `min.insync.replicas` remained. With the feature off there may be some left over.
    fn eligible_replicas(&self) -> Vec<i32> {
        let Partition { isr, elr, .. } = self.partition;
        let is_out = |id: &i32| !self.target_isr.contains(id);
        match self.min_isr_of_elr {
            Some(min_isr) if self.target_isr.len() >= min_isr => Vec::new(),
            _ => {
                let left = isr.iter().copied().filter(|id| !elr.contains(id));
                elr.iter().copied().chain(left).filter(is_out).collect()
            }
        }
    }

    /// The leader to be, and whether it is sure to have all committed records.
    fn elect(&self, elr: &[i32]) -> (i32, bool) {
        let partition = self.partition;
        let is_candidate = |replica: i32| {
            let in_sync = self.target_isr.contains(&replica)
                || (self.target_isr.is_empty() && elr.contains(&replica));
            in_sync && (self.serves)(replica)
        };
        let first = partition.replicas.first().copied();
        let preferred = first.filter(|_| self.election == Election::Preferred);
        let clean = preferred
            .into_iter()
            .chain([partition.leader])
            .chain(partition.replicas.iter().copied())
            .find(|replica| is_candidate(*replica));
        if let Some(leader) = clean {
            return (leader, true);
        }
        if let [last_known] = partition.last_known_elr[..]
            && self.min_isr_of_elr.is_some()
            && self.target_isr.is_empty()
            && elr.is_empty()
            && (self.serves)(last_known)
        {
            return (last_known, false);
        }
        let mut any = partition.replicas.iter().copied();
        match any.find(|replica| (self.serves)(*replica)) {
            Some(leader) if self.election == Election::Unclean => (leader, false),
            _ => (NO_LEADER, true),
        }
    }
}

/// Whether the replica of `partition` on `broker` is there, as far as its directory is known.
pub(super) fn has_replica(partition: &Partition, broker: &Broker) -> bool {
    let mut placed = partition.replicas.iter().zip(&partition.directories);
    placed.any(|(id, dir)| *id == broker.id && broker.has_dir(*dir))
}

#[cfg(test)]
mod tests;
