//! Groups and the memory that they may take together.

use bytes::Bytes;
use kafka_protocol::messages::TopicName;

use super::consumer_groups::{beating, caller, joining, text};
use super::*;
use crate::coordinator::memory::Claim;

const LIMIT: usize = 64 << 20;
const NO_ROOM: i16 = 15;
const LEAVE: i32 = -1;

fn world() -> World {
    let mut world = World::new();
    world.config.groups.memory_bytes = LIMIT;
    world
}

impl World {
    /// A member of the classic protocol joins a group with so much metadata; what it is told at once.
    fn join_with(&mut self, group: &str, metadata: usize) -> Option<i16> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from(vec![0; metadata]));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let (to, mut reply) = slot();
        let input = Input::Join(request, caller(3), Replier(to));
        self.run(|groups, context| groups.handle(input, context))
            .release();
        reply.try_take().map(|answer| answer.error_code)
    }

    /// Passes enough of time for members, offsets and groups to go one after the other.
    fn pass_long(&mut self) {
        for _ in 0..20 {
            self.pass(600_000);
        }
    }

    /// Takes all but so much of the memory.
    fn leave_room(&self, bytes: usize) -> Claim {
        let mut claim = Claim::on(&self.memory);
        claim.set(LIMIT - bytes - self.memory.used());
        claim
    }

    /// What groups say that they take, together.
    fn held(&self) -> usize {
        let groups = self.groups.groups.values();
        let parts = groups.map(|group| {
            let places = 2 * size_of::<(Rc<str>, Group)>();
            places + group.kind.held_bytes() + group.offsets.held_bytes()
        });
        parts.sum()
    }
}

#[test]
fn large_groups_leave_room_for_others_and_give_all_back() {
    let mut world = world();
    let outcomes: Vec<_> = (0..100)
        .map(|at| world.join_with(&format!("large-{at}"), 1_000_000))
        .collect();
    let admitted = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    let refused = outcomes.iter().filter(|code| **code == Some(NO_ROOM));
    assert!((10..50).contains(&admitted), "{admitted}");
    assert_eq!(refused.count(), 100 - admitted);
    assert_eq!(world.groups().len(), admitted, "nothing is left of others");
    assert!(world.memory.used() <= LIMIT - LIMIT / 4);
    assert_eq!(world.join_with("small", 1_000), None);
    assert_eq!(world.memory.used(), world.held());
    world.reload();
    assert_eq!(world.memory.used(), world.held());

    world.pass(60_000);
    assert_eq!(world.memory.used(), world.held());
    assert_eq!(world.join_with("later", 1_000_000), None);
    world.pass_long();
    assert_eq!((world.groups().len(), world.memory.used()), (0, 0));
}

#[test]
fn who_asks_for_no_more_than_it_has_is_never_refused() {
    let mut world = world();
    assert_eq!(world.commit("g", &[("t", 0, 5)]), [0]);
    let epoch = {
        let request = joining("m", &["t"]).with_group_id(GroupId(text("members")));
        world.beat(request).expect("there is room").member_epoch
    };
    let all = world.leave_room(0);
    assert_eq!(world.commit("g", &[("t", 0, 6)]), [0]);
    let partitions = [("t", 0, 7), ("t", 1, 7), ("nothing", 0, 7)];
    assert_eq!(world.commit("g", &partitions), [0, NO_ROOM, 3]);
    assert_eq!(world.fetch("g"), [offset("t", 0, 7)]);
    assert_eq!(world.commit("new", &[("t", 0, 6)]), [NO_ROOM]);
    assert_eq!(world.join_with("other", 0), Some(NO_ROOM));
    assert_eq!(world.groups().len(), 2);
    let beat = |world: &mut World, member, epoch| {
        let request = beating(member, epoch).with_group_id(GroupId(text("members")));
        world.beat(request).map_err(|(error, _)| error.code())
    };
    assert!(beat(&mut world, "m", epoch).is_ok());
    let more = joining("n", &["t"]).with_group_id(GroupId(text("members")));
    let refused = world.beat(more.clone()).map_err(|(error, _)| error.code());
    assert_eq!(refused, Err(NO_ROOM));
    assert!(beat(&mut world, "m", LEAVE).is_ok());
    drop(all);
    assert!(world.beat(more).is_ok());
    assert_eq!(world.commit("g", &[("t", 1, 7)]), [0]);
    assert_eq!(world.memory.used(), world.held());
}

