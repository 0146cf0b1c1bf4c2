//! How the leader of a classic group deals the partitions out. All members read the same topics.

use std::collections::BTreeMap;

/// A member as its leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What it says that it holds, numbered over all topics.
    pub owned: Vec<usize>,
    /// In which generation.
    pub generation: i32,
}

/// As Kafka's `RangeAssignor`: of each topic a range for each member, in their order. What each member gets.
pub(super) fn range(topics: usize, partitions: usize, members: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new(); members];
    let (each, more) = (partitions / members, partitions % members);
    for topic in 0..topics {
        let mut next = topic * partitions;
        for (at, of_member) in all.iter_mut().enumerate() {
            let count = each + usize::from(at < more);
            of_member.extend(next..next + count);
            next += count;
        }
    }
    all
}

/// As Kafka's `CooperativeStickyAssignor`: members keep what they hold as far as all get the same number, give or take
/// one, and a partition that moves is given to nobody until its holder has let go of it. What each member gets.
pub(super) fn cooperative_sticky(partitions: usize, members: &[Candidate]) -> Vec<Vec<usize>> {
    let (each, mut more) = (partitions / members.len(), partitions % members.len());
    let holders = holders(partitions, members);
    let mut all: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
    for (at, of_member) in all.iter_mut().enumerate() {
        let held = holders.iter().filter(|(_, holder)| **holder == at);
        let held: Vec<usize> = held.map(|(partition, _)| *partition).collect();
        let keeps_more = held.len() > each && more > 0;
        more -= usize::from(keeps_more);
        of_member.extend(held.into_iter().take(each + usize::from(keeps_more)));
    }
    let mut is_kept = vec![false; partitions];
    all.iter().flatten().for_each(|at| is_kept[*at] = true);
    let mut free = (0..partitions).filter(|at| !is_kept[*at]);
    for of_member in &mut all {
        let is_short = of_member.len() <= each && more > 0;
        more -= usize::from(is_short);
        let missing = (each + usize::from(is_short)).saturating_sub(of_member.len());
        // Still in the hands of another one: it comes in the next generation.
        let given = free.by_ref().take(missing);
        of_member.extend(given.filter(|partition| !holders.contains_key(partition)));
        of_member.sort_unstable();
    }
    all
}

/// Who holds which partition: if several say so, the one of the latest generation.
fn holders(partitions: usize, members: &[Candidate]) -> BTreeMap<usize, usize> {
    let mut holders: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for &partition in member.owned.iter().filter(|it| **it < partitions) {
            let holder = holders.entry(partition).or_insert(at);
            if members[*holder].generation < member.generation {
                *holder = at;
            }
        }
    }
    holders
}
