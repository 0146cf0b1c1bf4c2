//! The same results as Apache Kafka's own assignors.

use super::*;

/// Groups, and what the assignors of Apache Kafka 4.3.1 assigned to them, their maps being sorted ones. First the
/// assignor, then lines of topics (`id partitions`), then lines of members (`id|instance id|topics|target|assigned`).
const ASSIGNMENTS: &str =
    include_str!("../../../../../tests/formats/kafka-4.3.1/group-assignments.txt");

#[test]
fn groups_are_assigned_as_kafka_does() {
    let mut seen = BTreeMap::new();
    for case in ASSIGNMENTS.split_terminator("\n\n") {
        let (name, lines) = case.split_once('\n').expect("an assignor");
        let (topics, members): (Vec<_>, Vec<_>) = lines.lines().partition(|l| !l.contains('|'));
        let mut group = Group::default();
        for topic in topics {
            let (id, partitions) = topic.split_once(' ').expect("a topic");
            group.topics.insert(topic_id(id), number(partitions));
        }
        let mut expected = BTreeMap::new();
        for member in members {
            let fields: Vec<_> = member.split('|').collect();
            let [id, instance_id, topics, target, assigned] = fields[..] else {
                panic!("{member}");
            };
            let member = Member {
                instance_id: Some(instance_id.to_owned()).filter(|id| !id.is_empty()),
                subscribed_topics: topics.split_whitespace().map(topic_id).collect(),
                target: read_partitions(target),
            };
            group.members.insert(id.to_owned(), member);
            expected.insert(id.to_owned(), read_partitions(assigned));
        }
        group.assign(by_name(name).expect("an assignor"));
        assert_eq!(group.targets(), expected, "\n{case}\n");
        *seen.entry(name).or_insert(0) += 1;
    }
    assert!(seen["uniform"] > 20 && seen["range"] > 20);
}

fn topic_id(text: &str) -> Uuid {
    id(u128::from_str_radix(text, 16).expect("a topic id"))
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    let parsed = text.parse();
    parsed.unwrap_or_else(|_| panic!("no number: {text}"))
}

/// Such as `1:0-3,7 2:0`.
fn read_partitions(text: &str) -> Partitions {
    let topics = text.split_whitespace().map(|topic| {
        let (id, ranges) = topic.split_once(':').expect("partitions");
        let ranges = ranges.split(',').flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            number::<i32>(first)..=number(last)
        });
        (topic_id(id), ranges.collect())
    });
    topics.collect()
}
