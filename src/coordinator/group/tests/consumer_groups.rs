use kafka_protocol::messages::TopicName;

use super::*;
use crate::coordinator::group::consumer::JOIN;

const SESSION_MS: i64 = 45_000;
const LEAVE: i32 = -1;

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A heartbeat of a member that joins, with its topics.
pub(super) fn joining(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    let topics = topics.iter().map(|topic| TopicName(text(topic))).collect();
    beating(member, JOIN)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics))
        .with_topic_partitions(Some(Vec::new()))
}

pub(super) fn beating(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

pub(super) fn caller(version: i16) -> Caller {
    Caller {
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        version,
    }
}

pub(super) type Answer = Result<ConsumerGroupHeartbeatResponse, Rejection>;

impl World {
    pub(super) fn beat(&mut self, request: ConsumerGroupHeartbeatRequest) -> Answer {
        self.ask(|to| Input::ConsumerHeartbeat(request, caller(1), to))
    }

    /// A member joins the group; its epoch.
    pub(super) fn joined(&mut self, member: &str, topics: &[&str]) -> i32 {
        let answer = self.beat(joining(member, topics));
        answer.expect("it may join").member_epoch
    }

    /// A member of the classic protocol joins or not; what it is told at once.
    pub(super) fn join_classic(&mut self, member: &str) -> Option<i16> {
        let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id("g"))
            .with_member_id(text(member))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let (to, mut reply) = slot();
        // Of a version that lets it in without a second request.
        let input = Input::Join(request, caller(3), Replier(to));
        self.run(|groups, context| groups.handle(input, context))
            .release();
        reply.try_take().map(|answer| answer.error_code)
    }

    /// Name, kind, protocol type and state of the only group.
    pub(super) fn only(&mut self) -> [String; 4] {
        let listed = self.list();
        let [group] = &listed[..] else {
            panic!("{} groups", listed.len());
        };
        let name = group.group_id.to_string();
        let (kind, protocol) = (&group.group_type, &group.protocol_type);
        [
            name,
            kind.to_string(),
            protocol.to_string(),
            group.group_state.to_string(),
        ]
    }

    pub(super) fn described(&mut self) -> DescribedConsumerGroup {
        let described = self.ask(|to| Input::ConsumerDescribe(group_id("g"), to));
        described.expect("a consumer group")
    }

    pub(super) fn deleted(&mut self) -> i16 {
        let result = self.ask(|to| Input::Delete(group_id("g"), to));
        result.error_code
    }

    fn fetched_by(&mut self, member: Option<&str>, epoch: i32) -> Result<usize, ResponseError> {
        let request = OffsetFetchRequestGroup::default()
            .with_group_id(group_id("g"))
            .with_topics(None)
            .with_member_id(member.map(text))
            .with_member_epoch(epoch);
        let topics = self.ask(|to| Input::Fetch(request, to))?;
        Ok(topics.len())
    }
}

pub(super) fn assigned(answer: &Answer) -> usize {
    let assignment = answer.as_ref().ok().and_then(|one| one.assignment.as_ref());
    let topics = assignment.into_iter().flat_map(|one| &one.topic_partitions);
    topics.map(|topic| topic.partitions.len()).sum()
}

#[test]
fn a_first_heartbeat_makes_a_group_that_lasts() {
    let mut world = World::new();
    let answer = world.beat(joining("m", &["t", "u"]));
    assert_eq!(assigned(&answer), 3);
    let stable = ["g", "consumer", "consumer", "Stable"];
    assert_eq!(world.only(), stable);
    let before = world.described();
    assert_eq!(&*before.members[0].client_host, "/127.0.0.1");
    let as_classic = world.ask(|to| Input::Describe(group_id("g"), to));
    let why = "Group g is not a classic group.".to_owned();
    assert_eq!(as_classic, Err(why));
    world.reload();
    assert_eq!(world.described(), before);
    // Sessions begin anew with a load, and end.
    world.pass(SESSION_MS - 1);
    assert_eq!(world.only(), stable);
    world.pass(1);
    assert_eq!(world.only(), ["g", "consumer", "consumer", "Empty"]);
}

