//! What keeps members in a group and ends their membership: heartbeats, sessions, leaving. Who may
//! commit offsets.

use std::rc::Rc;

use corelog_shards::mutation::{Mutation, is_on};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::HeartbeatRequest;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;

use super::{ClassicGroup, State};
use crate::coordinator::group::records::Record;
use crate::coordinator::{Context, Output};

impl ClassicGroup {
    /// Takes a sign of life. The error tells the member what else there is for it to do.
    pub fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        context: &Context<'_>,
    ) -> Result<(), ResponseError> {
        if self.is_dead() {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.renew_session(&request.member_id, context);
        match self.state {
            State::PreparingRebalance if !is_on(Mutation::HideRebalance) => {
                Err(ResponseError::RebalanceInProgress)
            }
            _ => Ok(()),
        }
    }

    /// Lets members go, and says of each whether it was one.
    pub fn leave(
        &mut self,
        members: Vec<MemberIdentity>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Vec<MemberResponse> {
        let mut has_left = false;
        let mut leave = |member: MemberIdentity| {
            let result = self.leave_one(&member, out);
            has_left |= result.is_ok();
            MemberResponse::default()
                .with_error_code(result.err().map_or(0, |error| error.code()))
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
        };
        let responses = members.into_iter().map(&mut leave).collect();
        if has_left && self.state != State::Empty {
            self.rebalance("members have left", context, out);
        }
        responses
    }

    fn leave_one(
        &mut self,
        member: &MemberIdentity,
        out: &mut Output<Record>,
    ) -> Result<(), ResponseError> {
        if self.is_dead() {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let instance_id = member.group_instance_id.as_deref();
        let id = if member.member_id.is_empty() {
            // An administrator removes a static member.
            let id = instance_id.and_then(|instance_id| self.members.static_id(instance_id));
            Rc::clone(id.ok_or(ResponseError::UnknownMemberId)?)
        } else {
            let id = &*member.member_id;
            if !self.members.pending_joins.contains(id) {
                self.check_member(id, instance_id)?;
            }
            Rc::from(id)
        };
        tracing::debug!(
            group = &*self.id,
            member = &*id,
            reason = member.reason.as_deref(),
            "a member leaves"
        );
        self.remove_member(&id, out);
        Ok(())
    }

    /// Whether an offset may be committed, by a member of this generation or, if there are no
    /// members, by anybody who doesn't claim to be one. A member's commit is a sign of life, too.
    pub fn check_commit(
        &mut self,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation: i32,
        context: &Context<'_>,
    ) -> Result<(), ResponseError> {
        if self.is_dead() {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && group_instance_id.is_none() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.check_member(member_id, group_instance_id)?;
        if generation != self.generation && !is_on(Mutation::TakeStaleCommit) {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        self.renew_session(member_id, context);
        Ok(())
    }

    /// Whether this is a member, and under the id that its instance has by now.
    pub(super) fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ResponseError> {
        if let Some(instance_id) = instance_id {
            let owner = self.members.static_id(instance_id);
            if **owner.ok_or(ResponseError::UnknownMemberId)? != *member_id {
                return Err(ResponseError::FencedInstanceId);
            }
        }
        match self.members.get(member_id) {
            Some(_) => Ok(()),
            None => Err(ResponseError::UnknownMemberId),
        }
    }

    /// Begins a member's session anew.
    pub(super) fn renew_session(&mut self, id: &str, context: &Context<'_>) {
        if let Some(member) = self.members.get_mut(id) {
            let deadline = context.now + member.session_timeout();
            member.deadline = Some(deadline);
            self.wake_by(deadline);
        }
    }

    /// Ends the sessions that are over, those of clients that never came back to join included.
    pub(super) fn expire_sessions(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        let is_over = |at| at <= context.now;
        for id in self.members.pending_joins.overdue(context.now) {
            self.remove_member(&id, out);
            self.complete_join_of_rest(context, out);
        }
        for id in (self.members).ids(|member| member.deadline.is_some_and(is_over)) {
            self.expire_session(&id, context, out);
        }
    }

    fn expire_session(&mut self, id: &str, context: &Context<'_>, out: &mut Output<Record>) {
        let is_over = |at| at <= context.now;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !member.deadline.is_some_and(is_over) {
            // Ending another's session has begun this one anew.
            return;
        }
        if member.is_excused() {
            member.deadline = None;
            return;
        }
        self.remove_member(id, out);
        match self.state {
            State::CompletingRebalance | State::Stable => {
                self.rebalance("a member's session is over", context, out)
            }
            _ => self.complete_join_of_rest(context, out),
        }
    }

    /// Somebody who was missing is gone: if all others have joined, that is all, in the first
    /// rebalance too.
    fn complete_join_of_rest(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        if self.state == State::PreparingRebalance && self.members.all_joined() {
            self.complete_join(context, out);
        }
    }
}
