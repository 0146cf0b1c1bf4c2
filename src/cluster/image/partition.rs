//! Where one partition lives and who leads it.

use uuid::Uuid;

use super::ReplayError;
use crate::cluster::ids::DIRECTORY_MIGRATING;
use crate::cluster::records::{
    LEADER_UNCHANGED, NO_LEADER, PartitionChangeRecord, PartitionRecord,
};

/// Of the recovery state: the leader was in sync, or has caught up since.
const RECOVERED: i8 = 0;
/// Of the recovery state in a change: stays as it is.
const RECOVERY_UNCHANGED: i8 = -1;

/// A partition's replicas, in the order of preference, and their states.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    pub replicas: Vec<i32>,
    /// The directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    /// Replicas that have left the in-sync set but hold all committed records.
    pub elr: Vec<i32>,
    pub last_known_elr: Vec<i32>,
    /// [`NO_LEADER`] while nobody may lead.
    pub leader: i32,
    /// 1 while a leader that was not in sync recovers.
    pub leader_recovery_state: i8,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
}

impl Partition {
    /// A partition of a new topic, led by the first of its in-sync replicas.
    pub fn new(replicas: Vec<i32>, directories: Vec<Uuid>, isr: Vec<i32>) -> Self {
        assert_eq!(replicas.len(), directories.len());
        Self {
            leader: *isr.first().expect("a new partition has an in-sync replica"),
            replicas,
            directories,
            isr,
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader_recovery_state: RECOVERED,
            leader_epoch: 0,
            partition_epoch: 0,
        }
    }

    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }

    pub fn has_preferred_leader(&self) -> bool {
        self.replicas.first() == Some(&self.leader)
    }

    pub(super) fn from_record(record: &PartitionRecord) -> Result<Self, ReplayError> {
        let mut partition = Self {
            replicas: record.replicas.clone(),
            directories: record.directories.clone(),
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        };
        partition.settle_directories()?;
        Ok(partition)
    }

    pub(super) fn apply(&mut self, change: &PartitionChangeRecord) -> Result<(), ReplayError> {
        fn set<T: Clone>(property: &mut T, change: &Option<T>) {
            if let Some(value) = change {
                property.clone_from(value);
            }
        }
        set(&mut self.replicas, &change.replicas);
        set(&mut self.directories, &change.directories);
        set(&mut self.isr, &change.isr);
        set(&mut self.removing_replicas, &change.removing_replicas);
        set(&mut self.adding_replicas, &change.adding_replicas);
        set(&mut self.elr, &change.eligible_leader_replicas);
        set(&mut self.last_known_elr, &change.last_known_elr);
        if change.leader != LEADER_UNCHANGED {
            self.leader = change.leader;
            self.leader_epoch = self.leader_epoch.wrapping_add(1);
        }
        if change.leader_recovery_state != RECOVERY_UNCHANGED {
            self.leader_recovery_state = change.leader_recovery_state;
        }
        self.partition_epoch = self.partition_epoch.wrapping_add(1);
        self.settle_directories()
    }

    /// Records from before directories had ids name none.
    fn settle_directories(&mut self) -> Result<(), ReplayError> {
        if self
            .directories
            .iter()
            .all(|dir| *dir == DIRECTORY_MIGRATING)
        {
            self.directories = vec![DIRECTORY_MIGRATING; self.replicas.len()];
        }
        if self.directories.len() == self.replicas.len() {
            Ok(())
        } else {
            Err(ReplayError::DirectoriesOfReplicas {
                replicas: self.replicas.len(),
                directories: self.directories.len(),
            })
        }
    }

    /// The record that makes this partition as it is.
    pub fn to_record(&self, topic_id: Uuid, partition_id: i32) -> PartitionRecord {
        let unless_empty = |ids: &Vec<i32>| (!ids.is_empty()).then(|| ids.clone());
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader,
            leader_recovery_state: self.leader_recovery_state,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
            eligible_leader_replicas: unless_empty(&self.elr),
            last_known_elr: unless_empty(&self.last_known_elr),
        }
    }
}
