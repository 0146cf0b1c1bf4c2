//! A member of the new protocol (KIP-848), as Java's `ConsumerMembershipManager` is one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelog_shards::io::Instant;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::member::{Member, Outcome, Partition, Protocol, Wanted};
use super::plan::Feature;
use super::sim::{REBALANCE, SESSION};
use crate::wire::{Lost, text};

/// Instead of an epoch: to join, to leave, to leave and come back.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const LEAVES_ITS_PLACE: i32 = -2;
/// The first version in which members choose their ids, and in which there are patterns.
const OWN_IDS: i16 = 1;
/// Epochs until one that no group comes to.
const FAR_AWAY: i32 = 1_000_000;

pub struct Modern {
    member: Member,
    id: StrBytes,
    epoch: i32,
    /// From here on it sends all that it has to say, not only what has changed.
    is_full_due: bool,
    /// What it is to hold, by ids of topics.
    target: BTreeSet<(Uuid, i32)>,
    /// It lets go of what it has lost by then.
    revokes_at: Option<Instant>,
    /// What it holds has changed since it has told so.
    has_changed: bool,
    interval: Duration,
    next_beat: Instant,
    /// When it sent the last heartbeat that was answered.
    asked: Instant,
}

impl Modern {
    pub fn new(member: Member) -> Modern {
        let (high, low) = (
            member.client.io().random_u64(),
            member.client.io().random_u64(),
        );
        Modern {
            id: text(&Uuid::from_u64_pair(high, low).to_string()),
            epoch: JOINS,
            is_full_due: true,
            target: BTreeSet::new(),
            revokes_at: None,
            has_changed: false,
            interval: Duration::from_secs(1),
            next_beat: member.now(),
            asked: member.now(),
            member,
        }
    }

    /// Lives until it is asked to stop, or is fenced by another one of its name.
    pub async fn live(mut self) {
        loop {
            if self.member.is_to_stop() {
                let _ = self.leave().await;
                break;
            }
            let acted = match self.member.has_coordinator {
                false => self.member.find_coordinator().await.map(|()| Outcome::Fine),
                true => self.be_a_member().await,
            };
            match acted {
                Ok(Outcome::Fine) => {}
                Ok(Outcome::Later) => {
                    self.is_full_due = true;
                    self.member.lost_coordinator().await;
                }
                // The next heartbeat brings the new epoch.
                Ok(Outcome::Stale | Outcome::Rebalance) => self.member.client.back_off().await,
                Ok(Outcome::NoMember | Outcome::OtherGeneration) => self.start_over(),
                Ok(Outcome::Fenced) => {
                    self.member.fenced();
                    break;
                }
                Err(Lost) => {
                    self.is_full_due = true;
                    self.member.lost_coordinator().await;
                }
            }
        }
        self.member.lose_all();
        self.member.handle.has_ended.set(true);
    }

    fn assignor(&self) -> StrBytes {
        match self.member.handle.character.protocol {
            Protocol::Consumer(name) => text(name),
            other => panic!("{other:?} has no assignor of the broker's"),
        }
    }

    /// The broker doesn't know it, or not with this epoch: what it held is another one's.
    fn start_over(&mut self) {
        self.member.lose_all();
        self.epoch = JOINS;
        self.is_full_due = true;
        self.target.clear();
        self.revokes_at = None;
        self.has_changed = false;
        self.next_beat = self.member.now();
    }

