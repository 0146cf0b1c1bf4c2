//! All topics, by name and by id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::Partition;

/// A topic and its partitions. Ids of partitions are dense from zero on, unless the log is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub id: Uuid,
    pub name: Arc<str>,
    pub partitions: BTreeMap<i32, Arc<Partition>>,
}

impl Topic {
    pub fn partition(&self, id: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(&id)
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }
}

/// The topics of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topics {
    by_id: BTreeMap<Uuid, Arc<Topic>>,
    id_by_name: BTreeMap<Arc<str>, Uuid>,
    /// Names with a `.` or `_`, by what they are when all of these are `_`: metrics can't tell
    /// them apart.
    colliding: BTreeMap<String, BTreeSet<Arc<str>>>,
}

fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

impl Topics {
    pub fn get(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_id.get(self.id_by_name.get(name)?)
    }

    pub fn id_of(&self, name: &str) -> Option<Uuid> {
        self.id_by_name.get(name).copied()
    }

    /// A topic whose name differs from `name` in nothing but `.` and `_`, or not at all.
    pub fn colliding_with(&self, name: &str) -> Option<&Arc<str>> {
        self.colliding.get(&collision_key(name)?)?.first()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.id_by_name.values().map(|id| {
            self.by_id
                .get(id)
                .expect("every name stands for a topic that is there")
        })
    }

    /// In the order of their names, from `name` (included) on.
    pub fn iter_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let from = (std::ops::Bound::Included(name), std::ops::Bound::Unbounded);
        self.id_by_name.range::<str, _>(from).map(|(_, id)| {
            self.by_id
                .get(id)
                .expect("every name stands for a topic that is there")
        })
    }

    pub(super) fn get_mut(&mut self, id: Uuid) -> Option<&mut Topic> {
        self.by_id.get_mut(&id).map(Arc::make_mut)
    }

    /// Puts in a topic, in place of the one of the same id if there is one.
    pub(super) fn put(&mut self, topic: Arc<Topic>) {
        let previous = self.id_by_name.insert(topic.name.clone(), topic.id);
        assert!(
            previous.is_none_or(|id| id == topic.id),
            "two topics are called {}",
            topic.name
        );
        if let Some(key) = collision_key(&topic.name) {
            self.colliding
                .entry(key)
                .or_default()
                .insert(topic.name.clone());
        }
        self.by_id.insert(topic.id, topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.id_by_name.remove(&topic.name);
        if let Some(key) = collision_key(&topic.name)
            && let Some(names) = self.colliding.get_mut(&key)
        {
            names.remove(&topic.name);
            if names.is_empty() {
                self.colliding.remove(&key);
            }
        }
        Some(topic)
    }
}
