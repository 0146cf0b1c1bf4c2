//! A member of the classic protocol, as Java's `ConsumerCoordinator` is one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelog_shards::io::Instant;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::consumer_protocol::{
    Assigned, Candidate, assignment, deal, read_assignment, read_subscription, subscription,
};
use super::member::{Member, Outcome, Partition, Protocol};
use super::plan::Feature;
use super::sim::{REBALANCE, SESSION, Term};
use crate::wire::{Lost, text};

const HEARTBEAT_MS: u64 = 1_500;
/// A join waits for the others for that long at the most.
const JOIN_PATIENCE: Duration = Duration::from_secs(5).saturating_add(REBALANCE);
const PROTOCOL_TYPE: &str = "consumer";
/// Partitions of a topic.
const UNKNOWN: i32 = -1;
/// Generations until one that no group comes to.
const FAR_AWAY: i32 = 1_000_000;

pub struct Classic {
    member: Member,
    id: StrBytes,
    generation: i32,
    is_joined: bool,
    /// When the broker has known its id last, while no generation with that is known to be written.
    unwritten: Option<Term>,
    /// As the leader: of which topics the partitions were dealt out.
    dealt: Option<BTreeMap<String, i32>>,
    /// The topics of the subscription that the coordinator has.
    subscribed: BTreeSet<String>,
}

impl Classic {
    pub fn new(member: Member) -> Classic {
        Classic {
            member,
            id: StrBytes::default(),
            generation: -1,
            is_joined: false,
            unwritten: None,
            dealt: None,
            subscribed: BTreeSet::new(),
        }
    }

    /// Lives until it is asked to stop, or is fenced.
    pub async fn live(mut self) {
        loop {
            if self.member.is_to_stop() {
                let _ = self.leave().await;
                break;
            }
            let acted = match (self.member.has_coordinator, self.is_joined) {
                (false, _) => self.member.find_coordinator().await.map(|()| Outcome::Fine),
                (true, false) => self.join().await,
                (true, true) => self.be_a_member().await,
            };
            match acted {
                Ok(Outcome::Fine) => {}
                Ok(Outcome::Later) => self.member.lost_coordinator().await,
                Ok(Outcome::Rebalance | Outcome::Stale) => self.is_joined = false,
                Ok(Outcome::NoMember) => {
                    self.id = StrBytes::default();
                    self.start_over();
                }
                Ok(Outcome::OtherGeneration) => self.start_over(),
                // Fatal for Java's. Whoever runs it starts another one.
                Ok(Outcome::Fenced) if self.is_id_forgotten() => {
                    self.id = StrBytes::default();
                    self.start_over();
                }
                Ok(Outcome::Fenced) => {
                    self.member.fenced();
                    break;
                }
                Err(Lost) => self.member.lost_coordinator().await,
            }
        }
        self.member.lose_all();
        self.member.handle.has_ended.set(true);
    }

    /// Whether the broker may have forgotten a static member's id, and may know an older one of the same name: what
    /// becomes of members while a group rebalances is written at the end of that, as Apache Kafka does.
    fn is_id_forgotten(&self) -> bool {
        self.member.is_of_the_past(self.unwritten)
    }

    fn is_cooperative(&self) -> bool {
        self.member.handle.character.protocol == Protocol::Cooperative
    }

    fn protocol_name(&self) -> StrBytes {
        text(match self.is_cooperative() {
            true => "cooperative-sticky",
            false => "range",
        })
    }

    /// It is not in the group any more, or not in this generation: what it held is another one's.
    fn start_over(&mut self) {
        self.member.lose_all();
        self.generation = -1;
        self.is_joined = false;
        self.dealt = None;
    }

    fn answered(&self, asked: Instant) {
        let process = self.member.handle.process;
        let mut holders = self.member.sim.holders.borrow_mut();
        holders.answered(process, asked, SESSION, REBALANCE);
    }

