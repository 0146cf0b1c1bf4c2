//! Groups with members of both protocols, and on their way from one to the other.

use bytes::Bytes;
use corelog_shards::io::Slot;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;

use super::consumer_groups::{beating, caller, joining, text};
use super::*;
use crate::coordinator::group::consumer_protocol::{Assignment, NamedPartitions, Subscription};

const REBALANCE_MS: i64 = 30_000;
const SESSION_MS: i64 = 10_000;
const LEAVE: i32 = -1;
/// A version of JoinGroup that lets members in without a second request.
const OLD_JOIN: i16 = 3;

type Partitions = Vec<(String, Vec<i32>)>;

/// A consumer of the classic protocol, cooperative: it gives up what it is no longer assigned, and joins again.
#[derive(Clone)]
struct Classic {
    id: String,
    instance: Option<&'static str>,
    generation: i32,
    owned: Partitions,
}

fn named(partitions: &Partitions) -> Vec<NamedPartitions> {
    let named = partitions
        .iter()
        .map(|(topic, partitions)| NamedPartitions {
            topic: topic.clone(),
            partitions: partitions.clone(),
        });
    named.collect()
}

fn partitions(assignment: &[u8]) -> Partitions {
    let assignment = Assignment::parse(assignment).expect("an assignment");
    let topics = assignment.partitions.into_iter();
    topics
        .map(|topic| (topic.topic, topic.partitions))
        .collect()
}

fn some(topic: &str, partitions: &[i32]) -> Partitions {
    vec![(topic.to_owned(), partitions.to_vec())]
}

impl Classic {
    /// One that nobody has heard of.
    fn new(instance: Option<&'static str>) -> Self {
        Self {
            id: String::new(),
            instance,
            generation: -1,
            owned: Partitions::new(),
        }
    }

    fn join_request(&self, topics: &[&str]) -> JoinGroupRequest {
        let subscription = Subscription {
            topics: topics.iter().map(|topic| topic.to_string()).collect(),
            owned_partitions: named(&self.owned),
            ..Subscription::default()
        };
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("cooperative-sticky"))
            .with_metadata(subscription.to_bytes(1));
        JoinGroupRequest::default()
            .with_group_id(group_id("g"))
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_session_timeout_ms(SESSION_MS as i32)
            .with_rebalance_timeout_ms(REBALANCE_MS as i32)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }
}

impl World {
    fn set(&mut self, name: &str, value: &str) {
        let file = Overrides::from([(name.to_owned(), value.to_owned())]);
        self.config = BrokerConfig::resolve(Layers::of_file(&file)).expect("sound settings");
    }

    fn classic_joins(&mut self, client: &Classic, topics: &[&str]) -> Slot<JoinGroupResponse> {
        let (to, reply) = slot();
        let input = Input::Join(client.join_request(topics), caller(OLD_JOIN), Replier(to));
        self.run(|groups, context| groups.handle(input, context))
            .release();
        reply
    }

    /// A join that is answered at once.
    fn rejoin(&mut self, client: &mut Classic, topics: &[&str]) -> i16 {
        let answer = self.classic_joins(client, topics).try_take();
        let answer = answer.expect("an answer at once");
        if answer.error_code == 0 {
            client.id = answer.member_id.to_string();
            client.generation = answer.generation_id;
        }
        answer.error_code
    }

