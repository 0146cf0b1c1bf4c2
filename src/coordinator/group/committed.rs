//! Reading what groups have committed, in parts: a group after the other, in the order of their names.
//!
//! Between two parts anything may change. Who reads on from where a part has ended misses nothing that stays, and sees
//! nothing twice.

use std::ops::Bound;
use std::sync::Arc;

use corelog_shards::route::PartitionKey;

use super::Groups;
use super::offsets::is_of;
use crate::cluster::image::Image;

/// Groups and offsets looked at for one part: some tens of microseconds.
const LOOKED_AT_MAX: usize = 256;

/// Where a part begins: with this offset, or the next one behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub group: String,
    pub topic: String,
    pub partition: i32,
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
            let (topic, partition) = match **id == *from.group {
                true => (from.topic.as_str(), from.partition),
                false => ("", 0),
            };
            let place = |topic: &str, partition| Place {
                group: id.to_string(),
                topic: topic.to_owned(),
                partition,
                is_of_one_group: from.is_of_one_group,
            };
            if looked_at >= LOOKED_AT_MAX {
                part.next = Some(place("", 0));
                return part;
            }
            looked_at += 1;
            let id: Arc<str> = Arc::from(&**id);
            for (topic, partitions) in group.offsets.from(topic, partition) {
                let known = image.topics.by_name(topic);
                let name: Arc<str> = Arc::from(topic);
                for (partition, value) in partitions {
                    if looked_at >= LOOKED_AT_MAX {
                        part.next = Some(place(topic, partition));
                        return part;
                    }
                    looked_at += 1;
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
        }
        part
    }
}
