//! How many groups there are, by kind and state, and offsets: counted when somebody asks, in parts, since groups change
//! their state in many places and seldom does anybody look.

use std::collections::BTreeMap;
use std::ops::Bound;

use corelog_shards::metrics::Counter;
use corelog_shards::shard::Shard;

use super::records::Record;
use super::{Groups, classic, consumer};
use crate::broker::Broker;
use crate::budget::MemoryUse;
use crate::coordinator::Refusal;
use crate::coordinator::metrics::CoordinatorMetrics;
use crate::turns::Turns;

/// Groups counted for one part: some tens of microseconds.
const COUNTED_MAX: usize = 500;

/// Names of a kind and a state.
type Standing = (&'static str, &'static str);

/// What was counted so far.
#[derive(Clone, Debug)]
pub struct Census {
    /// Groups of each kind in each state, as Kafka writes these. All there are have their place.
    pub groups: BTreeMap<Standing, usize>,
    pub offsets: usize,
    /// What groups and offsets hold of the shard's memory, those that are being loaded included.
    pub memory: MemoryUse,
    /// Coordinators that read their log.
    pub loading: usize,
    /// Coordinators that answer. Only these have their groups counted.
    pub active: usize,
    /// Coordinators whose log cannot be read.
    pub failed: usize,
}

impl Default for Census {
    fn default() -> Self {
        let classic = classic::State::ALL.map(|state| (("classic", state.name()), 0));
        let consumer = consumer::State::ALL.map(|state| (("consumer", state.name()), 0));
        Self {
            groups: classic.into_iter().chain(consumer).collect(),
            offsets: 0,
            memory: MemoryUse::default(),
            loading: 0,
            active: 0,
            failed: 0,
        }
    }
}

impl Census {
    /// Of all coordinators of a shard.
    pub async fn of_shard(shard: &Shard) -> Self {
        let groups = &Broker::of(shard).groups;
        let mut census = Self {
            memory: MemoryUse {
                used_bytes: groups.memory().used(),
                limit_bytes: Broker::of(shard).config().groups.memory_bytes,
            },
            ..Self::default()
        };
        let mut turns = Turns::on(shard.io());
        for key in groups.partitions() {
            let mut rest = Ok(Some(String::new()));
            while let Ok(Some(from)) = rest {
                rest = groups.look(&key, |groups| groups.count(&from, &mut census));
                turns.step().await;
            }
            match rest {
                Ok(_) => census.active += 1,
                Err(Refusal::Loading) => census.loading += 1,
                Err(Refusal::NotHere) => census.failed += 1,
            }
        }
        census
    }
}

impl Groups {
    /// Counts some groups, from this one on; where the others begin.
    pub(super) fn count(&self, from: &str, census: &mut Census) -> Option<String> {
        let names = (Bound::Included(from), Bound::Unbounded);
        let groups = self.groups.range::<str, _>(names);
        for (counted, (id, group)) in groups.enumerate() {
            if counted >= COUNTED_MAX {
                return Some(id.to_string());
            }
            let standing = (group.kind.name(), group.kind.state_name());
            *census.groups.entry(standing).or_default() += 1;
            census.offsets += group.offsets.len();
        }
        None
    }
}

/// Counts what records of a request do, or of a sweep.
pub(super) fn count(records: &[Record], gone: &Counter, metrics: &CoordinatorMetrics) {
    for record in records {
        match record {
            Record::OffsetCommit { value: Some(_), .. } => metrics.offset_commits.add(1),
            Record::OffsetCommit { value: None, .. } => gone.add(1),
            Record::ConsumerGroupMetadata { value: Some(_), .. } => {
                metrics.consumer_rebalances.add(1);
            }
            _ => {}
        }
    }
}
