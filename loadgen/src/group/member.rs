//! One member of a group, as a state machine: *(state, what has come, now) -> the next request*.
//!
//! | stage | next request | on success | on an error |
//! |---|---|---|---|
//! | any, coordinator unknown | FindCoordinator | the stage goes on | again a little later |
//! | joining | JoinGroup; ConsumerGroupHeartbeat of epoch 0 | syncing; stable | as below |
//! | syncing (classic) | SyncGroup, of the leader with what all get | stable, to adopt what it was given | joining |
//! | stable, adopting | OffsetCommit of what it has to let go | it holds what it was given; if the others wait for what it let go, it joins or tells at once | adopts without |
//! | stable, to rejoin (classic) | OffsetCommit of all it has read | joining | joining |
//! | stable | the heartbeat when it is due, else OffsetFetch for what it holds newly, else OffsetCommit at its interval | stable | as below |
//! | leaving | OffsetCommit, then LeaveGroup or ConsumerGroupHeartbeat of epoch -1 | gone | gone |
//!
//! | error | what follows |
//! |---|---|
//! | NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE, connection lost | finds the coordinator again, its place in the group unchanged |
//! | COORDINATOR_LOAD_IN_PROGRESS and all that is unknown here | the same again a little later |
//! | REBALANCE_IN_PROGRESS | commits, then joins again |
//! | UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION, FENCED_MEMBER_EPOCH | what it held is lost to it; joins again |
//! | STALE_MEMBER_EPOCH | heartbeat at once, which brings the epoch |
//! | MEMBER_ID_REQUIRED | joins with the id that came with it |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, LeaveGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::api::{Answer, Ask};
use super::offsets::Held;
use super::{Settings, classic};
use crate::link;
use crate::workload::{Assignor, GroupProtocol};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    Joining,
    /// Holds what the leader gives to all; nothing if it is not the leader.
    Syncing(classic::Assignments),
    Stable,
    Gone,
}

/// One member of a group.
#[derive(Debug)]
pub struct Member {
    pub(super) settings: Arc<Settings>,
    pub(super) id: StrBytes,
    /// Or the member epoch.
    pub(super) generation: i32,
    pub(super) stage: Stage,
    coordinator: Option<i32>,
    pub(super) held: BTreeMap<usize, Held>,
    /// What it is to hold next.
    adopting: Option<BTreeSet<usize>>,
    /// The group waits for it to join again.
    must_rejoin: bool,
    /// The coordinator does not know yet what it holds: the next heartbeat says it, at once.
    pub(super) must_tell: bool,
    /// The coordinator may know nothing of it: the next heartbeat says everything.
    pub(super) must_introduce: bool,
    is_leaving: bool,
    /// What it was to let go cannot be committed.
    pub(super) is_commit_refused: bool,
    /// A request is on its way.
    is_waiting: bool,
    retry_ns: u64,
    pub(super) heartbeat_ns: u64,
    commit_ns: u64,
    /// What the commit on its way says.
    pub(super) committing: Vec<(usize, i64)>,
    adoptions: u64,
    pub(super) changes: u64,
    /// When the coordinator last heard of it.
    heard_ns: u64,
}

impl Member {
    /// Not yet in its group.
    pub fn new(settings: Arc<Settings>) -> Self {
        let id = match settings.protocol {
            // It gets one.
            GroupProtocol::Classic => StrBytes::default(),
            GroupProtocol::Consumer => StrBytes::from_string(Uuid::new_v4().to_string()),
        };
        Self {
            settings,
            id,
            generation: -1,
            stage: Stage::Joining,
            coordinator: None,
            held: BTreeMap::new(),
            adopting: None,
            must_rejoin: false,
            must_tell: false,
            must_introduce: true,
            is_leaving: false,
            is_commit_refused: false,
            is_waiting: false,
            retry_ns: 0,
            heartbeat_ns: 0,
            commit_ns: 0,
            committing: Vec::new(),
            adoptions: 0,
            changes: 0,
            heard_ns: 0,
        }
    }

    /// Which broker gets its requests; `None` if any does.
    pub fn coordinator(&self) -> Option<i32> {
        self.coordinator
    }

    /// Changes with what [`Member::readable`] has, but for offsets that [`Member::moved`] has told.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How often it was given partitions, the first time included.
    pub fn adoptions(&self) -> u64 {
        self.adoptions
    }

    /// When the coordinator last heard of it as a member, as far as is known.
    pub fn heard_ns(&self) -> u64 {
        self.heard_ns
    }

