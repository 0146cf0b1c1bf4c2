//! Large groups: sound results, with work that grows no faster than partitions and subscriptions.

use super::*;

const MEMBERS: usize = 1_000;

/// Of 10,000 partitions. A member subscribes to the topics that `subscribe` finds for its number.
fn large_group(topics: usize, subscribe: impl Fn(usize) -> Vec<u128>) -> Group {
    let mut group = Group::with_topics(vec![10_000 / topics; topics]);
    for member in 0..MEMBERS {
        group.join(&format!("{member:04}"), subscribe(member));
    }
    group
}

#[test]
fn uniform_with_equal_subscriptions() {
    for topics in [1, 100, 1_000] {
        let mut group = large_group(topics, |_| (1..=topics as u128).collect());
        group.assign(&Uniform);
        assert_eq!(group.imbalance(), 0);

        let before = group.targets();
        group.members.remove("0500");
        group.assign(&Uniform);
        assert_eq!(group.imbalance(), 1);
        assert_eq!(moved(&before, &group.targets()), 0);

        let before = group.targets();
        group.join("0500", 1..=topics as u128);
        group.assign(&Uniform);
        assert_eq!(group.imbalance(), 0);
        assert_eq!(moved(&before, &group.targets()), 10);
    }
}

/// Each member subscribes to two topics that the next one shares one of: the slowest to even out.
#[test]
fn uniform_with_a_chain_of_subscriptions() {
    let mut group = large_group(1_000, |member| {
        vec![member as u128 + 1, (member as u128 + 1) % 1_000 + 1]
    });
    group.assign(&Uniform);
    assert!(group.imbalance() <= 2, "{}", group.imbalance());

    let before = group.targets();
    group.members.remove("0500");
    group.assign(&Uniform);
    assert!(moved(&before, &group.targets()) < 100);
}

#[test]
fn uniform_when_one_member_has_all_and_subscriptions_differ() {
    for topics in [2, 100, 1_000] {
        let all: Vec<u128> = (1..=topics as u128).collect();
        let mut group = large_group(topics, |member| {
            let mut topics = all.clone();
            topics.remove(member % topics.len());
            topics
        });
        let owner = group.join("0000", all.iter().copied());
        owner.target = all
            .iter()
            .map(|&topic| (id(topic), (0..(10_000 / topics) as i32).collect()))
            .collect();
        group.assign(&Uniform);
        // Subscribers of one topic differ by one at most, those of different topics by another one.
        assert!(group.imbalance() <= 2, "{}", group.imbalance());
    }
}

#[test]
fn range_with_equal_and_different_subscriptions() {
    let mut group = large_group(10, |_| (1..=10).collect());
    group.assign(&Range);
    assert_eq!(group.imbalance(), 0);

    let mut group = large_group(1_000, |member| {
        let topics = 1..=1_000;
        topics.filter(|n| n % 3 == member as u128 % 3).collect()
    });
    group.assign(&Range);
}
