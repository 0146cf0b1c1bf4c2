//! What changed between two images: what the controller's shard publishes to all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Broker, ConfigResource, ControllerNode, Image, Partition, Properties, Security, Topic,
};

/// A topic before and after. Never `None` on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicChange {
    /// `None` for a topic that is new.
    pub before: Option<Arc<Topic>>,
    /// `None` for a topic that is gone.
    pub after: Option<Arc<Topic>>,
    /// The partitions that are new or different in `after`.
    pub partitions: BTreeSet<i32>,
}

impl TopicChange {
    /// The partitions that are new or different, as they are now.
    pub fn changed_partitions(&self) -> impl Iterator<Item = (i32, &Arc<Partition>)> {
        let after = self.after.as_deref();
        self.partitions
            .iter()
            .filter_map(move |id| Some((*id, after?.partition(*id)?)))
    }
}

/// What changed. `None` as the value of a map stands for 'gone'.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    pub last_offset: i64,
    pub last_epoch: i32,
    pub topics: BTreeMap<Uuid, TopicChange>,
    /// Those of deleted topics are among them.
    pub configs: BTreeMap<ConfigResource, Option<Arc<Properties>>>,
    pub features: BTreeMap<String, Option<i16>>,
    pub next_producer_id: Option<i64>,
    pub brokers: BTreeMap<i32, Option<Arc<Broker>>>,
    pub controllers: BTreeMap<i32, Option<Arc<ControllerNode>>>,
    pub security: Option<Arc<Security>>,
}

impl Delta {
    /// Whether nothing but the offset moved.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
            && self.configs.is_empty()
            && self.features.is_empty()
            && self.next_producer_id.is_none()
            && self.brokers.is_empty()
            && self.controllers.is_empty()
            && self.security.is_none()
    }

    /// The topics that are gone, as they were.
    pub fn deleted_topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics
            .values()
            .filter(|change| change.after.is_none())
            .filter_map(|change| change.before.as_ref())
    }
}

impl Image {
    /// Moves this image on to where `delta` was taken. It must be where `delta` started from.
    pub fn apply(&mut self, delta: &Delta) {
        assert!(
            self.last_offset <= delta.last_offset,
            "metadata goes back from offset {} to {}",
            self.last_offset,
            delta.last_offset
        );
        self.last_offset = delta.last_offset;
        self.last_epoch = delta.last_epoch;
        // Deletions first: a new topic may have the name of one that is gone.
        for topic in delta.deleted_topics() {
            self.topics.remove(topic.id);
        }
        for topic in delta
            .topics
            .values()
            .filter_map(|change| change.after.as_ref())
        {
            self.topics.put(topic.clone());
        }
        put_all(&mut self.configs, &delta.configs);
        put_all(&mut self.features, &delta.features);
        put_all(&mut self.brokers, &delta.brokers);
        put_all(&mut self.controllers, &delta.controllers);
        if let Some(next) = delta.next_producer_id {
            self.next_producer_id = next;
        }
        if let Some(security) = &delta.security {
            self.security = security.clone();
        }
    }
}

fn put_all<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, changes: &BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
}
