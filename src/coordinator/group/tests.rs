mod consumer_groups;
mod counts;
mod memory;
mod mixed_groups;
mod walks;

use corelog_shards::io::slot;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use kafka_protocol::protocol::StrBytes;

use super::records::{GroupMetadataValue, NO_TIMESTAMP};
use super::*;
use crate::api::testing::image_of;
use crate::cluster::image::{Image, Replayer};
use crate::cluster::records::{Record as MetadataRecord, RemoveTopicRecord};
use crate::config::{BrokerConfig, Layers, Overrides};
use crate::coordinator::memory::StateMemory;
use crate::coordinator::metrics::CoordinatorMetrics;
use crate::lines::Lines;

const MINUTE_MS: i64 = 60_000;

/// A machine beside a log of what it made, with clocks of its own.
struct World {
    groups: Groups,
    log: Vec<Record>,
    image: Image,
    config: BrokerConfig,
    now: Instant,
    wall_ms: i64,
    /// What is drawn next time.
    random: u64,
    metrics: CoordinatorMetrics,
    memory: Rc<StateMemory>,
}

impl World {
    fn new() -> Self {
        let file = Overrides::from([("offsets.retention.minutes".to_owned(), "60".to_owned())]);
        Self {
            groups: Groups::default(),
            log: Vec::new(),
            image: image_of(&[("t", 2), ("u", 1)], &[]),
            config: BrokerConfig::resolve(Layers::of_file(&file)).expect("a sound configuration"),
            now: Instant::from_nanos(1 << 40),
            wall_ms: 1_700_000_000_000,
            random: 7,
            metrics: CoordinatorMetrics::default(),
            memory: Rc::default(),
        }
    }

    fn run(
        &mut self,
        act: impl FnOnce(&mut Groups, &mut Context<'_>) -> Output<Record>,
    ) -> Output<Record> {
        let random = &mut self.random;
        let mut draw = || {
            *random += 1;
            *random
        };
        let mut context = Context {
            now: self.now,
            wall_ms: self.wall_ms,
            image: &self.image,
            config: &self.config,
            record_bytes_max: 1 << 20,
            random_u64: &mut draw,
            metrics: &self.metrics,
            memory: &self.memory,
            lines: &Lines::default(),
        };
        let mut output = act(&mut self.groups, &mut context);
        for record in std::mem::take(&mut output.records) {
            self.log.push(record.clone());
            self.groups.replay(record, &mut context);
        }
        output
    }

    fn ask<T>(&mut self, input: impl FnOnce(Replier<T>) -> Input) -> T {
        let (to, mut reply) = slot();
        let input = input(Replier(to));
        self.run(|groups, context| groups.handle(input, context))
            .release();
        reply.try_take().expect("an answer at once")
    }

    /// Does one part of what is due.
    fn step(&mut self) {
        self.run(|groups, context| groups.expire(context)).release();
    }

    /// Time passes, and what is due is done.
    fn pass(&mut self, ms: i64) {
        self.now += std::time::Duration::from_millis(ms as u64);
        self.wall_ms += ms;
        while self
            .groups
            .next_deadline()
            .is_some_and(|due| due <= self.now)
        {
            self.step();
        }
    }

    /// The machine that the log makes.
    fn reload(&mut self) {
        self.reload_without_steps();
        self.pass(0);
    }

    fn reload_without_steps(&mut self) {
        self.groups = Groups::default();
        for record in self.log.clone() {
            self.run(|groups, context| {
                groups.replay(record, context);
                Output::default()
            });
        }
        self.finish_load();
    }

    fn finish_load(&mut self) {
        let mut has_more = true;
        while has_more {
            let step = |groups: &mut Groups, context: &mut Context<'_>| {
                let mut out = Output::default();
                has_more = groups.loaded(context, &mut out);
                out
            };
            self.run(step).release();
        }
    }

    fn delete_topic(&mut self, name: &str) {
        let id = self.image.topics.id_of(name).expect("it is there");
        let mut replayer = Replayer::new(self.image.clone());
        let record = MetadataRecord::from(RemoveTopicRecord { topic_id: id });
        let offset = self.image.last_offset + 1;
        replayer.replay(offset, 0, &record).expect("a sound record");
        let delta = replayer.take_delta();
        self.image = replayer.image().clone();
        self.run(|groups, context| groups.metadata_changed(&delta, context))
            .release();
    }