    fn sync_with(&mut self, client: &Classic, all: &[(&Classic, Partitions)]) -> SyncGroupResponse {
        let assignments = all.iter().map(|(client, partitions)| {
            let assignment = Assignment {
                partitions: named(partitions),
                user_data: None,
            };
            let bytes = assignment.to_bytes(&[0, 1]).expect("a version");
            SyncGroupRequestAssignment::default()
                .with_member_id(text(&client.id))
                .with_assignment(bytes)
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id("g"))
            .with_generation_id(client.generation)
            .with_member_id(text(&client.id))
            .with_group_instance_id(client.instance.map(text))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("cooperative-sticky")))
            .with_assignments(assignments.collect());
        self.ask(|to| Input::Sync(request, to))
    }

    /// Fetches what it is to work on; the error otherwise.
    fn sync(&mut self, client: &mut Classic) -> i16 {
        let answer = self.sync_with(client, &[]);
        if answer.error_code == 0 {
            client.owned = partitions(&answer.assignment);
        }
        answer.error_code
    }

    fn classic_beat(&mut self, client: &Classic) -> Option<ResponseError> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id("g"))
            .with_generation_id(client.generation)
            .with_member_id(text(&client.id))
            .with_group_instance_id(client.instance.map(text));
        self.ask(|to| Input::Heartbeat(request, to))
    }

    /// Goes on as a client does, until there is nothing more to do.
    fn follow(&mut self, client: &mut Classic) {
        for _ in 0..10 {
            match self.classic_beat(client) {
                None => return,
                Some(ResponseError::RebalanceInProgress) => {
                    assert_eq!(self.rejoin(client, &["t"]), 0);
                    assert_eq!(self.sync(client), 0);
                }
                Some(error) => panic!("{error}"),
            }
        }
        panic!("it never settles");
    }

    fn pass_in_steps(&mut self, seconds: usize) {
        (0..seconds).for_each(|_| self.pass(1_000));
    }

    /// A classic group of two members with a partition each.
    fn classic_group(&mut self) -> [Classic; 2] {
        let mut clients = [(); 2].map(|()| Classic::new(None));
        let joins = clients
            .each_ref()
            .map(|client| self.classic_joins(client, &["t"]));
        self.pass_in_steps(10);
        for (client, mut reply) in clients.iter_mut().zip(joins) {
            let joined = reply.try_take().expect("all have joined");
            assert_eq!(joined.error_code, 0);
            client.id = joined.member_id.to_string();
            client.generation = joined.generation_id;
            client.owned = some("t", &[]);
        }
        clients[0].owned = some("t", &[0]);
        clients[1].owned = some("t", &[1]);
        let all = clients.clone();
        let all: Vec<_> = all.iter().map(|one| (one, one.owned.clone())).collect();
        // The first to join leads.
        for client in &clients {
            let synced = self.sync_with(client, &all);
            assert_eq!(synced.error_code, 0);
            assert_eq!(partitions(&synced.assignment), client.owned);
        }
        clients
    }
}

#[test]
fn a_classic_group_takes_in_a_member_of_the_consumer_protocol_and_keeps_working() {
    let mut world = World::new();
    world.commit("g", &[("t", 0, 5)]);
    let [mut a, mut b] = world.classic_group();
    let answer = world.beat(joining("n", &["t", "u"])).expect("it may join");
    assert_eq!(world.only(), ["g", "consumer", "consumer", "Reconciling"]);
    assert_eq!(answer.member_epoch, a.generation + 1);
    let types = |world: &mut World| {
        let members = world.described().members;
        let types = members.iter().map(|member| member.member_type);
        types.collect::<Vec<i8>>()
    };
    let mut expected = types(&mut world);
    expected.sort_unstable();
    assert_eq!(expected, [0, 0, 1]);
    for client in [&a, &b] {
        assert_eq!(
            world.classic_beat(client),
            Some(ResponseError::RebalanceInProgress)
        );
        // What it has is its own until it says otherwise.
        let offset = commit_request("g", &[("t", client.owned[0].1[0], 6)])
            .with_member_id(text(&client.id))
            .with_generation_id_or_member_epoch(client.generation);
        assert_eq!(world.commit_as(offset, 8), [0]);
    }
    world.follow(&mut a);
    world.follow(&mut b);
    let answer = world.beat(beating("n", answer.member_epoch));
    let epoch = answer.expect("it is alive").member_epoch;
    assert_eq!(world.only()[3], "Stable");
    let described = world.described();
    let mut all: Vec<(String, i32)> = Vec::new();
    for member in &described.members {
        for topic in &member.assignment.topic_partitions {
            let name = topic.topic_name.to_string();
            all.extend(topic.partitions.iter().map(|id| (name.clone(), *id)));
        }
    }
    all.sort();
    assert_eq!(
        all,
        [
            ("t".to_owned(), 0),
            ("t".to_owned(), 1),
            ("u".to_owned(), 0)
        ]
    );
    world.reload();
    assert_eq!(world.described(), described);
    assert_eq!(world.classic_beat(&a), None);
    assert!(world.beat(beating("n", epoch)).is_ok());
    assert_eq!(world.fetch("g"), [offset("t", 0, 6), offset("t", 1, 6)]);
}

