mod histories;
mod kafka;
mod large;
mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::*;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A group over time: its target assignment is what was assigned last.
#[derive(Clone, Debug, Default)]
struct Group {
    members: BTreeMap<String, Member>,
    topics: BTreeMap<Uuid, usize>,
}

#[derive(Clone, Debug, Default)]
struct Member {
    instance_id: Option<String>,
    subscribed_topics: BTreeSet<Uuid>,
    target: Partitions,
}

impl Group {
    /// Of topics 1, 2 and so on, each with as many partitions.
    fn with_topics(partitions: impl IntoIterator<Item = usize>) -> Self {
        let partitions = partitions.into_iter().zip(1..);
        Self {
            members: BTreeMap::new(),
            topics: partitions.map(|(count, n)| (id(n), count)).collect(),
        }
    }

    fn join(&mut self, member_id: &str, topics: impl IntoIterator<Item = u128>) -> &mut Member {
        let member = self.members.entry(member_id.to_owned()).or_default();
        member.subscribed_topics = topics.into_iter().map(id).collect();
        member
    }

    fn spec(&self) -> GroupSpec<'_> {
        let members = self.members.iter().map(|(id, member)| {
            let spec = MemberSpec {
                instance_id: member.instance_id.as_deref(),
                subscribed_topics: &member.subscribed_topics,
                target: &member.target,
            };
            (id.as_str(), spec)
        });
        GroupSpec {
            members: members.collect(),
            topics: self.topics.clone(),
        }
    }

    fn targets(&self) -> BTreeMap<String, Partitions> {
        let members = self.members.iter();
        members
            .map(|(id, member)| (id.clone(), member.target.clone()))
            .collect()
    }

    /// Makes what the assignor says the target, which has to be sound.
    fn assign(&mut self, assignor: &dyn Assignor) {
        let spec = self.spec();
        let assignment = assignor.assign(&spec).expect("all topics are known");
        let assignment: BTreeMap<_, _> = (assignment.into_iter())
            .map(|(id, partitions)| (id.to_owned(), partitions))
            .collect();
        assert!(assignment.keys().eq(self.members.keys()));
        for (id, partitions) in assignment {
            self.members.get_mut(&id).expect("a member").target = partitions;
        }
        self.assert_each_partition_has_one_owner();
    }

    fn assert_each_partition_has_one_owner(&self) {
        let mut assigned = BTreeMap::new();
        let mut subscribed = BTreeSet::new();
        for (member_id, member) in &self.members {
            subscribed.extend(&member.subscribed_topics);
            for (topic, partitions) in &member.target {
                assert!(!partitions.is_empty(), "{member_id} has an empty {topic}");
                assert!(
                    member.subscribed_topics.contains(topic),
                    "{member_id} has {topic} without subscribing to it"
                );
                for &partition in partitions {
                    let other = assigned.insert((*topic, partition), member_id);
                    assert_eq!(other, None, "{topic}-{partition} has two owners");
                }
            }
        }
        let wanted = subscribed.iter().flat_map(|&topic| {
            let partitions = 0..partition_id(self.topics[topic]);
            partitions.map(move |partition| (*topic, partition))
        });
        assert!(assigned.into_keys().eq(wanted), "{self:?}");
    }

    /// The partitions of each member, in the order of their ids.
    fn loads(&self) -> Vec<usize> {
        self.members.values().map(|m| load(&m.target)).collect()
    }

    /// Between the most and the least loaded member.
    fn imbalance(&self) -> usize {
        let loads = self.loads();
        let max = loads.iter().max().copied().unwrap_or(0);
        max - loads.iter().min().copied().unwrap_or(0)
    }
}

fn load(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

/// How many partitions went from one member to another, both being there before and after.
fn moved(before: &BTreeMap<String, Partitions>, after: &BTreeMap<String, Partitions>) -> usize {
    let lost = before.iter().filter_map(|(id, before)| {
        let after = after.get(id)?;
        let lost = before.iter().map(|(topic, partitions)| {
            let kept = after.get(topic);
            let is_lost = |partition| !kept.is_some_and(|kept| kept.contains(partition));
            partitions.iter().filter(|p| is_lost(*p)).count()
        });
        Some(lost.sum::<usize>())
    });
    lost.sum()
}

fn partitions<const N: usize>(of: [(u128, &[i32]); N]) -> Partitions {
    let of = of.into_iter();
    of.map(|(topic, partitions)| (id(topic), partitions.iter().copied().collect()))
        .collect()
}

fn both() -> [&'static dyn Assignor; 2] {
    [&Uniform, &Range]
}

#[test]
fn assignors_go_by_their_names() {
    for name in ["uniform", "range"] {
        assert_eq!(by_name(name).map(Assignor::name), Some(name));
    }
    assert!(by_name("Uniform").is_none());
}

#[test]
fn a_group_without_members_has_an_empty_assignment() {
    for assignor in both() {
        let group = Group::with_topics([3]);
        assert_eq!(assignor.assign(&group.spec()), Ok(Assignment::new()));
    }
}

#[test]
fn a_member_without_subscriptions_gets_nothing() {
    for assignor in both() {
        let mut group = Group::with_topics([3]);
        group.join("a", []);
        group.assign(assignor);
        assert_eq!(group.loads(), [0]);
        group.join("b", [1]);
        group.assign(assignor);
        assert_eq!(group.loads(), [0, 3]);
    }
}

#[test]
fn a_topic_that_does_not_exist_is_refused() {
    for assignor in both() {
        let mut group = Group::with_topics([3]);
        group.join("a", [1, 7]);
        let unknown = Err(AssignError::UnknownTopic(id(7)));
        assert_eq!(assignor.assign(&group.spec()), unknown);
        group.join("b", [1]);
        assert_eq!(assignor.assign(&group.spec()), unknown);
    }
}

#[test]
fn a_target_that_contradicts_itself_or_the_topics_does_no_harm() {
    for topics_of_b in [&[1, 2][..], &[1]] {
        for assignor in both() {
            let mut group = Group::with_topics([3, 2]);
            group.join("a", [1, 2]).target = partitions([(1, &[-1, 0, 1, 9]), (8, &[0])]);
            group.join("b", topics_of_b.iter().copied()).target =
                partitions([(1, &[1, 2]), (2, &[i32::MAX])]);
            group.assign(assignor);
            assert!(group.imbalance() <= 1 || assignor.name() == "range");
        }
    }
}
