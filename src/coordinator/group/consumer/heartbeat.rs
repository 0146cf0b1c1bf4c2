//! ConsumerGroupHeartbeat of members that join or stay: update the member, the group epoch, the target, and lead the
//! member one step on, all as records.

use std::borrow::Cow;
use std::time::Duration;

use corelog_shards::log::uuid_text;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::durable::Durable;
use super::member::{Assigned, Member};
use super::reconcile::Step;
use super::refresh::RegexChange;
use super::request::{JOIN, LEAVE, LEAVE_STATIC, check_heartbeat};
use super::{ConsumerGroup, Rejection, check_sizes, rejection};
use crate::cluster::ids::random_id;
use crate::coordinator::group::Caller;
use crate::coordinator::group::assignor::Partitions;
use crate::coordinator::group::records::Record;
use crate::coordinator::{Context, Output};

impl ConsumerGroup {
    /// Answers a heartbeat: a member joins, stays or leaves. A heartbeat that is refused changes nothing; of a member
    /// that only the memory refuses more, the session goes on.
    pub fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Rejection> {
        check_heartbeat(request, caller.version, &context.config.groups.consumer)?;
        match request.member_epoch {
            LEAVE | LEAVE_STATIC => self.leave(request, context, out),
            _ => self.join_or_stay(request, caller, context, out),
        }
    }

    fn join_or_stay(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Rejection> {
        let group = &self.durable;
        let id = &request.member_id;
        group.check_room(id, context.config.groups.consumer.members_max)?;
        let id = match id.is_empty() {
            true => new_member_id(context),
            false => id.clone(),
        };
        let settings = group.settings(context);
        let mut records = Vec::new();

        let member = match &request.instance_id {
            Some(instance_id) => group.static_for(&id, instance_id, request, &mut records)?,
            None => group.dynamic_for(&id, request)?,
        };
        let updated = member.updated_by(request, caller);
        let change = self.change(&member, &updated, context, &mut records)?;
        let owned = request.topic_partitions.as_deref();
        let reconciled = group.advance(&member, &updated, &change, owned, context, &mut records)?;
        check_sizes(&records, context)?;
        let session = context.now + settings.session_timeout;
        if let Err(refused) = group.check_memory(&records, context) {
            // Who gets no more is alive all the same.
            if group.members.contains_key(&reconciled.id) {
                self.timers.renew_session(&reconciled.id, session);
            }
            return Err(refused);
        }

        let wants_refresh = self.wants_refresh(&member, &updated, change.regex, context);
        if let Some(replaced) = group.replaced_by(&reconciled) {
            self.timers.remove(replaced);
        }
        if member.uses_classic_protocol() {
            self.timers.remove(&reconciled.id);
        }
        self.timers.renew_session(&reconciled.id, session);
        if *reconciled != *updated {
            self.timers.follow(&reconciled, context.now);
        }
        self.is_metadata_stale &= !change.refreshes_metadata;
        let shows_assignment = request.member_epoch == JOIN
            || is_full(request)
            || reconciled.assigned != member.assigned;
        let assignment = shows_assignment.then(|| to_response(&reconciled.assigned));
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(id))
            .with_member_epoch(reconciled.epoch)
            .with_heartbeat_interval_ms(to_millis(settings.heartbeat_interval))
            .with_assignment(assignment);
        if let Some(refresh) = wants_refresh {
            self.refresh = Some(refresh);
        }
        out.records.append(&mut records);
        Ok(response)
    }
}

/// What a member's word about itself means for the group.
pub(super) struct Change {
    /// Of the group.
    pub epoch: i32,
    /// Whether the member subscribes to something else than before.
    pub is_of_subscription: bool,
    pub regex: RegexChange,
    /// Whether the metadata hash is up to date with it.
    pub refreshes_metadata: bool,
}

