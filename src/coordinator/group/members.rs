//! Requests of members: each goes to its group, in the protocol that this speaks.
//!
//! A group without members goes over to the protocol of the first member that comes, with its offsets. One with members
//! goes over while it works, as `group.consumer.migration.policy` allows: a classic group when a member of the consumer
//! protocol comes, a consumer group when its last member of that protocol goes.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::classic::{ClassicGroup, State, bytes_of_first_join};
use super::consumer::{ConsumerGroup, JOIN, Rejection, check_heartbeat};
use super::kind::Kind;
use super::records::Record;
use super::{Caller, Context, Group, Groups, Output, Replier, has_room, missing};

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
        let refused = |member, error: ResponseError| {
            JoinGroupResponse::default()
                .with_error_code(error.code())
                .with_member_id(member)
        };
        match self.kind_of_mut(&id) {
            Some(Kind::Classic(_)) => {}
            Some(Kind::Consumer(group)) if !group.is_empty() => {
                let answer = group.classic_join(&request, caller, context, out);
                let answer = answer.unwrap_or_else(|(error, _)| refused(request.member_id, error));
                out.reply(to, answer);
                return self.settle(&id);
            }
            // Nobody is in it, and nobody was given an id to join with.
            _ if !request.member_id.is_empty() => {
                let answer = refused(request.member_id, ResponseError::UnknownMemberId);
                return out.reply(to, answer);
            }
            _ if !has_room(context, 0, bytes_of_first_join(&id, &request, caller)) => {
                let answer = refused(request.member_id, ResponseError::CoordinatorNotAvailable);
                return out.reply(to, answer);
            }
            Some(Kind::Consumer(empty)) => {
                empty.tombstones(out);
                let classic = ClassicGroup::new(id.clone(), context);
                self.convert(&id, Kind::Classic(classic));
            }
            None => {}
        }
        if let Kind::Classic(group) = &mut self.get_or_create(&id, context).kind {
            group.join(request, caller, to, context, out);
        }
        self.settle(&id);
    }

    pub(super) fn sync(
        &mut self,
        request: SyncGroupRequest,
        to: Replier<SyncGroupResponse>,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) {
        let id = request.group_id.clone();
        let refused =
            |error: ResponseError| SyncGroupResponse::default().with_error_code(error.code());
        match self.kind_of_mut(&id) {
            Some(Kind::Classic(group)) => {
                let before = group.state();
                group.sync(request, to, context, out);
                if before == State::CompletingRebalance && group.state() == State::Stable {
                    context.metrics.classic_rebalances.add(1);
                }
            }
            Some(Kind::Consumer(group)) => {
                let answer = group.classic_sync(&request, context);
                out.reply(to, answer.unwrap_or_else(refused));
            }
            None => out.reply(to, refused(ResponseError::UnknownMemberId)),
        }
        self.settle(&id);
    }

    pub(super) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        context: &mut Context<'_>,
    ) -> Option<ResponseError> {
        let id = &request.group_id;
        let outcome = match self.kind_of_mut(id) {
            Some(Kind::Classic(group)) => return group.heartbeat(request, context).err(),
            Some(Kind::Consumer(group)) => group.classic_heartbeat(request, context),
            None => Err(ResponseError::UnknownMemberId),
        };
        self.settle(id);
        outcome.err()
    }

    pub(super) fn leave(
        &mut self,
        id: &str,
        members: Vec<MemberIdentity>,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Vec<MemberResponse> {
        let unknown = |member: MemberIdentity| {
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
                .with_error_code(ResponseError::UnknownMemberId.code())
        };
        let answers = match self.kind_of_mut(id) {
            Some(Kind::Classic(group)) => group.leave(members, context, out),
            Some(Kind::Consumer(group)) => group.classic_leave(members, context, out),
            None => members.into_iter().map(unknown).collect(),
        };
        self.settle(id);
        answers
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Rejection> {
        let id: Rc<str> = request.group_id.as_str().into();
        let written = out.records.len();
        let place = self.place_for(&id, request, caller, context, out)?;
        let Some(Kind::Consumer(group)) = self.kind_of_mut(&id) else {
            unreachable!("a consumer group has its place")
        };
        let answer = group.heartbeat(request, caller, context, out);
        match (&answer, place) {
            (Ok(_), Place::Classic(before)) => before.dissolve(out),
            (Ok(_), Place::None | Place::New) => {}
            (Err(_), place) => {
                out.records.truncate(written);
                self.give_back(&id, place);
            }
        }
        self.settle(&id);
        answer
    }

    /// Sees to it that there is a consumer group, if the heartbeat is one that may make it.
    fn place_for(
        &mut self,
        id: &Rc<str>,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<Place, Rejection> {
        let found = self.kind_of_mut(id);
        if let Some(Kind::Consumer(_)) = found {
            return Ok(Place::None);
        }
        check_heartbeat(request, caller.version, &context.config.groups.consumer)?;
        let joins = request.member_epoch == JOIN;
        let Some(Kind::Classic(classic)) = found else {
            if !joins {
                let text = match request.member_epoch > JOIN {
                    true => format!("Consumer group {id} not found."),
                    false => missing(id, "consumer", false),
                };
                return Err(not_found(text));
            }
            let new = Kind::Consumer(ConsumerGroup::new(id.clone()));
            self.groups.insert(id.clone(), Group::of(new, context));
            return Ok(Place::New);
        };
        if !joins {
            return Err(not_found(missing(id, "consumer", true)));
        }
        let group = if classic.is_empty() {
            out.records.push(Record::GroupMetadata {
                group: id.to_string(),
                value: None,
            });
            ConsumerGroup::new(id.clone())
        } else {
            ConsumerGroup::of_classic(id.clone(), classic, context, out)?
        };
        match self.convert(id, Kind::Consumer(group)) {
            Some(Kind::Classic(before)) => Ok(Place::Classic(Box::new(before))),
            _ => unreachable!("it was a classic group"),
        }
    }

    /// Undoes what was done for a heartbeat that is refused.
    fn give_back(&mut self, id: &Rc<str>, place: Place) {
        match place {
            Place::None => {}
            Place::New => {
                self.groups.remove(id);
            }
            Place::Classic(classic) => {
                self.convert(id, Kind::Classic(*classic));
            }
        }
    }

    /// A group has done something: it may have become a classic one, and wait for something else.
    pub(super) fn settle(&mut self, id: &str) {
        let Some((id, _)) = self.groups.get_key_value(id) else {
            return;
        };
        let id = id.clone();
        if let Some(Kind::Consumer(group)) = self.kind_of_mut(&id)
            && let Some(classic) = group.take_downgraded()
        {
            self.convert(&id, Kind::Classic(classic));
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.recount();
        }
        self.note_deadline(&id);
    }
}

fn not_found(text: String) -> Rejection {
    (ResponseError::GroupIdNotFound, Some(text))
}