#[test]
fn a_heartbeat_that_is_refused_makes_no_group() {
    let mut world = World::new();
    let not_found = |text: &str| {
        let why = (ResponseError::GroupIdNotFound, Some(text.to_owned()));
        Err::<ConsumerGroupHeartbeatResponse, _>(why)
    };
    assert_eq!(
        world.beat(beating("m", 3)),
        not_found("Consumer group g not found.")
    );
    assert_eq!(
        world.beat(beating("m", LEAVE)),
        not_found("Group g not found.")
    );
    let invalid = joining("m", &[]).with_subscribed_topic_regex(Some(text("(")));
    let outcome = world.beat(invalid.clone()).map_err(|(error, _)| error);
    assert_eq!(outcome, Err(ResponseError::InvalidRegularExpression));
    assert_eq!(world.groups(), []);
    assert_eq!(world.log, []);

    // A classic group stays one.
    world.commit("g", &[("t", 0, 5)]);
    let before = world.log.clone();
    assert!(world.beat(invalid).is_err());
    assert_eq!(
        world.beat(beating("m", 3)),
        not_found("Group g is not a consumer group.")
    );
    assert_eq!(world.only(), ["g", "classic", "", "Empty"]);
    assert_eq!(world.log, before);
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
}

#[test]
fn an_empty_group_goes_over_to_the_protocol_of_who_comes_and_keeps_its_offsets() {
    let mut world = World::new();
    left_group(&mut world, "g", 0);
    world.commit("g", &[("t", 0, 5)]);
    let epoch = world.joined("m", &["t"]);
    for _ in 0..2 {
        assert_eq!(world.only(), ["g", "consumer", "consumer", "Stable"]);
        assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
        world.reload();
    }
    // It says nothing of its topics.
    assert_eq!(world.join_classic(""), Some(-1));
    world.beat(beating("m", LEAVE)).expect("it may leave");
    assert_eq!(world.join_classic("n"), Some(25));
    assert_eq!(world.only(), ["g", "consumer", "consumer", "Empty"]);
    // The others are waited for.
    assert_eq!(world.join_classic(""), None);
    assert_eq!(
        world.only(),
        ["g", "classic", "consumer", "PreparingRebalance"]
    );
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
    let outcome = world.beat(joining("m", &["t"])).map_err(|(error, _)| error);
    assert_eq!(outcome, Err(ResponseError::GroupIdNotFound));
    let outcome = world.beat(beating("m", epoch)).map_err(|(error, _)| error);
    assert_eq!(outcome, Err(ResponseError::GroupIdNotFound));
    world.reload();
    assert_eq!(world.only(), ["g", "classic", "", "Empty"]);
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
}

#[test]
fn a_member_speaks_the_protocol_that_it_joined_with() {
    let mut world = World::new();
    let epoch = world.joined("m", &["t"]);
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(text("m"))
        .with_generation_id(epoch);
    let outcome = world.ask(|to| Input::Heartbeat(heartbeat, to));
    assert_eq!(outcome, Some(ResponseError::UnknownMemberId));
    let sync = SyncGroupRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(text("m"));
    assert_eq!(world.ask(|to| Input::Sync(sync, to)).error_code, 25);
    // But an administrator may remove any.
    let member = MemberIdentity::default().with_member_id(text("m"));
    let left = world.ask(|to| Input::Leave(group_id("g"), vec![member], to));
    assert_eq!(left[0].error_code, 0);
    assert_eq!(world.described().members.len(), 0);
}