impl ConsumerGroup {
    /// Writes the member as it is now, and the group epoch that follows.
    pub(super) fn change(
        &self,
        before: &Member,
        after: &Member,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) -> Result<Change, Rejection> {
        let group = &self.durable;
        if after != before {
            records.push(after.metadata_record(&group.id));
        }
        let have_names_changed = after.subscribed_topics != before.subscribed_topics;
        let regex = group.change_regex(before, after, records)?;
        let must_bump = have_names_changed || regex == RegexChange::Resolved;
        let refreshes_metadata = must_bump || self.is_metadata_stale;
        let epoch = match refreshes_metadata {
            true => group.follow_metadata(must_bump, before, after, context, records),
            false => group.epoch,
        };
        Ok(Change {
            epoch,
            is_of_subscription: have_names_changed || regex != RegexChange::None,
            regex,
            refreshes_metadata,
        })
    }
}

/// The way of a member.
impl Durable {
    /// Computes a target for the group epoch, if there is none yet and it is time, and leads the member one step on.
    pub(super) fn advance<'m>(
        &self,
        before: &Member,
        after: &'m Member,
        change: &Change,
        owned: Option<&[Owned]>,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) -> Result<Cow<'m, Member>, Rejection> {
        let computes = change.epoch > self.target_epoch
            && may_compute(
                self.target_computed_at_ms,
                self.settings(context).assignment_interval,
                context,
            );
        if computes {
            let subscriptions = self.subscriptions.with(before, after);
            let target = self.assign(change.epoch, after, &subscriptions, context, records)?;
            return self.reconcile(
                after,
                (change.epoch, &target),
                change,
                owned,
                context,
                records,
            );
        }
        let target = (self.target_epoch, self.target_of(after));
        self.reconcile(after, target, change, owned, context, records)
    }

    /// Leads a member one step on to this target, which is that of an epoch.
    pub(super) fn reconcile<'m>(
        &self,
        member: &'m Member,
        (target_epoch, target): (i32, &Partitions),
        change: &Change,
        owned: Option<&[Owned]>,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) -> Result<Cow<'m, Member>, Rejection> {
        let is_subscribed = |topic: Uuid| {
            let topic = context.image.topics.get(topic);
            topic.is_some_and(|topic| self.subscriptions.includes(member, topic))
        };
        let step = Step {
            target_epoch,
            target,
            is_subscribed: &is_subscribed,
            has_subscription_changed: change.is_of_subscription,
            owned,
            owners: &self.owners,
        };
        let reconciled = step.take(member)?;
        if *reconciled != *member {
            records.push(reconciled.assignment_record(&self.id));
        }
        Ok(reconciled)
    }
}

/// Who a heartbeat is from.
impl Durable {
    pub(super) fn check_room(&self, member: &str, members_max: usize) -> Result<(), Rejection> {
        if self.members.len() < members_max || self.members.contains_key(member) {
            return Ok(());
        }
        let text = format!(
            "The consumer group has reached its maximum capacity of {members_max} members."
        );
        Err(rejection(ResponseError::GroupMaxSizeReached, text))
    }

    fn dynamic_for(
        &self,
        id: &str,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<Cow<'_, Member>, Rejection> {
        if request.member_epoch == JOIN {
            return Ok(self.member_or_new(id));
        }
        let member = self.member(id)?;
        check_epoch(member, request)?;
        Ok(Cow::Borrowed(member))
    }

