//! Requests of members: each goes to its group, if that speaks the protocol of the request.
//!
//! A group without members goes over to the protocol of the first member that comes, with its offsets. One with members
//! stays with theirs.

use std::mem;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::classic::{ClassicGroup, State};
use super::consumer::{ConsumerGroup, JOIN, Rejection, check_heartbeat};
use super::kind::Kind;
use super::records::Record;
use super::{Caller, Context, Group, Groups, Output, Replier, missing};

/// What a consumer group that is made for its first member takes the place of.
enum Place {
    /// It was there.
    None,
    New,
    Classic(Box<ClassicGroup>),
}

impl Groups {
    pub(super) fn join(
        &mut self,
        request: JoinGroupRequest,
        caller: &Caller,
        to: Replier<JoinGroupResponse>,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) {
        let id: Rc<str> = request.group_id.as_str().into();
        let names_member = !request.member_id.is_empty();
        let refused = match self.groups.get(&id).map(|group| &group.kind) {
            Some(Kind::Classic(_)) => None,
            Some(Kind::Consumer(group)) if !group.is_empty() => {
                Some(ResponseError::InconsistentGroupProtocol)
            }
            _ => names_member.then_some(ResponseError::UnknownMemberId),
        };
        if let Some(error) = refused {
            let answer = JoinGroupResponse::default()
                .with_error_code(error.code())
                .with_member_id(request.member_id)
                .with_generation_id(-1);
            return out.reply(to, answer);
        }
        let group = self.get_or_create(&id, context);
        if let Kind::Consumer(empty) = &group.kind {
            empty.tombstones(out);
            group.kind = Kind::Classic(ClassicGroup::new(id.clone(), context));
        }
        if let Kind::Classic(group) = &mut group.kind {
            group.join(request, caller, to, context, out);
        }
        self.note_deadline(&id);
    }

    pub(super) fn sync(
        &mut self,
        request: SyncGroupRequest,
        to: Replier<SyncGroupResponse>,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) {
        let id = request.group_id.clone();
        match self.classic(&id) {
            Some(group) => {
                let before = group.state();
                group.sync(request, to, context, out);
                if before == State::CompletingRebalance && group.state() == State::Stable {
                    context.metrics.classic_rebalances.add(1);
                }
                self.note_deadline(&id);
            }
            None => {
                let error = ResponseError::UnknownMemberId.code();
                out.reply(to, SyncGroupResponse::default().with_error_code(error));
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        context: &mut Context<'_>,
    ) -> Option<ResponseError> {
        match self.classic(&request.group_id) {
            Some(group) => group.heartbeat(request, context).err(),
            None => Some(ResponseError::UnknownMemberId),
        }
    }

    pub(super) fn leave(
        &mut self,
        id: &str,
        members: Vec<MemberIdentity>,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Vec<MemberResponse> {
        if let Some(group) = self.classic(id) {
            let answers = group.leave(members, context, out);
            self.note_deadline(id);
            return answers;
        }
        let unknown = |member: MemberIdentity| {
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
                .with_error_code(ResponseError::UnknownMemberId.code())
        };
        members.into_iter().map(unknown).collect()
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Rejection> {
        let id = request.group_id.as_str();
        let written = out.records.len();
        let place = self.place_for(request, caller, context, out)?;
        let Some(Group {
            kind: Kind::Consumer(group),
            ..
        }) = self.groups.get_mut(id)
        else {
            unreachable!("a consumer group has its place")
        };
        let answer = group.heartbeat(request, caller, context, out);
        if answer.is_ok() {
            self.note_deadline(id);
        } else {
            out.records.truncate(written);
            self.give_back(id, place);
        }
        answer
    }

    /// Sees to it that there is a consumer group, if the heartbeat is one that may make it.
    fn place_for(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<Place, Rejection> {
        let id = request.group_id.as_str();
        let found = self.groups.get_mut(id);
        if let Some(Group {
            kind: Kind::Consumer(_),
            ..
        }) = found
        {
            return Ok(Place::None);
        }
        check_heartbeat(request, caller.version, &context.config.groups.consumer)?;
        let joins = request.member_epoch == JOIN;
        let new = |id: Rc<str>| Kind::Consumer(ConsumerGroup::new(id));
        let Some(group) = found else {
            if !joins {
                let text = match request.member_epoch > JOIN {
                    true => format!("Consumer group {id} not found."),
                    false => missing(id, "consumer", false),
                };
                return Err(not_found(text));
            }
            let id: Rc<str> = id.into();
            self.groups.insert(id.clone(), Group::of(new(id)));
            return Ok(Place::New);
        };
        if !joins {
            return Err(not_found(missing(id, "consumer", true)));
        }
        if !group.kind.is_empty() {
            return Err(not_found(format!(
                "Cannot upgrade classic group {id} to consumer group because the online upgrade is disabled."
            )));
        }
        out.records.push(Record::GroupMetadata {
            group: id.to_owned(),
            value: None,
        });
        match mem::replace(&mut group.kind, new(id.into())) {
            Kind::Classic(empty) => Ok(Place::Classic(Box::new(empty))),
            Kind::Consumer(_) => Ok(Place::None),
        }
    }

    /// Undoes what was done for a heartbeat that is refused.
    fn give_back(&mut self, id: &str, place: Place) {
        match place {
            Place::None => {}
            Place::New => {
                self.groups.remove(id);
            }
            Place::Classic(classic) => {
                if let Some(group) = self.groups.get_mut(id) {
                    group.kind = Kind::Classic(*classic);
                }
            }
        }
    }

    fn classic(&mut self, id: &str) -> Option<&mut ClassicGroup> {
        match &mut self.groups.get_mut(id)?.kind {
            Kind::Classic(group) => Some(group),
            Kind::Consumer(_) => None,
        }
    }
}

fn not_found(text: String) -> Rejection {
    (ResponseError::GroupIdNotFound, Some(text))
}
