//! How far groups are behind in what they read: where the log ends, less what the group has committed.
//!
//! Each is kept by the shard that owns it: the committed offset by the one that owns the group's partition of
//! `__consumer_offsets`, the end of the log by the one that owns the partition. So lag is read by asking both, without
//! a look into any log. There may be millions of offsets: they are read in parts, each of which holds every shard for a
//! slice at most and is of one moment, more or less. What was committed and not made durable yet is not seen.
//!
//! Lag is what `kafka-consumer-groups` shows: to the last acknowledged record, whatever transactions have made of it,
//! and below 0 for somebody who has committed what there is not. What a coordinator that loads or has failed keeps is
//! left out.

use std::sync::Arc;

use corelog_shards::io::futures::join_all;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::{OffsetQuery, Shard};

use super::group::committed::{Committed, CommittedOffset, Place};
use super::group::{Input, OFFSETS_TOPIC, partition_of};
use crate::broker::Broker;
use crate::turns::Turns;

/// Offsets of one part, more or less.
const PART_OFFSETS: usize = 2_000;

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
    /// Offset of the record that the group reads next.
    pub committed: i64,
    /// Offset of the next acknowledged record; `None` if the partition is gone.
    pub log_end: Option<i64>,
}

impl GroupLag {
    /// Records that the group has still to read.
    pub fn lag(&self) -> Option<i64> {
        self.log_end.map(|end| end - self.committed)
    }
}

/// Where a part begins.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Of the topic that groups are kept in.
    partition: Option<i32>,
    place: Place,
}

impl Cursor {
    /// At the beginning, for all groups.
    pub fn of_all() -> Self {
        Self {
            partition: None,
            place: Place::default(),
        }
    }

    /// At the beginning of one group.
    pub fn of_group(group: String) -> Self {
        let place = Place {
            group,
            is_of_one_group: true,
            ..Place::default()
        };
        Self {
            partition: None,
            place,
        }
    }
}

/// A part of the lags.
#[derive(Debug)]
pub struct Lags {
    pub lags: Vec<GroupLag>,
    /// Where the next part begins, unless this was the last one.
    pub next: Option<Cursor>,
}

/// Reads a part of the lags of groups, in the order of the partitions that groups are kept in, and of names. From any
/// shard.
pub async fn read(broker: &Broker, cursor: Cursor) -> Lags {
    let mut offsets = Vec::new();
    let mut next = Some(cursor);
    while offsets.len() < PART_OFFSETS
        && let Some(cursor) = next
    {
        let some;
        (some, next) = committed(broker, cursor).await;
        offsets.extend(some);
    }
    let ends = log_ends(broker, &offsets).await;
    let lags = offsets.into_iter().zip(ends);
    let lags = lags.map(|(offset, log_end)| GroupLag {
        group: offset.group,
        topic: offset.topic,
        partition: offset.partition,
        committed: offset.offset,
        log_end,
    });
    Lags {
        lags: lags.collect(),
        next,
    }
}

/// Some of the committed offsets, and where the others begin.
async fn committed(broker: &Broker, cursor: Cursor) -> (Vec<CommittedOffset>, Option<Cursor>) {
    let image = broker.image();
    let Some(topic) = image.topics.by_name(OFFSETS_TOPIC) else {
        return (Vec::new(), None);
    };
    let Cursor { partition, place } = cursor;
    let count = topic.partition_count();
    let partition = partition.unwrap_or_else(|| match place.is_of_one_group {
        true => partition_of(&place.group, count),
        false => 0,
    });
    let key = PartitionKey {
        topic: topic.id,
        partition,
    };
    let behind = (!place.is_of_one_group && partition + 1 < count as i32).then(|| Cursor {
        partition: Some(partition + 1),
        place: Place::default(),
    });
    drop(image);
    let ask = move |shard: Shard| async move {
        let groups = &Broker::of(&shard).groups;
        let asked = groups.ask(&key, |to| Input::Committed(place, to));
        asked.reply().await
    };
    match broker.shard.run_on_owner(&key, ask).await {
        Ok(Committed { offsets, next }) => {
            let here = next.map(|place| Cursor {
                partition: Some(partition),
                place,
            });
            (offsets, here.or(behind))
        }
        Err(_) => (Vec::new(), behind),
    }
}

/// Where the logs of these offsets end, in their order.
async fn log_ends(broker: &Broker, offsets: &[CommittedOffset]) -> Vec<Option<i64>> {
    let shard = &broker.shard;
    let mut parts: Vec<Vec<(usize, PartitionKey)>> = Vec::new();
    parts.resize_with(shard.count(), Vec::new);
    for (place, offset) in offsets.iter().enumerate() {
        if let Some(key) = offset.key {
            parts[shard.owner(&key)].push((place, key));
        }
    }
    let parts = parts.into_iter().enumerate();
    let asked = parts
        .filter(|(_, part)| !part.is_empty())
        .map(|(owner, part)| shard.run_on(owner, move |shard| ends_here(shard, part)));
    let mut ends = vec![None; offsets.len()];
    for (place, end) in join_all(asked).await.into_iter().flatten() {
        ends[place] = end;
    }
    ends
}

/// The owner's half of [`log_ends`].
async fn ends_here(shard: Shard, part: Vec<(usize, PartitionKey)>) -> Vec<(usize, Option<i64>)> {
    let latest = OffsetQuery::Latest { committed: false };
    let mut ends = Vec::with_capacity(part.len());
    let mut turns = Turns::on(shard.io());
    for (place, key) in part {
        let end = shard.offset_for(&key, None, latest).await.ok();
        ends.push((place, end.map(|end| end.offset)));
        turns.step().await;
    }
    ends
}
