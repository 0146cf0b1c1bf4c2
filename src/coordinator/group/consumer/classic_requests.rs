//! SyncGroup, Heartbeat and LeaveGroup of members of the classic protocol in a consumer group.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};

use super::ConsumerGroup;
use super::downgrade::to_classic;
use super::durable::Durable;
use super::member::{Member, MemberState};
use super::timers::millis;
use crate::coordinator::group::assignor::Partitions;
use crate::coordinator::group::consumer_protocol::CONSUMER;
use crate::coordinator::group::records::{ClassicMemberMetadata, Record};
use crate::coordinator::{Context, Output};

impl ConsumerGroup {
    /// Answers a sync: with what the member has, whatever it may still be to get.
    pub fn classic_sync(
        &mut self,
        request: &SyncGroupRequest,
        context: &Context<'_>,
    ) -> Result<SyncGroupResponse, ResponseError> {
        let instance_id = request.group_instance_id.as_deref();
        let generation = request.generation_id;
        let (member, classic) =
            (self.durable).classic_member(&request.member_id, instance_id, generation)?;
        let preferred = classic.supported_protocols.first();
        let preferred = preferred.map(|protocol| &*protocol.name);
        let differs = |said: Option<&str>, is: Option<&str>| said.is_some() && said != is;
        if differs(request.protocol_type.as_deref(), Some(CONSUMER))
            || differs(request.protocol_name.as_deref(), preferred)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        // One that is to give up partitions has joined for this epoch: first it does that.
        let is_behind = self.durable.target_epoch > member.epoch;
        if is_behind && member.state != MemberState::UnrevokedPartitions {
            self.timers.await_join(member, context.now);
            return Err(ResponseError::RebalanceInProgress);
        }
        let topics = member.assigned.iter();
        let assigned: Partitions = topics
            .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
            .collect();
        let assignment = to_classic(&assigned, member, context.image)
            .map_err(|_| ResponseError::UnknownServerError)?;
        let session = context.now + millis(classic.session_timeout_ms);
        self.timers.synced(&member.id);
        self.timers.renew_session(&member.id, session);
        Ok(SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(assignment))
    }

    /// Takes a sign of life. The member is to join again if there is a step that it can take.
    pub fn classic_heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        context: &Context<'_>,
    ) -> Result<(), ResponseError> {
        let instance_id = request.group_instance_id.as_deref();
        let generation = request.generation_id;
        let (member, classic) =
            (self.durable).classic_member(&request.member_id, instance_id, generation)?;
        let session = context.now + millis(classic.session_timeout_ms);
        self.timers.renew_session(&member.id, session);
        let has_step = match member.state {
            _ if member.epoch < self.durable.target_epoch => true,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !self.durable.awaits_release(member),
            MemberState::Stable | MemberState::Unknown => false,
        };
        if has_step {
            self.timers.await_join(member, context.now);
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Lets members go, of either protocol, and says of each whether it was one.
    pub fn classic_leave(
        &mut self,
        members: Vec<MemberIdentity>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Vec<MemberResponse> {
        let mut leaving = BTreeMap::new();
        let group = &self.durable;
        let leave = |identity: MemberIdentity| {
            let found = group.leaving(&identity);
            let error_code = found.as_ref().err().map_or(0, |error| error.code());
            if let Ok(member) = found {
                leaving.insert(&*member.id, member);
            }
            MemberResponse::default()
                .with_error_code(error_code)
                .with_member_id(identity.member_id)
                .with_group_instance_id(identity.group_instance_id)
        };
        let responses = members.into_iter().map(leave).collect();
        if !leaving.is_empty() {
            let leaving: Vec<&Member> = leaving.into_values().collect();
            for member in &leaving {
                self.timers.remove(&member.id);
            }
            self.downgraded = group.fence(&leaving, context, out).map(Box::new);
        }
        responses
    }
}

impl Durable {
    /// A member of the classic protocol in this generation.
    fn classic_member(
        &self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(&Member, &ClassicMemberMetadata), ResponseError> {
        let member = match instance_id {
            Some(instance_id) => self.static_member_as(id, instance_id),
            None => self.member(id),
        };
        let member = member.map_err(|(error, _)| error)?;
        let classic = member.classic.as_ref();
        let classic = classic.ok_or(ResponseError::UnknownMemberId)?;
        match member.epoch == generation {
            true => Ok((member, classic)),
            false => Err(ResponseError::IllegalGeneration),
        }
    }

    /// Who wants to leave, or is to: an administrator names a static member by its instance alone.
    fn leaving(&self, identity: &MemberIdentity) -> Result<&Member, ResponseError> {
        let id = &identity.member_id;
        let member = match &identity.group_instance_id {
            None => self.member(id),
            Some(instance_id) if id.is_empty() => {
                let member = self.static_member(instance_id);
                return member.ok_or(ResponseError::UnknownMemberId);
            }
            Some(instance_id) => self.static_member_as(id, instance_id),
        };
        member.map_err(|(error, _)| error)
    }

    /// Whether others still have something that the member is to get.
    fn awaits_release(&self, member: &Member) -> bool {
        self.target_of(member).iter().any(|(topic, partitions)| {
            let assigned = member.assigned.get(topic);
            let has = |partition| assigned.is_some_and(|all| all.contains_key(partition));
            let mut partitions = partitions.iter();
            partitions.any(|partition| !has(partition) && self.owners.has(*topic, *partition))
        })
    }
}