    fn commit(&mut self, group: &'static str, partitions: &[(&'static str, i32, i64)]) -> Vec<i16> {
        self.commit_as(commit_request(group, partitions), 8)
    }

    fn commit_as(&mut self, request: OffsetCommitRequest, version: i16) -> Vec<i16> {
        let topics = self.ask(|to| Input::Commit(request, version, to));
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.error_code).collect()
    }

    /// All offsets of a group.
    fn fetch(&mut self, group: &'static str) -> Vec<(String, i32, i64)> {
        let request = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(None);
        let topics = self.ask(|to| Input::Fetch(request, to));
        let topics = topics.expect("anybody may read");
        let offsets = topics.iter().flat_map(|topic| {
            let name = topic.name.to_string();
            let partitions = topic.partitions.iter();
            partitions.map(move |one| (name.clone(), one.partition_index, one.committed_offset))
        });
        offsets.collect()
    }

    fn groups(&mut self) -> Vec<(String, String)> {
        let listed = self.list().into_iter();
        listed
            .map(|group| (group.group_id.to_string(), group.group_state.to_string()))
            .collect()
    }

    fn list(&mut self) -> Vec<ListedGroup> {
        let mut groups = Vec::new();
        let mut behind = None;
        loop {
            let listed = self.ask(|to| Input::List(behind, to));
            groups.extend(listed.groups);
            behind = listed.behind;
            if behind.is_none() {
                return groups;
            }
        }
    }
}

fn group_id(id: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(id))
}

fn commit_request(
    group: &'static str,
    partitions: &[(&'static str, i32, i64)],
) -> OffsetCommitRequest {
    let topics = partitions.iter().map(|(topic, partition, offset)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(StrBytes::from_static_str("note")));
        OffsetCommitRequestTopic::default()
            .with_name(StrBytes::from_static_str(topic).into())
            .with_partitions(vec![partition])
    });
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_topics(topics.collect())
}

fn offset(topic: &str, partition: i32, offset: i64) -> (String, i32, i64) {
    (topic.to_owned(), partition, offset)
}

/// A group whose last member has left `ago_ms` ago, by a record such as its coordinator leaves behind.
fn left_group(world: &mut World, group: &str, ago_ms: i64) {
    let value = GroupMetadataValue {
        protocol_type: "consumer".to_owned(),
        generation: 3,
        current_state_timestamp: world.wall_ms - ago_ms,
        ..GroupMetadataValue::default()
    };
    let record = Record::GroupMetadata {
        group: group.to_owned(),
        value: Some(value),
    };
    world.run(|groups, context| {
        groups.replay(record.clone(), context);
        Output::default()
    });
    world.log.push(record);
}

#[test]
fn groups_are_on_the_partitions_where_kafka_has_them() {
    let of = |group| partition_of(group, 50);
    let groups = ["", "a", "group", "my-group", "console-consumer-12345"];
    assert_eq!(groups.map(of), [0, 47, 47, 36, 6]);
    assert_eq!(["käse", "😀"].map(of), [11, 49]);
    // Java's hash of this one is the smallest int.
    assert_eq!(of("polygenelubricants"), 0);
}

#[test]
fn whoever_commits_without_a_group_makes_a_simple_one() {
    let mut world = World::new();
    let codes = world.commit("g", &[("t", 0, 5), ("t", 1, 6), ("u", 0, 7)]);
    assert_eq!(codes, [0, 0, 0]);
    let offsets = [offset("t", 0, 5), offset("t", 1, 6), offset("u", 0, 7)];
    assert_eq!(world.fetch("g"), offsets);
    assert_eq!(world.groups(), [("g".to_owned(), "Empty".to_owned())]);
    world.reload();
    assert_eq!(world.fetch("g"), offsets);
    assert_eq!(world.groups(), [("g".to_owned(), "Empty".to_owned())]);
    assert_eq!(world.fetch("nobody"), []);
}

#[test]
fn partitions_that_are_not_there_are_told_so_whatever_the_group_says() {
    let mut world = World::new();
    let partitions = [("t", 0, 5), ("t", 2, 5), ("nothing", 0, 5)];
    assert_eq!(world.commit("g", &partitions), [0, 3, 3]);
    let of_member = commit_request("missing", &partitions).with_generation_id_or_member_epoch(4);
    assert_eq!(world.commit_as(of_member.clone(), 8), [22, 3, 3]);
    assert_eq!(world.commit_as(of_member, 9), [69, 3, 3]);
    assert_eq!(world.groups().len(), 1);
}

#[test]
fn texts_have_a_limit_in_utf_16_units() {
    let mut world = World::new();
    let with = |text: String| {
        let mut request = commit_request("g", &[("t", 0, 1)]);
        request.topics[0].partitions[0].committed_metadata = Some(StrBytes::from_string(text));
        request
    };
    assert_eq!(world.commit_as(with("ä".repeat(4096)), 8), [0]);
    assert_eq!(world.commit_as(with("ä".repeat(4097)), 8), [12]);
    assert_eq!(world.commit_as(with("😀".repeat(2049)), 8), [12]);
}

