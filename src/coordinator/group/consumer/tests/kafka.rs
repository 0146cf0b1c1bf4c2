//! The same replies and records as Apache Kafka's own coordinator.

use std::collections::BTreeSet;

use corelog_shards::log::uuid_text;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};

use super::kafka_text::*;
use super::*;
use crate::coordinator::group::classic::ClassicGroup;
use crate::coordinator::group::consumer_protocol::{CONSUMER, Subscription};

/// What members did, and what Apache Kafka 4.3.1 made of it, with `range` as its only assignor. A history begins with
/// `S` and the assignment interval. Then:
///
/// - `T`: so many milliseconds pass; `M`: a topic has so many partitions; `D`: a topic is deleted
/// - `H`: a heartbeat, with member, epoch, instance, rebalance time-out, names, regular expression, assignor and owned
///   partitions. `-` is none, `.` is empty
/// - `C`: a commit, with member, epoch, version, topic and partition; `#`: its error
/// - `=`: the reply of a heartbeat, with member, epoch, interval and assignment; `!`: its error
/// - else a record: `m` member, `g` group, `t` target of a member, `e` epoch of the target, `c` what a member has, `x`
///   regular expression; a tombstone with a dash before it. Those of one kind that follow each other are sorted.
const HISTORIES: &str =
    include_str!("../../../../../tests/formats/kafka-4.3.1/consumer-groups.txt");

/// The same of groups with members of both protocols, up to where they become classic ones. Beside the above:
///
/// - `U`: there is a stable classic group, with its generation, protocol, session time-out and members, which the next
///   heartbeat makes a consumer group. A member has an id, instance, rebalance time-out, topics and assignment
/// - `J`: a join, with member (`?` and the id it is given, if it has none), instance, session and rebalance time-out,
///   protocols, topics and owned partitions; `Y`: a sync, with member, instance, generation and protocol; `B`: a classic
///   heartbeat, with member, instance and generation; `L`: a member leaves
/// - `=`: of a join, the member, generation and protocol; of a sync, the assignment
/// - `G`: the record of the classic group: generation, protocol, members; `m` of a member of the classic protocol ends
///   with its session time-out and protocols; `p` is metadata of partitions
const MIXED_HISTORIES: &str =
    include_str!("../../../../../tests/formats/kafka-4.3.1/mixed-groups.txt");

#[test]
fn groups_do_as_apache_kafka_says() {
    do_as_recorded(HISTORIES);
}

#[test]
fn groups_of_both_protocols_do_as_apache_kafka_says() {
    do_as_recorded(MIXED_HISTORIES);
}

fn do_as_recorded(histories: &str) {
    let mut events = 0;
    for history in histories.split("S ").skip(1) {
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
            match (said.strip_prefix("  G "), expected.strip_prefix("  G ")) {
                (Some(said), Some(expected)) => become_classic_alike(said, expected, &before),
                _ => assert_eq!(said, expected, "after\n{before}\n"),
            }
        }
        assert_eq!(said.len(), expected.len());
        // The log, whole or compacted, says what came of it.
        let world = &replay.world;
        assert_eq!(world.durable_copy(), world.group.durable);
        let compacted = world.replayed(world.compacted().into_iter());
        assert_eq!(compacted.durable, world.group.durable);
    }
    assert!(events > 1_000);
}

/// The one difference: what a member is to have while another has yet to give it up, Kafka assigns to the one, and we to
/// the other. Each partition that Kafka assigns has one owner here.
fn become_classic_alike(said: &str, expected: &str, before: &str) {
    let (said, expected) = (ClassicText::read(said), ClassicText::read(expected));
    assert_eq!(said.members, expected.members, "after\n{before}\n");
    let owned: BTreeSet<_> = said.assigned.iter().collect();
    assert_eq!(owned.len(), said.assigned.len(), "after\n{before}\n");
    let has_owner = |partition| owned.contains(partition);
    assert!(expected.assigned.iter().all(has_owner), "after\n{before}\n");
}

/// The record of a classic group.
struct ClassicText {
    /// All but what members are assigned.
    members: Vec<String>,
    assigned: Vec<(String, i32)>,
}

impl ClassicText {
    fn read(text: &str) -> Self {
        let mut all = Self {
            members: Vec::new(),
            assigned: Vec::new(),
        };
        for member in text.split('|') {
            let commas = member.match_indices(',').nth(3);
            let (at, _) = commas.expect("a member has five fields");
            all.members.push(member[..at].to_owned());
            for topic in read_named(&member[at + 1..]) {
                let partitions = topic.partitions.into_iter();
                let partitions = partitions.map(|partition| (topic.topic.clone(), partition));
                all.assigned.extend(partitions);
            }
        }
        all
    }
}