    /// A static member may take the place of the one that had its instance before, if that one has left for a while.
    fn static_for(
        &self,
        id: &str,
        instance_id: &str,
        request: &ConsumerGroupHeartbeatRequest,
        records: &mut Vec<Record>,
    ) -> Result<Cow<'_, Member>, Rejection> {
        if request.member_epoch != JOIN {
            let member = self.static_member_as(id, instance_id)?;
            check_epoch(member, request)?;
            return Ok(Cow::Borrowed(member));
        }
        let Some(existing) = self.static_member(instance_id) else {
            return Ok(self.member_or_new(id));
        };
        if existing.epoch != LEAVE_STATIC && !existing.uses_classic_protocol() {
            let text = format!(
                "Static member {id} with instance id {instance_id} cannot join the group because the instance id is \
                 owned by {} member.",
                existing.id
            );
            return Err(rejection(ResponseError::UnreleasedInstanceId, text));
        }
        Ok(Cow::Owned(self.replace(existing, id, records)))
    }

    /// Writes that a static member has another id from now on.
    pub(super) fn replace(&self, existing: &Member, id: &str, records: &mut Vec<Record>) -> Member {
        let member = Member {
            id: id.to_owned(),
            epoch: JOIN,
            previous_epoch: JOIN,
            ..existing.clone()
        };
        self.remove_member(&existing.id, records);
        records.extend([
            member.metadata_record(&self.id),
            self.target_record(id, self.target_of(existing)),
            member.assignment_record(&self.id),
        ]);
        member
    }

    pub(super) fn member(&self, id: &str) -> Result<&Member, Rejection> {
        self.members.get(id).ok_or_else(|| {
            let text = format!("Member {id} is not a member of group {}.", self.id);
            rejection(ResponseError::UnknownMemberId, text)
        })
    }

    /// The static member of an instance, if that is the one it says it is.
    pub(super) fn static_member_as(
        &self,
        id: &str,
        instance_id: &str,
    ) -> Result<&Member, Rejection> {
        let member = self.static_member(instance_id).ok_or_else(|| {
            let text = format!("Instance id {instance_id} is unknown.");
            rejection(ResponseError::UnknownMemberId, text)
        })?;
        if member.id != id {
            let text = format!(
                "Static member {id} with instance id {instance_id} was fenced by member {}.",
                member.id
            );
            return Err(rejection(ResponseError::FencedInstanceId, text));
        }
        Ok(member)
    }

    /// The member that this one takes the place of, if it is another one.
    pub(super) fn replaced_by(&self, member: &Member) -> Option<&String> {
        let before = self.static_members.get(member.instance_id.as_ref()?);
        before.filter(|before| **before != member.id)
    }
}

/// The group epoch.
impl Durable {
    /// Moves the group epoch on if it must, or if the subscribed topics are not what they were.
    fn follow_metadata(
        &self,
        must_bump: bool,
        before: &Member,
        after: &Member,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) -> i32 {
        let mut subscriptions = self.subscriptions.with(before, after);
        if let Some(regex) = self.regex_dropped(before, after) {
            subscriptions.forget_resolved(regex);
        }
        let hash = self.hash_of(&subscriptions, context.image);
        let mut epoch = self.epoch;
        if must_bump || hash != self.metadata_hash {
            let (next, record) = self.next_epoch(hash);
            epoch = next;
            records.push(record);
        }
        if self.has_partition_metadata {
            records.push(self.partition_metadata_tombstone());
        }
        epoch
    }
}

/// The epoch must be the member's. The one before will do, too: the reply that told of the present one may be lost. But
/// then the member can't own more than it was assigned.
fn check_epoch(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Rejection> {
    let (received, known) = (request.member_epoch, member.epoch);
    let has_all = |owned: &[Owned]| member.has_all(owned);
    let kind = if received > known {
        "greater"
    } else if received == known
        || received == member.previous_epoch
            && request.topic_partitions.as_deref().is_some_and(has_all)
    {
        return Ok(());
    } else {
        "smaller"
    };
    let text = format!(
        "The consumer group member has a {kind} member epoch ({received}) than the one known by the group coordinator \
         ({known}). The member must abandon all its partitions and rejoin."
    );
    Err(rejection(ResponseError::FencedMemberEpoch, text))
}

/// Whether enough time has passed since the last target was computed.
fn may_compute(computed_at_ms: i64, interval: Duration, context: &Context<'_>) -> bool {
    let since_ms = context.wall_ms.saturating_sub(computed_at_ms);
    // A clock that went back must not stop it.
    let has_passed =
        since_ms < 0 || since_ms >= i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    computed_at_ms == 0 || has_passed
}

/// Whether a member says all there is to say, as after an error, and wants to know all.
fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    let names = request.subscribed_topic_names.is_some();
    request.rebalance_timeout_ms != -1
        && (names || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some()
}

fn to_response(assigned: &Assigned) -> Assignment {
    let topics = assigned.iter().map(|(topic, partitions)| {
        TopicPartitions::default()
            .with_topic_id(*topic)
            .with_partitions(partitions.keys().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

fn to_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// A member id that nobody can guess.
pub(super) fn new_member_id(context: &mut Context<'_>) -> StrBytes {
    StrBytes::from_string(uuid_text::format(random_id(context.random_u64)))
}
