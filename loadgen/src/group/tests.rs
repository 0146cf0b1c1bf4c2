//! Members against replies that are made up here.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    BrokerId, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    FindCoordinatorResponse, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::assignor::{Candidate, cooperative_sticky, range};
use super::*;

const SECOND: u64 = 1_000_000_000;

fn settings(protocol: GroupProtocol, assignor: Assignor) -> Arc<Settings> {
    let topic = Topic {
        name: "t".into(),
        id: Uuid::from_u128(7),
    };
    Arc::new(Settings {
        group: "g".into(),
        protocol,
        assignor,
        session_timeout: Duration::from_secs(45),
        commit_interval: Duration::from_secs(5),
        subscription: Subscription {
            topics: [topic].into(),
            partitions: 4,
        },
        starts: [100, 100, 100, 100].into(),
    })
}

/// A member and what the time is.
struct Stage {
    member: Member,
    now_ns: u64,
}

impl Stage {
    fn new(protocol: GroupProtocol, assignor: Assignor) -> Self {
        let mut stage = Self {
            member: Member::new(settings(protocol, assignor)),
            now_ns: 0,
        };
        assert_eq!(stage.next(), Api::FindCoordinator);
        stage.found();
        stage
    }

    fn ask(&mut self) -> Option<Ask> {
        self.member.next(self.now_ns)
    }

    fn next(&mut self) -> Api {
        self.ask().expect("a request").api()
    }

    fn answer(&mut self, answer: Answer) -> Option<i16> {
        self.member.answered(answer, self.now_ns)
    }

    fn found(&mut self) {
        let coordinator = Coordinator::default().with_node_id(BrokerId(3));
        let reply = FindCoordinatorResponse::default().with_coordinators(vec![coordinator]);
        assert_eq!(self.answer(Answer::FindCoordinator(reply)), None);
        assert_eq!(self.member.coordinator(), Some(3));
    }

