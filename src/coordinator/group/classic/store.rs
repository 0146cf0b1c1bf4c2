//! What is durable of a classic group: its record, and back.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;

use super::member::{Member, Protocol, Terms};
use super::members::Members;
use super::topics::TopicNames;
use super::{ClassicGroup, State};
use crate::coordinator::group::consumer_protocol;
use crate::coordinator::group::records::{
    GroupMetadataValue, MemberMetadata, NO_TIMESTAMP, Record,
};
use crate::coordinator::{Context, Output};
use crate::lines;

impl ClassicGroup {
    /// The group that a record says: stable, or empty if it has no members.
    pub fn restore(id: Rc<str>, value: GroupMetadataValue) -> Self {
        let protocol = match value.members.is_empty() {
            true => value.protocol,
            false => Some(value.protocol.unwrap_or_default()),
        };
        let mut members = Members::default();
        for stored in value.members {
            members.add(restore_member(
                stored,
                protocol.as_deref().unwrap_or_default(),
            ));
        }
        let is_to_rebalance = value.leader.is_none() && !members.is_empty();
        if let Some(leader) = &value.leader {
            members.set_leader(leader);
        }
        let mut group = Self {
            id,
            state: match members.is_empty() {
                true => State::Empty,
                false => State::Stable,
            },
            state_since_ms: Some(value.current_state_timestamp).filter(|ms| *ms != NO_TIMESTAMP),
            generation: value.generation,
            protocol_type: Some(value.protocol_type).filter(|name| !name.is_empty()),
            protocol,
            members,
            subscribed_topics: None,
            join_timer: None,
            sync_deadline: None,
            wake: None,
            is_stored: true,
            is_to_rebalance,
            unreplayed: 0,
        };
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// Takes over a record. One of the group's own making says what the group is already.
    pub fn apply(&mut self, value: GroupMetadataValue) {
        match self.unreplayed.checked_sub(1) {
            Some(left) => self.unreplayed = left,
            None => *self = Self::restore(Rc::clone(&self.id), value),
        }
    }

    /// The log was read to its end: sessions begin anew, and a group has its members join again that was to do so when
    /// it was written, or is larger than it may be by now.
    pub fn loaded(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        for id in self.members.ids(|_| true) {
            self.renew_session(&id, context);
        }
        if self.members.len() > context.config.groups.classic.members_max {
            self.prepare_rebalance("the group is larger than it may be", context, out);
        } else if self.is_to_rebalance {
            self.prepare_rebalance("its members were to join anew", context, out);
        }
    }

    /// Has the group's state written, and that its members are to join anew: nobody leads it.
    pub(super) fn store_to_rebalance(
        &mut self,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<(), ResponseError> {
        let value = GroupMetadataValue {
            leader: None,
            ..self.to_value()
        };
        self.write(value, context, out)
    }

    /// Has the group's state written. An error, and nothing done, if that is more than one record
    /// can be.
    pub(super) fn store(
        &mut self,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<(), ResponseError> {
        self.write(self.to_value(), context, out)
    }

    /// Has it written that there is a group, although it is empty and nobody may ever be in it: a
    /// client that was given a member id finds it after a restart of the broker.
    pub(super) fn store_new(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        let empty = GroupMetadataValue {
            current_state_timestamp: self.state_since_ms.unwrap_or(NO_TIMESTAMP),
            ..GroupMetadataValue::default()
        };
        // If it doesn't fit, the group is as if it had not been asked for.
        let _ = self.write(empty, context, out);
    }

    fn write(
        &mut self,
        value: GroupMetadataValue,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<(), ResponseError> {
        let record = Record::GroupMetadata {
            group: self.id.to_string(),
            value: Some(value),
        };
        let mut bytes = Vec::new();
        let is_storable = record.encode(&mut bytes).is_ok();
        if !is_storable || bytes.len() > context.record_bytes_max {
            lines::say!(
                context.lines,
                context.now,
                warn,
                group = &*self.id,
                members = self.members.len(),
                "a group is too large for a record"
            );
            // What Kafka makes of RECORD_TOO_LARGE.
            return Err(ResponseError::UnknownServerError);
        }
        out.records.push(record);
        self.is_stored = true;
        self.unreplayed += 1;
        Ok(())
    }

    pub(super) fn to_value(&self) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.members.leader().map(|leader| leader.to_string()),
            current_state_timestamp: self.state_since_ms.unwrap_or(NO_TIMESTAMP),
            members: self
                .members
                .iter()
                .map(|member| MemberMetadata {
                    member_id: member.id.to_string(),
                    group_instance_id: member.instance_id.as_deref().map(str::to_string),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    rebalance_timeout: member.terms.rebalance_timeout_ms,
                    session_timeout: member.terms.session_timeout_ms,
                    subscription: member.metadata(protocol),
                    assignment: member.assignment.clone(),
                })
                .collect(),
        }
    }

    /// None if the members aren't consumers, have not agreed on a protocol, or one of them can't be
    /// understood.
    pub(super) fn compute_subscribed_topics(&self) -> Option<TopicNames> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.iter() {
            let metadata = member.metadata(self.protocol.as_deref()?);
            topics.extend(consumer_protocol::topics(&metadata).ok()?);
        }
        Some(topics.into_iter().collect())
    }
}

/// Of what a member had joined with, only the protocol that was chosen is stored.
fn restore_member(stored: MemberMetadata, protocol: &str) -> Member {
    Member {
        id: stored.member_id.into(),
        instance_id: stored.group_instance_id.map(Rc::from),
        client_id: stored.client_id,
        client_host: stored.client_host,
        terms: Terms {
            protocols: vec![Protocol {
                name: protocol.to_string(),
                metadata: stored.subscription,
            }],
            rebalance_timeout_ms: match stored.rebalance_timeout {
                -1 => stored.session_timeout,
                timeout_ms => timeout_ms,
            },
            session_timeout_ms: stored.session_timeout,
        },
        assignment: stored.assignment,
        is_new: false,
        deadline: None,
        join: None,
        sync: None,
    }
}
