//! Members that leave, and members that are made to.

use std::collections::BTreeMap;

use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::durable::Durable;
use super::member::{Assigned, Member};
use super::request::LEAVE_STATIC;
use super::{ConsumerGroup, Rejection, check_sizes};
use crate::coordinator::group::classic::ClassicGroup;
use crate::coordinator::group::records::Record;
use crate::coordinator::{Context, Output};

impl ConsumerGroup {
    pub(super) fn leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Rejection> {
        let group = &self.durable;
        let id = &request.member_id;
        let member = match &request.instance_id {
            Some(instance_id) => group.static_member_as(id, instance_id)?,
            None => group.member(id)?,
        };
        if request.member_epoch == LEAVE_STATIC {
            // Its session goes on: by its end it must be back.
            let record = away(member).assignment_record(&group.id);
            check_sizes(std::slice::from_ref(&record), context)?;
            out.records.push(record);
        } else {
            self.timers.remove(id);
            self.downgraded = group.fence(&[member], context, out).map(Box::new);
        }
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(id.clone()))
            .with_member_epoch(request.member_epoch))
    }
}

/// A static member that will be back. Its partitions stay its own, so that nothing moves.
fn away(member: &Member) -> Member {
    let reset = |partitions: &BTreeMap<i32, i32>| partitions.keys().map(|id| (*id, 0)).collect();
    let assigned = member.assigned.iter();
    let assigned = assigned
        .map(|(topic, partitions)| (*topic, reset(partitions)))
        .collect();
    Member {
        epoch: LEAVE_STATIC,
        assigned,
        revoking: Assigned::new(),
        ..member.clone()
    }
}

impl Durable {
    /// Writes that these members are gone, and a new group epoch. If only members of the classic protocol are left, the
    /// group may become a classic one instead, which is returned.
    pub fn fence(
        &self,
        members: &[&Member],
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Option<ClassicGroup> {
        let downgraded = self.downgrade_without(members, context, out);
        if downgraded.is_some() {
            return downgraded;
        }
        let records = &mut out.records;
        let mut subscriptions = self.subscriptions.clone();
        for member in members {
            self.remove_member(&member.id, records);
            subscriptions.remove(member);
        }
        let regexes = members.iter().filter_map(|member| member.regex());
        let mut dropped: Vec<&str> = regexes
            .filter(|regex| subscriptions.subscribers_of(regex) == 0)
            .collect();
        dropped.sort_unstable();
        dropped.dedup();
        for regex in dropped {
            records.push(self.regex_record(regex, None));
            subscriptions.forget_resolved(regex);
        }
        let hash = self.hash_of(&subscriptions, context.image);
        records.push(self.next_epoch(hash).1);
        None
    }
}
