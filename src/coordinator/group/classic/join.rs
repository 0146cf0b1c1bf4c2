//! JoinGroup.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::member::{Member, Terms, bytes_of_join, millis};
use super::members::Members;
use super::replies::{join_error, sync_error};
use super::{ClassicGroup, State, group_bytes};
use crate::coordinator::group::records::Record;
use crate::coordinator::group::{Caller, has_room};
use crate::coordinator::memory::text_bytes;
use crate::coordinator::{Context, Output, Replier};

/// How long a new member's first join may wait, in place of a session: the member doesn't know its
/// id and can't send heartbeats. If it is still there it joins again.
const FIRST_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What members tell their leader may take as much as so many of the records that a group is stored in. It may come in
/// several protocols, one of which is stored in the end; what is more never could be.
const RECORDS_OF_METADATA_MAX: usize = 4;

/// From this version on, a client that has no member id is given one to join with.
const VERSION_OF_REQUIRED_ID: i16 = 4;
/// From this version on, a leader can be told that the assignments stand.
const VERSION_OF_SKIPPED_ASSIGNMENT: i16 = 9;

/// Whether a client is to be given a member id first, and to join with that.
pub fn asks_for_id(request: &JoinGroupRequest, version: i16) -> bool {
    let is_dynamic = request.group_instance_id.is_none();
    is_dynamic && request.member_id.is_empty() && version >= VERSION_OF_REQUIRED_ID
}

/// What a group takes in memory with a first member that joins like this, in bytes.
pub fn bytes_of_first_join(id: &str, request: &JoinGroupRequest, caller: &Caller) -> usize {
    let members = Members::default();
    let member = members.growth_with("", bytes_of_join(request, caller));
    group_bytes(id) + text_bytes(&request.protocol_type) + member
}

/// A join on its way to its reply.
struct Join<'a> {
    request: JoinGroupRequest,
    terms: Terms,
    caller: &'a Caller,
    to: Replier<JoinGroupResponse>,
}

impl ClassicGroup {
    /// Answers a join, or keeps it until the generation begins.
    pub fn join(
        &mut self,
        request: JoinGroupRequest,
        caller: &Caller,
        to: Replier<JoinGroupResponse>,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) {
        let terms = Terms::of(&request, caller.version);
        let refusal = self.refusal(&request, &terms, caller, context, out);
        let is_new = request.member_id.is_empty();
        let join = Join {
            request,
            terms,
            caller,
            to,
        };
        match refusal {
            Some(refusal) => out.reply(join.to, refusal),
            None if is_new => self.join_new(join, context, out),
            None => self.join_known(join, context, out),
        }
        if is_new && !self.is_stored && !self.is_dead() {
            self.store_new(context, out);
        }
    }

