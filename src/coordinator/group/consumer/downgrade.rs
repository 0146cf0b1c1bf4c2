//! The way back to a classic group: when the last member of the consumer protocol goes, or is replaced by a static one
//! of the classic protocol.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::durable::Durable;
use super::member::Member;
use super::owners::held_by;
use crate::cluster::image::Image;
use crate::coordinator::group::assignor::Partitions;
use crate::coordinator::group::classic::{ClassicGroup, Migrant};
use crate::coordinator::group::consumer_protocol::{Assignment, NamedPartitions};
use crate::coordinator::group::records::Record;
use crate::coordinator::{Context, Output};
use crate::lines;
use crate::schema::WireError;

impl Durable {
    /// The classic group of all members but these, if it may be one and somebody is left. Its members are to join anew.
    pub fn downgrade_without(
        &self,
        leaving: &[&Member],
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Option<ClassicGroup> {
        let leaving: BTreeSet<&str> = leaving.iter().map(|member| &*member.id).collect();
        let members = self.members.values();
        let left = members.filter(|member| !leaving.contains(&*member.id));
        if !left.clone().all(Member::uses_classic_protocol) {
            return None;
        }
        let left: Vec<&Member> = left.collect();
        let gone: Vec<&str> = self.members.keys().map(String::as_str).collect();
        let reason = Some("a consumer group becomes a classic one");
        let may = !left.is_empty() && may_downgrade_to(left.len(), context);
        may.then(|| self.downgrade(&left, &gone, reason, context, out))?
            .ok()
    }

    /// Whether the group may become a classic one when a static member that comes takes the place of this one.
    pub fn may_downgrade_replacing(&self, replaced: &Member, context: &Context<'_>) -> bool {
        let mut members = self.members.values();
        !replaced.uses_classic_protocol()
            && members.all(|member| member.uses_classic_protocol() || member.id == replaced.id)
            && may_downgrade_to(self.members.len(), context)
    }

    /// Whether all have just what they are to have, when a static member takes the place of another.
    pub fn is_settled_with(&self, replaced: &Member, joined: &Member) -> bool {
        let mut members = self.replacing(replaced, joined);
        members.all(|member| member.is_reconciled_to(self.target_epoch))
    }

    /// The classic group with a static member in the place of another, which rebalances if there is a reason. Kafka
    /// has only a change of what is to be assigned for one, so that members are assigned what others still own.
    pub fn downgrade_replacing(
        &self,
        replaced: &Member,
        joined: &Member,
        rebalance_reason: Option<&str>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<ClassicGroup, ResponseError> {
        let members: Vec<&Member> = self.replacing(replaced, joined).collect();
        let gone: Vec<&str> = members.iter().map(|member| &*member.id).collect();
        self.downgrade(&members, &gone, rebalance_reason, context, out)
    }

    /// All members, with one in the place of another.
    fn replacing<'a>(
        &'a self,
        replaced: &'a Member,
        joined: &'a Member,
    ) -> impl Iterator<Item = &'a Member> {
        let members = self.members.values();
        members.map(move |member| match member.id == replaced.id {
            true => joined,
            false => member,
        })
    }

    /// Writes that this group is gone, with those members, and the classic one of these.
    fn downgrade(
        &self,
        members: &[&Member],
        gone: &[&str],
        rebalance_reason: Option<&str>,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Result<ClassicGroup, ResponseError> {
        let written = out.records.len();
        let mut downgrade = || {
            let held: BTreeSet<(Uuid, i32)> = members.iter().copied().flat_map(held_by).collect();
            let migrate = |member: &&Member| self.migrate(member, &held, context.image);
            let migrants: Result<Vec<Migrant>, WireError> = members.iter().map(migrate).collect();
            let migrants = migrants.map_err(|_| ResponseError::UnknownServerError)?;
            self.tombstones(gone, &mut out.records);
            let (id, generation) = (self.id.clone(), self.epoch);
            ClassicGroup::of_migrants(id, generation, migrants, rebalance_reason, context, out)
        };
        let downgraded = downgrade();
        match &downgraded {
            Ok(_) => {
                let group = &*self.id;
                lines::say!(
                    context.lines,
                    context.now,
                    info,
                    group,
                    "a consumer group becomes a classic one"
                );
            }
            Err(error) => {
                out.records.truncate(written);
                lines::say!(
                    context.lines,
                    context.now,
                    warn,
                    group = &*self.id,
                    %error,
                    "a consumer group cannot become a classic one"
                );
            }
        }
        downgraded
    }

    /// A member in the words of its protocol, with what it has and what it is to have that nobody holds. Kafka gives it
    /// all that it is to have, also what others have yet to give up.
    fn migrate(
        &self,
        member: &Member,
        held: &BTreeSet<(Uuid, i32)>,
        image: &Image,
    ) -> Result<Migrant, WireError> {
        let mut assigned = Partitions::new();
        let target = self.target_of(member).iter();
        let target = target.flat_map(|(topic, all)| all.iter().map(|id| (*topic, *id)));
        let free = target.filter(|partition| !held.contains(partition));
        for (topic, partition) in held_by(member).chain(free) {
            assigned.entry(topic).or_default().insert(partition);
        }
        let classic = member.classic.clone().unwrap_or_default();
        Ok(Migrant {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            assignment: to_classic(&assigned, member, image)?,
            protocols: (classic.supported_protocols.into_iter())
                .map(|protocol| (protocol.name, protocol.metadata))
                .collect(),
        })
    }
}

fn may_downgrade_to(members: usize, context: &Context<'_>) -> bool {
    let groups = &context.config.groups;
    groups.consumer.migration.downgrade && members <= groups.classic.members_max
}

/// Partitions as a member of the classic protocol is told of them. Topics that no longer exist have no name.
pub(super) fn to_classic(
    assigned: &Partitions,
    member: &Member,
    image: &Image,
) -> Result<Bytes, WireError> {
    let partitions = assigned.iter().filter_map(|(topic, partitions)| {
        Some(NamedPartitions {
            topic: image.topics.get(*topic)?.name.to_string(),
            partitions: partitions.iter().copied().collect(),
        })
    });
    let assignment = Assignment {
        partitions: partitions.collect(),
        user_data: None,
    };
    let protocols = member.classic.as_ref().map(|it| &it.supported_protocols);
    let preferred = protocols.and_then(|protocols| protocols.first());
    assignment.to_bytes(preferred.map_or(&[], |protocol| &protocol.metadata))
}