#[test]
fn a_group_becomes_classic_again_with_its_last_member_of_the_consumer_protocol() {
    for leaves in [true, false] {
        let mut world = World::new();
        world.commit("g", &[("t", 0, 5)]);
        let [mut a, mut b] = world.classic_group();
        let epoch = world.joined("n", &["t"]);
        world.follow(&mut a);
        world.follow(&mut b);
        if leaves {
            world.beat(beating("n", LEAVE)).expect("it may leave");
        } else {
            // Its session is longer than theirs.
            for _ in 0..9 {
                world.pass(SESSION_MS / 2);
                world.classic_beat(&a);
                world.classic_beat(&b);
            }
        }
        assert!(world.beat(beating("n", epoch)).is_err());
        let classic = ["g", "classic", "consumer"];
        assert_eq!(world.only()[..3], classic);
        assert_eq!(world.only()[3], "PreparingRebalance");
        // What the last one had is nobody's until the others have joined anew, also behind a restart of the broker.
        let log = world.log.clone();
        world.reload();
        assert_eq!(world.only()[..3], classic);
        assert_eq!(world.only()[3], "PreparingRebalance");
        assert_eq!(world.log, log);
        let rebalance = Some(ResponseError::RebalanceInProgress);
        assert_eq!(world.classic_beat(&a), rebalance);
        assert_eq!(world.classic_beat(&b), rebalance);
        assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
    }
}

#[test]
fn a_static_member_goes_back_to_the_classic_protocol_without_a_rebalance() {
    let mut world = World::new();
    let joins = joining("n", &["t"]).with_instance_id(Some(text("i")));
    let epoch = world.beat(joins).expect("it may join").member_epoch;
    let mut back = Classic::new(Some("i"));
    assert_eq!(world.rejoin(&mut back, &["t"]), 0);
    assert_eq!(back.generation, epoch);
    assert_eq!(world.only(), ["g", "classic", "consumer", "Stable"]);
    assert_eq!(world.sync(&mut back), 0);
    assert_eq!(back.owned, some("t", &[0, 1]));
    assert_eq!(world.classic_beat(&back), None);
    world.reload();
    assert_eq!(world.only(), ["g", "classic", "consumer", "Stable"]);
    assert_eq!(world.sync(&mut back), 0);
}

/// A classic group that is stable asks nobody to let go of a partition.
#[test]
fn a_static_member_goes_back_with_a_rebalance_while_others_own_what_it_is_to_have() {
    let mut world = World::new();
    let mut owner = Classic::new(None);
    let mut back = Classic::new(Some("i"));
    let mut reply = world.classic_joins(&owner, &["t"]);
    world.pass_in_steps(10);
    let joined = reply.try_take().expect("nobody else is there");
    (owner.id, owner.generation) = (joined.member_id.to_string(), joined.generation_id);
    owner.owned = some("t", &[0, 1]);
    world.sync_with(&owner, &[(&owner, owner.owned.clone())]);
    let joins = joining("n", &["t"]).with_instance_id(Some(text("i")));
    let answer = world.beat(joins);
    assert_eq!(super::consumer_groups::assigned(&answer), 0);
    assert_eq!(world.rejoin(&mut back, &["t"]), 0);
    let rebalancing = ["g", "classic", "consumer", "PreparingRebalance"];
    assert_eq!(world.only(), rebalancing);
    let rebalance = ResponseError::RebalanceInProgress;
    assert_eq!(world.sync(&mut back), rebalance.code());
}

#[test]
fn a_static_member_comes_with_the_consumer_protocol_and_has_what_it_had() {
    let mut world = World::new();
    let mut old = Classic::new(Some("i"));
    let mut reply = world.classic_joins(&old, &["t"]);
    world.pass_in_steps(10);
    let joined = reply.try_take().expect("nobody else is there");
    (old.id, old.generation) = (joined.member_id.to_string(), joined.generation_id);
    let all = some("t", &[0, 1]);
    world.sync_with(&old, &[(&old, all)]);
    let joins = joining("n", &["t"]).with_instance_id(Some(text("i")));
    let answer = world.beat(joins);
    assert_eq!(super::consumer_groups::assigned(&answer), 2);
    assert_eq!(world.described().members.len(), 1);
    let fenced = Some(ResponseError::FencedInstanceId);
    assert_eq!(world.classic_beat(&old), fenced);
}

