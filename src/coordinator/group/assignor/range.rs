//! The `range` assignor: members take neighbouring partitions of each topic in turn.
//!
//! Each topic is divided by itself among the members that subscribe to it, so that topics with as many partitions and
//! the same subscribers are divided alike (co-partitioning). What members had before plays no part. Static members come
//! first, in the order of their instance ids: those outlive a restart, which changes member ids, so that a group of
//! static members keeps its assignment.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::{AssignError, Assignment, Assignor, GroupSpec, MemberSpec, Partitions, partition_id};

/// Divides each topic into ranges.
#[derive(Clone, Copy, Debug)]
pub struct Range;

impl Assignor for Range {
    fn name(&self) -> &'static str {
        "range"
    }

    fn assign<'a>(&self, spec: &GroupSpec<'a>) -> Result<Assignment<'a>, AssignError> {
        let mut divisions: FxHashMap<Uuid, Division> = FxHashMap::default();
        for member in spec.members.values() {
            for &topic in member.subscribed_topics {
                let partitions = spec.partitions_of(topic)?;
                let division = divisions.entry(topic).or_insert(Division::of(partitions));
                division.subscribers += 1;
            }
        }

        let mut members: Vec<_> = spec.members.iter().map(|(&id, m)| (id, m)).collect();
        members.sort_by(|&a, &b| by_turn(a, b));

        let mut assignment = Assignment::new();
        for (id, member) in members {
            let mut partitions = Partitions::new();
            for topic in member.subscribed_topics {
                let division = divisions.get_mut(topic).expect("counted above");
                let range = division.next_range();
                if !range.is_empty() {
                    partitions.insert(*topic, range.map(partition_id).collect());
                }
            }
            assignment.insert(id, partitions);
        }
        Ok(assignment)
    }
}

/// A topic of which the first subscribers have taken their ranges.
struct Division {
    partitions: usize,
    subscribers: usize,
    subscribers_served: usize,
    partitions_taken: usize,
}

impl Division {
    fn of(partitions: usize) -> Self {
        Self {
            partitions,
            subscribers: 0,
            subscribers_served: 0,
            partitions_taken: 0,
        }
    }

    /// The range of the next subscriber. What does not divide evenly goes to the first ones.
    fn next_range(&mut self) -> std::ops::Range<usize> {
        let remainder = self.partitions % self.subscribers;
        let has_extra = self.subscribers_served < remainder;
        let len = self.partitions / self.subscribers + usize::from(has_extra);
        let start = self.partitions_taken;
        self.partitions_taken += len;
        self.subscribers_served += 1;
        start..start + len
    }
}

/// Static members by instance id, then the others by member id, compared as Java compares strings.
fn by_turn(a: (&str, &MemberSpec<'_>), b: (&str, &MemberSpec<'_>)) -> Ordering {
    fn key<'a>((id, member): (&'a str, &MemberSpec<'a>)) -> (bool, &'a str) {
        let is_dynamic = member.instance_id.is_none();
        (is_dynamic, member.instance_id.unwrap_or(id))
    }
    let (a, b) = (key(a), key(b));
    let by_name = || a.1.encode_utf16().cmp(b.1.encode_utf16());
    a.0.cmp(&b.0).then_with(by_name)
}
