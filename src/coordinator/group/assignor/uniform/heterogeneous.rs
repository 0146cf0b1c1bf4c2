//! Members subscribe to different topics: a partition can only go to the subscribers of its topic.
//!
//! 1. Members keep all that they have of topics they still subscribe to.
//! 2. What has no owner goes to the least loaded subscribers, the topics with the most partitions for each subscriber
//!    first: they have the fewest ways to even out.
//! 3. Topic by topic, partitions move from the most to the least loaded subscribers, until a turn around all topics
//!    moved nothing, or after [`TURNS_MAX`].
//!
//! Where all subscribers of a topic subscribe to the same topics, they differ by at most one partition in the end. Else
//! this holds for the subscribers of each topic that could still be bettered, and a chain of topics may slope.

use rustc_hash::FxHashMap;

use super::ranking::Ranking;
use super::{GroupSpec, Ownership, Topic};

/// Overlapping subscriptions even out by about half each turn. More turns cost more than they are worth.
const TURNS_MAX: usize = 16;

/// Gives every partition an owner among the subscribers of its topic.
pub fn assign(ownership: &mut Ownership, spec: &GroupSpec<'_>) {
    let mut subscribers = vec![Vec::new(); ownership.topics.len()];
    for (member, spec) in spec.members.values().enumerate() {
        for id in spec.subscribed_topics {
            subscribers[ownership.place_of_topic[id]].push(member);
        }
    }
    let mut load = vec![0; spec.members.len()];
    for topic in &ownership.topics {
        for owner in topic.owners.iter().flatten() {
            load[*owner] += 1;
        }
    }
    let topics = &mut ownership.topics;
    let order = order_of_topics(topics, &subscribers);
    let mut balance = Balance {
        topics,
        subscribers,
        load,
    };
    for &topic in &order {
        balance.assign_free(topic);
    }
    balance.even_out(&order);
}

/// The places of the topics, those with the most partitions for each subscriber first.
fn order_of_topics(topics: &[Topic], subscribers: &[Vec<usize>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..topics.len()).collect();
    order.sort_by(|&a, &b| {
        let (subscribers_a, subscribers_b) = (subscribers[a].len(), subscribers[b].len());
        // Both sides of the comparison of two fractions, multiplied by both denominators.
        let density_a = topics[a].owners.len() * subscribers_b;
        let density_b = topics[b].owners.len() * subscribers_a;
        (density_b.cmp(&density_a))
            .then(subscribers_a.cmp(&subscribers_b))
            .then_with(|| signed_halves(&topics[a]).cmp(&signed_halves(&topics[b])))
    });
    order
}

/// Apache Kafka compares ids as two signed numbers.
fn signed_halves(topic: &Topic) -> (i64, i64) {
    let (high, low) = topic.id.as_u64_pair();
    (high as i64, low as i64)
}

struct Balance<'a> {
    topics: &'a mut [Topic],
    /// By place of the topic, in ascending order.
    subscribers: Vec<Vec<usize>>,
    /// The partitions of each member.
    load: Vec<i64>,
}

impl Balance<'_> {
    /// Gives what has no owner to the least loaded subscribers.
    fn assign_free(&mut self, topic: usize) {
        let owners = self.topics[topic].owners.iter().enumerate();
        let free = owners.filter(|(_, owner)| owner.is_none());
        let free: Vec<usize> = free.map(|(partition, _)| partition).collect();
        if free.is_empty() {
            return;
        }
        let mut ranking = Ranking::new(&self.subscribers[topic], &self.load);
        for partition in free {
            let member = ranking.least_loaded(&self.load);
            self.give(topic, partition, member);
        }
    }

    fn even_out(&mut self, order: &[usize]) {
        let shared = |topic: &&usize| self.subscribers[**topic].len() > 1;
        let order: Vec<usize> = order.iter().filter(shared).copied().collect();
        // A turn ends where the last one changed something.
        let mut turn_end = None;
        for _ in 0..TURNS_MAX {
            for &topic in &order {
                if turn_end == Some(topic) {
                    return;
                }
                if self.even_out_topic(topic) || turn_end.is_none() {
                    turn_end = Some(topic);
                }
            }
        }
    }

    /// Moves partitions of the topic from its most to its least loaded subscribers. Returns whether it moved any.
    fn even_out_topic(&mut self, topic: usize) -> bool {
        let subscribers = &self.subscribers[topic];
        let loads = subscribers.iter().map(|&member| self.load[member]);
        let (min, max) = loads.fold((i64::MAX, 0), |(min, max), load| {
            (min.min(load), max.max(load))
        });
        if max - min <= 1 {
            return false;
        }
        // Only what a subscriber has from the start can be taken from it, the last partition first.
        let mut held: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
        for (partition, owner) in self.topics[topic].owners.iter().enumerate() {
            let owner = owner.expect("every partition has an owner by now");
            held.entry(owner).or_default().push(partition);
        }
        let mut ranking = Ranking::new(subscribers, &self.load);
        let mut has_moved = false;
        loop {
            let partition = loop {
                let Some(giver) = ranking.most_loaded(&self.load) else {
                    return has_moved;
                };
                match held.get_mut(&giver).and_then(Vec::pop) {
                    Some(partition) => break partition,
                    None => ranking.leave_out(),
                }
            };
            let taker = ranking.least_loaded(&self.load);
            if ranking.is_level() {
                return has_moved;
            }
            self.give(topic, partition, taker);
            has_moved = true;
        }
    }

    fn give(&mut self, topic: usize, partition: usize, member: usize) {
        let owner = &mut self.topics[topic].owners[partition];
        if let Some(giver) = owner.replace(member) {
            self.load[giver] -= 1;
        }
        self.load[member] += 1;
    }
}