#[test]
fn who_comes_in_the_middle_of_a_rebalance_gets_nothing_that_others_still_own() {
    let mut world = World::new();
    let mut clients = world.classic_group();
    let joins = clients
        .each_ref()
        .map(|client| world.classic_joins(client, &["t"]));
    for (client, mut reply) in clients.iter_mut().zip(joins) {
        let joined = reply.try_take().expect("all have joined");
        assert_eq!(joined.error_code, 0);
        client.generation = joined.generation_id;
    }
    assert_eq!(world.only()[3], "CompletingRebalance");
    let answer = world.beat(joining("n", &["t"]));
    assert_eq!(super::consumer_groups::assigned(&answer), 0);
    let epoch = answer.expect("it is alive").member_epoch;
    let owned = clients.each_ref().map(|client| client.owned.clone());
    assert_eq!(owned, [some("t", &[0]), some("t", &[1])]);
    clients.iter_mut().for_each(|client| world.follow(client));
    world.beat(beating("n", epoch)).expect("it is alive");
    assert_eq!(world.only()[3], "Stable");
    assert_eq!(owned, clients.map(|client| client.owned));
}

#[test]
fn the_migration_policy_decides() {
    let policy = "group.consumer.migration.policy";
    let not_found = |why: &str| {
        let text = format!("Cannot upgrade classic group g to consumer group because {why}.");
        Err((ResponseError::GroupIdNotFound, Some(text)))
    };
    for direction in ["disabled", "downgrade"] {
        let mut world = World::new();
        world.set(policy, direction);
        let [a, _] = world.classic_group();
        let answer = world.beat(joining("n", &["t"]));
        assert_eq!(answer, not_found("online upgrade is disabled"));
        assert_eq!(world.only(), ["g", "classic", "consumer", "Stable"]);
        assert_eq!(world.classic_beat(&a), None);
    }
    for direction in ["disabled", "upgrade"] {
        let mut world = World::new();
        let [mut a, mut b] = world.classic_group();
        world.joined("n", &["t"]);
        world.follow(&mut a);
        world.follow(&mut b);
        world.set(policy, direction);
        world.beat(beating("n", LEAVE)).expect("it may leave");
        assert_eq!(world.only()[1], "consumer");
        // With no way between the protocols, those of the other one are no longer let in.
        let expected = if direction == "disabled" { 23 } else { 0 };
        assert_eq!(world.rejoin(&mut a, &["t"]), expected);
    }
}

#[test]
fn a_group_that_cannot_go_over_stays_as_it_was() {
    let mut world = World::new();
    world.set("group.consumer.max.size", "1");
    let [a, b] = world.classic_group();
    let mut waiting = world.classic_joins(&a, &["t", "u"]);
    let before = world.log.clone();
    let error = world.beat(joining("n", &["t"])).map_err(|(error, _)| error);
    assert_eq!(error, Err(ResponseError::GroupIdNotFound));
    world.set("group.consumer.max.size", "3");
    let invalid = joining("n", &[]).with_subscribed_topic_regex(Some(text("(")));
    let error = world.beat(invalid).map_err(|(error, _)| error);
    assert_eq!(error, Err(ResponseError::InvalidRegularExpression));
    assert_eq!(world.log, before);
    assert_eq!(world.only()[1], "classic");
    assert!(waiting.try_take().is_none(), "it still waits for the other");
    assert_eq!(
        world.classic_beat(&b),
        Some(ResponseError::RebalanceInProgress)
    );
    // With a member that it can take in, the group goes over: whoever waits is to join that.
    world.joined("n", &["t"]);
    let told = waiting.try_take().expect("an answer");
    assert_eq!(told.error_code, ResponseError::RebalanceInProgress.code());
    assert_eq!(world.only()[1], "consumer");
}

