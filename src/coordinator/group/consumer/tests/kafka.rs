//! The same replies and records as Apache Kafka's own coordinator.

use super::*;
use crate::coordinator::group::records::CurrentTopicPartitions;

/// What members did, and what Apache Kafka 4.3.1 made of it, with `range` as its only assignor. A history begins with
/// `S` and the assignment interval. Then:
///
/// - `T`: so many milliseconds pass; `M`: a topic has so many partitions; `D`: a topic is deleted
/// - `H`: a heartbeat, with member, epoch, instance, rebalance time-out, names, regular expression, assignor and owned
///   partitions. `-` is none, `.` is empty
/// - `C`: a commit, with member, epoch, version, topic and partition; `#`: its error
/// - `=`: the reply of a heartbeat, with member, epoch, interval and assignment; `!`: its error
/// - else a record: `m` member, `g` group, `t` target of a member, `e` epoch of the target, `c` what a member has, `x`
///   regular expression; a tombstone with a dash before it. Targets and expressions that follow each other are sorted.
const HISTORIES: &str =
    include_str!("../../../../../tests/formats/kafka-4.3.1/consumer-groups.txt");

#[test]
fn groups_do_as_apache_kafka_says() {
    let mut events = 0;
    for history in HISTORIES.split("S ").skip(1) {
        let (interval, expected) = history.split_once('\n').expect("the assignment interval");
        let mut replay = Replay::new(interval);
        for line in expected.lines() {
            // What Kafka answers is what is to be found out.
            if !line.starts_with(' ') {
                replay.perform(line);
                events += 1;
            }
        }
        let said: Vec<_> = replay.said.iter().map(String::as_str).collect();
        let expected: Vec<_> = expected.lines().collect();
        for (at, (said, expected)) in said.iter().zip(&expected).enumerate() {
            let before = replay.said[at.saturating_sub(30)..at].join("\n");
            assert_eq!(said, expected, "after\n{before}\n");
        }
        assert_eq!(said.len(), expected.len());
    }
    assert!(events > 1_000);
}

struct Replay {
    world: World,
    topics_created: u64,
    said: Vec<String>,
}

impl Replay {
    fn new(interval: &str) -> Self {
        let interval = ("group.consumer.assignment.interval.ms", interval);
        let mut world = World::with(&[interval, ("group.consumer.assignors", "range")]);
        world.delete_topic("a");
        world.delete_topic("b");
        Self {
            world,
            topics_created: 0,
            said: Vec::new(),
        }
    }

    fn perform(&mut self, event: &str) {
        self.said.push(event.to_owned());
        let fields: Vec<_> = event.split(' ').collect();
        match fields[..] {
            ["T", time] => {
                let written = self.world.log.len();
                self.world.pass(Duration::from_millis(number(time)));
                self.say_records(written);
            }
            ["M", topic, partitions] => self.make_topic(topic, number(partitions)),
            ["D", topic] => self.world.delete_topic(topic),
            ["H", ..] => self.heartbeat(&fields),
            ["C", member, epoch, version, topic, partition] => {
                let topic = Uuid::from_u64_pair(0, u64::from_str_radix(topic, 16).expect("an id"));
                let partitions = [(topic, number(partition))].into_iter();
                let group = &self.world.group;
                let outcome =
                    group.check_commit(member, number(epoch), number(version), partitions);
                let code = outcome.err().map_or(0, |error| error.code());
                self.said.push(format!("  # {code}"));
            }
            _ => panic!("{event}"),
        }
    }

    fn make_topic(&mut self, name: &str, partitions: i32) {
        let topics = &self.world.metadata.image().topics;
        let before = topics
            .by_name(name)
            .map(|topic| (topic.id, topic.partition_count() as i32));
        let (topic_id, has) = before.unwrap_or_else(|| {
            self.topics_created += 1;
            (Uuid::from_u64_pair(0, 999 + self.topics_created), 0)
        });
        let topic = TopicRecord {
            name: name.to_owned(),
            topic_id,
        };
        let topic = before.is_none().then(|| topic.into());
        let partitions = (has..partitions).map(|id| partition_record(topic_id, id, 1));
        self.world
            .change_metadata(topic.into_iter().chain(partitions).collect());
    }