    /// It has left, or was never there.
    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// What it may read, and from where: what it holds and need not let go.
    pub fn readable(&self) -> impl Iterator<Item = (usize, i64)> {
        let lets_all_go = self.is_leaving || (self.must_rejoin && !self.is_cooperative());
        let stays = move |at: &usize| {
            let adopting = self.adopting.as_ref();
            !lets_all_go && adopting.is_none_or(|adopting| adopting.contains(at))
        };
        let held = self.held.iter();
        held.filter_map(move |(at, held)| held.offset.filter(|_| stays(at)).map(|it| (*at, it)))
    }

    /// What it holds, if it has nothing to change there and nobody waits for it.
    pub fn settled(&self) -> Option<impl Iterator<Item = usize>> {
        let is_settled = self.stage == Stage::Stable
            && self.adopting.is_none()
            && !self.must_rejoin
            && !self.must_tell;
        is_settled.then(|| self.held.keys().copied())
    }

    /// All records before this offset are read.
    pub fn moved(&mut self, at: usize, offset: i64) {
        if let Some(held) = self.held.get_mut(&at) {
            held.offset = Some(offset);
        }
    }

    /// What is not committed yet is not to wait for its time.
    pub fn hurry(&mut self) {
        self.commit_ns = 0;
    }

    /// It is to commit and to leave.
    pub fn leave(&mut self) {
        self.changes += u64::from(!std::mem::replace(&mut self.is_leaving, true));
    }

    /// The request that is to be sent now, if any; its reply, or that there will be none, has to be told.
    pub fn next(&mut self, now_ns: u64) -> Option<Ask> {
        if self.is_waiting || now_ns < self.retry_ns {
            return None;
        }
        let ask = self.due(now_ns);
        self.is_waiting = ask.is_some();
        ask
    }

    fn due(&mut self, now_ns: u64) -> Option<Ask> {
        if self.stage == Stage::Gone {
            return None;
        }
        if self.is_leaving && (self.generation < 0 || self.coordinator.is_none()) {
            self.stage = Stage::Gone;
            return None;
        }
        if self.coordinator.is_none() {
            return Some(self.find());
        }
        let is_classic = self.settings.protocol == GroupProtocol::Classic;
        let is_beat_due = self.stage == Stage::Stable && now_ns >= self.heartbeat_ns;
        if is_beat_due && !is_classic && !self.is_leaving {
            // Also before it lets go: the epoch that a commit needs may come with it.
            return Some(self.consumer_heartbeat());
        }
        if self.stage == Stage::Stable
            && (self.is_leaving || self.must_rejoin || self.adopting.is_some())
        {
            if let Some(commit) = self.last_commit() {
                return Some(commit);
            }
            self.let_go();
        }
        if self.is_leaving {
            return Some(self.farewell());
        }
        match &self.stage {
            Stage::Joining if is_classic => Some(self.join()),
            Stage::Joining => Some(self.consumer_heartbeat()),
            Stage::Syncing(_) => Some(self.sync()),
            Stage::Stable if self.must_tell => Some(self.consumer_heartbeat()),
            Stage::Stable if is_beat_due => Some(self.heartbeat()),
            Stage::Stable => self.fetch().or_else(|| {
                if now_ns < self.commit_ns {
                    return None;
                }
                self.commit_ns = now_ns + self.settings.commit_interval.as_nanos() as u64;
                self.commit(|_| true)
            }),
            Stage::Gone => None,
        }
    }

    /// Of what it is about to let go, or of all if the others wait for it anyway.
    fn last_commit(&mut self) -> Option<Ask> {
        if self.is_commit_refused {
            return None;
        }
        let stays = match self.is_leaving || self.must_rejoin {
            true => BTreeSet::new(),
            false => self.adopting.clone().unwrap_or_default(),
        };
        self.commit(|at| !stays.contains(&at))
    }

    /// What was to be committed before is, or cannot be.
    fn let_go(&mut self) {
        self.is_commit_refused = false;
        if let Some(adopting) = self.adopting.take() {
            let before = self.held.len();
            self.held.retain(|at, _| adopting.contains(at));
            let has_lost_some = self.held.len() < before;
            for at in adopting {
                self.held.entry(at).or_default();
            }
            // The word that there is nothing for it yet is no beginning.
            self.adoptions += u64::from(self.adoptions > 0 || !self.held.is_empty());
            self.changes += 1;
            match self.settings.protocol {
                // The others get what it has let go in the next generation.
                GroupProtocol::Classic => self.must_rejoin |= has_lost_some,
                GroupProtocol::Consumer => self.must_tell = true,
            }
        }
        if std::mem::take(&mut self.must_rejoin) {
            self.stage = Stage::Joining;
            if !self.is_cooperative() {
                self.drop_all();
            }
        }
    }