struct Replay {
    world: World,
    topics_created: u64,
    /// What the next heartbeat finds.
    classic: Option<ClassicGroup>,
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
            classic: None,
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
            ["U", ..] => self.classic = Some(read_classic_group(&fields)),
            ["J", ..] => self.join(&fields),
            ["Y", ..] => self.sync(&fields),
            ["B", member, instance, generation] => {
                let request = HeartbeatRequest::default()
                    .with_member_id(text(member))
                    .with_group_instance_id(optional(instance).map(text))
                    .with_generation_id(number(generation));
                let step = self
                    .world
                    .run(|group, context, _| group.classic_heartbeat(&request, context));
                let code = step.0.err().map_or(0, |error| error.code());
                self.said.push(format!("  # {code}"));
            }
            ["L", member, instance] => {
                let written = self.world.log.len();
                let member = MemberIdentity::default()
                    .with_member_id(text(member))
                    .with_group_instance_id(optional(instance).map(text));
                let step = self
                    .world
                    .run(|group, context, out| group.classic_leave(vec![member], context, out));
                self.said.push(format!("  # {}", step.0[0].error_code));
                self.say_records(written);
            }
            _ => panic!("{event}"),
        }
    }

    fn join(&mut self, fields: &[&str]) {
        let [
            _,
            id,
            instance,
            session,
            rebalance,
            protocols,
            topics,
            owned,
        ] = fields[..]
        else {
            panic!("{fields:?}");
        };
        let subscription = Subscription {
            topics: topics.split(',').map(str::to_owned).collect(),
            owned_partitions: read_named(owned),
            ..Subscription::default()
        };
        let protocols = protocols.split(',').map(|name| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(subscription.to_bytes(1))
        });
        let given = id.strip_prefix('?');
        if let Some(id) = given.and_then(uuid_text::parse) {
            let (high, low) = id.as_u64_pair();
            self.world.drawn_next = VecDeque::from([high, low]);
        }
        let request = JoinGroupRequest::default()
            .with_member_id(text(if given.is_some() { "" } else { id }))
            .with_group_instance_id(optional(instance).map(text))
            .with_session_timeout_ms(number(session))
            .with_rebalance_timeout_ms(number(rebalance))
            .with_protocol_type(text(CONSUMER))
            .with_protocols(protocols.collect());
        let caller = Caller {
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            version: 1,
        };
        let written = self.world.log.len();
        let step = self
            .world
            .run(|group, context, out| group.classic_join(&request, &caller, context, out));
        self.said.push(match step.0 {
            Ok(answer) => format!(
                "  = {} {} {}",
                &*answer.member_id,
                answer.generation_id,
                answer.protocol_name.as_deref().unwrap_or("-")
            ),
            Err((error, _)) => format!("  ! {}", error.code()),
        });
        self.world.drawn_next.clear();
        self.say_records(written);
        let written = self.world.log.len();
        self.world.settle();
        self.say_records(written);
    }

    fn sync(&mut self, fields: &[&str]) {
        let [_, id, instance, generation, protocol] = fields[..] else {
            panic!("{fields:?}");
        };
        let request = SyncGroupRequest::default()
            .with_member_id(text(id))
            .with_group_instance_id(optional(instance).map(text))
            .with_generation_id(number(generation))
            .with_protocol_type(Some(text(CONSUMER)))
            .with_protocol_name(Some(text(protocol)));
        let step = self
            .world
            .run(|group, context, _| group.classic_sync(&request, context));
        self.said.push(match step.0 {
            Ok(answer) => format!("  = {}", write_assignment(&answer.assignment)),
            Err(error) => format!("  ! {}", error.code()),
        });
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
        if let Some(classic) = self.classic.take() {
            let id = GROUP.into();
            self.world.run(|group, context, out| {
                *group = ConsumerGroup::of_classic(id, &classic, context, out).expect("it may be");
            });
        }
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
        fn kind(line: &str) -> Option<&str> {
            line.split(' ').next()
        }
        let is_run = |a: &String, b: &String| kind(a) == kind(b);
        lines.chunk_by_mut(is_run).for_each(|run| run.sort());
        self.said
            .extend(lines.iter().map(|line| format!("  {line}")));
    }
}
