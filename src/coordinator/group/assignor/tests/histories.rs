//! Groups that change at random: what holds after every step.

use super::*;
use crate::protocol::testing::Random;

const HISTORIES: u64 = 150;
const STEPS: usize = 15;

impl Group {
    fn any_member(&self, random: &mut Random) -> Option<String> {
        let place = random.below(self.members.len().max(1));
        self.members.keys().nth(place).cloned()
    }

    /// Something that happens to groups. `subscribe` chooses topics among those that there are.
    fn change(
        &mut self,
        random: &mut Random,
        subscribe: fn(&BTreeMap<Uuid, usize>, &mut Random) -> BTreeSet<Uuid>,
    ) {
        match random.below(7) {
            0..=2 => {
                for _ in 0..=random.below(3) {
                    let member_id = format!("{:04x}", random.below(0x10000));
                    let member = self.members.entry(member_id).or_default();
                    if random.below(3) == 0 {
                        member.instance_id = Some(format!("{:04x}", random.draw()));
                    }
                    member.subscribed_topics = subscribe(&self.topics, random);
                }
            }
            3 => {
                for _ in 0..=random.below(3) {
                    if let Some(member) = self.any_member(random) {
                        self.members.remove(&member);
                    }
                }
            }
            4 => {
                let place = random.below(self.topics.len());
                let partitions = self.topics.values_mut().nth(place);
                *partitions.expect("a topic") += random.below(9);
            }
            5 => {
                self.topics
                    .insert(id(u128::from(random.draw()) << 64), random.below(9));
                for member in self.members.values_mut() {
                    member.subscribed_topics = subscribe(&self.topics, random);
                }
            }
            _ => {
                if let Some(member) = self.any_member(random) {
                    let member = self.members.get_mut(&member).expect("a member");
                    member.subscribed_topics = subscribe(&self.topics, random);
                }
            }
        }
    }
}

fn all(topics: &BTreeMap<Uuid, usize>, _: &mut Random) -> BTreeSet<Uuid> {
    topics.keys().copied().collect()
}

fn some(topics: &BTreeMap<Uuid, usize>, random: &mut Random) -> BTreeSet<Uuid> {
    let topics = topics.keys().copied();
    topics.filter(|_| random.below(3) > 0).collect()
}

/// Every second topic, from the first or from the second on.
fn even_or_odd(topics: &BTreeMap<Uuid, usize>, random: &mut Random) -> BTreeSet<Uuid> {
    let topics = topics.keys().copied();
    topics.skip(random.below(2)).step_by(2).collect()
}

/// Runs histories, and looks at each step: the group before and after its assignment.
fn run(
    assignor: &dyn Assignor,
    subscribe: fn(&BTreeMap<Uuid, usize>, &mut Random) -> BTreeSet<Uuid>,
    look: impl Fn(&Group, &Group),
) {
    for seed in 0..HISTORIES {
        let random = &mut Random::new(seed);
        let topics = 1 + random.below(5);
        let mut group = Group::with_topics((0..topics).map(|_| random.below(20)));
        for _ in 0..STEPS {
            group.change(random, subscribe);
            let before = group.clone();
            group.assign(assignor);
            look(&before, &group);

            let settled = group.clone();
            group.assign(assignor);
            assert_eq!(group.targets(), settled.targets(), "without a change");
        }
    }
}

/// How few partitions can move while all members end up with as many, give or take one.
fn moves_min(group: &Group) -> usize {
    let partitions: usize = group.topics.values().sum();
    let members = group.members.len();
    if members == 0 {
        return 0;
    }
    let quota = partitions / members;
    let excess = group.loads().into_iter();
    let excess: Vec<usize> = excess.map(|load| load.saturating_sub(quota)).collect();
    let with_excess = excess.iter().filter(|excess| **excess > 0).count();
    excess.iter().sum::<usize>() - with_excess.min(partitions % members)
}

#[test]
fn uniform_balances_equal_subscriptions_with_the_fewest_moves() {
    run(&Uniform, all, |before, after| {
        assert!(after.imbalance() <= 1, "{after:?}");
        let moved = moved(&before.targets(), &after.targets());
        assert_eq!(moved, moves_min(before), "{before:?}\n{after:?}");
    });
}

#[test]
fn uniform_levels_the_subscribers_of_each_topic_where_they_subscribe_alike() {
    run(&Uniform, even_or_odd, |_, after| {
        let mut alike: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        for member in after.members.values() {
            let loads = alike.entry(&member.subscribed_topics).or_default();
            loads.insert(load(&member.target));
        }
        for loads in alike.values() {
            let (min, max) = (loads.first(), loads.last());
            assert!(max.zip(min).is_some_and(|(max, min)| max - min <= 1));
        }
    });
}

/// Where one move would better the balance of two members, it is made.
#[test]
fn uniform_leaves_no_move_that_would_level_two_members() {
    run(&Uniform, some, |_, after| {
        for giver in after.members.values() {
            for taker in after.members.values() {
                let mut given = giver.target.keys();
                if given.any(|topic| taker.subscribed_topics.contains(topic)) {
                    let (giver, taker) = (load(&giver.target), load(&taker.target));
                    assert!(giver <= taker + 1, "{after:?}");
                }
            }
        }
    });
}

#[test]
fn range_divides_each_topic_evenly_among_its_subscribers() {
    run(&Range, some, |_, after| {
        for topic in after.topics.keys() {
            let members = after.members.values();
            let subscribers = members.filter(|m| m.subscribed_topics.contains(topic));
            let mut sizes = BTreeSet::new();
            for member in subscribers {
                let partitions = member.target.get(topic);
                let size = partitions.map_or(0, BTreeSet::len);
                sizes.insert(size);
                let ends = partitions.and_then(|p| p.first().zip(p.last()));
                let is_contiguous = |(first, last): (&i32, &i32)| last - first + 1 == size as i32;
                assert!(ends.is_none_or(is_contiguous), "{after:?}");
            }
            let spread = sizes.last().zip(sizes.first());
            assert!(spread.is_none_or(|(max, min)| max - min <= 1), "{after:?}");
        }
    });
}