#[test]
fn a_deleted_group_is_gone_with_its_offsets() {
    let mut world = World::new();
    world.commit("g", &[("t", 0, 5), ("u", 0, 7)]);
    let delete = |world: &mut World| {
        let result = world.ask(|to| Input::Delete(group_id("g"), to));
        result.error_code
    };
    assert_eq!(delete(&mut world), 0);
    assert_eq!(world.fetch("g"), []);
    assert_eq!(world.groups(), []);
    assert_eq!(delete(&mut world), 69);
    world.reload();
    assert_eq!(world.groups(), []);
}

#[test]
fn single_offsets_can_be_forgotten() {
    let mut world = World::new();
    world.commit("g", &[("t", 0, 5), ("t", 1, 6)]);
    let delete = |world: &mut World, group| {
        let partitions = [1, 2, 1].map(|partition| {
            OffsetDeleteRequestPartition::default().with_partition_index(partition)
        });
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(StrBytes::from_static_str("t").into())
            .with_partitions(partitions.into());
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id(group))
            .with_topics(vec![topic.clone(), topic]);
        let response = world.ask(|to| Input::DeleteOffsets(request, to));
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
        (response.error_code, codes)
    };
    let written = world.log.len();
    assert_eq!(delete(&mut world, "g"), (0, [0, 3, 0].repeat(2)));
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
    // One is gone, however often it was named.
    let deleted = world.metrics.offsets_deleted.get();
    assert_eq!((world.log.len() - written, deleted), (1, 1));
    assert_eq!(delete(&mut world, "nobody"), (69, vec![]));
}

#[test]
fn offsets_of_a_simple_group_expire_by_their_commits() {
    let mut world = World::new();
    world.reload();
    world.commit("g", &[("t", 0, 5)]);
    world.pass(40 * MINUTE_MS);
    world.commit("g", &[("t", 1, 6)]);
    world.pass(30 * MINUTE_MS);
    assert_eq!(world.fetch("g"), [offset("t", 1, 6)]);
    // With the last offset the group goes.
    world.pass(40 * MINUTE_MS);
    assert_eq!(world.groups(), []);
    let last = world.log.last().cloned();
    assert!(matches!(
        last,
        Some(Record::GroupMetadata { value: None, .. })
    ));
}

#[test]
fn offsets_of_a_group_that_was_left_expire_by_when_it_was() {
    let mut world = World::new();
    world.reload();
    left_group(&mut world, "g", 50 * MINUTE_MS);
    world.commit("g", &[("t", 0, 5)]);
    world.pass(5 * MINUTE_MS);
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
    world.pass(15 * MINUTE_MS);
    assert_eq!(world.fetch("g"), []);
    assert_eq!(world.groups(), []);
}

#[test]
fn offsets_are_there_for_who_comes_back_soon_after_a_long_absence_of_the_broker() {
    let mut world = World::new();
    world.commit("simple", &[("t", 0, 5)]);
    left_group(&mut world, "left", 0);
    world.commit("left", &[("t", 0, 6)]);
    world.wall_ms += 24 * 60 * MINUTE_MS;
    world.reload();
    // Also a sweep for other causes leaves them alone.
    world.delete_topic("u");
    world.pass(9 * MINUTE_MS);
    assert_eq!(world.fetch("simple"), [offset("t", 0, 5)]);
    assert_eq!(world.fetch("left"), [offset("t", 0, 6)]);
    world.commit("simple", &[("t", 0, 7)]);
    world.pass(2 * MINUTE_MS);
    assert_eq!(world.fetch("simple"), [offset("t", 0, 7)]);
    assert_eq!(world.fetch("left"), []);
}

#[test]
fn an_old_client_says_itself_how_long_an_offset_lasts() {
    let mut world = World::new();
    world.reload();
    let request = commit_request("g", &[("t", 0, 5)]).with_retention_time_ms(5 * MINUTE_MS);
    assert_eq!(world.commit_as(request, 4), [0]);
    world.commit("g", &[("t", 1, 6)]);
    world.pass(15 * MINUTE_MS);
    assert_eq!(world.fetch("g"), [offset("t", 1, 6)]);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut world = World::new();
    world.commit("g", &[("t", 0, 5), ("u", 0, 7)]);
    world.commit("h", &[("t", 1, 6)]);
    world.delete_topic("t");
    world.pass(0);
    assert_eq!(world.fetch("g"), [offset("u", 0, 7)]);
    assert_eq!(world.groups(), [("g".to_owned(), "Empty".to_owned())]);
}

