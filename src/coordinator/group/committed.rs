//! Reading what groups have committed, in parts: a group after the other, in the order of their names.
//!
//! Between two parts anything may change. Who reads on from where a part has ended misses nothing that stays, and sees
//! nothing twice.

use std::ops::Bound;
use std::sync::Arc;

use corelog_shards::route::PartitionKey;

use super::Groups;
use super::offsets::{PartitionName, is_of};
use crate::cluster::image::Image;

/// Groups and offsets looked at for one part: some tens of microseconds.
const LOOKED_AT_MAX: usize = 256;

/// Where a part begins: with this group, or the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub group: String,
    /// Behind this offset of the group, if not with its first.
    pub behind: Option<PartitionName>,
    /// Only the offsets of the group that is named here are read.
    pub is_of_one_group: bool,
}

/// What a group has committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// `None` if there is no such partition any more.
    pub key: Option<PartitionKey>,
}

/// A part of what groups have committed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub offsets: Vec<CommittedOffset>,
    /// Where the next part begins, unless this was the last one.
    pub next: Option<Place>,
}

impl Groups {
    pub(super) fn committed(&self, from: &Place, image: &Image) -> Committed {
        let mut part = Committed::default();
        let mut looked_at = 0;
        let names = (Bound::Included(from.group.as_str()), Bound::Unbounded);
        let groups = self.groups.range::<str, _>(names);
        let groups = groups.take_while(|(id, _)| !from.is_of_one_group || ***id == *from.group);
        for (id, group) in groups {
            let place = |behind| Place {
                group: id.to_string(),
                behind,
                is_of_one_group: from.is_of_one_group,
            };
            if looked_at >= LOOKED_AT_MAX {
                part.next = Some(place(None));
                return part;
            }
            looked_at += 1;
            let seen = from.behind.as_ref().filter(|_| **id == *from.group);
            let mut last = seen.map(|(topic, partition)| (topic.as_str(), *partition));
            let id: Arc<str> = Arc::from(&**id);
            let mut name: Arc<str> = Arc::from("");
            let mut known = None;
            for (topic, partition, value) in group.offsets.iter_after(seen) {
                if looked_at >= LOOKED_AT_MAX {
                    part.next = Some(place(last.map(|(topic, at)| (topic.to_owned(), at))));
                    return part;
                }
                looked_at += 1;
                last = Some((topic, partition));
                if *name != *topic {
                    (name, known) = (Arc::from(topic), image.topics.by_name(topic));
                }
                if !is_of(value, known.map(|topic| topic.id)) {
                    continue;
                }
                let there = known.filter(|topic| topic.partition(partition).is_some());
                part.offsets.push(CommittedOffset {
                    group: id.clone(),
                    topic: name.clone(),
                    partition,
                    offset: value.offset,
                    key: there.map(|topic| PartitionKey {
                        topic: topic.id,
                        partition,
                    }),
                });
            }
        }
        part
    }
}
