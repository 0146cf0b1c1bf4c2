//! JoinGroup of a member of the classic protocol in a consumer group: it says all about itself, takes its step at once,
//! and is told the generation that its sync then is for.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::durable::Durable;
use super::heartbeat::new_member_id;
use super::member::Member;
use super::timers::millis;
use super::{ConsumerGroup, Rejection, check_sizes, rejection};
use crate::cluster::image::Image;
use crate::coordinator::group::Caller;
use crate::coordinator::group::classic::asks_for_id;
use crate::coordinator::group::consumer_protocol::{CONSUMER, NamedPartitions, Subscription};
use crate::coordinator::group::records::{ClassicMemberMetadata, ClassicProtocol, Record};
use crate::coordinator::{Context, Output};

impl ConsumerGroup {
    /// Answers a join. One that is refused changes nothing.
    pub fn classic_join(
        &mut self,
        request: &JoinGroupRequest,
        caller: &Caller,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<JoinGroupResponse, Rejection> {
        let group = &self.durable;
        let config = &context.config.groups.consumer;
        if !config.migration.mixes() {
            let text = "the group migration is disabled";
            return Err(rejection(ResponseError::InconsistentGroupProtocol, text));
        }
        let is_unknown = request.member_id.is_empty();
        group.check_room(&request.member_id, config.members_max)?;
        let metadata = group.check_protocols(request)?;
        let id = match is_unknown {
            true => new_member_id(context),
            false => request.member_id.clone(),
        };
        if asks_for_id(request, caller.version) {
            return Ok(JoinGroupResponse::default()
                .with_error_code(ResponseError::MemberIdRequired.code())
                .with_member_id(id));
        }
        let mut records = Vec::new();
        let (member, in_place_of) = group.joining(&id, request, &mut records)?;
        let subscription = Subscription::parse(metadata);
        let subscription = subscription.map_err(|_| (ResponseError::UnknownServerError, None))?;
        let owned = owned_in(&subscription.owned_partitions, context.image);
        let updated = member.joined_by(request, subscription, caller);
        let change = self.change(&member, &updated, context, &mut records)?;

        let replaced = in_place_of.filter(|it| group.may_downgrade_replacing(it, context));
        let reconciled = match replaced {
            // It rebalances as a classic group.
            Some(_) if group.target_epoch < change.epoch => Cow::Borrowed(&updated),
            Some(_) => {
                let target = (group.target_epoch, group.target_of(&updated));
                group.reconcile(
                    &updated,
                    target,
                    &change,
                    Some(&owned),
                    context,
                    &mut records,
                )?
            }
            None => group.advance(
                &member,
                &updated,
                &change,
                Some(&owned),
                context,
                &mut records,
            )?,
        };
        check_sizes(&records, context)?;
        let session = context.now + millis(request.session_timeout_ms);
        if let Err(refused) = group.check_memory(&records, context) {
            // Who gets no more is alive all the same.
            if group.members.contains_key(&reconciled.id) {
                self.timers.renew_session(&reconciled.id, session);
            }
            return Err(refused);
        }
        let response = JoinGroupResponse::default()
            .with_member_id(id)
            .with_generation_id(reconciled.epoch)
            .with_protocol_type(Some(StrBytes::from_static_str(CONSUMER)))
            .with_protocol_name(request.protocols.first().map(|it| it.name.clone()));
        let written = out.records.len();
        out.records.append(&mut records);
        if let Some(replaced) = replaced {
            // Nobody asks members of a stable classic group to let go of anything.
            let is_current = group.target_epoch >= change.epoch;
            let is_settled = is_current && group.is_settled_with(replaced, &reconciled);
            let reason =
                (!is_settled).then_some("a consumer group becomes a classic one as it changes");
            let downgraded = group.downgrade_replacing(replaced, &reconciled, reason, context, out);
            let downgraded = downgraded.map_err(|error| {
                out.records.truncate(written);
                (error, None)
            });
            self.downgraded = Some(Box::new(downgraded?));
            return Ok(response);
        }

        let wants_refresh = self.wants_refresh(&member, &updated, change.regex, context);
        if let Some(replaced) = group.replaced_by(&reconciled) {
            self.timers.remove(replaced);
        }
        let sync = context.now + millis(rebalance_timeout_ms(request, caller));
        self.timers.renew_session(&reconciled.id, session);
        self.timers.follow(&reconciled, context.now);
        self.timers.await_sync(&reconciled.id, sync);
        self.is_metadata_stale &= !change.refreshes_metadata;
        if let Some(refresh) = wants_refresh {
            self.refresh = Some(refresh);
        }
        Ok(response)
    }
}

/// Before version 1 there is only one time-out.
fn rebalance_timeout_ms(request: &JoinGroupRequest, caller: &Caller) -> i32 {
    match caller.version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    }
}