#[test]
fn members_of_the_classic_protocol_join_and_sync_in_time() {
    let mut world = World::new();
    let [mut a, mut b] = world.classic_group();
    let epoch = world.joined("n", &["t"]);
    world.follow(&mut a);
    assert_eq!(world.rejoin(&mut b, &["t"]), 0);
    // One more topic, when there may be another assignment: all are to take another step.
    world.pass(1_000);
    let epoch = world.beat(joining("n", &["t", "u"]).with_member_epoch(epoch));
    let epoch = epoch.expect("it is alive").member_epoch;
    let rebalance = Some(ResponseError::RebalanceInProgress);
    assert_eq!(world.classic_beat(&a), rebalance);
    let beats = REBALANCE_MS / 5_000;
    for beat in 1..=beats {
        assert_eq!(world.described().members.len(), 3, "{beat}");
        world.pass(5_000);
        world.beat(beating("n", epoch)).expect("it is alive");
        world.classic_beat(&a);
        world.classic_beat(&b);
    }
    // One has not joined again, the other has not synced.
    assert_eq!(world.described().members.len(), 1);
    let gone = Some(ResponseError::UnknownMemberId);
    assert_eq!(world.classic_beat(&a), gone);
    assert_eq!(world.classic_beat(&b), gone);
}

#[test]
fn a_member_of_the_classic_protocol_is_refused_for_what_it_says() {
    let mut world = World::new();
    world.joined("n", &["t"]);
    let client = Classic::new(None);
    let join = |world: &mut World, request: JoinGroupRequest, version| {
        world.ask(|to| Input::Join(request, caller(version), to))
    };
    let request = client.join_request(&["t"]);
    let told = join(&mut world, request.clone(), 9);
    assert_eq!(told.error_code, ResponseError::MemberIdRequired.code());
    assert!(!told.member_id.is_empty());
    let other = request.clone().with_protocol_type(text("connect"));
    assert_eq!(join(&mut world, other, OLD_JOIN).error_code, 23);
    let mut broken = request.clone();
    broken.protocols[0].metadata = Bytes::from_static(b"\0");
    assert_eq!(join(&mut world, broken, OLD_JOIN).error_code, -1);
    assert_eq!(world.described().members.len(), 1);
    let named = request.with_member_id(told.member_id.clone());
    let joined = join(&mut world, named.clone(), 9);
    assert_eq!((joined.error_code, &joined.member_id), (0, &told.member_id));
    // Another must know the protocol that this one knows.
    let mut other = named.with_member_id(text("other"));
    other.protocols[0].name = text("sticky");
    assert_eq!(join(&mut world, other, 9).error_code, 23);

    let mut client = Classic {
        id: joined.member_id.to_string(),
        generation: joined.generation_id + 1,
        ..client
    };
    assert_eq!(world.sync(&mut client), 22);
    let illegal = Some(ResponseError::IllegalGeneration);
    assert_eq!(world.classic_beat(&client), illegal);
    client.generation -= 1;
    client.instance = Some("i");
    assert_eq!(world.sync(&mut client), 25);
    client.instance = None;
    let leave = |world: &mut World, member: MemberIdentity| {
        let left = world.ask(|to| Input::Leave(group_id("g"), vec![member], to));
        left[0].error_code
    };
    let nobody = MemberIdentity::default().with_member_id(text("nobody"));
    assert_eq!(leave(&mut world, nobody), 25);
    let member = MemberIdentity::default().with_member_id(text(&client.id));
    assert_eq!(leave(&mut world, member.clone()), 0);
    assert_eq!(leave(&mut world, member), 25);
    assert_eq!(world.described().members.len(), 1);
}

/// Compared one by one they would keep the coordinator for minutes.
#[test]
fn members_may_know_very_many_protocols() {
    const PROTOCOLS: usize = 80_000;
    let mut world = World::new();
    world.joined("n", &["t"]);
    let client = Classic::new(None);
    let mut join = |prefix: &str, last: &str| {
        let mut request = client.join_request(&["t"]);
        let metadata = request.protocols[0].metadata.clone();
        let names = (0..PROTOCOLS).map(|n| format!("{prefix}{n}"));
        let others = names.chain([last.to_owned()]).map(|name| {
            JoinGroupRequestProtocol::default()
                .with_name(text(&name))
                .with_metadata(Bytes::new())
        });
        request.protocols = others.collect();
        request.protocols[0].metadata = metadata;
        let joined = world.ask(|to| Input::Join(request, caller(OLD_JOIN), to));
        joined.error_code
    };
    assert_eq!(join("a", "known to all"), 0);
    assert_eq!(join("b", "known to one"), 23);
    assert_eq!(join("b", "known to all"), 0);
}