    fn join(&mut self) -> JoinGroupRequest {
        match self.ask() {
            Some(Ask::JoinGroup(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self) -> SyncGroupRequest {
        match self.ask() {
            Some(Ask::SyncGroup(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self) -> OffsetCommitRequest {
        match self.ask() {
            Some(Ask::OffsetCommit(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self) -> ConsumerGroupHeartbeatRequest {
        match self.ask() {
            Some(Ask::ConsumerGroupHeartbeat(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn committed(&mut self, partitions: &[i32], code: i16) -> Option<i16> {
        let partitions = partitions.iter().map(|index| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(*index)
                .with_error_code(code)
        });
        let topic = OffsetCommitResponseTopic::default()
            .with_name(crate::client::topic_name("t"))
            .with_partitions(partitions.collect());
        self.answer(Answer::OffsetCommit(
            OffsetCommitResponse::default().with_topics(vec![topic]),
        ))
    }

    /// The group has committed these offsets, -1 where it has not.
    fn fetched(&mut self, offsets: &[(i32, i64)]) {
        assert_eq!(self.next(), Api::OffsetFetch);
        let partitions = offsets.iter().map(|(index, offset)| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(*index)
                .with_committed_offset(*offset)
        });
        let topic = OffsetFetchResponseTopics::default()
            .with_name(crate::client::topic_name("t"))
            .with_partitions(partitions.collect());
        let group = OffsetFetchResponseGroup::default().with_topics(vec![topic]);
        let reply = OffsetFetchResponse::default().with_groups(vec![group]);
        assert_eq!(self.answer(Answer::OffsetFetch(reply)), None);
    }

    fn readable(&self) -> Vec<(usize, i64)> {
        self.member.readable().collect()
    }

    /// Joins as the leader and only member of a generation, and gets all partitions.
    fn lead(&mut self, generation: i32) {
        let join = self.join();
        let itself = JoinGroupResponseMember::default()
            .with_member_id("me".into())
            .with_metadata(join.protocols[0].metadata.clone());
        let reply = JoinGroupResponse::default()
            .with_generation_id(generation)
            .with_leader("me".into())
            .with_member_id("me".into())
            .with_members(vec![itself]);
        assert_eq!(self.answer(Answer::JoinGroup(reply)), None);
        let sync = self.sync();
        assert_eq!(sync.assignments.len(), 1);
        let assignment = sync.assignments[0].assignment.clone();
        let reply = SyncGroupResponse::default().with_assignment(assignment);
        assert_eq!(self.answer(Answer::SyncGroup(reply)), None);
    }

    /// A heartbeat is due and comes back with that code.
    fn heartbeat(&mut self, error: ResponseError) -> Option<i16> {
        self.now_ns += 3 * SECOND;
        assert_eq!(self.next(), Api::Heartbeat);
        let reply = HeartbeatResponse::default().with_error_code(error.code());
        self.answer(Answer::Heartbeat(reply))
    }

    /// A heartbeat of KIP-848 comes back with an epoch, and partitions if there are any to tell.
    fn beaten(&mut self, epoch: i32, partitions: Option<&[i32]>) {
        let assignment = partitions.map(|partitions| {
            let topic = TopicPartitions::default()
                .with_topic_id(Uuid::from_u128(7))
                .with_partitions(partitions.to_vec());
            Assignment::default().with_topic_partitions(vec![topic])
        });
        let reply = ConsumerGroupHeartbeatResponse::default()
            .with_member_epoch(epoch)
            .with_heartbeat_interval_ms(5_000)
            .with_assignment(assignment);
        assert_eq!(self.answer(Answer::ConsumerGroupHeartbeat(reply)), None);
    }

    fn beaten_with(&mut self, error: ResponseError) {
        let reply = ConsumerGroupHeartbeatResponse::default().with_error_code(error.code());
        let told = self.answer(Answer::ConsumerGroupHeartbeat(reply));
        assert_eq!(told, Some(error.code()));
    }
}

/// A member of the classic protocol that has read 50 records of partition 0.
fn reading(assignor: Assignor) -> Stage {
    let mut stage = Stage::new(GroupProtocol::Classic, assignor);
    stage.lead(1);
    stage.fetched(&[(0, 20), (1, -1), (2, 20), (3, 20)]);
    stage.member.moved(0, 70);
    stage
}

#[test]
fn a_classic_member_joins_with_the_id_it_was_given_and_reads_from_what_is_committed() {
    let mut stage = Stage::new(GroupProtocol::Classic, Assignor::Default);
    assert_eq!(stage.join().member_id.as_str(), "");
    assert_eq!(stage.ask(), None, "one request at a time");
    let reply = JoinGroupResponse::default()
        .with_error_code(ResponseError::MemberIdRequired.code())
        .with_member_id("me".into());
    let told = stage.answer(Answer::JoinGroup(reply));
    assert_eq!(told, None, "that is how it begins");
    let join = stage.join();
    assert_eq!(
        (join.member_id.as_str(), join.session_timeout_ms),
        ("me", 45_000)
    );
    stage.member.lost(0);
    stage.now_ns = SECOND;
    assert_eq!(stage.next(), Api::FindCoordinator);
    stage.found();
    stage.lead(1);
    stage.fetched(&[(0, 20), (1, -1), (2, 20), (3, 20)]);
    assert_eq!(stage.readable(), [(0, 20), (1, 100), (2, 20), (3, 20)]);
    assert_eq!(stage.member.adoptions(), 1);
}

#[test]
fn what_was_read_is_committed_at_the_interval_and_no_more() {
    let mut stage = reading(Assignor::Default);
    let commit = stage.commit();
    assert_eq!(
        (
            commit.generation_id_or_member_epoch,
            commit.member_id.as_str()
        ),
        (1, "me")
    );
    let partitions = commit.topics[0].partitions.iter();
    let committed: Vec<_> = partitions
        .map(|it| (it.partition_index, it.committed_offset))
        .collect();
    assert_eq!(committed, [(0, 70), (1, 100)]);
    assert_eq!(stage.committed(&[0, 1], 0), None);
    stage.member.moved(0, 80);
    assert_eq!(stage.ask(), None);
    assert_eq!(stage.heartbeat(ResponseError::Unknown(0)), None);
    stage.now_ns += 2 * SECOND;
    assert_eq!(stage.commit().topics[0].partitions.len(), 1);
}

#[test]
fn before_a_rebalance_it_commits_and_lets_go_what_its_assignor_says() {
    for (assignor, kept) in [(Assignor::Range, 0), (Assignor::CooperativeSticky, 4)] {
        let mut stage = reading(assignor);
        assert_eq!(stage.heartbeat(ResponseError::RebalanceInProgress), None);
        assert_eq!(stage.readable().len(), kept, "while it commits");
        stage.commit();
        stage.committed(&[0, 1], 0);
        assert_eq!(stage.join().member_id.as_str(), "me");
        assert_eq!(stage.readable().len(), kept, "while it joins");
    }
}

#[test]
fn a_commit_that_a_rebalance_refuses_does_not_hold_it_up() {
    let mut stage = reading(Assignor::Range);
    stage.heartbeat(ResponseError::RebalanceInProgress);
    stage.commit();
    stage.committed(&[0, 1], ResponseError::RebalanceInProgress.code());
    stage.join();
}

#[test]
fn a_commit_is_tried_again_while_the_coordinator_loads() {
    let mut stage = reading(Assignor::Range);
    stage.heartbeat(ResponseError::RebalanceInProgress);
    stage.commit();
    let loading = ResponseError::CoordinatorLoadInProgress.code();
    assert_eq!(stage.committed(&[0, 1], loading), Some(loading));
    assert_eq!(stage.ask(), None, "a little later");
    stage.now_ns += SECOND;
    stage.commit();
}

#[test]
fn whoever_the_coordinator_does_not_know_loses_all_and_joins_anew() {
    for (error, id) in [
        (ResponseError::UnknownMemberId, ""),
        (ResponseError::IllegalGeneration, "me"),
    ] {
        let mut stage = reading(Assignor::CooperativeSticky);
        assert_eq!(stage.heartbeat(error), Some(error.code()));
        assert_eq!(stage.readable(), []);
        assert_eq!(stage.join().member_id.as_str(), id);
    }
}

#[test]
fn a_coordinator_that_has_moved_is_found_and_nothing_else_changes() {
    let mut stage = reading(Assignor::Range);
    stage.heartbeat(ResponseError::NotCoordinator);
    assert_eq!(stage.readable().len(), 4);
    stage.now_ns += SECOND;
    assert_eq!(stage.next(), Api::FindCoordinator);
    stage.found();
    stage.now_ns += 3 * SECOND;
    assert_eq!(stage.next(), Api::Heartbeat);
}

#[test]
fn what_a_cooperative_member_lets_go_it_commits_and_joins_again_for() {
    let mut stage = reading(Assignor::CooperativeSticky);
    stage.heartbeat(ResponseError::RebalanceInProgress);
    stage.commit();
    stage.committed(&[0, 1], 0);
    stage.join();
    let reply = JoinGroupResponse::default()
        .with_generation_id(2)
        .with_leader("other".into())
        .with_member_id("me".into());
    stage.answer(Answer::JoinGroup(reply));
    assert!(stage.sync().assignments.is_empty());
    stage.member.moved(0, 90);
    // Partitions 2 and 3, as the leader writes it.
    let two = [
        [0, 1, 0, 0, 0, 1, 0, 1].as_slice(),
        b"t",
        &[0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3],
    ];
    let mut two = two.concat();
    two.extend([0xff; 4]);
    let reply = SyncGroupResponse::default().with_assignment(two.into());
    assert_eq!(stage.answer(Answer::SyncGroup(reply)), None);
    assert_eq!(stage.readable(), [(2, 20), (3, 20)]);
    assert_eq!(stage.commit().topics[0].partitions[0].committed_offset, 90);
    stage.committed(&[0], 0);
    stage.join();
    assert_eq!(stage.readable(), [(2, 20), (3, 20)]);
}

#[test]
fn a_member_that_leaves_commits_before() {
    let mut stage = reading(Assignor::Range);
    stage.member.leave();
    assert_eq!(stage.readable(), []);
    stage.commit();
    stage.committed(&[0, 1], 0);
    assert_eq!(stage.next(), Api::LeaveGroup);
    stage.answer(Answer::LeaveGroup(LeaveGroupResponse::default()));
    assert!(stage.member.is_gone());
    let mut never = Stage::new(GroupProtocol::Classic, Assignor::Range);
    never.member.leave();
    assert_eq!(never.ask(), None);
    assert!(never.member.is_gone());
}

/// A member of the new protocol that has read 50 records of partition 0.
fn consuming() -> Stage {
    let mut stage = Stage::new(GroupProtocol::Consumer, Assignor::Uniform);
    let first = stage.beat();
    assert_eq!((first.member_epoch, first.member_id.len()), (0, 36));
    assert_eq!(first.subscribed_topic_names.map(|it| it.len()), Some(1));
    assert_eq!(first.server_assignor, Some(StrBytes::from("uniform")));
    stage.beaten(5, Some(&[0, 1]));
    let told = stage.beat();
    assert_eq!(told.topic_partitions.unwrap()[0].partitions, [0, 1]);
    assert_eq!((told.member_epoch, told.subscribed_topic_names), (5, None));
    stage.beaten(5, None);
    stage.fetched(&[(0, 20), (1, 20)]);
    stage.member.moved(0, 70);
    stage
}

#[test]
fn a_consumer_says_what_it_holds_only_when_that_has_changed() {
    let mut stage = consuming();
    assert_eq!(stage.commit().generation_id_or_member_epoch, 5);
    stage.committed(&[0], 0);
    assert_eq!(stage.ask(), None);
    stage.now_ns += 5 * SECOND;
    assert_eq!(stage.beat().topic_partitions, None);
}

#[test]
fn a_consumer_commits_what_it_lets_go_and_then_tells() {
    let mut stage = consuming();
    stage.commit();
    stage.committed(&[0], 0);
    stage.member.moved(0, 75);
    stage.now_ns += 5 * SECOND;
    stage.beat();
    stage.beaten(5, Some(&[1]));
    assert_eq!(stage.readable(), [(1, 20)]);
    assert_eq!(stage.commit().topics[0].partitions[0].committed_offset, 75);
    stage.committed(&[0], 0);
    let told = stage.beat();
    assert_eq!(told.topic_partitions.unwrap()[0].partitions, [1]);
    assert!(stage.member.settled().is_none(), "it waits for the reply");
    stage.beaten(6, None);
    let settled: Vec<usize> = stage.member.settled().unwrap().collect();
    assert_eq!(settled, [1]);
}

#[test]
fn a_commit_of_a_stale_epoch_comes_again_behind_a_heartbeat() {
    let mut stage = consuming();
    stage.commit();
    let stale = ResponseError::StaleMemberEpoch.code();
    assert_eq!(stage.committed(&[0], stale), Some(stale));
    stage.beat();
    stage.beaten(6, Some(&[1]));
    assert_eq!(stage.commit().generation_id_or_member_epoch, 6);
}

#[test]
fn a_fenced_consumer_joins_again_with_its_id_and_nothing_else() {
    for error in [
        ResponseError::FencedMemberEpoch,
        ResponseError::UnknownMemberId,
    ] {
        let mut stage = consuming();
        stage.now_ns += 5 * SECOND;
        let id = stage.beat().member_id;
        stage.beaten_with(error);
        assert_eq!(stage.readable(), []);
        let again = stage.beat();
        assert_eq!((again.member_id, again.member_epoch), (id, 0));
        assert_eq!(again.topic_partitions, Some(Vec::new()));
    }
}

#[test]
fn after_a_lost_connection_a_consumer_says_everything() {
    let mut stage = consuming();
    stage.now_ns += 5 * SECOND;
    stage.beat();
    stage.member.lost(stage.now_ns);
    stage.now_ns += SECOND;
    assert_eq!(stage.next(), Api::FindCoordinator);
    stage.found();
    let full = stage.beat();
    assert_eq!(
        (full.member_epoch, full.subscribed_topic_names.is_some()),
        (5, true)
    );
    assert_eq!(full.topic_partitions.unwrap()[0].partitions, [0, 1]);
}

#[test]
fn a_consumer_leaves_with_its_last_heartbeat() {
    let mut stage = consuming();
    stage.member.leave();
    stage.commit();
    stage.committed(&[0], 0);
    assert_eq!(stage.beat().member_epoch, -1);
    stage.beaten(-1, None);
    assert!(stage.member.is_gone());
}

#[test]
fn ranges_are_dealt_by_topic() {
    assert_eq!(range(2, 3, 2), [vec![0, 1, 3, 4], vec![2, 5]]);
    assert_eq!(range(1, 1, 2), [vec![0], vec![]]);
}

/// Deals in rounds, as rebalances do, until nothing moves any more.
fn deal(partitions: usize, members: &mut [Candidate]) -> usize {
    for round in 0..3 {
        let dealt = cooperative_sticky(partitions, members);
        let mut seen = BTreeSet::new();
        for at in dealt.iter().flatten() {
            assert!(seen.insert(*at), "partition {at} twice");
        }
        let mut must_rejoin = false;
        for (member, given) in members.iter_mut().zip(&dealt) {
            must_rejoin |= member.owned.iter().any(|it| !given.contains(it));
            member.owned.clone_from(given);
            member.generation += 1;
        }
        if !must_rejoin {
            assert_eq!(seen.len(), partitions, "all are dealt");
            return round;
        }
    }
    panic!("it does not come to an end");
}

#[test]
fn sticky_is_even_and_moves_as_little_as_it_must() {
    let mut members = vec![Candidate::default(); 3];
    assert_eq!(deal(10, &mut members), 0, "nobody has to let go at first");
    let sizes = |members: &[Candidate]| {
        let mut sizes: Vec<usize> = members.iter().map(|it| it.owned.len()).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(&members), [3, 3, 4]);
    let before = members.clone();
    members.push(Candidate::default());
    assert_eq!(
        deal(10, &mut members),
        1,
        "a partition moves in the second round"
    );
    assert_eq!(sizes(&members), [2, 2, 3, 3]);
    for (before, after) in before.iter().zip(&members) {
        assert!(after.owned.iter().all(|it| before.owned.contains(it)));
    }
    members.remove(0);
    assert_eq!(
        deal(10, &mut members),
        0,
        "what is free has no one to let go"
    );
    // Who was away and comes back with what others have got holds nothing of it.
    members.push(Candidate {
        owned: (0..10).collect(),
        generation: 0,
    });
    deal(10, &mut members);
    assert_eq!(sizes(&members), [2, 2, 3, 3]);
}
