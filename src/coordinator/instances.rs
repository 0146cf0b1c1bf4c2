//! The coordinators of a shard: one for each partition of a topic that the shard owns.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_shards::io::{Slot, slot};
use corelog_shards::mutation::{Mutation, is_on};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;

use super::memory::StateMemory;
use super::runtime::{Instance, OneAtATime};
use super::{Machine, Refusal, Replier};
use crate::cluster::image::Delta;

/// Instances by partition.
pub struct Instances<M: Machine> {
    by_partition: RefCell<BTreeMap<PartitionKey, Rc<Instance<M>>>>,
    checkpointing: Rc<OneAtATime>,
    memory: Rc<StateMemory>,
}

impl<M: Machine> Default for Instances<M> {
    fn default() -> Self {
        Self {
            by_partition: RefCell::default(),
            checkpointing: Rc::default(),
            memory: Rc::default(),
        }
    }
}

impl<M: Machine> Instances<M> {
    /// A partition is open here, with this leader epoch.
    pub fn open(&self, shard: &Shard, key: PartitionKey, name: &str, leader_epoch: i32) {
        let known = self.get(&key);
        match known {
            Some(instance) => instance.lead(leader_epoch),
            None => {
                let (shard, name) = (shard.clone(), name.to_owned());
                let checkpointing = Rc::clone(&self.checkpointing);
                let memory = Rc::clone(&self.memory);
                let opened = Instance::open(shard, key, name, leader_epoch, checkpointing, memory);
                self.by_partition.borrow_mut().insert(key, opened);
            }
        }
    }

    /// A partition leaves this shard.
    pub fn close(&self, key: &PartitionKey) {
        let closed = self.by_partition.borrow_mut().remove(key);
        if let Some(instance) = closed {
            instance.close();
        }
    }

    /// Tells all of a change of the metadata.
    pub fn metadata_changed(&self, change: &Delta) {
        if is_on(Mutation::HideMetadata) {
            return;
        }
        let all: Vec<_> = self.by_partition.borrow().values().cloned().collect();
        for instance in all {
            instance.metadata_changed(change);
        }
    }

    /// What all of them hold.
    pub fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// The partitions that have a coordinator here.
    pub fn partitions(&self) -> Vec<PartitionKey> {
        self.by_partition.borrow().keys().copied().collect()
    }

    /// Puts a request to the coordinator of a partition.
    pub fn ask<T>(
        &self,
        key: &PartitionKey,
        input: impl FnOnce(Replier<T>) -> M::Input,
    ) -> Asked<T> {
        let (replier, reply) = slot();
        let taken = match self.get(key) {
            Some(instance) => instance.handle(input(Replier(replier))),
            None => Err(Refusal::NotHere),
        };
        Asked(taken.map(|()| reply))
    }

    /// Lets `look` see the machine of a partition as it is, which may be ahead of its log.
    pub fn look<T>(&self, key: &PartitionKey, look: impl FnOnce(&M) -> T) -> Result<T, Refusal> {
        self.get(key).ok_or(Refusal::NotHere)?.look(look)
    }

    fn get(&self, key: &PartitionKey) -> Option<Rc<Instance<M>>> {
        self.by_partition.borrow().get(key).cloned()
    }
}

/// A request that a coordinator has, or has refused.
pub struct Asked<T>(Result<Slot<T>, Refusal>);

impl<T> Asked<T> {
    /// Waits for the reply.
    pub async fn reply(self) -> Result<T, Refusal> {
        self.0?.await.ok_or(Refusal::NotHere)
    }
}
