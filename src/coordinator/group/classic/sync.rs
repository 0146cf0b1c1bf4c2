//! SyncGroup: the leader brings the assignments, everybody fetches theirs.

use std::collections::BTreeMap;

use bytes::Bytes;
use corelog_shards::mutation::{Mutation, is_on};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::replies::sync_error;
use super::{ClassicGroup, State};
use crate::coordinator::group::has_room;
use crate::coordinator::group::records::Record;
use crate::coordinator::{Context, Output, Replier};

impl ClassicGroup {
    /// Answers a sync, or keeps it until the leader's comes.
    pub fn sync(
        &mut self,
        request: SyncGroupRequest,
        to: Replier<SyncGroupResponse>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        if let Err(error) = self.check_sync(&request) {
            return out.reply(to, sync_error(error));
        }
        let id = &*request.member_id;
        self.members.pending_syncs.remove(id);
        if self.members.pending_syncs.is_empty() {
            self.sync_deadline = None;
        }
        let Some(member) = self.members.get_mut(id) else {
            return out.reply(to, sync_error(ResponseError::UnknownMemberId));
        };
        if self.state == State::Stable {
            let assignment = member.assignment.clone();
            return out.reply(to, self.synced(assignment));
        }
        if let Some(older) = member.sync.replace(to) {
            out.reply(older, sync_error(ResponseError::RebalanceInProgress));
        }
        if self.members.is_leader(id) {
            self.assign(&request.assignments, context, out);
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ResponseError> {
        if self.is_dead() {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        // Clients before version 5 don't say.
        let differs = |said: Option<&str>, is: Option<&str>| said.is_some() && said != is;
        if request.generation_id != self.generation {
            Err(ResponseError::IllegalGeneration)
        } else if differs(request.protocol_type.as_deref(), self.protocol_type())
            || differs(request.protocol_name.as_deref(), self.protocol.as_deref())
        {
            Err(ResponseError::InconsistentGroupProtocol)
        } else if self.state == State::PreparingRebalance {
            Err(ResponseError::RebalanceInProgress)
        } else {
            Ok(())
        }
    }

    /// Takes the leader's assignments over and answers all who wait for theirs.
    fn assign(
        &mut self,
        assignments: &[SyncGroupRequestAssignment],
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        let assignments: BTreeMap<&str, &[u8]> = assignments
            .iter()
            .map(|assigned| (&*assigned.member_id, &*assigned.assignment))
            .collect();
        let of_member = |id: &str| {
            let mut assignment = assignments.get(id).copied();
            if is_on(Mutation::MixUpShares) {
                assignment = assignments.values().next().copied();
            }
            assignment.unwrap_or_default()
        };
        let ids = self.members.ids(|_| true);
        let bytes: usize = ids.iter().map(|id| of_member(id).len()).sum();
        let more = bytes.saturating_sub(self.members.assigned_bytes());
        self.transition(State::Stable, context);
        let stored = match has_room(context, self.held_bytes(), more) {
            true => {
                for id in &ids {
                    let assignment = Bytes::copy_from_slice(of_member(id));
                    self.members.assign(id, assignment);
                }
                self.store(context, out)
            }
            false => Err(ResponseError::CoordinatorNotAvailable),
        };
        if let Err(error) = stored {
            self.refuse_syncs(error, context, out);
            return self.prepare_rebalance("the assignments can't be stored", context, out);
        }
        for id in self.members.ids(|member| member.sync.is_some()) {
            let member = self.members.get_mut(&id);
            let answer = member.and_then(|member| member.sync.take().zip(Some(&member.assignment)));
            if let Some((to, assignment)) = answer {
                let assignment = assignment.clone();
                out.reply(to, self.synced(assignment));
            }
            self.renew_session(&id, context);
        }
    }
}