    async fn be_a_member(&mut self) -> Result<Outcome, Lost> {
        self.member.look_at_topics(false).await;
        if self.member.dares(Feature::Hangs, 60) && self.epoch > 0 {
            let session_ms = SESSION.as_millis() as u64;
            self.member.sleep_ms(session_ms / 2, session_ms * 2).await;
        }
        if self.epoch > 0 {
            if self.member.dares(Feature::StaleCommits, 40) {
                // Of an epoch that the group will have one day.
                self.member
                    .commit(&self.id, self.epoch + FAR_AWAY, true)
                    .await?;
            }
            let reconciled = self.reconcile().await?;
            if !matches!(reconciled, Outcome::Fine | Outcome::Stale) {
                return Ok(reconciled);
            }
            let found = self.member.find_positions(&self.id, self.epoch).await?;
            if !matches!(found, Outcome::Fine | Outcome::Stale) {
                return Ok(found);
            }
            if self.member.is_commit_due() {
                let outcome = self.member.commit(&self.id, self.epoch, false).await?;
                if !matches!(outcome, Outcome::Fine | Outcome::Stale) {
                    return Ok(outcome);
                }
            }
        }
        if self.has_changed || self.member.now() >= self.next_beat {
            return self.beat(self.epoch).await;
        }
        self.member.sleep_ms(50, 250).await;
        Ok(Outcome::Fine)
    }

    /// Brings what it holds nearer to what it is to hold. What it loses goes first.
    async fn reconcile(&mut self) -> Result<Outcome, Lost> {
        let names = self.names();
        let lost: Vec<Partition> = self
            .member
            .held
            .keys()
            .filter(|(_, id, partition)| !self.target.contains(&(*id, *partition)))
            .cloned()
            .collect();
        if !lost.is_empty() {
            let at = match self.revokes_at {
                Some(at) => at,
                None => {
                    // The application takes its time, now and then more of it than it has.
                    let rebalance_ms = REBALANCE.as_millis() as u64;
                    let takes_ms = match self.member.dares(Feature::LateRevocations, 15) {
                        true => self.member.client.below(rebalance_ms * 3 / 2),
                        false => self.member.client.below(300),
                    };
                    let at = self.member.now() + Duration::from_millis(takes_ms);
                    *self.revokes_at.insert(at)
                }
            };
            if self.member.now() < at {
                return Ok(Outcome::Fine);
            }
            if self.member.client.below(4) > 0 {
                let outcome = self.member.commit(&self.id, self.epoch, false).await?;
                if !matches!(outcome, Outcome::Fine | Outcome::Stale) {
                    return Ok(outcome);
                }
            }
            for partition in &lost {
                self.member.let_go(partition);
            }
            self.has_changed = true;
        }
        self.revokes_at = None;
        let held: BTreeSet<(Uuid, i32)> = self
            .member
            .held
            .keys()
            .map(|(_, id, index)| (*id, *index))
            .collect();
        for (id, index) in self.target.clone() {
            if held.contains(&(id, index)) {
                continue;
            }
            match names.get(&id) {
                Some(name) => {
                    let asked = self.asked;
                    self.member.take((name.clone(), id, index), asked);
                    self.has_changed = true;
                }
                None => {
                    self.member.look_at_topics(true).await;
                }
            }
        }
        let is_done = self.member.held.len() == self.target.len();
        let place = (self.id.to_string(), self.epoch);
        self.member.handle.place.replace(is_done.then_some(place));
        Ok(Outcome::Fine)
    }

    fn names(&self) -> BTreeMap<Uuid, String> {
        let known = self.member.handle.knows_topics.borrow();
        known
            .iter()
            .map(|(name, (id, _))| (*id, name.clone()))
            .collect()
    }