#[test]
fn members_commit_and_read_offsets_at_their_epoch() {
    let mut world = World::new();
    let epoch = world.joined("m", &["t"]);
    let commit = |world: &mut World, member: &str, epoch, version| {
        let request = commit_request("g", &[("t", 0, 5), ("t", 7, 5)])
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(epoch);
        world.commit_as(request, version)
    };
    assert_eq!(commit(&mut world, "m", epoch, 9), [0, 3]);
    assert_eq!(commit(&mut world, "m", epoch + 1, 9), [113, 3]);
    assert_eq!(commit(&mut world, "n", epoch, 9), [25, 3]);
    assert_eq!(commit(&mut world, "m", epoch, 8), [35, 3]);
    // Nobody else may, while there are members.
    assert_eq!(commit(&mut world, "", -1, 9), [25, 3]);
    assert_eq!(world.fetched_by(Some("m"), epoch), Ok(1));
    assert_eq!(world.fetched_by(None, -1), Ok(1));
    let stale = Err(ResponseError::StaleMemberEpoch);
    assert_eq!(world.fetched_by(Some("m"), epoch + 1), stale);
    let unknown = Err(ResponseError::UnknownMemberId);
    assert_eq!(world.fetched_by(Some("n"), epoch), unknown);
    world.beat(beating("m", LEAVE)).expect("it may leave");
    assert_eq!(commit(&mut world, "", -1, 8), [0, 3]);
}

#[test]
fn a_group_is_deleted_when_nobody_is_in_it() {
    let mut world = World::new();
    let epoch = world.joined("m", &["t"]);
    let commit = commit_request("g", &[("t", 0, 5)])
        .with_member_id(text("m"))
        .with_generation_id_or_member_epoch(epoch);
    assert_eq!(world.commit_as(commit, 9), [0]);
    assert_eq!(world.deleted(), 68);
    world.beat(beating("m", LEAVE)).expect("it may leave");
    assert_eq!(world.deleted(), 0);
    assert_eq!(world.deleted(), 69);
    assert_eq!(world.groups(), []);
    world.reload();
    assert_eq!(world.groups(), []);
}

#[test]
fn offsets_of_topics_that_members_read_stay() {
    let mut world = World::new();
    world.reload();
    world.commit("g", &[("t", 0, 5), ("u", 0, 7)]);
    let epoch = world.joined("m", &["t"]);
    let delete = |world: &mut World, topic: &str| {
        let partition = OffsetDeleteRequestPartition::default();
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id("g"))
            .with_topics(vec![topic]);
        let response = world.ask(|to| Input::DeleteOffsets(request, to));
        response.topics[0].partitions[0].error_code
    };
    assert_eq!(delete(&mut world, "t"), 86);
    for _ in 0..140 {
        world.pass(SESSION_MS - 15_000);
        world.beat(beating("m", epoch)).expect("it is alive");
    }
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
    // Without members and offsets the group goes.
    world.beat(beating("m", LEAVE)).expect("it may leave");
    world.pass(70 * MINUTE_MS);
    assert_eq!(world.groups(), []);
    world.reload();
    assert_eq!(world.groups(), []);
}

#[test]
fn members_are_told_of_topics_that_come_and_go() {
    let mut world = World::new();
    let epoch = world.joined("m", &["t", "u"]);
    assert_eq!(assigned(&world.beat(beating("m", epoch))), 0);
    world.delete_topic("u");
    world.pass(1_000);
    // It is to give up what is gone before its epoch moves on.
    assert_eq!(assigned(&world.beat(beating("m", epoch))), 2);
    world.beat(beating("m", LEAVE)).expect("it may leave");
}

#[test]
fn a_pattern_is_resolved_without_another_request() {
    let mut world = World::new();
    let request = joining("m", &[]).with_subscribed_topic_regex(Some(text("[tu]")));
    let answer = world.beat(request);
    assert_eq!(assigned(&answer), 0);
    world.pass(1_000);
    let epoch = answer.expect("it may join").member_epoch;
    let answer = world.beat(beating("m", epoch));
    assert_eq!(assigned(&answer), 3);
}