    /// Why nobody may join like this. Who is one too many is put out.
    fn refusal(
        &mut self,
        request: &JoinGroupRequest,
        terms: &Terms,
        caller: &Caller,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Option<JoinGroupResponse> {
        let id = &*request.member_id;
        let members_max = context.config.groups.classic.members_max;
        let bytes_max = RECORDS_OF_METADATA_MAX * context.record_bytes_max;
        let fits = self.members.bytes_with(id, terms) <= bytes_max;
        if !fits || !self.accepts(id, members_max) {
            self.remove_member(id, out);
            Some(join_error("", ResponseError::GroupMaxSizeReached))
        } else if self.is_dead() || !self.has_room_for(request, caller, context) {
            Some(join_error(id, ResponseError::CoordinatorNotAvailable))
        } else if !self.supports(&request.protocol_type, terms) {
            Some(join_error(id, ResponseError::InconsistentGroupProtocol))
        } else {
            None
        }
    }

    /// Whether the shard has the memory for what the member says about itself.
    fn has_room_for(
        &self,
        request: &JoinGroupRequest,
        caller: &Caller,
        context: &Context<'_>,
    ) -> bool {
        let instance_id = request.group_instance_id.as_deref();
        let known = instance_id.and_then(|instance_id| self.members.static_id(instance_id));
        let id = match request.member_id.is_empty() {
            true => known.map_or("", |id| id),
            false => &*request.member_id,
        };
        let more = (self.members).growth_with(id, bytes_of_join(request, caller));
        has_room(context, self.held_bytes(), more)
    }

    /// Whether there is room. In a rebalance those who have joined count, so that the last to join
    /// are put out of a group that is larger than it may be by now.
    fn accepts(&self, id: &str, members_max: usize) -> bool {
        let member = self.members.get(id);
        match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                member.is_some_and(Member::awaits_join) || self.members.joining() < members_max
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.members.len() < members_max
            }
        }
    }

    fn supports(&self, protocol_type: &str, terms: &Terms) -> bool {
        match self.state {
            State::Empty => !protocol_type.is_empty() && !terms.protocols.is_empty(),
            _ => {
                self.protocol_type() == Some(protocol_type)
                    && self.members.support(&terms.protocols)
            }
        }
    }

    /// A client without a member id.
    fn join_new(&mut self, join: Join<'_>, context: &mut Context<'_>, out: &mut Output<Record>) {
        let instance_id = join.request.group_instance_id.as_deref();
        let id = new_member_id(instance_id.unwrap_or(&join.caller.client_id), context);
        let known = instance_id.and_then(|instance_id| self.members.static_id(instance_id));
        if let Some(old) = known.cloned() {
            self.replace_static_member(&old, id, join, context, out);
        } else if !asks_for_id(&join.request, join.caller.version) {
            self.add_member(id, join, context, out);
        } else {
            let until = context.now + millis(join.terms.session_timeout_ms);
            self.wake_by(until);
            out.reply(join.to, join_error(&id, ResponseError::MemberIdRequired));
            self.members.pending_joins.insert(id, until);
        }
    }

    /// A client with a member id.
    fn join_known(&mut self, join: Join<'_>, context: &Context<'_>, out: &mut Output<Record>) {
        let instance_id = join.request.group_instance_id.as_deref();
        let id: Rc<str> = Rc::from(&*join.request.member_id);
        let checked = if !self.members.pending_joins.contains(&id) {
            self.check_member(&id, instance_id)
        } else if instance_id.is_none() {
            return self.add_member(id, join, context, out);
        } else {
            // Static members are not told to join with an id.
            Err(ResponseError::UnknownServerError)
        };
        if let Err(error) = checked {
            return out.reply(join.to, join_error(&id, error));
        }
        let has_changed = |member: &Member| member.terms.protocols != join.terms.protocols;
        let is_changed = self.members.get(&id).is_some_and(has_changed);
        let rejoins = match self.state {
            State::PreparingRebalance => true,
            // Its reply may have been lost.
            State::CompletingRebalance => is_changed,
            // A leader joins again when its metadata isn't all that matters to its assignments.
            State::Stable => is_changed || self.members.is_leader(&id),
            State::Empty | State::Dead => false,
        };
        if !rejoins {
            return out.reply(join.to, self.joined(&id));
        }
        self.members.update(&id, join.terms);
        self.await_join(&id, join.to, out);
        let reason = join.request.reason.as_deref();
        self.rebalance(reason.unwrap_or("a member joins again"), context, out);
    }

    fn await_join(&mut self, id: &str, to: Replier<JoinGroupResponse>, out: &mut Output<Record>) {
        if let Some(older) = self.members.await_join(id, to) {
            out.reply(older, join_error(id, ResponseError::RebalanceInProgress));
        }
    }

    fn add_member(
        &mut self,
        id: Rc<str>,
        join: Join<'_>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        self.note_newcomer();
        if self.members.is_empty() {
            self.protocol_type = Some(join.request.protocol_type.to_string());
        }
        let deadline = context.now + FIRST_JOIN_TIMEOUT;
        self.wake_by(deadline);
        self.members.add(Member {
            id,
            instance_id: join.request.group_instance_id.as_deref().map(Rc::from),
            client_id: join.caller.client_id.clone(),
            client_host: join.caller.client_host.clone(),
            terms: join.terms,
            assignment: Bytes::new(),
            is_new: true,
            deadline: Some(deadline),
            join: Some(join.to),
            sync: None,
        });
        let reason = join.request.reason.as_deref();
        self.rebalance(reason.unwrap_or("a member joins"), context, out);
    }

    /// A static member is back under a new id. In a stable group that is all there is to it, unless
    /// the group would choose another protocol now.
    fn replace_static_member(
        &mut self,
        old: &str,
        id: Rc<str>,
        join: Join<'_>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        self.fence(old, out);
        let old_leader = self.leader_id().to_string();
        self.members.rename(old, Rc::clone(&id));
        let old_terms = self.members.update(&id, join.terms);
        self.renew_session(&id, context);
        let chosen = self.members.choose_protocol();
        if self.state != State::Stable || chosen != self.protocol {
            self.await_join(&id, join.to, out);
            // Before it is stable, the leader may have been told the old id, and assigns to that.
            return self.rebalance("a static member is back", context, out);
        }
        let reply = match self.store(context, out) {
            Err(error) => {
                self.members.rename(&id, Rc::from(old));
                if let Some(terms) = old_terms {
                    self.members.update(old, terms);
                }
                self.renew_session(old, context);
                self.joined_under(&old_leader, "")
                    .with_error_code(error.code())
            }
            Ok(()) if join.caller.version >= VERSION_OF_SKIPPED_ASSIGNMENT => {
                let skips = self.members.is_leader(&id);
                self.joined(&id).with_skip_assignment(skips)
            }
            // It must not take itself for the leader, which would assign and be ignored.
            Ok(()) => self.joined_under(&old_leader, &id),
        };
        out.reply(join.to, reply);
    }

    /// Whoever waits as a member that is replaced is not the member any more.
    fn fence(&mut self, id: &str, out: &mut Output<Record>) {
        let error = ResponseError::FencedInstanceId;
        if let Some(to) = self.members.take_join(id) {
            out.reply(to, join_error(id, error));
        }
        let member = self.members.get_mut(id);
        if let Some(to) = member.and_then(|member| member.sync.take()) {
            out.reply(to, sync_error(error));
        }
    }
}

/// A member id that nobody can guess.
fn new_member_id(owner: &str, context: &mut Context<'_>) -> Rc<str> {
    let random = u128::from((context.random_u64)()) << 64 | u128::from((context.random_u64)());
    let uuid = uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid();
    Rc::from(format!("{owner}-{uuid}"))
}