    async fn beat(&mut self, epoch: i32) -> Result<Outcome, Lost> {
        let asked = self.member.now();
        let is_full = self.is_full_due || epoch == JOINS;
        let (has_changed, id) = (self.has_changed, self.id.clone());
        let reply = self.ask(epoch, is_full).await?;
        self.next_beat = self.member.now() + self.interval;
        use ResponseError::*;
        match reply.error_code.err() {
            None => {}
            Some(CoordinatorNotAvailable | NotCoordinator | CoordinatorLoadInProgress) => {
                return Ok(Outcome::Later);
            }
            Some(error @ (UnknownMemberId | FencedMemberEpoch)) => {
                self.member.thrown_out(error);
                self.member.client.back_off().await;
                return Ok(Outcome::NoMember);
            }
            // Fatal for Java's. Whoever runs it starts another one.
            Some(error @ GroupIdNotFound) => return Ok(self.member.thrown_out(error)),
            Some(FencedInstanceId) => return Ok(Outcome::Fenced),
            Some(UnreleasedInstanceId) => {
                assert!(
                    self.member.instance().is_some(),
                    "it has no name to be released"
                );
                self.member.client.back_off().await;
                return Ok(Outcome::Fine);
            }
            Some(error) => panic!(
                "ConsumerGroupHeartbeat: {error:?}: {:?}",
                reply.error_message
            ),
        }
        assert_eq!(reply.member_id.as_ref(), Some(&id), "the id that it has");
        assert!(
            reply.member_epoch >= self.epoch,
            "its epoch went back: {reply:?}"
        );
        self.is_full_due = false;
        if has_changed {
            self.has_changed = false;
        }
        self.epoch = reply.member_epoch;
        self.interval = Duration::from_millis(reply.heartbeat_interval_ms as u64);
        self.next_beat = self.member.now() + self.interval;
        self.asked = asked;
        if let Some(assignment) = reply.assignment {
            let topics = assignment.topic_partitions.iter();
            let target =
                topics.flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic_id, *p)));
            self.target = target.collect();
        }
        let process = self.member.handle.process;
        let mut holders = self.member.sim.holders.borrow_mut();
        holders.answered(process, asked, SESSION, REBALANCE);
        for partition in self.member.held.keys() {
            if self.target.contains(&(partition.1, partition.2)) {
                holders.confirmed(process, &self.member.place_of(partition), asked);
            }
        }
        Ok(Outcome::Fine)
    }

    async fn ask(
        &mut self,
        epoch: i32,
        is_full: bool,
    ) -> Result<ConsumerGroupHeartbeatResponse, Lost> {
        let mut owned = BTreeMap::<Uuid, Vec<i32>>::new();
        for (_, id, partition) in self.member.held.keys() {
            owned.entry(*id).or_default().push(*partition);
        }
        let owned = owned.into_iter().map(|(id, partitions)| {
            TopicPartitions::default()
                .with_topic_id(id)
                .with_partitions(partitions)
        });
        let tells_owned = is_full || self.has_changed;
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.member.group())
            .with_member_id(self.id.clone())
            .with_member_epoch(epoch)
            .with_instance_id(self.member.instance())
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(tells_owned.then(|| owned.collect()));
        let request = match (is_full, &self.member.handle.character.wanted) {
            (false, _) => request,
            (true, Wanted::Names(names)) => self.full(request).with_subscribed_topic_names(Some(
                names.iter().map(|name| TopicName(text(name))).collect(),
            )),
            (true, Wanted::Pattern) => self
                .full(request)
                .with_subscribed_topic_names(Some(Vec::new()))
                .with_subscribed_topic_regex(Some(text("t.*"))),
        };
        self.member.client.ask(OWN_IDS..=1, |_| request).await
    }

    fn full(&self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest {
        request
            .with_rebalance_timeout_ms(REBALANCE.as_millis() as i32)
            .with_server_assignor(Some(self.assignor()))
    }

    async fn leave(&mut self) -> Result<(), Lost> {
        if self.epoch > 0 && self.member.client.below(4) > 0 {
            let _ = self.member.commit(&self.id, self.epoch, false).await;
        }
        let is_member = self.epoch > 0;
        self.member.lose_all();
        if !is_member || !self.member.has_coordinator {
            return Ok(());
        }
        let epoch = match self.member.instance() {
            Some(_) => LEAVES_ITS_PLACE,
            None => LEAVES,
        };
        let reply = self.ask(epoch, false).await?;
        use ResponseError::*;
        match reply.error_code.err() {
            None
            | Some(UnknownMemberId | FencedMemberEpoch | FencedInstanceId | GroupIdNotFound) => {}
            Some(CoordinatorNotAvailable | NotCoordinator | CoordinatorLoadInProgress) => {}
            Some(error) => panic!("ConsumerGroupHeartbeat of one who leaves: {error:?}"),
        }
        Ok(())
    }
}