impl Durable {
    /// Whether the member knows a protocol that all others of the classic protocol know, too. The metadata of the one it
    /// likes best.
    fn check_protocols<'r>(&self, request: &'r JoinGroupRequest) -> Result<&'r Bytes, Rejection> {
        let names = request.protocols.iter().map(|protocol| &*protocol.name);
        let mut known: BTreeSet<&str> = names.collect();
        let members = self.members.values();
        // Those of each member are looked through once: clients say how many there are.
        for classic in members.filter_map(|member| member.classic.as_ref()) {
            let names = classic.supported_protocols.iter().map(|it| &*it.name);
            known = names.filter(|name| known.contains(name)).collect();
        }
        let fits = &*request.protocol_type == CONSUMER && !known.is_empty();
        let first = request.protocols.first().filter(|_| fits);
        first.map(|first| &first.metadata).ok_or_else(|| {
            let text = format!(
                "Member {}'s protocols are not supported.",
                request.member_id
            );
            rejection(ResponseError::InconsistentGroupProtocol, text)
        })
    }

    /// The member as it was, new if it was none, and the static member whose place it takes, which may be itself.
    fn joining(
        &self,
        id: &str,
        request: &JoinGroupRequest,
        records: &mut Vec<Record>,
    ) -> Result<(Cow<'_, Member>, Option<&Member>), Rejection> {
        let Some(instance_id) = &request.group_instance_id else {
            return Ok((self.member_or_new(id), None));
        };
        if !request.member_id.is_empty() {
            let member = self.static_member_as(id, instance_id)?;
            return Ok((Cow::Borrowed(member), Some(member)));
        }
        Ok(match self.static_member(instance_id) {
            Some(existing) => (
                Cow::Owned(self.replace(existing, id, records)),
                Some(existing),
            ),
            None => (self.member_or_new(id), None),
        })
    }
}

impl Member {
    /// The member as a join describes it.
    fn joined_by(
        &self,
        request: &JoinGroupRequest,
        subscription: Subscription,
        caller: &Caller,
    ) -> Self {
        let mut names = BTreeSet::new();
        let offered = request.protocols.iter();
        let protocols = offered.filter(|protocol| names.insert(&*protocol.name));
        let classic = ClassicMemberMetadata {
            session_timeout_ms: request.session_timeout_ms,
            supported_protocols: protocols
                .map(|protocol| ClassicProtocol {
                    name: protocol.name.to_string(),
                    metadata: Bytes::copy_from_slice(&protocol.metadata),
                })
                .collect(),
        };
        let instance_id = request.group_instance_id.as_deref().map(str::to_owned);
        let rack_id = subscription.rack_id.filter(|rack| !rack.is_empty());
        let timeout_ms = Some(rebalance_timeout_ms(request, caller)).filter(|ms| *ms != -1);
        Self {
            instance_id: instance_id.or_else(|| self.instance_id.clone()),
            rack_id: rack_id.or_else(|| self.rack_id.clone()),
            client_id: caller.client_id.clone(),
            client_host: caller.client_host.clone(),
            subscribed_topics: subscription.topics.into_iter().collect(),
            // There are none in the classic protocol.
            subscribed_regex: Some(String::new()),
            rebalance_timeout_ms: timeout_ms.unwrap_or(self.rebalance_timeout_ms),
            classic: Some(classic),
            ..self.clone()
        }
    }
}

/// The partitions that a member says it owns, of topics that are there.
fn owned_in(partitions: &[NamedPartitions], image: &Image) -> Vec<Owned> {
    let owned = partitions.iter().filter_map(|topic| {
        let id = image.topics.id_of(&topic.topic)?;
        let owned = Owned::default().with_topic_id(id);
        Some(owned.with_partitions(topic.partitions.clone()))
    });
    owned.collect()
}
