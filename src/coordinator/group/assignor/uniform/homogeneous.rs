//! All members subscribe to the same topics: anyone may have any partition.
//!
//! Every member has the same quota, and the first that have more than that, or the last that have to, keep or get one
//! more. So no two members differ by more than one partition, and no more partitions move than that takes.

use super::Ownership;

/// A partition by the places of its topic and its own.
type Slot = (usize, usize);

/// Gives every partition an owner, among this many members.
pub fn assign(ownership: &mut Ownership, members: usize) {
    let mut held: Vec<Vec<Slot>> = vec![Vec::new(); members];
    let mut free: Vec<Slot> = Vec::new();
    for (topic, slots) in ownership.topics.iter().enumerate() {
        for (partition, owner) in slots.owners.iter().enumerate() {
            let owned = owner.map_or(&mut free, |member| &mut held[member]);
            owned.push((topic, partition));
        }
    }
    let partitions: usize = ownership.topics.iter().map(|t| t.owners.len()).sum();
    let quota_min = partitions / members;
    let mut extras = partitions % members;

    let mut vacancies = Vec::new();
    for (member, held) in held.iter().enumerate() {
        let members_left = members - member;
        let has_extra = extras > 0 && (held.len() > quota_min || members_left <= extras);
        let quota = quota_min + usize::from(has_extra);
        extras -= usize::from(has_extra);
        match held.get(quota..) {
            Some(excess) => free.extend(excess),
            None => vacancies.push((member, quota - held.len())),
        }
    }

    let mut free = free.into_iter();
    for (member, vacant) in vacancies {
        for (topic, partition) in free.by_ref().take(vacant) {
            ownership.topics[topic].owners[partition] = Some(member);
        }
    }
    assert_eq!(free.len(), 0, "the quotas add up to all partitions");
}