    async fn be_a_member(&mut self) -> Result<Outcome, Lost> {
        let outcome = self
            .member
            .find_positions(&self.id, self.generation)
            .await?;
        if outcome != Outcome::Fine {
            return Ok(outcome);
        }
        if self.member.dares(Feature::Hangs, 40) {
            // Hangs for longer than its session, or nearly so, and goes on as if nothing had happened.
            let session_ms = SESSION.as_millis() as u64;
            self.member.sleep_ms(session_ms / 2, session_ms * 2).await;
        }
        if self.member.dares(Feature::StaleCommits, 30) {
            // Of the last generation, or of one that there will be one day.
            let is_mixed = self.member.handle.character.group.starts_with("mixed");
            let other = self.generation + if is_mixed { FAR_AWAY } else { -1 };
            self.member.commit(&self.id, other, true).await?;
        }
        if self.member.is_commit_due() {
            let outcome = self.member.commit(&self.id, self.generation, false).await?;
            if outcome != Outcome::Fine {
                return Ok(outcome);
            }
        }
        self.beat().await
    }

    async fn beat(&mut self) -> Result<Outcome, Lost> {
        self.member.sleep_ms(HEARTBEAT_MS / 2, HEARTBEAT_MS).await;
        if self.member.look_at_topics(false).await && self.has_news() {
            return Ok(Outcome::Rebalance);
        }
        let asked = self.member.now();
        let (group, instance) = (self.member.group(), self.member.instance());
        let request = |_| {
            HeartbeatRequest::default()
                .with_group_id(group)
                .with_generation_id(self.generation)
                .with_member_id(self.id.clone())
                .with_group_instance_id(instance)
        };
        let reply = self.member.client.ask(3..=4, request).await?;
        use ResponseError::*;
        Ok(match reply.error_code.err() {
            // While it loads the group it says so to anybody, member or not.
            None if !self.member.had_loaded(asked) => Outcome::Fine,
            None => {
                self.answered(asked);
                let process = self.member.handle.process;
                let mut holders = self.member.sim.holders.borrow_mut();
                for partition in self.member.held.keys() {
                    holders.confirmed(process, &self.member.place_of(partition), asked);
                }
                Outcome::Fine
            }
            Some(RebalanceInProgress) => {
                self.answered(asked);
                Outcome::Rebalance
            }
            Some(CoordinatorNotAvailable | NotCoordinator) => Outcome::Later,
            Some(error @ UnknownMemberId) => self.member.thrown_out(error),
            Some(IllegalGeneration) => self.member.other_generation(),
            Some(FencedInstanceId) => Outcome::Fenced,
            Some(error) => panic!("Heartbeat: {error:?}"),
        })
    }

    /// Whether topics have changed so that there has to be a rebalance.
    fn has_news(&self) -> bool {
        let now = self.member.subscribed();
        let is_own = !now.keys().eq(&self.subscribed);
        is_own
            || self
                .dealt
                .as_ref()
                .is_some_and(|dealt| *dealt != self.known_of(dealt))
    }

    /// How many partitions those topics have by now, of which all members read some.
    fn known_of(&self, dealt: &BTreeMap<String, i32>) -> BTreeMap<String, i32> {
        let known = self.member.handle.knows_topics.borrow();
        let of = |name: &String| known.get(name).map_or(0, |(_, count)| *count);
        dealt.keys().map(|name| (name.clone(), of(name))).collect()
    }

