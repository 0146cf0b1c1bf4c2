//! What a fetch decides, apart from how it waits and reads: plain functions of state and input.

pub mod session;
pub mod sessions;
pub mod shares;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::protocol::TopicRef;
use crate::protocol::fetch::{FetchPartition, FetchTopic};

/// One partition that a fetch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub topic: TopicRef,
    /// What a topic that is wanted by id was called when its session first knew of it.
    pub name: Option<Arc<str>>,
    pub params: FetchPartition,
}

impl Wanted {
    /// The partitions of a request in its order, each once: what it says last of one holds.
    pub fn of_request(topics: Vec<FetchTopic>) -> Vec<Self> {
        let mut all: Vec<Wanted> = Vec::new();
        // In order: the names are the client's, who could choose them to collide in a hash map.
        let mut places: BTreeMap<(TopicRef, i32), usize> = BTreeMap::new();
        for topic in topics {
            let name = topic.topic;
            for params in topic.partitions {
                match places.entry((name.clone(), params.partition)) {
                    Entry::Occupied(place) => all[*place.get()].params = params,
                    Entry::Vacant(place) => {
                        place.insert(all.len());
                        all.push(Wanted {
                            topic: name.clone(),
                            name: None,
                            params,
                        });
                    }
                }
            }
        }
        all
    }

    /// Notes the name that a topic's id stands for now, unless one was noted before.
    pub fn note_name(&mut self, name_of: impl Fn(Uuid) -> Option<Arc<str>>) {
        if let (TopicRef::Id(id), None) = (&self.topic, &self.name) {
            self.name = name_of(*id);
        }
    }

    /// Copies of the topics' names, so that what is kept of a request does not keep all of it.
    pub fn detach(all: &mut [Self]) {
        let mut last: Option<(TopicRef, TopicRef)> = None;
        for wanted in all {
            let copy = match (&last, &wanted.topic) {
                (Some((name, copy)), topic) if name == topic => copy.clone(),
                (_, TopicRef::Name(name)) => {
                    TopicRef::Name(StrBytes::from_string(name.to_string()))
                }
                (_, TopicRef::Id(id)) => TopicRef::Id(*id),
            };
            let name = std::mem::replace(&mut wanted.topic, copy.clone());
            last = Some((name, copy));
        }
    }
}

/// What a fetch has found out about one of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub has_records: bool,
    pub is_error: bool,
    pub is_diverging: bool,
}

#[cfg(test)]
pub(crate) mod testing;