#[test]
fn offsets_of_topics_that_went_unnoticed_go_after_a_load() {
    let mut world = World::new();
    world.commit("g", &[("t", 0, 5), ("u", 0, 7)]);
    // A topic of the same name takes the place of the one that was committed to.
    world.image = image_of(&[("x", 1), ("t", 2), ("u", 1)], &[]);
    assert_eq!(world.fetch("g"), []);
    world.reload();
    assert_eq!(world.groups(), []);
}

#[test]
fn offsets_without_the_id_of_their_topic_are_of_the_one_that_had_its_name() {
    let mut world = World::new();
    let value = records::OffsetCommitValue {
        offset: 5,
        leader_epoch: -1,
        metadata: String::new(),
        commit_timestamp: world.wall_ms,
        expire_timestamp: NO_TIMESTAMP,
        topic_id: uuid::Uuid::nil(),
    };
    world.log.push(Record::OffsetCommit {
        group: "g".to_owned(),
        topic: "t".to_owned(),
        partition: 0,
        value: Some(value),
    });
    world.reload();
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
    // A topic of the same name takes its place before anybody has had a look.
    world.delete_topic("t");
    world.image = image_of(&[("x", 1), ("t", 2), ("u", 1)], &[]);
    assert_eq!(world.fetch("g"), []);
    world.pass(0);
    assert_eq!(world.groups(), []);
}

#[test]
fn a_sweep_takes_many_steps_and_comes_to_its_end() {
    let mut world = World::new();
    for group in ["a", "b", "c", "d", "e"] {
        for round in 0..200 {
            world.commit(group, &[("t", 0, round), ("t", 1, round), ("u", 0, round)]);
        }
    }
    world.reload();
    world.pass(2 * 60 * MINUTE_MS);
    assert_eq!(world.groups(), []);
}

#[test]
fn a_group_that_never_was_has_no_members() {
    let mut world = World::new();
    let heartbeat = HeartbeatRequest::default().with_group_id(group_id("g"));
    let outcome = world.ask(|to| Input::Heartbeat(heartbeat, to));
    assert_eq!(outcome, Some(ResponseError::UnknownMemberId));
    let member = MemberIdentity::default().with_member_id(StrBytes::from_static_str("m"));
    let members = world.ask(|to| Input::Leave(group_id("g"), vec![member], to));
    assert_eq!((&*members[0].member_id, members[0].error_code), ("m", 25));
    let sync = SyncGroupRequest::default().with_group_id(group_id("g"));
    assert_eq!(world.ask(|to| Input::Sync(sync, to)).error_code, 25);
    let join = JoinGroupRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(StrBytes::from_static_str("m"));
    let caller = Caller {
        client_id: String::new(),
        client_host: "/127.0.0.1".to_owned(),
        version: 9,
    };
    let joined = world.ask(|to| Input::Join(join, caller, to));
    assert_eq!((joined.error_code, &*joined.member_id), (25, "m"));
    let described = world.ask(|to| Input::Describe(group_id("g"), to));
    assert_eq!(described, Err("Group g not found.".to_owned()));
    assert_eq!(world.groups(), []);
}

#[test]
fn a_group_whose_first_member_never_comes_back_goes_with_its_session() {
    let mut world = World::new();
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("any"));
    let join = JoinGroupRequest::default()
        .with_group_id(group_id("g"))
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_session_timeout_ms(10_000)
        .with_protocols(vec![protocol]);
    let caller = Caller {
        client_id: "careless".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        version: 9,
    };
    let joined = world.ask(|to| Input::Join(join, caller, to));
    assert_eq!(joined.error_code, ResponseError::MemberIdRequired.code());
    world.pass(9_000);
    assert_eq!(world.groups().len(), 1);
    world.pass(1_000);
    assert_eq!(world.groups(), []);
    world.reload();
    assert_eq!(world.groups(), []);
}

#[test]
fn a_group_has_one_deadline_however_often_it_comes_nearer() {
    let mut world = World::new();
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("any"));
    for earlier_ms in 0..1_000 {
        let join = JoinGroupRequest::default()
            .with_group_id(group_id("g"))
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_session_timeout_ms(1_000_000 - earlier_ms)
            .with_protocols(vec![protocol.clone()]);
        let caller = Caller {
            client_id: "careless".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            version: 9,
        };
        world.ask(|to| Input::Join(join, caller, to));
    }
    assert_eq!(world.groups.deadlines.len(), 1);
    world.pass(999_001);
    let left = vec![("g".to_owned(), "Empty".to_owned())];
    assert_eq!((world.groups(), world.groups.deadlines.len()), (left, 1));
    world.run(|groups, context| {
        let mut out = Output::default();
        let deleted = groups.delete("g", context, &mut out);
        assert_eq!(deleted, Ok(()));
        out
    });
    assert_eq!((world.groups(), world.groups.deadlines.len()), (vec![], 0));
}