#[test]
fn members_with_many_topics_are_counted_for_what_these_take() {
    let mut world = world();
    let names: Vec<String> = (0..10_000).map(|at| format!("topic-{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let join = |world: &mut World, at: usize| {
        let request = joining("m", &names).with_group_id(GroupId(text(&format!("g-{at}"))));
        world.beat(request).map_err(|(error, _)| error.code())
    };
    let outcomes: Vec<_> = (0..100).map(|at| join(&mut world, at)).collect();
    let admitted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((10..50).contains(&admitted), "{admitted}");
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(NO_ROOM));
    assert_eq!(refused.count(), 100 - admitted);
    assert_eq!(world.groups().len(), admitted);
    assert_eq!(world.memory.used(), world.held());

    // One that wants less by now, and one that goes.
    let fewer = vec![TopicName(text("t"))];
    let before = world.memory.used();
    let epoch = outcomes[0].as_ref().map_or(0, |answer| answer.member_epoch);
    let request = beating("m", epoch)
        .with_group_id(GroupId(text("g-0")))
        .with_subscribed_topic_names(Some(fewer));
    assert!(world.beat(request).is_ok());
    let gone = beating("m", LEAVE).with_group_id(GroupId(text("g-1")));
    assert!(world.beat(gone).is_ok());
    assert!(world.memory.used() + 3_000_000 < before);
    assert_eq!(join(&mut world, 100).map(|_| ()), Ok(()));
    world.reload();
    assert_eq!(world.memory.used(), world.held());
    world.pass_long();
    assert_eq!((world.groups().len(), world.memory.used()), (0, 0));
}

#[test]
fn deleted_groups_and_offsets_give_all_back() {
    let mut world = world();
    world.commit("g", &[("t", 0, 5), ("t", 1, 6), ("u", 0, 7)]);
    assert_eq!(world.memory.used(), world.held());
    world.delete_topic("u");
    world.pass(1);
    assert_eq!(world.memory.used(), world.held());
    let result = world.ask(|to| Input::Delete(group_id("g"), to));
    assert_eq!((result.error_code, world.memory.used()), (0, 0));
    world.commit("g", &[("t", 0, 5)]);
    world.groups = Groups::default();
    assert_eq!(world.memory.used(), 0);
}

#[test]
fn a_member_that_gets_no_more_memory_is_alive() {
    let mut world = world();
    let epoch = world.joined("m", &["t"]);
    let all = world.leave_room(0);
    let wants_more = |epoch| {
        let topics = ["t", "u"].map(|topic| TopicName(text(topic)));
        beating("m", epoch).with_subscribed_topic_names(Some(topics.to_vec()))
    };
    for _ in 0..4 {
        let refused = world.beat(wants_more(epoch));
        let refused = refused.map_err(|(error, _)| error.code());
        assert_eq!(refused, Err(NO_ROOM));
        world.pass(30_000);
    }
    drop(all);
    assert!(world.beat(wants_more(epoch)).is_ok());
}

#[test]
fn a_topic_is_counted_once_for_all_of_its_offsets() {
    let mut request = commit_request("g", &[("t", 0, 1), ("t", 1, 1)]);
    let second = request.topics.remove(1);
    request.topics[0].partitions.extend(second.partitions);
    let began = || {
        let mut world = world();
        world.commit("g", &[("u", 0, 1)]);
        world
    };
    let takes = {
        let mut world = began();
        let before = world.memory.used();
        assert_eq!(world.commit_as(request.clone(), 8), [0, 0]);
        world.memory.used() - before
    };
    let mut world = began();
    let room = world.leave_room(takes);
    assert_eq!(world.commit_as(request.clone(), 8), [0, 0]);
    drop(room);
    let mut world = began();
    let _less = world.leave_room(takes - 1);
    assert_eq!(world.commit_as(request, 8), [0, NO_ROOM]);
}

#[test]
fn patterns_that_there_is_no_memory_for_are_tried_again_after_a_while() {
    let mut world = world();
    world.beat(joining("m", &["t"])).expect("there is room");
    let all = world.leave_room(10_000);
    let regex = beating("n", 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_regex(Some(text("[tu].*")))
        .with_topic_partitions(Some(Vec::new()));
    let epoch = world.beat(regex).expect("there is room").member_epoch;
    let none = world.leave_room(0);
    world.pass(0);
    let is_tried = |world: &mut World| {
        world.beat(beating("n", epoch)).expect("it is alive");
        let due = world.groups.next_deadline();
        due.is_some_and(|due| due <= world.now)
    };
    world.pass(5_000);
    assert!(!is_tried(&mut world), "the same would come of it");
    world.pass(6_000);
    assert!(is_tried(&mut world));
    drop((none, all));
    world.pass(0);
    world.pass(5_000);
    let answer = world.beat(beating("n", epoch)).expect("it is alive");
    assert!(answer.member_epoch > epoch, "{answer:?}");
}