    fn heartbeat(&mut self, fields: &[&str]) {
        let [
            _,
            id,
            epoch,
            instance,
            timeout,
            names,
            regex,
            assignor,
            owned,
        ] = fields[..]
        else {
            panic!("{fields:?}");
        };
        let mut ask = Ask::of(id, number(epoch));
        ask.0.instance_id = optional(instance).map(text);
        ask.0.rebalance_timeout_ms = number(timeout);
        ask.0.subscribed_topic_regex = optional(regex).map(text);
        ask.0.server_assignor = optional(assignor).map(text);
        let names = optional(names).map(|names| names.split(',').filter(|name| !name.is_empty()));
        ask.0.subscribed_topic_names =
            names.map(|names| names.map(|name| TopicName(text(name))).collect());
        if let Some(owned) = optional(owned) {
            ask = ask.owns(&read_partitions(owned));
        }

        let written = self.world.log.len();
        match self.world.heartbeat(ask) {
            Ok(answer) => {
                let assignment = assigned(&answer).map(|topics| {
                    let topics = topics
                        .iter()
                        .map(|(topic, partitions)| (*topic, commas(partitions)));
                    write_topics(topics)
                });
                self.said.push(format!(
                    "  = {} {} {} {}",
                    answer.member_id.as_deref().unwrap_or_default(),
                    answer.member_epoch,
                    answer.heartbeat_interval_ms,
                    assignment.as_deref().unwrap_or("-")
                ));
            }
            Err((error, text)) => {
                let text = text.unwrap_or_default();
                self.said.push(format!("  ! {} {text}", error.code()));
            }
        }
        self.say_records(written);
        let written = self.world.log.len();
        self.world.settle();
        self.say_records(written);
    }

    fn say_records(&mut self, written: usize) {
        let mut lines: Vec<_> = self.world.log[written..].iter().map(write_record).collect();
        let kind = |line: &String| line.chars().next();
        let is_run =
            |a: &String, b: &String| kind(a) == kind(b) && matches!(kind(a), Some('t' | 'x'));
        lines.chunk_by_mut(is_run).for_each(|run| run.sort());
        self.said
            .extend(lines.iter().map(|line| format!("  {line}")));
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn optional(text: &str) -> Option<&str> {
    match text {
        "-" => None,
        "." => Some(""),
        text => Some(text),
    }
}

fn read_partitions(text: &str) -> Vec<(Uuid, Vec<i32>)> {
    let topics = text
        .split(';')
        .filter(|topic| !topic.is_empty())
        .map(|topic| {
            let (id, partitions) = topic.split_once(':').expect("a topic with partitions");
            let id = u64::from_str_radix(id, 16).expect("the lower half of an id");
            (
                Uuid::from_u64_pair(0, id),
                partitions.split(',').map(number).collect(),
            )
        });
    topics.collect()
}

fn write_topics(topics: impl Iterator<Item = (Uuid, String)>) -> String {
    let topics =
        topics.map(|(topic, partitions)| format!("{:x}:{partitions}", topic.as_u64_pair().1));
    let topics: Vec<_> = topics.collect();
    or_dot(&topics.join(";")).to_owned()
}

fn commas<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn or_dot(text: &str) -> &str {
    if text.is_empty() { "." } else { text }
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().map_or("-", or_dot)
}

fn write_current(topics: &[CurrentTopicPartitions]) -> String {
    let topics = topics.iter().map(|topic| {
        let epochs = topic.assignment_epochs.iter().flatten();
        let pairs = topic.partitions.iter().zip(epochs);
        let pairs: Vec<_> = pairs
            .map(|(partition, epoch)| format!("{partition}@{epoch}"))
            .collect();
        (topic.topic_id, commas(&pairs))
    });
    write_topics(topics)
}

fn write_record(record: &Record) -> String {
    match record {
        Record::ConsumerGroupMemberMetadata { member, value, .. } => match value {
            Some(value) => format!(
                "m {member} {} {} {} {} {} {} {}",
                or_dash(&value.instance_id),
                value.client_id,
                value.client_host,
                or_dot(&commas(&value.subscribed_topic_names)),
                or_dash(&value.subscribed_topic_regex),
                value.rebalance_timeout_ms,
                or_dash(&value.server_assignor)
            ),
            None => format!("-m {member}"),
        },
        Record::ConsumerGroupMetadata {
            value: Some(value), ..
        } => {
            format!("g {} {}", value.epoch, value.metadata_hash)
        }
        Record::ConsumerGroupTargetAssignmentMember { member, value, .. } => match value {
            Some(value) => {
                let topics = value.topic_partitions.iter();
                let topics = topics.map(|topic| (topic.topic_id, commas(&topic.partitions)));
                format!("t {member} {}", write_topics(topics))
            }
            None => format!("-t {member}"),
        },
        Record::ConsumerGroupTargetAssignmentMetadata {
            value: Some(value), ..
        } => {
            format!(
                "e {} {}",
                value.assignment_epoch, value.assignment_timestamp
            )
        }
        Record::ConsumerGroupCurrentMemberAssignment { member, value, .. } => match value {
            Some(value) => format!(
                "c {member} {} {} {} {} {}",
                value.member_epoch,
                value.previous_member_epoch,
                value.state,
                write_current(&value.assigned_partitions),
                write_current(&value.partitions_pending_revocation)
            ),
            None => format!("-c {member}"),
        },
        Record::ConsumerGroupRegularExpression {
            regular_expression,
            value,
            ..
        } => match value {
            Some(value) => {
                let topics = commas(&value.topics);
                format!(
                    "x {regular_expression} {} {}",
                    or_dot(&topics),
                    value.timestamp
                )
            }
            None => format!("-x {regular_expression}"),
        },
        other => panic!("{other:?}"),
    }
}