    async fn join(&mut self) -> Result<Outcome, Lost> {
        if !self.is_cooperative() {
            self.revoke_all().await?;
        }
        self.member.handle.place.take();
        self.member.look_at_topics(true).await;
        let wanted = self.member.subscribed();
        self.subscribed = wanted.keys().cloned().collect();
        let (asked, term) = (self.member.now(), self.member.sim.term());
        let (group, instance) = (self.member.group(), self.member.instance());
        let owned = self.member.held.keys();
        let owned: Vec<Assigned> = owned
            .map(|(topic, _, index)| (topic.clone(), *index))
            .collect();
        let names: Vec<String> = self.subscribed.iter().cloned().collect();
        let told = subscription(&names, &owned, self.generation);
        let (id, name) = (self.id.clone(), self.protocol_name());
        let request = |version: i16| {
            let reason = (version >= 8).then(|| text("simulated"));
            JoinGroupRequest::default()
                .with_group_id(group)
                .with_session_timeout_ms(SESSION.as_millis() as i32)
                .with_rebalance_timeout_ms(REBALANCE.as_millis() as i32)
                .with_member_id(id)
                .with_group_instance_id(instance)
                .with_protocol_type(text(PROTOCOL_TYPE))
                .with_protocols(vec![
                    JoinGroupRequestProtocol::default()
                        .with_name(name)
                        .with_metadata(told),
                ])
                .with_reason(reason)
        };
        // In older versions nobody watches the topics for a static leader that has come back.
        let versions = if self.member.instance().is_some() {
            9..=9
        } else {
            5..=9
        };
        let asking = self
            .member
            .client
            .ask_patiently(versions, JOIN_PATIENCE, request);
        let reply = asking.await?;
        use ResponseError::*;
        match reply.error_code.err() {
            None => {}
            Some(MemberIdRequired) => {
                assert!(self.id.is_empty(), "it has an id");
                self.id = reply.member_id;
                return Ok(Outcome::Fine);
            }
            Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator) => {
                return Ok(Outcome::Later);
            }
            Some(RebalanceInProgress) => {
                self.member.client.back_off().await;
                return Ok(Outcome::Fine);
            }
            Some(error @ UnknownMemberId) => return Ok(self.member.thrown_out(error)),
            Some(FencedInstanceId) => return Ok(Outcome::Fenced),
            Some(error) => panic!("JoinGroup: {error:?}"),
        }
        self.member.note_loaded(asked);
        let is_new = self.id != reply.member_id;
        self.id = reply.member_id.clone();
        if is_new || self.unwritten.is_some() {
            self.unwritten = Some(term);
        }
        self.member.unwritten = Some(term);
        self.generation = reply.generation_id;
        if self.member.handle.character.group.starts_with("mixed") {
            let process = self.member.handle.process;
            self.member.sim.holders.borrow_mut().forget(process);
        }
        self.sync(reply, asked).await
    }

    /// Commits, mostly, and lets go of everything before others may get it.
    async fn revoke_all(&mut self) -> Result<(), Lost> {
        if !self.member.held.is_empty() && self.member.client.below(4) > 0 {
            let _ = self.member.commit(&self.id, self.generation, false).await;
        }
        for partition in self.member.held.clone().into_keys() {
            self.member.let_go(&partition);
        }
        Ok(())
    }

    async fn sync(
        &mut self,
        joined: JoinGroupResponse,
        asked_to_join: Instant,
    ) -> Result<Outcome, Lost> {
        let is_leader = joined.leader == self.id;
        let deals = is_leader && !joined.skip_assignment;
        self.dealt = None;
        let mut shares = match is_leader {
            true => self.deal(&joined.members),
            false => Vec::new(),
        };
        if !deals && let Some(dealt) = &mut self.dealt {
            // A leader that has come back keeps what its predecessor has dealt out, of topics as they may have been: it
            // has everybody join again soon. (Java's watches the topics from then on only.)
            shares.clear();
            dealt.values_mut().for_each(|count| *count = UNKNOWN);
        }
        let leader = joined.leader.to_string();
        if deals {
            let mut generations = self.member.sim.generations.borrow_mut();
            let group = &self.member.handle.character.group;
            generations.dealt(group, self.generation, &leader, &shares);
        }
        if self.member.dares(Feature::Hangs, 60) {
            // The leader that never deals, the member that never asks for its share.
            self.member
                .sleep_ms(0, 2 * REBALANCE.as_millis() as u64)
                .await;
        }
        let asked = self.member.now();
        let (group, instance) = (self.member.group(), self.member.instance());
        let name = self.protocol_name();
        let request = |version: i16| {
            let assignments = shares.iter().map(|(id, share)| {
                kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment::default()
                    .with_member_id(text(id))
                    .with_assignment(assignment(share))
            });
            let request = SyncGroupRequest::default()
                .with_group_id(group)
                .with_generation_id(self.generation)
                .with_member_id(self.id.clone())
                .with_group_instance_id(instance)
                .with_assignments(assignments.collect());
            match version {
                5.. => request
                    .with_protocol_type(Some(text(PROTOCOL_TYPE)))
                    .with_protocol_name(Some(name)),
                _ => request,
            }
        };
        let asking = self
            .member
            .client
            .ask_patiently(3..=5, JOIN_PATIENCE, request);
        let reply = asking.await?;
        use ResponseError::*;
        match reply.error_code.err() {
            None => {}
            Some(RebalanceInProgress) => return Ok(Outcome::Rebalance),
            Some(CoordinatorNotAvailable | NotCoordinator) => return Ok(Outcome::Later),
            Some(error @ UnknownMemberId) => return Ok(self.member.thrown_out(error)),
            Some(IllegalGeneration) => return Ok(Outcome::OtherGeneration),
            Some(FencedInstanceId) => return Ok(Outcome::Fenced),
            Some(error) => panic!("SyncGroup: {error:?}"),
        }
        self.unwritten = None;
        self.member.unwritten = None;
        // From now on a crash of the broker does not make it forget this member. That it is heard from again in a group
        // that is stable is no heartbeat.
        {
            let process = self.member.handle.process;
            let mut holders = self.member.sim.holders.borrow_mut();
            holders.begin(process, asked_to_join, SESSION, REBALANCE);
        }
        let share = read_assignment(&reply.assignment);
        {
            let mut generations = self.member.sim.generations.borrow_mut();
            let group = &self.member.handle.character.group;
            generations.received(group, self.generation, &leader, &self.id, &share);
        }
        self.assigned(share, asked).await
    }

    fn deal(&mut self, members: &[JoinGroupResponseMember]) -> Vec<(String, Vec<Assigned>)> {
        let mut candidates = BTreeMap::new();
        for member in members {
            let (topics, owned, generation) = read_subscription(&member.metadata);
            let candidate = Candidate {
                topics,
                owned,
                generation,
            };
            candidates.insert(member.member_id.to_string(), candidate);
        }
        let wanted = candidates.values().flat_map(|candidate| &candidate.topics);
        let none = wanted.map(|topic| (topic.clone(), 0)).collect();
        let dealt = self.known_of(&none);
        let shares = deal(&dealt, &candidates, self.is_cooperative());
        self.dealt = Some(dealt);
        shares
    }

    async fn assigned(&mut self, share: Vec<Assigned>, asked: Instant) -> Result<Outcome, Lost> {
        let share: BTreeSet<Partition> = share
            .into_iter()
            .map(|(topic, index)| (topic, Uuid::nil(), index))
            .collect();
        let held: BTreeSet<Partition> = self.member.held.keys().cloned().collect();
        let revoked: Vec<Partition> = held.difference(&share).cloned().collect();
        self.is_joined = true;
        for partition in &revoked {
            // That is as good as a commit of its new generation, whoever has had it meanwhile: a member that was lost
            // comes back under its id where there are also members of the new protocol.
            let place = self.member.place_of(partition);
            let mut holders = self.member.sim.holders.borrow_mut();
            holders.release(self.member.handle.process, &place);
        }
        for partition in held.intersection(&share) {
            // From now on, too, whatever it commits before it lets go of the others.
            let (place, now) = (self.member.place_of(partition), self.member.now());
            let mut holders = self.member.sim.holders.borrow_mut();
            holders.keep(self.member.handle.process, &place, asked, now);
        }
        if !revoked.is_empty() && self.member.client.below(4) > 0 {
            let outcome = self.member.commit(&self.id, self.generation, false).await;
            if let Ok(Outcome::NoMember | Outcome::OtherGeneration | Outcome::Fenced) = outcome {
                return outcome;
            }
        }
        for partition in &revoked {
            self.member.let_go(partition);
        }
        for partition in share.difference(&held).cloned() {
            self.member.take(partition, asked);
        }
        if !revoked.is_empty() {
            // So that others can have it.
            return Ok(Outcome::Rebalance);
        }
        let place = (self.id.to_string(), self.generation);
        self.member.handle.place.replace(Some(place));
        Ok(Outcome::Fine)
    }

    async fn leave(&mut self) -> Result<(), Lost> {
        self.revoke_all().await?;
        // A static member keeps its place for its return.
        if self.member.instance().is_some() || self.id.is_empty() || !self.member.has_coordinator {
            return Ok(());
        }
        let (group, id) = (self.member.group(), self.id.clone());
        let request = |_| {
            let member = MemberIdentity::default().with_member_id(id);
            LeaveGroupRequest::default()
                .with_group_id(group)
                .with_members(vec![member])
        };
        let reply = self.member.client.ask(3..=5, request).await?;
        let member = reply.members.first().map_or(0, |member| member.error_code);
        for code in [reply.error_code, member] {
            use ResponseError::*;
            match code.err() {
                None | Some(UnknownMemberId | CoordinatorNotAvailable | NotCoordinator) => {}
                Some(CoordinatorLoadInProgress) => {}
                Some(error) => panic!("LeaveGroup: {error:?}"),
            }
        }
        Ok(())
    }
}
