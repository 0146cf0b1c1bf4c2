//! Which groups are to hear of a change of the metadata: those of the consumer protocol that subscribe to a topic that
//! changed, and, of new topics, those with regular expressions. All others cost nothing then.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::consumer::ConsumerGroup;
use crate::cluster::image::Delta;

/// Consumer groups by what they watch.
#[derive(Default)]
pub(super) struct Watchers {
    by_topic: BTreeMap<String, BTreeSet<Rc<str>>>,
    of_new_topics: BTreeSet<Rc<str>>,
}

impl Watchers {
    /// The group may have begun to subscribe to these topics, or ceased to.
    pub fn follow(
        &mut self,
        id: &Rc<str>,
        group: &ConsumerGroup,
        topics: impl IntoIterator<Item = String>,
    ) {
        for topic in topics {
            match group.is_subscribed_to(&topic) {
                true => _ = self.by_topic.entry(topic).or_default().insert(id.clone()),
                false => self.remove(id, &topic),
            }
        }
        match group.has_patterns() {
            true => _ = self.of_new_topics.insert(id.clone()),
            false => _ = self.of_new_topics.remove(id),
        }
    }

    /// The group is gone, or of another protocol.
    pub fn forget(&mut self, id: &str, group: &ConsumerGroup) {
        group.topics().for_each(|topic| self.remove(id, topic));
        self.of_new_topics.remove(id);
    }

    fn remove(&mut self, id: &str, topic: &str) {
        if let Some(groups) = self.by_topic.get_mut(topic) {
            groups.remove(id);
            if groups.is_empty() {
                self.by_topic.remove(topic);
            }
        }
    }

    /// The groups that a change concerns.
    pub fn of(&self, change: &Delta) -> BTreeSet<Rc<str>> {
        let mut groups = BTreeSet::new();
        for topic in change.topics.values() {
            if let Some(named) = topic.after.as_ref().or(topic.before.as_ref()) {
                groups.extend(
                    self.by_topic
                        .get(&*named.name)
                        .into_iter()
                        .flatten()
                        .cloned(),
                );
            }
            if topic.before.is_none() {
                groups.extend(self.of_new_topics.iter().cloned());
            }
        }
        groups
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty() && self.of_new_topics.is_empty()
    }
}
