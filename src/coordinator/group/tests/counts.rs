use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use uuid::Uuid;

use super::*;
use crate::coordinator::group::census::Census;
use crate::coordinator::group::consumer::JOIN;

fn caller() -> Caller {
    Caller {
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        // Of a join that needs no second request, and of a heartbeat.
        version: 1,
    }
}

impl World {
    /// The groups of a kind and state, if there are any, and the offsets.
    fn census(&self) -> (Vec<(&'static str, &'static str, usize)>, usize) {
        let mut census = Census::default();
        let mut from = Some(String::new());
        while let Some(group) = from {
            from = self.groups.count(&group, &mut census);
        }
        let groups = census.groups.iter().filter(|(_, count)| **count > 0);
        let groups = groups.map(|((kind, state), count)| (*kind, *state, *count));
        (groups.collect(), census.offsets)
    }

    /// Group, topic, partition and offset of all that is committed, read in parts.
    fn committed(&mut self, from: Place) -> Vec<(String, String, i32, i64)> {
        let mut all = Vec::new();
        let mut next = Some(from);
        while let Some(place) = next {
            let part = self.ask(|to| Input::Committed(place, to));
            assert!(part.offsets.len() <= 256);
            all.extend(part.offsets.iter().map(|one| {
                let (group, topic) = (one.group.to_string(), one.topic.to_string());
                (group, topic, one.partition, one.offset)
            }));
            next = part.next;
        }
        all
    }
}

#[test]
fn groups_are_counted_by_kind_and_state_however_many_there_are() {
    let mut world = World::new();
    for group in 0..1_200 {
        let id: &'static str = format!("simple-{group}").leak();
        world.commit(id, &[("t", 0, 1), ("t", 1, 1), ("u", 0, 1)]);
    }
    world.join_consumer("consumer");
    let groups = vec![("classic", "Empty", 1_200), ("consumer", "Stable", 1)];
    assert_eq!(world.census(), (groups, 3_600));
    // All that there could be have their place.
    assert_eq!(Census::default().groups.len(), 9);
}

#[test]
fn committed_offsets_are_read_in_parts_each_once() {
    let mut world = World::new();
    let mut wanted = Vec::new();
    for group in 0..300 {
        let id: &'static str = format!("group-{group:03}").leak();
        world.commit(id, &[("t", 0, group), ("t", 1, 1), ("u", 0, 2)]);
        for (topic, partition, offset) in [("t", 0, group), ("t", 1, 1), ("u", 0, 2)] {
            wanted.push((id.to_owned(), topic.to_owned(), partition, offset));
        }
    }
    assert_eq!(world.committed(Place::default()), wanted);
    let of_one = Place {
        group: "group-123".to_owned(),
        is_of_one_group: true,
        ..Place::default()
    };
    assert_eq!(world.committed(of_one.clone()), wanted[3 * 123..3 * 124]);
    let of_nobody = Place {
        group: "group-12".to_owned(),
        ..of_one
    };
    assert_eq!(world.committed(of_nobody), []);
    // Of a topic that has taken the name of another one nothing was committed.
    world.image = image_of(&[("x", 1), ("t", 2), ("u", 1)], &[]);
    assert_eq!(world.committed(Place::default()), []);
}

impl World {
    fn join_consumer(&mut self, group: &'static str) {
        let topic = TopicName(StrBytes::from_static_str("t"));
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(StrBytes::from_static_str("m"))
            .with_member_epoch(JOIN)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(vec![topic]))
            .with_topic_partitions(Some(Vec::new()));
        let answer = self.ask(|to| Input::ConsumerHeartbeat(request, caller(), to));
        assert!(answer.is_ok());
    }

    /// The only member of a group joins, and brings its own assignment.
    fn rebalance_classic(&mut self, group: &'static str) {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(group))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        let (to, mut reply) = slot();
        let input = Input::Join(request, caller(), Replier(to));
        self.run(|groups, context| groups.handle(input, context))
            .release();
        self.pass(10_000);
        let joined = reply.try_take().expect("the rebalance is over");
        let sync = SyncGroupRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(joined.member_id)
            .with_generation_id(joined.generation_id);
        assert_eq!(self.ask(|to| Input::Sync(sync.clone(), to)).error_code, 0);
        // Asked for once more, it is no other rebalance.
        assert_eq!(self.ask(|to| Input::Sync(sync, to)).error_code, 0);
    }
}

#[test]
fn what_happens_to_offsets_and_groups_is_counted() {
    let mut world = World::new();
    world.reload();
    assert_eq!(
        world.commit("g", &[("t", 0, 5), ("t", 1, 5), ("t", 9, 5)]),
        [0, 0, 3]
    );
    world.commit("h", &[("u", 0, 5)]);
    let deleted = world.ask(|to| Input::Delete(group_id("h"), to));
    assert_eq!(deleted.error_code, 0);
    world.pass(90 * MINUTE_MS);
    world.rebalance_classic("classic");
    world.join_consumer("consumer");
    let counted = |world: &World| {
        let metrics = &world.metrics;
        [
            &metrics.offset_commits,
            &metrics.offsets_deleted,
            &metrics.offsets_expired,
            &metrics.classic_rebalances,
            &metrics.consumer_rebalances,
        ]
        .map(|counter| counter.get())
    };
    assert_eq!(counted(&world), [3, 1, 2, 1, 1]);
    // What is read from the log has happened before.
    world.reload();
    assert_eq!(counted(&world)[..3], [3, 1, 2]);
}

#[test]
fn a_commit_to_a_topic_by_its_id_is_not_for_another_one_of_its_name() {
    let mut world = World::new();
    let mut request = commit_request("g", &[("t", 0, 5)]);
    request.topics[0].topic_id = world.image.topics.id_of("t").expect("it is there");
    assert_eq!(world.commit_as(request.clone(), 10), [0]);
    request.topics[0].topic_id = Uuid::from_u128(99);
    assert_eq!(world.commit_as(request, 10), [3]);
    assert_eq!(world.fetch("g"), [offset("t", 0, 5)]);
}