    fn is_cooperative(&self) -> bool {
        self.settings.assignor == Assignor::CooperativeSticky
    }

    fn drop_all(&mut self) {
        self.held.clear();
        self.adopting = None;
        self.changes += 1;
    }

    /// What it holds, in order.
    pub(super) fn held(&self) -> impl Iterator<Item = usize> {
        self.held.keys().copied()
    }

    /// It was given these partitions.
    pub(super) fn given(&mut self, partitions: BTreeSet<usize>) {
        self.stage = Stage::Stable;
        self.adopting = Some(partitions);
        self.changes += 1;
    }

    pub(super) fn group_id(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.settings.group.clone()))
    }

    fn find(&self) -> Ask {
        let GroupId(key) = self.group_id();
        Ask::FindCoordinator(FindCoordinatorRequest::default().with_coordinator_keys(vec![key]))
    }

    fn farewell(&self) -> Ask {
        if self.settings.protocol == GroupProtocol::Consumer {
            return self.consumer_farewell();
        }
        let identity = MemberIdentity::default().with_member_id(self.id.clone());
        Ask::LeaveGroup(
            LeaveGroupRequest::default()
                .with_group_id(self.group_id())
                .with_members(vec![identity]),
        )
    }

    /// The reply to the last request has come. The error code in it, if it is one that should not be.
    pub fn answered(&mut self, answer: Answer, now_ns: u64) -> Option<i16> {
        self.is_waiting = false;
        let code = match answer {
            Answer::FindCoordinator(reply) => self.found(reply),
            Answer::JoinGroup(reply) => self.joined(reply, now_ns),
            Answer::SyncGroup(reply) => self.synced(&reply, now_ns),
            Answer::Heartbeat(reply) => self.beat(reply.error_code, now_ns),
            Answer::ConsumerGroupHeartbeat(reply) => self.consumer_beat(reply, now_ns),
            Answer::OffsetCommit(reply) => self.committed(&reply),
            Answer::OffsetFetch(reply) => self.fetched(reply),
            Answer::LeaveGroup(reply) => {
                self.stage = Stage::Gone;
                return Some(reply.error_code).filter(|code| *code != 0);
            }
        };
        let Some(code) = code else {
            self.heard_ns = now_ns;
            return None;
        };
        self.refused(code, now_ns);
        let is_usual = [
            ResponseError::RebalanceInProgress,
            ResponseError::MemberIdRequired,
        ];
        Some(code).filter(|code| is_usual.iter().all(|usual| usual.code() != *code))
    }

    /// The last request will have no reply.
    pub fn lost(&mut self, now_ns: u64) {
        self.is_waiting = false;
        self.coordinator = None;
        self.must_introduce = true;
        self.retry_ns = link::retry_ns(now_ns);
    }

    fn refused(&mut self, code: i16, now_ns: u64) {
        use ResponseError::*;
        let error = code.err();
        match error {
            Some(NotCoordinator | CoordinatorNotAvailable) => {
                self.coordinator = None;
                self.must_introduce = true;
                self.retry_ns = link::retry_ns(now_ns);
            }
            Some(RebalanceInProgress) if self.stage == Stage::Stable => {
                self.must_rejoin = true;
                self.changes += 1;
            }
            Some(RebalanceInProgress) => self.stage = Stage::Joining,
            Some(UnknownMemberId | IllegalGeneration | FencedMemberEpoch) => {
                if error == Some(UnknownMemberId)
                    && self.settings.protocol == GroupProtocol::Classic
                {
                    self.id = StrBytes::default();
                }
                self.generation = -1;
                self.must_introduce = true;
                self.must_rejoin = false;
                self.stage = Stage::Joining;
                self.drop_all();
            }
            Some(StaleMemberEpoch) => self.heartbeat_ns = now_ns,
            Some(MemberIdRequired) => {}
            _ => self.retry_ns = link::retry_ns(now_ns),
        }
    }

    fn found(&mut self, reply: FindCoordinatorResponse) -> Option<i16> {
        let found: Option<Coordinator> = reply.coordinators.into_iter().next();
        match found {
            Some(found) if found.error_code == 0 => {
                self.coordinator = Some(found.node_id.0);
                None
            }
            Some(found) => Some(found.error_code),
            None => Some(ResponseError::CoordinatorNotAvailable.code()),
        }
    }
}
