//! Members on their way to a consumer group and back.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::member::{Member, Protocol, Terms};
use super::members::Members;
use super::replies::{join_error, sync_error};
use super::{CONSUMER, ClassicGroup, State};
use crate::coordinator::group::records::Record;
use crate::coordinator::{Context, Output};

/// A member of the classic protocol, as groups of both kinds know it.
pub struct Migrant {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// Names, each with the member's metadata; the one it likes best first.
    pub protocols: Vec<(String, Bytes)>,
    /// Empty if it has none.
    pub assignment: Bytes,
}

impl ClassicGroup {
    /// The protocol that the group has chosen, or would if it has not yet.
    pub fn protocol(&self) -> Option<String> {
        let chosen = self.protocol.clone();
        chosen.or_else(|| self.members.choose_protocol())
    }

    pub fn members_len(&self) -> usize {
        self.members.len()
    }

    /// The members, in the order of their ids.
    pub fn migrants(&self) -> impl Iterator<Item = Migrant> {
        self.members.iter().map(|member| Migrant {
            id: member.id.to_string(),
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.terms.rebalance_timeout_ms,
            session_timeout_ms: member.terms.session_timeout_ms,
            protocols: (member.terms.protocols.iter())
                .map(|protocol| (protocol.name.clone(), protocol.metadata.clone()))
                .collect(),
            assignment: member.assignment.clone(),
        })
    }

    /// Ends the group, which is a consumer group from now on: whoever waits is told to join that.
    pub fn dissolve(mut self, out: &mut Output<Record>) {
        let error = ResponseError::RebalanceInProgress;
        for id in self.members.ids(|_| true) {
            if let Some(to) = self.members.take_join(&id) {
                out.reply(to, join_error(&id, error));
            }
            let member = self.members.get_mut(&id);
            if let Some(to) = member.and_then(|member| member.sync.take()) {
                out.reply(to, sync_error(error));
            }
        }
    }

    /// The stable group that a consumer group becomes, with sessions that begin anew. With a reason for a rebalance,
    /// its members are to join again. Its record is written; an error if that is more than a record can be.
    pub fn of_migrants(
        id: Rc<str>,
        generation: i32,
        migrants: Vec<Migrant>,
        rebalance_reason: Option<&str>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<Self, ResponseError> {
        let mut members = Members::default();
        for migrant in migrants {
            members.add(member_of(migrant));
        }
        let mut group = Self {
            state: State::Stable,
            generation,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: members.choose_protocol(),
            members,
            ..Self::new(id, context)
        };
        group.subscribed_topics = group.compute_subscribed_topics();
        match rebalance_reason {
            None => group.store(context, out)?,
            Some(_) => group.store_to_rebalance(context, out)?,
        }
        for id in group.members.ids(|_| true) {
            group.renew_session(&id, context);
        }
        if let Some(reason) = rebalance_reason {
            group.prepare_rebalance(reason, context, out);
        }
        Ok(group)
    }
}

fn member_of(migrant: Migrant) -> Member {
    let protocol = |(name, metadata)| Protocol { name, metadata };
    Member {
        id: migrant.id.into(),
        instance_id: migrant.instance_id.map(Rc::from),
        client_id: migrant.client_id,
        client_host: migrant.client_host,
        terms: Terms {
            protocols: migrant.protocols.into_iter().map(protocol).collect(),
            rebalance_timeout_ms: migrant.rebalance_timeout_ms,
            session_timeout_ms: migrant.session_timeout_ms,
        },
        assignment: migrant.assignment,
        is_new: false,
        deadline: None,
        join: None,
        sync: None,
    }
}
